//! The stage of Lambda: each replica is a function in an execution environment of its own, and they share nothing but
//! RabbitMQ. The simulator freezes each of them by itself when it is quiet, between any two steps; a step that freezes
//! one keeps it from being woken. A kill is a SIGKILL, as when the platform reclaims an environment. A second emulator
//! plays the scenarios that need neither.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use dayfly_core::http::Request;
use serde_json::{Value, json};

use crate::act::{Act, Settings, Start};
use crate::function::{Function, Outcome, read_answer, url_event};
use crate::native::too_slow;
use crate::node::fresh_cluster;
use crate::scenario::Scenario;
use crate::stage::{Answer, Runner, Stage};
use crate::step::Step;
use crate::watch::Watched;

/// How long things may take in all to settle, besides what a scenario gives them: functions are woken and frozen.
const SETTLE: Duration = Duration::from_secs(60);
/// Between two requests each is frozen: soon, since a scenario has many.
const LINGER: &str = "quiet:0.05";
/// For how long each is woken while things settle.
const WAKE_SECONDS: f64 = 1.0;
/// For how long the others are woken when one is started.
const OVERLAP_SECONDS: f64 = 2.0;

/// An execution environment with its replica.
pub trait Environment: Send + Sync {
    /// Hands it an event, and does not wait for the answer.
    fn begin(&self, event: Value) -> Result<()>;

    /// Hands it an event, and waits for the answer.
    fn invoke(&self, event: Value) -> Result<Outcome>;

    /// Waits until the platform has stopped it, if that does so.
    fn await_frozen(&self) -> Result<()>;

    /// Reclaims it.
    fn kill(self: Box<Self>) -> Result<()>;

    /// Asks it as a function URL does.
    fn ask(&self, request: &Request) -> Result<Answer> {
        read_answer(&self.invoke(url_event(request))?.answer()?)
    }

    /// Has it be awake for a while; what it answers.
    fn wake(&self, seconds: f64) -> Result<Value> {
        self.invoke(json!({"wake": {"seconds": seconds}}))?.answer()
    }
}

/// What starts execution environments of one cluster.
pub trait Environments {
    /// Starts one with these variables besides the usual ones.
    fn start(&mut self, variables: &[(&str, &str)]) -> Result<Box<dyn Environment>>;
}

/// Each environment under a simulator of its own.
struct Simulated {
    cluster: String,
}

impl Environments for Simulated {
    fn start(&mut self, variables: &[(&str, &str)]) -> Result<Box<dyn Environment>> {
        Ok(Box::new(Function::start(&self.cluster, variables)?))
    }
}

impl Environment for Function {
    fn begin(&self, event: Value) -> Result<()> {
        Self::begin(self, event).map(|_| ())
    }

    fn invoke(&self, event: Value) -> Result<Outcome> {
        Self::invoke(self, event)
    }

    fn await_frozen(&self) -> Result<()> {
        Self::await_frozen(self)
    }

    fn kill(self: Box<Self>) -> Result<()> {
        Self::kill(*self)
    }
}

/// Plays scenarios on functions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LambdaRunner {
    /// Under a simulator that stops processes between events, and may kill them.
    Simulator,
    /// Under `cargo lambda watch`.
    Watch,
}

impl Runner for LambdaRunner {
    fn name(&self) -> &'static str {
        match self {
            Self::Simulator => "lambda",
            Self::Watch => "lambda-watch",
        }
    }

    fn refuses(&self, scenario: &Scenario) -> Option<String> {
        if scenario.steps.iter().any(|line| line.text.contains("\"cluster\":")) {
            return Some("this stage gives each scenario a cluster of its own".to_owned());
        }
        if *self == Self::Watch
            && scenario.steps.iter().any(|line| matches!(&line.step, Step::Act(act) if needs_a_platform(act)))
        {
            return Some("this emulator freezes nothing, and bears no environment that ends".to_owned());
        }
        let refused = scenario.steps.iter().find_map(|line| refuses(&line.step, &scenario.config));
        refused.map(str::to_owned).or_else(|| too_slow(scenario))
    }

    fn seeds(&self, _scenario: &Scenario) -> u64 {
        1
    }

    fn open(&self, scenario: &Scenario, _seed: u64) -> Result<Box<dyn Stage>> {
        let cluster = fresh_cluster(&scenario.name);
        let environments: Box<dyn Environments> = match self {
            Self::Simulator => Box::new(Simulated { cluster }),
            Self::Watch => Box::new(Watched::start(&cluster)?),
        };
        Ok(Box::new(LambdaStage { usual: scenario.config.clone(), environments, players: Vec::new() }))
    }
}

/// Whether only a platform that stops and reclaims environments can do it.
fn needs_a_platform(act: &Act) -> bool {
    matches!(act, Act::Freeze(_) | Act::Thaw(_) | Act::Kill(_))
}

/// What this stage cannot do.
fn refuses(step: &Step, usual: &Settings) -> Option<&'static str> {
    let act = match step {
        Step::Ask(_) => return None,
        Step::Settle(settle) if settle.quiet => return Some("the host does not tell who is quiet, it freezes them"),
        Step::Settle(_) | Step::Roots(_) => return None,
        Step::Members(_) => return Some("who is awake is up to the platform, which freezes them by itself"),
        Step::Traffic(_) => return Some("traffic between real replicas has no exact figures"),
        Step::Act(act) => act,
    };
    match &**act {
        Act::Start(start) if start.clock_ms != 0 => Some("replicas share the real clock"),
        Act::Start(start) if start.load.is_some() => Some("stored parts are handed in one by one only where stepped"),
        Act::Start(start) if start.refused.is_some() => Some("the host refuses such settings before it starts"),
        Act::Start(start) if start.name.is_some() => Some("a function's replica makes its own name"),
        Act::Start(start) if start.cluster.is_some() => Some("this stage has one cluster a scenario"),
        Act::Start(start) if start.lease_ms.is_some() => Some("the platform says how long a function is awake"),
        Act::Start(start) if start.founder.is_some_and(|founder| !founder) => {
            Some("nobody tells a function whether it is the first")
        }
        Act::Start(start) => variables(usual, &start.config).err(),
        Act::Thaw(thaw) if thaw.anew || thaw.load.is_some() => Some("to outlast the retention needs a virtual clock"),
        Act::Leave(_) => Some("the platform reclaims a function without notice, so none leaves"),
        Act::Freeze(_) | Act::Thaw(_) | Act::Kill(_) | Act::Advance(_) => None,
        Act::Deliver(_)
        | Act::Partition(_)
        | Act::Heal(_)
        | Act::Fault(_)
        | Act::Reorder(_)
        | Act::Broker(_)
        | Act::Inject(_)
        | Act::Mangle(_)
        | Act::Unbind(_)
        | Act::Mark(_) => Some("nothing stands between these functions and the real broker"),
        Act::Save(_) | Act::Spoil(_) => Some("stored parts are handled one by one only where stepped"),
        Act::Clock(_) => Some("replicas share the real clock"),
    }
}

/// The settings as variables of the function, where it has such variables.
fn variables(usual: &Settings, own: &Settings) -> Result<Vec<(&'static str, String)>, &'static str> {
    const KIB: u64 = 1 << 10;
    const MIB: u64 = 1 << 20;
    let given = [
        ("DAYFLY_FRAME_KIB", own.frame_bytes.or(usual.frame_bytes).map(u64::from), KIB),
        ("DAYFLY_REPAIR_KIB", own.repair_bytes.or(usual.repair_bytes).map(u64::from), KIB),
        ("DAYFLY_STORE_MIB", own.store_bytes.or(usual.store_bytes), MIB),
        ("DAYFLY_INBOX_MIB", own.inbox_bytes.or(usual.inbox_bytes).map(|bytes| bytes as u64), MIB),
        ("DAYFLY_RETENTION", own.retention_ms.or(usual.retention_ms), 1_000),
        ("DAYFLY_BURST_MS", own.burst_ms.or(usual.burst_ms).map(u64::from), 1),
        ("DAYFLY_COMBINE_ABOVE", own.combine_above.or(usual.combine_above).map(u64::from), 1),
        ("DAYFLY_COMBINE_MS", own.combine_ms.or(usual.combine_ms).map(u64::from), 1),
        ("DAYFLY_LOG_MIB", own.log_bytes.or(usual.log_bytes), MIB),
    ];
    let others = [own, usual].into_iter().any(|settings| {
        settings.host.is_some()
            || settings.component_hash.is_some()
            || settings.skew_ms.is_some()
            || settings.bootstrap_ms.is_some()
    });
    let is_whole = |(_, value, unit): &(&str, Option<u64>, u64)| value.is_none_or(|value| value % unit == 0);
    if others || !given.iter().all(is_whole) {
        return Err("the function has no such setting");
    }
    let written = |(name, value, unit): (&'static str, Option<u64>, u64)| Some((name, (value? / unit).to_string()));
    Ok(given.into_iter().filter_map(written).collect())
}

/// A function that was started, and what became of it.
struct Player {
    label: String,
    name: String,
    /// None once it was killed.
    function: Option<Box<dyn Environment>>,
    /// It is not to be woken.
    is_frozen: bool,
}

struct LambdaStage {
    usual: Settings,
    environments: Box<dyn Environments>,
    players: Vec<Player>,
}

impl LambdaStage {
    fn start(&mut self, start: &Start) -> Result<()> {
        let mut given = variables(&self.usual, &start.config).map_err(|reason| anyhow::anyhow!(reason))?;
        given.extend([("DAYFLY_REGION", start.region.clone()), ("DAYFLY_ZONE", start.zone.clone())]);
        given.push(("DAYFLY_LINGER", LINGER.to_owned()));
        let given: Vec<(&str, &str)> = given.iter().map(|(name, value)| (*name, value.as_str())).collect();
        // Others are awake meanwhile, as a keeper has it: a newcomer that finds nobody takes itself for the first.
        for player in self.players.iter().filter(|player| !player.is_frozen) {
            if let Some(other) = &player.function {
                other.begin(json!({"wake": {"seconds": OVERLAP_SECONDS}}))?;
            }
        }
        let function = self.environments.start(&given)?;
        let status = Request { method: "GET".into(), path: "/v1/status".into(), ..Request::default() };
        let answer = function.ask(&status)?;
        let name = answer.header("dayfly-replica").context("a replica without name")?.to_owned();
        // It is frozen once it has the whole database, and not before.
        function.await_frozen()?;
        self.players.push(Player { label: start.label.clone(), name, function: Some(function), is_frozen: false });
        Ok(())
    }

    fn player(&mut self, label: &str) -> Result<&mut Player> {
        let found = self.players.iter_mut().rev().find(|player| player.label == label);
        found.with_context(|| format!("no replica has been started as {label:?}"))
    }

    /// Wakes all at the same time, so that they hear each other; what they answer.
    fn wake_all(&self) -> Result<Vec<Value>> {
        let awake =
            self.players.iter().filter(|player| !player.is_frozen).filter_map(|player| player.function.as_ref());
        thread::scope(|scope| {
            let woken: Vec<_> = awake.map(|function| scope.spawn(|| function.wake(WAKE_SECONDS))).collect();
            woken.into_iter().map(|woken| woken.join().expect("waking does not panic")).collect()
        })
    }
}

impl Stage for LambdaStage {
    fn act(&mut self, act: &Act) -> Result<()> {
        match act {
            Act::Start(start) => self.start(start)?,
            Act::Advance(advance) => thread::sleep(Duration::from_millis(advance.ms)),
            Act::Freeze(freeze) => {
                let player = self.player(&freeze.label)?;
                player.function.as_ref().with_context(|| format!("{} does not live", freeze.label))?.await_frozen()?;
                player.is_frozen = true;
            }
            Act::Thaw(thaw) => self.player(&thaw.label)?.is_frozen = false,
            Act::Kill(kill) => {
                let function = self.player(&kill.label)?.function.take();
                function.with_context(|| format!("{} does not live", kill.label))?.kill()?;
            }
            Act::Leave(_)
            | Act::Deliver(_)
            | Act::Partition(_)
            | Act::Heal(_)
            | Act::Fault(_)
            | Act::Reorder(_)
            | Act::Broker(_)
            | Act::Inject(_)
            | Act::Mangle(_)
            | Act::Save(_)
            | Act::Spoil(_)
            | Act::Clock(_)
            | Act::Unbind(_)
            | Act::Mark(_) => bail!("this stage cannot do it: {act:?}"),
        }
        Ok(())
    }

    fn request(&mut self, label: &str, request: &Request, _confirmed: bool) -> Result<Answer> {
        let player = self.player(label)?;
        player.function.as_ref().with_context(|| format!("{label} does not live"))?.ask(request)
    }

    fn settle(&mut self, within_ms: u64, _quiet: bool) -> Result<Vec<Vec<String>>> {
        let until = Instant::now() + Duration::from_millis(within_ms) + SETTLE;
        loop {
            // Each tells its root when it has taken in what waited for it, and what it sent before its last freeze is safe.
            let answers = self.wake_all()?;
            if answers.iter().all(|answer| answer["complete"] == true && answer["root"] == answers[0]["root"]) {
                return Ok(vec![self.awake()]);
            }
            ensure!(Instant::now() < until, "not settled: {answers:?}");
        }
    }

    fn awake(&self) -> Vec<String> {
        let awake = |player: &&Player| player.function.is_some() && !player.is_frozen;
        self.players.iter().filter(awake).map(|player| player.label.clone()).collect()
    }

    fn name_of(&self, label: &str) -> Result<String> {
        let found = self.players.iter().rev().find(|player| player.label == label);
        Ok(found.with_context(|| format!("no replica has been started as {label:?}"))?.name.clone())
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
        self.players.into_iter().filter_map(|player| player.function).try_for_each(Environment::kill)
    }
}
