//! Calls on nodes: each is traced, watched, and its effects are handed on.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use dayfly_core::config::Config;
use dayfly_core::effect::{Effects, Receipt, Verdict};
use dayfly_core::http::{Request, Response};
use dayfly_core::time::Timestamp;

use super::cluster::{Cluster, Event};
use super::node::{Node, NodeId, Phase};
use super::summary::summary;
use super::types::Operation;
use crate::chance::Chance;
use crate::life::Life;

impl Cluster<'_> {
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
            received: 0,
            taken: Default::default(),
            wants_replay: false,
            replaying: None,
            saved: 0,
            neighbours: Vec::new(),
        });
        if let Some(witness) = &mut self.witness {
            witness.enter();
        }
        self.absorb(id, &effects)?;
        Ok(id)
    }

    /// Makes a call on a node, and gives what it answers.
    pub(super) fn call<T>(
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
        self.broker.consume_for_combiner(id);
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
        self.stop_combining(id);
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
        self.stop_combining(id);
        self.absorb(id, &effects)
    }

    /// Tells a node its neighbours in the overlay; it must not refuse them.
    pub fn set_neighbours(&mut self, id: NodeId, names: &[String], interval_ms: u32) -> Result<()> {
        self.tell(|| format!("{} gets the neighbours {names:?}", self.node(id).name));
        let set = self.call(id, "set-neighbours", |life, now| life.set_neighbours(now, names, interval_ms))?;
        let effects = set.map_err(|refusal| anyhow::anyhow!("neighbours were refused: {refusal}"))?;
        self.nodes[id.0].neighbours = names.to_vec();
        self.watch_anew(id, &effects);
        self.absorb_watched(id, &effects)
    }

    /// Hands frames to a node.
    pub fn receive(&mut self, id: NodeId, bodies: &[Vec<u8>]) -> Result<()> {
        for body in bodies {
            self.tell(|| format!("{} receives {}", self.node(id).name, summary(body, &self.plan.config.cluster)));
        }
        self.nodes[id.0].received += bodies.len() as u64;
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

    /// Hands bodies of the log to a node.
    pub fn replay(&mut self, id: NodeId, bodies: &[Vec<u8>], end: bool) -> Result<()> {
        self.tell(|| format!("{} reads {} messages of the log, end {end}", self.node(id).name, bodies.len()));
        let effects = self.call(id, "replay", |life, now| life.replay(now, bodies, end))?;
        self.watch_anew(id, &effects);
        self.watch(id, |witness, scene| witness.replayed(scene, bodies))?;
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
}
