//! Random frames, with all bodies.

use dayfly_core::brief::Brief;
use dayfly_core::digest::Digest;
use dayfly_core::dot::{Dot, Era, Seq, WriterId};
use dayfly_core::frame::{Answer, Ask, Body, Claim, Frame, Link, Want};
use dayfly_core::intervals::{DotSet, Intervals};
use dayfly_core::member::Record;
use dayfly_core::sketch::Sketch;
use dayfly_core::snapshot::LogMark;
use dayfly_core::store::{Description, Range, Ranges};
use dayfly_core::time::Timestamp;
use proptest::prelude::*;
use proptest::sample::Index;

use crate::execution::Execution;
use crate::history::any_history;

/// The cluster of the frames here.
pub const CLUSTER: &str = "a-cluster";

/// A frame of any kind. Chunks, sketches and descriptions are those of an execution.
pub fn frame() -> impl Strategy<Value = Frame> {
    let mark = (number(), number()).prop_map(|(snapshot, bytes)| LogMark { snapshot, bytes });
    let head = (any::<u32>(), record(), any::<bool>(), any::<[u64; 2]>(), mark);
    (head, body()).prop_map(|((era, sender, complete, root, log), body)| Frame {
        era: Era(era),
        sender,
        complete,
        root: Digest(root),
        log,
        body,
    })
}

fn body() -> impl Strategy<Value = Body> {
    prop_oneof![
        1 => Just(Body::Beat),
        1 => Just(Body::Wake),
        3 => chunk().prop_map(Body::Delta),
        4 => ask().prop_map(Body::Ask),
        2 => answer().prop_map(Body::Answer),
        1 => members().prop_map(Body::Members),
        1 => chunk().prop_map(Body::Share),
        1 => (members(), chunk()).prop_map(|(members, chunk)| Body::Combined(members, chunk)),
        1 => Just(Body::SnapshotDue),
        3 => link().prop_map(Body::Link),
    ]
}

fn link() -> impl Strategy<Value = Link> {
    let claim = ("[a-z0-9_.-]{1,64}", number(), any::<u32>(), any::<bool>())
        .prop_map(|(root, beat, distance, is_child)| Claim { root, beat, distance, is_child });
    (number(), prop::option::of(claim), chunk(), any::<u64>()).prop_map(|(number, claim, chunk, known)| {
        let mut nth = 0;
        let chunk = Brief::of(chunk, |_| {
            nth += 1;
            known >> (nth % 64) & 1 == 1
        });
        Link { number, claim, chunk }
    })
}

fn members() -> impl Strategy<Value = Vec<(Record, bool)>> {
    prop::collection::vec((record(), any::<bool>()), 0..6)
}

/// A chunk of an execution.
pub fn chunk() -> impl Strategy<Value = dayfly_core::chunk::Chunk> {
    (any_history(), any::<Index>()).prop_map(|(history, which)| which.get(&Execution::of(&history).chunks()).clone())
}

/// Numbers around the lengths at which their encodings change.
fn number() -> impl Strategy<Value = u64> {
    prop_oneof![
        4 => 0..300_u64,
        1 => Just(250_u64), 1 => Just(251), 1 => 0xfff0..0x1_0010_u64, 1 => 0xffff_fff0..0x1_0000_0010_u64, 1 => any::<u64>(),
    ]
}

fn record() -> impl Strategy<Value = Record> {
    let texts = ("[a-z0-9_.-]{1,64}", "\\PC{0,8}", "\\PC{0,8}", "[a-z]{0,32}");
    (texts, number(), any::<bool>(), number()).prop_map(
        |((name, host, region, zone), incarnation, left, awake_until)| Record {
            name,
            incarnation,
            left,
            awake_until: Timestamp(awake_until),
            host,
            region,
            zone,
        },
    )
}

fn dot() -> impl Strategy<Value = Dot> {
    let writer = prop_oneof![(0..4_u128).boxed(), any::<u128>().boxed()];
    (writer, number()).prop_map(|(writer, seq)| Dot { writer: WriterId(writer), seq: Seq(seq) })
}

fn range() -> impl Strategy<Value = Range> {
    (dot(), dot()).prop_map(|(one, other)| {
        let range = Range { low: one.min(other), high: one.max(other) };
        if range.is_empty() { Range::ALL } else { range }
    })
}

/// Any dots that a frame can name.
fn dot_set() -> impl Strategy<Value = DotSet> {
    let span = (1..200_u64, prop_oneof![3 => 0..3_u64, 1 => 200..70_000_u64]).prop_map(|(low, more)| (low, low + more));
    let seqs = prop::collection::vec(span, 0..5).prop_map(|spans| spans.into_iter().collect::<Intervals>());
    prop::collection::vec((any::<u128>().prop_map(WriterId), seqs), 0..4)
        .prop_map(|writers| writers.into_iter().collect())
}

fn ask() -> impl Strategy<Value = Ask> {
    let want = prop_oneof![
        (prop::collection::vec(range(), 0..4), any::<bool>())
            .prop_map(|(ranges, members)| Want::All { ranges: Ranges::from_iter(ranges), members }),
        (prop::collection::vec(any::<u64>(), 0..9), 0..60_usize, dot_set())
            .prop_map(|(items, symbols, gaps)| Want::Sketched { sketch: Sketch::of(items.into_iter(), symbols), gaps }),
        (range(), dot_set(), dot_set())
            .prop_map(|(range, seen, live)| Want::Described { range, description: Description { seen, live } }),
    ];
    (number(), any::<u32>(), number(), want).prop_map(|(session, budget_bytes, until_ms, want)| Ask {
        session,
        budget_bytes,
        until_ms,
        want,
    })
}

fn answer() -> impl Strategy<Value = Answer> {
    ([number(), number()], range(), any::<[bool; 2]>(), prop::collection::vec(dot(), 0..5), chunk()).prop_map(
        |([session, entries], covers, [last, undecoded], outline, chunk)| Answer {
            session,
            covers,
            last,
            undecoded,
            entries,
            outline,
            chunk,
        },
    )
}

/// A change of bytes such as a broken wire or a hostile sender makes.
#[derive(Clone, Debug)]
pub enum Mutation {
    Flip(Index, u8),
    Cut(Index),
    Insert(Index, u8),
    Remove(Index),
    Repeat(Index, Index),
}

/// A few changes.
pub fn mutations() -> impl Strategy<Value = Vec<Mutation>> {
    let byte = prop_oneof![any::<u8>(), (0..8_u32).prop_map(|bit| 1 << bit), Just(0xff)];
    let one = prop_oneof![
        6 => (any::<Index>(), byte.clone()).prop_map(|(at, mask)| Mutation::Flip(at, mask)),
        1 => any::<Index>().prop_map(Mutation::Cut),
        2 => (any::<Index>(), byte).prop_map(|(at, byte)| Mutation::Insert(at, byte)),
        2 => any::<Index>().prop_map(Mutation::Remove),
        1 => (any::<Index>(), any::<Index>()).prop_map(|(from, to)| Mutation::Repeat(from, to)),
    ];
    prop::collection::vec(one, 1..4)
}

/// Makes the changes.
pub fn mutate(bytes: &mut Vec<u8>, mutations: &[Mutation]) {
    for mutation in mutations {
        let len = bytes.len();
        match mutation {
            _ if len == 0 => {}
            Mutation::Flip(at, mask) => bytes[at.index(len)] ^= *mask,
            Mutation::Cut(at) => bytes.truncate(at.index(len)),
            Mutation::Insert(at, byte) => bytes.insert(at.index(len), *byte),
            Mutation::Remove(at) => drop(bytes.remove(at.index(len))),
            Mutation::Repeat(from, to) => {
                let (from, to) = (from.index(len), to.index(len));
                bytes.extend_from_within(from.min(to)..from.max(to));
            }
        }
    }
}
