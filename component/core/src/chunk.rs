//! Chunks: what replicas send each other. A chunk is a set of dots together with those of their entries that are live; of
//! the other dots it says that what they wrote is no more. It joins like a state, in any order, any number of times.

use std::collections::BTreeSet;
use std::rc::Rc;

use smallvec::SmallVec;

use crate::cell::{Cell, DataType, PATH_MAX_FIELDS};
use crate::codec::{CodecError, Reader, Writer};
use crate::dot::WriterId;
use crate::intervals::{DotSet, Intervals};
use crate::payload::Payload;
use crate::types::check_payload;

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
    pub entries: ChunkEntries,
}

/// A part's entries. The part of a write has one, as nearly always, and takes no heap.
pub type ChunkEntries = SmallVec<[ChunkEntry; 1]>;

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

/// The first byte of an encoded chunk.
const FORMAT: u8 = 1;

impl Chunk {
    /// The canonical encoding: columns of writers and intervals, cells, sequence numbers, cell numbers, lengths; then
    /// the payloads, to the end.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Writer::new();
        out.byte(FORMAT);
        // Reserved for the watermark of folded eras (DESIGN section 4): no era is folded.
        out.byte(0);
        write_dots(&mut out, self.parts.iter().map(|part| (part.writer, &part.context)));
        let mut cells = Writer::new();
        self.cells.iter().for_each(|cell| write_cell(&mut cells, cell));
        out.column(cells);
        let (mut seqs, mut numbers, mut lengths) = (Writer::new(), Writer::new(), Writer::new());
        for part in &self.parts {
            seqs.number(part.entries.len() as u64);
            let mut next = 1;
            for entry in &part.entries {
                seqs.number(entry.seq - next);
                next = entry.seq + 1;
                numbers.number(entry.cell.into());
                lengths.number(entry.payload.len() as u64);
            }
        }
        out.column(seqs);
        out.column(numbers);
        out.column(lengths);
        self.parts.iter().flat_map(|part| &part.entries).for_each(|entry| out.raw(&entry.payload));
        out.into_bytes()
    }

    /// Decodes; whatever breaks the invariant or a bound is refused.
    pub fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        let mut reader = Reader::new(bytes);
        match reader.byte()? {
            FORMAT => {}
            other => return Err(CodecError::Version(other)),
        }
        if reader.byte()? != 0 {
            return Err(CodecError::Broken("a watermark, which this version does not know"));
        }
        let mut dots = Dots::of(&mut reader)?;
        let cells = read_cells(reader.bytes()?)?;
        let mut seqs = Reader::new(reader.bytes()?);
        let mut numbers = Reader::new(reader.bytes()?);
        let mut lengths = Reader::new(reader.bytes()?);
        let mut parts = Vec::with_capacity(dots.count());
        let mut cells_used = 0;
        while let Some((writer, context)) = dots.read()? {
            let count = seqs.number()?;
            // Each takes a byte at least: more are not to come, whatever was told.
            let mut entries = ChunkEntries::with_capacity(count.min(lengths.len() as u64) as usize);
            let mut next = 1;
            for _ in 0..count {
                let seq = seqs.number()?.checked_add(next).filter(|seq| *seq < SEQ_END);
                let seq = seq.ok_or(CodecError::Broken("a sequence number"))?;
                next = seq + 1;
                let cell = numbers.small()?;
                if cell > cells_used || cell as usize >= cells.len() {
                    return Err(CodecError::Broken("cells do not stand in the order of their use"));
                }
                cells_used = cells_used.max(cell + 1);
                let length = usize::try_from(lengths.number()?).map_err(|_| CodecError::Short)?;
                let payload = reader.take(length)?;
                check_payload(cells[cell as usize].leaf, payload)?;
                if !context.contains(seq) {
                    return Err(CodecError::Broken("an entry is not in its context"));
                }
                entries.push(ChunkEntry { seq, cell, payload: payload.into() });
            }
            parts.push(ChunkPart { writer, context, entries });
        }
        if cells_used as usize != cells.len() {
            return Err(CodecError::Broken("a cell is not used"));
        }
        dots.end()?;
        seqs.end()?;
        numbers.end()?;
        lengths.end()?;
        reader.end()?;
        Ok(Self { cells, parts })
    }
}

/// Appends a set of dots: a column of writers and one of intervals.
pub fn write_dots<'a>(out: &mut Writer, dots: impl Iterator<Item = (WriterId, &'a Intervals)>) {
    let (mut writers, mut spans) = (Writer::new(), Writer::new());
    for (writer, intervals) in dots {
        writers.wide(writer.0);
        spans.number(intervals.interval_count() as u64);
        write_intervals(&mut spans, intervals);
    }
    out.column(writers);
    out.column(spans);
}

/// Reads a set of dots: writers ascending, none with an empty set.
pub fn read_dot_set(reader: &mut Reader<'_>) -> Result<DotSet, CodecError> {
    let mut dots = Dots::of(reader)?;
    let read: Result<DotSet, CodecError> = std::iter::from_fn(|| dots.read().transpose()).collect();
    dots.end()?;
    read
}

/// Walks a set of dots, writer by writer.
struct Dots<'a> {
    writers: Reader<'a>,
    spans: Reader<'a>,
    /// The writer before.
    last: Option<WriterId>,
}

impl<'a> Dots<'a> {
    fn of(reader: &mut Reader<'a>) -> Result<Self, CodecError> {
        Ok(Self { writers: Reader::new(reader.bytes()?), spans: Reader::new(reader.bytes()?), last: None })
    }

    /// How many writers are to come.
    fn count(&self) -> usize {
        self.writers.len() / size_of::<WriterId>()
    }

    /// The next writer with its dots.
    fn read(&mut self) -> Result<Option<(WriterId, Intervals)>, CodecError> {
        if self.writers.is_empty() {
            return Ok(None);
        }
        let writer = WriterId(self.writers.wide()?);
        if self.last.replace(writer).is_some_and(|last| last >= writer) {
            return Err(CodecError::Broken("the writers do not ascend"));
        }
        let count = self.spans.number()?;
        Ok(Some((writer, read_intervals(&mut self.spans, count)?)))
    }

    /// Ends the reading; an error if something is left.
    fn end(self) -> Result<(), CodecError> {
        self.spans.end()
    }
}

/// Appends the intervals of one writer's dots; their number is the caller's to write.
pub fn write_intervals(out: &mut Writer, intervals: &Intervals) {
    let mut least = 1;
    for (low, high) in intervals.iter() {
        out.number(low - least);
        out.number(high - low);
        // Intervals do not touch, so the next begins two higher at least.
        least = high + 2;
    }
}

/// Reads so many intervals; none is refused.
pub fn read_intervals(reader: &mut Reader<'_>, count: u64) -> Result<Intervals, CodecError> {
    if count == 0 {
        return Err(CodecError::Broken("a writer without dots"));
    }
    let (low, high) = read_interval(reader, 1)?;
    let mut intervals = Intervals::span(low, high);
    let mut last = high;
    for _ in 1..count {
        let (low, high) = read_interval(reader, last + 2)?;
        intervals.insert_span(low, high);
        last = high;
    }
    Ok(intervals)
}

/// Reads an interval that begins at `least` or later.
fn read_interval(reader: &mut Reader<'_>, least: u64) -> Result<(u64, u64), CodecError> {
    let low = least.checked_add(reader.number()?);
    let high = low.zip(Some(reader.number()?)).and_then(|(low, more)| low.checked_add(more));
    match (low, high) {
        (Some(low), Some(high)) if high < SEQ_END => Ok((low, high)),
        _ => Err(CodecError::Broken("an interval")),
    }
}

/// Appends a cell.
pub fn write_cell(out: &mut Writer, cell: &Cell) {
    out.byte(cell.key_type as u8);
    out.text(&cell.name);
    if cell.key_type == DataType::Map {
        out.number(cell.path.len() as u64);
        cell.path.iter().for_each(|field| out.text(field));
        out.byte(cell.leaf as u8);
    }
}

fn read_cells(column: &[u8]) -> Result<Vec<Cell>, CodecError> {
    let mut reader = Reader::new(column);
    let mut cells = Vec::new();
    while !reader.is_empty() {
        cells.push(read_cell(&mut reader)?);
    }
    if cells.iter().collect::<BTreeSet<_>>().len() != cells.len() {
        return Err(CodecError::Broken("a cell stands twice"));
    }
    Ok(cells)
}

/// Reads a cell.
pub fn read_cell(reader: &mut Reader<'_>) -> Result<Cell, CodecError> {
    let key_type = read_type(reader)?;
    let name: Rc<str> = reader.text()?.into();
    let (mut path, mut leaf) = (Vec::new(), key_type);
    if key_type == DataType::Map {
        let fields = reader.small()? as usize;
        if fields > PATH_MAX_FIELDS {
            return Err(CodecError::Broken("a path is too long"));
        }
        for _ in 0..fields {
            path.push(reader.text()?.into());
        }
        leaf = read_type(reader)?;
    }
    let cell = Cell { name, key_type, path, leaf };
    if cell.is_valid() { Ok(cell) } else { Err(CodecError::Broken("a cell")) }
}

fn read_type(reader: &mut Reader<'_>) -> Result<DataType, CodecError> {
    DataType::from_number(reader.byte()?).ok_or(CodecError::Broken("a type that this version does not know"))
}

/// Upper bounds for the bytes of an encoded chunk's parts: what every chunk has, a writer's part, an interval.
pub const CHUNK_BYTES: usize = 32;
/// See [`CHUNK_BYTES`].
pub const PART_BYTES: usize = 24;
/// See [`CHUNK_BYTES`]. Numbers up to 2^16 take 3 bytes, which nearly all are; those that are not have room in the slack
/// that frames have beyond what they are filled to.
pub const INTERVAL_BYTES: usize = 6;

/// An upper bound for the bytes that an entry takes in an encoded chunk; with the cell's, if it is the cell's first.
pub fn entry_wire_bytes(first_of: Option<&Cell>, payload_bytes: usize) -> usize {
    // Sequence number 3, cell number 3, length 5, and for a cell: types, lengths.
    payload_bytes + 11 + first_of.map_or(0, |cell| cell.text_bytes() + 8)
}
