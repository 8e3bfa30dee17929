//! Frames out.

use super::{CLOSING_BEAT_MS, Replica};
use crate::chunk::Chunk;
use crate::combining::Gathered;
use crate::config::FRAME_SLACK_BYTES;
use crate::dot::Era;
use crate::effect::{Frame as Outgoing, Route};
use crate::frame::{Body, Frame};
use crate::member::Record;
use crate::repair::Peers;
use crate::time::{Timestamp, Turn};

impl Replica {
    pub(super) fn record(&self) -> Record {
        Record {
            name: self.name.clone(),
            incarnation: self.incarnation,
            left: self.has_left,
            awake_until: self.awake_until,
            host: self.config.host.clone(),
            region: self.config.region.clone(),
            zone: self.config.zone.clone(),
        }
    }

    pub(super) fn encode(&self, body: Body, turn: &Turn<'_>) -> Vec<u8> {
        let frame = Frame {
            era: Era::at(turn.now),
            sender: self.record(),
            complete: self.repair.is_complete(),
            root: self.store.root(),
            log: self.log.mark(),
            body,
        };
        frame.encode(&self.config.cluster)
    }

    pub(super) fn frame(&mut self, route: Route, body: Body, ttl_ms: Option<u32>, turn: &Turn<'_>) -> Outgoing {
        let body = self.encode(body, turn);
        let frame = self.outbox.frame(route, body, ttl_ms);
        self.count_sent(&frame);
        frame
    }

    pub(super) fn count_sent(&mut self, frame: &Outgoing) {
        self.counts.sent_frames += 1;
        self.counts.sent_bytes += frame.body.len() as u64;
    }

    /// Whether what is for everyone goes through the combiner.
    pub(super) fn is_combining(&self, now: Timestamp) -> bool {
        if self.overlay.is_some() {
            return false;
        }
        let above = self.config.combine_above as usize;
        self.members.awake_peers(&self.name, now).take(above).count() >= above
    }

    /// Tells everyone this replica's lease and root.
    pub(super) fn announce(&mut self, body: Body, frames: &mut Vec<Outgoing>, turn: &Turn<'_>) {
        if self.overlay.is_some() {
            return self.greet_all(frames, turn);
        }
        let frame = if self.is_combining(turn.now) {
            self.frame(Route::Combiner, Body::Share(Chunk::default()), None, turn)
        } else {
            self.frame(Route::Everyone, body, None, turn)
        };
        frames.push(frame);
    }

    /// Sends the burst of writes, if there is one.
    pub(super) fn flush(&mut self, frames: &mut Vec<Outgoing>, turn: &Turn<'_>) {
        let Some(dots) = self.outbox.burst_dots() else { return };
        if self.overlay.is_some() {
            return self.send_along(frames, turn);
        }
        let chunk = self.store.extract(&dots);
        let is_combining = self.is_combining(turn.now);
        let (route, body) =
            if is_combining { (Route::Combiner, Body::Share(chunk)) } else { (Route::Everyone, Body::Delta(chunk)) };
        let body = self.encode(body, turn);
        let frame = self.outbox.send_burst(route, body, turn.now);
        self.count_sent(&frame);
        frames.push(frame);
        if !is_combining {
            self.beat_at = Some(turn.now.plus_ms(CLOSING_BEAT_MS));
        }
    }

    /// As combiner, sends what was gathered. Its own writes are shares like those of others: so they are confirmed as soon, and
    /// the root that the frame tells may be ahead of what it brings by those that are on their way to the queue.
    pub(super) fn send_gathered(&mut self, frames: &mut Vec<Outgoing>, turn: &Turn<'_>) {
        let Some(Gathered { chunk, records, first_message }) = self.gathering.take() else { return };
        let has_writes = !chunk.is_empty();
        let body = self.encode(Body::Combined(records, chunk), turn);
        let frame = self.outbox.send_gathered(body, first_message);
        self.count_sent(&frame);
        frames.push(frame);
        self.counts.combined += 1;
        if has_writes {
            self.beat_at = Some(turn.now.plus_ms(CLOSING_BEAT_MS));
        }
    }

    /// As combiner, writes what the broker takes of a snapshot into the log.
    pub(super) fn write_snapshot(&mut self, frames: &mut Vec<Outgoing>, turn: &Turn<'_>) {
        if self.log.due().is_some_and(|due| due <= turn.now) {
            // As before an answer to a request for repair: nobody is to learn of an own write from elsewhere than its frame.
            self.flush(frames, turn);
        }
        let fill_bytes = self.config.frame_bytes as usize;
        while let Some(piece) = self.log.next_piece(&self.store, fill_bytes, turn.now) {
            let frame = self.frame(Route::Log, Body::Delta(piece.chunk), None, turn);
            self.log.sent(frame.id, piece.covers);
            frames.push(frame);
        }
    }

    /// The most bytes of a frame besides its header.
    pub(super) fn frame_max_bytes(&self) -> usize {
        (self.config.frame_bytes + FRAME_SLACK_BYTES) as usize
    }

    pub(super) fn peers(&self, now: Timestamp) -> Peers {
        let mut peers = Peers::default();
        for (name, member) in self.members.awake_peers(&self.name, now) {
            let list = if member.complete { &mut peers.complete } else { &mut peers.others };
            list.push(name.to_owned());
        }
        peers.with_news = self.news(now).map(|(name, _)| name.to_owned()).collect();
        peers.are_combining = self.is_combining(now);
        peers
    }
}
