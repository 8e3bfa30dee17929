//! What vectors are made of. A sample is only the beginning of a vector: once that is committed, the vector counts and the
//! sample may change, or say something else under a new name.

use dayfly_core::api::Token;
use dayfly_core::brief::Brief;
use dayfly_core::cell::{Cell, DataType};
use dayfly_core::chunk::{Chunk, ChunkEntry, ChunkPart, SEQ_END};
use dayfly_core::clock::Stamp;
use dayfly_core::digest::Digest;
use dayfly_core::dot::{Dot, Era, Seq, WriterId};
use dayfly_core::frame::{Answer, Ask, Body, Claim, Frame, Link, Want};
use dayfly_core::intervals::{DotSet, Intervals};
use dayfly_core::member::Record;
use dayfly_core::snapshot::LogMark;
use dayfly_core::store::{Range, Ranges, Store, Write};
use dayfly_core::time::Timestamp;
use dayfly_core::types;
use dayfly_core::types::operation::Operation;
use serde_json::{Value, json};

use crate::folder::to_hex;
use crate::shown;

const CLUSTER: &str = "a-cluster";
/// Writers of one era and of the next.
const FIRST: WriterId = WriterId(0x0000_ec38_0123_4567_89ab_cdef_0011_2233);
const SECOND: WriterId = WriterId(0x0000_ec38_fedc_ba98_7654_3210_ffee_ddcc);
const THIRD: WriterId = WriterId(0x0000_ec39_0000_0000_0000_0000_0000_0007);

/// The samples, by the names of their files.
pub fn all() -> Vec<(String, Value)> {
    let chunks = [
        ("empty", Chunk::default()),
        ("every-type", every_type()),
        ("concurrent-writers", whole(&concurrent())),
        ("removals-alone", removals()),
        ("gaps", gaps()),
        ("long", long()),
    ];
    let tokens = [("empty", &[][..]), ("two-writers", &[(FIRST, 250), (THIRD, 1 << 33)])];
    let mut samples: Vec<(String, Value)> = Vec::new();
    samples.extend(chunks.into_iter().map(|(name, chunk)| (format!("chunk-{name}.json"), of_chunk(&chunk))));
    samples.extend(frames().into_iter().map(|(name, frame)| (format!("frame-{name}.json"), of_frame(&frame))));
    samples.extend(tokens.into_iter().map(|(name, dots)| (format!("token-{name}.json"), of_token(dots))));
    samples.push(("sketch.json".to_owned(), of_sketch()));
    samples
}

fn of_chunk(chunk: &Chunk) -> Value {
    let mut store = Store::new();
    store.join(chunk);
    json!({
        "kind": "chunk", "bytes": to_hex(&chunk.encode()), "chunk": shown::chunk(chunk),
        "root": shown::root(store.root()), "values": shown::values(&store),
    })
}

fn of_frame(frame: &Frame) -> Value {
    json!({
        "kind": "frame", "cluster": CLUSTER, "bytes": to_hex(&frame.encode(CLUSTER)), "frame": shown::frame(frame),
    })
}

fn of_token(dots: &[(WriterId, u64)]) -> Value {
    let mut token = Token::default();
    dots.iter().for_each(|(writer, seq)| token.insert(*writer, Seq(*seq)));
    json!({ "kind": "token", "bytes": token.to_text(), "token": shown::token(&token) })
}

/// A sketch of a state, and what that lacks of another one.
fn of_sketch() -> Value {
    let (theirs, mut mine) = (concurrent(), concurrent());
    write(&mut mine, THIRD, DataType::GSet, "later", json!({ "add": [1, 2] }));
    write(&mut mine, FIRST, DataType::OrSet, "tags", json!({ "remove": ["red"] }));
    let sketch = theirs.sketch(32, &DotSet::default());
    let lack = mine.lack_by_sketch(&sketch, &DotSet::default()).expect("the difference is small");
    json!({
        "kind": "sketch", "state": to_hex(&whole(&theirs).encode()), "bytes": to_hex(&sketch.to_bytes()),
        "compared_with": to_hex(&whole(&mine).encode()), "lacks": shown::dots(lack.dots.iter()),
    })
}

fn write(store: &mut Store, writer: WriterId, data_type: DataType, key: &str, operation: Value) {
    let Value::Object(members) = operation else { panic!("an operation is an object") };
    let operation = Operation::parse(data_type, members, false).expect("the type has this operation");
    // A hybrid clock of a time in 2026, which grows with what was written.
    let stamp = Stamp((1_795_000_000_000 + store.entry_count() as u64) << 16 | 3);
    let mut write = Write::begin(store, writer, usize::MAX / 2);
    types::apply(&mut write, key, data_type, &operation, stamp).expect("there is room");
    write.commit();
}

fn whole(store: &Store) -> Chunk {
    store.walk_down(Range::ALL, None, usize::MAX).next().map(|piece| piece.chunk).unwrap_or_default()
}

/// Writes along a link, to somebody who knows these writers.
fn link(number: u64, claim: Option<Claim>, chunk: &Chunk, known: &[WriterId]) -> Body {
    Body::Link(Link { number, claim, chunk: Brief::of(chunk.clone(), |writer| known.contains(&writer)) })
}

fn claim(is_child: bool) -> Claim {
    Claim { root: "replica-0".to_owned(), beat: 1_795_000_000_007, distance: 3, is_child }
}

/// Fields beside each other in a map, of which some are set anew.
fn fields() -> Chunk {
    let mut store = Store::new();
    for (field, value) in [("k1", 1), ("k2", 2), ("k3", 3), ("k2", 4)] {
        let update = json!({ "update": { field: { "type": "maxregister", "set": value } } });
        write(&mut store, FIRST, DataType::Map, "fields", update);
    }
    whole(&store)
}

fn every_type() -> Chunk {
    let mut store = Store::new();
    let nested = json!({
        "update": {
            "visits": { "type": "gcounter", "increment": 300 },
            "by-day": { "type": "map", "update": { "mon": { "type": "pncounter", "decrement": 7 } } },
            "tags": { "type": "orset", "add": ["a", "b"] },
            "open": { "type": "ewflag", "enable": true },
        }
    });
    let writes = [
        (DataType::GCounter, json!({ "increment": 3 })),
        (DataType::PnCounter, json!({ "increment": 70_000 })),
        (DataType::PnCounter, json!({ "decrement": 5_000_000_000_u64 })),
        (DataType::GSet, json!({ "add": ["x", 1, null, { "b": [true], "a": 0.5 }] })),
        (DataType::OrSet, json!({ "add": ["red", "größer"] })),
        (DataType::RwSet, json!({ "add": ["in", "out"] })),
        (DataType::RwSet, json!({ "remove": ["out"] })),
        (DataType::LwwRegister, json!({ "set": { "text": "\u{1f331} \"quoted\"\n" } })),
        (DataType::MvRegister, json!({ "set": [1, "two"] })),
        (DataType::EwFlag, json!({ "enable": true })),
        (DataType::DwFlag, json!({ "disable": true })),
        (DataType::MaxRegister, json!({ "set": u64::MAX })),
        (DataType::MinRegister, json!({ "set": -2.5 })),
        (DataType::Map, nested),
    ];
    for (data_type, operation) in writes {
        write(&mut store, FIRST, data_type, "a key/ä", operation);
    }
    whole(&store)
}

/// Two writers who did not see each other, and one who saw both.
fn concurrent() -> Store {
    let (mut left, mut right) = (Store::new(), Store::new());
    for (store, writer, number) in [(&mut left, FIRST, 1), (&mut right, SECOND, 2)] {
        write(store, writer, DataType::GCounter, "visits", json!({ "increment": number }));
        write(store, writer, DataType::OrSet, "tags", json!({ "add": ["red", format!("of {number}")] }));
        write(store, writer, DataType::MvRegister, "note", json!({ "set": format!("note {number}") }));
        write(store, writer, DataType::LwwRegister, "last", json!({ "set": number }));
        write(
            store,
            writer,
            DataType::RwSet,
            "guests",
            json!({ (if number == 1 { "add" } else { "remove" }): ["eve"] }),
        );
        write(
            store,
            writer,
            DataType::DwFlag,
            "open",
            json!({ (if number == 1 { "enable" } else { "disable" }): true }),
        );
        write(store, writer, DataType::MaxRegister, "most", json!({ "set": number }));
    }
    left.join(&whole(&right));
    write(&mut left, THIRD, DataType::OrSet, "tags", json!({ "remove": ["of 2"] }));
    write(&mut left, THIRD, DataType::MvRegister, "settled", json!({ "set": "both" }));
    left
}

/// Dots whose entries are no more, and no entry.
fn removals() -> Chunk {
    let mut store = Store::new();
    write(&mut store, FIRST, DataType::OrSet, "tags", json!({ "add": ["a", "b", "c"] }));
    write(&mut store, FIRST, DataType::OrSet, "tags", json!({ "remove": ["a", "b", "c"] }));
    whole(&store)
}

/// A context with holes, of two writers, and entries in some of its intervals only.
fn gaps() -> Chunk {
    let mut store = Store::new();
    for number in 0..40_u64 {
        let writer = if number % 3 == 0 { SECOND } else { FIRST };
        write(&mut store, writer, DataType::GSet, &format!("set {}", number % 4), json!({ "add": [number] }));
        write(&mut store, writer, DataType::LwwRegister, "newest", json!({ "set": number }));
    }
    let mut dots = DotSet::default();
    for (writer, low, high) in [(FIRST, 1, 1), (FIRST, 3, 9), (FIRST, 20, 44), (SECOND, 2, 2), (SECOND, 12, 13)] {
        dots.insert_span(writer, low, high);
    }
    store.extract(&dots)
}

/// Numbers on both sides of each length that they are encoded in, and the last sequence number that there is.
fn long() -> Chunk {
    let text = |length: usize| format!("\"{}\"", "x".repeat(length)).into_bytes();
    let entry = |seq, cell, payload: Vec<u8>| ChunkEntry { seq, cell, payload: payload[..].into() };
    let entries = vec![
        entry(250, 0, text(248)),
        entry(251, 1, text(249)),
        entry(65_536, 0, text(0)),
        entry(1 << 32, 1, text(1)),
        entry(SEQ_END - 1, 0, text(700)),
    ];
    let mut context = Intervals::span(250, 251);
    for (low, high) in [(65_535, 65_536), (1 << 32, 1 << 32), (SEQ_END - 300, SEQ_END - 1)] {
        context.insert_span(low, high);
    }
    let key = "k".repeat(251);
    Chunk {
        cells: vec![Cell::of_key(&key, DataType::OrSet), Cell::of_key("short", DataType::MvRegister)],
        parts: vec![ChunkPart { writer: SECOND, context, entries: entries.into() }],
    }
}

fn record(name: &str) -> Record {
    Record {
        name: name.to_owned(),
        incarnation: 1_795_000_000_123,
        left: false,
        awake_until: Timestamp(1_795_000_060_000),
        host: "native".to_owned(),
        region: "eu-west-1".to_owned(),
        zone: "a".to_owned(),
    }
}

fn members() -> Vec<(Record, bool)> {
    let bare =
        Record { host: String::new(), region: String::new(), zone: String::new(), incarnation: 0, ..record("x") };
    vec![
        (record("replica-1"), true),
        (Record { left: true, host: "lambda".to_owned(), ..record("replica.2_b") }, false),
        (Record { awake_until: Timestamp(0), ..bare }, true),
    ]
}

fn dot(writer: WriterId, seq: u64) -> Dot {
    Dot { writer, seq: Seq(seq) }
}

fn ranges() -> Ranges {
    [Range { low: dot(FIRST, 1), high: dot(FIRST, 300) }, Range { low: dot(SECOND, 5), high: dot(THIRD, 70_000) }]
        .into_iter()
        .collect()
}

fn ask(want: Want) -> Body {
    Body::Ask(Ask { session: 0xfedc_ba98_7654_3210, budget_bytes: 262_144, until_ms: 1_795_000_002_000, want })
}

fn frames() -> Vec<(&'static str, Frame)> {
    let frame = |body| Frame {
        era: Era(0xec38),
        sender: record("replica-1"),
        complete: true,
        root: Digest([0x0123_4567_89ab_cdef, 0xfeed_f00d_0000_0001]),
        log: LogMark::default(),
        body,
    };
    let state = concurrent();
    let mut gaps = DotSet::default();
    for (writer, low, high) in [(FIRST, 2, 4), (FIRST, 9, 9), (THIRD, 1, 251)] {
        gaps.insert_span(writer, low, high);
    }
    let within = Range { low: dot(FIRST, 2), high: dot(SECOND, 4) };
    let answer = |last, undecoded, outline, chunk| {
        Body::Answer(Answer { session: 251, covers: within, last, undecoded, entries: 65_536, outline, chunk })
    };
    let mut farewell = frame(Body::Beat);
    farewell.sender.left = true;
    let mut logged = frame(Body::Beat);
    logged.log = LogMark { snapshot: 1_794_999_000_000, bytes: 5_000_000 };
    let mut newcomer = frame(Body::Wake);
    newcomer.complete = false;
    newcomer.root = Digest::default();
    vec![
        ("beat", frame(Body::Beat)),
        ("beat-farewell", farewell),
        ("beat-with-log", logged),
        ("wake-of-a-newcomer", newcomer),
        ("delta", frame(Body::Delta(every_type()))),
        ("delta-removals", frame(Body::Delta(removals()))),
        ("ask-for-all", frame(ask(Want::All { ranges: Ranges::all(), members: true }))),
        ("ask-for-ranges", frame(ask(Want::All { ranges: ranges(), members: false }))),
        ("ask-by-sketch", frame(ask(Want::Sketched { sketch: state.sketch(12, &gaps), gaps: gaps.clone() }))),
        ("ask-by-empty-sketch", frame(ask(Want::Sketched { sketch: state.sketch(0, &gaps), gaps: DotSet::default() }))),
        ("ask-by-description", frame(ask(Want::Described { range: within, description: state.describe(within) }))),
        ("answer", frame(answer(false, false, vec![dot(FIRST, 4), dot(SECOND, 1)], whole(&state)))),
        ("answer-last-and-empty", frame(answer(true, false, Vec::new(), Chunk::default()))),
        ("answer-undecoded", frame(answer(true, true, Vec::new(), Chunk::default()))),
        ("members", frame(Body::Members(members()))),
        ("members-none", frame(Body::Members(Vec::new()))),
        ("share", frame(Body::Share(self::gaps()))),
        ("share-of-nothing", frame(Body::Share(Chunk::default()))),
        ("combined", frame(Body::Combined(members(), whole(&state)))),
        ("combined-members-alone", frame(Body::Combined(members(), Chunk::default()))),
        ("snapshot-due", frame(Body::SnapshotDue)),
        ("link", frame(link(7, Some(claim(true)), &whole(&state), &[FIRST]))),
        ("link-every-type", frame(link(251, None, &every_type(), &[]))),
        ("link-gaps", frame(link(8, None, &self::gaps(), &[FIRST, SECOND, THIRD]))),
        ("link-removals", frame(link(9, None, &removals(), &[SECOND]))),
        ("link-fields", frame(link(10, None, &fields(), &[FIRST]))),
        ("link-of-nothing", frame(link(0, Some(claim(false)), &Chunk::default(), &[]))),
    ]
}
