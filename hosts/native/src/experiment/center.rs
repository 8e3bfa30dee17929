//! Everything of a run but the replicas and their hosts: broker, platform, clients and the books, in one line of
//! events. What it decides reaches a host after the least latency at the earliest, so hosts need not wait for it within
//! that.

mod event;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::sync::Arc;

use dayfly_engine::{Chance, Runtime};

use super::broker::{Broker, Tally};
use super::clients::{Clients, Then};
use super::measure::{Interval, Requests, Sight, Sums, Times};
use super::message::{Deed, Input, NodeId, Output};
use super::moment::Moment;
use super::network::{Distances, Line};
use super::node::Node;
use super::platform::{Birth, KEEPER_ROUND, Orders, Platform};
use super::scenario::Scenario;
use super::trace::{Trace, seed_for};

/// What happens at some time.
#[derive(Debug)]
enum Event {
    /// A host's deed reaches the broker.
    AtBroker(NodeId, Deed),
    /// Platform, clients and books hear of a host's deed of that time.
    Told(NodeId, Moment, Deed),
    /// A client has a deed to do.
    Client(usize),
    /// A slot is filled first.
    Fill(usize),
    /// An inbox may have expired.
    Expire(NodeId),
    /// An environment may have been idle since then for long enough.
    Reclaim(NodeId, Moment),
    /// The keeper looks.
    Keep,
    /// An outage begins or ends.
    Outage(usize, bool),
    /// Counting begins.
    Begin,
    /// An interval of the series ends.
    Interval,
}

struct Planned {
    at: Moment,
    order: u64,
    event: Event,
}

impl PartialEq for Planned {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.order) == (other.at, other.order)
    }
}

impl Eq for Planned {}

impl PartialOrd for Planned {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Planned {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}

/// A host's way to the broker.
#[derive(Debug)]
struct Way {
    place: usize,
    line: Line,
    last_arrival: Moment,
    is_alive: bool,
    begun: Moment,
}

/// A request that is not answered.
#[derive(Debug)]
struct Pending {
    client: usize,
    asked: Moment,
    then: Then,
}

/// What is to be done at hosts.
#[derive(Default)]
pub struct Round {
    /// Replicas that come into being, in the order of their numbers.
    #[expect(clippy::vec_box, reason = "they are large, and passed from thread to thread")]
    pub born: Vec<Box<Node>>,
    /// What reaches whom when.
    pub reach: Vec<(Moment, NodeId, Input)>,
}

/// What the books hold at the end.
pub struct Books {
    /// What the broker had counted when counting began.
    pub before: Tally,
    /// By kind of clients.
    pub requests: Vec<Requests>,
    /// Who saw what when.
    pub sight: Sight,
    /// From a replica's start until it had the whole database.
    pub fills: Times,
    /// In how many awake periods, at most.
    pub fill_periods_max: u32,
    /// Why replicas were lost by themselves; the first few.
    pub lost_reasons: Vec<String>,
    /// The series.
    pub series: Vec<Interval>,
    /// How many requests succeeded up to the last interval.
    told: u64,
    sums: Sums,
}

/// Broker, platform, clients and books.
pub struct Center {
    scenario: Arc<Scenario>,
    distances: Distances,
    /// When counting begins.
    begin: Moment,
    broker: Broker,
    platform: Platform,
    clients: Clients,
    agenda: BinaryHeap<Reverse<Planned>>,
    order: u64,
    ways: Vec<Way>,
    /// The broker's line from outside.
    ingress: Line,
    chance: Chance,
    /// Regions whose network is cut.
    cut: BTreeSet<String>,
    pending: BTreeMap<u64, Pending>,
    last_followed: Option<Moment>,
    books: Books,
    orders: Orders,
    round: Round,
    trace: Trace,
    /// A host's call took too long in real time: what would follow could not be repeated.
    overran: Option<String>,
}

impl Center {
    /// At the beginning of a run.
    pub fn new(scenario: &Arc<Scenario>, config: dayfly_engine::contract::Config, runtime: Runtime) -> Self {
        let seed = scenario.seed;
        let distances = Distances::of(scenario);
        let platform = Platform::new(scenario, config, runtime, seed, distances.to_client);
        let clients = Clients::new(scenario, &platform.slot_places(), seed);
        let begin = Moment::from_s(scenario.warmup_s);
        let books = Books {
            before: Tally::default(),
            requests: vec![Requests::default(); scenario.clients.len()],
            sight: Sight::new(begin, Moment::from_s(scenario.measure.series_s)),
            fills: Times::default(),
            fill_periods_max: 0,
            lost_reasons: Vec::new(),
            series: Vec::new(),
            told: 0,
            sums: Sums::default(),
        };
        let mut center = Self {
            broker: Broker::new(scenario, distances.clone(), seed_for(seed, "broker", 0)),
            distances,
            begin,
            platform,
            clients,
            agenda: BinaryHeap::new(),
            order: 0,
            ways: Vec::new(),
            ingress: Line::default(),
            chance: Chance::new(seed_for(seed, "network", 0)),
            cut: BTreeSet::new(),
            pending: BTreeMap::new(),
            last_followed: None,
            books,
            orders: Orders::default(),
            round: Round::default(),
            trace: Trace::default(),
            overran: None,
            scenario: Arc::clone(scenario),
        };
        center.plan_all();
        center
    }

    fn plan_all(&mut self) {
        // First of its moment: what happens then counts.
        self.plan(self.begin, Event::Begin);
        for (slot, at) in self.platform.first_starts().into_iter().enumerate() {
            self.plan(at, Event::Fill(slot));
        }
        for client in 0..self.clients.len() {
            if let Some(at) = self.clients.first(client) {
                self.plan(at, Event::Client(client));
            }
        }
        for (index, outage) in self.scenario.clone().outages.iter().enumerate() {
            self.plan(self.begin + Moment::from_s(outage.from_s), Event::Outage(index, true));
            self.plan(self.begin + Moment::from_s(outage.to_s), Event::Outage(index, false));
        }
        self.plan(KEEPER_ROUND, Event::Keep);
        self.plan(self.begin + self.interval(), Event::Interval);
    }

    fn interval(&self) -> Moment {
        Moment::from_s(self.scenario.measure.series_s)
    }

    fn plan(&mut self, at: Moment, event: Event) {
        self.order += 1;
        self.agenda.push(Reverse(Planned { at, order: self.order, event }));
    }

    /// When something happens here next.
    pub fn next(&self) -> Option<Moment> {
        self.agenda.peek().map(|Reverse(planned)| planned.at)
    }

    /// What nothing is ahead of: how far hosts may go by themselves.
    pub fn lookahead(&self) -> Moment {
        self.distances.least()
    }

    /// The broker.
    pub fn broker(&self) -> &Broker {
        &self.broker
    }

    /// The platform.
    pub fn platform(&self) -> &Platform {
        &self.platform
    }

    /// The clients.
    pub fn clients(&self) -> &Clients {
        &self.clients
    }

    /// The books.
    pub fn books(&self) -> &Books {
        &self.books
    }

    /// What happened here.
    pub fn trace(&self) -> Trace {
        self.trace
    }

    /// Why the run cannot go on, if it cannot.
    pub fn overran(&self) -> Option<&str> {
        self.overran.as_deref()
    }

    /// A host has done something; it will be heard of here in its time.
    pub fn hear(&mut self, from: NodeId, output: Output) {
        let Output { at, what } = output;
        match what {
            Deed::Attach { .. } | Deed::Detach | Deed::Serve(_) | Deed::Acknowledge { .. } | Deed::ReadLog { .. } => {
                let at = self.arrival(from, at, 0);
                self.plan(at, Event::AtBroker(from, what));
            }
            Deed::Publish { ref body, .. } => {
                let at = self.arrival(from, at, body.bytes.len());
                self.plan(at, Event::AtBroker(from, what));
            }
            Deed::Answer(_) | Deed::Complete { .. } | Deed::Frozen | Deed::Ended(_) => {
                self.plan(at + self.distances.to_client, Event::Told(from, at, what));
            }
            // Observers take no time; but what they see must not be heard of before hosts are as far.
            Deed::Seen { .. } | Deed::Gone { .. } => {
                self.plan(at + self.distances.least(), Event::Told(from, at, what));
            }
        }
    }

    /// When something of so many bytes that a host sends then reaches the broker.
    fn arrival(&mut self, from: NodeId, at: Moment, bytes: usize) -> Moment {
        let way = &mut self.ways[from.index()];
        let latency = self.distances.to_broker[way.place];
        let jitter = latency.0 as f64 * self.distances.jitter * self.chance.next_f64();
        let gone = if bytes > 0 { way.line.send(at, bytes, self.distances.mbit[way.place]) } else { at };
        let at = gone + latency + Moment(jitter as u64);
        let at = if bytes > 0 { self.ingress.send(at, bytes, self.scenario.network.broker_mbit) } else { at };
        way.last_arrival = way.last_arrival.max(at);
        way.last_arrival
    }

    /// Lets everything happen that comes before that time. Gives what is to be done at hosts.
    pub fn run_until(&mut self, end: Moment) -> Round {
        while self.next().is_some_and(|next| next < end) {
            let Some(Reverse(Planned { at, event, .. })) = self.agenda.pop() else { break };
            self.happen(event, at);
            self.take_in_orders();
        }
        std::mem::take(&mut self.round)
    }

    /// What broker and platform want done.
    fn take_in_orders(&mut self) {
        for outgoing in self.broker.take_outgoing() {
            self.round.reach.push((outgoing.at, outgoing.to, outgoing.input));
        }
        let Orders { mut reach, born, reclaim } = std::mem::take(&mut self.orders);
        self.round.reach.append(&mut reach);
        for Birth { node, place, at } in born {
            self.broker.expect(node.name(), place);
            let line = Line::default();
            self.ways.push(Way { place, line, last_arrival: Moment::ZERO, is_alive: true, begun: at });
            self.round.born.push(node);
        }
        for (at, id, since) in reclaim {
            self.plan(at, Event::Reclaim(id, since));
        }
    }
}
