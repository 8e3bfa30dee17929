//! The readable form of what stands on the wire, as JSON. It names no field of the core's structures by itself, so that those
//! may be renamed, and takes each apart as a whole, so that a new field is not forgotten here.

use std::collections::BTreeSet;

use dayfly_core::api::Token;
use dayfly_core::brief::{Brief, Head, Name};
use dayfly_core::cell::{Cell, DataType};
use dayfly_core::chunk::{Chunk, ChunkEntries, ChunkEntry, ChunkPart};
use dayfly_core::digest::Digest;
use dayfly_core::dot::{Dot, Era, WriterId};
use dayfly_core::frame::{Answer, Ask, Body, Claim, Frame, Link, Want};
use dayfly_core::intervals::Intervals;
use dayfly_core::member::Record;
use dayfly_core::snapshot::LogMark;
use dayfly_core::store::{Description, Range, Store};
use dayfly_core::types;
use serde_json::{Map, Value, json};

use crate::folder::to_hex;

/// All that vectors must say: the kinds of frames, what repair asks for, and the types.
pub const KINDS: [&str; 25] = [
    "beat",
    "wake",
    "delta",
    "ask for all",
    "ask by sketch",
    "ask by description",
    "answer",
    "members",
    "share",
    "combined",
    "snapshot due",
    "link",
    "farewell",
    "gcounter",
    "pncounter",
    "gset",
    "orset",
    "rwset",
    "lwwregister",
    "mvregister",
    "ewflag",
    "dwflag",
    "maxregister",
    "minregister",
    "map",
];

/// Those of [`KINDS`] that a frame is of.
pub fn kinds(frame: &Frame) -> BTreeSet<&'static str> {
    let mut kinds = BTreeSet::from([kind(&frame.body)]);
    if frame.sender.left {
        kinds.insert("farewell");
    }
    kinds
}

fn kind(body: &Body) -> &'static str {
    match body {
        Body::Beat => "beat",
        Body::Wake => "wake",
        Body::Delta(_) => "delta",
        Body::Ask(ask) => match ask.want {
            Want::All { .. } => "ask for all",
            Want::Sketched { .. } => "ask by sketch",
            Want::Described { .. } => "ask by description",
        },
        Body::Answer(_) => "answer",
        Body::Members(_) => "members",
        Body::Share(_) => "share",
        Body::Combined(..) => "combined",
        Body::SnapshotDue => "snapshot due",
        Body::Link(_) => "link",
    }
}

/// A frame.
pub fn frame(frame: &Frame) -> Value {
    let Frame { era: Era(era), sender, complete, root: told, log: LogMark { snapshot, bytes }, body } = frame;
    json!({
        "era": era,
        "sender": record(sender),
        "complete": complete,
        "root": root(*told),
        "log": { "snapshot": snapshot, "bytes": bytes },
        "says": kind(body),
        "body": match body {
            Body::Beat | Body::Wake | Body::SnapshotDue => Value::Null,
            Body::Delta(writes) | Body::Share(writes) => chunk(writes),
            Body::Ask(asked) => ask(asked),
            Body::Answer(answered) => answer(answered),
            Body::Members(told) => members(told),
            Body::Combined(told, writes) => json!({ "members": members(told), "chunk": chunk(writes) }),
            Body::Link(Link { number, claim, chunk }) => json!({
                "number": number, "claim": claim.as_ref().map(self::claim), "chunk": brief(chunk),
            }),
        },
    })
}

fn claim(claim: &Claim) -> Value {
    let Claim { root, beat, distance, is_child } = claim;
    json!({ "root": root, "beat": beat, "distance": distance, "is_child": is_child })
}

/// A brief chunk, as it stands: of the writers that are not named in full the head is shown.
fn brief(brief: &Brief) -> Value {
    let Brief { cells, parts, check } = brief;
    let part = |(name, context, entries): &(Name, Intervals, ChunkEntries)| {
        let entry = |ChunkEntry { seq, cell: of, payload }: &ChunkEntry| {
            let mut shown = cell(&cells[*of as usize]);
            shown.insert("seq".into(), (*seq).into());
            shown.insert("payload".into(), payload.escape_ascii().to_string().into());
            Value::Object(shown)
        };
        json!({
            "writer": match name {
                Name::Full(writer) => json!({ "id": id(*writer) }),
                Name::Head(Head(head)) => json!({ "head": format!("{head:014x}") }),
            },
            "context": context.iter().map(|(low, high)| json!([low, high])).collect::<Vec<_>>(),
            "entries": entries.iter().map(entry).collect::<Vec<_>>(),
        })
    };
    json!({ "check": check, "parts": parts.iter().map(part).collect::<Vec<_>>() })
}

fn record(record: &Record) -> Value {
    let Record { name, incarnation, left, awake_until, host, region, zone } = record;
    json!({
        "name": name, "incarnation": incarnation, "left": left, "awake_until": awake_until.0,
        "host": host, "region": region, "zone": zone,
    })
}

fn members(members: &[(Record, bool)]) -> Value {
    members.iter().map(|(member, complete)| json!({ "record": record(member), "complete": complete })).collect()
}

fn ask(ask: &Ask) -> Value {
    let Ask { session, budget_bytes, until_ms, want } = ask;
    let want = match want {
        Want::All { ranges, members } => {
            json!({ "ranges": ranges.iter().map(range).collect::<Vec<_>>(), "members": members })
        }
        Want::Sketched { sketch, gaps } => json!({ "sketch": to_hex(&sketch.to_bytes()), "gaps": dots(gaps.iter()) }),
        Want::Described { range: within, description: Description { seen, live } } => {
            json!({ "range": range(*within), "seen": dots(seen.iter()), "live": dots(live.iter()) })
        }
    };
    json!({ "session": session, "budget_bytes": budget_bytes, "until": until_ms, "want": want })
}

fn answer(answer: &Answer) -> Value {
    let Answer { session, covers, last, undecoded, entries, outline, chunk: told } = answer;
    json!({
        "session": session, "covers": range(*covers), "last": last, "undecoded": undecoded, "entries": entries,
        "outline": outline.iter().copied().map(dot).collect::<Vec<_>>(), "chunk": chunk(told),
    })
}

/// A chunk: the dots that it speaks of, and those of their entries that are live.
pub fn chunk(chunk: &Chunk) -> Value {
    let Chunk { cells, parts } = chunk;
    let context = dots(parts.iter().map(|ChunkPart { writer, context, entries: _ }| (*writer, context)));
    let entry = |writer: WriterId, ChunkEntry { seq, cell: of, payload }: &ChunkEntry| {
        let mut shown = cell(&cells[*of as usize]);
        shown.insert("dot".into(), format!("{}:{seq}", id(writer)).into());
        shown.insert("payload".into(), payload.escape_ascii().to_string().into());
        Value::Object(shown)
    };
    let entries = parts.iter().flat_map(|part| part.entries.iter().map(move |told| entry(part.writer, told)));
    json!({ "dots": context, "entries": entries.collect::<Vec<_>>() })
}

fn cell(cell: &Cell) -> Map<String, Value> {
    let Cell { name, key_type, path, leaf } = cell;
    let mut shown = Map::new();
    shown.insert("key".into(), json!([key_type.name(), &**name]));
    if *key_type == DataType::Map {
        shown.insert("field".into(), json!({ "path": path, "type": leaf.name() }));
    }
    shown
}

/// What can be read from a state: its keys with their types and values.
pub fn values(store: &Store) -> Value {
    let cells = store.cells_from(&Cell::of_key("", DataType::GCounter));
    let keys: BTreeSet<(String, DataType)> = cells.map(|(cell, _)| (cell.name.to_string(), cell.key_type)).collect();
    let value = |(name, data_type): (String, DataType)| {
        let mut text = String::new();
        assert!(types::read(store, &name, data_type, &mut text), "a key that is listed exists");
        // As text: what stands in it may be more exact than a number of JSON's in memory.
        json!([data_type.name(), name, text])
    };
    keys.into_iter().map(value).collect()
}

/// A root.
pub fn root(root: Digest) -> Value {
    format!("{:016x}{:016x}", root.0[0], root.0[1]).into()
}

/// A token.
pub fn token(token: &Token) -> Value {
    token.iter().map(|(writer, seq)| format!("{}:{}", id(writer), seq.0)).collect()
}

/// Dots by writer: `1-3 5`.
pub fn dots<'a>(dots: impl Iterator<Item = (WriterId, &'a Intervals)>) -> Value {
    let shown = |(low, high)| if low == high { format!("{low}") } else { format!("{low}-{high}") };
    let spans = |intervals: &Intervals| intervals.iter().map(shown).collect::<Vec<_>>().join(" ");
    Value::Object(dots.map(|(writer, intervals)| (id(writer), spans(intervals).into())).collect())
}

fn range(range: Range) -> Value {
    let Range { low, high } = range;
    json!({ "from": dot(low), "to": dot(high) })
}

fn dot(Dot { writer, seq }: Dot) -> String {
    format!("{}:{}", id(writer), seq.0)
}

fn id(WriterId(id): WriterId) -> String {
    format!("{id:032x}")
}
