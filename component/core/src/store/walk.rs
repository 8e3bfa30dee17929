//! Cutting the state into chunks, newest dots first.

use std::collections::{BTreeMap, BTreeSet};

use crate::cell::Cell;
use crate::chunk::{CHUNK_BYTES, Chunk, ChunkEntry, ChunkPart, INTERVAL_BYTES, PART_BYTES, entry_wire_bytes};
use crate::dot::{Dot, Seq, WriterId};
use crate::intervals::{DotSet, Intervals};
use crate::store::{SAVE_BLOCK, Store};

/// A range in dot order: from `low`, included, to `high`, not included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Range {
    /// The first dot in it.
    pub low: Dot,
    /// The first dot behind it.
    pub high: Dot,
}

impl Range {
    /// All dots.
    pub const ALL: Self = Self {
        low: Dot { writer: WriterId(0), seq: Seq(0) },
        high: Dot { writer: WriterId(u128::MAX), seq: Seq(u64::MAX) },
    };

    /// Whether it holds no dot.
    pub fn is_empty(self) -> bool {
        self.low >= self.high
    }

    /// The lowest and the highest sequence number of a writer in the range.
    pub(super) fn span_of(self, writer: WriterId) -> Option<(u64, u64)> {
        let low = if writer == self.low.writer { self.low.seq.0 } else { 0 };
        let high = if writer == self.high.writer { self.high.seq.0.checked_sub(1)? } else { u64::MAX };
        (self.low.writer <= writer && writer <= self.high.writer && low <= high).then_some((low, high))
    }
}

/// A set of dots as ranges in dot order.
///
/// Invariant: they ascend, none is empty, and they neither overlap nor touch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ranges(Vec<Range>);

impl Ranges {
    /// All dots.
    pub fn all() -> Self {
        Self(vec![Range::ALL])
    }

    /// Whether no dot is in it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The ranges, ascending.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = Range> + '_ {
        self.0.iter().copied()
    }

    /// How many ranges.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Adds a range.
    pub fn insert(&mut self, range: Range) {
        if range.is_empty() {
            return;
        }
        let from = self.0.partition_point(|other| other.high < range.low);
        let to = self.0.partition_point(|other| other.low <= range.high);
        let merged = match self.0.get(from..to) {
            Some([first, .., last]) => Range { low: first.low.min(range.low), high: last.high.max(range.high) },
            Some([one]) => Range { low: one.low.min(range.low), high: one.high.max(range.high) },
            Some([]) | None => range,
        };
        self.0.splice(from..to.max(from), [merged]);
    }

    /// Takes a range away.
    pub fn remove(&mut self, range: Range) {
        if range.is_empty() {
            return;
        }
        let cut = |other: &Range| {
            let left = Range { low: other.low, high: other.high.min(range.low) };
            let right = Range { low: other.low.max(range.high), high: other.high };
            [left, right].into_iter().filter(|rest| !rest.is_empty())
        };
        self.0 = self.0.iter().flat_map(cut).collect();
    }
}

impl FromIterator<Range> for Ranges {
    fn from_iter<I: IntoIterator<Item = Range>>(ranges: I) -> Self {
        let mut set = Self::default();
        ranges.into_iter().for_each(|range| set.insert(range));
        set
    }
}

/// A chunk, and the range of which it says all that was to be said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// What it says.
    pub chunk: Chunk,
    /// The range that is dealt with once the chunk is joined.
    pub covers: Range,
}

impl Store {
    /// The chunk that speaks of exactly these dots, as far as they were seen.
    pub fn extract(&self, dots: &DotSet) -> Chunk {
        let piece = self.walk_down(Range::ALL, Some(dots), usize::MAX).next();
        piece.map(|piece| piece.chunk).unwrap_or_default()
    }

    /// Cuts what is known of a range (of these dots in it, if given) into chunks of about `fill_bytes`, from the greatest
    /// dot down. A chunk is longer only if a single entry is. The pieces' ranges follow each other without a gap, and the
    /// last ends where the range does; so a piece that was lost is exactly a range to ask for again.
    pub fn walk_down<'a>(
        &'a self,
        range: Range,
        only: Option<&'a DotSet>,
        fill_bytes: usize,
    ) -> impl Iterator<Item = Piece> + 'a {
        let mut rest = Some(range);
        std::iter::from_fn(move || {
            let range = rest.take()?;
            let piece = self.piece(range, only, fill_bytes);
            if piece.covers.low > range.low {
                rest = Some(Range { low: range.low, high: piece.covers.low });
            }
            Some(piece)
        })
    }

    fn piece(&self, range: Range, only: Option<&DotSet>, fill_bytes: usize) -> Piece {
        let mut piece =
            Gathered { store: self, parts: Vec::new(), cells: BTreeSet::new(), bytes: CHUNK_BYTES, fill_bytes };
        let low = match only {
            None => self
                .writers
                .range(range.low.writer, range.high.writer)
                .rev()
                .find_map(|index| piece.gather(range, index, None)),
            Some(only) => only.iter().rev().find_map(|(id, wanted)| {
                let index = self.writers.find(id)?;
                piece.gather(range, index, Some(wanted))
            }),
        };
        Piece { chunk: piece.finish(), covers: Range { low: low.unwrap_or(range.low), high: range.high } }
    }

    /// The version for the next [`Store::changed_since`], which ends the present one.
    pub fn end_save_version(&mut self) -> u64 {
        let ended = self.save_version;
        self.save_version = ended.checked_add(1).expect("a checkpoint a second makes so many in 136 years");
        ended.into()
    }

    /// The blocks of dots that changed after a version, each with the range up to the next block that is saved by itself.
    pub fn changed_since(&self, version: u64) -> impl Iterator<Item = (u64, Range)> + '_ {
        self.writers.iter().map(|index| self.writers.get(index)).flat_map(move |writer| {
            let changed = writer.changed().into_owned();
            let dot = |block: u64| Dot { writer: writer.id(), seq: Seq(block.saturating_mul(SAVE_BLOCK)) };
            let next: Vec<u64> = changed.iter().skip(1).map(|(block, _)| *block).collect();
            let ends = next.into_iter().map(dot).chain([Dot { writer: writer.id(), seq: Seq(u64::MAX) }]);
            let blocks = changed.into_iter().zip(ends).filter(move |((_, at), _)| u64::from(*at) > version);
            blocks.map(move |((block, _), high)| (block, Range { low: dot(block), high }))
        })
    }
}

/// What is gathered of one writer; both lists descend.
struct GatheredPart {
    writer: WriterId,
    spans: Vec<(u64, u64)>,
    slots: Vec<u32>,
}

/// A chunk in the making, from the greatest dot down.
struct Gathered<'a> {
    store: &'a Store,
    /// Descending.
    parts: Vec<GatheredPart>,
    /// The cells that were counted.
    cells: BTreeSet<u32>,
    bytes: usize,
    fill_bytes: usize,
}

impl Gathered<'_> {
    /// Takes in what is known of a writer in the range. When the chunk is full, gives the lowest dot that it deals with.
    fn gather(&mut self, range: Range, index: u32, wanted: Option<&Intervals>) -> Option<Dot> {
        let writer = self.store.writers.get(index);
        let id = writer.id();
        let (low, high) = range.span_of(id)?;
        let spans = match wanted {
            Some(wanted) => writer.seen().intersect(wanted).clip(low, high),
            None => writer.seen().clip(low, high),
        };
        if spans.is_empty() {
            return None;
        }
        // No part is begun that has no room for an interval, since a part without dots is none.
        if self.bytes + PART_BYTES + INTERVAL_BYTES > self.fill_bytes && !self.parts.is_empty() {
            return Some(Dot { writer: id, seq: Seq(high.saturating_add(1)) });
        }
        self.bytes += PART_BYTES;
        self.parts.push(GatheredPart { writer: id, spans: Vec::new(), slots: Vec::new() });
        for (low, high) in spans.iter().rev() {
            let is_first = self.parts.last().is_some_and(|part| part.spans.is_empty());
            if self.bytes + INTERVAL_BYTES > self.fill_bytes && !is_first {
                return Some(Dot { writer: id, seq: Seq(high + 1) });
            }
            self.bytes += INTERVAL_BYTES;
            for live in writer.live_within(low, high).rev() {
                let slot = live.slot();
                let entry = self.store.table.get(slot);
                let cost = self.cost(entry.cell, entry.payload.len());
                let part = self.parts.last_mut().expect("pushed above");
                let nothing_yet = self.bytes <= CHUNK_BYTES + PART_BYTES + INTERVAL_BYTES && part.slots.is_empty();
                if self.bytes + cost > self.fill_bytes && !nothing_yet {
                    if entry.seq < high {
                        part.spans.push((entry.seq + 1, high));
                    }
                    if part.spans.is_empty() {
                        self.parts.pop();
                    }
                    return Some(Dot { writer: id, seq: Seq(entry.seq + 1) });
                }
                part.slots.push(slot);
                self.bytes += cost;
                self.cells.insert(entry.cell);
            }
            self.parts.last_mut().expect("pushed above").spans.push((low, high));
        }
        None
    }

    fn cost(&self, cell: u32, payload_bytes: usize) -> usize {
        let cell_text = (!self.cells.contains(&cell)).then(|| &*self.store.cells[cell as usize].cell);
        entry_wire_bytes(cell_text, payload_bytes)
    }

    fn finish(self) -> Chunk {
        let mut numbers: BTreeMap<u32, u32> = BTreeMap::new();
        let mut cells: Vec<Cell> = Vec::new();
        let mut entry = |slot: &u32| {
            let entry = self.store.table.get(*slot);
            let number = *numbers.entry(entry.cell).or_insert_with(|| {
                cells.push((*self.store.cells[entry.cell as usize].cell).clone());
                (cells.len() - 1) as u32
            });
            ChunkEntry { seq: entry.seq, cell: number, payload: entry.payload.clone() }
        };
        let parts = self
            .parts
            .iter()
            .rev()
            .map(|part| ChunkPart {
                writer: part.writer,
                context: part.spans.iter().rev().copied().collect(),
                entries: part.slots.iter().rev().map(&mut entry).collect(),
            })
            .collect();
        Chunk { cells, parts }
    }
}
