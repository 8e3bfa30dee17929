//! Writes: all or none of what one request does.

use std::collections::BTreeSet;

use crate::cell::Cell;
use crate::chunk::{CHUNK_BYTES, INTERVAL_BYTES, PART_BYTES, entry_wire_bytes};
use crate::dot::{Dot, Seq, WriterId};
use crate::intervals::{DotSet, Intervals};
use crate::payload::Payload;
use crate::store::{EntryRef, Store};

/// A write under way. What it does is visible through [`Write::store`] at once; dropped without [`Write::commit`], it is
/// undone.
pub struct Write<'s> {
    store: &'s mut Store,
    writer: WriterId,
    /// The writer's index in the store; `None` until its first dot.
    own: Option<u32>,
    next: u64,
    /// The write's first sequence number.
    first: u64,
    /// What to undo, in the order in which it was done.
    done: Vec<Done>,
    /// The dots that the write's chunk speaks of: its own and those that it dropped.
    context: DotSet,
    /// The cells that were counted in `wire_bytes`.
    cells: BTreeSet<u32>,
    /// Upper bound of the encoded chunk.
    wire_bytes: usize,
    limit_bytes: usize,
}

enum Done {
    Put(Dot),
    Dropped { dot: Dot, cell: Cell, payload: Payload },
}

/// The store has reached its bound; nothing was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreFull;

impl<'s> Write<'s> {
    /// Begins a write by this writer, whose earlier writes must all be in the store. Puts are refused once the store
    /// takes `limit_bytes` (as [`Store::bytes`] counts).
    pub fn begin(store: &'s mut Store, writer: WriterId, limit_bytes: usize) -> Self {
        let own = store.writers.find(writer);
        let next = own.map_or(0, |own| store.writers.get(own).tail()) + 1;
        Self {
            store,
            writer,
            own,
            next,
            first: next,
            done: Vec::new(),
            context: DotSet::default(),
            cells: BTreeSet::new(),
            wire_bytes: CHUNK_BYTES,
            limit_bytes,
        }
    }

    /// The state, with what this write did so far.
    pub fn store(&self) -> &Store {
        self.store
    }

    /// Whose dots the write makes.
    pub fn writer(&self) -> WriterId {
        self.writer
    }

    /// Upper bound, in bytes, of the chunk that speaks of this write.
    pub fn wire_bytes(&self) -> usize {
        self.wire_bytes
    }

    /// Writes an entry under a new dot.
    pub fn put(&mut self, cell: &Cell, payload: &[u8]) -> Result<(), StoreFull> {
        self.check_room(payload)?;
        let index = self.store.cell(cell);
        let (own, dot) = self.next_dot();
        self.store.link(own, index, dot.seq.0, Payload::from(payload));
        self.note_put(index, cell, payload, dot);
        Ok(())
    }

    /// Writes an entry under a new dot, in place of those of its cell that hold the same element. For sets.
    pub fn replace(&mut self, cell: &Cell, payload: &[u8]) -> Result<(), StoreFull> {
        let Some(found) = self.store.find(cell) else { return self.put(cell, payload) };
        let element = cell.leaf.element(payload);
        let place = self.store.element_place(found, element);
        let observed: Vec<EntryRef> = self.store.entries_of_element_at(found, element, place).collect();
        if !observed.is_empty() {
            observed.into_iter().for_each(|entry| self.drop_entry(entry));
            return self.put(cell, payload);
        }
        // Usually it is new, and where it will stand is where it was looked for.
        self.check_room(payload)?;
        let (own, dot) = self.next_dot();
        self.store.link_at(place, own, found.0, dot.seq.0, Payload::from(payload));
        self.note_put(found.0, cell, payload, dot);
        Ok(())
    }

    fn check_room(&self, payload: &[u8]) -> Result<(), StoreFull> {
        let is_full = self.store.bytes() + payload.len() > self.limit_bytes;
        if is_full { Err(StoreFull) } else { Ok(()) }
    }

    fn note_put(&mut self, index: u32, cell: &Cell, payload: &[u8], dot: Dot) {
        let is_new_cell = self.cells.insert(index);
        self.wire_bytes += entry_wire_bytes(is_new_cell.then_some(cell), payload.len());
        self.done.push(Done::Put(dot));
    }

    /// Drops a live entry.
    pub fn drop_entry(&mut self, entry: EntryRef) {
        let dot = self.store.dot(entry);
        let cell = (*self.store.cells[self.store.table.get(entry.0).cell as usize].cell).clone();
        let index = self.store.table.get(entry.0).cell;
        let gone = self.store.unlink(entry.0);
        self.speak_of(dot);
        if dot.writer == self.writer && dot.seq.0 >= self.first {
            // What this very write put will not be in its chunk.
            let is_cell_gone = self.store.find(&cell).is_none() && self.cells.remove(&index);
            self.wire_bytes -= entry_wire_bytes(is_cell_gone.then_some(&cell), gone.payload.len());
        }
        self.done.push(Done::Dropped { dot, cell, payload: gone.payload });
    }

    /// Makes the write a fact and gives the dots that its chunk speaks of; none if it did nothing. A write that only
    /// dropped entries takes a dot as well, so that whoever has seen a writer's dots knows of its removals too.
    pub fn commit(mut self) -> DotSet {
        if self.done.is_empty() {
            return DotSet::default();
        }
        if !self.done.iter().any(|done| matches!(done, Done::Put(_))) {
            self.next_dot();
        }
        let own = self.own();
        let made = Intervals::span(self.first, self.next - 1);
        self.store.writers.get_mut(own).see(&made, self.store.save_version);
        // Nothing is to be undone any more.
        self.done.clear();
        let context = std::mem::take(&mut self.context);
        for (writer, _) in context.iter() {
            let index = if writer == self.writer { own } else { self.store.writers.find_or_insert(writer) };
            self.store.refresh(index);
        }
        context
    }

    fn next_dot(&mut self) -> (u32, Dot) {
        let dot = Dot { writer: self.writer, seq: Seq(self.next) };
        self.next += 1;
        self.speak_of(dot);
        (self.own(), dot)
    }

    /// The writer's index in the store, which is made if it is new.
    fn own(&mut self) -> u32 {
        *self.own.get_or_insert_with(|| self.store.writers.find_or_insert(self.writer))
    }

    /// Adds a dot to what the chunk speaks of. Dots that follow each other are one interval and cost nothing more.
    fn speak_of(&mut self, dot: Dot) {
        let intervals = |context: &DotSet| context.of(dot.writer).map(|own| own.interval_count());
        let before = intervals(&self.context);
        self.context.insert(dot);
        let after = intervals(&self.context);
        self.wire_bytes += match (before, after) {
            (None, _) => PART_BYTES + INTERVAL_BYTES,
            (Some(before), Some(after)) => after.saturating_sub(before) * INTERVAL_BYTES,
            (Some(_), None) => unreachable!("a dot was added"),
        };
    }
}

impl Drop for Write<'_> {
    /// Undoes what was not committed, last first.
    fn drop(&mut self) {
        for done in std::mem::take(&mut self.done).into_iter().rev() {
            match done {
                Done::Put(dot) => {
                    let writer = self.store.writers.find_or_insert(dot.writer);
                    let put = self.store.writers.get(writer).live_within(dot.seq.0, dot.seq.0).next();
                    self.store.unlink(put.expect("a put entry is live until it is undone").slot());
                    self.store.refresh(writer);
                }
                Done::Dropped { dot, cell, payload } => {
                    let writer = self.store.writers.find_or_insert(dot.writer);
                    let index = self.store.cell(&cell);
                    self.store.link(writer, index, dot.seq.0, payload);
                    self.store.refresh(writer);
                }
            }
        }
        self.store.writers.forget_unused(self.writer);
    }
}
