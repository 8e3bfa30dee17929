//! A model of the platform: it starts replicas, freezes and thaws them, kills them without notice, and its clocks are wrong.

use anyhow::{Result, ensure};
use dayfly_core::effect::{Receipt, Verdict};
use dayfly_core::frame::Frame;

use super::cluster::{Cluster, Event};
use super::history::Write;
use super::model::View;
use super::node::{NodeId, Phase};
use super::summary::summary;
use super::witness::chunk_of;

impl Cluster<'_> {
    /// Starts the first replicas, and the deeds of platform and clients.
    pub fn begin(&mut self) -> Result<()> {
        self.is_stormy = true;
        for nth in 0..self.plan.founders {
            self.give_birth(nth == 0)?;
        }
        self.link_all()?;
        self.schedule(self.plan.platform_ms, Event::Platform);
        self.schedule(self.plan.request_ms, Event::Client);
        Ok(())
    }

    /// A pause that is so long on average.
    pub fn pause(&mut self, average_ms: u64) -> u64 {
        1 + self.chance.below(2 * average_ms)
    }

    fn draw_offset(&mut self) -> i64 {
        let skew_ms = self.plan.config.skew_ms;
        // Any two clocks differ by at most the skew.
        self.chance.below(skew_ms + 1) as i64 - (skew_ms / 2) as i64
    }

    /// Starts a replica, as the founder or as a newcomer, with or without the stored state.
    pub fn give_birth(&mut self, founds: bool) -> Result<NodeId> {
        let mut config = self.plan.config.clone();
        if founds {
            config.bootstrap_ms = 0;
        }
        config.region = ["eu", "us"][self.chance.below(2) as usize].to_owned();
        let offset_ms = self.draw_offset();
        let id = self.start(config, offset_ms)?;
        if self.plan.checkpoints && self.happens(500) {
            self.load_checkpoint(id)?;
        }
        self.wake(id, self.plan.lease_ms)?;
        Ok(id)
    }

    /// Loads what was stored: here and there an older piece, or none.
    fn load_checkpoint(&mut self, id: NodeId) -> Result<()> {
        let parts: Vec<Vec<Vec<u8>>> = self.checkpoint.values().cloned().collect();
        for versions in parts {
            let at = match self.chance.below(8) {
                0 => continue,
                1 => self.chance.below(versions.len() as u64) as usize,
                _ => versions.len() - 1,
            };
            self.load(id, &versions[at])?;
        }
        Ok(())
    }

    /// Tells those that are awake who their neighbours are: a ring of all that live, each linked to the two next to it on
    /// either side. Whoever is frozen is told when it is thawed, so that for a while not all links have two ends.
    pub fn link_all(&mut self) -> Result<()> {
        let Some(interval_ms) = self.plan.overlay_ms else { return Ok(()) };
        let ring: Vec<NodeId> = self.living().into_iter().filter(|id| !self.node(*id).leaves).collect();
        let count = ring.len();
        for (at, id) in ring.iter().enumerate() {
            let near = [1, 2, count.saturating_sub(1), count.saturating_sub(2)].map(|step| ring[(at + step) % count]);
            let mut names: Vec<String> =
                near.iter().filter(|other| *other != id).map(|other| self.node(*other).name.clone()).collect();
            names.sort_unstable();
            names.dedup();
            if self.node(*id).phase == Phase::Awake && self.node(*id).neighbours != names {
                self.set_neighbours(*id, &names, interval_ms)?;
            }
        }
        Ok(())
    }

    fn pick(&mut self, nodes: &[NodeId]) -> Option<NodeId> {
        let at = self.chance.below(nodes.len().max(1) as u64) as usize;
        nodes.get(at).copied()
    }

    /// Does one thing to one node.
    pub fn platform_acts(&mut self) -> Result<()> {
        let pause_ms = self.pause(self.plan.platform_ms);
        self.schedule(pause_ms, Event::Platform);
        if self.plan.fills_log && self.happens(300) {
            self.fill_log();
        }
        if self.plan.falls {
            if self.living().is_empty() {
                self.give_birth(false)?;
            } else if self.happens(60) {
                return self.fall();
            }
        }
        let (awake, living) = (self.in_phase(Phase::Awake), self.living());
        let deed = self.chance.below(12);
        let awake_one = self.pick(&awake);
        let living_one = self.pick(&living);
        match (deed, awake_one, living_one) {
            (0 | 1, _, _) if living.len() < self.plan.nodes_max => drop(self.give_birth(false)?),
            (2 | 3, Some(id), _) if self.plan.freezes => self.freeze_gracefully(id)?,
            (4 | 5, _, Some(id)) if self.plan.freezes => self.stop(id),
            (6, _, Some(id)) if self.plan.kills => self.kill(id),
            (7, Some(id), _) if self.plan.kills && living.len() > 2 => {
                self.leave(id)?;
                let after_ms = self.pause(100);
                let period = self.node(id).period;
                self.schedule(after_ms, Event::Freeze(id, period));
            }
            (8, _, Some(id)) if self.plan.jumps => {
                self.nodes[id.0].offset_ms = self.draw_offset();
                self.tell(|| format!("the clock of {} is now {:+}", self.node(id).name, self.node(id).offset_ms));
                self.expect_tick(id);
            }
            (9, Some(id), _) if self.plan.checkpoints => self.save(id)?,
            (10, Some(id), _) => self.tick_early(id)?,
            (11, Some(id), _) => drop(self.wake(id, self.plan.lease_ms)?),
            _ => {}
        }
        self.link_all()
    }

    /// Ticks a node at a time that it did not ask for; what is not due must not happen.
    fn tick_early(&mut self, id: NodeId) -> Result<()> {
        let (due, now) = (self.node(id).tick_at, self.node(id).clock(self.now));
        let effects = self.tick(id)?;
        ensure!(
            // By a clock that went back since, other things may be due.
            effects.frames.is_empty() || due.is_some_and(|due| due <= now) || self.plan.jumps,
            "node {} was ticked at {now:?}, before {due:?}, and sent {:?}",
            id.0,
            effects.frames.iter().map(|frame| summary(&frame.body, &self.plan.config.cluster)).collect::<Vec<_>>()
        );
        Ok(())
    }

    /// An awake period is over: it is prolonged, or the node is suspended and frozen.
    pub fn end_period(&mut self, id: NodeId, period: u64) -> Result<()> {
        if self.node(id).phase != Phase::Awake || self.node(id).period != period {
            return Ok(());
        }
        if !self.plan.freezes || self.happens(500) {
            return self.wake(id, self.plan.lease_ms).map(drop);
        }
        self.freeze_gracefully(id)
    }

    fn freeze_gracefully(&mut self, id: NodeId) -> Result<()> {
        self.suspend(id)?;
        let after_ms = self.pause(100);
        let period = self.node(id).period;
        self.schedule(after_ms, Event::Freeze(id, period));
        Ok(())
    }

    /// The last frames of a node that was suspended, or left, are out.
    pub fn freeze_suspended(&mut self, id: NodeId, period: u64) {
        if self.node(id).phase == Phase::Ending && self.node(id).period == period {
            if self.node(id).leaves {
                self.kill(id);
                let name = self.node(id).name.clone();
                self.broker.delete(&name);
            } else {
                self.stop(id);
            }
        }
    }

    /// Freezes a node where it stands, and plans its thaw.
    pub fn stop(&mut self, id: NodeId) {
        if self.node(id).phase == Phase::Frozen {
            return;
        }
        let retention_ms = self.plan.config.retention_ms;
        let after_ms = match self.chance.below(10) {
            0..6 => self.pause(1_000),
            6..9 => self.chance.below(retention_ms * 9 / 10),
            _ if self.plan.long_sleeps => retention_ms + self.chance.below(2 * retention_ms),
            _ => 1,
        };
        self.freeze(id);
        let period = self.node(id).period;
        self.tell(|| format!("{} is frozen for {after_ms}", self.node(id).name));
        self.schedule(after_ms.max(1), Event::Thaw(id, period));
    }

    /// Freezes a node where it stands, until it is thawed.
    pub fn freeze(&mut self, id: NodeId) {
        let node = &mut self.nodes[id.0];
        node.phase = Phase::Frozen;
        node.period += 1;
        self.broker.abandon(&node.name, self.now);
        self.detach(id);
    }

    /// A frozen node goes on: with a new invocation, or in the midst of what it did.
    pub fn thaw(&mut self, id: NodeId) -> Result<()> {
        self.tell(|| format!("{} is thawed", self.node(id).name));
        let name = self.node(id).name.clone();
        self.broker.declare(&name);
        let is_suspended = self.node(id).leaves;
        self.nodes[id.0].phase = if is_suspended { Phase::Ending } else { Phase::Awake };
        if !is_suspended {
            self.broker.consume_for_combiner(id);
            self.expect_poll(id);
        }
        if is_suspended {
            let period = self.node(id).period;
            self.schedule(10, Event::Freeze(id, period));
        } else if self.happens(500) {
            self.wake(id, self.plan.lease_ms)?;
        } else {
            let period = self.node(id).period;
            let after_ms = self.pause(200);
            self.schedule(after_ms, Event::PeriodEnd(id, period));
            self.tick(id)?;
        }
        self.link_all()?;
        self.report_late(id)
    }

    /// The host of a thawed node finds out what became of its publishes: from a connection that still lives, or not.
    fn report_late(&mut self, id: NodeId) -> Result<()> {
        let late = std::mem::take(&mut self.nodes[id.0].late);
        if self.happens(500) {
            let known: Vec<Receipt> =
                late.into_iter().filter(|receipt| self.nodes[id.0].outstanding.remove(&receipt.id).is_some()).collect();
            self.settle(id, &known)
        } else {
            let outstanding = std::mem::take(&mut self.nodes[id.0].outstanding);
            let failed = |id| Receipt { id, verdict: Verdict::Failed };
            let failed: Vec<Receipt> = outstanding.into_keys().map(failed).collect();
            self.settle(id, &failed)
        }
    }

    /// Kills a node.
    pub fn kill(&mut self, id: NodeId) {
        self.tell(|| format!("{} is killed", self.node(id).name));
        let node = &mut self.nodes[id.0];
        node.phase = Phase::Dead;
        node.outgoing.clear();
        self.broker.abandon(&node.name, self.now);
        self.detach(id);
    }

    /// Kills all nodes. What was confirmed is in the log, or still in the queue `combiner`.
    pub fn fall(&mut self) -> Result<()> {
        let dying = self.living();
        dying.iter().for_each(|id| self.kill(*id));
        let Some(witness) = &self.witness else { return Ok(()) };
        let mut kept = View::default();
        let span = self.broker.log_span();
        let log = self.broker.read_log(span.start, span.len());
        for body in log.iter().chain(self.mail_of_combiner()) {
            let frame = Frame::decode(body, &self.plan.config.cluster);
            let frame = frame.map_err(|refused| anyhow::anyhow!("a logged frame is {refused:?}"))?;
            chunk_of(&frame.body).into_iter().for_each(|chunk| kept.join(&witness.model, chunk));
        }
        let writes = &witness.history.writes;
        let missing = writes.iter().filter(|write| write.confirmed && !write.is_known_to(&kept));
        let missing: Vec<_> = missing.collect();
        // What died earlier with all who had it is in no snapshot, so it may have been trimmed away.
        let is_common = |write: &Write| dying.iter().all(|id| write.is_known_to(witness.view(id.0)));
        let due = missing.iter().find(|write| !self.broker.is_trimmed() || is_common(write));
        ensure!(due.is_none(), "all are dead, and neither the log nor the queue `combiner` has {due:?}");
        if missing.is_empty() {
            self.fallen = writes.len();
        }
        self.falls += 1;
        Ok(())
    }
}
