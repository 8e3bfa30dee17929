//! The join: a dot that both have is live only where both have it live; a dot that was not seen is taken over.

use super::{Joined, Store};
use crate::cell::DataType;
use crate::chunk::{Chunk, ChunkEntries, ChunkEntry, ChunkPart};
use crate::intervals::{DotSet, Intervals};
use crate::types::counter;

impl Store {
    /// Joins a chunk.
    pub fn join(&mut self, chunk: &Chunk) -> Joined {
        self.join_but(chunk, None)
    }

    /// Joins a chunk that is a piece of something larger, but for what it says is gone, which it adds to `removals`: what
    /// took the place of a removed entry may be in another piece, and if that never comes the entry must not be lost. This
    /// goes for dots that are unknown here as well: else this store would tell others that hold the entry that it is gone.
    pub fn join_piece(&mut self, chunk: &Chunk, removals: &mut DotSet) -> Joined {
        self.join_but(chunk, Some(removals))
    }

    /// Drops these entries, of which all that took their place is here.
    pub fn remove(&mut self, dots: DotSet) -> Joined {
        let parts = dots.iter().map(|(writer, context)| ChunkPart {
            writer,
            context: context.clone(),
            entries: ChunkEntries::new(),
        });
        self.join(&Chunk { cells: Vec::new(), parts: parts.collect() })
    }

    fn join_but(&mut self, chunk: &Chunk, mut removals: Option<&mut DotSet>) -> Joined {
        let mut joined = Joined::default();
        let mut cells = KnownCells::of(chunk);
        // Looked for one after the other and before anything else, so that their ways to memory overlap.
        let known: Vec<Option<u32>> = chunk.parts.iter().map(|part| self.writers.find(part.writer)).collect();
        for (part, known) in chunk.parts.iter().zip(known) {
            if removals.is_none() && known.is_some_and(|index| self.advance_count(index, part, &mut cells, &mut joined))
            {
                continue;
            }
            let index = known.unwrap_or_else(|| self.writers.find_or_insert(part.writer));
            let before = self.writers.get(index).digest();
            match &mut removals {
                None => {
                    if !self.replace_count(index, part, &mut cells, &mut joined) {
                        self.join_part(index, part, &mut cells, &mut joined);
                    }
                }
                Some(removals) => self.join_part_but(index, part, &mut cells, &mut joined, removals),
            }
            self.refresh_from(before, index);
            if known.is_none() {
                self.writers.forget_unused(part.writer);
            }
        }
        joined
    }

    fn join_part(&mut self, writer: u32, part: &ChunkPart, cells: &mut KnownCells<'_>, joined: &mut Joined) {
        for (low, high) in part.context.iter() {
            let incoming = part.entries_of(low, high);
            let absent = self.absent_from(writer, (low, high), incoming);
            joined.added += self.take_over(writer, incoming, cells);
            joined.removed += absent.len();
            absent.into_iter().for_each(|slot| drop(self.unlink(slot)));
        }
        joined.dots += self.writers.get_mut(writer).see(&part.context, self.save_version);
    }

    /// The same, but for what is gone.
    fn join_part_but(
        &mut self,
        writer: u32,
        part: &ChunkPart,
        cells: &mut KnownCells<'_>,
        joined: &mut Joined,
        removals: &mut DotSet,
    ) {
        for (low, high) in part.context.iter() {
            let incoming = part.entries_of(low, high);
            let absent = self.absent_from(writer, (low, high), incoming);
            joined.added += self.take_over(writer, incoming, cells);
            let told = Intervals::span(low, high);
            let live: Intervals = incoming.iter().map(|entry| (entry.seq, entry.seq)).collect();
            let unseen = told.subtract(&live).subtract(&self.writers.get(writer).seen().clip(low, high));
            let absent = absent.into_iter().map(|slot| self.table.get(slot).seq).map(|seq| (seq, seq));
            removals.extend_writer(part.writer, &unseen);
            removals.extend_writer(part.writer, &absent.collect());
            joined.dots += self.writers.get_mut(writer).see(&live, self.save_version);
        }
    }

    /// Takes over the entries whose dots were not seen. Gives their number; the dots are yet to be taken for seen.
    fn take_over(&mut self, writer: u32, incoming: &[ChunkEntry], cells: &mut KnownCells<'_>) -> usize {
        let mut added = 0;
        for entry in incoming {
            if !self.writers.get(writer).has_seen(entry.seq) {
                let cell = cells.index(self, entry.cell);
                self.link(writer, cell, entry.seq, entry.payload.clone());
                added += 1;
            }
        }
        added
    }

    /// What most parts are where many replicas count one thing: a writer's next entry in a counter's cell, in place of its only
    /// one at all, with the dots between them. Does nothing, and gives false, if the part is anything else.
    fn advance_count(
        &mut self,
        writer: u32,
        part: &ChunkPart,
        cells: &mut KnownCells<'_>,
        joined: &mut Joined,
    ) -> bool {
        let ([new], Some(span)) = (&part.entries[..], part.context.only()) else { return false };
        let leaf = cells.chunk.cells[new.cell as usize].leaf;
        if !leaf.is_counter() || new.seq != span.1 {
            return false;
        }
        let Some(slot) = self.writers.get(writer).slot_before(span) else { return false };
        // If it is made here, the entry that was not seen is put into it in any case.
        let cell = cells.index(self, new.cell);
        if !self.put_count(slot, cell, leaf, new) {
            return false;
        }
        let (dots, was, is) = self.writers.get_mut(writer).advance(span.1, self.save_version);
        self.root.subtract(was);
        self.root.add(is);
        joined.dots += dots;
        joined.added += 1;
        joined.removed += 1;
        true
    }

    /// Puts a writer's next entry in the slot of its last one, if that is in the same cell and what the cell counts is all
    /// known.
    fn put_count(&mut self, slot: u32, cell: u32, leaf: DataType, new: &ChunkEntry) -> bool {
        let state = &mut self.cells[cell as usize];
        let entry = self.table.get_mut(slot);
        if entry.cell != cell || state.outdated > 0 {
            return false;
        }
        state.total += counter::amount(leaf, &new.payload) - counter::amount(leaf, &entry.payload);
        self.text_bytes += new.payload.heap_bytes();
        self.text_bytes -= entry.payload.heap_bytes();
        (entry.payload, entry.seq) = (new.payload.clone(), new.seq);
        true
    }

    /// Where many replicas count several things: a writer's next entry in a counter's cell, in place of its only one
    /// there. Both stand at one place in the cell's order, so nothing has to be searched. Does nothing, and gives false, if
    /// the part is anything else.
    fn replace_count(
        &mut self,
        writer: u32,
        part: &ChunkPart,
        cells: &mut KnownCells<'_>,
        joined: &mut Joined,
    ) -> bool {
        let [new] = &part.entries[..] else { return false };
        let leaf = cells.chunk.cells[new.cell as usize].leaf;
        let state = self.writers.get(writer);
        let is_next = state.last_live().is_some_and(|last| last.seq() < new.seq);
        if !leaf.is_counter() || !is_next || state.has_seen(new.seq) {
            return false;
        }
        let mut gone = part.context.iter().flat_map(|(low, high)| state.live_within(low, high));
        let (Some(old), None) = (gone.next(), gone.next()) else { return false };
        drop(gone);
        // If it is made here, the entry that was not seen is put into it in any case.
        let cell = cells.index(self, new.cell);
        if !self.put_count(old.slot(), cell, leaf, new) {
            return false;
        }
        joined.dots += self.writers.get_mut(writer).move_live(old, new.seq, &part.context, self.save_version);
        joined.added += 1;
        joined.removed += 1;
        true
    }

    /// The live entries of a writer's interval that a chunk says are no more.
    fn absent_from(&self, writer: u32, (low, high): (u64, u64), incoming: &[ChunkEntry]) -> Vec<u32> {
        let mut incoming = incoming.iter().map(|entry| entry.seq).peekable();
        let told = self.writers.get(writer).live_within(low, high);
        let absent = told.filter(|live| {
            while incoming.next_if(|&other| other < live.seq()).is_some() {}
            incoming.peek() != Some(&live.seq())
        });
        absent.map(|live| live.slot()).collect()
    }
}

/// The cells of a chunk, each looked for once.
struct KnownCells<'a> {
    chunk: &'a Chunk,
    /// Their indices in the store, as far as they were looked for since a cell was last forgotten.
    indices: Vec<Option<u32>>,
    forgotten: u64,
}

impl<'a> KnownCells<'a> {
    fn of(chunk: &'a Chunk) -> Self {
        Self { chunk, indices: vec![None; chunk.cells.len()], forgotten: 0 }
    }

    /// The index of a cell, which is made if the store does not have it.
    fn index(&mut self, store: &mut Store, cell: u32) -> u32 {
        if store.cells_forgotten != self.forgotten {
            self.forgotten = store.cells_forgotten;
            self.indices.fill(None);
        }
        *self.indices[cell as usize].get_or_insert_with(|| store.cell(&self.chunk.cells[cell as usize]))
    }
}

impl ChunkPart {
    /// The entries of an interval.
    fn entries_of(&self, low: u64, high: u64) -> &[ChunkEntry] {
        let first = self.entries.partition_point(|entry| entry.seq < low);
        let count = self.entries[first..].partition_point(|entry| entry.seq <= high);
        &self.entries[first..first + count]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cell::{Cell, DataType};
    use crate::dot::WriterId;

    const WRITER: WriterId = WriterId(7);

    fn cell(name: &str) -> Cell {
        Cell::of_key(name, DataType::GCounter)
    }

    /// What speaks of these dots of one writer, of which the last is a counter's total.
    fn count(name: &str, seqs: &[u64], total: u8) -> Chunk {
        let seq = *seqs.last().expect("there is one");
        let entry = ChunkEntry { seq, cell: 0, payload: [total][..].into() };
        let context = seqs.iter().map(|seq| (*seq, *seq)).collect();
        Chunk { cells: vec![cell(name)], parts: vec![ChunkPart { writer: WRITER, context, entries: [entry].into() }] }
    }

    fn joined(chunks: &[Chunk]) -> Store {
        let mut store = Store::new();
        for chunk in chunks {
            store.join(chunk);
            store.assert_sound();
        }
        store
    }

    fn total(store: &Store, name: &str) -> i128 {
        store.find(&cell(name)).map_or(0, |found| store.total(found))
    }

    #[test]
    fn a_count_takes_the_place_of_its_writers_last() {
        let store =
            joined(&[count("k", &[1], 5), count("k", &[1, 2], 6), count("k", &[2, 3], 9), count("k", &[2, 3], 9)]);
        assert_eq!((total(&store, "k"), store.entry_count()), (9, 1));
        assert!(store.gaps().is_empty());
    }

    #[test]
    fn a_hole_stays_a_hole() {
        let store = joined(&[count("k", &[1], 5), count("k", &[1, 3], 9)]);
        assert_eq!(total(&store, "k"), 9);
        assert!(!store.has_seen_all(&[(WRITER, Intervals::span(1, 3))].into_iter().collect()));
        let mut gap = DotSet::default();
        gap.insert_span(WRITER, 2, 2);
        assert_eq!(store.gaps(), gap);
    }

    #[test]
    fn a_count_does_not_take_the_place_of_one_in_another_counter() {
        let store = joined(&[count("k", &[1], 5), count("l", &[1, 2], 6)]);
        assert_eq!((total(&store, "k"), total(&store, "l"), store.entry_count()), (0, 6, 1));
    }

    /// The second count came in a piece that does not tell that the first is no more; the third in one that does not speak
    /// of the second.
    #[test]
    fn counts_that_came_in_pieces_count_once() {
        let store = joined(&[count("k", &[1], 5), count("k", &[2], 6), count("k", &[1, 3], 9)]);
        assert_eq!((total(&store, "k"), store.entry_count()), (9, 2));
        let store = joined(&[count("k", &[1], 5), count("k", &[2], 6), count("k", &[2, 3], 9)]);
        assert_eq!((total(&store, "k"), store.entry_count()), (9, 2));
    }

    #[test]
    fn the_last_count_of_a_forgotten_counter_is_put_into_a_new_one() {
        let mut store = joined(&[count("k", &[1], 5)]);
        store.remove([(WRITER, Intervals::span(1, 1))].into_iter().collect());
        store.join(&count("l", &[2], 3));
        store.join(&count("k", &[3], 4));
        store.assert_sound();
        assert_eq!((total(&store, "k"), total(&store, "l")), (4, 3));
    }
}
