//! A cluster of replicas of both components.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use dayfly_conformance::act::Partition;
use dayfly_conformance::expectation::percent_encode;
use dayfly_core::frame::{Body, Frame, Want};
use dayfly_engine::contract::{Config, Request, Response};
use dayfly_engine::world::system_now_ms;
use dayfly_engine::{Lease, MemoryVault, Phase, Replica, ReplicaOptions, SystemWorld, usual_config};
use dayfly_tests::gate::Gate;
use dayfly_tests::status::{Combining, Log};
use serde::Deserialize;
use serde_json::Value;

use crate::earlier::Earlier;

/// How long anything that is awaited may take on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(20);
const CLUSTER: &str = "upgrade";
const INBOX_BYTES: usize = 64 << 20;
/// Short: what was lost alone shows by the next beat, at half of it, and who was killed is awake to others as long.
const LEASE_MS: u64 = 6_000;

/// Which component a replica is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Side {
    /// The one of an earlier commit.
    Earlier,
    /// The one of this checkout.
    Present,
}

impl Side {
    /// Both.
    pub const BOTH: [Self; 2] = [Self::Earlier, Self::Present];

    /// The other one.
    pub fn other(self) -> Self {
        match self {
            Self::Earlier => Self::Present,
            Self::Present => Self::Earlier,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Earlier => "earlier",
            Self::Present => "present",
        }
    }
}

/// What a replica tells of itself: only what both components have, since the earlier one may tell less.
#[derive(Clone, Debug, Deserialize)]
pub struct Status {
    /// Whether it has the whole database, as far as it can know.
    pub complete: bool,
    /// What it did as combiner.
    pub combining: Combining,
    /// What it knows of the log.
    pub log: Log,
    root: String,
    unsettled: u64,
    repair: Repair,
}

#[derive(Clone, Debug, Deserialize)]
struct Repair {
    sessions: u64,
    pending_ranges: u64,
}

impl Status {
    /// Whether it has nothing under way.
    fn is_done(&self) -> bool {
        self.complete && self.unsettled == 0 && self.repair.sessions == 0 && self.repair.pending_ranges == 0
    }
}

/// Keys (type and name) with their values.
pub type Contents = BTreeMap<(String, String), Value>;

/// The usual configuration of these tests: small frames, so that repair takes many.
pub fn config() -> Config {
    Config { frame_bytes: 8 << 10, repair_bytes: 32 << 10, burst_ms: 2, combine_ms: 20, ..usual_config(CLUSTER) }
}

/// Replicas on one bus.
pub struct Cluster<'e> {
    earlier: &'e Earlier,
    config: Config,
    gate: Gate,
    living: BTreeMap<String, Living>,
    started: usize,
    /// Of each side the kinds of frames that ended replicas have sent.
    said: BTreeMap<Side, BTreeSet<&'static str>>,
}

struct Living {
    side: Side,
    replica: Replica,
    awake: bool,
}

impl<'e> Cluster<'e> {
    /// One without replicas.
    pub fn new(earlier: &'e Earlier, config: Config) -> Self {
        let gate = Gate::new(CLUSTER, INBOX_BYTES, config.log_bytes as usize);
        Self { earlier, config, gate, living: BTreeMap::new(), started: 0, said: BTreeMap::new() }
    }

    /// Starts a replica, the first as the founder, and waits until it has the whole database.
    pub async fn start(&mut self, side: Side) -> Result<Replica> {
        let is_founder = self.started == 0;
        self.start_with(side, is_founder, None).await
    }

    /// The same with a vault of its own.
    pub async fn start_stored(&mut self, side: Side, vault: &Arc<MemoryVault>) -> Result<Replica> {
        let is_founder = self.started == 0;
        self.start_with(side, is_founder, Some(Arc::clone(vault))).await
    }

    async fn start_with(&mut self, side: Side, is_founder: bool, vault: Option<Arc<MemoryVault>>) -> Result<Replica> {
        self.started += 1;
        let name = format!("{}-{}", side.name(), self.started);
        let bootstrap_ms = if is_founder { 0 } else { self.config.bootstrap_ms };
        let config = Config { name: Some(name.clone()), bootstrap_ms, ..self.config.clone() };
        let mut options = ReplicaOptions::standing(config);
        options.lease = Lease::Standing { lease_ms: LEASE_MS };
        options.vault = vault.map(|vault| vault as Arc<_>);
        options.confirm_ms = PATIENCE.as_millis() as u64;
        let runtime = self.earlier.runtime(side)?;
        let replica = Replica::start(&runtime, Arc::new(self.gate.clone()), SystemWorld, options).await?;
        self.living.insert(name.clone(), Living { side, replica: replica.clone(), awake: true });
        let until = Instant::now() + PATIENCE;
        loop {
            let status = self.status(&name).await?;
            if status.complete {
                return Ok(replica);
            }
            ensure!(Instant::now() < until, "{name} is not filled: {status:?}");
            tokio::time::sleep(POLL).await;
        }
    }

    /// Freezes a replica.
    pub async fn freeze(&mut self, replica: &Replica) -> Result<()> {
        ensure!(replica.suspend().await, "{} has ended", replica.name());
        ensure!(replica.report().phase == Phase::Frozen, "{} is not frozen", replica.name());
        self.living_mut(replica)?.awake = false;
        Ok(())
    }

    /// Thaws it.
    pub async fn thaw(&mut self, replica: &Replica) -> Result<()> {
        ensure!(replica.wake(system_now_ms() + LEASE_MS).await, "{} has ended", replica.name());
        self.living_mut(replica)?.awake = true;
        Ok(())
    }

    /// Kills it without notice.
    pub async fn kill(&mut self, replica: &Replica) -> Result<()> {
        self.end(replica).await?;
        replica.kill();
        replica.ended().await;
        Ok(())
    }

    /// Lets it say farewell.
    pub async fn leave(&mut self, replica: &Replica) -> Result<()> {
        self.end(replica).await?;
        ensure!(replica.leave().await, "{} had ended", replica.name());
        Ok(())
    }

    /// What it dropped is looked at before it is gone.
    async fn end(&mut self, replica: &Replica) -> Result<()> {
        self.status(replica.name()).await?;
        let kinds = self.kinds_of(replica);
        let living = self.living.remove(replica.name()).context("it does not live")?;
        self.said.entry(living.side).or_default().extend(kinds);
        Ok(())
    }

    fn living_mut(&mut self, replica: &Replica) -> Result<&mut Living> {
        self.living.get_mut(replica.name()).with_context(|| format!("{} does not live", replica.name()))
    }

    /// What a replica tells of itself. All that it has received was understood.
    pub async fn status(&self, name: &str) -> Result<Status> {
        let living = self.living.get(name).with_context(|| format!("{name} does not live"))?;
        let body = get(&living.replica, "/v1/status").await?;
        let of_runtime = self.earlier.runtime(living.side)?;
        ensure!(body["component"] == of_runtime.component_hash(), "{name} is of another component: {body}");
        for kind in ["broken", "other_cluster", "other_version"] {
            ensure!(body["dropped"][kind] == 0, "{name} did not understand some frames: {body}");
        }
        serde_json::from_value(body).context("the status is not as wit/http-api.md has it")
    }

    /// Waits until a replica has written so many snapshots into the log.
    pub async fn await_snapshots(&self, replica: &Replica, wanted: u64) -> Result<()> {
        let until = Instant::now() + PATIENCE;
        loop {
            let log = self.status(replica.name()).await?.log;
            if log.written >= wanted {
                return Ok(());
            }
            ensure!(Instant::now() < until, "{} has not written snapshot {wanted}: {log:?}", replica.name());
            tokio::time::sleep(POLL).await;
        }
    }

    /// Who lives and is awake.
    pub fn awake(&self) -> Vec<Replica> {
        self.living.values().filter(|living| living.awake).map(|living| living.replica.clone()).collect()
    }

    /// Waits until all that are awake have nothing left to do and are equal, and gives what each shows, which is the same.
    pub async fn settle(&self) -> Result<Contents> {
        let until = Instant::now() + PATIENCE;
        let awake = self.awake();
        loop {
            let mut told = Vec::new();
            for replica in &awake {
                told.push(self.status(replica.name()).await?);
            }
            let drained = awake.iter().all(|replica| self.gate.is_drained(replica.name()));
            if drained && told.iter().all(|status| status.is_done() && status.root == told[0].root) {
                break;
            }
            ensure!(Instant::now() < until, "not settled: {told:?}");
            tokio::time::sleep(POLL).await;
        }
        let mut shown: Vec<(String, Contents)> = Vec::new();
        for replica in &awake {
            shown.push((replica.name().to_owned(), contents(replica).await?));
        }
        let (first, all) = shown.first().context("nobody is awake")?;
        for (name, other) in &shown {
            let differs = all.iter().find(|(key, value)| other.get(*key) != Some(*value));
            ensure!(differs.is_none() && other.len() == all.len(), "{name} shows other than {first}: {differs:?}");
        }
        Ok(shown.swap_remove(0).1)
    }

    /// Waits until each that is awake holds exactly those for awake who are.
    pub async fn check_members(&self) -> Result<()> {
        let living = self.living.iter().filter(|(_, living)| living.awake);
        let expected: BTreeSet<&str> = living.map(|(name, _)| name.as_str()).collect();
        for replica in self.awake() {
            let until = Instant::now() + PATIENCE;
            loop {
                let body = get(&replica, "/v1/members").await?;
                let members = body["members"].as_array().context("no members")?;
                let awake: BTreeSet<&str> = members
                    .iter()
                    .filter(|member| member["state"] == "awake")
                    .filter_map(|member| member["name"].as_str())
                    .collect();
                if awake == expected {
                    break;
                }
                ensure!(Instant::now() < until, "{} knows {awake:?} in place of {expected:?}", replica.name());
                tokio::time::sleep(POLL).await;
            }
        }
        Ok(())
    }

    /// Sets these apart: what they send each other from now on is lost, until [`Self::heal`].
    pub fn part(&self, groups: &[&Replica]) {
        let groups = groups.iter().map(|replica| vec![replica.name().to_owned()]).collect();
        self.gate.part(&Partition { groups, lose: true });
    }

    /// Ends that.
    pub fn heal(&self) {
        self.gate.heal();
    }

    /// What a replica has sent.
    pub fn frames(&self, replica: &Replica) -> Vec<Vec<u8>> {
        let published = self.gate.published(replica.name(), replica.incarnation());
        published.into_iter().map(|frame| frame.body).collect()
    }

    /// How many frames of a kind it has sent.
    pub fn count(&self, replica: &Replica, wanted: &str) -> usize {
        self.kinds(replica).into_iter().filter(|kind| *kind == wanted).count()
    }

    fn kinds(&self, replica: &Replica) -> Vec<&'static str> {
        let frames = self.frames(replica);
        frames.iter().filter_map(|body| Frame::decode(body, CLUSTER).ok()).map(|frame| kind(&frame.body)).collect()
    }

    fn kinds_of(&self, replica: &Replica) -> BTreeSet<&'static str> {
        self.kinds(replica).into_iter().collect()
    }

    /// Replicas of each side have sent frames of these kinds: the story was one about both.
    pub fn check_said(&self, kinds: &[&str]) -> Result<()> {
        for side in Side::BOTH {
            let mut said = self.said.get(&side).cloned().unwrap_or_default();
            let living = self.living.values().filter(|living| living.side == side);
            living.for_each(|living| said.extend(self.kinds_of(&living.replica)));
            let missing: Vec<_> = kinds.iter().filter(|kind| !said.contains(*kind)).collect();
            ensure!(missing.is_empty(), "{} replicas sent none of {missing:?}, only {said:?}", side.name());
        }
        Ok(())
    }
}

fn kind(body: &Body) -> &'static str {
    match body {
        Body::Beat => "beat",
        Body::Wake => "wake",
        Body::Delta(_) => "delta",
        Body::Ask(ask) => match ask.want {
            Want::All { .. } => "ask for all",
            Want::Sketched { .. } => "ask by sketch",
            Want::Described { .. } => "ask by description",
        },
        Body::Answer(_) => "answer",
        Body::Members(_) => "members",
        Body::Share(_) => "share",
        Body::Combined(..) => "combined",
        Body::SnapshotDue => "snapshot due",
        Body::Link(_) => "link",
    }
}

/// All that can be read from a replica.
async fn contents(replica: &Replica) -> Result<Contents> {
    let mut contents = Contents::new();
    let mut query = "limit=1000".to_owned();
    loop {
        let request = Request { query: query.clone(), ..request("GET", "/v1/keys", "") };
        let page = body(replica, request).await?;
        for key in page["keys"].as_array().context("a page has no keys")? {
            let (Some(data_type), Some(name)) = (key["type"].as_str(), key["key"].as_str()) else {
                anyhow::bail!("a key without type or name: {key}")
            };
            let path = format!("/v1/data/{data_type}/{}", percent_encode(name));
            let value = get(replica, &path).await?["value"].take();
            contents.insert((data_type.to_owned(), name.to_owned()), value);
        }
        match page["next"].as_str() {
            Some(next) => query = format!("limit=1000&after={}", percent_encode(next)),
            None => return Ok(contents),
        }
    }
}

async fn get(replica: &Replica, path: &str) -> Result<Value> {
    body(replica, request("GET", path, "")).await
}

async fn body(replica: &Replica, request: Request) -> Result<Value> {
    let path = request.path.clone();
    let response = tokio::time::timeout(PATIENCE, replica.invoke(request)).await.with_context(|| path.clone())??;
    let text = String::from_utf8_lossy(&response.body);
    ensure!(response.status == 200, "{}: {path}: {} {text}", replica.name(), response.status);
    serde_json::from_str(&text).with_context(|| format!("{path}: {text}"))
}

fn request(method: &str, path: &str, body: &str) -> Request {
    Request {
        method: method.to_owned(),
        path: path.to_owned(),
        query: String::new(),
        headers: Vec::new(),
        body: body.as_bytes().to_vec(),
    }
}

/// A writing request.
pub fn post(path: &str, body: &str) -> Request {
    request("POST", path, body)
}

/// A header of an answer.
pub fn header<'r>(response: &'r Response, name: &str) -> Option<&'r str> {
    response.headers.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
}
