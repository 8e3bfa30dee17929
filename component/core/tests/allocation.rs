//! How much memory decoding takes, whatever the bytes: a binary of its own, since its allocator counts.
//!
//! Everything variable stands in columns that the decoder walks, so it can allocate only for what it has read; a byte of
//! input makes at most a short text of a cell's path, or a third of an entry.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell as Slot;

use dayfly_core::api::Token;
use dayfly_core::cell::DataType;
use dayfly_core::chunk::Chunk;
use dayfly_core::codec::Writer;
use dayfly_core::config::Config;
use dayfly_core::effect::{Effects, Route};
use dayfly_core::frame::Frame;
use dayfly_core::http::Request;
use dayfly_core::replica::Replica;
use dayfly_core::store::Store;
use dayfly_core::time::{Timestamp, Turn};
use proptest::prelude::*;
use proptest::sample::Index;

/// At most so many bytes of memory a byte of input, for decoding and for the join into an empty store. The dearest are the
/// records of members (40, when a list of them has just grown) and the texts of paths (35, when joined).
const PER_BYTE: usize = 64;
/// And so many whatever the input: the first page of a table.
const BASE_BYTES: usize = 8 * 1024;

thread_local! {
    static NOW: Slot<usize> = const { Slot::new(0) };
    static PEAK: Slot<usize> = const { Slot::new(0) };
}

/// The system's allocator, which counts what each thread holds. A block that grows counts twice while it is moved.
struct Counting;

// SAFETY: every call goes to the system's allocator unchanged; counting touches nothing but two numbers of the thread.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let now = NOW.get().wrapping_add(layout.size());
        NOW.set(now);
        // A thread may free what another allocated and stand below zero.
        if (now as isize) > PEAK.get() as isize {
            PEAK.set(now);
        }
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        NOW.set(NOW.get().wrapping_sub(layout.size()));
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// How much more memory than before `run` takes at its peak.
fn peak_of(run: impl FnOnce()) -> usize {
    let before = NOW.get();
    PEAK.set(before);
    run();
    PEAK.get().wrapping_sub(before)
}

const CLUSTER: &str = "c";

/// Decodes bytes as everything that they could be.
fn check(bytes: &[u8]) {
    let bound = PER_BYTE * bytes.len() + BASE_BYTES;
    let frame = peak_of(|| drop(Frame::decode(bytes, CLUSTER)));
    assert!(frame <= bound, "{frame} bytes for a frame of {}", bytes.len());
    let chunk = peak_of(|| drop(Chunk::decode(bytes)));
    assert!(chunk <= bound, "{chunk} bytes for a chunk of {}", bytes.len());
    let joined = peak_of(|| {
        if let Ok(chunk) = Chunk::decode(bytes) {
            Store::new().join(&chunk);
        }
    });
    assert!(joined <= bound, "{joined} bytes for joining a chunk of {}", bytes.len());
    let text = String::from_utf8_lossy(bytes);
    let token = peak_of(|| drop(Token::from_text(&text)));
    assert!(token <= bound, "{token} bytes for a token of {}", bytes.len());
}

/// A replica with a virtual clock and chance.
struct Driven {
    replica: Replica,
    seed: u64,
}

impl Driven {
    fn start(name: &str, bootstrap_ms: u32, seed: u64) -> Self {
        let config = Config { name: Some(name.into()), bootstrap_ms, frame_bytes: 4096, ..Config::usual(CLUSTER) };
        let mut seed = seed;
        let replica = Replica::start(config, &mut Turn { now: Timestamp(1), chance: &mut || draw(&mut seed) });
        Self { replica: replica.expect("the configuration is within bounds").0, seed }
    }

    fn call<T>(&mut self, now: u64, call: impl FnOnce(&mut Replica, &mut Turn<'_>) -> T) -> T {
        let seed = &mut self.seed;
        call(&mut self.replica, &mut Turn { now: Timestamp(now), chance: &mut || draw(seed) })
    }

    fn post(&mut self, now: u64, data_type: &str, key: &str, body: &str) -> Effects {
        let path = format!("/v1/data/{data_type}/{key}");
        let request = Request { method: "POST".into(), path, body: body.into(), ..Request::default() };
        let response = self.call(now, |replica, turn| replica.invoke(&request, turn));
        assert_eq!(response.status, 200);
        response.effects
    }
}

fn draw(seed: &mut u64) -> u64 {
    *seed += 1;
    dayfly_core::digest::mix(*seed)
}

/// Real frames of every kind: a founder that writes, and a newcomer that is filled, misses much and is repaired twice.
fn frames() -> Vec<Vec<u8>> {
    let mut replicas = [Driven::start("a", 0, 10), Driven::start("b", 1000, 20)];
    let mut seen = Vec::new();
    let mut inboxes: [Vec<Vec<u8>>; 2] = [vec![], vec![]];
    let mut publish = |from: usize, effects: Effects, inboxes: &mut [Vec<Vec<u8>>; 2], lose: bool| {
        for frame in effects.frames {
            seen.push(frame.body.clone());
            let to_other = frame.route != Route::One(["a", "b"][from].into());
            if to_other && !lose {
                inboxes[1 - from].push(frame.body);
            }
        }
    };
    for (index, driven) in replicas.iter_mut().enumerate() {
        let effects = driven.call(2, |replica, turn| replica.wake(Timestamp(3_000_000), turn));
        publish(index, effects, &mut inboxes, false);
    }
    for (round, now) in (0..4_000).map(|round| (round, 10 + 50 * round)) {
        let bodies =
            [("orset", r#"{"add":["x"]}"#), ("pncounter", r#"{"decrement":3}"#), ("lwwregister", r#"{"set":[1]}"#)];
        if round < 40 || (1_000..1_010).contains(&round) || (2_000..2_200).contains(&round) {
            let (data_type, body) = bodies[round as usize % 3];
            let effects = replicas[0].post(now, data_type, &format!("k{}", round % 70), body);
            publish(0, effects, &mut inboxes, round >= 1_000);
            let map = r#"{"update":{"f":{"type":"map","update":{"g":{"type":"ewflag","enable":true}}}}}"#;
            let effects = replicas[0].post(now, "map", "m", map);
            publish(0, effects, &mut inboxes, round >= 1_000);
        }
        for index in 0..2 {
            let inbox = std::mem::take(&mut inboxes[index]);
            let effects = replicas[index].call(now, |replica, turn| {
                if inbox.is_empty() { replica.tick(turn) } else { replica.receive(&inbox, turn) }
            });
            publish(index, effects, &mut inboxes, false);
        }
    }
    assert_eq!(replicas[0].replica.store().root(), replicas[1].replica.store().root(), "the newcomer was filled");
    seen
}

/// What body a frame has, for the check that all kinds are there.
fn kind(bytes: &[u8]) -> (usize, usize) {
    use dayfly_core::frame::{Body, Want};
    match Frame::decode(bytes, CLUSTER).expect("a real frame").body {
        Body::Beat => (0, 0),
        Body::Delta(_) => (1, 0),
        Body::Ask(ask) => match ask.want {
            Want::All { .. } => (2, 0),
            Want::Sketched { .. } => (2, 1),
            Want::Described { .. } => (2, 2),
        },
        Body::Answer(_) => (3, 0),
        Body::Members(_) => (4, 0),
        Body::Wake => (5, 0),
        Body::Share(_) => (6, 0),
        Body::Combined(..) => (7, 0),
        Body::SnapshotDue => (8, 0),
        Body::Link(_) => (9, 0),
    }
}

/// What the same writes and members would be in a large cluster, and along links of an overlay.
fn combining_frames(frames: &[Vec<u8>]) -> Vec<Vec<u8>> {
    use dayfly_core::brief::Brief;
    use dayfly_core::frame::{Body, Link};
    let decoded: Vec<Frame> = frames.iter().map(|frame| Frame::decode(frame, CLUSTER).expect("a real frame")).collect();
    let members = decoded.iter().find_map(|frame| match &frame.body {
        Body::Members(members) => Some(members.clone()),
        _ => None,
    });
    let members = members.expect("a newcomer was told the members");
    let mut combining = Vec::new();
    for frame in decoded {
        let Body::Delta(chunk) = &frame.body else { continue };
        let (mut nth, number) = (0, 1);
        let brief = Brief::of(chunk.clone(), |_| {
            nth += 1;
            nth % 2 == 0
        });
        let link = Body::Link(Link { number, claim: None, chunk: brief });
        let combined = Body::Combined(members.clone(), chunk.clone());
        for body in [Body::Share(chunk.clone()), combined, Body::SnapshotDue, link] {
            combining.push(Frame { body, ..frame.clone() }.encode(CLUSTER));
        }
    }
    combining
}

#[test]
fn real_frames_take_little_memory() {
    let mut frames = frames();
    frames.extend(combining_frames(&frames));
    let kinds: std::collections::BTreeSet<_> = frames.iter().map(|frame| kind(frame)).collect();
    assert_eq!(kinds.len(), 12, "{kinds:?}");
    frames.iter().for_each(|frame| check(frame));
}

/// A chunk in the making, column by column, as a sender that wants to cost memory would make it.
fn chunk(
    writers: &Writer,
    spans: Writer,
    cells: Writer,
    [seqs, numbers, lengths]: [Writer; 3],
    payloads: &[u8],
) -> Vec<u8> {
    let mut out = Writer::new();
    out.byte(1);
    out.byte(0);
    out.column(writers.clone());
    out.column(spans);
    out.column(cells);
    out.column(seqs);
    out.column(numbers);
    out.column(lengths);
    out.raw(payloads);
    out.into_bytes()
}

fn one_writer() -> Writer {
    let mut writers = Writer::new();
    writers.wide(7);
    writers
}

fn numbers(numbers: impl IntoIterator<Item = u64>) -> Writer {
    let mut out = Writer::new();
    numbers.into_iter().for_each(|number| out.number(number));
    out
}

/// `count` of everything that can be many and small.
fn dense_chunks(count: u64) -> Vec<Vec<u8>> {
    let none = || [numbers([0]), Writer::new(), Writer::new()];
    // Intervals of one dot each.
    let spans = numbers([count].into_iter().chain((0..2 * count).map(|_| 0)));
    let many_spans = chunk(&one_writer(), spans, Writer::new(), none(), b"");
    // Entries of one byte each, in one cell.
    let mut cell = Writer::new();
    cell.byte(DataType::EwFlag as u8);
    cell.text("k");
    let columns = [
        numbers([count].into_iter().chain((0..count).map(|_| 0))),
        numbers((0..count).map(|_| 0)),
        numbers((0..count).map(|_| 1)),
    ];
    let many_entries = chunk(&one_writer(), numbers([1, 0, count - 1]), cell, columns, &vec![1; count as usize]);
    // A cell each.
    let mut cells = Writer::new();
    for number in 0..count {
        cells.byte(DataType::EwFlag as u8);
        cells.text(&format!("{number:x}"));
    }
    let columns =
        [numbers([count].into_iter().chain((0..count).map(|_| 0))), numbers(0..count), numbers((0..count).map(|_| 1))];
    let many_cells = chunk(&one_writer(), numbers([1, 0, count - 1]), cells, columns, &vec![1; count as usize]);
    // Cells at the end of long paths of short names.
    let mut cells = Writer::new();
    for number in 0..count.div_ceil(32) {
        cells.byte(DataType::Map as u8);
        cells.text(&format!("{number:x}"));
        cells.number(32);
        (0..32).for_each(|_| cells.text("f"));
        cells.byte(DataType::EwFlag as u8);
    }
    let paths = count.div_ceil(32);
    let columns =
        [numbers([paths].into_iter().chain((0..paths).map(|_| 0))), numbers(0..paths), numbers((0..paths).map(|_| 1))];
    let long_paths = chunk(&one_writer(), numbers([1, 0, paths - 1]), cells, columns, &vec![1; paths as usize]);
    // A writer each.
    let mut writers = Writer::new();
    (0..count).for_each(|writer| writers.wide(writer.into()));
    let spans = numbers((0..count).flat_map(|_| [1, 0, 0]));
    let many_writers =
        chunk(&writers, spans, Writer::new(), [numbers((0..count).map(|_| 0)), Writer::new(), Writer::new()], b"");
    vec![many_spans, many_entries, many_cells, long_paths, many_writers]
}

/// A frame with this body, which begins with its kind.
fn frame_of(body: &[u8]) -> Vec<u8> {
    let mut out = Writer::new();
    out.byte(1);
    out.text(CLUSTER);
    out.number(0);
    write_record(&mut out, "n");
    out.flag(true);
    out.wide(0);
    out.number(0);
    out.number(0);
    out.raw(body);
    out.into_bytes()
}

fn write_record(out: &mut Writer, name: &str) {
    out.text(name);
    out.number(0);
    out.flag(false);
    out.number(0);
    (0..3).for_each(|_| out.text(""));
}

fn dense_frames(count: u64) -> Vec<Vec<u8>> {
    let mut members = Writer::new();
    members.byte(4);
    (0..count).for_each(|_| {
        write_record(&mut members, "m");
        members.flag(false);
    });
    let ask = |kind: u8| {
        let mut ask = Writer::new();
        ask.byte(2);
        (0..3).for_each(|_| ask.number(0));
        ask.byte(kind);
        ask
    };
    let mut ranges = ask(0);
    ranges.flag(false);
    ranges.number(count);
    for at in 0..2 * count {
        ranges.wide(at.into());
        ranges.number(0);
    }
    let mut gaps = ask(1);
    gaps.bytes(&[0; 8]);
    gaps.column(one_writer());
    gaps.column(numbers([count].into_iter().chain((0..2 * count).map(|_| 0))));
    let mut sketch = ask(1);
    sketch.bytes(&vec![0; 8 + 10 * count as usize]);
    (0..2).for_each(|_| sketch.column(Writer::new()));
    let mut described = ask(2);
    described.wide(0);
    described.number(0);
    described.wide(1);
    described.number(0);
    for _ in 0..2 {
        let mut writers = Writer::new();
        (0..count).for_each(|writer| writers.wide(writer.into()));
        described.column(writers);
        described.column(numbers((0..count).flat_map(|_| [1, 0, 0])));
    }
    let mut outline = Writer::new();
    outline.byte(3);
    outline.number(0);
    outline.wide(0);
    outline.number(0);
    outline.wide(1);
    outline.number(0);
    outline.flag(false);
    outline.flag(false);
    outline.number(0);
    outline.number(count);
    for at in 0..count {
        outline.wide(at.into());
        outline.number(0);
    }
    outline.raw(&chunk(&Writer::new(), Writer::new(), Writer::new(), [(); 3].map(|()| Writer::new()), b""));
    [members, ranges, gaps, sketch, described, outline].map(|body| frame_of(&body.into_bytes())).to_vec()
}

#[test]
fn dense_bytes_take_memory_in_proportion() {
    for count in [1, 100, 1_025, 4_097] {
        for bytes in dense_chunks(count) {
            assert!(Chunk::decode(&bytes).is_ok(), "the test makes chunks that decode: {:?}", Chunk::decode(&bytes));
            check(&bytes);
        }
        for bytes in dense_frames(count) {
            assert!(Frame::decode(&bytes, CLUSTER).is_ok(), "the test makes frames that decode");
            check(&bytes);
        }
    }
}

/// Numbers that promise much and bytes that bring nothing.
#[test]
fn promises_take_no_memory() {
    let none = || [(); 3].map(|()| Writer::new());
    let promised = [u64::MAX, 1 << 40, u64::from(u32::MAX), 1 << 20];
    for count in promised {
        let mut bodies = vec![
            chunk(&one_writer(), numbers([count]), Writer::new(), none(), b""),
            chunk(
                &one_writer(),
                numbers([1, 0, 0]),
                Writer::new(),
                [numbers([count]), Writer::new(), Writer::new()],
                b"",
            ),
            chunk(&one_writer(), numbers([1, 0, count / 2]), Writer::new(), none(), b""),
        ];
        let mut long_column = Writer::new();
        long_column.byte(1);
        long_column.byte(0);
        long_column.number(count);
        bodies.push(long_column.into_bytes());
        let mut ranges = Writer::new();
        ranges.byte(2);
        (0..3).for_each(|_| ranges.number(0));
        ranges.byte(0);
        ranges.flag(false);
        ranges.number(count);
        bodies.push(frame_of(&ranges.into_bytes()));
        bodies.iter().for_each(|bytes| check(bytes));
    }
}

thread_local! {
    static SEEDS: Vec<Vec<u8>> =
        frames().into_iter().chain(dense_chunks(40)).chain(dense_frames(40)).filter(|bytes| bytes.len() < 8_000).collect();
}

proptest! {
    #[test]
    fn arbitrary_bytes_take_memory_in_proportion(bytes in prop::collection::vec(any::<u8>(), 0..2_000)) {
        check(&bytes);
    }

    /// Valid bytes with a few changes, which get further in than random ones.
    #[test]
    fn mutated_bytes_take_memory_in_proportion(
        which in any::<Index>(), changes in prop::collection::vec((any::<Index>(), any::<u8>(), 0..4), 1..6),
    ) {
        let mut bytes = SEEDS.with(|seeds| which.get(seeds).clone());
        for (at, byte, change) in changes {
            let at = at.index(bytes.len());
            match change {
                0 => bytes[at] = byte,
                1 => bytes[at] ^= 1 << (byte % 8),
                2 => bytes.insert(at, byte),
                _ => bytes.truncate(at.max(1)),
            }
        }
        check(&bytes);
    }
}
