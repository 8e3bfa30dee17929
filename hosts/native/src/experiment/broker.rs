//! A model of RabbitMQ as Dayfly uses it: a fan-out to inboxes with a bound and an expiry, a queue of competing
//! consumers, a queue with a single active consumer, and a log. It is handed one event after the other, in the order of
//! virtual time, and says what reaches which replica when.
//!
//! Of each copy of a message it is known what became of it ([`Tally`]); none is forgotten.

mod queue;
mod tally;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use dayfly_engine::Chance;
use dayfly_engine::contract::{Receipt, Route, Verdict};

use self::queue::{Queue, size};
pub use self::tally::{Flow, Tally};
use super::message::{Body, Input, Message, NodeId, Source, Way};
use super::moment::Moment;
use super::network::{Distances, Line};
use super::scenario::Scenario;

/// How many bytes of the log go to a reader at once.
const LOG_PIECE_BYTES: usize = 1 << 20;

/// What is to reach a replica.
#[derive(Debug)]
pub struct Outgoing {
    /// When.
    pub at: Moment,
    /// Whom.
    pub to: NodeId,
    /// What.
    pub input: Input,
}

/// A frame as it reaches the broker.
#[derive(Debug)]
pub struct Publish {
    /// Over which link of its sender's.
    pub link: u32,
    /// The sender's number for it.
    pub id: u64,
    /// Where to.
    pub route: Route,
    /// What it holds.
    pub body: Arc<Body>,
    /// How long it is worth something.
    pub ttl_ms: Option<u32>,
}

/// What the broker knows of a replica.
#[derive(Debug)]
struct Peer {
    place: usize,
    /// The number of the link that stands.
    link: Option<u32>,
    /// The replica's line from the broker.
    line: Line,
    /// When the last message sent to it arrives: later ones do not overtake it.
    last_arrival: Moment,
    /// Whether there is an inbox.
    has_inbox: bool,
    inbox: Queue,
    /// Since when nobody has consumed the inbox.
    unused_since: Moment,
    /// What it was given and has not acknowledged.
    held_inbox: VecDeque<Held>,
    held_anyone: VecDeque<Held>,
    held_combiner: VecDeque<Held>,
}

/// A message that a consumer was given and has not acknowledged.
#[derive(Debug)]
struct Held {
    message: Message,
    /// When the last of it has left over the consumer's line.
    gone: Moment,
}

/// The broker.
pub struct Broker {
    bounds: Bounds,
    distances: Distances,
    chance: Chance,
    peers: Vec<Peer>,
    by_name: BTreeMap<String, NodeId>,
    /// Those that have an inbox.
    inboxes: BTreeSet<NodeId>,
    anyone: Queue,
    /// Who serves `anyone`; the first gets the next message and becomes the last.
    servers: VecDeque<NodeId>,
    combiner: Queue,
    /// Who would serve `combiner`; the first does.
    combiners: VecDeque<NodeId>,
    log: Queue,
    /// Its line to the outside.
    line: Line,
    /// What it is busy with.
    work: Line,
    tally: Tally,
    outgoing: Vec<Outgoing>,
}

/// Its bounds and accidents, as the scenario gives them.
#[derive(Clone, Debug)]
struct Bounds {
    inbox_bytes: usize,
    anyone_bytes: usize,
    combiner_bytes: usize,
    log_bytes: usize,
    prefetch: usize,
    anyone_prefetch: usize,
    loss: f64,
    duplication: f64,
    failure: f64,
    retention: Moment,
    connect: Moment,
    message: Moment,
    broker_mbit: f64,
}

impl Broker {
    /// A broker that nobody knows yet.
    pub fn new(scenario: &Scenario, distances: Distances, seed: u64) -> Self {
        let (broker, network) = (&scenario.broker, &scenario.network);
        let bytes = |kib: u64| usize::try_from(kib << 10).unwrap_or(usize::MAX);
        let bounds = Bounds {
            inbox_bytes: bytes(broker.inbox_kib),
            anyone_bytes: bytes(broker.anyone_kib),
            combiner_bytes: bytes(broker.combiner_kib),
            log_bytes: bytes(scenario.replica.log_mib << 10),
            prefetch: broker.prefetch as usize,
            anyone_prefetch: broker.anyone_prefetch as usize,
            loss: broker.loss,
            duplication: broker.duplication,
            failure: broker.failure,
            retention: Moment::from_s(scenario.replica.retention_s),
            connect: Moment::from_ms(broker.connect_ms),
            message: Moment::from_ms(broker.message_us / 1_000.0),
            broker_mbit: network.broker_mbit,
        };
        Self {
            bounds,
            distances,
            chance: Chance::new(seed),
            peers: Vec::new(),
            by_name: BTreeMap::new(),
            inboxes: BTreeSet::new(),
            anyone: Queue::default(),
            servers: VecDeque::new(),
            combiner: Queue::default(),
            combiners: VecDeque::new(),
            log: Queue::default(),
            line: Line::default(),
            work: Line::default(),
            tally: Tally::default(),
            outgoing: Vec::new(),
        }
    }

    /// Takes note of a replica that may come; replicas are numbered in the order of these calls.
    pub fn expect(&mut self, name: &str, place: usize) {
        self.by_name.insert(name.to_owned(), NodeId(self.peers.len() as u32));
        self.peers.push(Peer {
            place,
            link: None,
            line: Line::default(),
            last_arrival: Moment::ZERO,
            has_inbox: false,
            inbox: Queue::default(),
            unused_since: Moment::ZERO,
            held_inbox: VecDeque::new(),
            held_anyone: VecDeque::new(),
            held_combiner: VecDeque::new(),
        });
    }

    /// What was counted.
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    /// What is to reach replicas, of all that was done since the last time. In the order in which it was sent.
    pub fn take_outgoing(&mut self) -> Vec<Outgoing> {
        std::mem::take(&mut self.outgoing)
    }

    /// How many copies wait in queues, and how many are with consumers and not acknowledged.
    pub fn waiting(&self) -> (u64, u64) {
        let held = |peer: &Peer| peer.held_inbox.len() + peer.held_anyone.len() + peer.held_combiner.len();
        let queued = self.peers.iter().map(|peer| peer.inbox.len()).sum::<usize>();
        let queued = queued + self.anyone.len() + self.combiner.len();
        (queued as u64, self.peers.iter().map(held).sum::<usize>() as u64)
    }

    // Links.

    /// A replica's link comes about: its inbox is there from now on, and consumed.
    pub fn attach(&mut self, id: NodeId, link: u32, now: Moment) {
        self.detach(id, now);
        let peer = &mut self.peers[id.index()];
        peer.link = Some(link);
        peer.has_inbox = true;
        self.inboxes.insert(id);
        let backlog = peer.inbox.len();
        let at = self.arrival(id, now + self.bounds.connect, 0);
        self.outgoing.push(Outgoing { at, to: id, input: Input::Attached { link, backlog } });
        self.combiners.push_back(id);
        self.consume(id, now);
        self.assign_combiner(now);
    }

    /// A replica's link is gone, in whichever way. What it has not acknowledged goes back.
    pub fn detach(&mut self, id: NodeId, now: Moment) {
        let peer = &mut self.peers[id.index()];
        if peer.link.take().is_none() {
            return;
        }
        peer.unused_since = now;
        peer.line = Line::default();
        peer.last_arrival = now;
        let back = |held: &mut VecDeque<Held>, queue: &mut Queue, tally: &mut Tally| {
            while let Some(Held { message, gone }) = held.pop_back() {
                if gone > now {
                    tally.take_back(&message, id);
                }
                queue.push_front(message);
            }
        };
        back(&mut peer.held_inbox, &mut peer.inbox, &mut self.tally);
        back(&mut peer.held_anyone, &mut self.anyone, &mut self.tally);
        back(&mut peer.held_combiner, &mut self.combiner, &mut self.tally);
        self.tally.dropped += peer.inbox.trim(self.bounds.inbox_bytes);
        self.servers.retain(|server| *server != id);
        self.combiners.retain(|combiner| *combiner != id);
        self.assign_anyone(now);
        self.assign_combiner(now);
    }

    /// When the inbox of a replica vanishes if nobody consumes it; none, if somebody does, or there is none.
    pub fn expiry(&self, id: NodeId) -> Option<Moment> {
        let peer = &self.peers[id.index()];
        (peer.has_inbox && peer.link.is_none()).then(|| peer.unused_since + self.bounds.retention)
    }

    /// Lets an inbox vanish whose time has come.
    pub fn expire(&mut self, id: NodeId, now: Moment) {
        if self.expiry(id).is_some_and(|at| at <= now) {
            let peer = &mut self.peers[id.index()];
            peer.has_inbox = false;
            self.tally.vanished += peer.inbox.len() as u64;
            peer.inbox = Queue::default();
            self.inboxes.remove(&id);
            self.tally.expired_inboxes += 1;
        }
    }

    // Publishing.

    /// A frame reaches the broker. What a broken link had under way is lost, and nobody hears of it.
    pub fn publish(&mut self, from: NodeId, publish: Publish, now: Moment) {
        if self.peers[from.index()].link != Some(publish.link) {
            self.tally.lost_on_links += 1;
            return;
        }
        let now = self.work.occupy(now, self.bounds.message);
        let way = Way::of(&publish.route);
        self.tally.published[way as usize].add(&publish.body);
        let fails = self.chance.happens(self.bounds.failure);
        let arrives = !fails || self.chance.happens(0.5);
        let mut verdict = Verdict::Confirmed;
        if arrives {
            let expires = publish.ttl_ms.map_or(Moment::NEVER, |ms| now + Moment(u64::from(ms) * 1_000));
            let message = Message { body: publish.body, from, way, expires };
            verdict = self.route(publish.route, message, now);
        }
        if fails {
            verdict = Verdict::Failed;
        }
        match verdict {
            Verdict::Confirmed => self.tally.confirmed += 1,
            Verdict::Unroutable => self.tally.unroutable += 1,
            Verdict::Failed => self.tally.failed += 1,
        }
        let receipt = Receipt { id: publish.id, verdict };
        let at = self.arrival(from, now, 0);
        self.outgoing.push(Outgoing { at, to: from, input: Input::Settled { link: publish.link, receipt } });
    }

    fn route(&mut self, route: Route, message: Message, now: Moment) -> Verdict {
        match route {
            Route::Everyone => {
                if self.bounds.log_bytes > 0 {
                    self.append(message.clone());
                }
                let inboxes: Vec<NodeId> = self.inboxes.iter().copied().collect();
                inboxes.into_iter().for_each(|id| self.store(id, &message, now));
                Verdict::Confirmed
            }
            Route::One(name) => match self.by_name.get(&name).copied() {
                Some(id) if self.peers[id.index()].has_inbox => {
                    self.store(id, &message, now);
                    Verdict::Confirmed
                }
                Some(_) | None => Verdict::Unroutable,
            },
            Route::Anyone => {
                if !self.anyone.has_room(size(&message), self.bounds.anyone_bytes) {
                    self.tally.expired += self.anyone.drop_expired(now);
                }
                if !self.anyone.has_room(size(&message), self.bounds.anyone_bytes) {
                    return if self.servers.is_empty() { Verdict::Unroutable } else { Verdict::Failed };
                }
                let copies = self.copies(self.bounds.loss);
                (0..copies).for_each(|_| self.anyone.push(message.clone()));
                self.assign_anyone(now);
                Verdict::Confirmed
            }
            Route::Combiner => {
                if !self.combiner.has_room(size(&message), self.bounds.combiner_bytes) {
                    return Verdict::Failed;
                }
                // A queue keeps what it has confirmed; only that the publisher sent it twice can happen.
                let copies = self.copies(0.0);
                (0..copies).for_each(|_| self.combiner.push(message.clone()));
                self.assign_combiner(now);
                Verdict::Confirmed
            }
            Route::Log if self.bounds.log_bytes > 0 => {
                self.append(message);
                Verdict::Confirmed
            }
            Route::Log => Verdict::Unroutable,
        }
    }

    /// How many copies come into being where there should be one. They are counted.
    fn copies(&mut self, loss: f64) -> u64 {
        self.tally.copies += 1;
        if self.chance.happens(loss) {
            self.tally.lost += 1;
            return 0;
        }
        if self.chance.happens(self.bounds.duplication) {
            self.tally.copies += 1;
            self.tally.duplicated += 1;
            return 2;
        }
        1
    }

    fn append(&mut self, message: Message) {
        self.log.push(message);
        self.log.trim(self.bounds.log_bytes);
    }

    /// Puts a message into an inbox. A full one drops its oldest.
    fn store(&mut self, id: NodeId, message: &Message, now: Moment) {
        for _ in 0..self.copies(self.bounds.loss) {
            let peer = &mut self.peers[id.index()];
            peer.inbox.push(message.clone());
        }
        self.consume(id, now);
        let peer = &mut self.peers[id.index()];
        self.tally.dropped += peer.inbox.trim(self.bounds.inbox_bytes);
    }

    // Consuming.

    /// When something of so many bytes that the broker sends now reaches a replica.
    fn arrival(&mut self, id: NodeId, now: Moment, bytes: usize) -> Moment {
        self.send(id, now, bytes).1
    }

    /// When it has left over the replica's line, and when it arrives.
    fn send(&mut self, id: NodeId, now: Moment, bytes: usize) -> (Moment, Moment) {
        let gone = if bytes > 0 { self.line.send(now, bytes, self.bounds.broker_mbit) } else { now };
        let peer = &mut self.peers[id.index()];
        let latency = self.distances.to_broker[peer.place];
        let jitter = latency.0 as f64 * self.distances.jitter * self.chance.next_f64();
        let gone = if bytes > 0 { peer.line.send(gone, bytes, self.distances.mbit[peer.place]) } else { gone };
        let at = gone + latency + Moment(jitter as u64);
        peer.last_arrival = peer.last_arrival.max(at);
        (gone, peer.last_arrival)
    }

    /// Gives a message to a consumer, who holds it until it acknowledges it.
    fn deliver(&mut self, id: NodeId, link: u32, source: Source, message: Message, now: Moment) {
        let (gone, at) = self.send(id, now, message.body.bytes.len());
        self.tally.delivered[message.way as usize].add(&message.body);
        if message.from == id {
            self.tally.delivered_own.add(&message.body);
        }
        let body = Arc::clone(&message.body);
        self.outgoing.push(Outgoing { at, to: id, input: Input::Deliver { link, source, body } });
        let peer = &mut self.peers[id.index()];
        let held = match source {
            Source::Inbox => &mut peer.held_inbox,
            Source::Anyone => &mut peer.held_anyone,
            Source::Combiner => &mut peer.held_combiner,
        };
        held.push_back(Held { message, gone });
    }

    /// Gives a replica what its inbox has, as far as it may hold more.
    fn consume(&mut self, id: NodeId, now: Moment) {
        loop {
            let peer = &mut self.peers[id.index()];
            let Some(link) = peer.link.filter(|_| peer.held_inbox.len() < self.bounds.prefetch) else { return };
            let Some(message) = peer.inbox.pop(now, &mut self.tally.expired) else { return };
            self.deliver(id, link, Source::Inbox, message, now);
        }
    }

    /// Gives out `anyone`, in turn, to those that hold few.
    fn assign_anyone(&mut self, now: Moment) {
        let mut passed_over = 0;
        while passed_over < self.servers.len() && self.anyone.len() > 0 {
            self.servers.rotate_left(1);
            let id = self.servers[self.servers.len() - 1];
            let peer = &self.peers[id.index()];
            let Some(link) = peer.link.filter(|_| peer.held_anyone.len() < self.bounds.anyone_prefetch) else {
                passed_over += 1;
                continue;
            };
            let Some(message) = self.anyone.pop(now, &mut self.tally.expired) else { return };
            self.deliver(id, link, Source::Anyone, message, now);
            passed_over = 0;
        }
    }

    /// Gives out `combiner` to the one that serves it.
    fn assign_combiner(&mut self, now: Moment) {
        let Some(id) = self.combiners.front().copied() else { return };
        // Only who has a link is among them.
        let Some(link) = self.peers[id.index()].link else { return };
        while self.peers[id.index()].held_combiner.len() < self.bounds.prefetch {
            let Some(message) = self.combiner.pop(now, &mut self.tally.expired) else { return };
            self.deliver(id, link, Source::Combiner, message, now);
        }
    }

    /// A replica takes messages of `anyone` from now on, or no more. What it was given stays with it.
    pub fn serve_anyone(&mut self, id: NodeId, serve: bool, now: Moment) {
        let serves = self.servers.contains(&id);
        if serve && !serves && self.peers[id.index()].link.is_some() {
            self.servers.push_back(id);
            self.assign_anyone(now);
        } else if !serve && serves {
            self.servers.retain(|server| *server != id);
        }
    }

    /// A replica acknowledges so many messages of each queue, the oldest first.
    pub fn acknowledge(&mut self, id: NodeId, inbox: u32, anyone: u32, combiner: u32, now: Moment) {
        let peer = &mut self.peers[id.index()];
        // What came over an earlier link has gone back, and is not with it any more.
        let drop_first = |held: &mut VecDeque<Held>, count: u32| -> u64 {
            let count = held.len().min(count as usize);
            held.drain(..count);
            count as u64
        };
        self.tally.acknowledged += drop_first(&mut peer.held_inbox, inbox);
        self.tally.acknowledged += drop_first(&mut peer.held_anyone, anyone);
        self.tally.acknowledged += drop_first(&mut peer.held_combiner, combiner);
        if inbox > 0 {
            self.consume(id, now);
        }
        if anyone > 0 {
            self.assign_anyone(now);
        }
        if combiner > 0 {
            self.assign_combiner(now);
        }
    }

    /// Sends a replica the log as it stands, piece by piece.
    pub fn read_log(&mut self, id: NodeId, link: u32, now: Moment) {
        if self.peers[id.index()].link != Some(link) {
            return;
        }
        let mut pieces: Vec<Vec<Arc<Body>>> = vec![Vec::new()];
        let mut bytes = 0;
        for message in self.log.iter() {
            if bytes > LOG_PIECE_BYTES {
                pieces.push(Vec::new());
                bytes = 0;
            }
            bytes += message.body.bytes.len();
            pieces.last_mut().expect("there is one from the beginning").push(Arc::clone(&message.body));
        }
        let count = pieces.len();
        for (index, bodies) in pieces.into_iter().enumerate() {
            let bytes = bodies.iter().map(|body| body.bytes.len()).sum::<usize>();
            self.tally.log_read_bytes += bytes as u64;
            let at = self.arrival(id, now, bytes);
            let input = Input::Log { link, bodies, end: index + 1 == count };
            self.outgoing.push(Outgoing { at, to: id, input });
        }
    }
}

#[cfg(test)]
mod tests;
