//! Combining (DESIGN section 5): what many replicas have for everyone goes to one of them, the combiner, who joins it and sends
//! it on once an interval. With N replicas that each write in a round this is 2N messages in place of N².
//!
//! The broker says who is the combiner, by whom it lets consume the queue; nobody here elects anybody. A message of that queue
//! is done with when what was made of it has been confirmed, so the combiner's death loses nothing.

use std::collections::BTreeMap;

use crate::chunk::Chunk;
use crate::codec::Writer;
use crate::frame::write_members;
use crate::member::Record;
use crate::store::{Range, Store};
use crate::time::Timestamp;

/// What was gathered is measured when it seems to be full, if more than this part of a frame, one in so many, came since it
/// was measured last.
const REMEASURED_PART: usize = 8;

/// What a combiner has gathered and not sent yet.
#[derive(Default)]
pub struct Gathering {
    /// The shares, joined among themselves and with nothing else: each brings a removal together with what takes the place of
    /// the removed, and so does their join. The combiner's own state may know a removal without its reason being told.
    store: Store,
    /// What was new of their senders.
    records: BTreeMap<String, (Record, bool)>,
    /// Upper bound of the frame to come, in bytes: what it was when it was last measured, and the messages since.
    bytes: usize,
    /// How many of these bytes came since.
    added_bytes: usize,
    /// When to send it, and the number of the first message in it; none while there is nothing.
    pending: Option<(Timestamp, u64)>,
}

/// What was gathered.
#[derive(Debug, PartialEq)]
pub struct Gathered {
    /// The join of the shares.
    pub chunk: Chunk,
    /// Whose records were new, and whether they have the whole database.
    pub records: Vec<(Record, bool)>,
    /// The number of the first message in it.
    pub first_message: u64,
}

impl Gathering {
    /// When it is to be sent.
    pub fn due(&self) -> Option<Timestamp> {
        self.pending.map(|(due, _)| due)
    }

    /// The number of the first message that has not been sent on.
    pub fn first_message(&self) -> Option<u64> {
        self.pending.map(|(_, first)| first)
    }

    /// Whether so many bytes more would be too many for one frame.
    pub fn is_full_for(&mut self, bytes: usize, fill_bytes: usize) -> bool {
        let is_full = |now: &Self| now.pending.is_some() && now.bytes + bytes > fill_bytes;
        // Most of a message of one write is its header, and a later count takes the place of its writer's last. To see what
        // that leaves takes as long as making the frame, so it is only seen if it may be worth that.
        if is_full(self) && self.added_bytes > fill_bytes / REMEASURED_PART {
            self.bytes = self.frame_bytes();
            self.added_bytes = 0;
        }
        is_full(self)
    }

    /// How many bytes what was gathered takes in a frame.
    fn frame_bytes(&self) -> usize {
        let mut out = Writer::new();
        write_members(&mut out, self.records.values());
        out.len() + self.chunk().encode().len()
    }

    fn chunk(&self) -> Chunk {
        self.store.extract(&self.store.describe(Range::ALL).seen)
    }

    /// Takes in the message with this number, which is so many bytes long; to be sent after `wait_ms` at latest.
    pub fn add(&mut self, share: &Chunk, bytes: usize, message: u64, wait_ms: u32, now: Timestamp) {
        self.store.join(share);
        self.bytes += bytes;
        self.added_bytes += bytes;
        self.pending.get_or_insert((now.plus_ms(wait_ms.into()), message));
    }

    /// Adds what is new of a sender.
    pub fn tell(&mut self, record: Record, complete: bool) {
        self.records.insert(record.name.clone(), (record, complete));
    }

    /// Gives what was gathered, if anything was, and begins anew.
    pub fn take(&mut self) -> Option<Gathered> {
        let (_, first_message) = self.pending?;
        let gathered = std::mem::take(self);
        Some(Gathered { chunk: gathered.chunk(), records: gathered.records.into_values().collect(), first_message })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cell::{Cell, DataType};
    use crate::dot::WriterId;
    use crate::store::Write;

    fn put(store: &mut Store, writer: u128, element: &[u8]) -> Chunk {
        let mut write = Write::begin(store, WriterId(writer), usize::MAX);
        write.replace(&Cell::of_key("k", DataType::LwwRegister), element).expect("there is room");
        let dots = write.commit();
        store.extract(&dots)
    }

    #[test]
    fn shares_become_their_join_and_nothing_else() {
        let (mut one, mut two) = (Store::new(), Store::new());
        let before = put(&mut one, 1, b"before");
        two.join(&before);
        let first = put(&mut one, 1, b"one");
        let second = put(&mut two, 2, b"two");
        let mut gathering = Gathering::default();
        gathering.add(&first, 10, 4, 100, Timestamp(1_000));
        gathering.add(&second, 10, 5, 100, Timestamp(1_050));
        assert_eq!(gathering.due(), Some(Timestamp(1_100)), "the first one does not wait longer for the second");
        let gathered = gathering.take().expect("two were gathered");
        assert_eq!(gathered.first_message, 4);
        let mut apart = Store::new();
        [&first, &second].into_iter().for_each(|chunk| assert!(apart.join(chunk).changed()));
        let mut together = Store::new();
        together.join(&gathered.chunk);
        assert_eq!(together.root(), apart.root());
        assert_eq!(gathering.take(), None);
        assert_eq!((gathering.due(), gathering.first_message()), (None, None));
    }

    #[test]
    fn a_frame_is_sent_before_it_is_too_full_and_an_empty_one_never_is() {
        const FILL_BYTES: usize = 2_000;
        // As long as a share with its header, of which a combined frame has one alone.
        const MESSAGE_BYTES: usize = 130;
        let mut gathering = Gathering::default();
        assert!(!gathering.is_full_for(FILL_BYTES + 1, FILL_BYTES));
        let mut writers = 0;
        while !gathering.is_full_for(MESSAGE_BYTES, FILL_BYTES) {
            writers += 1;
            assert!(writers < 1_000, "it is never full");
            let share = put(&mut Store::new(), writers, b"four");
            assert!(share.encode().len() <= MESSAGE_BYTES);
            gathering.add(&share, MESSAGE_BYTES, 1, 100, Timestamp(0));
        }
        let bytes = gathering.take().expect("much was gathered").chunk.encode().len();
        assert!((FILL_BYTES / 4 * 3..=FILL_BYTES).contains(&bytes), "{bytes} of {FILL_BYTES} bytes");
        assert!(!gathering.is_full_for(FILL_BYTES + 1, FILL_BYTES));
    }

    #[test]
    fn what_takes_the_place_of_what_was_gathered_takes_no_room() {
        let (mut gathering, mut store) = (Gathering::default(), Store::new());
        for message in 1..1_000 {
            let share = put(&mut store, 1, b"again");
            assert!(!gathering.is_full_for(130, 2_000), "full after {message} messages");
            gathering.add(&share, 130, message, 100, Timestamp(0));
        }
        let gathered = gathering.take().expect("much was gathered");
        assert_eq!((gathered.first_message, gathered.chunk.parts[0].entries.len()), (1, 1));
    }
}
