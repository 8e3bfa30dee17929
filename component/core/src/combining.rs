//! Combining (DESIGN section 5): what many replicas have for everyone goes to one of them, the combiner, who joins it and sends
//! it on once an interval. With N replicas that each write in a round this is 2N messages in place of N².
//!
//! The broker says who is the combiner, by whom it lets consume the queue; nobody here elects anybody. A message of that queue
//! is done with when what was made of it has been confirmed, so the combiner's death loses nothing.

use std::collections::BTreeMap;

use crate::chunk::Chunk;
use crate::member::Record;
use crate::store::{Range, Store};
use crate::time::Timestamp;

/// What a combiner has gathered and not sent yet.
#[derive(Default)]
pub struct Gathering {
    /// The shares, joined among themselves and with nothing else: each brings a removal together with what takes the place of
    /// the removed, and so does their join. The combiner's own state may know a removal without its reason being told.
    store: Store,
    /// What was new of their senders.
    records: BTreeMap<String, (Record, bool)>,
    /// Upper bound of the frame to come, in bytes.
    bytes: usize,
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
    pub fn is_full_for(&self, bytes: usize, fill_bytes: usize) -> bool {
        self.pending.is_some() && self.bytes + bytes > fill_bytes
    }

    /// Takes in the message with this number, which is so many bytes long; to be sent after `wait_ms` at latest.
    pub fn add(&mut self, share: &Chunk, bytes: usize, message: u64, wait_ms: u32, now: Timestamp) {
        self.store.join(share);
        self.bytes += bytes;
        self.pending.get_or_insert((now.plus_ms(wait_ms.into()), message));
    }

    /// Adds what is new of a sender.
    pub fn tell(&mut self, record: Record, complete: bool) {
        self.records.insert(record.name.clone(), (record, complete));
    }

    /// Gives what was gathered, if anything was, and begins anew.
    pub fn take(&mut self) -> Option<Gathered> {
        let (_, first_message) = self.pending?;
        let Self { store, records, .. } = std::mem::take(self);
        let dots = store.describe(Range::ALL).seen;
        Some(Gathered { chunk: store.extract(&dots), records: records.into_values().collect(), first_message })
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
        let mut gathering = Gathering::default();
        assert!(!gathering.is_full_for(1_000, 500));
        gathering.add(&Chunk::default(), 400, 1, 100, Timestamp(0));
        assert!(!gathering.is_full_for(100, 500));
        assert!(gathering.is_full_for(101, 500));
        assert!(gathering.take().is_some_and(|gathered| gathered.chunk.is_empty()), "the root is told in any case");
    }
}
