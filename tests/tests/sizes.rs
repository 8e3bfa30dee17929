//! What entries cost, in memory and on the wire: counts that are the same on each run, compared with
//! `golden/sizes.toml`, and with the goals of DESIGN section 10.
//!
//! `cargo xtask test --bless` writes the file anew.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell as Slot;
use std::collections::BTreeMap;
use std::path::Path;

use dayfly_core::cell::DataType;
use dayfly_core::clock::Stamp;
use dayfly_core::dot::{Era, WriterId};
use dayfly_core::store::{Range, Store, Write};
use dayfly_core::types;
use dayfly_core::types::operation::Operation;

thread_local! {
    static HELD: Slot<usize> = const { Slot::new(0) };
}

/// The system's allocator, which counts what each thread holds, as asked for.
struct Counting;

// SAFETY: every call goes to the system's allocator unchanged; counting touches nothing but a number of the thread.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        HELD.set(HELD.get().wrapping_add(layout.size()));
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        HELD.set(HELD.get().wrapping_sub(layout.size()));
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const ENTRIES: u64 = 100_000;
const FRAME_BYTES: usize = 64 * 1024;

/// A store with one orset of [`ENTRIES`] elements, and what it holds on the heap. Elements come in no order and have 16
/// characters, which makes 18 bytes of JSON.
fn orset(writers: u64) -> (Store, usize) {
    let before = HELD.get();
    let mut store = Store::new();
    for number in 0..ENTRIES {
        let element = format!("\"{:016x}\"", dayfly_core::digest::mix(number));
        write(&mut store, number % writers, "key", DataType::OrSet, &Operation::Add(vec![element]));
    }
    assert_eq!(store.entry_count(), ENTRIES as usize);
    assert_eq!(store.writer_count(), writers as usize);
    let held = HELD.get().wrapping_sub(before);
    (store, held)
}

/// Bytes of the state in chunks of a frame's size.
fn wire_bytes(store: &Store) -> usize {
    store.walk_down(Range::ALL, None, FRAME_BYTES).map(|piece| piece.chunk.encode().len()).sum()
}

#[test]
fn entries_cost_what_they_cost() {
    let mut counts = BTreeMap::new();
    for writers in [1, 1_024] {
        let (store, held) = orset(writers);
        let wire = wire_bytes(&store);
        for (what, bytes, goal) in [("heap", held, 64), ("wire", wire, 26)] {
            assert!(
                bytes <= goal * ENTRIES as usize,
                "{what}: {bytes} bytes for {ENTRIES} entries, {goal} each are the goal"
            );
            counts.insert(format!("orset_{ENTRIES}_entries_{writers}_writers_{what}_bytes"), bytes as u64);
        }
    }
    compare(&counts);
}

/// What a store says of itself, from counts, is near enough to refuse writes by, whatever it holds most of.
#[test]
fn a_store_knows_about_how_large_it_is() {
    // Elements; elements of as many writers as is likely; writers and no more; keys; long values.
    let shapes: [(&str, u64, &str, u64); 5] = [
        ("orset", 100_000, "one", 1),
        ("orset", 100_000, "one", 1_024),
        ("orset", 10_000, "one", 10_000),
        ("gcounter", 20_000, "many", 1),
        ("lwwregister", 5_000, "many", 10),
    ];
    for (type_name, count, keys, writers) in shapes {
        let before = HELD.get();
        let mut store = Store::new();
        for number in 0..count {
            let key = if keys == "many" { format!("a-key-of-the-database/{number}") } else { "key".to_owned() };
            let operation = match type_name {
                "gcounter" => Operation::Increment(number + 1),
                "lwwregister" => Operation::Set(format!("\"{}\"", "x".repeat(500))),
                _ => Operation::Add(vec![format!("\"{number:016}\"")]),
            };
            let data_type = DataType::from_name(type_name).expect("a type");
            write(&mut store, number % writers, &key, data_type, &operation);
        }
        let (said, real) = (store.bytes() as f64, HELD.get().wrapping_sub(before) as f64);
        let off = (said / real - 1.0).abs();
        assert!(off < 0.3, "{type_name} {keys} {writers}: the store says {said} bytes and holds {real}");
    }
}

fn write(store: &mut Store, writer: u64, key: &str, data_type: DataType, operation: &Operation) {
    let writer = WriterId::fresh(Era(60_000), &mut || dayfly_core::digest::mix(writer + 1));
    let mut write = Write::begin(store, writer, usize::MAX / 2);
    types::apply(&mut write, key, data_type, operation, Stamp(0)).expect("there is room");
    write.commit();
}

fn compare(counts: &BTreeMap<String, u64>) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/sizes.toml");
    let text = counts.iter().map(|(name, bytes)| format!("{name} = {bytes}\n"));
    let text: String =
        ["# Made by the test `sizes`, which says how to write it anew.\n".to_owned()].into_iter().chain(text).collect();
    if std::env::var_os("DAYFLY_BLESS").is_some() {
        std::fs::write(&path, &text).expect("the golden file can be written");
    }
    let expected = std::fs::read_to_string(&path).expect("the golden file can be read");
    let expected: BTreeMap<String, u64> = toml::from_str(&expected).expect("the golden file is TOML of numbers");
    assert_eq!(*counts, expected, "the counts differ from tests/golden/sizes.toml; if that is meant, bless them");
}
