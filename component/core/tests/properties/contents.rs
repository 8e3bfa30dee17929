//! All that can be known of a store, for comparison.

use std::collections::BTreeMap;

use dayfly_core::cell::{Cell, DataType};
use dayfly_core::chunk::Chunk;
use dayfly_core::digest::Digest;
use dayfly_core::dot::{Dot, Seq, WriterId};
use dayfly_core::intervals::Intervals;
use dayfly_core::store::{Range, Store};
use dayfly_core::types;

/// The context, the entries, the reads and the counts. Two stores of one execution with equal contents are equal for
/// anyone; equal roots must mean just that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contents {
    pub context: BTreeMap<WriterId, Intervals>,
    pub entries: BTreeMap<Dot, (Cell, Vec<u8>)>,
    pub reads: BTreeMap<(String, DataType), String>,
    /// Entries, keys, writers, bytes.
    counts: [usize; 4],
    root: Digest,
}

/// What a store knows of a dot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    Unseen,
    Live,
    Gone,
}

impl Contents {
    /// Takes everything out through the reading side, and checks that the store is sound and that its whole chunk says the
    /// same.
    pub fn of(store: &Store) -> Self {
        store.assert_sound();
        let mut entries = BTreeMap::new();
        let mut reads = BTreeMap::new();
        for (cell, found) in store.cells_from(&Cell::of_key("", DataType::GCounter)) {
            let in_cell: Vec<_> = store.entries(found).collect();
            assert_eq!(in_cell.len(), store.entry_count_of(found));
            for entry in in_cell {
                let before = entries.insert(store.dot(entry), (cell.clone(), store.payload(entry).to_vec()));
                assert!(before.is_none(), "a dot is in two cells");
            }
            reads.entry((cell.name.to_string(), cell.key_type)).or_insert_with(|| {
                let mut value = String::new();
                assert!(
                    types::read(store, &cell.name, cell.key_type, &mut value),
                    "a cell of a key that does not exist"
                );
                value
            });
        }
        let contents = Self {
            context: store.context().map(|(writer, seen)| (writer, seen.into_owned())).collect(),
            entries,
            reads,
            counts: [store.entry_count(), store.key_count(), store.writer_count(), store.bytes()],
            root: store.root(),
        };
        assert_eq!(contents.counts[..2], [contents.entries.len(), contents.reads.len()]);
        contents.check_chunk(&whole(store), |_| true);
        contents
    }

    /// What is known of a dot.
    pub fn status(&self, dot: Dot) -> Status {
        match self.context.get(&dot.writer) {
            _ if self.entries.contains_key(&dot) => Status::Live,
            Some(seen) if seen.contains(dot.seq.0) => Status::Gone,
            _ => Status::Unseen,
        }
    }

    /// Every dot that was seen.
    pub fn dots(&self) -> impl Iterator<Item = Dot> + '_ {
        self.context.iter().flat_map(|(writer, seen)| dots_of(*writer, seen))
    }

    /// Checks that a chunk of this store speaks of exactly the seen dots for which `chosen` holds, and tells the truth.
    pub fn check_chunk(&self, chunk: &Chunk, chosen: impl Fn(Dot) -> bool) {
        let spoken: Vec<Dot> = chunk.parts.iter().flat_map(|part| dots_of(part.writer, &part.context)).collect();
        let expected: Vec<Dot> = self.dots().filter(|dot| chosen(*dot)).collect();
        assert_eq!(spoken, expected, "a chunk speaks of other dots than it should");
        let live: Vec<_> = chunk
            .parts
            .iter()
            .flat_map(|part| {
                part.entries.iter().map(|entry| {
                    let cell = chunk.cells[entry.cell as usize].clone();
                    (Dot { writer: part.writer, seq: Seq(entry.seq) }, (cell, entry.payload.to_vec()))
                })
            })
            .collect();
        let expected: Vec<_> =
            self.entries.iter().filter(|(dot, _)| chosen(**dot)).map(|(dot, entry)| (*dot, entry.clone())).collect();
        assert_eq!(live, expected, "a chunk has other entries than it should");
    }
}

/// The dots of a writer.
pub fn dots_of(writer: WriterId, seqs: &Intervals) -> impl Iterator<Item = Dot> + use<> {
    let spans: Vec<_> = seqs.iter().collect();
    spans.into_iter().flat_map(move |(low, high)| (low..=high).map(move |seq| Dot { writer, seq: Seq(seq) }))
}

/// A store's whole state as one chunk.
pub fn whole(store: &Store) -> Chunk {
    let mut pieces = store.walk_down(Range::ALL, None, usize::MAX);
    let piece = pieces.next().expect("a walk gives at least one piece");
    assert_eq!(piece.covers, Range::ALL);
    assert!(pieces.next().is_none(), "a walk with room for all goes on");
    piece.chunk
}

/// The store that has these chunks and nothing else.
pub fn store_of<'c>(chunks: impl IntoIterator<Item = &'c Chunk>) -> Store {
    let mut store = Store::new();
    chunks.into_iter().for_each(|chunk| {
        store.join(chunk);
    });
    store
}
