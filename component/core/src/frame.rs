//! Frames: what replicas send each other through the broker.
//!
//! A frame begins with a byte of version, the cluster's name and the era, and says who sent it, with its lease, its root
//! and whether it has the whole database. So every frame gossips membership and lets the receiver compare states.

use crate::brief::Brief;
use crate::chunk::{Chunk, read_dot_set, write_dots};
use crate::codec::{CodecError, Reader, Writer};
use crate::config::is_name;
use crate::digest::Digest;
use crate::dot::{Dot, Era, Seq, WriterId};
use crate::intervals::DotSet;
use crate::member::Record;
use crate::sketch::Sketch;
use crate::snapshot::LogMark;
use crate::store::{Description, Range, Ranges};

/// The first byte of a frame. A frame of another version is dropped, counted and reported.
pub const VERSION: u8 = 1;

/// The most bytes of what stands before the body of a frame: version, cluster, era, record, root, mark.
pub const HEADER_MAX_BYTES: usize = 340;

/// A frame.
#[derive(Clone, Debug, PartialEq)]
pub struct Frame {
    /// When it was sent, in hours; for a later version that folds eras.
    pub era: Era,
    /// Who sent it.
    pub sender: Record,
    /// Whether the sender has the whole database, as far as it knows.
    pub complete: bool,
    /// The sender's root when it sent.
    pub root: Digest,
    /// How much the sender believes to have been logged.
    pub log: LogMark,
    /// What it says.
    pub body: Body,
}

/// What a frame says.
#[derive(Clone, Debug, PartialEq)]
pub enum Body {
    /// Nothing but the header: *this is my root, and my lease*.
    Beat,
    /// The same from a replica that has just woken: its root is as old as its sleep, so it is not to be compared.
    Wake,
    /// Writes.
    Delta(Chunk),
    /// A request for repair.
    Ask(Ask),
    /// A piece of the answer to one.
    Answer(Answer),
    /// Members, for a newcomer; of each, whether it has the whole database, as far as the sender has heard.
    Members(Vec<(Record, bool)>),
    /// Sent to the combiner: writes for everyone, possibly none. The combiner tells everyone its root soon after in any case.
    Share(Chunk),
    /// What the combiner gathered: members of whom there is news, as in [`Body::Members`], and the join of the shares.
    Combined(Vec<(Record, bool)>, Chunk),
    /// Sent to the combiner: write a snapshot into the log.
    SnapshotDue,
    /// Sent to a neighbour of the overlay. Components that are earlier than overlays drop it as broken; nobody sends it to one that
    /// has no overlay.
    Link(Link),
}

impl Body {
    /// How many live entries it brings.
    pub fn entry_count(&self) -> usize {
        match self {
            Self::Delta(chunk) | Self::Share(chunk) | Self::Combined(_, chunk) => chunk.entry_count(),
            Self::Answer(answer) => answer.chunk.entry_count(),
            Self::Link(link) => link.chunk.entry_count(),
            Self::Beat | Self::Wake | Self::Ask(_) | Self::Members(_) | Self::SnapshotDue => 0,
        }
    }
}

/// What goes along a link of the overlay (see [`crate::overlay`]).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Link {
    /// How many frames with writes this sender has sent along this link, this one included. A number that was left out is a
    /// frame that was lost, or a time in which the sender sent none.
    pub number: u64,
    /// Where the sender is in the spanning tree, if that is news.
    pub claim: Option<Claim>,
    /// Writes; possibly none.
    pub chunk: Brief,
}

/// Where a replica is in the spanning tree of an overlay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The root of its tree.
    pub root: String,
    /// The latest beat of the root that it has heard of: a number that grows while the root lives.
    pub beat: u64,
    /// How many links it is from the root.
    pub distance: u32,
    /// Whether the receiver is its parent.
    pub is_child: bool,
}

/// A request for repair. The answering side keeps nothing of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Ask {
    /// Names the asker's session, to be repeated in the answers.
    pub session: u64,
    /// How many bytes the answer may take in all; one frame is always sent.
    pub budget_bytes: u32,
    /// After this time nobody waits for the answer.
    pub until_ms: u64,
    /// What is asked for.
    pub want: Want,
}

/// What a request for repair asks for.
#[derive(Clone, Debug, PartialEq)]
pub enum Want {
    /// All that is known of these ranges. `members` asks for the members as well.
    All {
        /// The ranges.
        ranges: Ranges,
        /// Whether the members are wanted too.
        members: bool,
    },
    /// What the state behind this sketch lacks.
    Sketched {
        /// A sketch of the asker's state without the gaps.
        sketch: Sketch,
        /// Dots that the asker knows it lacks.
        gaps: DotSet,
    },
    /// What the state described lacks in this range.
    Described {
        /// The range.
        range: Range,
        /// What the asker knows of it.
        description: Description,
    },
}

/// A piece of the answer to a request for repair.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// The asker's session.
    pub session: u64,
    /// The range that is dealt with once the chunk is joined.
    pub covers: Range,
    /// No more pieces follow to this request; what is not covered must be asked for again.
    pub last: bool,
    /// The sketch was too small for the difference: describe the state instead.
    pub undecoded: bool,
    /// How many live entries the answering side has: tells an asker for everything how far it has come.
    pub entries: u64,
    /// Where an asker for everything may cut the rest, to ask several for it at once.
    pub outline: Vec<Dot>,
    /// What was lacking in the range.
    pub chunk: Chunk,
}

/// Why a frame is not for this replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// It is of another cluster.
    OtherCluster,
    /// It cannot be decoded.
    Codec(CodecError),
}

impl From<CodecError> for Refused {
    fn from(error: CodecError) -> Self {
        Self::Codec(error)
    }
}

impl Frame {
    /// The canonical encoding, for this cluster.
    pub fn encode(&self, cluster: &str) -> Vec<u8> {
        let mut out = Writer::new();
        out.byte(VERSION);
        out.text(cluster);
        out.number(self.era.0.into());
        self.sender.write(&mut out);
        out.flag(self.complete);
        self.root.0.iter().for_each(|word| out.raw(&word.to_be_bytes()));
        out.number(self.log.snapshot);
        out.number(self.log.bytes);
        match &self.body {
            Body::Beat => out.byte(0),
            Body::Wake => out.byte(5),
            Body::Delta(chunk) => {
                out.byte(1);
                out.raw(&chunk.encode());
            }
            Body::Ask(ask) => {
                out.byte(2);
                ask.write(&mut out);
            }
            Body::Answer(answer) => {
                out.byte(3);
                answer.write(&mut out);
            }
            Body::Members(records) => {
                out.byte(4);
                write_members(&mut out, records);
            }
            Body::Share(chunk) => {
                out.byte(6);
                out.raw(&chunk.encode());
            }
            Body::Combined(records, chunk) => {
                out.byte(7);
                out.number(records.len() as u64);
                write_members(&mut out, records);
                out.raw(&chunk.encode());
            }
            Body::SnapshotDue => out.byte(8),
            Body::Link(link) => {
                out.byte(9);
                link.write(self.era, &mut out);
            }
        }
        out.into_bytes()
    }

    /// Decodes a frame of this cluster.
    pub fn decode(bytes: &[u8], cluster: &str) -> Result<Self, Refused> {
        let mut reader = Reader::new(bytes);
        match reader.byte()? {
            VERSION => {}
            other => return Err(CodecError::Version(other).into()),
        }
        if reader.text()? != cluster {
            return Err(Refused::OtherCluster);
        }
        let era = Era(reader.small()?);
        let sender = Record::read(&mut reader)?;
        let complete = reader.flag()?;
        let root = reader.wide()?;
        let root = Digest([(root >> 64) as u64, root as u64]);
        let log = LogMark { snapshot: reader.number()?, bytes: reader.number()? };
        let body = match reader.byte()? {
            0 => Body::Beat,
            1 => Body::Delta(Chunk::decode(reader.take(reader.len())?)?),
            2 => Body::Ask(Ask::read(&mut reader)?),
            3 => Body::Answer(Answer::read(&mut reader)?),
            4 => {
                let mut records = Vec::new();
                while !reader.is_empty() {
                    records.push((Record::read(&mut reader)?, reader.flag()?));
                }
                Body::Members(records)
            }
            5 => Body::Wake,
            6 => Body::Share(Chunk::decode(reader.take(reader.len())?)?),
            7 => {
                let mut records = Vec::new();
                for _ in 0..reader.number()? {
                    records.push((Record::read(&mut reader)?, reader.flag()?));
                }
                Body::Combined(records, Chunk::decode(reader.take(reader.len())?)?)
            }
            8 => Body::SnapshotDue,
            9 => Body::Link(Link::read(era, &mut reader)?),
            _ => return Err(CodecError::Broken("the kind of a frame").into()),
        };
        reader.end()?;
        Ok(Self { era, sender, complete, root, log, body })
    }
}

impl Link {
    fn write(&self, era: Era, out: &mut Writer) {
        out.number(self.number);
        out.flag(self.claim.is_some());
        if let Some(claim) = &self.claim {
            out.text(&claim.root);
            out.number(claim.beat);
            out.number(claim.distance.into());
            out.flag(claim.is_child);
        }
        if !self.chunk.is_empty() {
            self.chunk.write(era, out);
        }
    }

    fn read(era: Era, reader: &mut Reader<'_>) -> Result<Self, CodecError> {
        let number = reader.number()?;
        let claim = match reader.flag()? {
            true => {
                let root = reader.text()?;
                if !is_name(root) {
                    return Err(CodecError::Broken("a root's name"));
                }
                let (root, beat) = (root.to_owned(), reader.number()?);
                Some(Claim { root, beat, distance: reader.small()?, is_child: reader.flag()? })
            }
            false => None,
        };
        let chunk = if reader.is_empty() { Brief::default() } else { Brief::read(era, reader)? };
        Ok(Self { number, claim, chunk })
    }
}

impl Ask {
    fn write(&self, out: &mut Writer) {
        out.number(self.session);
        out.number(self.budget_bytes.into());
        out.number(self.until_ms);
        match &self.want {
            Want::All { ranges, members } => {
                out.byte(0);
                out.flag(*members);
                out.number(ranges.len() as u64);
                ranges.iter().for_each(|range| write_range(out, range));
            }
            Want::Sketched { sketch, gaps } => {
                out.byte(1);
                out.bytes(&sketch.to_bytes());
                write_dots(out, gaps.iter());
            }
            Want::Described { range, description } => {
                out.byte(2);
                write_range(out, *range);
                write_dots(out, description.seen.iter());
                write_dots(out, description.live.iter());
            }
        }
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, CodecError> {
        let session = reader.number()?;
        let budget_bytes = reader.small()?;
        let until_ms = reader.number()?;
        let want = match reader.byte()? {
            0 => {
                let members = reader.flag()?;
                let count = reader.number()?;
                let mut list = Vec::new();
                for _ in 0..count {
                    list.push(read_range(reader)?);
                }
                let ranges: Ranges = list.iter().copied().collect();
                if !ranges.iter().eq(list) {
                    return Err(CodecError::Broken("ranges that do not ascend"));
                }
                Want::All { ranges, members }
            }
            1 => {
                let sketch = Sketch::from_bytes(reader.bytes()?).map_err(|_| CodecError::Broken("a sketch"))?;
                Want::Sketched { sketch, gaps: read_dot_set(reader)? }
            }
            2 => {
                let range = read_range(reader)?;
                let description = Description { seen: read_dot_set(reader)?, live: read_dot_set(reader)? };
                Want::Described { range, description }
            }
            _ => return Err(CodecError::Broken("the kind of a request for repair")),
        };
        Ok(Self { session, budget_bytes, until_ms, want })
    }
}

impl Answer {
    fn write(&self, out: &mut Writer) {
        out.number(self.session);
        write_range(out, self.covers);
        out.flag(self.last);
        out.flag(self.undecoded);
        out.number(self.entries);
        out.number(self.outline.len() as u64);
        self.outline.iter().for_each(|dot| write_dot(out, *dot));
        out.raw(&self.chunk.encode());
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, CodecError> {
        let session = reader.number()?;
        let covers = read_range(reader)?;
        let last = reader.flag()?;
        let undecoded = reader.flag()?;
        let entries = reader.number()?;
        let count = reader.number()?;
        let mut outline = Vec::new();
        for _ in 0..count {
            outline.push(read_dot(reader)?);
        }
        let chunk = Chunk::decode(reader.take(reader.len())?)?;
        Ok(Self { session, covers, last, undecoded, entries, outline, chunk })
    }
}

/// Appends members and whether each has the whole database.
pub fn write_members<'a>(out: &mut Writer, records: impl IntoIterator<Item = &'a (Record, bool)>) {
    for (record, complete) in records {
        record.write(out);
        out.flag(*complete);
    }
}

fn write_dot(out: &mut Writer, dot: Dot) {
    out.wide(dot.writer.0);
    out.number(dot.seq.0);
}

fn read_dot(reader: &mut Reader<'_>) -> Result<Dot, CodecError> {
    Ok(Dot { writer: WriterId(reader.wide()?), seq: Seq(reader.number()?) })
}

fn write_range(out: &mut Writer, range: Range) {
    write_dot(out, range.low);
    write_dot(out, range.high);
}

fn read_range(reader: &mut Reader<'_>) -> Result<Range, CodecError> {
    let range = Range { low: read_dot(reader)?, high: read_dot(reader)? };
    if range.is_empty() { Err(CodecError::Broken("a range that is empty")) } else { Ok(range) }
}
