//! States of many entries, made at once: what a replica would be handed from a checkpoint.

use std::collections::BTreeSet;

use dayfly_core::cell::{Cell, DataType};
use dayfly_core::chunk::{Chunk, ChunkEntries, ChunkEntry, ChunkPart};
use dayfly_core::dot::WriterId;
use dayfly_core::intervals::Intervals;

/// The bytes of an element, as JSON.
pub const ELEMENT_BYTES: usize = 16;
/// The name of the set that holds the elements.
pub const NAME: &str = "stock";
/// How many dots a chunk speaks of.
const CHUNK_DOTS: u64 = 4096;

/// An `orset` of so many elements by so many writers, each of which wrote its share in a row.
#[derive(Clone, Copy, Debug)]
pub struct Stock {
    /// How many writers.
    pub writers: u64,
    /// How many elements each added.
    pub each: u64,
}

impl Stock {
    /// How many elements.
    pub fn len(self) -> u64 {
        self.writers * self.each
    }

    /// Whether there is none.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// So many elements, evenly scattered, the `nth` such selection: selections of different `nth` share none.
    pub fn scattered(self, count: u64, nth: u64) -> BTreeSet<u64> {
        let step = self.len() / count;
        assert!(nth < step, "there are not so many elements");
        // Not in step with the writers, so that the places within them differ.
        (0..count).map(|at| at * step + (nth + at * 7) % step).collect()
    }

    /// The chunks of a state that has not seen the elements in `unseen`, and knows that those in `removed` are no more.
    pub fn chunks(self, unseen: &BTreeSet<u64>, removed: &BTreeSet<u64>) -> Vec<Vec<u8>> {
        let mut chunks = Vec::new();
        for writer in 0..self.writers {
            let base = writer * self.each;
            for low in (0..self.each).step_by(CHUNK_DOTS as usize) {
                let span = low..(low + CHUNK_DOTS).min(self.each);
                let seen: Vec<u64> = span.filter(|at| !unseen.contains(&(base + at))).collect();
                let context: Intervals = seen.iter().map(|at| (at + 1, at + 1)).collect();
                if context.is_empty() {
                    continue;
                }
                let live = seen.into_iter().filter(|at| !removed.contains(&(base + at)));
                let entries: ChunkEntries = live
                    .map(|at| ChunkEntry { seq: at + 1, cell: 0, payload: element(base + at).as_bytes().into() })
                    .collect();
                let cells = if entries.is_empty() { vec![] } else { vec![Cell::of_key(NAME, DataType::OrSet)] };
                let part = ChunkPart { writer: writer_id(writer), context, entries };
                chunks.push(Chunk { cells, parts: vec![part] }.encode());
            }
        }
        chunks
    }
}

/// The `nth` writer: as far apart as random ones.
fn writer_id(nth: u64) -> WriterId {
    let low = (nth + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    WriterId(u128::from(nth + 1) << 96 | u128::from(low.rotate_left(32)) << 32 | u128::from(low))
}

fn element(nth: u64) -> String {
    format!("\"{:0width$x}\"", nth, width = ELEMENT_BYTES - 2)
}
