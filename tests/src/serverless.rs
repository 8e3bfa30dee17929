//! The stage of platforms that run functions: each replica is a function in an environment of its own, and they share
//! nothing but RabbitMQ. Between any two steps the platform may freeze an environment, or drop what runs in it; a step
//! that freezes one keeps it from being woken.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use dayfly_conformance::act::{Act, Settings, Start};
use dayfly_conformance::http::{Answer, Request};
use dayfly_conformance::scenario::Scenario;
use dayfly_conformance::stage::Stage;
use dayfly_conformance::step::Step;
use serde_json::Value;

use crate::native::too_slow;
use crate::told::{Told, told};

/// How long things may take in all to settle, besides what a scenario gives them: functions are woken and frozen.
const SETTLE: Duration = Duration::from_secs(60);
/// For how long each is woken while things settle.
const WAKE_SECONDS: f64 = 1.0;
/// For how long the others are woken when one is started.
const OVERLAP_SECONDS: f64 = 2.0;

/// An environment in which the platform runs a function, and a replica with it.
pub trait Environment: Send + Sync {
    /// Sends it a request, and waits for the answer.
    fn ask(&self, request: &Request) -> Result<Answer>;

    /// Has it be awake for a while, and waits until that is over. Tells at least `complete` and `root`.
    fn wake(&self, seconds: f64) -> Result<Value>;

    /// Has it be awake for a while, and waits for nothing.
    fn begin_wake(&self, seconds: f64) -> Result<()>;

    /// Waits until it has the whole database, as far as it can know.
    fn await_filled(&self) -> Result<()>;

    /// Sees to it that it is frozen.
    fn freeze(&self) -> Result<()>;

    /// Lets it be woken again.
    fn thaw(&self) -> Result<()>;

    /// Whether the next request may be answered by another replica, since the platform runs several in it.
    fn has_many_replicas(&self) -> bool;

    /// Reclaims it without notice.
    fn kill(self: Box<Self>) -> Result<()>;
}

/// What starts environments of one cluster.
pub trait Environments {
    /// Starts one with these settings besides the usual ones.
    fn start(&mut self, settings: &[Told]) -> Result<Box<dyn Environment>>;
}

/// Why no such stage can play a scenario.
pub fn refuses(scenario: &Scenario) -> Option<String> {
    if scenario.steps.iter().any(|line| line.text.contains("\"cluster\":")) {
        return Some("this stage gives each scenario a cluster of its own".to_owned());
    }
    let refused = scenario.steps.iter().find_map(|line| refuses_step(&line.step, &scenario.config));
    refused.map(str::to_owned).or_else(|| too_slow(scenario))
}

/// Why such a stage cannot do this.
fn refuses_step(step: &Step, usual: &Settings) -> Option<&'static str> {
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
        Act::Start(start) => told(usual, &start.config).err(),
        Act::Thaw(thaw) if thaw.anew || thaw.load.is_some() => {
            Some("the platform freezes the others as well, so that all would outlast the retention")
        }
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

/// A function that was started, and what became of it.
struct Player {
    label: String,
    /// The name of the replica that answered last.
    name: String,
    /// None once it was killed.
    function: Option<Box<dyn Environment>>,
    /// It is not to be woken.
    is_frozen: bool,
}

/// Functions on a platform.
pub struct FunctionStage {
    usual: Settings,
    environments: Box<dyn Environments>,
    players: Vec<Player>,
}

impl FunctionStage {
    /// A stage for this scenario, on which nothing runs yet.
    pub fn new(scenario: &Scenario, environments: Box<dyn Environments>) -> Self {
        Self { usual: scenario.config.clone(), environments, players: Vec::new() }
    }

    fn start(&mut self, start: &Start) -> Result<()> {
        let mut settings = told(&self.usual, &start.config).map_err(|reason| anyhow!(reason))?;
        settings.extend([("region", start.region.clone()), ("zone", start.zone.clone())]);
        // Others are awake meanwhile, as a keeper has it: a newcomer that finds nobody takes itself for the first.
        for player in self.players.iter().filter(|player| !player.is_frozen) {
            if let Some(other) = &player.function {
                other.begin_wake(OVERLAP_SECONDS)?;
            }
        }
        let function = self.environments.start(&settings)?;
        let status = Request { method: "GET".into(), path: "/v1/status".into(), ..Request::default() };
        let answer = function.ask(&status)?;
        let name = answer.header("dayfly-replica").context("a replica without name")?.to_owned();
        function.await_filled()?;
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

impl Stage for FunctionStage {
    fn act(&mut self, act: &Act) -> Result<()> {
        match act {
            Act::Start(start) => self.start(start)?,
            Act::Advance(advance) => thread::sleep(Duration::from_millis(advance.ms)),
            Act::Freeze(freeze) => {
                let player = self.player(&freeze.label)?;
                player.function.as_ref().with_context(|| format!("{} does not live", freeze.label))?.freeze()?;
                player.is_frozen = true;
            }
            Act::Thaw(thaw) => {
                let player = self.player(&thaw.label)?;
                player.function.as_ref().with_context(|| format!("{} does not live", thaw.label))?.thaw()?;
                player.is_frozen = false;
            }
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
        let function = player.function.as_ref().with_context(|| format!("{label} does not live"))?;
        let answer = function.ask(request)?;
        if let Some(name) = answer.header("dayfly-replica").filter(|_| function.has_many_replicas()) {
            player.name = name.to_owned();
        }
        Ok(answer)
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

    fn name_of(&self, label: &str) -> Result<Option<String>> {
        let found = self.players.iter().rev().find(|player| player.label == label);
        Ok(Some(found.with_context(|| format!("no replica has been started as {label:?}"))?.name.clone()))
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
