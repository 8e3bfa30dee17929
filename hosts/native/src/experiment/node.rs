//! A replica and its host: a real instance of the component, driven as `hosts/engine` drives one, but by virtual time.
//!
//! A host does nothing between two *turns*. It has a turn when something reached it, or when something is due; in it,
//! it makes all calls for which there is a reason, each of which takes some virtual time. So messages that arrive while
//! it is busy are taken in by one call, as they are in reality. Nothing here looks at another replica: what is to reach
//! somebody is an [`Output`], and so any number of hosts may have their turns at once.

mod counter;
mod effects;
mod link;
mod turn;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque};
use std::sync::Arc;

use dayfly_engine::contract::{Config, FrameId, Receipt};
use dayfly_engine::{Instance, Runtime, VirtualClock, VirtualWorld};

pub use self::counter::Counter;
use super::message::{Answer, Body, Input, Invocation, NodeId, Output, Source};
use super::moment::Moment;
use super::trace::Trace;

/// How a host is to treat its replica. The same for all of a run.
#[derive(Clone, Debug)]
pub struct Habits {
    /// Awake until killed; else only as long as invocations grant.
    pub stands: bool,
    /// For how long it announces to be awake: a lease, or what an invocation grants.
    pub awake: Moment,
    /// After how long of quiet an awake period ends early.
    pub quiet: Option<Moment>,
    /// From a wake until its link is asked for: a thaw.
    pub thaw: Moment,
    /// What a call takes.
    pub call: Moment,
    /// What a KiB of frames takes besides, in microseconds.
    pub kib_us: u64,
    /// Whether elements are counted.
    pub counts_elements: bool,
}

/// To whom a replica speaks in an overlay.
#[derive(Clone, Debug)]
pub struct Neighbours {
    /// Their names.
    pub names: Vec<String>,
    /// How often, in milliseconds.
    pub interval_ms: u32,
}

/// In which part of its life a replica is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// It has not been called.
    Unborn,
    /// It is to be awake, and waits for its link until then.
    Waking(Moment),
    /// It is awake, and has announced to be until then.
    Awake(Moment),
    /// It was suspended, and waits until then at most for what it sent to be settled.
    Ending(Moment),
    /// Frozen.
    Frozen,
    /// Ended.
    Dead,
}

/// A replica's connection to the broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Link {
    Down,
    Asked(u32),
    Up(u32),
}

/// An answer that waits for the confirmation of a frame.
#[derive(Debug)]
struct Waiting {
    until: Moment,
    answer: Answer,
}

/// An input that waits for its time.
struct Due {
    at: Moment,
    order: u64,
    input: Input,
}

impl PartialEq for Due {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.order) == (other.at, other.order)
    }
}

impl Eq for Due {}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Due {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}

/// A replica and its host.
pub struct Node {
    id: NodeId,
    config: Config,
    /// None: it speaks to everyone.
    overlay: Option<Arc<Neighbours>>,
    habits: Arc<Habits>,
    runtime: Runtime,
    seed: u64,
    clock: VirtualClock,
    /// None before its birth and after its death.
    instance: Option<Instance>,
    phase: Phase,
    link: Link,
    /// The last `wake` was called without a link: nobody has heard of it.
    unannounced: bool,
    /// How many links it has asked for.
    links: u32,
    inputs: BinaryHeap<Reverse<Due>>,
    order: u64,
    /// Until when its calls take.
    busy_until: Moment,
    // What has reached it and was not handed to the component.
    receipts: Vec<Receipt>,
    arrived: VecDeque<(Source, Arc<Body>)>,
    log_pieces: VecDeque<(Vec<Arc<Body>>, bool)>,
    requests: VecDeque<Invocation>,
    watches: Vec<(u64, Arc<str>)>,
    /// Watches that were not looked at since something changed.
    watches_stale: bool,
    // What the component said last.
    next_tick: Option<Moment>,
    quiet: bool,
    serves_anyone: bool,
    wants_replay: bool,
    is_reading: bool,
    anew: bool,
    // Books of the host.
    idle_since: Moment,
    /// How many messages that waited are still to come before requests are answered, and until when that is waited for.
    backlog: usize,
    drain_until: Moment,
    unsettled: BTreeSet<FrameId>,
    /// Frames that no present link knows of.
    stale: BTreeSet<FrameId>,
    waiting: BTreeMap<FrameId, Vec<Waiting>>,
    received: u64,
    taken: VecDeque<u64>,
    unacknowledged: [u32; 3],
    periods: u32,
    has_been_complete: bool,
    calls: u64,
    outputs: Vec<Output>,
    trace: Trace,
}

impl Node {
    /// A replica that is not born yet.
    pub fn new(id: NodeId, config: Config, habits: Arc<Habits>, runtime: Runtime, seed: u64) -> Self {
        Self {
            id,
            config,
            overlay: None,
            habits,
            runtime,
            seed,
            clock: VirtualClock::at_ms(0),
            instance: None,
            phase: Phase::Unborn,
            link: Link::Down,
            unannounced: false,
            links: 0,
            inputs: BinaryHeap::new(),
            order: 0,
            busy_until: Moment::ZERO,
            receipts: Vec::new(),
            arrived: VecDeque::new(),
            log_pieces: VecDeque::new(),
            requests: VecDeque::new(),
            watches: Vec::new(),
            watches_stale: false,
            next_tick: None,
            quiet: false,
            serves_anyone: false,
            wants_replay: false,
            is_reading: false,
            anew: false,
            idle_since: Moment::ZERO,
            backlog: 0,
            drain_until: Moment::ZERO,
            unsettled: BTreeSet::new(),
            stale: BTreeSet::new(),
            waiting: BTreeMap::new(),
            received: 0,
            taken: VecDeque::new(),
            unacknowledged: [0; 3],
            periods: 0,
            has_been_complete: false,
            calls: 0,
            outputs: Vec::new(),
            trace: Trace::default(),
        }
    }

    /// The same in an overlay, with these neighbours.
    pub fn with_neighbours(mut self, neighbours: Neighbours) -> Self {
        self.overlay = Some(Arc::new(neighbours));
        self
    }

    /// Which it is.
    pub fn id(&self) -> NodeId {
        self.id
    }

    /// Its name.
    pub fn name(&self) -> &str {
        self.config.name.as_deref().unwrap_or_default()
    }

    /// Lets something reach it at that time.
    pub fn reach(&mut self, at: Moment, input: Input) {
        self.order += 1;
        self.inputs.push(Reverse(Due { at, order: self.order, input }));
    }

    /// Whether it has ended.
    pub fn is_dead(&self) -> bool {
        self.phase == Phase::Dead
    }

    /// Whether it is awake.
    pub fn is_awake(&self) -> bool {
        matches!(self.phase, Phase::Awake(_))
    }

    /// Whether it is awake and has the whole database, as far as it knows.
    pub fn is_complete(&self) -> bool {
        self.is_awake() && self.serves_anyone
    }

    /// How many calls of the component were made.
    pub fn calls(&self) -> u64 {
        self.calls
    }

    /// How large its memory is, in bytes; 0, where there is none.
    pub fn memory_bytes(&self) -> u64 {
        self.instance.as_ref().map_or(0, Instance::memory_bytes)
    }

    /// All that it was given and has done so far.
    pub fn trace(&self) -> Trace {
        self.trace
    }

    /// What it has done since the last time.
    pub fn take_outputs(&mut self) -> Vec<Output> {
        std::mem::take(&mut self.outputs)
    }

    /// When it has its next turn; none: when something reaches it.
    pub fn next(&self) -> Option<Moment> {
        let input = self.inputs.peek().map(|Reverse(due)| due.at);
        let next = [input, self.due()].into_iter().flatten().min()?;
        Some(next.max(self.busy_until))
    }

    /// Has all its turns that come before that time. Afterwards [`Node::next`] is not before it.
    pub fn run_until(&mut self, end: Moment, counter: &Counter) {
        while let Some(now) = self.next().filter(|next| *next < end) {
            while self.inputs.peek().is_some_and(|Reverse(due)| due.at <= now) {
                let Some(Reverse(due)) = self.inputs.pop() else { break };
                self.absorb(due.input, now);
            }
            self.turn(now, counter);
        }
    }

    /// Asks the component something that belongs to no run: it costs no time, and nobody hears of it. Only after the
    /// end. None where there is no instance any more.
    pub fn inquire(&mut self, path: &str) -> Option<(u16, Vec<u8>)> {
        let response = self.instance.as_mut()?.invoke(&get(path)).ok()?;
        Some((response.status, response.body))
    }
}

/// A request to read.
pub fn get(path: &str) -> dayfly_engine::contract::Request {
    dayfly_engine::contract::Request {
        method: "GET".to_owned(),
        path: path.to_owned(),
        query: String::new(),
        headers: Vec::new(),
        body: Vec::new(),
    }
}

/// The world that a replica of this seed sees.
fn world(clock: &VirtualClock, seed: u64) -> VirtualWorld {
    VirtualWorld::new(clock.clone(), seed)
}
