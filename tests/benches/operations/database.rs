//! The database that every subject holds: a large set, a small set and a counter, written by so many writers.

use dayfly_core::cell::{Cell, DataType};
use dayfly_core::chunk::{Chunk, ChunkEntries, ChunkEntry, ChunkPart};
use dayfly_core::clock::Stamp;
use dayfly_core::digest::mix;
use dayfly_core::dot::{Era, WriterId};
use dayfly_core::intervals::Intervals;
use dayfly_core::store::{Store, Write};
use dayfly_core::time::Timestamp;
use dayfly_core::types;
use dayfly_core::types::operation::Operation;

/// The elements of the large set, and of the small one.
pub const LARGE: u64 = 10_240;
pub const SMALL: u64 = 1_000;
/// The names of the keys.
pub const LARGE_KEY: &str = "large";
pub const SMALL_KEY: &str = "small";
pub const COUNTER_KEY: &str = "counter";

/// The time at which every subject begins, and the chance that each draws: always the same, so that the subject's own
/// writer is the database's first.
pub const NOW: Timestamp = Timestamp(1_750_000_000_000);
pub const CHANCE: u64 = 0x1234_5678_9abc_def0;

/// The writer that the subject itself is.
pub fn own_writer() -> WriterId {
    WriterId::fresh(Era::at(NOW), &mut || CHANCE)
}

/// The database's writers, the subject's own first.
pub fn writers(count: u64) -> Vec<WriterId> {
    let other = |number: u64| WriterId(own_writer().0 ^ u128::from(mix(number)));
    std::iter::once(own_writer()).chain((1..count).map(other)).collect()
}

/// An element of 16 characters, as JSON. Elements come in no order.
pub fn element(number: u64) -> String {
    format!("\"{:016x}\"", mix(number))
}

/// The database.
pub fn database(writer_count: u64) -> Store {
    let writers = writers(writer_count);
    let mut store = Store::new();
    let mut write = |at: u64, key: &str, data_type, operation| {
        let mut write = Write::begin(&mut store, writers[(at % writer_count) as usize], usize::MAX / 2);
        types::apply(&mut write, key, data_type, &operation, Stamp(0)).expect("there is room");
        write.commit();
    };
    (0..LARGE).for_each(|at| write(at, LARGE_KEY, DataType::OrSet, Operation::Add(vec![element(at)])));
    (0..SMALL).for_each(|at| write(at, SMALL_KEY, DataType::OrSet, Operation::Add(vec![element(at)])));
    (0..writer_count).for_each(|at| write(at, COUNTER_KEY, DataType::GCounter, Operation::Increment(1)));
    store
}

/// What others add: chunks of 1,000 elements of the large set, by all other writers (by one, if there is no other), and
/// chunks that say that those are no more.
pub struct Additions {
    writers: Vec<(WriterId, u64)>,
    /// How many elements were added in all.
    added: u64,
}

/// The entries of such a chunk.
pub const ADDITIONS: u64 = 1_000;

impl Additions {
    pub fn new(writer_count: u64, database: &Store) -> Self {
        let others = writers(writer_count.max(2)).into_iter().skip(1);
        let tail = |writer| database.seen(writer).map_or(0, |seen| seen.max());
        let mut writers: Vec<(WriterId, u64)> = others.map(|writer| (writer, tail(writer))).collect();
        writers.sort_unstable();
        writers.truncate(ADDITIONS as usize);
        Self { writers, added: 0 }
    }

    /// The next elements, the chunk that adds them, and the one that takes them away.
    pub fn next(&mut self) -> (Vec<String>, Chunk, Chunk) {
        let elements: Vec<String> = (0..ADDITIONS).map(|at| element(1_000_000_000 + self.added + at)).collect();
        self.added += ADDITIONS;
        let cells = vec![Cell::of_key(LARGE_KEY, DataType::OrSet)];
        let mut rest = elements.iter();
        let count = self.writers.len() as u64;
        let mut parts = Vec::new();
        for (at, (writer, tail)) in self.writers.iter_mut().enumerate() {
            let share = ADDITIONS / count + u64::from((at as u64) < ADDITIONS % count);
            let entries = (1..=share).zip(rest.by_ref()).map(|(seq, element)| ChunkEntry {
                seq: *tail + seq,
                cell: 0,
                payload: element.as_bytes().into(),
            });
            let entries: ChunkEntries = entries.collect();
            parts.push(ChunkPart { writer: *writer, context: Intervals::span(*tail + 1, *tail + share), entries });
            *tail += share;
        }
        let gone = parts.iter().map(|part| ChunkPart { entries: ChunkEntries::new(), ..part.clone() }).collect();
        (elements, Chunk { cells, parts }, Chunk { cells: Vec::new(), parts: gone })
    }
}
