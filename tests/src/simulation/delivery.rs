//! The ways from a call's effects to the broker and back to the nodes.

use std::rc::Rc;

use anyhow::{Context, Result};
use dayfly_core::effect::{Effects, Frame, Receipt, Route, Verdict};

use super::broker::Message;
use super::cluster::{Cluster, Event, Passing, Published};
use super::node::{NodeId, Phase};
use super::summary::summary;
use super::witness::{Scene, Witness};

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
        if !node.is_polling && node.phase == Phase::Awake && self.broker.has_mail(&node.name) {
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
        let bodies: Vec<Vec<u8>> = taken.iter().map(|message| message.body.to_vec()).collect();
        if !bodies.is_empty() {
            self.receive(id, &bodies)?;
        }
        self.expect_poll(id);
        Ok(())
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
