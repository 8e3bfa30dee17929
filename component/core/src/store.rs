//! The store: live entries by dot, an order by cell, and one context. The join is the causal join of DESIGN section 4.
//!
//! `join.rs` joins chunks, `write.rs` makes writes, `walk.rs` cuts the state into chunks; this file holds the state.

mod compare;
mod join;
mod live;
mod table;
mod walk;
mod write;
mod writer;

use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::rc::Rc;

use crate::blocks::{Blocks, Position};
use crate::cell::{Cell, DataType};
use crate::digest::Digest;
use crate::dot::{Dot, Seq, WriterId};
use crate::intervals::{DotSet, Intervals};
use crate::payload::Payload;
use crate::types::counter;
pub use compare::{Description, Lack};
use live::Live;
use table::{Entry, Table};
pub use walk::{Piece, Range, Ranges};
pub use write::{StoreFull, Write};
use writer::Writers;

/// How many consecutive dots of a writer are saved together in a checkpoint.
pub const SAVE_BLOCK: u64 = 4096;

/// The state of a replica.
#[derive(Default)]
pub struct Store {
    writers: Writers,
    cells: Vec<CellState>,
    cell_index: BTreeMap<Rc<Cell>, u32>,
    free_cells: Vec<u32>,
    /// How many times a cell was forgotten.
    cells_forgotten: u64,
    /// How many different pairs of name and type the cells have.
    key_count: usize,
    table: Table,
    /// Sum of the writers' digests.
    root: Digest,
    /// Bytes of payloads on the heap and of cells' texts.
    text_bytes: usize,
    /// The number of checkpoints taken, plus 1.
    save_version: u32,
}

/// A cell with live entries.
struct CellState {
    cell: Rc<Cell>,
    /// Slots of the live entries, by (element, writer index, sequence number).
    entries: Blocks<u32>,
    /// For counters, the sum of each writer's newest entry.
    total: i128,
    /// For counters, how many entries are not their writer's newest.
    outdated: usize,
}

/// What an entry is for its counter cell.
struct Share {
    /// What it adds to the total.
    amount: i128,
    /// Whether its writer has no other entry there.
    is_only: bool,
}

/// A cell's index, valid until the store next changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CellRef(u32);

/// An entry's slot, valid until the store next changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntryRef(u32);

/// What a join changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Joined {
    /// Dots that were new.
    pub dots: u64,
    /// Entries that came.
    pub added: usize,
    /// Entries that went.
    pub removed: usize,
}

impl Joined {
    /// Whether the state is another than before.
    pub fn changed(self) -> bool {
        self != Self::default()
    }
}

/// Memory of a writer, of one of which more than the newest dot is live, of a cell without text and of an entry in its
/// orders, for [`Store::bytes`].
const WRITER_BYTES: usize = 48;
const FULL_WRITER_BYTES: usize = 160;
const CELL_BYTES: usize = 192;
const ENTRY_BYTES: usize = 60;

impl Store {
    /// An empty store.
    pub fn new() -> Self {
        Self { save_version: 1, ..Self::default() }
    }

    /// The digest of the state: equal roots, equal states.
    pub fn root(&self) -> Digest {
        self.root
    }

    /// How many live entries.
    pub fn entry_count(&self) -> usize {
        self.table.len()
    }

    /// How many keys.
    pub fn key_count(&self) -> usize {
        self.key_count
    }

    /// How many writers the context holds.
    pub fn writer_count(&self) -> usize {
        self.writers.len()
    }

    /// Whether no dot was ever seen.
    pub fn is_empty(&self) -> bool {
        self.root == Digest::default()
    }

    /// The memory that the state takes, in bytes, estimated from counts.
    pub fn bytes(&self) -> usize {
        self.table.len() * ENTRY_BYTES
            + self.cell_index.len() * CELL_BYTES
            + self.writers.len() * WRITER_BYTES
            + self.writers.full_count() * FULL_WRITER_BYTES
            + self.text_bytes
    }

    /// The memory that the state takes on the heap, in bytes, as far as it is counted exactly: the table, the orders and
    /// the contexts.
    pub fn heap_bytes(&self) -> usize {
        self.table.heap_bytes()
            + self.cells.iter().map(|cell| cell.entries.heap_bytes()).sum::<usize>()
            + self.writers.heap_bytes()
            + self.text_bytes
    }

    /// Whether this dot was seen, live or not.
    pub fn has_seen(&self, dot: Dot) -> bool {
        self.writers.find(dot.writer).is_some_and(|index| self.writers.get(index).has_seen(dot.seq.0))
    }

    /// Whether all these dots were seen.
    pub fn has_seen_all(&self, dots: &DotSet) -> bool {
        dots.iter().all(|(writer, wanted)| {
            let seen = self.seen(writer);
            wanted.iter().all(|(low, high)| seen.as_ref().is_some_and(|seen| seen.covers(low, high)))
        })
    }

    /// A writer's dots that were seen.
    pub fn seen(&self, writer: WriterId) -> Option<Cow<'_, Intervals>> {
        self.writers.find(writer).map(|index| self.writers.get(index).seen())
    }

    /// The writers with their seen dots, ascending.
    pub fn context(&self) -> impl DoubleEndedIterator<Item = (WriterId, Cow<'_, Intervals>)> + '_ {
        self.writers.iter().map(|index| self.writers.get(index)).map(|writer| (writer.id(), writer.seen()))
    }

    /// The sequence numbers of a writer's live entries, ascending.
    pub fn live(&self, writer: WriterId) -> impl DoubleEndedIterator<Item = u64> + '_ {
        let live = self.writers.find(writer).map(|index| self.writers.get(index).live());
        live.into_iter().flatten().map(Live::seq)
    }

    /// The dots that must exist, since later ones of their writers were seen, but were not seen.
    pub fn gaps(&self) -> DotSet {
        let mut gaps = DotSet::default();
        for (writer, seen) in self.context() {
            for (low, high) in seen.gaps().iter() {
                gaps.insert_span(writer, low, high);
            }
        }
        gaps
    }

    // --- reading ---

    /// The cell, if it has live entries.
    pub fn find(&self, cell: &Cell) -> Option<CellRef> {
        self.cell_index.get(cell).copied().map(CellRef)
    }

    /// All cells with live entries, in order, from `from` on.
    pub fn cells_from<'s>(&'s self, from: &Cell) -> impl Iterator<Item = (&'s Cell, CellRef)> + use<'s> {
        let range = self.cell_index.range::<Cell, _>((Bound::Included(from), Bound::Unbounded));
        range.map(|(cell, index)| (&**cell, CellRef(*index)))
    }

    /// The cells of one key, in order: one for a plain type, the leaves for a map.
    pub fn cells_of_key<'a>(
        &'a self,
        name: &'a str,
        key_type: DataType,
    ) -> impl Iterator<Item = (&'a Cell, CellRef)> + 'a {
        self.cells_from(&Cell::of_key(name, key_type))
            .take_while(move |(cell, _)| &*cell.name == name && cell.key_type == key_type)
    }

    /// Whether the key has a live entry.
    pub fn has_key(&self, name: &str, key_type: DataType) -> bool {
        self.cells_of_key(name, key_type).next().is_some()
    }

    /// A cell's live entries: of sets in the order of their elements, else in an order of this replica's own.
    pub fn entries(&self, cell: CellRef) -> impl DoubleEndedIterator<Item = EntryRef> + '_ {
        self.cells[cell.0 as usize].entries.iter().map(EntryRef)
    }

    /// How many live entries a cell has.
    pub fn entry_count_of(&self, cell: CellRef) -> usize {
        self.cells[cell.0 as usize].entries.len()
    }

    /// The live entries of a set's cell that hold this element.
    pub fn entries_of_element<'a>(&'a self, cell: CellRef, element: &'a [u8]) -> impl Iterator<Item = EntryRef> + 'a {
        self.entries_of_element_at(cell, element, self.element_place(cell, element))
    }

    /// The same, if it is known where the element stands.
    fn entries_of_element_at<'a>(
        &'a self,
        cell: CellRef,
        element: &'a [u8],
        place: Position,
    ) -> impl Iterator<Item = EntryRef> + 'a {
        let state = &self.cells[cell.0 as usize];
        let leaf = state.cell.leaf;
        state
            .entries
            .range(place, state.entries.end())
            .take_while(move |slot| leaf.element(&self.table.get(*slot).payload) == element)
            .map(EntryRef)
    }

    /// Where the entries of an element stand, or would stand, in the order of a set's cell.
    fn element_place(&self, cell: CellRef, element: &[u8]) -> Position {
        self.place(&self.cells[cell.0 as usize], element, 0, 0).unwrap_or_else(|place| place)
    }

    /// A counter cell's newest entry of one writer: the one that counts.
    pub fn entry_of_writer(&self, cell: CellRef, writer: WriterId) -> Option<EntryRef> {
        let index = self.writers.find(writer)?;
        self.counter_entry(cell.0, index).map(EntryRef)
    }

    /// The sum of a counter cell's entries, of each writer the newest.
    pub fn total(&self, cell: CellRef) -> i128 {
        self.cells[cell.0 as usize].total
    }

    /// An entry's bytes.
    pub fn payload(&self, entry: EntryRef) -> &[u8] {
        &self.table.get(entry.0).payload
    }

    /// An entry's dot.
    pub fn dot(&self, entry: EntryRef) -> Dot {
        let entry = self.table.get(entry.0);
        Dot { writer: self.writers.get(entry.writer).id(), seq: Seq(entry.seq) }
    }

    // --- links between the table and its orders ---

    /// Puts an entry into the table and all orders. The writer's digest is stale until [`Self::refresh`].
    fn link(&mut self, writer: u32, cell: u32, seq: u64, payload: Payload) {
        let state = &self.cells[cell as usize];
        match self.place(state, state.cell.leaf.element(&payload), writer, seq) {
            Err(place) => self.link_at(place, writer, cell, seq, payload),
            Ok(_) => panic!("a dot is linked twice"),
        }
    }

    /// The same, if it is known where the entry will stand in its cell's order.
    fn link_at(&mut self, place: Position, writer: u32, cell: u32, seq: u64, payload: Payload) {
        self.text_bytes += payload.heap_bytes();
        let state = &self.cells[cell as usize];
        if state.cell.leaf.is_counter() {
            let share = self.share(state, place, state.entries.get(place), writer, &payload);
            self.cells[cell as usize].total += share.amount;
            self.cells[cell as usize].outdated += usize::from(!share.is_only);
        }
        let slot = self.table.insert(Entry { payload, writer, cell, seq });
        self.cells[cell as usize].entries.insert_at(place, slot);
        self.writers.get_mut(writer).insert_live(Live::new(seq, slot), self.save_version);
    }

    /// Takes an entry out of the table and all orders, and forgets its cell if it was the last.
    fn unlink(&mut self, slot: u32) -> Entry {
        let entry = self.table.get(slot);
        let (writer, cell, seq) = (entry.writer, entry.cell, entry.seq);
        let state = &self.cells[cell as usize];
        let place = self
            .place(state, state.cell.leaf.element(&entry.payload), writer, seq)
            .unwrap_or_else(|_| panic!("a live entry is missing in its cell's order"));
        if state.cell.leaf.is_counter() {
            let behind = state.entries.range(place, state.entries.end()).nth(1);
            let share = self.share(state, place, behind, writer, &entry.payload);
            self.cells[cell as usize].total -= share.amount;
            self.cells[cell as usize].outdated -= usize::from(!share.is_only);
        }
        let entry = self.table.remove(slot);
        self.text_bytes -= entry.payload.heap_bytes();
        let state = &mut self.cells[cell as usize];
        state.entries.remove_at(place);
        if state.entries.is_empty() {
            self.text_bytes -= state.cell.text_bytes();
            let cell_key = state.cell.clone();
            self.cell_index.remove(&cell_key);
            self.free_cells.push(cell);
            self.cells_forgotten += 1;
            if !self.has_key(&cell_key.name, cell_key.key_type) {
                self.key_count -= 1;
            }
        }
        let removed = self.writers.get_mut(writer).remove_live(seq, self.save_version);
        assert_eq!(removed.slot(), slot, "the orders by writer and by cell disagree");
        entry
    }

    /// What an entry between `place` and `behind` adds to a counter cell's total. Of each writer the newest entry counts.
    /// Where an older one is here as well, the piece that tells of its end is still to come (a repair brings the newest
    /// first), and a sum over both would be over.
    fn share(&self, state: &CellState, place: Position, behind: Option<u32>, writer: u32, payload: &[u8]) -> Share {
        let of_writer =
            |slot: Option<u32>| slot.map(|slot| self.table.get(slot)).filter(|entry| entry.writer == writer);
        if of_writer(behind).is_some() {
            return Share { amount: 0, is_only: false };
        }
        let before = of_writer(state.entries.range(state.entries.start(), place).next_back());
        let amount = |payload: &[u8]| counter::amount(state.cell.leaf, payload);
        let amount = amount(payload) - before.map_or(0, |entry| amount(&entry.payload));
        Share { amount, is_only: before.is_none() }
    }

    /// Brings a writer's digest, and with it the root, up to date.
    fn refresh(&mut self, writer: u32) {
        self.refresh_from(self.writers.get(writer).digest(), writer);
    }

    /// The same, if it is known what the writer contributes to the root.
    fn refresh_from(&mut self, before: Digest, writer: u32) {
        self.root.subtract(before);
        self.root.add(self.writers.refresh(writer).digest());
    }

    /// Where an entry stands in its cell's order.
    fn place(&self, state: &CellState, element: &[u8], writer: u32, seq: u64) -> Result<Position, Position> {
        let leaf = state.cell.leaf;
        let has_elements = leaf.is_set();
        state.entries.search(|slot| {
            let entry = self.table.get(*slot);
            let by_dot = || (entry.writer, entry.seq).cmp(&(writer, seq));
            // Comparing nothing with nothing is not free: C's memcmp stumbles over the addresses of empty slices.
            if has_elements { compare(leaf.element(&entry.payload), element).then_with(by_dot) } else { by_dot() }
        })
    }

    /// A writer's newest entry in a counter cell.
    fn counter_entry(&self, cell: u32, writer: u32) -> Option<u32> {
        let state = &self.cells[cell as usize];
        let behind = self.place(state, &[], writer, u64::MAX).unwrap_or_else(|place| place);
        let newest = state.entries.range(state.entries.start(), behind).next_back();
        newest.filter(|slot| self.table.get(*slot).writer == writer)
    }

    /// The index of a cell, which is made if it is new.
    fn cell(&mut self, cell: &Cell) -> u32 {
        if let Some(index) = self.cell_index.get(cell) {
            return *index;
        }
        self.text_bytes += cell.text_bytes();
        if !self.has_key(&cell.name, cell.key_type) {
            self.key_count += 1;
        }
        let cell = Rc::new(cell.clone());
        let state = CellState { cell: cell.clone(), entries: Blocks::new(), total: 0, outdated: 0 };
        let index = match self.free_cells.pop() {
            Some(index) => {
                self.cells[index as usize] = state;
                index
            }
            None => {
                self.cells.push(state);
                (self.cells.len() - 1) as u32
            }
        };
        self.cell_index.insert(cell, index);
        index
    }

    /// Checks every invariant that this file states, by brute force. For tests; it takes time in proportion to the state.
    pub fn assert_sound(&self) {
        let mut slots = 0;
        let mut root = Digest::default();
        self.writers.assert_sound();
        for index in self.writers.iter() {
            let writer = self.writers.get(index);
            for live in writer.live() {
                let entry = self.table.get(live.slot());
                assert_eq!(
                    (entry.writer, entry.seq),
                    (index, live.seq()),
                    "an entry is where its writer's order has it"
                );
                slots += 1;
            }
            root.add(writer.digest());
        }
        assert_eq!(root, self.root, "the root is the sum of the writers' digests");
        assert_eq!(slots, self.table.len(), "every entry is in its writer's order");
        let mut in_cells = 0;
        for (cell, index) in &self.cell_index {
            let state = &self.cells[*index as usize];
            assert_eq!(*cell, state.cell, "the index of cells leads to the cell");
            assert!(!state.entries.is_empty(), "a cell without entries is forgotten");
            in_cells += state.entries.len();
            let mut newest = BTreeMap::new();
            let mut last: Option<(Vec<u8>, u32, u64)> = None;
            for slot in &state.entries {
                let entry = self.table.get(slot);
                let order = (cell.leaf.element(&entry.payload).to_vec(), entry.writer, entry.seq);
                assert!(last.as_ref().is_none_or(|last| last.cmp(&order) == Ordering::Less), "a cell's order holds");
                if cell.leaf.is_counter() {
                    newest.insert(entry.writer, counter::amount(cell.leaf, &entry.payload));
                }
                last = Some(order);
            }
            if cell.leaf.is_counter() {
                assert_eq!(state.entries.len() - newest.len(), state.outdated, "entries that do not count are counted");
            }
            assert_eq!(
                newest.values().sum::<i128>(),
                state.total,
                "a counter's total is the sum of the newest entries"
            );
        }
        assert_eq!(in_cells, self.table.len(), "every entry is in its cell's order");
        let keys: BTreeSet<_> = self.cell_index.keys().map(|cell| (&cell.name, cell.key_type)).collect();
        assert_eq!(keys.len(), self.key_count, "the keys are counted");
    }
}

/// Compares as slices do. Most elements differ in their first bytes, and to compare those takes no call.
fn compare(one: &[u8], other: &[u8]) -> Ordering {
    match (one.first_chunk(), other.first_chunk()) {
        (Some(first), Some(second)) if first != second => u64::from_be_bytes(*first).cmp(&u64::from_be_bytes(*second)),
        _ => one.cmp(other),
    }
}
