//! The nodes of a run, the events that wait for their time, and the ways from a call to the broker and back.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use anyhow::{Context, Result};
use dayfly_core::chunk::{Chunk, ChunkPart};
use dayfly_core::config::Config;
use dayfly_core::effect::{Effects, Frame, Receipt, Route, Verdict};
use dayfly_core::frame::{Body, Want};
use dayfly_core::http::{Request, Response};
use dayfly_core::time::Timestamp;

use super::broker::{Broker, Message};
use super::client::Client;
use super::node::{Node, NodeId, Phase};
use super::plan::Plan;
use super::trace::Trace;
use super::types::Operation;
use super::witness::{Scene, Witness};
use crate::chance::Chance;
use crate::life::{Life, Maker};

/// What is to happen at some time.
#[derive(Debug)]
pub enum Event {
    /// A message gets to an inbox.
    Arrive(String, Message),
    /// A message gets to the queue of competing consumers.
    ArriveForAnyone(Message),
    /// A node's host takes messages out of the inbox.
    Poll(NodeId),
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
    /// Whether platform and clients do what comes to their mind.
    pub is_stormy: bool,
    owners: BTreeMap<String, NodeId>,
    /// When the last frame from a node to a queue arrives.
    arrivals: BTreeMap<(NodeId, Option<String>), u64>,
    events: BTreeMap<(u64, u64), Event>,
    order: u64,
    seed: u64,
    maker: &'m dyn Maker,
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
            broker: Broker::new(plan.inbox_bytes, plan.config.retention_ms),
            chance: Chance::new(seed, "platform"),
            client: Client::new(seed),
            witness: Some(Witness::default()),
            trace: Trace::default(),
            filter: None,
            gate: None,
            published: None,
            checkpoint: BTreeMap::new(),
            announced: BTreeMap::new(),
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

    /// Whether no frame is on its way.
    pub fn is_still(&self) -> bool {
        let is_mail = |event: &Event| matches!(event, Event::Arrive(..) | Event::ArriveForAnyone(_) | Event::Poll(_));
        self.nodes.iter().all(|node| node.outgoing.is_empty()) && !self.events.values().any(is_mail)
    }

    // --- calls ---

    /// Starts a node whose clock is wrong by so much; it is not yet woken.
    pub fn start(&mut self, config: Config, offset_ms: i64) -> Result<NodeId> {
        let id = NodeId(self.nodes.len());
        let chance = Chance::new(self.seed, &format!("node {}", id.0));
        let now = Timestamp(self.now.saturating_add_signed(offset_ms));
        self.trace.call(id.0, "start", now.0);
        let started = self.maker.start(&config, now, chance)?;
        let (life, effects) = started.map_err(|refusal| anyhow::anyhow!("a start was refused: {refusal}"))?;
        let name = life.name();
        self.tell(|| format!("{name} starts as node {}, clock {offset_ms:+}", id.0));
        self.broker.declare(&name);
        self.owners.insert(name.clone(), id);
        self.nodes.push(Node {
            name,
            life,
            config,
            phase: Phase::Awake,
            leaves: false,
            offset_ms,
            period: 0,
            tick_at: None,
            tick_order: 0,
            serve_anyone: false,
            quiet: false,
            outgoing: Default::default(),
            is_pumping: false,
            is_polling: false,
            outstanding: BTreeMap::new(),
            late: Vec::new(),
            saved: 0,
        });
        if let Some(witness) = &mut self.witness {
            witness.enter();
        }
        self.absorb(id, &effects)?;
        Ok(id)
    }

    /// Makes a call on a node, and gives what it answers.
    fn call<T>(
        &mut self,
        id: NodeId,
        name: &'static str,
        call: impl FnOnce(&mut dyn Life, Timestamp) -> Result<T>,
    ) -> Result<T> {
        let now = self.now;
        let node = &mut self.nodes[id.0];
        let clock = node.clock(now);
        self.trace.call(id.0, name, clock.0);
        call(&mut *node.life, clock).with_context(|| format!("{name} of {} at {now}", node.name))
    }

    /// Wakes a node for a time, or prolongs its awake period.
    pub fn wake(&mut self, id: NodeId, lease_ms: u64) -> Result<Effects> {
        let until = self.node(id).clock(self.now).plus_ms(lease_ms);
        let node = &mut self.nodes[id.0];
        node.phase = Phase::Awake;
        node.period += 1;
        let period = node.period;
        let name = node.name.clone();
        self.broker.declare(&name);
        self.owners.insert(name.clone(), id);
        self.tell(|| format!("{name} wakes for {lease_ms}"));
        let effects = self.call(id, "wake", |life, now| life.wake(now, until))?;
        let announced = (name, self.node(id).life.incarnation());
        self.announced.entry(announced).or_default().insert(until.0);
        self.absorb(id, &effects)?;
        self.schedule(lease_ms, Event::PeriodEnd(id, period));
        self.expect_poll(id);
        self.expect_pump(id);
        Ok(effects)
    }

    /// Ticks a node.
    pub fn tick(&mut self, id: NodeId) -> Result<Effects> {
        let effects = self.call(id, "tick", |life, now| life.tick(now))?;
        self.absorb(id, &effects)?;
        Ok(effects)
    }

    /// Suspends a node.
    pub fn suspend(&mut self, id: NodeId) -> Result<()> {
        self.tell(|| format!("{} is suspended", self.node(id).name));
        let effects = self.call(id, "suspend", |life, now| life.suspend(now))?;
        self.nodes[id.0].phase = Phase::Ending;
        self.nodes[id.0].period += 1;
        self.absorb(id, &effects)
    }

    /// A node says farewell.
    pub fn leave(&mut self, id: NodeId) -> Result<()> {
        self.tell(|| format!("{} leaves", self.node(id).name));
        let effects = self.call(id, "leave", |life, now| life.leave(now))?;
        let node = &mut self.nodes[id.0];
        node.phase = Phase::Ending;
        node.leaves = true;
        node.period += 1;
        self.absorb(id, &effects)
    }

    /// Hands frames to a node.
    pub fn receive(&mut self, id: NodeId, bodies: &[Vec<u8>]) -> Result<()> {
        for body in bodies {
            self.tell(|| format!("{} receives {}", self.node(id).name, summary(body, &self.plan.config.cluster)));
        }
        let effects = self.call(id, "receive", |life, now| life.receive(now, bodies))?;
        self.watch_anew(id, &effects);
        self.watch(id, |witness, scene| witness.received(scene, bodies))?;
        self.absorb_watched(id, &effects)
    }

    /// Tells a node outcomes.
    pub fn settle(&mut self, id: NodeId, receipts: &[Receipt]) -> Result<()> {
        let effects = self.call(id, "settle", |life, now| life.settle(now, receipts))?;
        self.watch_anew(id, &effects);
        if let Some(witness) = &mut self.witness {
            witness.settled(id.0, receipts);
        }
        for receipt in receipts.iter().filter(|receipt| receipt.verdict == Verdict::Confirmed) {
            self.answer_clients(id, receipt.id);
        }
        self.absorb_watched(id, &effects)
    }

    /// Sends a request to a node.
    pub fn invoke(&mut self, id: NodeId, request: &Request) -> Result<Response> {
        let response = self.call(id, "invoke", |life, now| life.invoke(now, request))?;
        self.trace.response(&response);
        Ok(response)
    }

    /// Sends operations to a node. Gives the answer, and the write's index in the history if it was watched.
    pub fn operate(
        &mut self,
        id: NodeId,
        request: &Request,
        operations: &[Operation],
    ) -> Result<(Response, Option<usize>)> {
        let response = self.invoke(id, request)?;
        self.watch_anew(id, &response.effects);
        let mut write = None;
        self.watch(id, |witness, scene| {
            write = witness.answered(scene, operations, &response)?;
            Ok(())
        })?;
        self.absorb_watched(id, &response.effects)?;
        Ok((response, write))
    }

    /// Sends a request that writes nothing to a node.
    pub fn ask(&mut self, id: NodeId, request: &Request) -> Result<Response> {
        let response = self.invoke(id, request)?;
        self.absorb(id, &response.effects)?;
        Ok(response)
    }

    /// Saves what changed since a node was saved last.
    pub fn save(&mut self, id: NodeId) -> Result<()> {
        let since = self.node(id).saved;
        let saved = self.call(id, "save", |life, now| life.save(now, since))?;
        self.tell(|| format!("{} saves {} parts", self.node(id).name, saved.parts.len()));
        self.nodes[id.0].saved = saved.version;
        for part in saved.parts {
            self.trace.bytes(part.key.as_bytes());
            self.trace.bytes(&part.chunk);
            if let Some(witness) = &self.witness {
                witness.saved(&part.chunk)?;
            }
            self.checkpoint.entry(part.key).or_default().push(part.chunk);
        }
        Ok(())
    }

    /// Hands a stored part to a node.
    pub fn load(&mut self, id: NodeId, part: &[u8]) -> Result<()> {
        let loaded = self.call(id, "load", |life, now| life.load(now, part))?;
        let effects = loaded.map_err(|error| anyhow::anyhow!("a part was refused: {error}"))?;
        self.watch_anew(id, &effects);
        if let Some(witness) = &mut self.witness {
            witness.loaded(id.0, part)?;
        }
        self.absorb_watched(id, &effects)
    }

    // --- effects ---

    fn watch(&mut self, id: NodeId, what: impl FnOnce(&mut Witness, Scene<'_>) -> Result<()>) -> Result<()> {
        let Some(witness) = &mut self.witness else { return Ok(()) };
        let node = &self.nodes[id.0];
        let scene = Scene {
            node: id.0,
            name: &node.name,
            incarnation: node.life.incarnation(),
            config: &node.config,
            store: node.life.store().context("a run is watched whose replicas cannot be looked into")?,
            now: node.clock(self.now),
        };
        what(witness, scene).with_context(|| format!("node {} ({}) at {}", id.0, node.name, self.now))
    }

    fn watch_anew(&mut self, id: NodeId, effects: &Effects) {
        if let Some(witness) = self.witness.as_mut().filter(|_| effects.started_anew) {
            witness.started_anew(id.0);
        }
    }

    fn absorb(&mut self, id: NodeId, effects: &Effects) -> Result<()> {
        self.watch_anew(id, effects);
        self.absorb_watched(id, effects)
    }

    /// Does what a call asked for.
    fn absorb_watched(&mut self, id: NodeId, effects: &Effects) -> Result<()> {
        self.trace.effects(effects);
        self.watch(id, |witness, scene| witness.ended(scene, effects))?;
        let node = &mut self.nodes[id.0];
        if effects.started_anew {
            // The connection has long been closed, with all that was to be sent over it.
            node.outgoing.clear();
            let key = (node.name.clone(), node.life.incarnation());
            let last = self.announced.iter().filter(|((name, _), _)| *name == key.0).filter_map(|(_, at)| at.last());
            let last = last.max().copied();
            self.announced.entry(key).or_default().extend(last);
            let name = node.name.clone();
            self.broker.declare(&name);
            self.tell(|| format!("{name} has started anew"));
        }
        let node = &mut self.nodes[id.0];
        node.outgoing.extend(effects.frames.iter().cloned());
        node.serve_anyone = effects.serve_anyone;
        node.quiet = effects.quiet;
        node.tick_at = effects.next_tick;
        self.expect_tick(id);
        self.expect_pump(id);
        if effects.serve_anyone {
            self.dispatch();
        }
        Ok(())
    }

    /// Schedules the tick that a node asked for, by its clock.
    pub fn expect_tick(&mut self, id: NodeId) {
        let now = self.now;
        let node = &mut self.nodes[id.0];
        node.tick_order += 1;
        let order = node.tick_order;
        if let Some(at) = node.tick_at {
            let after_ms = node.moment(at).saturating_sub(now).max(1);
            self.schedule(after_ms, Event::Tick(id, order));
        }
    }

    fn expect_pump(&mut self, id: NodeId) {
        let node = &mut self.nodes[id.0];
        if !node.is_pumping && !node.outgoing.is_empty() && matches!(node.phase, Phase::Awake | Phase::Ending) {
            node.is_pumping = true;
            let after_ms = self.chance.below(self.plan.publish_ms + 1);
            self.schedule(after_ms, Event::Pump(id));
        }
    }

    fn expect_poll(&mut self, id: NodeId) {
        let node = &mut self.nodes[id.0];
        if !node.is_polling && node.phase == Phase::Awake && self.broker.has_mail(&node.name) {
            node.is_polling = true;
            let after_ms = self.chance.below(3);
            self.schedule(after_ms, Event::Poll(id));
        }
    }

    fn poll(&mut self, id: NodeId) -> Result<()> {
        self.nodes[id.0].is_polling = false;
        if self.node(id).phase != Phase::Awake {
            return Ok(());
        }
        let most = 1 + self.chance.below(self.plan.batch);
        let taken = self.broker.take(&self.nodes[id.0].name, most, self.now);
        let bodies: Vec<Vec<u8>> = taken.iter().map(|message| message.body.to_vec()).collect();
        if !bodies.is_empty() {
            self.receive(id, &bodies)?;
        }
        self.expect_poll(id);
        Ok(())
    }

    // --- the broker ---

    fn pump(&mut self, id: NodeId) {
        let node = &mut self.nodes[id.0];
        node.is_pumping = false;
        if !matches!(node.phase, Phase::Awake | Phase::Ending) {
            return;
        }
        if let Some(frame) = node.outgoing.pop_front() {
            self.publish(id, &frame);
        }
        self.expect_pump(id);
    }

    fn publish(&mut self, id: NodeId, frame: &Frame) {
        let body: Rc<[u8]> = frame.body.as_slice().into();
        if let Some(published) = &mut self.published {
            published.push(Published { at: self.now, from: id, route: frame.route.clone(), body: body.clone() });
        }
        self.tell(|| {
            let summary = summary(&body, &self.plan.config.cluster);
            format!("{} publishes {summary} to {:?}", self.node(id).name, frame.route)
        });
        let is_refused = self.gate.as_mut().is_some_and(|gate| !gate(id, frame));
        let fails = is_refused || self.happens(self.plan.failure);
        let mut verdict = if fails { Verdict::Failed } else { Verdict::Confirmed };
        // A connection that broke may have carried the frame before.
        if !is_refused && (!fails || self.happens(500)) {
            let expires = frame.ttl_ms.map(|ttl_ms| self.now + u64::from(ttl_ms));
            let message = Message { body, expires };
            match &frame.route {
                Route::Everyone => {
                    for name in self.broker.names(self.now) {
                        self.pass(id, Some(name), &message);
                    }
                }
                Route::One(name) if self.broker.has(name, self.now) => self.pass(id, Some(name.clone()), &message),
                Route::One(_) => verdict = if fails { Verdict::Failed } else { Verdict::Unroutable },
                Route::Anyone => self.pass(id, None, &message),
                // No replica serves it in this version; the broker keeps it.
                Route::Combiner | Route::Log => {}
            }
        }
        let receipt = Receipt { id: frame.id, verdict };
        self.nodes[id.0].outstanding.insert(frame.id, ());
        let after_ms = 1 + self.chance.below(self.plan.confirm_ms);
        self.schedule(after_ms, Event::Answer(id, receipt));
    }

    /// Sends a message on to an inbox, or to anyone; or loses it, or sends it twice.
    fn pass(&mut self, from: NodeId, to: Option<String>, message: &Message) {
        let passing = Passing { from, to: to.as_deref(), body: &message.body };
        if let Some(filter) = &mut self.filter
            && !filter(&passing)
        {
            return;
        }
        if self.happens(self.plan.loss) {
            return;
        }
        let copies = if self.happens(self.plan.duplication) { 2 } else { 1 };
        for _ in 0..copies {
            let mut after_ms = 1 + self.chance.below(3);
            if self.happens(self.plan.lateness) {
                after_ms += self.chance.below(self.plan.late_ms);
            }
            if self.plan.lateness == 0 {
                // Brokers keep the order of what one sender sends to one queue, if nothing is sent again.
                let last = self.arrivals.entry((from, to.clone())).or_default();
                *last = (*last).max(self.now + after_ms);
                after_ms = *last - self.now;
            }
            let event = match &to {
                Some(name) => Event::Arrive(name.clone(), message.clone()),
                None => Event::ArriveForAnyone(message.clone()),
            };
            self.schedule(after_ms, event);
        }
    }

    fn answer(&mut self, id: NodeId, receipt: Receipt) -> Result<()> {
        let node = &mut self.nodes[id.0];
        match node.phase {
            Phase::Dead => Ok(()),
            Phase::Frozen => {
                node.late.push(receipt);
                Ok(())
            }
            Phase::Awake | Phase::Ending => match node.outstanding.remove(&receipt.id) {
                Some(()) => self.settle(id, &[receipt]),
                // The host gave it up when its connection broke.
                None => Ok(()),
            },
        }
    }

    /// Gives what waits for anyone to nodes that serve it.
    pub fn dispatch(&mut self) {
        let awake = self.in_phase(Phase::Awake).into_iter();
        let serving: Vec<NodeId> = awake.filter(|id| self.node(*id).serve_anyone).collect();
        if serving.is_empty() {
            return;
        }
        while let Some(message) = self.broker.take_for_anyone(self.now) {
            let id = serving[self.chance.below(serving.len() as u64) as usize];
            let name = self.node(id).name.clone();
            self.broker.store(&name, message, self.now);
            self.expect_poll(id);
        }
    }
}

/// A frame in a few words.
fn summary(body: &[u8], cluster: &str) -> String {
    let Ok(frame) = dayfly_core::frame::Frame::decode(body, cluster) else { return "a broken frame".to_owned() };
    let chunk = |chunk: &Chunk| {
        let part = |part: &ChunkPart| {
            let live: Vec<u64> = part.entries.iter().map(|entry| entry.seq).collect();
            let seen: Vec<(u64, u64)> = part.context.iter().collect();
            format!("{:.12?} {seen:?} live {live:?}", format!("{:?}", part.writer))
        };
        chunk.parts.iter().map(part).collect::<Vec<_>>().join(", ")
    };
    let what = match &frame.body {
        Body::Beat => "beat".to_owned(),
        Body::Wake => "wake".to_owned(),
        Body::Delta(delta) => format!("delta ({})", chunk(delta)),
        Body::Ask(ask) => {
            let want = match &ask.want {
                Want::All { ranges, .. } => format!("all of {} ranges", ranges.len()),
                Want::Sketched { gaps, .. } => format!("sketched, {} writers with gaps", gaps.writer_count()),
                Want::Described { .. } => "described".to_owned(),
            };
            format!("ask {:x} {want}", ask.session & 0xffff)
        }
        Body::Answer(answer) => {
            let (session, last, undecoded) = (answer.session & 0xffff, answer.last, answer.undecoded);
            format!("answer {session:x} last {last} undecoded {undecoded} ({})", chunk(&answer.chunk))
        }
        Body::Members(members) => format!("{} members", members.len()),
        Body::Share(share) => format!("share ({})", chunk(share)),
        Body::Combined(members, joined) => format!("combined ({}, {} members)", chunk(joined), members.len()),
        Body::SnapshotDue => "snapshot due".to_owned(),
    };
    format!("{}'s {what}, root {:.6}, complete {}", frame.sender.name, frame.root.to_string(), frame.complete)
}
