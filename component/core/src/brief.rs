//! Brief chunks: what goes along the links of an overlay, where both ends know most writers already.
//!
//! A writer that the receiver knows is named by the head of its id. That is a guess about the receiver, who may know no such
//! writer, or several: so a check over the full ids tells whether the heads were understood as they were meant, and a chunk
//! that was not understood counts as lost. Cells are told by what differs from the cell before, and what is live by spans.

use std::collections::BTreeSet;

use crate::cell::{Cell, DataType};
use crate::chunk::{
    Chunk, ChunkEntries, ChunkEntry, ChunkPart, read_cell, read_intervals, write_cell, write_intervals,
};
use crate::codec::{CodecError, Reader, Writer};
use crate::digest::Digest;
use crate::dot::{Era, WriterId};
use crate::intervals::Intervals;
use crate::types::check_payload;

/// How many of a writer's random bits stand in a head.
const HEAD_BITS: u32 = 24;

/// The first bits of a writer's id: its era, and the first of its random bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Head(pub u64);

impl Head {
    /// Of a writer.
    pub fn of(writer: WriterId) -> Self {
        Self((writer.0 >> (96 - HEAD_BITS)) as u64)
    }

    fn of_parts(era: Era, random: u32) -> Self {
        Self(u64::from(era.0) << HEAD_BITS | u64::from(random))
    }

    fn era(self) -> Era {
        Era((self.0 >> HEAD_BITS) as u32)
    }

    fn random(self) -> u32 {
        self.0 as u32 & ((1 << HEAD_BITS) - 1)
    }
}

/// How a writer is named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Name {
    /// In full.
    Full(WriterId),
    /// By its head.
    Head(Head),
}

/// A brief chunk.
///
/// Invariant, which decoding checks: as [`Chunk`], but that writers ascend shows only once heads are resolved.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Brief {
    /// The cells of the entries, as in [`Chunk`].
    pub cells: Vec<Cell>,
    /// What it says of each writer's dots, as in [`ChunkPart`].
    pub parts: Vec<(Name, Intervals, ChunkEntries)>,
    /// Over the full ids of all writers; 0, if all are named in full.
    pub check: u32,
}

impl Brief {
    /// Names the writers that `knows` says the receiver knows by their heads.
    pub fn of(chunk: Chunk, mut knows: impl FnMut(WriterId) -> bool) -> Self {
        let check = check_of(chunk.parts.iter().map(|part| part.writer));
        let parts = chunk.parts.into_iter().map(|part| {
            let name = if knows(part.writer) { Name::Head(Head::of(part.writer)) } else { Name::Full(part.writer) };
            (name, part.context, part.entries)
        });
        let mut brief = Self { cells: chunk.cells, parts: parts.collect(), check };
        if !brief.has_heads() {
            brief.check = 0;
        }
        brief
    }

    fn has_heads(&self) -> bool {
        self.parts.iter().any(|(name, ..)| matches!(name, Name::Head(_)))
    }

    /// Whether it speaks of no dot.
    pub fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// How many live entries it brings.
    pub fn entry_count(&self) -> usize {
        self.parts.iter().map(|(.., entries)| entries.len()).sum()
    }

    /// The chunk, if `find` knows the one writer of each head that was meant; else nothing of it can be used.
    pub fn resolve(self, mut find: impl FnMut(Head) -> Option<WriterId>) -> Option<Chunk> {
        let has_heads = self.has_heads();
        let mut parts: Vec<ChunkPart> = Vec::with_capacity(self.parts.len());
        for (name, context, entries) in self.parts {
            let writer = match name {
                Name::Full(writer) => writer,
                Name::Head(head) => find(head)?,
            };
            if parts.last().is_some_and(|last| last.writer >= writer) {
                return None;
            }
            parts.push(ChunkPart { writer, context, entries });
        }
        let is_meant = !has_heads || check_of(parts.iter().map(|part| part.writer)) == self.check;
        is_meant.then_some(Chunk { cells: self.cells, parts })
    }

    /// Appends the canonical encoding, in a frame of this era.
    pub fn write(&self, era: Era, out: &mut Writer) {
        let (mut names, mut spans, mut cells) = (Writer::new(), Writer::new(), Writer::new());
        let (mut numbers, mut lengths) = (CellRuns::default(), Writer::new());
        for (name, context, entries) in &self.parts {
            write_name(&mut names, era, *name);
            write_context(&mut spans, context, entries);
            for entry in entries {
                numbers.add(entry.cell);
                lengths.number(entry.payload.len() as u64);
            }
        }
        let mut last = None;
        for cell in &self.cells {
            match brother(last, cell) {
                Some(field) => {
                    cells.byte(1);
                    cells.text(field);
                }
                None => {
                    cells.byte(0);
                    write_cell(&mut cells, cell);
                }
            }
            last = Some(cell);
        }
        [names, spans, cells, numbers.end(), lengths].into_iter().for_each(|column| out.column(column));
        if self.has_heads() {
            out.raw(&self.check.to_be_bytes());
        }
        self.parts.iter().flat_map(|(.., entries)| entries).for_each(|entry| out.raw(&entry.payload));
    }

    /// Reads to the end; whatever breaks the invariant or a bound is refused.
    pub fn read(era: Era, reader: &mut Reader<'_>) -> Result<Self, CodecError> {
        let mut names = Reader::new(reader.bytes()?);
        let mut spans = Reader::new(reader.bytes()?);
        let cells = read_cells(reader.bytes()?)?;
        let mut numbers = Reader::new(reader.bytes()?);
        let mut lengths = Reader::new(reader.bytes()?);
        let mut named = Vec::new();
        while !names.is_empty() {
            named.push(read_name(&mut names, era)?);
        }
        if named.is_empty() {
            return Err(CodecError::Broken("a chunk of nothing"));
        }
        let has_heads = named.iter().any(|name| matches!(name, Name::Head(_)));
        let check =
            if has_heads { u32::from_be_bytes(reader.take(4)?.try_into().expect("4 bytes were taken")) } else { 0 };
        let mut runs = ReadRuns { reader: &mut numbers, run: None, used: 0, cells: cells.len() };
        let mut parts = Vec::with_capacity(named.len());
        for name in named {
            let mut entries = ChunkEntries::new();
            let context = read_context(&mut spans, |seq| {
                let cell = runs.next()?;
                let length = usize::try_from(lengths.number()?).map_err(|_| CodecError::Short)?;
                let payload = reader.take(length)?;
                check_payload(cells[cell as usize].leaf, payload)?;
                entries.push(ChunkEntry { seq, cell, payload: payload.into() });
                Ok(())
            })?;
            parts.push((name, context, entries));
        }
        let used = runs.end()?;
        if used as usize != cells.len() {
            return Err(CodecError::Broken("a cell is not used"));
        }
        spans.end()?;
        numbers.end()?;
        lengths.end()?;
        if !reader.is_empty() {
            return Err(CodecError::Long);
        }
        Ok(Self { cells, parts, check })
    }
}

fn check_of(writers: impl Iterator<Item = WriterId>) -> u32 {
    let words = writers.flat_map(|writer| [(writer.0 >> 64) as u64, writer.0 as u64]);
    Digest::of(words).0[0] as u32
}

/// A writer: how many eras it is before the frame's, twice, and one more if it is named in full; then the random bits.
fn write_name(out: &mut Writer, era: Era, name: Name) {
    let tag = |of: Era, is_full: bool| u64::from(era.0.wrapping_sub(of.0)) << 1 | u64::from(is_full);
    match name {
        Name::Full(writer) => {
            out.number(tag(writer.era(), true));
            out.raw(&{ writer.0 }.to_be_bytes()[4..]);
        }
        Name::Head(head) => {
            out.number(tag(head.era(), false));
            out.raw(&head.random().to_be_bytes()[1..]);
        }
    }
}

fn read_name(reader: &mut Reader<'_>, era: Era) -> Result<Name, CodecError> {
    let tag = reader.number()?;
    let back = u32::try_from(tag >> 1).map_err(|_| CodecError::Broken("a writer's era"))?;
    let of = Era(era.0.wrapping_sub(back));
    if tag & 1 == 1 {
        let random = reader.take(12)?.iter().fold(0_u128, |random, byte| random << 8 | u128::from(*byte));
        Ok(Name::Full(WriterId(u128::from(of.0) << 96 | random)))
    } else {
        let random = reader.take(3)?.iter().fold(0_u32, |random, byte| random << 8 | u32::from(*byte));
        Ok(Name::Head(Head::of_parts(of, random)))
    }
}

/// A context and what of it is live: how many intervals, twice, and one more if all is live; the intervals; else, in turn, how
/// many dots in a row are dead and how many live.
fn write_context(out: &mut Writer, context: &Intervals, entries: &[ChunkEntry]) {
    let all_live = context.len() == entries.len() as u64;
    out.number((context.interval_count() as u64) << 1 | u64::from(all_live));
    write_intervals(out, context);
    if all_live {
        return;
    }
    let mut runs: Vec<u64> = vec![0];
    let mut push = |count: u64, is_live: bool| {
        // Even places are of dead dots.
        if count > 0 && runs.len().is_multiple_of(2) != is_live {
            runs.push(0);
        }
        *runs.last_mut().expect("it begins with one") += count;
    };
    let mut live = entries.iter().map(|entry| entry.seq).peekable();
    for (mut low, high) in context.iter() {
        while let Some(seq) = live.next_if(|seq| *seq <= high) {
            push(seq - low, false);
            push(1, true);
            low = seq + 1;
        }
        push(high + 1 - low, false);
    }
    runs.into_iter().for_each(|run| out.number(run));
}

/// Reads what [`write_context`] wrote, and calls for each live dot.
fn read_context(
    reader: &mut Reader<'_>,
    mut live: impl FnMut(u64) -> Result<(), CodecError>,
) -> Result<Intervals, CodecError> {
    let tag = reader.number()?;
    let context = read_intervals(reader, tag >> 1)?;
    if tag & 1 == 1 {
        context.iter().flat_map(|(low, high)| low..=high).try_for_each(&mut live)?;
        return Ok(context);
    }
    let mut left = context.len();
    let (mut is_live, mut is_first) = (false, true);
    let mut spans = context.iter();
    let mut span = spans.next();
    while left > 0 {
        let run = reader.number()?;
        if run > left || (run == 0 && !is_first) {
            return Err(CodecError::Broken("a run of dots"));
        }
        if is_live && run == context.len() {
            return Err(CodecError::Broken("all is live, and said to be so the long way"));
        }
        let mut rest = run;
        while rest > 0 {
            let (low, high) = span.expect("no more dots are left than there are");
            let count = rest.min(high - low + 1);
            if is_live {
                (low..low + count).try_for_each(&mut live)?;
            }
            rest -= count;
            span = if count == high - low + 1 { spans.next() } else { Some((low + count, high)) };
        }
        left -= run;
        is_live = !is_live;
        is_first = false;
    }
    drop(spans);
    Ok(context)
}

/// The field by which a cell differs from the one before, if nothing else does.
fn brother<'a>(last: Option<&Cell>, cell: &'a Cell) -> Option<&'a str> {
    let last = last?;
    let (field, path) = cell.path.split_last()?;
    let (_, last_path) = last.path.split_last()?;
    let is_alike = cell.key_type == DataType::Map
        && (&last.name, last.key_type, last.leaf) == (&cell.name, cell.key_type, cell.leaf)
        && last_path == path;
    is_alike.then_some(&**field)
}

fn read_cells(column: &[u8]) -> Result<Vec<Cell>, CodecError> {
    let mut reader = Reader::new(column);
    let mut cells: Vec<Cell> = Vec::new();
    while !reader.is_empty() {
        let cell = match (reader.byte()?, cells.last()) {
            (0, last) => {
                let cell = read_cell(&mut reader)?;
                if brother(last, &cell).is_some() {
                    return Err(CodecError::Broken("a cell is told at greater length than needed"));
                }
                cell
            }
            (1, Some(last)) if !last.path.is_empty() => {
                let mut cell = last.clone();
                cell.path.pop();
                cell.path.push(reader.text()?.into());
                cell
            }
            _ => return Err(CodecError::Broken("a cell")),
        };
        if !cell.is_valid() {
            return Err(CodecError::Broken("a cell"));
        }
        cells.push(cell);
    }
    if cells.iter().collect::<BTreeSet<_>>().len() != cells.len() {
        return Err(CodecError::Broken("a cell stands twice"));
    }
    Ok(cells)
}

/// The cells of entries as runs: 0 and how many in a row have a new cell each; or a cell's index and one, and how many in a row
/// have that.
#[derive(Default)]
struct CellRuns {
    out: Writer,
    run: Option<(u64, u64)>,
    used: u32,
}

impl CellRuns {
    fn add(&mut self, cell: u32) {
        let kind = if cell == self.used { 0 } else { u64::from(cell) + 1 };
        self.used = self.used.max(cell + 1);
        match &mut self.run {
            Some((last, count)) if *last == kind => *count += 1,
            _ => {
                self.flush();
                self.run = Some((kind, 1));
            }
        }
    }

    fn flush(&mut self) {
        if let Some((kind, count)) = self.run.take() {
            self.out.number(kind);
            self.out.number(count);
        }
    }

    fn end(mut self) -> Writer {
        self.flush();
        self.out
    }
}

struct ReadRuns<'r, 'a> {
    reader: &'r mut Reader<'a>,
    /// The kind, and how many are left.
    run: Option<(u64, u64)>,
    used: u32,
    cells: usize,
}

impl ReadRuns<'_, '_> {
    fn next(&mut self) -> Result<u32, CodecError> {
        let broken = CodecError::Broken("cells do not stand in the order of their use");
        let (kind, left) = match self.run {
            Some((kind, left)) if left > 0 => (kind, left),
            last => {
                let (kind, count) = (self.reader.number()?, self.reader.number()?);
                if count == 0 || last.is_some_and(|(last, _)| last == kind) {
                    return Err(broken);
                }
                (kind, count)
            }
        };
        self.run = Some((kind, left - 1));
        if kind == 0 {
            if self.used as usize == self.cells {
                return Err(broken);
            }
            self.used += 1;
            return Ok(self.used - 1);
        }
        if kind > u64::from(self.used) {
            return Err(broken);
        }
        Ok((kind - 1) as u32)
    }

    /// How many cells were used.
    fn end(self) -> Result<u32, CodecError> {
        match self.run {
            Some((_, left)) if left > 0 => Err(CodecError::Broken("a run of cells that is too long")),
            _ => Ok(self.used),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dot::Era;
    use crate::store::{Range, Store, Write};

    const ERA: Era = Era(60_000);

    fn writer(random: u128) -> WriterId {
        WriterId(u128::from(ERA.0) << 96 | random)
    }

    /// Elements of a set, some of each writer's, and the last of each replaces the first.
    fn chunk(writers: &[WriterId]) -> Chunk {
        let mut store = Store::new();
        for writer in writers {
            let mut write = Write::begin(&mut store, *writer, usize::MAX);
            for element in [b"1", b"2", b"1"] {
                write.replace(&Cell::of_key("set", DataType::OrSet), element).expect("there is room");
            }
            write.commit();
        }
        store.walk_down(Range::ALL, None, usize::MAX).next().expect("there is a piece").chunk
    }

    fn sent(brief: &Brief) -> Brief {
        let mut out = Writer::new();
        brief.write(ERA, &mut out);
        let bytes = out.into_bytes();
        let read = Brief::read(ERA, &mut Reader::new(&bytes)).expect("it was written");
        assert_eq!(read, *brief);
        read
    }

    #[test]
    fn who_knows_the_writers_understands_their_heads() {
        let known = [writer(1 << 80), writer(2 << 80)];
        let chunk = chunk(&known);
        let full = Brief::of(chunk.clone(), |_| false);
        let brief = Brief::of(chunk.clone(), |_| true);
        let find = |head| known.into_iter().find(|writer| Head::of(*writer) == head);
        assert_eq!(sent(&brief).resolve(find), Some(chunk.clone()));
        assert_eq!(
            sent(&full).resolve(|_| None),
            Some(chunk.clone()),
            "nobody need know a writer that is named in full"
        );
        assert_eq!(sent(&brief).resolve(|_| None), None);
        let length = |brief: &Brief| {
            let mut out = Writer::new();
            brief.write(ERA, &mut out);
            out.len()
        };
        assert!(length(&brief) + 2 * 9 - 4 == length(&full), "a head is nine bytes shorter, and a check takes four");
        assert!(length(&full) < chunk.encode().len());
    }

    #[test]
    fn a_head_that_is_understood_otherwise_than_meant_spoils_the_chunk() {
        let meant = writer(1 << 80);
        let other = writer((1 << 80) + 7);
        assert_eq!(Head::of(meant), Head::of(other));
        let brief = Brief::of(chunk(&[meant]), |_| true);
        assert_eq!(sent(&brief).resolve(|_| Some(other)), None);
        assert!(sent(&brief).resolve(|_| Some(meant)).is_some());
    }

    #[test]
    fn writers_of_other_eras_are_named_too() {
        let old = WriterId(7);
        let new = WriterId(u128::from(ERA.0 + 1) << 96 | 9);
        let chunk = chunk(&[old, new]);
        assert_eq!(sent(&Brief::of(chunk.clone(), |_| false)).resolve(|_| None), Some(chunk));
    }
}
