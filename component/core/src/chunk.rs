//! Chunks: what replicas send each other. A chunk is a set of dots together with those of their entries that are live; of
//! the other dots it says that what they wrote is no more. It joins like a state, in any order, any number of times.

use crate::cell::Cell;
use crate::dot::WriterId;
use crate::intervals::Intervals;
use crate::payload::Payload;

/// Sequence numbers end before this: a writer lives an hour or little more, and sketches have 36 bits for them.
pub const SEQ_END: u64 = 1 << 36;

/// A chunk.
///
/// Invariant, which decoding checks: the parts ascend by writer; no part is empty; a part's entries ascend by sequence
/// number and are within its context; the cells stand in the order of their first use, and each is used.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chunk {
    /// The cells of the entries.
    pub cells: Vec<Cell>,
    /// What it says of each writer's dots.
    pub parts: Vec<ChunkPart>,
}

/// A chunk's part of one writer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChunkPart {
    /// Whose dots.
    pub writer: WriterId,
    /// The dots that the chunk speaks of.
    pub context: Intervals,
    /// Those of them that are live.
    pub entries: Vec<ChunkEntry>,
}

/// A live entry in a chunk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChunkEntry {
    /// The dot's sequence number.
    pub seq: u64,
    /// The cell's index in the chunk.
    pub cell: u32,
    /// The bytes.
    pub payload: Payload,
}

impl Chunk {
    /// Whether it speaks of no dot.
    pub fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// How many live entries it brings: the *elements* of Enes et al. (ICDE 2019).
    pub fn entry_count(&self) -> usize {
        self.parts.iter().map(|part| part.entries.len()).sum()
    }
}

/// An upper bound for the bytes that an entry takes in an encoded chunk, its cell counted in full.
pub fn entry_wire_bytes(cell: &Cell, payload_bytes: usize) -> usize {
    payload_bytes + cell.text_bytes() + 24
}
