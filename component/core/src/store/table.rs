//! The table of live entries. All orders over them hold its slot numbers.

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

/// Entries by slot, in pages, so that growth neither copies nor leaves half of the memory unused.
#[derive(Clone, Debug, Default)]
pub(super) struct Table {
    pages: Vec<Box<[Entry; PAGE]>>,
    free: Vec<u32>,
    len: usize,
}

const PAGE: usize = 128;

impl Table {
    /// How many entries.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Stores an entry and gives its slot.
    pub fn insert(&mut self, entry: Entry) -> u32 {
        let slot = self.free.pop().unwrap_or_else(|| {
            // No slot is free, so all pages are full and the next slot is the first of a new one.
            let page = vec![Entry::default(); PAGE].try_into();
            self.pages.push(page.expect("the page was made with that length"));
            let first = ((self.pages.len() - 1) * PAGE) as u32;
            self.free.extend((first + 1..first + PAGE as u32).rev());
            first
        });
        *self.get_mut(slot) = entry;
        self.len += 1;
        slot
    }

    /// Takes an entry out.
    pub fn remove(&mut self, slot: u32) -> Entry {
        self.len -= 1;
        self.free.push(slot);
        std::mem::take(self.get_mut(slot))
    }

    /// The entry in a slot.
    pub fn get(&self, slot: u32) -> &Entry {
        let slot = slot as usize;
        &self.pages[slot / PAGE][slot % PAGE]
    }

    fn get_mut(&mut self, slot: u32) -> &mut Entry {
        let slot = slot as usize;
        &mut self.pages[slot / PAGE][slot % PAGE]
    }

    /// Bytes on the heap, payloads not counted.
    pub fn heap_bytes(&self) -> usize {
        self.pages.len() * PAGE * size_of::<Entry>() + self.free.capacity() * size_of::<u32>()
    }
}
