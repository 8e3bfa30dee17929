//! Snapshots in the log (DESIGN section 7). The broker's log keeps what was sent to everyone, up to a bound in bytes, and forgets
//! the oldest beyond it. So from time to time the whole state is written into it again: then what is forgotten is covered.
//!
//! What is forgotten must be in the snapshot, and its writer may lack something that others have. So it first reads the log.
//!
//! How much was logged since the last snapshot is gossiped, because no replica need live from one snapshot to the next. Who sees
//! that it is time asks the combiner, who is one; its message is done with when the snapshot is confirmed, so that a combiner that
//! dies in the midst has a successor.

use std::collections::BTreeMap;

use crate::effect::{FrameId, Receipt, Verdict};
use crate::store::{Piece, Range, Ranges, Store};
use crate::time::{Timestamp, Turn};

/// Pieces that are with the broker and not confirmed, at most.
const UNSETTLED_MAX: usize = 8;
/// A snapshot is due when the log has grown by a quarter of its bound since the last one; when by half, it is urgent.
const DUE_PART: u64 = 4;
const URGENT_PART: u64 = 2;
/// Who sees that a snapshot is due waits for up to so long whether another asks first, unless it is urgent.
const ASK_MAX_MS: u64 = 1_000;
/// How soon it asks again if nothing came of it.
const ASK_AGAIN_MS: u64 = 10_000;
/// How long writing pauses after the broker refused a piece.
const RETRY_MS: u64 = 1_000;

/// How much was logged since the last snapshot, as gossiped: the later snapshot counts, then the greater number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct LogMark {
    /// When the last snapshot was begun, in milliseconds since 1970; 0: there is none.
    pub snapshot: u64,
    /// Bytes that were sent to everyone since then, about.
    pub bytes: u64,
}

/// What a replica knows of the log, and the snapshot that it writes.
#[derive(Debug)]
pub struct Log {
    /// How much the broker keeps; 0: there is no log.
    bound_bytes: u64,
    mark: LogMark,
    ask_at: Option<Timestamp>,
    writing: Option<Writing>,
    /// How many snapshots this replica has written.
    pub written: u64,
}

/// A snapshot that is being written.
#[derive(Debug)]
struct Writing {
    /// The number of the message that asked for it.
    message: u64,
    began: Timestamp,
    /// Whether the log was read since it was asked for: all that is in it is here now.
    has_read: bool,
    /// What was logged since the last snapshot when this one began: it covers that.
    covered_bytes: u64,
    /// What is still to be written.
    rest: Ranges,
    /// The ranges of the pieces that are with the broker.
    unsettled: BTreeMap<FrameId, Range>,
    /// Before this time nothing more is written: the broker refused a piece.
    not_before: Timestamp,
}

impl Log {
    /// For a log of so many bytes; 0: there is none.
    pub fn new(bound_bytes: u64) -> Self {
        Self { bound_bytes, mark: LogMark::default(), ask_at: None, writing: None, written: 0 }
    }

    /// What to gossip.
    pub fn mark(&self) -> LogMark {
        self.mark
    }

    /// Takes in what another has gossiped.
    pub fn merge(&mut self, mark: LogMark) {
        if self.bound_bytes > 0 {
            self.mark = self.mark.max(mark);
        }
    }

    /// So many bytes were sent to everyone.
    pub fn grow(&mut self, bytes: usize) {
        if self.bound_bytes > 0 {
            self.mark.bytes += bytes as u64;
        }
    }

    fn is_due(&self) -> bool {
        self.bound_bytes > 0 && self.mark.bytes > self.bound_bytes / DUE_PART
    }

    /// Whether writes have to wait for a snapshot: the broker might else forget what none covers. At three quarters of the
    /// bound; the rest is for what is under way and for the snapshot itself.
    pub fn is_full(&self) -> bool {
        self.bound_bytes > 0 && self.mark.bytes > self.bound_bytes / 4 * 3
    }

    /// When [`Self::asks`] or [`Self::next_piece`] has something to do.
    pub fn due(&self) -> Option<Timestamp> {
        let can_go_on =
            |writing: &Writing| writing.has_read && writing.unsettled.len() < UNSETTLED_MAX && !writing.rest.is_empty();
        match &self.writing {
            Some(writing) => can_go_on(writing).then_some(writing.not_before),
            None => self.is_due().then_some(self.ask_at.unwrap_or(Timestamp(0))),
        }
    }

    /// Whether the combiner has to be asked for a snapshot now.
    pub fn asks(&mut self, turn: &mut Turn<'_>) -> bool {
        if !self.is_due() || self.writing.is_some() {
            self.ask_at = None;
            return false;
        }
        match self.ask_at {
            None => {
                let is_urgent = self.mark.bytes > self.bound_bytes / URGENT_PART;
                let wait_ms = if is_urgent { ASK_AGAIN_MS } else { (turn.chance)() % ASK_MAX_MS };
                self.ask_at = Some(turn.now.plus_ms(wait_ms));
                is_urgent
            }
            Some(at) if at <= turn.now => {
                self.ask_at = Some(turn.now.plus_ms(ASK_AGAIN_MS));
                true
            }
            Some(_) => false,
        }
    }

    /// This replica, as combiner, is asked for a snapshot by the message of this number.
    pub fn begin(&mut self, message: u64, now: Timestamp) {
        if self.is_due() && self.writing.is_none() {
            self.writing = Some(Writing {
                message,
                began: now,
                has_read: false,
                covered_bytes: self.mark.bytes,
                rest: Ranges::all(),
                unsettled: BTreeMap::new(),
                not_before: now,
            });
        }
    }

    /// Whether the log is to be read before a snapshot is written.
    pub fn wants_replay(&self) -> bool {
        self.writing.as_ref().is_some_and(|writing| !writing.has_read)
    }

    /// The log was read to its end.
    pub fn end_replay(&mut self) {
        if let Some(writing) = &mut self.writing {
            writing.has_read = true;
        }
    }

    /// Stops writing: a replica that freezes leaves it to the next combiner.
    pub fn abandon(&mut self) {
        self.writing = None;
    }

    /// The number of the message that asked for the snapshot that is being written.
    pub fn first_message(&self) -> Option<u64> {
        self.writing.as_ref().map(|writing| writing.message)
    }

    /// The next piece to write, if the broker keeps up.
    pub fn next_piece(&mut self, store: &Store, fill_bytes: usize, now: Timestamp) -> Option<Piece> {
        let has_room = |writing: &&mut Writing| {
            writing.has_read && writing.unsettled.len() < UNSETTLED_MAX && writing.not_before <= now
        };
        let writing = self.writing.as_mut().filter(has_room)?;
        let range = writing.rest.iter().next_back()?;
        let piece = store.walk_down(range, None, fill_bytes).next()?;
        writing.rest.remove(piece.covers);
        Some(piece)
    }

    /// A piece was handed to the broker as this frame.
    pub fn sent(&mut self, frame: FrameId, covers: Range) {
        if let Some(writing) = &mut self.writing {
            writing.unsettled.insert(frame, covers);
        }
    }

    /// Takes in an outcome. True if it ended the snapshot.
    pub fn settle(&mut self, receipt: Receipt, now: Timestamp) -> bool {
        let Some(writing) = &mut self.writing else { return false };
        let Some(range) = writing.unsettled.remove(&receipt.id) else { return false };
        match receipt.verdict {
            Verdict::Confirmed => {}
            Verdict::Failed => {
                writing.rest.insert(range);
                writing.not_before = now.plus_ms(RETRY_MS);
            }
            Verdict::Unroutable => {
                // The broker keeps no log, whatever the configuration says: it is asked for again in a while.
                self.writing = None;
                return false;
            }
        }
        if !writing.unsettled.is_empty() || !writing.rest.is_empty() {
            return false;
        }
        let bytes = self.mark.bytes.saturating_sub(writing.covered_bytes);
        // Later than any other, whatever the clocks say.
        self.mark = LogMark { snapshot: writing.began.0.max(self.mark.snapshot + 1), bytes };
        self.writing = None;
        self.ask_at = None;
        self.written += 1;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cell::{Cell, DataType};
    use crate::dot::WriterId;
    use crate::store::Write;

    const BOUND: u64 = 16 << 20;
    const DUE: usize = (BOUND / DUE_PART) as usize;

    fn at<T>(now_ms: u64, act: impl FnOnce(&mut Turn<'_>) -> T) -> T {
        act(&mut Turn { now: Timestamp(now_ms), chance: &mut || 7 })
    }

    fn state() -> Store {
        let mut store = Store::new();
        for number in 0..3_000_u32 {
            let mut write = Write::begin(&mut store, WriterId(1), usize::MAX);
            let cell = Cell::of_key(&format!("key {number}"), DataType::LwwRegister);
            write.put(&cell, &number.to_be_bytes()).expect("there is room");
            write.commit();
        }
        store
    }

    #[test]
    fn the_combiner_is_asked_once_when_a_quarter_is_new() {
        let mut log = Log::new(BOUND);
        log.grow(DUE);
        assert!(!at(0, |turn| log.asks(turn)) && log.due().is_none());
        log.grow(1);
        assert_eq!(log.due(), Some(Timestamp(0)));
        assert!(!at(0, |turn| log.asks(turn)), "another may ask first");
        assert_eq!(log.due(), Some(Timestamp(7)));
        assert!(at(7, |turn| log.asks(turn)));
        assert!(!at(8, |turn| log.asks(turn)));
        log.merge(LogMark { snapshot: 5, bytes: 0 });
        assert_eq!(log.due(), None, "another has written one");
    }

    #[test]
    fn an_urgent_one_is_asked_for_at_once_and_writes_wait_before_the_log_forgets() {
        let mut log = Log::new(BOUND);
        log.grow(2 * DUE + 1);
        assert!(at(0, |turn| log.asks(turn)));
        assert!(!log.is_full());
        log.grow(DUE);
        assert!(log.is_full());
        log.merge(LogMark { snapshot: 5, bytes: 0 });
        assert!(!log.is_full(), "a snapshot makes room");
    }

    #[test]
    fn without_a_log_nothing_is_counted() {
        let mut log = Log::new(0);
        log.grow(usize::MAX);
        log.merge(LogMark { snapshot: 1, bytes: u64::MAX });
        assert_eq!((log.mark(), log.due()), (LogMark::default(), None));
        log.begin(1, Timestamp(0));
        assert_eq!(log.first_message(), None);
    }

    #[test]
    fn all_pieces_confirmed_are_the_whole_state_though_some_failed() {
        let store = state();
        let mut log = Log::new(BOUND);
        log.grow(DUE + 1);
        log.begin(3, Timestamp(1_000));
        log.grow(50);
        assert_eq!(log.first_message(), Some(3));
        assert!(log.wants_replay() && log.next_piece(&store, 4_096, Timestamp(1_000)).is_none());
        log.end_replay();
        let (mut now, mut id, mut refused, mut read) = (1_000, 0, 0, Store::new());
        'writing: loop {
            let mut sent = Vec::new();
            while let Some(piece) = log.next_piece(&store, 4_096, Timestamp(now)) {
                id += 1;
                log.sent(FrameId(id), piece.covers);
                sent.push((FrameId(id), piece.chunk));
            }
            assert!((1..=UNSETTLED_MAX).contains(&sent.len()), "{} at once", sent.len());
            for (id, chunk) in sent {
                // Each third one is refused at first.
                let fails = id.0 % 3 == 0;
                refused += usize::from(fails);
                let verdict = if fails { Verdict::Failed } else { Verdict::Confirmed };
                if !fails {
                    read.join(&chunk);
                }
                if log.settle(Receipt { id, verdict }, Timestamp(now)) {
                    break 'writing;
                }
            }
            now += RETRY_MS;
        }
        assert!(refused > 1);
        assert_eq!(read.root(), store.root());
        assert_eq!(log.mark(), LogMark { snapshot: 1_000, bytes: 50 }, "what came meanwhile is not covered");
        assert_eq!((log.first_message(), log.written), (None, 1));
    }

    #[test]
    fn a_broker_without_a_log_ends_the_snapshot() {
        let mut log = Log::new(BOUND);
        log.grow(DUE + 1);
        log.begin(1, Timestamp(0));
        log.end_replay();
        let piece = log.next_piece(&state(), 4_096, Timestamp(0)).expect("there is room");
        log.sent(FrameId(1), piece.covers);
        assert!(!log.settle(Receipt { id: FrameId(1), verdict: Verdict::Unroutable }, Timestamp(0)));
        assert_eq!((log.first_message(), log.written), (None, 0));
    }
}
