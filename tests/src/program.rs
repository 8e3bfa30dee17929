//! The stage of the real program: `dayfly up` in a process of its own, reached over HTTP as clients reach it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use dayfly_conformance::act::{Act, Settings};
use dayfly_conformance::expectation::percent_encode;
use dayfly_conformance::http::{Answer, Request};
use dayfly_conformance::scenario::Scenario;
use dayfly_conformance::stage::{Runner, Stage};
use dayfly_conformance::step::Step;
use serde_json::Value;

use crate::client::Client;
use crate::native::too_slow;
use crate::process::Process;
use crate::status::Status;

/// How often the roots are compared while things settle.
const POLL: Duration = Duration::from_millis(20);

/// A running `dayfly up`. Dropping it kills the process.
#[derive(Debug)]
pub struct Program {
    process: Process,
}

impl Program {
    /// Runs `dayfly up` with these arguments, on a port of its own, and waits until it stands.
    pub fn up(arguments: &[&str]) -> Result<Self> {
        let usual = ["up", "--json", "--listen", "127.0.0.1:0"];
        Ok(Self { process: Process::listening(&[&usual[..], arguments].concat())? })
    }

    /// Where it listens.
    pub fn url(&self) -> &str {
        self.process.url()
    }

    /// The lines that it has written so far.
    pub fn told(&self) -> Vec<Value> {
        self.process.told()
    }

    /// Ends it as Ctrl-C does, and gives what it wrote. An error if it does not end well.
    pub fn end(self) -> Result<Vec<Value>> {
        self.process.end()
    }

    /// The members that a replica lists as neither gone nor left.
    pub fn members(&self) -> Result<Vec<String>> {
        let answer = Client::new(self.url())?.get("/v1/members")?;
        let body: Value = serde_json::from_slice(&answer.body).context("the members are no JSON")?;
        let members = body["members"].as_array().context("no members")?;
        let here = members.iter().filter(|member| member["state"] != "gone");
        here.map(|member| Ok(member["name"].as_str().context("a member without name")?.to_owned())).collect()
    }
}

/// Programs that wait for another scenario, by how many replicas they have.
type Idle = Arc<Mutex<BTreeMap<usize, Vec<Program>>>>;

/// Plays scenarios on the real program. Programs are used again where the scenario cannot tell.
pub struct ProgramRunner {
    idle: Idle,
}

impl ProgramRunner {
    /// A runner without programs yet.
    pub fn new() -> Self {
        Self { idle: Arc::default() }
    }

    /// Ends the programs that wait for another scenario.
    pub fn end_all(&self) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

impl Default for ProgramRunner {
    fn default() -> Self {
        Self::new()
    }
}

/// How many replicas a scenario begins with.
fn replicas(scenario: &Scenario) -> usize {
    let starts = |step: &Step| matches!(step, Step::Act(act) if matches!(&**act, Act::Start(_)));
    scenario.steps.iter().take_while(|line| starts(&line.step)).count()
}

impl Runner for ProgramRunner {
    fn name(&self) -> &'static str {
        "program"
    }

    fn refuses(&self, scenario: &Scenario) -> Option<String> {
        let mut steps = scenario.steps.iter().skip(replicas(scenario));
        let reason = if scenario.config != Settings::default() {
            Some("`dayfly up` has no such settings")
        } else {
            let later = steps.find_map(|line| refuses(&line.step));
            later.or_else(|| scenario.steps.iter().take(replicas(scenario)).find_map(|line| refuses_start(&line.step)))
        };
        reason.map(str::to_owned).or_else(|| too_slow(scenario))
    }

    fn seeds(&self, _scenario: &Scenario) -> u64 {
        1
    }

    fn open(&self, scenario: &Scenario, _seed: u64) -> Result<Box<dyn Stage>> {
        let count = replicas(scenario);
        let fresh = scenario.steps.iter().any(|line| line.text.contains("/v1/status") || line.text.contains("members"));
        let used = || self.idle.lock().unwrap_or_else(PoisonError::into_inner).get_mut(&count)?.pop();
        let program = match if fresh { None } else { used() } {
            Some(program) => program,
            None => Program::up(&["--replicas", &count.to_string()])?,
        };
        let names = program.members()?;
        ensure!(names.len() == count, "{names:?} in place of {count} replicas");
        let mut names = names.into_iter();
        let mut labels = Vec::new();
        for line in scenario.steps.iter().take(count) {
            let Step::Act(act) = &line.step else { continue };
            let Act::Start(start) = &**act else { continue };
            labels.push((start.label.clone(), names.next().context("a name for each")?));
        }
        let idle = (!fresh).then(|| Arc::clone(&self.idle));
        Ok(Box::new(ProgramStage { program, labels, started: 0, idle }))
    }
}

/// What a step after the starts asks that this stage cannot do.
fn refuses(step: &Step) -> Option<&'static str> {
    let act = match step {
        Step::Settle(settle) if settle.quiet => return Some("the program does not tell who is quiet"),
        Step::Ask(_) | Step::Settle(_) | Step::Members(_) | Step::Roots(_) => return None,
        Step::Traffic(_) => return Some("the program counts no traffic between replicas"),
        Step::Act(act) => act,
    };
    match &**act {
        Act::Advance(_) => None,
        Act::Start(_) => Some("`dayfly up` starts its replicas before the first request"),
        Act::Freeze(_) | Act::Thaw(_) | Act::Kill(_) | Act::Leave(_) => {
            Some("`dayfly up` ends and freezes replicas by itself, not one that a client names")
        }
        Act::Deliver(_)
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
        | Act::Mark(_) => Some("clients reach neither the broker nor the clock of the program"),
    }
}

fn refuses_start(step: &Step) -> Option<&'static str> {
    let Step::Act(act) = step else { return None };
    let Act::Start(start) = &**act else { return None };
    (!start.is_plain()).then_some("`dayfly up` starts replicas that are all alike")
}

struct ProgramStage {
    program: Program,
    /// Labels with the names of the replicas that they stand for.
    labels: Vec<(String, String)>,
    started: usize,
    /// Where the program goes when the scenario has ended well.
    idle: Option<Idle>,
}

impl ProgramStage {
    fn name(&self, label: &str) -> Result<&str> {
        let found = self.labels.iter().find(|(other, _)| other == label);
        Ok(&found.with_context(|| format!("no replica has been started as {label:?}"))?.1)
    }

    fn status(&mut self, label: &str) -> Result<Status> {
        let request = Request { method: "GET".into(), path: "/v1/status".into(), ..Request::default() };
        let answer = self.request(label, &request, false)?;
        serde_json::from_slice(&answer.body).context("the status is not as wit/http-api.md has it")
    }

    /// Deletes every key, so that the program can serve another scenario.
    fn clear(&mut self) -> Result<()> {
        let mut client = Client::new(self.program.url())?;
        loop {
            let answer = client.get("/v1/keys?limit=1000")?;
            let page: Value = serde_json::from_slice(&answer.body)?;
            let keys = page["keys"].as_array().context("no keys")?;
            if keys.is_empty() {
                self.settle(60_000, false)?;
                return Ok(());
            }
            for key in keys {
                let (kind, name) = (key["type"].as_str().context("type")?, key["key"].as_str().context("key")?);
                let answer = client.send("DELETE", &format!("/v1/data/{kind}/{}", percent_encode(name)), &[], b"")?;
                ensure!(answer.status == 204, "DELETE of {key}: {}", answer.status);
            }
            self.settle(60_000, false)?;
        }
    }
}

impl Stage for ProgramStage {
    fn act(&mut self, act: &Act) -> Result<()> {
        match act {
            Act::Start(_) => self.started += 1,
            Act::Advance(advance) => thread::sleep(Duration::from_millis(advance.ms)),
            Act::Freeze(_)
            | Act::Thaw(_)
            | Act::Kill(_)
            | Act::Leave(_)
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
        Client::new(&format!("{}/replicas/{}", self.program.url(), self.name(label)?))?.ask(request)
    }

    fn settle(&mut self, within_ms: u64, _quiet: bool) -> Result<Vec<Vec<String>>> {
        let until = Instant::now() + Duration::from_millis(within_ms);
        let labels = self.awake();
        loop {
            let statuses: Vec<_> = labels.iter().map(|label| self.status(label)).collect::<Result<_>>()?;
            if statuses.iter().all(|status| status.is_done() && status.root == statuses[0].root) {
                return Ok(vec![labels]);
            }
            ensure!(Instant::now() < until, "not settled within {within_ms} ms: {statuses:?}");
            thread::sleep(POLL);
        }
    }

    fn awake(&self) -> Vec<String> {
        self.labels.iter().take(self.started).map(|(label, _)| label.clone()).collect()
    }

    fn name_of(&self, label: &str) -> Result<Option<String>> {
        Ok(Some(self.name(label)?.to_owned()))
    }

    fn labels(&self) -> Vec<String> {
        self.awake()
    }

    fn is_still(&self) -> bool {
        false
    }

    fn traffic(&self, _to: Option<&str>) -> Option<(u64, u64)> {
        None
    }

    fn close(mut self: Box<Self>) -> Result<()> {
        let Some(idle) = self.idle.take() else { return self.program.end().map(|_| ()) };
        self.clear().context("clearing up")?;
        let count = self.labels.len();
        idle.lock().unwrap_or_else(PoisonError::into_inner).entry(count).or_default().push(self.program);
        Ok(())
    }
}
