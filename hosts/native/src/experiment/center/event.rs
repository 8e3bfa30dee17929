//! What each event does.

use std::sync::Arc;

use super::{Center, Event, Pending};
use crate::experiment::broker::Publish;
use crate::experiment::clients::{Then, Wanted};
use crate::experiment::measure::{Interval, Sums};
use crate::experiment::message::{Answer, Deed, End, Input, Invocation, NodeId};
use crate::experiment::moment::Moment;
use crate::experiment::platform::KEEPER_ROUND;
use crate::experiment::scenario::OutageKind;

/// After an outage replicas come back within this time, in microseconds.
const RECONNECT_SPREAD_US: u64 = 1_000_000;
/// So many reasons of losses are kept.
const REASONS_MAX: usize = 8;

impl Center {
    pub(super) fn happen(&mut self, event: Event, now: Moment) {
        match event {
            Event::AtBroker(from, deed) => self.at_broker(from, deed, now),
            Event::Told(from, at, deed) => self.told(from, at, deed, now),
            Event::Client(client) => {
                let wanted = self.clients.deed(client);
                wanted.into_iter().for_each(|wanted| self.ask(wanted, now));
                if let Some(at) = self.clients.next(client, now) {
                    self.plan(at, Event::Client(client));
                }
            }
            Event::Fill(slot) => self.platform.fill(slot, now, &mut self.orders),
            Event::Expire(id) => match self.broker.expiry(id) {
                Some(at) if at > now => self.plan(at, Event::Expire(id)),
                Some(_) => self.broker.expire(id, now),
                None => {}
            },
            Event::Reclaim(id, since) => self.platform.reclaim(id, since, now, &mut self.orders),
            Event::Keep => {
                self.platform.keep(now, &mut self.orders);
                self.plan(now + KEEPER_ROUND, Event::Keep);
            }
            Event::Outage(index, begins) => self.outage(index, begins, now),
            Event::Begin => {
                self.books.before = self.broker.tally().clone();
                self.books.sums = Sums::of(self.broker.tally());
                self.platform.begin(now);
            }
            Event::Interval => {
                self.end_interval(now);
                self.plan(now + self.interval(), Event::Interval);
            }
        }
    }

    // At the broker.

    fn at_broker(&mut self, from: NodeId, deed: Deed, now: Moment) {
        match deed {
            Deed::Attach { link } => {
                if self.is_cut(from) {
                    // It tries again and again; one of the attempts comes after the end.
                    let pause = Moment(100_000 + self.chance.below(RECONNECT_SPREAD_US));
                    self.plan(now + pause, Event::AtBroker(from, Deed::Attach { link }));
                } else if self.ways[from.index()].is_alive {
                    self.broker.attach(from, link, now);
                }
            }
            Deed::Detach => self.detach(from, now),
            Deed::Publish { link, id, route, body, ttl_ms } => {
                self.broker.publish(from, Publish { link, id, route, body, ttl_ms }, now);
            }
            Deed::Serve(serve) => self.broker.serve_anyone(from, serve, now),
            Deed::Acknowledge { inbox, anyone, combiner } => {
                self.broker.acknowledge(from, inbox, anyone, combiner, now);
            }
            Deed::ReadLog { link } => self.broker.read_log(from, link, now),
            Deed::Answer(_) | Deed::Complete { .. } | Deed::Frozen | Deed::Ended(_) => {}
            Deed::Seen { .. } | Deed::Gone { .. } => {}
        }
    }

    fn detach(&mut self, id: NodeId, now: Moment) {
        self.broker.detach(id, now);
        if let Some(at) = self.broker.expiry(id) {
            self.plan(at, Event::Expire(id));
        }
    }

    fn is_cut(&self, id: NodeId) -> bool {
        let place = self.ways[id.index()].place;
        self.cut.contains(&self.scenario.places[place].region)
    }

    fn outage(&mut self, index: usize, begins: bool, now: Moment) {
        let scenario = Arc::clone(&self.scenario);
        let outage = &scenario.outages[index];
        match outage.kind {
            OutageKind::Power => self.platform.power(&outage.region, !begins, now, &mut self.orders),
            OutageKind::Network if begins => {
                self.cut.insert(outage.region.clone());
                for index in 0..self.ways.len() {
                    let (id, way) = (NodeId(index as u32), &self.ways[index]);
                    if way.is_alive && scenario.places[way.place].region == outage.region {
                        let at = now + self.distances.to_broker[way.place];
                        self.detach(id, now);
                        self.round.reach.push((at, id, Input::Cut));
                    }
                }
            }
            OutageKind::Network => {
                self.cut.remove(&outage.region);
            }
        }
    }

    // Platform, clients, books.

    fn told(&mut self, from: NodeId, at: Moment, deed: Deed, now: Moment) {
        match deed {
            Deed::Answer(answer) => self.answered(from, *answer, now),
            Deed::Complete { periods } => {
                if at >= self.begin {
                    self.books.fills.add(at - self.ways[from.index()].begun);
                    self.books.fill_periods_max = self.books.fill_periods_max.max(periods);
                }
            }
            Deed::Frozen => self.platform.frozen(from, at, &mut self.orders),
            Deed::Ended(end) => self.ended(from, at, end, now),
            Deed::Seen { write } => self.books.sight.seen(write, from, at),
            Deed::Gone { write } => self.books.sight.gone(write, from),
            Deed::Attach { .. } | Deed::Detach | Deed::Publish { .. } => {}
            Deed::Serve(_) | Deed::Acknowledge { .. } | Deed::ReadLog { .. } => {}
        }
    }

    fn ended(&mut self, from: NodeId, at: Moment, end: End, now: Moment) {
        self.ways[from.index()].is_alive = false;
        self.books.sight.ended(from);
        if let End::Lost(reason) = &end {
            if reason.starts_with("overran") {
                self.overran = Some(reason.clone());
            }
            if self.books.lost_reasons.len() < REASONS_MAX {
                self.books.lost_reasons.push(reason.clone());
            }
        }
        let open = self.platform.ended(from, at, end == End::Killed, now, &mut self.orders);
        for pending in open.into_iter().filter_map(|id| self.pending.remove(&id)) {
            if pending.asked >= self.begin {
                self.books.requests[self.clients.group(pending.client)].lost += 1;
            }
        }
    }

    /// A client makes a request.
    fn ask(&mut self, wanted: Wanted, now: Moment) {
        let Wanted { client, request, then } = wanted;
        let is_counted = now >= self.begin;
        let follow = is_counted && request.method != "GET" && self.is_to_be_followed(now);
        let wants_body = then != Then::Nothing;
        let invocation = Invocation { id: 0, request: Some(Box::new(request)), wants_body, follow };
        let group = self.clients.group(client);
        self.books.requests[group].asked += u64::from(is_counted);
        match self.platform.request(self.clients.target(client), invocation, now, &mut self.orders) {
            Ok(id) => {
                self.pending.insert(id, Pending { client, asked: now, then });
            }
            Err(_) => self.books.requests[group].turned_away += u64::from(is_counted),
        }
    }

    /// Whether the write that is made now is followed.
    fn is_to_be_followed(&mut self, now: Moment) -> bool {
        let Some(every_ms) = self.scenario.measure.follow_every_ms else { return false };
        let is_due = self.last_followed.is_none_or(|last| now >= last + Moment::from_ms(every_ms));
        if is_due {
            self.last_followed = Some(now);
        }
        is_due
    }

    fn answered(&mut self, from: NodeId, answer: Answer, now: Moment) {
        self.platform.answered(from, answer.id);
        self.trace.number(now.0 ^ u64::from(answer.status) << 48);
        // The keeper's invocations are nobody's.
        let Some(Pending { client, asked, then }) = self.pending.remove(&answer.id) else { return };
        if asked >= self.begin {
            let requests = &mut self.books.requests[self.clients.group(client)];
            if answer.status < 400 || answer.status == 404 {
                requests.succeeded += 1;
                requests.times.add(now - asked);
            } else {
                *requests.refused.entry(answer.status).or_default() += 1;
            }
        }
        if let Some(token) = answer.token {
            let alive = |index: &usize| self.ways[*index].is_alive && *index != from.index();
            let others: Vec<NodeId> = (0..self.ways.len()).filter(alive).map(|index| NodeId(index as u32)).collect();
            let write = self.books.sight.follow(answer.applied, others.iter().copied());
            // As early as any frame could be there.
            let at = now + self.distances.least();
            for id in others {
                self.round.reach.push((at, id, Input::Watch { write, token: Arc::clone(&token) }));
            }
        }
        let found = answer.status == 200;
        let more = self.clients.follow_up(client, then, found, &answer.body, now);
        more.into_iter().for_each(|wanted| self.ask(wanted, now));
    }

    /// Writes down the interval that ends.
    pub(super) fn end_interval(&mut self, now: Moment) {
        let sums = Sums::of(self.broker.tally());
        let succeeded: u64 = self.books.requests.iter().map(|requests| requests.succeeded).sum();
        let before = std::mem::replace(&mut self.books.sums, sums);
        let told = std::mem::replace(&mut self.books.told, succeeded);
        self.books.series.push(Interval {
            to_s: (now - self.begin).as_s(),
            replicas: self.platform.living() as u64,
            awake: self.platform.awake() as u64,
            succeeded: succeeded - told,
            published: sums.published.since(before.published),
            delivered: sums.delivered.since(before.delivered),
            repair: sums.repair.since(before.repair),
            delivered_bytes: sums.delivered_bytes_since(&before),
            staleness: None,
        });
    }
}
