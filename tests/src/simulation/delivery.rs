//! The ways from a call's effects to the broker and back to the nodes.

use std::rc::Rc;

use anyhow::{Context, Result};
use dayfly_core::effect::{Effects, Frame, Receipt, Route, Verdict};
use dayfly_core::frame::Frame as Decoded;

use super::broker::Message;
use super::cluster::{Cluster, Event, Passing, Published};
use super::node::{NodeId, Phase};
use super::summary::summary;
use super::witness::{Scene, Witness};

/// By so much the log grows when it is filled: a snapshot is due then.
const FILLER_BYTES: u64 = 5 << 20;

fn decoded(body: &[u8], cluster: &str) -> Decoded {
    Decoded::decode(body, cluster).expect("replicas publish frames of their cluster")
}

impl Cluster<'_> {
    pub(super) fn watch(&mut self, id: NodeId, what: impl FnOnce(&mut Witness, Scene<'_>) -> Result<()>) -> Result<()> {
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

    pub(super) fn watch_anew(&mut self, id: NodeId, effects: &Effects) {
        if let Some(witness) = self.witness.as_mut().filter(|_| effects.started_anew) {
            witness.started_anew(id.0);
        }
    }

    pub(super) fn absorb(&mut self, id: NodeId, effects: &Effects) -> Result<()> {
        self.watch_anew(id, effects);
        self.absorb_watched(id, effects)
    }

    /// Does what a call asked for.
    pub(super) fn absorb_watched(&mut self, id: NodeId, effects: &Effects) -> Result<()> {
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
            self.requeue(id);
        }
        self.acknowledge(id, effects.done_with)?;
        let span = self.broker.log_span();
        let node = &mut self.nodes[id.0];
        node.wants_replay = effects.replay;
        if effects.replay && node.replaying.is_none() {
            node.replaying = Some(span);
            let after_ms = 1 + self.chance.below(20);
            self.schedule(after_ms, Event::Replay(id));
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

    pub(super) fn expect_pump(&mut self, id: NodeId) {
        let node = &mut self.nodes[id.0];
        if !node.is_pumping && !node.outgoing.is_empty() && matches!(node.phase, Phase::Awake | Phase::Ending) {
            node.is_pumping = true;
            let after_ms = self.chance.below(self.plan.publish_ms + 1);
            self.schedule(after_ms, Event::Pump(id));
        }
    }

    pub(super) fn expect_poll(&mut self, id: NodeId) {
        let node = &mut self.nodes[id.0];
        let combines = self.broker.combiner() == Some(id) && self.broker.waiting_for_combiner().next().is_some();
        if !node.is_polling && node.phase == Phase::Awake && (combines || self.broker.has_mail(&node.name)) {
            node.is_polling = true;
            let after_ms = self.chance.below(3);
            self.schedule(after_ms, Event::Poll(id));
        }
    }

    pub(super) fn poll(&mut self, id: NodeId) -> Result<()> {
        self.nodes[id.0].is_polling = false;
        if self.node(id).phase != Phase::Awake {
            return Ok(());
        }
        let most = 1 + self.chance.below(self.plan.batch);
        let taken = self.broker.take(&self.nodes[id.0].name, most, self.now);
        let mut bodies: Vec<Vec<u8>> = taken.iter().map(|message| message.body.to_vec()).collect();
        if self.broker.combiner() == Some(id) && self.broker.waiting_for_combiner().next().is_some() {
            self.take_for_combiner(id, most, &mut bodies);
        }
        if !bodies.is_empty() {
            self.receive(id, &bodies)?;
        }
        self.expect_poll(id);
        Ok(())
    }

    /// Adds messages of the queue `combiner` to what a node receives next: before the others or after them.
    fn take_for_combiner(&mut self, id: NodeId, most: u64, bodies: &mut Vec<Vec<u8>>) {
        let taken = self.broker.take_for_combiner(most);
        let are_first = self.happens(500);
        let node = &mut self.nodes[id.0];
        let before = node.received + if are_first { 0 } else { bodies.len() as u64 };
        node.taken.extend((before + 1..).zip(taken.iter().cloned()));
        let at = if are_first { 0 } else { bodies.len() };
        bodies.splice(at..at, taken.iter().map(|body| body.to_vec()));
    }

    /// The host acknowledges the messages of the queue `combiner` that the node is done with.
    fn acknowledge(&mut self, id: NodeId, done_with: u64) -> Result<()> {
        let node = &mut self.nodes[id.0];
        while let Some((_, body)) = node.taken.pop_front_if(|(number, _)| *number <= done_with) {
            if let Some(witness) = &self.witness {
                witness.acknowledged(&body, &self.plan.config.cluster).with_context(|| format!("node {}", id.0))?;
            }
        }
        Ok(())
    }

    /// What a node took of the queue `combiner` and has not acknowledged goes to its successor.
    pub(super) fn requeue(&mut self, id: NodeId) {
        let taken = std::mem::take(&mut self.nodes[id.0].taken);
        self.broker.requeue(taken.into_iter().map(|(_, body)| body));
        if let Some(combiner) = self.broker.combiner() {
            self.expect_poll(combiner);
        }
    }

    /// A node takes no further messages of the queue `combiner`; another may.
    pub(super) fn stop_combining(&mut self, id: NodeId) {
        self.broker.stop_combining(id);
        if let Some(combiner) = self.broker.combiner() {
            self.expect_poll(combiner);
        }
    }

    /// A node's link to the broker is gone.
    pub(super) fn detach(&mut self, id: NodeId) {
        self.stop_combining(id);
        self.requeue(id);
        self.nodes[id.0].replaying = None;
    }

    /// A node's host hands it what comes next in the log.
    pub(super) fn read_log(&mut self, id: NodeId) -> Result<()> {
        let node = &mut self.nodes[id.0];
        if node.phase != Phase::Awake || !node.wants_replay {
            node.replaying = None;
        }
        let Some(span) = node.replaying.take() else { return Ok(()) };
        let most = 1 + self.chance.below(self.plan.batch) as usize;
        let read = self.broker.read_log(span.start, most);
        let bodies: Vec<Vec<u8>> = read.iter().map(|body| body.to_vec()).collect();
        let rest = span.start + most..span.end;
        let is_end = rest.is_empty();
        if !is_end {
            self.nodes[id.0].replaying = Some(rest);
            let after_ms = self.chance.below(3);
            self.schedule(after_ms, Event::Replay(id));
        }
        self.replay(id, &bodies, is_end)
    }

    // --- the broker ---

    pub(super) fn pump(&mut self, id: NodeId) {
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

    pub(super) fn publish(&mut self, id: NodeId, frame: &Frame) {
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
            let body = self.log_it(&frame.route, body);
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
                Route::Combiner => {
                    // This queue keeps what it has taken.
                    let copies = if self.happens(self.plan.duplication) { 2 } else { 1 };
                    (0..copies).for_each(|_| self.broker.store_for_combiner(message.body.clone()));
                    if let Some(combiner) = self.broker.combiner() {
                        self.expect_poll(combiner);
                    }
                }
                Route::Log => {}
            }
        }
        let receipt = Receipt { id: frame.id, verdict };
        self.nodes[id.0].outstanding.insert(frame.id, ());
        let after_ms = 1 + self.chance.below(self.plan.confirm_ms);
        self.schedule(after_ms, Event::Answer(id, receipt));
    }

    /// Lets the log have what belongs into it, and takes note of how much the replicas believe to be new in it. Gives the
    /// body as it goes on: where the log is to be filled, with a mark that says so.
    fn log_it(&mut self, route: &Route, body: Rc<[u8]>) -> Rc<[u8]> {
        if self.broker.log_bytes == 0 {
            return body;
        }
        let mut frame = decoded(&body, &self.plan.config.cluster);
        // One that knows of an older snapshot than others do would let nobody notice that the log grows.
        let knows_most = frame.log.snapshot >= self.log_mark.snapshot;
        if *route == Route::Everyone && knows_most && std::mem::take(&mut self.is_log_to_fill) {
            self.broker.fill_log(FILLER_BYTES);
            frame.log.bytes += FILLER_BYTES;
        }
        self.log_mark = self.log_mark.max(frame.log);
        let body: Rc<[u8]> = frame.encode(&self.plan.config.cluster).into();
        if matches!(route, Route::Everyone | Route::Log) {
            self.broker.append(body.clone());
        }
        body
    }

    /// Lets the log grow as if a lot had been written, unless the last time has not yet been covered by a snapshot.
    pub fn fill_log(&mut self) {
        self.is_log_to_fill |= self.log_mark.bytes < self.broker.log_bytes / 4;
    }

    /// Sends a message on to an inbox, or to anyone; or loses it, or sends it twice.
    pub(super) fn pass(&mut self, from: NodeId, to: Option<String>, message: &Message) {
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

    pub(super) fn answer(&mut self, id: NodeId, receipt: Receipt) -> Result<()> {
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
