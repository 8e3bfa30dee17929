//! The table of live entries. All orders over them hold its slot numbers.

use crate::pages::Pages;
use crate::payload::Payload;

/// What one dot wrote. 40 bytes.
#[derive(Clone, Debug, Default)]
pub(super) struct Entry {
    /// The bytes, as the cell's type reads them.
    pub payload: Payload,
    /// The writer's index in the store.
    pub writer: u32,
    /// The cell's index in the store.
    pub cell: u32,
    /// The dot's sequence number.
    pub seq: u64,
}

/// Entries by slot.
#[derive(Clone, Debug, Default)]
pub(super) struct Table {
    slots: Pages<Entry>,
    free: Vec<u32>,
}

impl Table {
    /// How many entries.
    pub fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Stores an entry and gives its slot.
    pub fn insert(&mut self, entry: Entry) -> u32 {
        match self.free.pop() {
            Some(slot) => {
                *self.get_mut(slot) = entry;
                slot
            }
            None => self.slots.push(entry),
        }
    }

    /// Takes an entry out.
    pub fn remove(&mut self, slot: u32) -> Entry {
        self.free.push(slot);
        std::mem::take(self.get_mut(slot))
    }

    /// The entry in a slot.
    pub fn get(&self, slot: u32) -> &Entry {
        self.slots.get(slot)
    }

    /// The same, to be changed.
    pub fn get_mut(&mut self, slot: u32) -> &mut Entry {
        self.slots.get_mut(slot)
    }

    /// Bytes on the heap, payloads not counted.
    pub fn heap_bytes(&self) -> usize {
        self.slots.heap_bytes() + self.free.capacity() * size_of::<u32>()
    }
}
