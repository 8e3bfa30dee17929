//! A run: replicas and centre, one window of virtual time after the other.
//!
//! A window begins with the next thing that happens anywhere, and is as long as the least latency. What happens in it
//! at one host reaches nobody else within it, so all hosts have their turns in it at once, and the centre has its own;
//! then what each did is passed on, in the order of the replicas' numbers. So the outcome does not depend on the number
//! of threads.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use dayfly_engine::contract::Config;
use dayfly_engine::{Limits, Runtime};

use super::center::{Center, Round};
use super::message::NodeId;
use super::moment::Moment;
use super::node::{Counter, Node};
use super::pool::Pool;
use super::progress::Progress;
use super::scenario::Scenario;
use super::trace::Trace;

/// How long a call may take in real time, in milliseconds. Long, since a run in which one was stopped is worth nothing.
const CALL_MS: u32 = 60_000;
/// How often progress is told.
const PROGRESS: Duration = Duration::from_millis(100);
/// The cluster's name.
const CLUSTER: &str = "experiment";

/// A run that is over, or was ended.
pub struct Run {
    /// What it was of.
    pub scenario: Arc<Scenario>,
    /// The hash of the component's bytes.
    pub component_hash: String,
    /// Replicas, those that have ended too, in the order of their numbers.
    #[expect(clippy::vec_box, reason = "they are large, and passed from thread to thread")]
    pub nodes: Vec<Box<Node>>,
    /// All else.
    pub center: Center,
    /// How far it came.
    pub now: Moment,
    /// It was ended before its time.
    pub interrupted: bool,
    /// How long it took in real time.
    pub took: Duration,
    /// On how many threads.
    pub threads: usize,
    /// How many windows there were, and how many turns of replicas' hosts in them.
    pub windows: (u64, u64),
}

/// The configuration of all replicas, but for name, region and zone.
fn config(scenario: &Scenario, component_hash: &str) -> Config {
    let replica = &scenario.replica;
    Config {
        cluster: CLUSTER.to_owned(),
        name: None,
        host: "experiment".to_owned(),
        region: String::new(),
        zone: String::new(),
        component_hash: component_hash.to_owned(),
        frame_bytes: replica.frame_kib << 10,
        retention_ms: (replica.retention_s * 1_000.0) as u64,
        skew_ms: replica.skew_ms,
        burst_ms: replica.burst_ms,
        repair_bytes: replica.repair_kib << 10,
        bootstrap_ms: replica.bootstrap_ms,
        store_bytes: replica.store_mib << 20,
        combine_above: replica.combine_above,
        combine_ms: replica.combine_ms,
        log_bytes: replica.log_mib << 20,
    }
}

/// What is under way.
struct Progressing {
    nodes: Vec<Option<Box<Node>>>,
    /// When each has its next turn, as far as the agenda knows.
    scheduled: Vec<Moment>,
    agenda: BinaryHeap<Reverse<(Moment, NodeId)>>,
}

impl Progressing {
    /// When a replica has a turn next.
    fn next(&mut self) -> Option<Moment> {
        while let Some(Reverse((at, id))) = self.agenda.peek() {
            if self.scheduled[id.index()] == *at {
                return Some(*at);
            }
            self.agenda.pop();
        }
        None
    }

    /// Puts a replica's next turn on the agenda.
    fn schedule(&mut self, id: NodeId) {
        let node = self.nodes[id.index()].as_ref().expect("replicas are here between windows");
        let next = node.next().unwrap_or(Moment::NEVER);
        if self.scheduled[id.index()] != next {
            self.scheduled[id.index()] = next;
            if next < Moment::NEVER {
                self.agenda.push(Reverse((next, id)));
            }
        }
    }

    /// Takes those out that have a turn before that time, in the order of their numbers.
    #[expect(clippy::vec_box, reason = "they are large, and passed from thread to thread")]
    fn take_due(&mut self, end: Moment) -> Vec<Box<Node>> {
        let mut ids = Vec::new();
        while self.next().is_some_and(|next| next < end) {
            if let Some(Reverse((_, id))) = self.agenda.pop() {
                self.scheduled[id.index()] = Moment::NEVER;
                ids.push(id);
            }
        }
        ids.sort_unstable();
        ids.into_iter().filter_map(|id| self.nodes[id.index()].take()).collect()
    }
}

/// Runs a scenario with these bytes of the component, until its end or until `stop` is set.
pub fn run(
    scenario: Scenario,
    component: &[u8],
    threads: usize,
    stop: &AtomicBool,
    progress: &Progress,
) -> anyhow::Result<Run> {
    let scenario = Arc::new(scenario);
    let limits =
        Limits { instances: scenario.instances(), memory_bytes: scenario.memory_mib() << 20, call_ms: CALL_MS };
    let began = Instant::now();
    let runtime = Runtime::new(component, limits)?;
    let component_hash = runtime.component_hash().to_owned();
    let config = config(&scenario, &component_hash);
    let counter = Counter::new(runtime.clone(), &config);
    let pool = Pool::new(threads, counter).context("the system gives no more threads")?;
    let mut center = Center::new(&scenario, config, runtime);
    let lookahead = center.lookahead();
    let end = Moment::from_s(scenario.total_s());
    let mut progressing = Progressing { nodes: Vec::new(), scheduled: Vec::new(), agenda: BinaryHeap::new() };
    let (mut now, mut windows, mut turns) = (Moment::ZERO, 0, 0);
    let mut told = began;
    while !stop.load(Ordering::Relaxed) {
        let next = [progressing.next(), center.next()].into_iter().flatten().min();
        let Some(next) = next.filter(|next| *next < end) else { break };
        now = next;
        let until = (next + lookahead).min(end);
        let due = progressing.take_due(until);
        windows += 1;
        turns += due.len() as u64;
        let mut ran = pool.run(due, until);
        ran.sort_unstable_by_key(|node| node.id());
        let mut ids = Vec::with_capacity(ran.len());
        for mut node in ran {
            node.take_outputs().into_iter().for_each(|output| center.hear(node.id(), output));
            ids.push(node.id());
            let index = node.id().index();
            progressing.nodes[index] = Some(node);
        }
        let Round { born, reach } = center.run_until(until);
        for node in born {
            progressing.nodes.push(Some(node));
            progressing.scheduled.push(Moment::NEVER);
        }
        for (at, id, input) in reach {
            assert!(at >= until, "{input:?} reaches {id:?} within the window");
            progressing.nodes[id.index()].as_mut().expect("replicas are here between windows").reach(at, input);
            ids.push(id);
        }
        ids.sort_unstable();
        ids.dedup();
        ids.into_iter().for_each(|id| progressing.schedule(id));
        if let Some(reason) = center.overran() {
            bail!("a call took longer than a minute, so the run cannot be repeated: {reason}");
        }
        if told.elapsed() >= PROGRESS {
            told = Instant::now();
            progress.update(now.as_s(), center.platform().living());
        }
    }
    let interrupted = stop.load(Ordering::Relaxed);
    Ok(Run {
        scenario,
        component_hash,
        nodes: progressing.nodes.into_iter().flatten().collect(),
        center,
        now: if interrupted { now } else { end },
        interrupted,
        took: began.elapsed(),
        threads,
        windows: (windows, turns),
    })
}

impl Run {
    /// All that happened, as one number.
    pub fn trace(&self) -> Trace {
        let mut trace = self.center.trace();
        self.nodes.iter().for_each(|node| trace.number(node.trace().value()));
        let tally = self.center.broker().tally();
        for flow in tally.published.iter().chain(&tally.delivered) {
            [flow.messages, flow.bytes, flow.elements].into_iter().for_each(|number| trace.number(number));
        }
        [tally.copies, tally.acknowledged, tally.lost, tally.expired, tally.dropped, tally.vanished]
            .into_iter()
            .for_each(|number| trace.number(number));
        trace
    }
}
