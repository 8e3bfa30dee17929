//! The end of a run: faults stop, everybody who lives is woken once, and what is left is judged.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail, ensure};
use dayfly_core::cell::DataType;
use dayfly_core::frame::{Body, Frame};

use super::client::{get_request, read_request};
use super::cluster::Cluster;
use super::model::View;
use super::node::{NodeId, Phase};
use super::witness::{chunk_of, understood};

/// Within this time after faults have stopped, all replicas are complete, agree and are quiet, in milliseconds.
pub const CALM_MS: u64 = 60_000;
/// For so long after that nothing may be sent.
const SILENCE_MS: u64 = 60_000;
/// How long a frame without accident is under way, at most.
const ARRIVAL_MS: u64 = 100;
/// The lease of those that are woken at the end: longer than all that follows.
const LAST_LEASE_MS: u64 = 3_000_000;

/// What a run came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// How long it took until all agreed and were quiet, in milliseconds.
    pub calm_ms: u64,
    /// Frames that this took.
    pub calm_frames: u64,
    /// Replicas alive at the end.
    pub replicas: usize,
    /// Dots made.
    pub dots: usize,
    /// Writes done.
    pub writes: usize,
    /// Confirmed writes that died with all who had them.
    pub lost: usize,
    /// Writes of which only a part survived.
    pub torn: usize,
    /// Values that old parts of checkpoints left with less than the history says.
    pub holes: u64,
    /// Writes done again after a long sleep.
    pub redone: u64,
    /// How often all replicas were killed at once.
    pub falls: u64,
    /// Frames of combiners that carried something.
    pub combined: u64,
    /// Frames along links of overlays that carried something.
    pub along: u64,
    /// Pieces of snapshots.
    pub snapshots: u64,
    /// Requests with `dayfly-after` that were answered, that were refused, and that were answered before all that the
    /// named writes dropped was gone.
    pub after: [u64; 3],
}

impl Cluster<'_> {
    /// Ends the faults: whoever is frozen is thawed, and nobody will be again.
    fn end_faults(&mut self) -> Result<()> {
        self.plan.quieten();
        self.is_stormy = false;
        self.filter = None;
        self.gate = None;
        // From here on nothing is lost, so what lies in an inbox now will be received.
        self.broker.inbox_bytes = usize::MAX;
        self.plan.lease_ms = LAST_LEASE_MS;
        for id in self.in_phase(Phase::Ending) {
            let period = self.node(id).period;
            if self.node(id).leaves {
                self.freeze_suspended(id, period);
            } else {
                self.freeze(id);
            }
        }
        for id in self.in_phase(Phase::Frozen) {
            if self.node(id).leaves {
                self.kill(id);
            } else {
                self.thaw(id)?;
            }
        }
        if self.living().is_empty() {
            self.give_birth(false)?;
        }
        self.link_all()
    }

    /// Lets what is late arrive, and wakes everybody once more, so that all have heard each other's root since.
    fn wake_all(&mut self) -> Result<()> {
        self.run_for(self.plan.late_ms + ARRIVAL_MS)?;
        for id in self.in_phase(Phase::Awake) {
            self.wake(id, LAST_LEASE_MS)?;
        }
        Ok(())
    }

    /// What the living know, together with what is in their inboxes or on the way to them.
    fn heritage(&self) -> Result<View> {
        let mut heritage = View::default();
        let Some(witness) = &self.witness else { return Ok(heritage) };
        for id in self.living() {
            heritage.join_view(witness.view(id.0));
            for body in self.mail_of(id) {
                let Ok(frame) = Frame::decode(&body, &self.plan.config.cluster) else { continue };
                if let Some(chunk) = chunk_of(&frame.body) {
                    heritage.join(&witness.model, chunk);
                } else if let Body::Link(link) = &frame.body
                    && let Some(chunk) = understood(link, witness.view(id.0))
                {
                    heritage.join(&witness.model, &chunk);
                }
            }
        }
        for body in self.mail_of_combiner() {
            let Ok(frame) = Frame::decode(body, &self.plan.config.cluster) else { continue };
            chunk_of(&frame.body).into_iter().for_each(|chunk| heritage.join(&witness.model, chunk));
        }
        Ok(heritage)
    }

    /// A replica's root, as its status tells it.
    pub fn root(&mut self, id: NodeId) -> Result<String> {
        let response = self.ask(id, &get_request("/v1/status"))?;
        let status: serde_json::Value = serde_json::from_slice(&response.body).context("the status is no JSON")?;
        Ok(status["root"].as_str().context("the status has a root")?.to_owned())
    }

    fn is_calm(&mut self) -> Result<bool> {
        Ok(self.is_still() && self.is_agreed()?)
    }

    /// Whether all are complete and quiet, and have the same root.
    fn is_agreed(&mut self) -> Result<bool> {
        let living = self.living();
        if !living.iter().all(|id| self.node(*id).quiet && self.node(*id).serve_anyone) {
            return Ok(false);
        }
        let mut roots = Vec::new();
        for id in living {
            roots.push(self.root(id)?);
        }
        Ok(roots.iter().all(|root| *root == roots[0]))
    }

    /// Runs until all are calm, at most [`CALM_MS`]. Gives how long it took.
    pub fn calm_down(&mut self) -> Result<u64> {
        let begin = self.now;
        loop {
            if self.is_calm()? {
                return Ok(self.now - begin);
            }
            // Long enough for what is at the same time to happen together.
            let until = self.now + 10;
            while self.step(until)? {}
            if self.now > begin + CALM_MS {
                let mut states = Vec::new();
                for id in self.living() {
                    let (root, node) = (self.root(id)?, self.node(id));
                    let (quiet, complete) = (node.quiet, node.serve_anyone);
                    states.push(format!("{} has root {root}, quiet {quiet}, complete {complete}", node.name));
                }
                bail!("not calm after {CALM_MS} ms without faults: {}", states.join("; "));
            }
        }
    }

    /// Ends the run and judges it.
    pub fn finish(&mut self) -> Result<Verdict> {
        self.end_faults()?;
        let heritage = self.heritage()?;
        self.wake_all()?;
        let frames = self.trace.frames;
        let calm_ms = self.calm_down()?;
        let calm_frames = self.trace.frames - frames;
        self.tap();
        self.run_for(SILENCE_MS)?;
        let sent = self.tapped_but_snapshots();
        // In an overlay some sign of life may be under way.
        let quiet = self.is_agreed()? && (self.plan.overlay_ms.is_some() || self.is_still());
        self.published = None;
        ensure!(sent == 0 && quiet, "after all were quiet, {sent} frames were sent; still calm: {quiet}");
        let mut verdict = Verdict { calm_ms, calm_frames, replicas: self.living().len(), ..Verdict::default() };
        if self.witness.is_some() {
            self.judge(&heritage, &mut verdict)?;
        }
        Ok(verdict)
    }

    fn judge(&mut self, heritage: &View, verdict: &mut Verdict) -> Result<()> {
        let living = self.living();
        let witness = self.witness.as_ref().expect("the caller has looked");
        let last = witness.view(living[0].0).clone();
        for id in &living {
            ensure!(*witness.view(id.0) == last, "equal roots, but node {} knows something else", id.0);
            ensure!(witness.left_to_redo(id.0) == 0, "node {} has writes to do again", id.0);
        }
        let mut joined = last.clone();
        joined.join_view(heritage);
        ensure!(joined == last, "something that a living replica had is lost");

        let history = &witness.history;
        let fallen = history.writes[..self.fallen].iter().find(|write| write.confirmed && !write.is_known_to(&last));
        ensure!(fallen.is_none(), "all were killed, and the log did not bring back {fallen:?}");
        verdict.falls = self.falls;
        verdict.combined = witness.combined;
        verdict.along = witness.along;
        verdict.snapshots = witness.snapshots;
        verdict.dots = witness.model.len();
        verdict.writes = history.writes.len();
        verdict.redone = witness.redone;
        verdict.after = [self.client.after_served, self.client.after_refused, self.client.after_torn];
        verdict.lost = history.writes.iter().filter(|write| write.confirmed && !write.is_known_to(&last)).count();
        let torn = history.writes.iter().filter(|write| write.is_torn_in(&last));
        verdict.torn = torn.clone().count();
        let torn: Vec<String> =
            torn.flat_map(|write| &write.operations).map(|operation| operation.name.clone()).collect();

        let mut expected: BTreeMap<(String, DataType), Option<serde_json::Value>> = BTreeMap::new();
        for (name, data_type) in history.keys() {
            let is_counter = matches!(data_type, DataType::GCounter | DataType::PnCounter);
            if is_counter && let Some(sum) = history.sum(&name, data_type, &last) {
                let sum = serde_json::from_str(&sum.to_string()).context("a sum is a number")?;
                let exists = last.read(&name, data_type).is_some();
                expected.insert((name, data_type), exists.then_some(sum));
            } else if !is_counter && !torn.contains(&name) {
                let value = history.value(&name, data_type, &last);
                expected.insert((name, data_type), value);
            }
        }
        for ((name, data_type), expected) in expected {
            for id in living.clone() {
                let response = self.ask(id, &read_request(&name, data_type))?;
                let body: serde_json::Value = serde_json::from_slice(&response.body).context("no JSON")?;
                let value = (response.status == 200).then(|| body["value"].clone());
                let kind = data_type.name();
                if value != expected && self.plan.checkpoints {
                    // A stored part that is older than another may lack what the other says took an entry's place.
                    verdict.holes += 1;
                    continue;
                }
                ensure!(value == expected, "{name} of {kind} ends as {value:?}; the history says {expected:?}");
            }
        }
        Ok(())
    }
}
