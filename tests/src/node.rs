//! The stage of separate processes: each replica is a `dayfly node`, and they share nothing but RabbitMQ. A freeze is a
//! SIGSTOP and a kill a SIGKILL.

use std::collections::BTreeMap;
use std::env;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, anyhow, bail, ensure};
use dayfly_conformance::act::{Act, Settings, Start};
use dayfly_conformance::http::{Answer, Request};
use dayfly_conformance::scenario::Scenario;
use dayfly_conformance::stage::{Runner, Stage};
use dayfly_conformance::step::Step;
use dayfly_conformance::text::Variables;

use crate::client::Client;
use crate::native::too_slow;
use crate::patience::await_that;
use crate::process::Process;
use crate::status::Status;
use crate::told::told;

/// Where the tests' RabbitMQ is.
pub const BROKER_VARIABLE: &str = "DAYFLY_TEST_BROKER";

/// How often the state of replicas is looked at while something is awaited.
const POLL: Duration = Duration::from_millis(20);

/// How long a replica may take to be complete and connected.
const READY: Duration = Duration::from_secs(60);

/// The URL of the tests' RabbitMQ.
pub fn broker_url() -> Result<String> {
    env::var(BROKER_VARIABLE)
        .with_context(|| format!("{BROKER_VARIABLE} does not name a RabbitMQ: run the tests by `cargo xtask test`"))
}

/// A name that no other cluster of this broker has.
pub fn fresh_cluster(what: &str) -> String {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let mut what: String = what.chars().take(24).collect();
    what.retain(|character| character.is_ascii_lowercase() || character.is_ascii_digit() || character == '_');
    format!("{what}-{:x}-{:x}-{number}", std::process::id(), since.as_millis())
}

/// A replica in a process of its own. Dropping it kills the process.
#[derive(Debug)]
pub struct Node {
    process: Process,
    name: String,
}

impl Node {
    /// Runs `dayfly node` as a replica of this cluster, with further arguments, and waits until it serves HTTP; it may
    /// still be filled.
    pub fn start(cluster: &str, name: &str, arguments: &[&str]) -> Result<Self> {
        Self::start_at(&broker_url()?, cluster, name, arguments)
    }

    /// The same at the broker of this URL.
    pub fn start_at(broker: &str, cluster: &str, name: &str, arguments: &[&str]) -> Result<Self> {
        let process = Process::listening(&command_line(broker, cluster, name, arguments))?;
        Ok(Self { process, name: name.to_owned() })
    }

    /// As [`Self::start`], where Ctrl-C at the terminal does not reach it.
    pub fn start_apart(cluster: &str, name: &str, arguments: &[&str]) -> Result<Self> {
        let process = Process::listening_apart(&command_line(&broker_url()?, cluster, name, arguments))?;
        Ok(Self { process, name: name.to_owned() })
    }

    /// The number of its process.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// How it has ended, if it has.
    pub fn ended(&mut self) -> Result<Option<std::process::ExitStatus>> {
        self.process.ended()
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it listens.
    pub fn url(&self) -> &str {
        self.process.url()
    }

    /// A client of it.
    pub fn client(&self) -> Result<Client> {
        Client::new(self.url())
    }

    /// Its status.
    pub fn status(&self) -> Result<Status> {
        let answer = self.client()?.get("/v1/status")?;
        serde_json::from_slice(&answer.body).context("the status is not as wit/http-api.md has it")
    }

    /// Waits until it has the whole database and the broker.
    pub fn await_ready(&self) -> Result<()> {
        let until = Instant::now() + READY;
        while self.client()?.get("/readyz")?.status != 200 {
            ensure!(Instant::now() < until, "{} is not ready within {} s", self.name, READY.as_secs());
            thread::sleep(POLL);
        }
        Ok(())
    }

    /// Freezes it, as a platform that tells nobody does.
    pub fn freeze(&self) -> Result<()> {
        self.process.signal("STOP")
    }

    /// Lets it go on.
    pub fn thaw(&self) -> Result<()> {
        self.process.signal("CONT")
    }

    /// Kills it at once.
    pub fn kill(mut self) -> Result<()> {
        self.process.signal("KILL")?;
        self.process.wait().map(|_| ())
    }

    /// Has it leave in good order.
    pub fn leave(self) -> Result<()> {
        self.process.end().map(|_| ())
    }

    /// Waits until it ends by itself, and says how.
    pub fn wait(mut self) -> Result<std::process::ExitStatus> {
        self.process.wait()
    }
}

fn command_line<'a>(broker: &'a str, cluster: &'a str, name: &'a str, arguments: &[&'a str]) -> Vec<&'a str> {
    let usual = ["node", "--json", "--listen", "127.0.0.1:0", "--broker", broker, "--cluster", cluster, "--name", name];
    [&usual[..], arguments].concat()
}

/// Waits until all of these are done and agree; gives the root.
pub fn settle(nodes: &[&Node], within: Duration) -> Result<String> {
    let until = Instant::now() + within;
    loop {
        let statuses: Vec<_> = nodes.iter().map(|node| node.status()).collect::<Result<_>>()?;
        if statuses.iter().all(|status| status.is_done() && status.root == statuses[0].root) {
            return Ok(statuses[0].root.clone());
        }
        ensure!(Instant::now() < until, "not settled within {within:?}: {statuses:?}");
        thread::sleep(POLL);
    }
}

/// Plays scenarios on processes.
pub struct NodeRunner;

impl Runner for NodeRunner {
    fn name(&self) -> &'static str {
        "node"
    }

    fn refuses(&self, scenario: &Scenario) -> Option<String> {
        if scenario.steps.iter().any(|line| line.text.contains("\"cluster\":")) {
            return Some("this stage gives each scenario a cluster of its own".to_owned());
        }
        let looks_at_members = scenario.steps.iter().any(|line| matches!(line.step, Step::Members(_)));
        let refused = scenario.steps.iter().find_map(|line| match &line.step {
            Step::Act(act) if looks_at_members && matches!(&**act, Act::Freeze(_)) => {
                Some("a process that is stopped by a signal announces nothing")
            }
            step => refuses(step, &scenario.config),
        });
        refused.map(str::to_owned).or_else(|| too_slow(scenario))
    }

    fn seeds(&self, _scenario: &Scenario) -> u64 {
        1
    }

    fn open(&self, scenario: &Scenario, _seed: u64) -> Result<Box<dyn Stage>> {
        let cluster = fresh_cluster(&scenario.name);
        Ok(Box::new(NodeStage { usual: scenario.config.clone(), cluster, players: Vec::new() }))
    }
}

/// What this stage cannot do.
fn refuses(step: &Step, usual: &Settings) -> Option<&'static str> {
    let act = match step {
        Step::Settle(settle) if settle.quiet => return Some("the program does not tell who is quiet"),
        Step::Ask(_) | Step::Settle(_) | Step::Members(_) | Step::Roots(_) => return None,
        Step::Traffic(_) => return Some("traffic between real replicas has no exact figures"),
        Step::Act(act) => act,
    };
    match &**act {
        Act::Start(start) if start.clock_ms != 0 => Some("replicas share the real clock"),
        Act::Start(start) if start.load.is_some() => Some("stored parts are handed in one by one only where stepped"),
        Act::Start(start) if start.refused.is_some() => Some("the program refuses such settings before it starts"),
        Act::Start(start) if start.unnamed => Some("this stage finds its processes by their names"),
        Act::Start(start) if start.lease_ms.is_some() => Some("a node prolongs its lease by itself"),
        Act::Start(start) if start.founder.is_some_and(|founder| !founder) => {
            Some("nobody tells a node whether it is the first")
        }
        Act::Start(start) => told(usual, &start.config).err(),
        Act::Thaw(thaw) if thaw.load.is_some() => Some("stored parts are handed in one by one only where stepped"),
        Act::Freeze(_) | Act::Thaw(_) | Act::Kill(_) | Act::Leave(_) | Act::Advance(_) => None,
        Act::Deliver(_)
        | Act::Partition(_)
        | Act::Heal(_)
        | Act::Fault(_)
        | Act::Reorder(_)
        | Act::Broker(_)
        | Act::Inject(_)
        | Act::Mangle(_)
        | Act::Unbind(_)
        | Act::Mark(_) => Some("nothing stands between these processes and the real broker"),
        Act::Save(_) | Act::Spoil(_) => Some("stored parts are handled one by one only where stepped"),
        Act::Clock(_) => Some("replicas share the real clock"),
    }
}

/// A replica that was started, and what became of it.
struct Player {
    label: String,
    cluster: String,
    name: String,
    /// None once it was killed or has left.
    node: Option<Node>,
    is_frozen: bool,
    /// Its incarnation when it was frozen last.
    frozen: u64,
}

struct NodeStage {
    usual: Settings,
    /// The usual cluster of this run. The names of others begin with it: no other run has them.
    cluster: String,
    players: Vec<Player>,
}

impl NodeStage {
    fn start(&mut self, start: &Start) -> Result<()> {
        let name = match &start.name {
            Some(name) => name.string(&Variables::new())?,
            None => start.label.clone(),
        };
        let mut told = told(&self.usual, &start.config).map_err(|reason| anyhow!(reason))?;
        told.extend([("region", start.region.clone()), ("zone", start.zone.clone())]);
        told.retain(|(_, value)| !value.is_empty());
        let flags: Vec<String> = told.into_iter().flat_map(|(name, value)| [format!("--{name}"), value]).collect();
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
        let cluster = match &start.cluster {
            Some(other) => format!("{}-{other}", self.cluster),
            None => self.cluster.clone(),
        };
        let is_first = !self.players.iter().any(|player| player.cluster == cluster);
        let node = Node::start(&cluster, &name, &flags)?;
        if is_first {
            // It is the founder once it has found nobody.
            node.await_ready()?;
        }
        let label = start.label.clone();
        self.players.push(Player { label, cluster, name, node: Some(node), is_frozen: false, frozen: 0 });
        Ok(())
    }

    fn player(&mut self, label: &str) -> Result<&mut Player> {
        let found = self.players.iter_mut().rev().find(|player| player.label == label);
        found.with_context(|| format!("no replica has been started as {label:?}"))
    }

    fn node(&mut self, label: &str) -> Result<&Node> {
        let player = self.player(label)?;
        player.node.as_ref().with_context(|| format!("{label} does not live"))
    }
}

impl Stage for NodeStage {
    fn act(&mut self, act: &Act) -> Result<()> {
        match act {
            Act::Start(start) => self.start(start)?,
            Act::Advance(advance) => thread::sleep(Duration::from_millis(advance.ms)),
            Act::Freeze(freeze) => {
                let node = self.node(&freeze.label)?;
                let frozen = node.status()?.incarnation;
                node.freeze()?;
                let player = self.player(&freeze.label)?;
                (player.is_frozen, player.frozen) = (true, frozen);
            }
            Act::Thaw(thaw) => {
                let frozen = self.player(&thaw.label)?.frozen;
                let node = self.node(&thaw.label)?;
                node.thaw()?;
                if thaw.anew {
                    // It does with its first call, which a request may come before.
                    await_that("it starts anew", || Ok(node.status()?.incarnation > frozen))?;
                }
                self.player(&thaw.label)?.is_frozen = false;
            }
            Act::Kill(kill) => {
                let node = self.player(&kill.label)?.node.take();
                node.with_context(|| format!("{} does not live", kill.label))?.kill()?;
            }
            Act::Leave(leave) => {
                let node = self.player(&leave.label)?.node.take();
                node.with_context(|| format!("{} does not live", leave.label))?.leave()?;
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
            | Act::Mark(_) => bail!("this stage cannot do it: {act:?}"),
        }
        Ok(())
    }

    fn request(&mut self, label: &str, request: &Request, _confirmed: bool) -> Result<Answer> {
        self.node(label)?.client()?.ask(request)
    }

    fn settle(&mut self, within_ms: u64, _quiet: bool) -> Result<Vec<Vec<String>>> {
        let mut clusters: BTreeMap<&str, (Vec<&Node>, Vec<String>)> = BTreeMap::new();
        for player in self.players.iter().filter(|player| !player.is_frozen) {
            let Some(node) = &player.node else { continue };
            let (nodes, labels) = clusters.entry(&player.cluster).or_default();
            nodes.push(node);
            labels.push(player.label.clone());
        }
        // Processes that start and a broker that stores take their time.
        let within = Duration::from_millis(within_ms) + READY;
        clusters.into_values().map(|(nodes, labels)| settle(&nodes, within).map(|_| labels)).collect()
    }

    fn awake(&self) -> Vec<String> {
        let awake = |player: &&Player| player.node.is_some() && !player.is_frozen;
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
        for player in self.players {
            match player.node {
                Some(node) if player.is_frozen => node.kill()?,
                // Its inbox goes with it.
                Some(node) => node.leave()?,
                None => {}
            }
        }
        Ok(())
    }
}
