//! The nodes of a run, and the events that wait for their time.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use anyhow::Result;
use dayfly_core::effect::{Frame, Receipt, Route};
use dayfly_core::snapshot::LogMark;

use super::broker::{Broker, Message};
use super::client::Client;
use super::node::{Node, NodeId, Phase};
use super::plan::Plan;
use super::trace::Trace;
use super::witness::Witness;
use crate::chance::Chance;
use crate::life::Maker;

/// What is to happen at some time.
#[derive(Debug)]
pub enum Event {
    /// A message gets to an inbox.
    Arrive(String, Message),
    /// A message gets to the queue of competing consumers.
    ArriveForAnyone(Message),
    /// A node's host takes messages out of the inbox.
    Poll(NodeId),
    /// A node's host reads the next messages of the log.
    Replay(NodeId),
    /// A node's host publishes a frame.
    Pump(NodeId),
    /// The broker answers a publish.
    Answer(NodeId, Receipt),
    /// A node's host ticks, if what it was asked for has not changed since.
    Tick(NodeId, u64),
    /// An awake period is over.
    PeriodEnd(NodeId, u64),
    /// A node that was suspended is frozen.
    Freeze(NodeId, u64),
    /// A node that was frozen goes on.
    Thaw(NodeId, u64),
    /// The platform does something.
    Platform,
    /// A client does something.
    Client,
}

/// A frame on its way to a receiver, for a test that decides itself what is lost.
#[derive(Clone, Copy, Debug)]
pub struct Passing<'a> {
    /// Who sent it.
    pub from: NodeId,
    /// The inbox that it goes to; none: anyone's.
    pub to: Option<&'a str>,
    /// The frame's body.
    pub body: &'a [u8],
}

/// A frame that was handed to the broker.
#[derive(Clone, Debug)]
pub struct Published {
    /// When, in the simulation's time.
    pub at: u64,
    /// By whom.
    pub from: NodeId,
    /// Where to.
    pub route: Route,
    /// Its body.
    pub body: Rc<[u8]>,
}

/// Decides whether a frame arrives.
pub type Filter = Box<dyn FnMut(&Passing<'_>) -> bool>;

/// Decides whether the broker takes a frame of a node; one that it does not take has failed.
pub type Gate = Box<dyn FnMut(NodeId, &Frame) -> bool>;

/// A cluster in virtual time.
pub struct Cluster<'m> {
    /// What the run is like.
    pub plan: Plan,
    /// The time, in milliseconds since 1970.
    pub now: u64,
    /// All nodes that ever were.
    pub nodes: Vec<Node>,
    /// The broker.
    pub broker: Broker,
    /// Chance of broker and platform.
    pub chance: Chance,
    /// What clients remember.
    pub client: Client,
    /// Who checks each call; nobody where there is no looking into the replica.
    pub witness: Option<Witness>,
    /// What happened, as a number.
    pub trace: Trace,
    /// Decides what arrives, beside the plan.
    pub filter: Option<Filter>,
    /// Decides what the broker takes, beside the plan.
    pub gate: Option<Gate>,
    /// The frames that were published, if they are to be kept.
    pub published: Option<Vec<Published>>,
    /// What the nodes saved.
    pub checkpoint: BTreeMap<String, Vec<Vec<u8>>>,
    /// Until when each incarnation of a name ever said that it is awake.
    pub announced: BTreeMap<(String, u64), BTreeSet<u64>>,
    /// How much is new in the log, as the latest frame has it.
    pub log_mark: LogMark,
    /// Whether the next frame to everyone stands for a lot of frames in the log.
    pub(super) is_log_to_fill: bool,
    /// How many writes there were when all were killed the last time.
    pub(super) fallen: usize,
    /// How often all were killed.
    pub falls: u64,
    /// Whether platform and clients do what comes to their mind.
    pub is_stormy: bool,
    pub(super) owners: BTreeMap<String, NodeId>,
    /// When the last frame from a node to a queue arrives.
    pub(super) arrivals: BTreeMap<(NodeId, Option<String>), u64>,
    pub(super) events: BTreeMap<(u64, u64), Event>,
    order: u64,
    pub(super) seed: u64,
    pub(super) maker: &'m dyn Maker,
    is_told: bool,
}

/// When simulations begin: some time in 2026.
const BEGIN_MS: u64 = 1_790_000_000_000;
/// The environment variable that makes simulations tell what happens.
const TELL: &str = "DAYFLY_TELL";

impl<'m> Cluster<'m> {
    /// A cluster without nodes.
    pub fn new(seed: u64, plan: Plan, maker: &'m dyn Maker) -> Self {
        Self {
            now: BEGIN_MS,
            nodes: Vec::new(),
            broker: Broker::new(plan.inbox_bytes, plan.config.retention_ms, plan.config.log_bytes),
            chance: Chance::new(seed, "platform"),
            client: Client::new(seed),
            witness: Some(Witness::default()),
            trace: Trace::default(),
            filter: None,
            gate: None,
            published: None,
            checkpoint: BTreeMap::new(),
            announced: BTreeMap::new(),
            log_mark: LogMark::default(),
            is_log_to_fill: false,
            fallen: 0,
            falls: 0,
            is_stormy: false,
            owners: BTreeMap::new(),
            arrivals: BTreeMap::new(),
            events: BTreeMap::new(),
            order: 0,
            seed,
            maker,
            is_told: std::env::var_os(TELL).is_some(),
            plan,
        }
    }

    /// Whether something happens that does so in so many of a thousand cases.
    pub fn happens(&mut self, thousandths: u64) -> bool {
        thousandths > 0 && self.chance.below(1000) < thousandths
    }

    /// Tells what happens, where that was asked for.
    pub fn tell(&self, what: impl FnOnce() -> String) {
        if self.is_told {
            eprintln!("{:>8} {}", self.now - BEGIN_MS, what());
        }
    }

    /// A node.
    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.0]
    }

    /// The nodes of a phase.
    pub fn in_phase(&self, phase: Phase) -> Vec<NodeId> {
        (0..self.nodes.len()).map(NodeId).filter(|id| self.node(*id).phase == phase).collect()
    }

    /// The nodes that are not dead.
    pub fn living(&self) -> Vec<NodeId> {
        (0..self.nodes.len()).map(NodeId).filter(|id| self.node(*id).lives()).collect()
    }

    // --- time ---

    /// Lets something happen after a time.
    pub fn schedule(&mut self, after_ms: u64, event: Event) {
        self.order += 1;
        self.events.insert((self.now + after_ms, self.order), event);
    }

    /// Lets the next event happen, if there is one until then. Gives false and moves the time there if there is none.
    pub fn step(&mut self, until: u64) -> Result<bool> {
        match self.events.first_entry() {
            Some(entry) if entry.key().0 <= until => {
                let ((at, _), event) = entry.remove_entry();
                self.now = at;
                self.happen(event)?;
                Ok(true)
            }
            _ => {
                self.now = self.now.max(until);
                Ok(false)
            }
        }
    }

    /// Lets everything happen that happens within a time.
    pub fn run_for(&mut self, ms: u64) -> Result<()> {
        let until = self.now + ms;
        while self.step(until)? {}
        Ok(())
    }

    fn happen(&mut self, event: Event) -> Result<()> {
        match event {
            Event::Arrive(name, message) => {
                self.broker.store(&name, message, self.now);
                if let Some(owner) = self.owners.get(&name).copied() {
                    self.expect_poll(owner);
                }
            }
            Event::ArriveForAnyone(message) => {
                self.broker.store_for_anyone(message);
                self.dispatch();
            }
            Event::Poll(id) => self.poll(id)?,
            Event::Replay(id) => self.read_log(id)?,
            Event::Pump(id) => self.pump(id),
            Event::Answer(id, receipt) => self.answer(id, receipt)?,
            Event::Tick(id, order) => {
                let node = self.node(id);
                if node.tick_order == order && matches!(node.phase, Phase::Awake | Phase::Ending) {
                    self.tick(id)?;
                }
            }
            Event::PeriodEnd(id, period) => self.end_period(id, period)?,
            Event::Freeze(id, period) => self.freeze_suspended(id, period),
            Event::Thaw(id, period) => {
                if self.node(id).phase == Phase::Frozen && self.node(id).period == period {
                    self.thaw(id)?;
                }
            }
            Event::Platform | Event::Client if !self.is_stormy => {}
            Event::Platform => self.platform_acts()?,
            Event::Client => self.client_acts()?,
        }
        Ok(())
    }

    /// What lies in a node's inbox or is on the way to it, and does not expire.
    pub fn mail_of(&self, id: NodeId) -> Vec<Rc<[u8]>> {
        let name = &self.node(id).name;
        let coming = self.events.values().filter_map(|event| match event {
            Event::Arrive(to, message) if to == name => Some(message),
            _ => None,
        });
        let lasting = self.broker.waiting(name).chain(coming).filter(|message| message.expires.is_none());
        lasting.map(|message| message.body.clone()).collect()
    }

    /// What the queue `combiner` holds, or has given out without its having been acknowledged.
    pub fn mail_of_combiner(&self) -> impl Iterator<Item = &Rc<[u8]>> + '_ {
        let taken = self.nodes.iter().flat_map(|node| &node.taken).map(|(_, body)| body);
        self.broker.waiting_for_combiner().chain(taken)
    }

    /// Whether no frame is on its way.
    pub fn is_still(&self) -> bool {
        let is_mail = |event: &Event| matches!(event, Event::Arrive(..) | Event::ArriveForAnyone(_) | Event::Poll(_));
        let is_done = |node: &Node| node.outgoing.is_empty() && (node.taken.is_empty() || !node.lives());
        self.nodes.iter().all(is_done)
            && self.broker.waiting_for_combiner().next().is_none()
            && !self.events.values().any(is_mail)
    }
}
