//! The replica in an overlay: what it tells its neighbours, and what it takes from them.

use super::Replica;
use crate::brief::{Brief, Head};
use crate::chunk::Chunk;
use crate::effect::{Effects, Frame as Outgoing, Route};
use crate::frame::{Body, Frame, Link};
use crate::member::{Presence, Record};
use crate::overlay::{self, Overlay, OverlayError, Parcel, RECORDS_MAX};
use crate::store::{Range, Store};
use crate::time::{Timestamp, Turn};

/// What says where a replica is in the tree is worth nothing after so long: it is said again.
const GREETING_TTL_MS: u32 = 60_000;

impl Replica {
    /// Speaks to these neighbours from now on, once an interval; without any, to everyone.
    pub fn set_neighbours(
        &mut self,
        neighbours: &[String],
        interval_ms: u32,
        turn: &mut Turn<'_>,
    ) -> Result<Effects, OverlayError> {
        overlay::check(&self.name, neighbours, interval_ms)?;
        if self.config.log_bytes > 0 && !neighbours.is_empty() {
            return Err(OverlayError::of_log());
        }
        let started_anew = self.begin(turn);
        let mut frames = Vec::new();
        if self.overlay.is_some() && neighbours.is_empty() {
            // Nobody is told anything along the links any more.
            self.send_along(&mut frames, turn);
        }
        match &mut self.overlay {
            overlay if neighbours.is_empty() => {
                self.link_numbers = overlay.take().map_or(self.link_numbers, |overlay| overlay.numbers());
            }
            Some(overlay) => overlay.set(neighbours, interval_ms, turn.now),
            overlay @ None => {
                let mut new =
                    Overlay::new(&self.name, neighbours, interval_ms, self.link_numbers, (turn.chance)(), turn.now);
                if self.outbox.burst_dots().is_some() {
                    new.expect(turn.now);
                }
                *overlay = Some(new);
            }
        }
        self.members.forget_roots();
        if self.is_awake {
            self.work(&mut frames, turn);
        }
        Ok(Effects { started_anew, ..self.effects(frames, turn) })
    }

    /// The overlay, if there is one. For tests.
    pub fn overlay(&self) -> Option<&Overlay> {
        self.overlay.as_ref()
    }

    /// How many live entries a frame brings; `None`: it is no frame of this cluster.
    pub fn elements(&self, body: &[u8]) -> Option<u64> {
        let frame = Frame::decode(body, &self.config.cluster).ok()?;
        Some(frame.body.entry_count() as u64)
    }

    /// When the burst of writes is to be sent.
    pub(super) fn burst_due(&self, now: Timestamp) -> Option<Timestamp> {
        match &self.overlay {
            Some(overlay) => self.outbox.burst_dots().and(overlay.turn_at()),
            None => self.outbox.burst_due(self.config.burst_ms, now),
        }
    }

    // --- out ---

    /// Tends the tree, and sends what is due.
    pub(super) fn tend_overlay(&mut self, frames: &mut Vec<Outgoing>, turn: &mut Turn<'_>) {
        let Self { overlay: Some(overlay), members, past, .. } = self else { return };
        let now = turn.now;
        let is_there =
            |name: &str| members.get(name).is_none_or(|member| members.presence(member, now) == Presence::Awake);
        let grafted = overlay.tend(now, is_there);
        let differing = overlay.differing(self.store.root(), |root| past.has(root), now);
        let is_turn = overlay.turn_at().is_some_and(|at| at <= now);
        for name in grafted {
            let told = members.current(now).filter(|(other, _)| *other != name);
            overlay.introduce(&name, told.map(|(name, member)| (member.record(name), member.complete)), now);
        }
        differing.into_iter().for_each(|name| self.suspect_neighbour(&name, turn));
        if is_turn {
            self.send_along(frames, turn);
        }
        self.greet(frames, turn);
    }

    /// Sends the burst of writes, and in an overlay all that was gathered as well.
    pub(super) fn flush_all(&mut self, frames: &mut Vec<Outgoing>, turn: &Turn<'_>) {
        if self.overlay.is_some() { self.send_along(frames, turn) } else { self.flush(frames, turn) }
    }

    /// Sends what is new along the branches of the tree: own writes, and what came from others.
    pub(super) fn send_along(&mut self, frames: &mut Vec<Outgoing>, turn: &Turn<'_>) {
        let Some(overlay) = &mut self.overlay else { return };
        let burst = self.outbox.burst_dots().map(|dots| self.store.extract(&dots));
        if let Some(chunk) = &burst {
            overlay.gather(chunk, None, turn.now);
        }
        let parcels = overlay.take();
        let mut is_carried = burst.is_none();
        for Parcel { to, writes, records } in parcels {
            is_carried |= self.send_writes(&to, &writes, !is_carried, frames, turn);
            for records in records.chunks(RECORDS_MAX) {
                frames.push(self.frame(Route::One(to.clone()), Body::Members(records.to_vec()), Some(60_000), turn));
            }
        }
        if let Some(chunk) = burst.filter(|_| !is_carried) {
            // Nobody is there to be told. The broker keeps it for the replica itself, as it would keep a frame to everyone; who
            // comes later asks.
            let (to, mut writes) = (self.name.clone(), Store::new());
            writes.join(&chunk);
            self.send_writes(&to, &writes, true, frames, turn);
        }
    }

    /// Sends writes to a neighbour. The burst's own writes are confirmed with the last of the frames, if it is to carry them.
    fn send_writes(
        &mut self,
        to: &str,
        writes: &Store,
        carries: bool,
        frames: &mut Vec<Outgoing>,
        turn: &Turn<'_>,
    ) -> bool {
        // More than one only if somebody wrote so much at once that a frame has no room for anything else.
        let pieces = writes.walk_down(Range::ALL, None, self.frame_max_bytes()).map(|piece| piece.chunk);
        let pieces: Vec<Chunk> = pieces.filter(|chunk| !chunk.is_empty()).collect();
        let last = pieces.len().saturating_sub(1);
        let mut is_carried = false;
        for (at, chunk) in pieces.into_iter().enumerate() {
            let body = self.link_body(to, chunk, turn);
            let route = Route::One(to.to_owned());
            let frame = if carries && at == last {
                is_carried = true;
                self.outbox.send_burst(route, body, turn.now)
            } else {
                self.outbox.pass_on(route, body)
            };
            self.count_sent(&frame);
            frames.push(frame);
        }
        is_carried
    }

    /// A frame for a neighbour, with these writes.
    fn link_body(&mut self, to: &str, chunk: Chunk, turn: &Turn<'_>) -> Vec<u8> {
        let Self { overlay: Some(overlay), store, .. } = self else { return Vec::new() };
        let writers: Vec<_> = chunk.parts.iter().map(|part| part.writer).collect();
        let (number, claim) = overlay.number(to, !chunk.is_empty(), turn.now);
        let chunk = Brief::of(chunk, |writer| overlay.is_head_enough(to, writer, store));
        overlay.knows(to, writers.into_iter());
        self.encode(Body::Link(Link { number, claim, chunk }), turn)
    }

    /// Says to those for whom it is time where this replica is.
    fn greet(&mut self, frames: &mut Vec<Outgoing>, turn: &Turn<'_>) {
        let due = self.overlay.as_ref().map(|overlay| overlay.to_greet(turn.now)).unwrap_or_default();
        for to in due {
            let body = self.link_body(&to, Chunk::default(), turn);
            let frame = self.outbox.frame(Route::One(to), body, Some(GREETING_TTL_MS));
            self.count_sent(&frame);
            frames.push(frame);
        }
    }

    /// Tells all neighbours, now, where this replica is and until when it is awake.
    pub(super) fn greet_all(&mut self, frames: &mut Vec<Outgoing>, turn: &Turn<'_>) {
        if let Some(overlay) = &mut self.overlay {
            overlay.say_to_all(turn.now);
        }
        self.greet(frames, turn);
    }

    /// A member's inbox is gone. Own writes that only it was to be told are kept by the broker for the replica itself.
    pub(super) fn lose(&mut self, name: &str, turn: &Turn<'_>) {
        if name == self.name {
            return;
        }
        self.members.forget(name);
        self.repair.lose_peer(name, turn.now);
        let Some(overlay) = &mut self.overlay else { return };
        overlay.lose(name);
        // Others that are neighbours were told the same, or will ask. Its number is one of that link, so it is for nobody else.
        self.outbox.redirect(name, &self.name, turn.now);
    }

    // --- in ---

    /// Takes in what came along a link.
    pub(super) fn take_link(&mut self, frame: Frame, frames: &mut Vec<Outgoing>, turn: &mut Turn<'_>) {
        let Frame { sender, complete, root, body: Body::Link(link), .. } = frame else { return };
        if sender.name == self.name && sender.incarnation == self.incarnation {
            self.counts.own += 1;
            return;
        }
        let from = sender.name.clone();
        if from == self.name {
            // What it told itself in a former life, since nobody else was there.
            if let Some(chunk) = self.resolve(link.chunk) {
                self.make_room(&chunk, frames, turn);
                self.join(&chunk, None, turn);
            }
            return;
        }
        if self.members.observe(sender.clone(), turn.now) {
            self.pass_on_record(&sender, complete, Some(&from), turn);
        }
        self.repair.hear(&from, turn.now);
        let is_overlaid = self.overlay.is_some();
        self.members.heard(&from, complete, (!is_overlaid).then_some(root));
        let mut may_lack = match &mut self.overlay {
            Some(overlay) => overlay.hear(&sender, complete, root, &link, turn.now),
            None => false,
        };
        if !link.chunk.is_empty() {
            match self.resolve(link.chunk) {
                Some(chunk) => {
                    self.make_room(&chunk, frames, turn);
                    self.join(&chunk, Some(&from), turn);
                    if let Some(overlay) = &mut self.overlay {
                        overlay.knows(&from, chunk.parts.iter().map(|part| part.writer));
                    }
                }
                None => may_lack = true,
            }
        }
        self.compare(&from, complete, root, turn);
        if may_lack && is_overlaid {
            self.suspect_neighbour(&from, turn);
        }
    }

    fn resolve(&mut self, chunk: Brief) -> Option<Chunk> {
        let Self { overlay, store, .. } = self;
        match overlay {
            Some(overlay) => chunk.resolve(|head| overlay.find(head, store)),
            None => chunk.resolve(|head| {
                let mut meant = store.context().map(|(writer, _)| writer).filter(|writer| Head::of(*writer) == head);
                meant.next().filter(|_| meant.next().is_none())
            }),
        }
    }

    /// A neighbour may have sent what is not here: it is to be asked, unless that shows to be wrong soon.
    fn suspect_neighbour(&mut self, name: &str, turn: &mut Turn<'_>) {
        let told = self.overlay.as_ref().and_then(|overlay| overlay.told_by(name));
        let Some((complete, root)) = told else { return };
        let is_worth_asking = complete || !self.repair.is_complete();
        if is_worth_asking && root != self.store.root() && !self.past.has(root) {
            self.members.heard(name, complete, Some(root));
            self.repair.suspect(name, turn);
        }
    }

    // --- passing on ---

    /// Sends what was gathered, if what a chunk may add to it would not fit one frame with it: then what a write replaces
    /// and the write may part.
    pub(super) fn make_room(&mut self, chunk: &Chunk, frames: &mut Vec<Outgoing>, turn: &Turn<'_>) {
        let Some(overlay) = &self.overlay else { return };
        let bytes = overlay::weight(chunk) + self.outbox.burst_bytes();
        if overlay.is_full_for(bytes, self.config.frame_bytes as usize) {
            self.send_along(frames, turn);
        }
    }

    /// Gathers what a chunk would change here, for all but the neighbour that it came from.
    pub(super) fn gather(&mut self, chunk: &Chunk, from: Option<&str>, turn: &Turn<'_>) {
        if let Some(overlay) = &mut self.overlay {
            overlay.gather(&overlay::news(&self.store, chunk), from, turn.now);
        }
    }

    /// Passes on news of a member.
    pub(super) fn pass_on_record(&mut self, record: &Record, complete: bool, from: Option<&str>, turn: &Turn<'_>) {
        if let Some(overlay) = &mut self.overlay {
            overlay.tell(record, complete, from, turn.now);
        }
    }
}
