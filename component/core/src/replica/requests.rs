//! Requests of the HTTP API.

use super::{OwnWriter, Replica, WRITER_MAX_MS};
use crate::api::{
    Answer, Call, CombiningView, DroppedView, Kind, LogView, MemberView, RepairView, StatusView, Token, TrafficView,
    WriteAnswer,
};
use crate::cell::DataType;
use crate::dot::{Era, Seq, WriterId};
use crate::effect::{Frame as Outgoing, FrameId};
use crate::member::Presence;
use crate::outbox::Written;
use crate::refusal::Refusal;
use crate::store::Write;
use crate::time::{Timestamp, Turn};
use crate::types;
use crate::types::operation::Operation;

impl Replica {
    pub(super) fn answer(
        &mut self,
        call: Call,
        frames: &mut Vec<Outgoing>,
        turn: &mut Turn<'_>,
    ) -> Result<(Answer, Option<FrameId>), Refusal> {
        if call.after.is_some_and(|token| !self.has_all_of(&token, turn.now)) {
            return Err(Refusal::NotYet);
        }
        let answer = match call.kind {
            Kind::Write { operations, answer } => {
                return self.write(operations, answer, call.context, frames, turn);
            }
            Kind::Read { name, data_type } => {
                let mut value = String::new();
                if !types::read(&self.store, &name, data_type, &mut value) {
                    return Err(Refusal::NoSuchKey);
                }
                Answer::value(&name, data_type, Some(value))
            }
            Kind::Keys(page) => Answer::keys(&self.store, &page),
            Kind::Members(page) => {
                let views = self.members.current(turn.now).map(|(name, member)| MemberView {
                    name,
                    state: match self.members.presence(member, turn.now) {
                        Presence::Awake => "awake",
                        Presence::Dormant => "dormant",
                        Presence::Gone => "gone",
                    },
                    host: &member.place.host,
                    region: &member.place.region,
                    zone: &member.place.zone,
                    awake_until: member.awake_until.0,
                    incarnation: member.incarnation,
                });
                Answer::members(views, &page)
            }
            Kind::Status => Answer::status(&self.status(turn)),
        };
        Ok((answer, None))
    }

    /// Whether what this token names is here, with all that its writers wrote before.
    pub(super) fn has_all_of(&self, token: &Token, now: Timestamp) -> bool {
        // In the midst of a repair a dot may be here before the removals that came with it.
        if self.repair.is_partial() {
            return false;
        }
        // A gap may be filled as long as a frame of its writer can still come out of somebody's inbox or memory: a writer
        // is used for an hour, and what is older than the retention is no more.
        let span_ms = WRITER_MAX_MS + self.config.retention_ms + self.config.skew_ms;
        token.is_seen_by(&self.store)
            && token.uncovered_by(&self.store).all(|writer| writer.era().end().plus_ms(span_ms) < now)
    }

    pub(super) fn write(
        &mut self,
        operations: Vec<(String, DataType, Operation)>,
        kind: WriteAnswer,
        mut context: Token,
        frames: &mut Vec<Outgoing>,
        turn: &mut Turn<'_>,
    ) -> Result<(Answer, Option<FrameId>), Refusal> {
        if self.outbox.is_busy() || self.log.is_full() {
            return Err(Refusal::Busy);
        }
        let writer = self.own_writer(turn);
        // Refused before anything is applied.
        context.check_room(writer)?;
        let first = operations.first().map(|(name, data_type, _)| (name.clone(), *data_type));
        let count = operations.len();
        let after = self.apply(operations, kind == WriteAnswer::Batch, frames, turn)?;
        let (name, data_type) = first.expect("a parsed write has an operation");
        let mut answer = match kind {
            WriteAnswer::Value => {
                let mut value = String::new();
                let exists = types::read(&self.store, &name, data_type, &mut value);
                Answer::value(&name, data_type, exists.then_some(value))
            }
            WriteAnswer::Minimal => Answer::no_content(),
            WriteAnswer::Batch => Answer::applied(count),
        };
        if after.is_some() {
            let tail = self.store.seen(writer).map_or(0, |seen| seen.max());
            context.insert(writer, Seq(tail));
        }
        answer.headers.push(("dayfly-context".into(), context.to_text()));
        Ok((answer, after))
    }

    /// Applies operations, all or none. Gives the frame that will carry them; `None` if they changed nothing.
    pub(super) fn apply(
        &mut self,
        operations: Vec<(String, DataType, Operation)>,
        is_batch: bool,
        frames: &mut Vec<Outgoing>,
        turn: &mut Turn<'_>,
    ) -> Result<Option<FrameId>, Refusal> {
        let writer = self.own_writer(turn);
        let stamp = self.clock.tick(turn.now);
        let limit = usize::try_from(self.config.store_bytes).unwrap_or(usize::MAX);
        let bound = self.frame_max_bytes();
        let fill = self.config.frame_bytes as usize;
        let before = self.store.root();
        let (wire_bytes, dots) = loop {
            let mut write = Write::begin(&mut self.store, writer, limit);
            for (index, (name, data_type, operation)) in operations.iter().enumerate() {
                types::apply(&mut write, name, *data_type, operation, stamp)
                    .map_err(|refusal| if is_batch { Refusal::InBatch(index, Box::new(refusal)) } else { refusal })?;
                if write.wire_bytes() > bound {
                    return Err(Refusal::BatchTooLarge);
                }
            }
            let wire_bytes = write.wire_bytes();
            let told_bytes = self.outbox.burst_bytes() + wire_bytes;
            let is_full = self.overlay.as_ref().is_some_and(|overlay| overlay.is_full_for(told_bytes, fill));
            if !is_full && !self.outbox.is_full_for(wire_bytes, fill) {
                break (wire_bytes, write.commit());
            }
            // The burst goes out as it was before this write: what the write replaces must not be missing in a frame that
            // confirms it, since the write's own frame may never come.
            drop(write);
            self.flush_all(frames, turn);
        };
        if dots.is_empty() {
            return Ok(None);
        }
        self.past.note_own(before, self.store.root(), turn.now);
        if let Some(overlay) = &mut self.overlay {
            overlay.expect(turn.now);
        }
        Ok(Some(self.outbox.add(Written { dots, operations, wire_bytes })))
    }

    /// The writer id for a write now: made at the first write, and anew when it is an era old.
    pub(super) fn own_writer(&mut self, turn: &mut Turn<'_>) -> WriterId {
        match self.writer {
            Some(own) if turn.now.since_ms(own.made) < WRITER_MAX_MS => own.id,
            _ => {
                let id = WriterId::fresh(Era::at(turn.now), turn.chance);
                self.writer = Some(OwnWriter { id, made: turn.now });
                id
            }
        }
    }

    /// Does the writes of an earlier incarnation again that nobody has seen.
    pub(super) fn redo(&mut self, frames: &mut Vec<Outgoing>, turn: &mut Turn<'_>) {
        for written in std::mem::take(&mut self.to_redo) {
            if self.store.has_seen_all(&written.dots) {
                // It went out after all.
                continue;
            }
            // A refusal now (a counter at its bound, a full store) has no client to go to any more: it is counted.
            match self.apply(written.operations, false, frames, turn) {
                Ok(_) => self.counts.redone += 1,
                Err(_) => self.counts.redo_refused += 1,
            }
        }
    }

    pub(super) fn status(&self, turn: &Turn<'_>) -> StatusView<'_> {
        let counts = &self.counts;
        StatusView {
            name: &self.name,
            cluster: &self.config.cluster,
            root: self.store.root().to_string(),
            entries: self.store.entry_count() as u64,
            keys: self.store.key_count() as u64,
            writers: self.store.writer_count() as u64,
            members: self.members.len() as u64,
            complete: self.repair.is_complete(),
            incarnation: self.incarnation,
            host: &self.config.host,
            region: &self.config.region,
            zone: &self.config.zone,
            component: &self.config.component_hash,
            version: env!("CARGO_PKG_VERSION"),
            awake_until: self.awake_until.0,
            now: turn.now.0,
            store_bytes: self.store.bytes() as u64,
            unsettled: self.outbox.unsettled_writes() as u64,
            redone: counts.redone,
            redo_refused: counts.redo_refused,
            repair: RepairView {
                sessions: self.repair.session_count() as u64,
                pending_ranges: self.repair.pending_ranges() as u64,
                expected_entries: match self.repair.is_complete() {
                    true => self.store.entry_count() as u64,
                    false => self.repair.expected_entries,
                },
                received_bytes: self.repair.received_bytes,
                asked: self.repair.asked,
                answered: counts.asks_answered,
            },
            dropped: DroppedView {
                broken: counts.broken,
                other_cluster: counts.other_cluster,
                other_version: counts.other_version,
                own: counts.own,
            },
            combining: CombiningView {
                active: self.is_combining(turn.now),
                shares: counts.shares,
                sent: counts.combined,
            },
            log: LogView {
                bound_bytes: self.config.log_bytes,
                new_bytes: self.log.mark().bytes,
                snapshot: self.log.mark().snapshot,
                written: self.log.written,
                replaying: self.repair.wants_replay(),
            },
            sent: TrafficView { frames: counts.sent_frames, bytes: counts.sent_bytes },
            received: TrafficView { frames: counts.received_frames, bytes: counts.received_bytes },
        }
    }
}
