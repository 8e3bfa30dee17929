//! A cluster of real replicas on the broker, in this process.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use dayfly_engine::amqp::{self, AmqpConfig};
use dayfly_engine::contract::{Config, Request, Response};
use dayfly_engine::{AmqpBroker, Broker, Lease, Phase, Replica, ReplicaOptions, SystemWorld, Traffic, usual_config};
use dayfly_tests::component::runtime;
use serde::Deserialize;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::case::Case;
use crate::sight::{SeenBroker, Sight};

/// Between two rounds of looking whether all replicas agree: what the time until then may be too long by.
pub const ROUND: Duration = Duration::from_millis(50);
/// How long a cluster may take to begin.
const START_MAX: Duration = Duration::from_secs(60);
/// Awake periods are not renewed while something is measured: what that costs is not the writes'.
const LEASE_MS: u64 = 3_600_000;

/// A running cluster.
pub struct Cluster {
    /// Its replicas.
    pub replicas: Vec<Replica>,
    /// What sees their links.
    pub sight: Arc<Sight>,
    config: AmqpConfig,
}

/// What is read off `/v1/status`.
#[derive(Clone, Debug, Deserialize)]
struct Status {
    root: String,
    complete: bool,
    unsettled: u64,
    repair: RepairStatus,
}

#[derive(Clone, Copy, Debug, Deserialize)]
struct RepairStatus {
    sessions: u64,
    pending_ranges: u64,
    asked: u64,
    received_bytes: u64,
}

/// Numbers of all replicas together, that only grow.
#[derive(Clone, Copy, Debug, Default)]
pub struct Totals {
    /// Messages handed to the broker.
    pub published: u64,
    /// The bytes of their bodies.
    pub published_bytes: u64,
    /// Messages that the broker delivered.
    pub delivered: u64,
    /// The bytes of their bodies.
    pub delivered_bytes: u64,
    /// What the broker was given to deliver: a message to everyone once a replica.
    pub due: u64,
    /// Messages that may have been delivered before.
    pub redelivered: u64,
    /// Frames that the broker refused, returned, or left open.
    pub unsent: u64,
    /// Links that broke and were replaced.
    pub reconnections: u64,
    /// Requests for repair.
    pub asked: u64,
    /// Bytes that their answers brought.
    pub repair_bytes: u64,
    /// Times that a replica was found to have been stopped with the process.
    pub freeze_gaps: u64,
}

impl Cluster {
    /// Starts the replicas, each over a connection of its own, and waits until they know each other.
    ///
    /// # Errors
    /// One does not start, or they do not get ready in time.
    pub async fn start(url: &str, case: Case) -> Result<Self> {
        let cluster = format!("bench-{}-{:08x}", std::process::id(), case_number(case));
        let config = AmqpConfig::new(url, cluster);
        let sight = Arc::new(Sight::default());
        let mut replicas = vec![start_replica(0, config.clone(), case, Arc::clone(&sight)).await?];
        let mut starting = JoinSet::new();
        for index in 1..case.replicas {
            starting.spawn(start_replica(index, config.clone(), case, Arc::clone(&sight)));
        }
        while let Some(started) = starting.join_next().await {
            replicas.push(started??);
        }
        replicas.sort_unstable_by_key(|replica| replica.name().to_owned());
        let cluster = Self { replicas, sight, config };
        ensure!(cluster.agree(START_MAX).await?.is_some(), "the cluster is not ready after {} s", START_MAX.as_secs());
        Ok(cluster)
    }

    /// Waits until all replicas have the same state and nothing to do. Gives how long that took, in rounds of
    /// [`ROUND`]; none if it takes longer than this.
    ///
    /// # Errors
    /// A replica has ended.
    pub async fn agree(&self, within: Duration) -> Result<Option<Duration>> {
        let begun = Instant::now();
        loop {
            let waited = begun.elapsed();
            if self.agrees().await? {
                return Ok(Some(waited));
            }
            if waited > within {
                return Ok(None);
            }
            sleep(ROUND).await;
        }
    }

    async fn agrees(&self) -> Result<bool> {
        let mut root = None;
        for replica in &self.replicas {
            let status = status(replica).await?;
            let is_done = status.unsettled == 0 && status.repair.sessions == 0 && status.repair.pending_ranges == 0;
            // The first that differs ends the round: most of those that are looked at in vain are not disturbed.
            if !status.complete || !is_done || *root.get_or_insert_with(|| status.root.clone()) != status.root {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Waits until all replicas say that they have nothing left to do, the late announcements included. Gives how long
    /// that took, in rounds of [`ROUND`]; none if it takes longer than this. Calls nobody.
    pub async fn rest(&self, within: Duration) -> Option<Duration> {
        let begun = Instant::now();
        let mut at_rest_since = None;
        loop {
            let waited = begun.elapsed();
            let is_quiet = |replica: &Replica| {
                let report = replica.report();
                report.quiet && report.unsettled == 0
            };
            if self.replicas.iter().all(is_quiet) {
                // For some rounds: what one has sent last may be on its way to another.
                let since = *at_rest_since.get_or_insert(waited);
                if waited - since >= 3 * ROUND {
                    return Some(since);
                }
            } else {
                at_rest_since = None;
            }
            if waited > within {
                return None;
            }
            sleep(ROUND).await;
        }
    }

    /// What has been sent and received up to now. Calls each replica once.
    ///
    /// # Errors
    /// A replica has ended.
    pub async fn totals(&self) -> Result<Totals> {
        let mut totals = Totals::default();
        for replica in &self.replicas {
            totals.add_traffic(replica.traffic(), self.replicas.len() as u64);
            let repair = status(replica).await?.repair;
            totals.asked += repair.asked;
            totals.repair_bytes += repair.received_bytes;
            totals.freeze_gaps += replica.report().freeze_gaps;
        }
        Ok(totals)
    }

    /// How many messages wait for their delivery. Calls nobody.
    pub fn waiting(&self) -> u64 {
        let mut totals = Totals::default();
        self.replicas.iter().for_each(|replica| totals.add_traffic(replica.traffic(), self.replicas.len() as u64));
        totals.due.saturating_sub(totals.delivered)
    }

    /// Ends it, and removes what it had on the broker.
    ///
    /// # Errors
    /// The broker refused.
    pub async fn end(self) -> Result<()> {
        let names: Vec<String> = self.replicas.iter().map(|replica| replica.name().to_owned()).collect();
        self.replicas.iter().for_each(Replica::kill);
        for replica in &self.replicas {
            replica.ended().await;
        }
        drop(self.replicas);
        amqp::purge(&self.config, &names).await.context("cannot remove what the cluster left")?;
        Ok(())
    }
}

impl Totals {
    fn add_traffic(&mut self, traffic: Traffic, replicas: u64) {
        let (sent, received) = (traffic.sent, traffic.received);
        for volume in [sent.everyone, sent.one, sent.anyone, sent.combiner, sent.log] {
            self.published += volume.frames;
            self.published_bytes += volume.bytes;
        }
        for volume in [received.inbox, received.anyone, received.combiner] {
            self.delivered += volume.frames;
            self.delivered_bytes += volume.bytes;
        }
        self.due += sent.everyone.frames * replicas + sent.one.frames + sent.anyone.frames + sent.combiner.frames;
        self.redelivered += received.redelivered;
        self.unsent += traffic.unroutable + traffic.failed;
        self.reconnections += traffic.reconnections;
    }

    /// What was added since then.
    pub fn since(self, before: Self) -> Self {
        Self {
            published: self.published - before.published,
            published_bytes: self.published_bytes - before.published_bytes,
            delivered: self.delivered - before.delivered,
            delivered_bytes: self.delivered_bytes - before.delivered_bytes,
            due: self.due - before.due,
            redelivered: self.redelivered - before.redelivered,
            unsent: self.unsent - before.unsent,
            reconnections: self.reconnections - before.reconnections,
            asked: self.asked - before.asked,
            repair_bytes: self.repair_bytes - before.repair_bytes,
            freeze_gaps: self.freeze_gaps - before.freeze_gaps,
        }
    }
}

/// Tells clusters of one run apart.
fn case_number(case: Case) -> u64 {
    let (above, gather_ms) = case.way.settings();
    u64::from(above == 0) << 28 | u64::from(gather_ms) << 16 | case.replicas as u64
}

async fn start_replica(index: usize, broker: AmqpConfig, case: Case, sight: Arc<Sight>) -> Result<Replica> {
    let (combine_above, combine_ms) = case.way.settings();
    let config = Config {
        // Sorted as numbered.
        name: Some(format!("r{index:03}")),
        // The first is the founder, and all others ask it.
        bootstrap_ms: if index == 0 { 0 } else { 1_000 },
        combine_above,
        combine_ms,
        ..usual_config(&broker.cluster)
    };
    let lease = Lease::Standing { lease_ms: LEASE_MS };
    let options = ReplicaOptions { lease, ..ReplicaOptions::standing(config) };
    // A broker of its own, so that it has a connection of its own, as in a process of its own.
    let broker: Arc<dyn Broker> = Arc::new(SeenBroker { broker: AmqpBroker::new(broker)?, replica: index, sight });
    let replica = Replica::start(&runtime()?, broker, SystemWorld, options).await?;
    Ok(replica)
}

async fn status(replica: &Replica) -> Result<Status> {
    let answer = replica.peek(request("GET", "/v1/status", String::new())).await;
    let answer = answer.with_context(|| format!("{} {}", replica.name(), ending(replica)))?;
    Ok(serde_json::from_slice(&answer.body)?)
}

fn ending(replica: &Replica) -> String {
    match replica.report().phase {
        Phase::Ended(ended) => format!("has ended: {ended}"),
        phase @ (Phase::Awake { .. } | Phase::Frozen) => format!("does not answer: {phase:?}"),
    }
}

/// Sets a register to this value, once the broker has confirmed it.
///
/// # Errors
/// The replica has ended.
pub async fn write(replica: &Replica, key: &str, value: &str) -> Result<Response> {
    let path = format!("/v1/data/lwwregister/{key}");
    let answer = replica.invoke(request("POST", &path, format!(r#"{{"set":"{value}"}}"#))).await;
    answer.with_context(|| format!("{} {}", replica.name(), ending(replica)))
}

/// Whether a replica shows this value.
///
/// # Errors
/// The replica has ended.
pub async fn shows(replica: &Replica, key: &str, value: &str) -> Result<bool> {
    let path = format!("/v1/data/lwwregister/{key}");
    let answer = replica.peek(request("GET", &path, String::new())).await;
    let answer = answer.with_context(|| format!("{} {}", replica.name(), ending(replica)))?;
    Ok(String::from_utf8_lossy(&answer.body).contains(&format!(r#""value":"{value}""#)))
}

fn request(method: &str, path: &str, body: String) -> Request {
    Request {
        method: method.to_owned(),
        path: path.to_owned(),
        query: String::new(),
        headers: Vec::new(),
        body: body.into_bytes(),
    }
}
