//! Checkpoints: parts under their keys.

use std::collections::BTreeMap;

use dayfly_core::cell::{Cell, DataType};
use dayfly_core::chunk::{Chunk, ChunkEntries, ChunkEntry, ChunkPart};
use dayfly_core::dot::WriterId;
use dayfly_core::intervals::Intervals;
use dayfly_core::payload::Payload;
use dayfly_core::store::{SAVE_BLOCK, Store};
use proptest::prelude::*;

use crate::contents::Contents;
use crate::execution::{Chance, Execution};
use crate::history::{REPLICAS, Step, any_history};

/// What a host keeps: the newest part of each key.
#[derive(Default)]
struct Shelf {
    parts: BTreeMap<(WriterId, u64), Chunk>,
    version: u64,
}

impl Shelf {
    fn save(&mut self, store: &mut Store) {
        for (block, range) in store.changed_since(self.version) {
            for piece in store.walk_down(range, None, usize::MAX) {
                assert_eq!(piece.covers, range);
                self.parts.insert((range.low.writer, block), piece.chunk);
            }
        }
        self.version = store.end_save_version();
    }

    fn load(&self, chance: &mut Chance) -> Store {
        let mut store = Store::new();
        for part in chance.shuffled(self.parts.values()) {
            store.join(part);
        }
        store
    }
}

/// A writer's history that spans several blocks of dots: how long a time each dot lived.
fn chunk_at(writer: WriterId, (low, high): (u64, u64), time: u64, chance_of: u64) -> Chunk {
    let lived_until = |seq: u64| Chance(seq ^ chance_of).draw() % 2_000;
    // A few entries live for a while; of most nothing is left.
    let entries = (low..=high).filter(|seq| lived_until(*seq) < 12 && time <= lived_until(*seq));
    let entries: ChunkEntries =
        entries.map(|seq| ChunkEntry { seq, cell: 0, payload: Payload::from(seq.to_string().as_bytes()) }).collect();
    let cells = if entries.is_empty() { vec![] } else { vec![Cell::of_key("k", DataType::OrSet)] };
    Chunk { cells, parts: vec![ChunkPart { writer, context: Intervals::span(low, high), entries }] }
}

proptest! {
    /// What was saved at any times, each time only what had changed since, makes the state of the last time again.
    #[test]
    fn saved_parts_make_the_state_again(history in any_history(), replica in 0..REPLICAS, seed in any::<u64>()) {
        let mut chance = Chance(seed);
        let mut shelf = Shelf::default();
        let mut steps: Vec<&[Step]> = vec![&history];
        while let Some(longest) = steps.last().filter(|part| part.len() > 1 && chance.below(3) > 0).copied() {
            let (one, other) = longest.split_at(1 + chance.below(longest.len() - 1));
            steps.pop();
            steps.extend([one, other]);
        }
        let mut execution = Execution::new();
        for part in steps {
            execution.live(part);
            shelf.save(&mut execution.peers[replica].store);
        }
        let store = &mut execution.peers[replica].store;
        prop_assert_eq!(Contents::of(&shelf.load(&mut chance)), Contents::of(store));
        prop_assert_eq!(store.changed_since(shelf.version).count(), 0, "nothing has changed since");
    }

    /// The same with writers whose dots fill several blocks and become known in any order.
    #[test]
    fn blocks_that_change_alone_are_saved_alone(
        spans in prop::collection::vec((0..2_u128, 1..5 * SAVE_BLOCK, prop_oneof![0..40_u64, 0..9000_u64], any::<bool>()), 1..12),
        seed in any::<u64>(),
    ) {
        let mut chance = Chance(seed);
        let (mut store, mut shelf) = (Store::new(), Shelf::default());
        for (time, (writer, low, more, saved)) in spans.into_iter().enumerate() {
            store.join(&chunk_at(WriterId(writer), (low, low + more), time as u64, seed));
            if saved {
                shelf.save(&mut store);
                prop_assert_eq!(shelf.load(&mut chance).root(), store.root());
            }
        }
        shelf.save(&mut store);
        prop_assert_eq!(shelf.load(&mut chance).root(), store.root());
    }
}
