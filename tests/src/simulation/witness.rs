//! Watches every call: tells the model what happened, and asks whether the replica and its frames agree with it.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, bail, ensure};
use dayfly_core::cell::{Cell, DataType};
use dayfly_core::chunk::{Chunk, ChunkPart};
use dayfly_core::config::{Config, FRAME_SLACK_BYTES};
use dayfly_core::dot::{Dot, Seq, WriterId};
use dayfly_core::effect::{Effects, FrameId, Receipt, Route, Verdict};
use dayfly_core::frame::{Body, Frame, HEADER_MAX_BYTES, Link};
use dayfly_core::http::Response;
use dayfly_core::store::Store;
use dayfly_core::time::Timestamp;

use super::history::{History, Write};
use super::model::{Model, View};
use super::shares::Shares;
use super::types::{Content, Draft, Operation, UNKNOWN_STAMP};
use super::value;

/// What the witness knows of one node.
#[derive(Clone, Debug, Default)]
struct Mind {
    view: View,
    writer: Option<WriterId>,
    /// Dots that pieces of answers to requests for repair say are dead. A replica may believe it later, or when it is told
    /// again.
    said_dead: BTreeSet<Dot>,
    /// Writes that no frame has carried yet, by their index in the history.
    burst: Vec<usize>,
    /// Frames of writes that are not confirmed, and their writes.
    carried: BTreeMap<FrameId, (Vec<u8>, Vec<usize>)>,
    /// Writes of an earlier incarnation, to be done again.
    to_redo: Vec<usize>,
    /// Frames that answers wait for, and their writes.
    awaited: BTreeMap<FrameId, Vec<usize>>,
    /// Frames that were emitted.
    emitted: BTreeSet<FrameId>,
    /// What it gathers as combiner, and what it sent of it.
    shares: Shares,
    /// To whom frames went that were meant for one replica.
    addressed: BTreeMap<FrameId, String>,
    /// The names of those whose inbox was found to be gone: what is sent again to them goes to others.
    gone: BTreeSet<String>,
    /// Calls since the last full comparison.
    unchecked: u32,
}

/// The witness of a run.
#[derive(Clone, Debug, Default)]
pub struct Witness {
    /// All dots.
    pub model: Model,
    /// All writes.
    pub history: History,
    minds: Vec<Mind>,
    /// How many writes were done again after a sleep beyond the retention.
    pub redone: u64,
    /// The dots of shares that were sent on to everyone, confirmed by the broker.
    told: BTreeSet<Dot>,
    /// How many frames of combiners carried something.
    pub combined: u64,
    /// How many frames along links of overlays carried something.
    pub along: u64,
    /// How many pieces of snapshots were written.
    pub snapshots: u64,
    /// Whether a part of a checkpoint was loaded: an older one may lack what took the place of what a newer one lost.
    is_loaded: bool,
}

/// Every so many calls a store checks itself by brute force.
const SOUND_EVERY: u32 = 16;

/// What a call was made on.
#[derive(Clone, Copy)]
pub struct Scene<'a> {
    /// The node's index.
    pub node: usize,
    /// Its name.
    pub name: &'a str,
    /// Its incarnation after the call.
    pub incarnation: u64,
    /// Its configuration.
    pub config: &'a Config,
    /// Its state after the call.
    pub store: &'a Store,
    /// What its clock shows.
    pub now: Timestamp,
}

impl Witness {
    /// A node begins.
    pub fn enter(&mut self) {
        self.minds.push(Mind::default());
    }

    /// What a node knows.
    pub fn view(&self, node: usize) -> &View {
        &self.minds[node].view
    }

    /// How many writes a node has still to do again.
    pub fn left_to_redo(&self, node: usize) -> usize {
        self.minds[node].to_redo.len()
    }

    /// A call found that the node had slept for too long.
    pub fn started_anew(&mut self, node: usize) {
        let mind = &mut self.minds[node];
        let carried = std::mem::take(&mut mind.carried).into_values().flat_map(|(_, writes)| writes);
        let mut unsettled: Vec<usize> = carried.collect();
        unsettled.append(&mut mind.burst);
        mind.to_redo.append(&mut unsettled);
        mind.view = View::default();
        mind.said_dead.clear();
        mind.writer = None;
        mind.awaited.clear();
        mind.shares = Shares::default();
    }

    /// A node received frames; some may be broken.
    pub fn received(&mut self, scene: Scene<'_>, bodies: &[Vec<u8>]) -> Result<()> {
        for body in bodies {
            let Ok(frame) = Frame::decode(body, &scene.config.cluster) else { continue };
            if let Body::Share(chunk) = &frame.body {
                let mind = &mut self.minds[scene.node];
                mind.view.join(&self.model, chunk);
                mind.shares.add(chunk);
                continue;
            }
            if frame.sender.name == scene.name && frame.sender.incarnation == scene.incarnation {
                continue;
            }
            let mind = &mut self.minds[scene.node];
            // Chunks were checked when they were sent.
            match &frame.body {
                Body::Delta(chunk) => mind.view.join(&self.model, chunk),
                Body::Answer(answer) => mind.said_dead.extend(mind.view.join_piece(&self.model, &answer.chunk)),
                Body::Combined(_, chunk) => mind.view.join(&self.model, chunk),
                Body::Link(link) => {
                    if let Some(chunk) = understood(link, &mind.view) {
                        mind.view.join(&self.model, &chunk);
                    }
                }
                Body::Share(_) | Body::Beat | Body::Wake | Body::Ask(_) | Body::Members(_) | Body::SnapshotDue => {}
            }
        }
        Ok(())
    }

    /// A node read bodies of the log.
    pub fn replayed(&mut self, scene: Scene<'_>, bodies: &[Vec<u8>]) -> Result<()> {
        for body in bodies {
            let frame = Frame::decode(body, &scene.config.cluster);
            let frame = frame.map_err(|refused| anyhow::anyhow!("a logged frame is {refused:?}"))?;
            match &frame.body {
                Body::Delta(chunk) | Body::Combined(_, chunk) => {
                    self.minds[scene.node].view.join(&self.model, chunk);
                }
                Body::Beat | Body::Wake => {}
                other => bail!("{other:?} does not belong into the log"),
            }
        }
        Ok(())
    }

    /// A message of the queue `combiner` was acknowledged: what it told must have been confirmed for everyone.
    pub fn acknowledged(&self, body: &[u8], cluster: &str) -> Result<()> {
        let frame = Frame::decode(body, cluster).map_err(|refused| anyhow::anyhow!("a share is {refused:?}"))?;
        let Body::Share(chunk) = &frame.body else { return Ok(()) };
        let untold: Vec<Dot> = spoken(chunk).difference(&self.told).copied().collect();
        ensure!(untold.is_empty(), "it is done with a share, but {untold:?} are not confirmed for everyone");
        Ok(())
    }

    /// A node took in a part of a checkpoint.
    pub fn loaded(&mut self, node: usize, part: &[u8]) -> Result<()> {
        let chunk = Chunk::decode(part).context("a part that was taken in")?;
        self.minds[node].view.join(&self.model, &chunk);
        self.is_loaded = true;
        Ok(())
    }

    /// A node saved a part of a checkpoint.
    pub fn saved(&self, part: &[u8]) -> Result<()> {
        let chunk = Chunk::decode(part).context("a part that was saved")?;
        self.model.check(&chunk).context("a part that was saved")
    }

    /// A node was told outcomes: clients hear that their writes are confirmed.
    pub fn settled(&mut self, node: usize, receipts: &[Receipt]) {
        let mind = &mut self.minds[node];
        for receipt in receipts {
            let awaited = mind.awaited.remove(&receipt.id);
            if receipt.verdict == Verdict::Unroutable {
                mind.gone.extend(mind.addressed.get(&receipt.id).cloned());
            }
            if receipt.verdict == Verdict::Confirmed {
                mind.carried.remove(&receipt.id);
                self.told.extend(mind.shares.confirmed(receipt.id));
                for write in awaited.into_iter().flatten() {
                    self.history.writes[write].confirmed = true;
                }
            }
        }
    }

    /// A node answered operations. Gives the index of the write, if it wrote.
    pub fn answered(
        &mut self,
        scene: Scene<'_>,
        operations: &[Operation],
        response: &Response,
    ) -> Result<Option<usize>> {
        if response.status >= 400 {
            return self.refused(scene, operations, response).map(|()| None);
        }
        let write = self.perform(scene, operations, true)?;
        match (write, response.after) {
            (None, None) => {}
            (Some(write), Some(after)) => {
                self.minds[scene.node].burst.push(write);
                self.minds[scene.node].awaited.entry(after).or_default().push(write);
            }
            (wrote, after) => bail!("{operations:?} wrote {wrote:?}, and its answer waits for {after:?}"),
        }
        if operations.len() == 1 && response.status == 200 {
            let Operation { name, data_type, .. } = &operations[0];
            let view = &self.minds[scene.node].view;
            let expected = view.read(name, *data_type).unwrap_or_else(|| value::of_nothing(*data_type));
            self.compare_value(name, *data_type, response, &expected)?;
        }
        Ok(write)
    }

    fn refused(&mut self, scene: Scene<'_>, operations: &[Operation], response: &Response) -> Result<()> {
        ensure!(response.after.is_none(), "a refusal waits for a frame");
        let mind = &self.minds[scene.node];
        // That nothing was changed shows when the store is compared.
        let Some(writer) = mind.writer else { return Ok(()) };
        let mut draft = Draft::new(&mind.view, writer, mind.view.tail(writer) + 1, UNKNOWN_STAMP);
        let overflows = operations.iter().any(|operation| draft.perform(operation).is_err());
        ensure!(overflows == (response.status == 409), "{operations:?} was refused with {}", response.status);
        Ok(())
    }

    /// A node did operations: what the model makes of them. Gives the index of the write, if it wrote.
    /// `is_alone` says whether the call did nothing else.
    fn perform(&mut self, scene: Scene<'_>, operations: &[Operation], is_alone: bool) -> Result<Option<usize>> {
        let new = scene.store.context().map(|(writer, _)| writer).filter(|writer| !self.model.knows_writer(*writer));
        let new: Vec<WriterId> = new.collect();
        ensure!(new.len() <= 1, "{} new writers in one write", new.len());
        let mind = &mut self.minds[scene.node];
        let writer = match new.first().copied().or(mind.writer) {
            Some(writer) => writer,
            // It has written nothing: see below that this is right.
            None => WriterId(0),
        };
        let first = mind.view.tail(writer) + 1;
        let draft = |stamp: u64| -> Result<Draft<'_>> {
            let mut draft = Draft::new(&mind.view, writer, first, stamp);
            for operation in operations {
                ensure!(draft.perform(operation).is_ok(), "{operation:?} should have been refused: it overflows");
            }
            draft.end();
            Ok(draft)
        };
        // The clock that it took is the one thing that plain words do not tell: it is looked up, and checked below.
        let stamp = stamp_of(scene.store, writer, first..draft(UNKNOWN_STAMP)?.next());
        let done = draft(stamp.unwrap_or(UNKNOWN_STAMP))?;
        let (seqs, puts, drops) = (first..done.next(), done.puts, done.drops);
        if seqs.is_empty() {
            ensure!(new.is_empty() || !is_alone, "a new writer wrote nothing");
            return Ok(None);
        }
        ensure!(writer != WriterId(0), "{operations:?} should have written");
        mind.writer = Some(writer);
        if let Some(stamp) = stamp {
            check_stamp(stamp, scene.now, drops.iter().filter_map(|dot| self.model.fact(*dot)))?;
        }
        self.model.made(writer, seqs.clone(), &puts, &drops);
        mind.view.write(writer, seqs.clone(), &puts, &drops);
        let operations = operations.to_vec();
        let write = Write { operations, writer, seqs, puts, drops, confirmed: false };
        Ok(Some(self.history.add(write)))
    }

    /// A node answered a read.
    pub fn read(&self, node: usize, name: &str, data_type: DataType, response: &Response) -> Result<()> {
        let expected = self.minds[node].view.read(name, data_type);
        match (response.status, expected) {
            (404, None) => Ok(()),
            (200, Some(expected)) => self.compare_value(name, data_type, response, &expected),
            (status, expected) => bail!("{name} of {} reads with {status}, not {expected:?}", data_type.name()),
        }
    }

    fn compare_value(
        &self,
        name: &str,
        data_type: DataType,
        response: &Response,
        expected: &serde_json::Value,
    ) -> Result<()> {
        let body: serde_json::Value = serde_json::from_slice(&response.body).context("an answer is no JSON")?;
        ensure!(
            body["key"] == name && body["type"] == data_type.name() && body["value"] == *expected,
            "{name} of {} reads {body}, not {expected}",
            data_type.name()
        );
        if matches!(data_type, DataType::GCounter | DataType::PnCounter) && !expected.is_null() {
            let value = expected.as_i64().map(i128::from).or(expected.as_u64().map(i128::from));
            let (low, high) = self.history.bounds(name, data_type);
            let within = value.is_some_and(|value| (low..=high).contains(&value));
            ensure!(within, "{name} of {} reads {expected}, but from {low} to {high} was counted", data_type.name());
        }
        Ok(())
    }

    /// Ends a call: what it did by itself, what it sends, and whether its state is what it should be.
    pub fn ended(&mut self, scene: Scene<'_>, effects: &Effects) -> Result<()> {
        let mind = &mut self.minds[scene.node];
        mind.said_dead = mind.view.follow(std::mem::take(&mut mind.said_dead), scene.store);
        if effects.serve_anyone && !mind.to_redo.is_empty() {
            self.redo(scene)?;
        }
        for frame in &effects.frames {
            self.emitted(scene, frame).with_context(|| format!("frame {:?} to {:?}", frame.id, frame.route))?;
        }
        let mind = &mut self.minds[scene.node];
        mind.unchecked += 1;
        mind.view.check(&self.model, scene.store)?;
        if mind.unchecked >= SOUND_EVERY {
            mind.unchecked = 0;
            mind.view.check_contents(scene.store)?;
            if !self.is_loaded {
                mind.view.check_reasons(&self.model)?;
            }
            scene.store.assert_sound();
        }
        if effects.quiet {
            let unsettled = mind.burst.len() + mind.carried.len() + mind.to_redo.len();
            ensure!(unsettled == 0, "it says that it is quiet, with {unsettled} writes that are not confirmed");
        }
        Ok(())
    }

    fn redo(&mut self, scene: Scene<'_>) -> Result<()> {
        for index in std::mem::take(&mut self.minds[scene.node].to_redo) {
            let view = &self.minds[scene.node].view;
            let write = &self.history.writes[index];
            if write.dots().iter().all(|dot| view.has_seen(*dot)) {
                continue;
            }
            let operations = write.operations.clone();
            let writer = self.minds[scene.node].writer.unwrap_or(WriterId(0));
            let mut draft = Draft::new(view, writer, view.tail(writer) + 1, UNKNOWN_STAMP);
            if operations.iter().any(|operation| draft.perform(operation).is_err()) {
                continue;
            }
            if let Some(again) = self.perform(scene, &operations, false).context("a write that is done again")? {
                self.redone += 1;
                self.minds[scene.node].burst.push(again);
            }
        }
        Ok(())
    }

    fn emitted(&mut self, scene: Scene<'_>, frame: &dayfly_core::effect::Frame) -> Result<()> {
        let bound = (scene.config.frame_bytes + FRAME_SLACK_BYTES) as usize;
        let length = frame.body.len();
        ensure!(length <= bound, "it has {length} bytes, more than {bound}");
        let decoded = Frame::decode(&frame.body, &scene.config.cluster);
        let decoded = decoded.map_err(|refused| anyhow::anyhow!("it is {refused:?}"))?;
        ensure!(decoded.encode(&scene.config.cluster) == frame.body, "its encoding is not canonical");
        ensure!(HEADER_MAX_BYTES <= bound, "a header is longer than a frame");
        let carries = match &decoded.body {
            Body::Answer(answer) => {
                self.model.check(&answer.chunk)?;
                false
            }
            Body::Delta(chunk) if frame.route == Route::Log => {
                self.model.check(chunk)?;
                self.snapshots += 1;
                false
            }
            Body::Delta(chunk) => {
                ensure!(self.sent(scene.node, frame, chunk, false)?, "it carries no write");
                true
            }
            Body::Share(chunk) => {
                ensure!(
                    self.sent(scene.node, frame, chunk, false)? || chunk.is_empty(),
                    "it shares what is not its own"
                );
                true
            }
            Body::Combined(_, chunk) => {
                self.combined += u64::from(!chunk.is_empty());
                self.sent(scene.node, frame, chunk, true)?;
                true
            }
            Body::Link(link) => self.sent_along(scene, frame, link)?,
            Body::Beat | Body::Wake | Body::Ask(_) | Body::Members(_) | Body::SnapshotDue => false,
        };
        let fits = matches!(
            (&decoded.body, &frame.route),
            (Body::Answer(_) | Body::Members(_) | Body::Link(_), Route::One(_))
                | (Body::Ask(_), Route::One(_) | Route::Anyone)
                | (Body::Share(_) | Body::SnapshotDue, Route::Combiner)
                | (Body::Delta(_), Route::Everyone | Route::Log)
                | (Body::Beat | Body::Wake | Body::Combined(..), Route::Everyone)
        );
        ensure!(fits, "such a frame does not go there");
        let mind = &mut self.minds[scene.node];
        if let Route::One(name) = &frame.route {
            mind.addressed.insert(frame.id, name.clone());
        }
        ensure!(carries || !mind.awaited.contains_key(&frame.id), "an answer waits for it, and it carries no writes");
        ensure!(mind.emitted.insert(frame.id), "its id was given before");
        Ok(())
    }

    /// A node sends what is new to it along a link of an overlay: only what it knows, and its own writes at once. Gives whether
    /// writes of its own are among it.
    fn sent_along(&mut self, scene: Scene<'_>, frame: &dayfly_core::effect::Frame, link: &Link) -> Result<bool> {
        let Route::One(to) = &frame.route else { bail!("it goes along no link") };
        ensure!(to != scene.name || !link.chunk.is_empty(), "it greets itself");
        let mind = &mut self.minds[scene.node];
        let chunk = understood(link, &mind.view).context("its own sender does not understand it")?;
        self.model.check(&chunk)?;
        let spoken = spoken(&chunk);
        let unknown = spoken.iter().find(|dot| !mind.view.has_seen(**dot));
        ensure!(unknown.is_none(), "it tells of {unknown:?}, which its sender has not seen");
        // The same may go to several; what is sent again goes to the same one, unless that is gone.
        let is_again = |id: &FrameId, body: &Vec<u8>| {
            let before = mind.addressed.get(id);
            *body == frame.body && before.is_some_and(|before| before == to || mind.gone.contains(before))
        };
        let again = mind.carried.iter().find(|(id, (body, _))| is_again(id, body)).map(|(id, _)| *id);
        let (writes, rest): (Vec<usize>, Vec<usize>) = match again {
            Some(id) => (mind.carried.remove(&id).expect("it was found").1, std::mem::take(&mut mind.burst)),
            None => std::mem::take(&mut mind.burst)
                .into_iter()
                .partition(|write| self.history.writes[*write].dots().is_subset(&spoken)),
        };
        mind.burst = rest;
        for write in mind.awaited.get(&frame.id).into_iter().flatten() {
            ensure!(writes.contains(write), "an answer waits for it, but it does not carry the write");
        }
        self.along += u64::from(!chunk.is_empty());
        let has_own = !writes.is_empty();
        if has_own {
            mind.carried.insert(frame.id, (frame.body.clone(), writes));
        }
        Ok(has_own)
    }

    /// A node sends writes of its own, and as combiner what it gathered: exactly that. Gives whether writes of its own are
    /// among it.
    fn sent(&mut self, node: usize, frame: &dayfly_core::effect::Frame, chunk: &Chunk, combines: bool) -> Result<bool> {
        self.model.check(chunk)?;
        let mind = &mut self.minds[node];
        let again = mind.carried.iter().find(|(_, (body, _))| *body == frame.body).map(|(id, _)| *id);
        let writes = match again {
            Some(id) => mind.carried.remove(&id).expect("it was found").1,
            None => std::mem::take(&mut mind.burst),
        };
        let spoken = spoken(chunk);
        // Shares may speak of own writes that have not been sent: repair told them.
        let is_others = combines
            && again.is_none()
            && !mind.awaited.contains_key(&frame.id)
            && mind.shares.clone().sent(frame, chunk, &BTreeSet::new(), &spoken).is_ok();
        let (carried, waiting): (Vec<usize>, Vec<usize>) =
            writes.into_iter().partition(|write| !is_others && self.history.writes[*write].dots().is_subset(&spoken));
        let meant: BTreeSet<Dot> = carried.iter().flat_map(|write| self.history.writes[*write].dots()).collect();
        if combines {
            mind.shares.sent(frame, chunk, &meant, &spoken).with_context(|| format!("its own are {meant:?}"))?;
        } else {
            // One that was done again may itself have dropped what a piece of an answer had said is dead.
            let is_extra = |dot: &&Dot| !meant.contains(dot) && !self.model.is_dropped(**dot);
            let is_right = meant.is_subset(&spoken) && !spoken.iter().any(|dot| is_extra(&dot));
            ensure!(
                meant == spoken || (is_right && self.redone > 0),
                "it speaks of {spoken:?}; its writes are of {meant:?}"
            );
        }
        mind.burst = waiting.into_iter().chain(std::mem::take(&mut mind.burst)).collect();
        for write in mind.awaited.get(&frame.id).into_iter().flatten() {
            ensure!(carried.contains(write), "an answer waits for it, but it does not carry the write");
        }
        for (awaited, writes) in &mind.awaited {
            let is_elsewhere = again.is_none() && *awaited != frame.id;
            let write = writes.iter().find(|write| is_elsewhere && carried.contains(write));
            ensure!(write.is_none(), "it carries a write whose answer waits for {awaited:?}");
        }
        let has_own = !carried.is_empty();
        if has_own {
            mind.carried.insert(frame.id, (frame.body.clone(), carried));
        }
        Ok(has_own)
    }
}

/// What came along a link, as somebody understands it who knows this.
pub fn understood(link: &Link, view: &View) -> Option<Chunk> {
    link.chunk.clone().resolve(|head| view.writer_with(head))
}

/// The dots that a chunk speaks of.
pub fn spoken(chunk: &Chunk) -> BTreeSet<Dot> {
    let of = |part: &ChunkPart| {
        let writer = part.writer;
        let seqs = part.context.iter().flat_map(|(low, high)| low..=high);
        seqs.map(move |seq| Dot { writer, seq: Seq(seq) }).collect::<Vec<_>>()
    };
    chunk.parts.iter().flat_map(of).collect()
}

/// The part of the state that a frame carries, if it carries any.
pub fn chunk_of(body: &Body) -> Option<&Chunk> {
    match body {
        Body::Delta(chunk) => Some(chunk),
        Body::Answer(answer) => Some(&answer.chunk),
        Body::Share(chunk) | Body::Combined(_, chunk) => Some(chunk),
        // Only who knows its writers understands it.
        Body::Link(_) => None,
        Body::Beat | Body::Wake | Body::Ask(_) | Body::Members(_) | Body::SnapshotDue => None,
    }
}

/// The clock that a request gave to what it put into registers; all of one request have the same.
fn stamp_of(store: &Store, writer: WriterId, seqs: std::ops::Range<u64>) -> Option<u64> {
    if store.live(writer).next_back().is_none_or(|last| last < seqs.start) {
        return None;
    }
    let registers =
        store.cells_from(&Cell::of_key("", DataType::ALL[0])).filter(|(c, _)| c.leaf == DataType::LwwRegister);
    registers.flat_map(|(_, found)| store.entries(found)).find_map(|entry| {
        let dot = store.dot(entry);
        match Content::of_payload(DataType::LwwRegister, store.payload(entry)) {
            Some(Content::Stamped(stamp, _)) if dot.writer == writer && seqs.contains(&dot.seq.0) => Some(stamp),
            _ => None,
        }
    })
}

/// A clock is not behind the wall clock, and ahead of what the write replaces, so that it wins everywhere.
fn check_stamp<'m>(
    stamp: u64,
    now: Timestamp,
    replaced: impl Iterator<Item = &'m std::rc::Rc<super::model::Fact>>,
) -> Result<()> {
    ensure!(stamp >> 16 >= now.0, "the clock {stamp} is behind the wall clock {}", now.0);
    for fact in replaced {
        if let Content::Stamped(other, value) = &fact.content {
            ensure!(stamp > *other, "the clock {stamp} replaces {value} of the clock {other}");
        }
    }
    Ok(())
}
