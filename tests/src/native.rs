//! The stage of the native host: the real component, driven by the engine's loop on its in-process bus, in real time.
//! What needs a virtual clock or hands on single frames is left to the stepped stages.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use dayfly_conformance::act::{Act, Mood, RouteKind, Settings, Start};
use dayfly_conformance::http::{Answer, Request};
use dayfly_conformance::scenario::Scenario;
use dayfly_conformance::stage::{Runner, Stage};
use dayfly_conformance::step::Step;
use dayfly_engine::{Lease, Phase, Replica, ReplicaOptions, SystemWorld};
use tokio::runtime::Runtime as Tokio;

use crate::broker::Broker as Rules;
use crate::component::{from_config, from_request, runtime};
use crate::gate::Gate;
use crate::status::Status;
use crate::stepped::{CLUSTER, bodies, configure, mangled, to_core};

/// A scenario that lets more time pass than this is not played in real time.
const REAL_MS_MAX: u64 = 6_000;

/// How often the roots are compared while things settle.
const POLL: Duration = Duration::from_millis(10);

/// An answer that takes longer fails the scenario.
const ANSWER: Duration = Duration::from_secs(30);

/// Plays scenarios on driven replicas.
pub struct NativeRunner;

impl Runner for NativeRunner {
    fn name(&self) -> &'static str {
        "native"
    }

    fn refuses(&self, scenario: &Scenario) -> Option<String> {
        let reason = scenario.steps.iter().find_map(|line| refuses(&line.step));
        let reason =
            reason.or_else(|| writes_unconfirmed(scenario).then_some("this host answers a write once it is confirmed"));
        reason.map(str::to_owned).or_else(|| too_slow(scenario))
    }

    fn seeds(&self, _scenario: &Scenario) -> u64 {
        1
    }

    fn open(&self, scenario: &Scenario, _seed: u64) -> Result<Box<dyn Stage>> {
        let usual = scenario.config.clone();
        Ok(Box::new(NativeStage { usual, gates: BTreeMap::new(), players: Vec::new() }))
    }
}

/// Why real time is too slow for a scenario.
pub fn too_slow(scenario: &Scenario) -> Option<String> {
    let advances = scenario.steps.iter().map(|line| match &line.step {
        Step::Act(act) => match &**act {
            Act::Advance(advance) => advance.ms,
            _ => 0,
        },
        Step::Ask(_) | Step::Settle(_) | Step::Members(_) | Step::Roots(_) | Step::Traffic(_) => 0,
    });
    let ms: u64 = advances.sum();
    // Without the time itself, so that all of these are one reason.
    let limit = REAL_MS_MAX / 1000;
    (ms > REAL_MS_MAX).then(|| format!("it lets more than {limit} s pass, and this runner has no virtual clock"))
}

/// Whether a scenario expects answers to writes that the broker does not take.
fn writes_unconfirmed(scenario: &Scenario) -> bool {
    let mut mood = Mood::Fine;
    scenario.steps.iter().any(|line| match &line.step {
        Step::Ask(ask) => mood != Mood::Fine && ask.method != "GET" && !ask.confirmed,
        Step::Act(act) => {
            if let Act::Broker(broker) = &**act {
                mood = broker.mood;
            }
            false
        }
        Step::Settle(_) | Step::Members(_) | Step::Roots(_) | Step::Traffic(_) => false,
    })
}

/// What this stage cannot do.
fn refuses(step: &Step) -> Option<&'static str> {
    let act = match step {
        Step::Act(act) => act,
        Step::Ask(_) | Step::Settle(_) | Step::Members(_) | Step::Roots(_) => return None,
        Step::Traffic(_) => return Some("traffic between real replicas has no exact figures"),
    };
    match &**act {
        Act::Start(start) if start.clock_ms != 0 => Some("replicas share the real clock"),
        Act::Start(start) if start.load.is_some() => Some("stored parts are handed in one by one only where stepped"),
        Act::Start(start) if start.config.component_hash.is_some() => {
            Some("the engine tells the component's real hash")
        }
        Act::Freeze(freeze) if freeze.abruptly => Some("the drive loop never freezes without notice"),
        Act::Thaw(thaw) if thaw.load.is_some() => Some("stored parts are handed in one by one only where stepped"),
        Act::Broker(broker) if !matches!(broker.mood, Mood::Fine | Mood::Refusing) => {
            Some("the drive loop waits for a broker that does not answer")
        }
        Act::Start(_)
        | Act::Freeze(_)
        | Act::Thaw(_)
        | Act::Kill(_)
        | Act::Leave(_)
        | Act::Advance(_)
        | Act::Partition(_)
        | Act::Heal(_)
        | Act::Fault(_)
        | Act::Broker(_)
        | Act::Inject(_)
        | Act::Mangle(_) => None,
        Act::Deliver(_) | Act::Reorder(_) => Some("real replicas do not wait from frame to frame"),
        Act::Unbind(_) => Some("the bus deletes no inbox of a replica that lives"),
        Act::Save(_) | Act::Spoil(_) => Some("stored parts are handled one by one only where stepped"),
        Act::Clock(_) => Some("replicas share the real clock"),
        Act::Mark(_) => Some("traffic between real replicas has no exact figures"),
    }
}

fn tokio() -> Result<&'static Tokio> {
    static TOKIO: OnceLock<Result<Tokio, String>> = OnceLock::new();
    let made = TOKIO.get_or_init(|| {
        tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(|error| error.to_string())
    });
    made.as_ref().map_err(|error| anyhow!("no runtime: {error}"))
}

struct Player {
    label: String,
    cluster: String,
    name: String,
    replica: Replica,
    awake: bool,
    /// Its incarnation when it was frozen last.
    frozen: u64,
}

struct NativeStage {
    usual: Settings,
    gates: BTreeMap<String, Gate>,
    players: Vec<Player>,
}

impl NativeStage {
    fn find(&mut self, label: &str) -> Result<&mut Player> {
        let player = self.players.iter_mut().rev().find(|player| player.label == label);
        player.with_context(|| format!("no replica has been started as {label:?}"))
    }

    fn start(&mut self, start: &Start) -> Result<()> {
        let cluster = start.cluster.as_deref().unwrap_or(CLUSTER);
        let first = !self.players.iter().any(|player| player.cluster == cluster);
        let (config, inbox_bytes) = configure(start, &self.usual, cluster, start.founder.unwrap_or(first))?;
        let log_bytes = usize::try_from(config.log_bytes)?;
        let gate = self.gates.entry(cluster.to_owned()).or_insert_with(|| Gate::new(cluster, inbox_bytes, log_bytes));
        let gate = gate.clone();
        if let Some(name) = &config.name {
            gate.name(name, &start.label);
        }
        let mut options = ReplicaOptions::standing(from_config(&config));
        if let Some(lease_ms) = start.lease_ms {
            options.lease = Lease::Standing { lease_ms };
        }
        let started = tokio()?.block_on(Replica::start(&runtime()?, Arc::new(gate.clone()), SystemWorld, options));
        let replica = match (started, &start.refused) {
            (Ok(replica), None) => replica,
            (Err(refusal), Some(field)) => {
                let refusal = refusal.to_string();
                ensure!(refusal.contains(field.as_str()), "refused with {refusal:?}, which does not name {field}");
                return Ok(());
            }
            (Ok(_), Some(field)) => bail!("started, though {field} is out of bounds"),
            (Err(refusal), None) => return Err(refusal.into()),
        };
        let name = replica.name().to_owned();
        gate.name(&name, &start.label);
        let (label, cluster) = (start.label.clone(), cluster.to_owned());
        self.players.push(Player { label, cluster, name, replica, awake: true, frozen: 0 });
        Ok(())
    }

    fn status(&mut self, label: &str) -> Result<Status> {
        let request = Request { method: "GET".into(), path: "/v1/status".into(), ..Request::default() };
        let answer = self.request(label, &request, false)?;
        serde_json::from_slice(&answer.body).context("the status is not as wit/http-api.md has it")
    }

    fn gate(&self, label: &str) -> Result<&Gate> {
        let player = self.players.iter().rev().find(|player| player.label == label).context("not started")?;
        self.gates.get(&player.cluster).context("a cluster has a gate")
    }

    /// What a replica has published, by this route or any, newest first.
    fn published(&mut self, label: &str, route: Option<RouteKind>) -> Result<Vec<Vec<u8>>> {
        let player = self.find(label)?;
        let (name, incarnation) = (player.name.clone(), player.replica.incarnation());
        let frames = self.gate(label)?.published(&name, incarnation).into_iter().rev();
        Ok(frames.filter(|frame| route.is_none_or(|route| route == frame.route)).map(|frame| frame.body).collect())
    }

    /// Changes the rules of every gate.
    fn rule(&self, change: impl Fn(&mut Rules)) {
        self.gates.values().for_each(|gate| gate.with_rules(&change));
    }

    /// Hands frames to a replica and waits until it has taken them.
    fn hand(&mut self, label: &str, bodies: Vec<Vec<u8>>) -> Result<()> {
        let name = self.find(label)?.name.clone();
        let gate = self.gate(label)?.clone();
        bodies.into_iter().for_each(|body| gate.inject(&name, body));
        let until = Instant::now() + ANSWER;
        while !gate.is_taken(&name) {
            ensure!(Instant::now() < until, "{label} does not take what it is handed");
            std::thread::sleep(Duration::from_millis(1));
        }
        // The loop takes commands only once a call is over: the answer says that the frames have been looked at.
        self.status(label).map(|_| ())
    }

    fn groups(&self) -> Vec<Vec<String>> {
        let mut clusters: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for player in self.players.iter().filter(|player| player.awake) {
            clusters.entry(&player.cluster).or_default().push(player.label.clone());
        }
        let divide = |(cluster, labels): (&str, Vec<String>)| match self.gates.get(cluster) {
            Some(gate) => gate.with_rules(|rules| rules.groups(&labels)),
            None => vec![labels],
        };
        clusters.into_iter().flat_map(divide).collect()
    }
}

impl Stage for NativeStage {
    fn act(&mut self, act: &Act) -> Result<()> {
        match act {
            Act::Start(start) => self.start(start)?,
            Act::Freeze(freeze) => {
                let frozen = self.status(&freeze.label)?.incarnation;
                let player = self.find(&freeze.label)?;
                player.frozen = frozen;
                ensure!(tokio()?.block_on(player.replica.suspend()), "{} has ended", freeze.label);
                ensure!(player.replica.report().phase == Phase::Frozen, "{} is not frozen", freeze.label);
                player.awake = false;
            }
            Act::Thaw(thaw) => {
                let player = self.find(&thaw.label)?;
                let until_ms = dayfly_engine::world::system_now_ms() + 60_000;
                ensure!(tokio()?.block_on(player.replica.wake(until_ms)), "{} has ended", thaw.label);
                player.awake = true;
                let frozen = player.frozen;
                let is_anew = self.status(&thaw.label)?.incarnation > frozen;
                ensure!(is_anew == thaw.anew, "whether it has started anew: {is_anew}");
            }
            Act::Kill(kill) => {
                let player = self.find(&kill.label)?;
                player.replica.kill();
                player.awake = false;
                tokio()?.block_on(player.replica.ended());
            }
            Act::Leave(leave) => {
                let player = self.find(&leave.label)?;
                ensure!(tokio()?.block_on(player.replica.leave()), "{} had ended", leave.label);
                player.awake = false;
            }
            Act::Advance(advance) => std::thread::sleep(Duration::from_millis(advance.ms)),
            Act::Partition(partition) => self.gates.values().for_each(|gate| gate.part(partition)),
            Act::Heal(_) => self.gates.values().for_each(Gate::heal),
            Act::Fault(fault) => self.rule(|rules| rules.add_fault(fault.clone())),
            Act::Broker(broker) => self.rule(|rules| rules.mood = broker.mood),
            Act::Inject(inject) => {
                let published = match &inject.from {
                    Some(from) => self.published(from, inject.route)?,
                    None => Vec::new(),
                };
                let bodies = bodies(inject, published)?;
                let repeated = bodies.into_iter().flat_map(|body| std::iter::repeat_n(body, inject.times)).collect();
                self.hand(&inject.to, repeated)?;
            }
            Act::Mangle(mangle) => {
                let published = self.published(&mangle.from, mangle.route)?;
                let body = published.first().context("it has published nothing of this kind")?;
                self.hand(&mangle.to, mangled(body))?;
            }
            Act::Deliver(_)
            | Act::Reorder(_)
            | Act::Save(_)
            | Act::Spoil(_)
            | Act::Clock(_)
            | Act::Unbind(_)
            | Act::Mark(_) => bail!("this stage cannot do it: {act:?}"),
        }
        Ok(())
    }

    fn request(&mut self, label: &str, request: &Request, _confirmed: bool) -> Result<Answer> {
        let player = self.find(label)?;
        ensure!(player.awake, "{label} is not awake");
        let replica = player.replica.clone();
        let answered = async { tokio::time::timeout(ANSWER, replica.invoke(from_request(&to_core(request)))).await };
        let response = tokio()?.block_on(answered).with_context(|| format!("no answer within {ANSWER:?}"))??;
        Ok(Answer { status: response.status, headers: response.headers, body: response.body })
    }

    fn settle(&mut self, within_ms: u64, quiet: bool) -> Result<Vec<Vec<String>>> {
        let until = Instant::now() + Duration::from_millis(within_ms);
        loop {
            let groups = self.groups();
            // What waits in an inbox may be a farewell, which changes no root. Looked at first: what was taken out of one is
            // taken in before the next question is answered.
            let drained = |player: &Player| {
                !player.awake || self.gates.get(&player.cluster).is_none_or(|gate| gate.is_drained(&player.name))
            };
            let mut settled = self.players.iter().all(drained);
            let mut told = Vec::new();
            for group in &groups {
                let statuses: Vec<_> = group.iter().map(|label| self.status(label)).collect::<Result<_>>()?;
                settled &= statuses.iter().all(|status| status.is_done() && status.root == statuses[0].root);
                told.extend(statuses);
            }
            let calm = |player: &Player| !player.awake || player.replica.report().quiet;
            if settled && (!quiet || self.players.iter().all(calm)) {
                return Ok(groups);
            }
            ensure!(Instant::now() < until, "not settled within {within_ms} ms: {told:?}");
            std::thread::sleep(POLL);
        }
    }

    fn awake(&self) -> Vec<String> {
        self.players.iter().filter(|player| player.awake).map(|player| player.label.clone()).collect()
    }

    fn name_of(&self, label: &str) -> Result<Option<String>> {
        let player = self.players.iter().rev().find(|player| player.label == label);
        Ok(Some(player.with_context(|| format!("no replica has been started as {label:?}"))?.name.clone()))
    }

    fn labels(&self) -> Vec<String> {
        self.players.iter().map(|player| player.label.clone()).collect()
    }

    fn is_still(&self) -> bool {
        false
    }

    fn traffic(&self, _to: Option<&str>) -> Option<(u64, u64)> {
        None
    }

    fn close(self: Box<Self>) -> Result<()> {
        for player in &self.players {
            let ended = player.replica.report().phase;
            ensure!(!matches!(ended, Phase::Ended(dayfly_engine::Ended::Lost(_))), "{}: {ended:?}", player.label);
            player.replica.kill();
        }
        Ok(())
    }
}
