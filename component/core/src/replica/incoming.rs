//! Frames in.

use super::Replica;
use crate::cell::DataType;
use crate::chunk::Chunk;
use crate::clock::Stamp;
use crate::codec::CodecError;
use crate::digest::Digest;
use crate::effect::{Frame as Outgoing, Route};
use crate::frame::{Answer, Ask, Body, Frame, HEADER_MAX_BYTES, Refused, Want};
use crate::intervals::DotSet;
use crate::member::{Member, Record};
use crate::repair::Reply;
use crate::serve::{Served, serve};
use crate::store::Range;
use crate::time::{Timestamp, Turn};

/// How long a write may be on its way to the combiner and back to everyone, besides the time that the combiner gathers.
const SHARE_MS: u32 = 5_000;

impl Replica {
    /// A frame of this cluster and version; what is none is counted.
    pub(super) fn decode(&mut self, body: &[u8]) -> Option<Frame> {
        self.counts.received_frames += 1;
        self.counts.received_bytes += body.len() as u64;
        let frame = if body.len() > self.frame_max_bytes() + HEADER_MAX_BYTES {
            Err(Refused::Codec(CodecError::Long))
        } else {
            Frame::decode(body, &self.config.cluster)
        };
        match frame {
            Ok(frame) => return Some(frame),
            Err(Refused::OtherCluster) => self.counts.other_cluster += 1,
            Err(Refused::Codec(CodecError::Version(_))) => self.counts.other_version += 1,
            Err(Refused::Codec(CodecError::Short | CodecError::Long | CodecError::Broken(_))) => {
                self.counts.broken += 1;
            }
        }
        None
    }

    /// Takes in a frame of so many bytes.
    pub(super) fn take_in(&mut self, frame: Frame, bytes: usize, frames: &mut Vec<Outgoing>, turn: &mut Turn<'_>) {
        self.log.merge(frame.log);
        match &frame.body {
            Body::Beat | Body::Wake | Body::Delta(_) | Body::Combined(..) => self.log.grow(bytes),
            Body::Share(_) => return self.take_share(frame, bytes, frames, turn),
            Body::SnapshotDue => {
                self.log.begin(self.messages, turn.now);
                return;
            }
            Body::Link(_) => return self.take_link(frame, frames, turn),
            Body::Ask(_) | Body::Answer(_) | Body::Members(_) => {}
        }
        let Frame { era: _, sender, complete, root, log: _, body } = frame;
        if sender.name == self.name && sender.incarnation == self.incarnation {
            self.counts.own += 1;
            return;
        }
        let (from, incarnation) = (sender.name.clone(), sender.incarnation);
        if from != self.name {
            let record = sender.clone();
            if self.members.observe(sender, turn.now) {
                self.pass_on_record(&record, complete, None, turn);
            }
            let is_fresh = match body {
                // A replica that has just woken tells a root as old as its sleep.
                Body::Wake => false,
                // Where a combiner speaks for all, nobody takes back what a question in the midst of things told.
                Body::Ask(_) | Body::Answer(_) | Body::Members(_) => !self.is_combining(turn.now),
                Body::Beat | Body::Delta(_) | Body::Combined(..) | Body::Share(_) => true,
                Body::SnapshotDue | Body::Link(_) => true,
            };
            // In an overlay roots seldom are the same, and it says itself whose is to be compared.
            let is_fresh = is_fresh && self.overlay.is_none();
            self.members.heard(&from, complete, is_fresh.then_some(root));
            self.repair.hear(&from, turn.now);
        }
        match body {
            Body::Share(_) | Body::SnapshotDue | Body::Link(_) => {}
            Body::Combined(records, chunk) => {
                self.take_members(records, None, turn);
                self.make_room(&chunk, frames, turn);
                self.join(&chunk, None, turn);
                self.compare_with_combiner(&from, complete, root, turn);
            }
            Body::Wake => {}
            Body::Beat => self.compare(&from, complete, root, turn),
            Body::Delta(chunk) => {
                self.make_room(&chunk, frames, turn);
                self.join(&chunk, None, turn);
                self.compare(&from, complete, root, turn);
            }
            Body::Ask(ask) => {
                if ask.until_ms < turn.now.0 {
                    return;
                }
                self.counts.asks_answered += 1;
                // Whoever learns of own writes from the answer may drop what they put. If their frame were made after that, it
                // would tell that this is gone, and not what took its place.
                self.flush(frames, turn);
                if let Want::All { members: true, .. } = ask.want {
                    self.send_members(&from, frames, turn);
                }
                let served = if root == self.store.root() {
                    serve_equal(&ask)
                } else {
                    serve(&self.store, &ask, self.config.frame_bytes as usize)
                };
                for answer in served.answers {
                    let ttl_ms = u32::try_from(Timestamp(ask.until_ms).since_ms(turn.now)).ok();
                    frames.push(self.frame(Route::One(from.clone()), Body::Answer(answer), ttl_ms, turn));
                }
                // What a neighbour knows comes along its link, or it asks for what that lacked.
                if served.knows_more && !self.overlay.as_ref().is_some_and(|overlay| overlay.has(&from)) {
                    self.members.heard(&from, complete, Some(root));
                    self.repair.suspect(&from, turn);
                }
            }
            Body::Answer(answer) => {
                self.observe_clocks(&answer.chunk, turn);
                let mut removals = DotSet::default();
                let joined = self.store.join_piece(&answer.chunk, &mut removals);
                let removals = self.repair.hold_back(&answer, &from, incarnation, root, &removals);
                let changed = joined.changed() | self.store.remove(removals).changed();
                self.past.note(self.store.root());
                self.has_gained |= changed;
                let equal = self.store.root() == root;
                let reply = Reply { from: &from, complete, root, changed, equal, bytes };
                if let Some((peer, root)) = self.repair.answered(&answer, reply, turn, &self.store) {
                    self.members.include(&peer, root);
                }
                // A piece in the midst of an answer says nothing about the whole.
                if answer.last && self.repair.is_idle() {
                    self.compare(&from, complete, root, turn);
                    self.look_further(turn);
                }
            }
            Body::Members(records) => self.take_members(records, Some(&from), turn),
        }
    }

    /// As combiner, takes in what a replica, this one perhaps, has for everyone.
    fn take_share(&mut self, frame: Frame, bytes: usize, frames: &mut Vec<Outgoing>, turn: &mut Turn<'_>) {
        let Frame { sender, complete, body: Body::Share(chunk), .. } = frame else { return };
        if self.gathering.is_full_for(bytes, self.config.frame_bytes as usize) {
            self.send_gathered(frames, turn);
        }
        let was_complete = self.members.get(&sender.name).map(|member| member.complete);
        let is_news = self.members.observe(sender.clone(), turn.now);
        if is_news || was_complete != Some(complete) || sender.name == self.name {
            self.gathering.tell(sender.clone(), complete);
        }
        if sender.name != self.name {
            // Its root is as old as its way through the queue: it compares itself with what everyone is told soon.
            self.members.heard(&sender.name, complete, None);
            self.repair.hear(&sender.name, turn.now);
        }
        // Also what is known here is passed on: others may not have it, and its writer was told that it is safe.
        self.join(&chunk, None, turn);
        self.gathering.add(&chunk, bytes, self.messages, self.config.combine_ms, turn.now);
        self.counts.shares += 1;
    }

    /// `from`: who told of them.
    pub(super) fn take_members(&mut self, records: Vec<(Record, bool)>, from: Option<&str>, turn: &Turn<'_>) {
        // Nobody tells anybody of themselves.
        for (record, complete) in records {
            if record.name != self.name && self.members.observe_told(record.clone(), complete, turn.now) {
                self.pass_on_record(&record, complete, from, turn);
            }
        }
    }

    /// Compares a combiner's root with ours.
    fn compare_with_combiner(&mut self, from: &str, complete: bool, root: Digest, turn: &mut Turn<'_>) {
        if root == self.store.root() {
            self.members.include(from, root);
            return self.repair.agree(from, complete);
        }
        // It hears nobody's root, so if it lacks what is here, only a question tells it that.
        self.members.heard_combiner(from);
        let way_ms = self.config.combine_ms + SHARE_MS;
        if self.past.would_have(root, Timestamp(turn.now.0.saturating_sub(way_ms.into()))) {
            // What it lacks is on its way to it, and its next frame will agree unless there is more by then.
            self.repair.dismiss(from);
            self.repair.suspect_after(from, way_ms, turn);
        } else if self.overlay.is_none() && (complete || !self.repair.is_complete()) {
            // What its root tells already of its own writes may come with its next frame.
            self.repair.suspect_after(from, self.config.combine_ms, turn);
        }
    }

    /// Compares a peer's root with ours.
    pub(super) fn compare(&mut self, from: &str, complete: bool, root: Digest, turn: &mut Turn<'_>) {
        if root == self.store.root() {
            self.members.include(from, root);
            self.repair.agree(from, complete);
        } else if self.past.has(root) && self.members.get(from).is_some_and(|member| !member.is_combiner) {
            // What is new here comes to it by itself.
            self.members.include(from, root);
            self.repair.dismiss(from);
        } else if self.overlay.is_none()
            && (complete || !self.repair.is_complete())
            && self.members.get(from).is_none_or(|member| member.included() != Some(root))
        {
            self.repair.suspect(from, turn);
        }
    }

    /// Looks for others that may know more, once a repair has ended.
    pub(super) fn look_further(&mut self, turn: &mut Turn<'_>) {
        if self.overlay.is_some() {
            // Whose root still differs shows when it stands still.
            return self.members.forget_roots();
        }
        self.recognise_past();
        let next = self.news(turn.now).next().map(|(name, _)| name.to_owned());
        if let Some(next) = next {
            self.repair.suspect(&next, turn);
        }
    }

    /// Strikes off those whose last root this state has had meanwhile: it was told before its frames were here.
    pub(super) fn recognise_past(&mut self) {
        let Self { members, past, repair, .. } = self;
        members.include_where(|root| past.has(root), |name| repair.dismiss(name));
    }

    /// The awake members that may know something that is not here.
    pub(super) fn news(&self, now: Timestamp) -> impl Iterator<Item = (&str, &Member)> + '_ {
        let of_all = !self.repair.is_complete();
        let news = self.members.with_news(&self.name, self.store.root(), now);
        news.filter(move |(_, member)| of_all || member.complete)
    }

    /// Joins what somebody told; `from`: the neighbour along whose link it came.
    pub(super) fn join(&mut self, chunk: &Chunk, from: Option<&str>, turn: &Turn<'_>) -> bool {
        self.observe_clocks(chunk, turn);
        self.gather(chunk, from, turn);
        let changed = self.store.join(chunk).changed();
        self.past.note(self.store.root());
        changed
    }

    pub(super) fn observe_clocks(&mut self, chunk: &Chunk, turn: &Turn<'_>) {
        if chunk.cells.iter().all(|cell| cell.leaf != DataType::LwwRegister) {
            return;
        }
        for entry in chunk.parts.iter().flat_map(|part| &part.entries) {
            if chunk.cells[entry.cell as usize].leaf == DataType::LwwRegister {
                self.clock.observe(Stamp::of_payload(&entry.payload), turn.now);
            }
        }
    }

    pub(super) fn send_members(&mut self, to: &str, frames: &mut Vec<Outgoing>, turn: &Turn<'_>) {
        let own_complete = self.repair.is_complete();
        let told = |(name, member): (&str, &Member)| {
            let is_own = *name == self.name;
            (member.record(name), if is_own { own_complete } else { member.complete })
        };
        // A record takes at most 191 bytes.
        let a_frame = (self.config.frame_bytes / 191) as usize;
        let mut rest = self.members.current(turn.now).map(told);
        // Each frame is encoded before the next one's records are made: there may be very many.
        let bodies: Vec<Vec<u8>> = std::iter::from_fn(|| {
            let records: Vec<(Record, bool)> = rest.by_ref().take(a_frame).collect();
            (!records.is_empty()).then(|| self.encode(Body::Members(records), turn))
        })
        .collect();
        drop(rest);
        for body in bodies {
            let frame = self.outbox.frame(Route::One(to.to_owned()), body, Some(60_000));
            self.count_sent(&frame);
            frames.push(frame);
        }
    }
}

/// The answer to one whose root is ours: there is nothing to say.
fn serve_equal(ask: &Ask) -> Served {
    let answer = Answer {
        session: ask.session,
        covers: Range::ALL,
        last: true,
        undecoded: false,
        entries: 0,
        outline: Vec::new(),
        chunk: Chunk::default(),
    };
    Served { answers: vec![answer], knows_more: false }
}
