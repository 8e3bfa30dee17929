//! The laws of the join.

use dayfly_core::cell::DataType;
use dayfly_core::chunk::Chunk;
use dayfly_core::intervals::DotSet;
use dayfly_core::store::Store;
use dayfly_core::types::operation::Operation;
use proptest::prelude::*;
use proptest::sample::Index;

use crate::contents::{Contents, store_of, whole};
use crate::execution::{Chance, Execution};
use crate::history::any_history;

proptest! {
    #[test]
    fn the_join_is_commutative(history in any_history(), pick in any::<[Index; 2]>()) {
        let chunks = Execution::of(&history).chunks();
        let [a, b] = pick.map(|index| index.get(&chunks));
        prop_assert_eq!(Contents::of(&store_of([a, b])), Contents::of(&store_of([b, a])));
    }

    #[test]
    fn the_join_is_associative(history in any_history(), pick in any::<[Index; 3]>()) {
        let chunks = Execution::of(&history).chunks();
        let [a, b, c] = pick.map(|index| index.get(&chunks));
        let first = store_of([a, b, c]);
        let second = store_of([a, &whole(&store_of([b, c]))]);
        prop_assert_eq!(Contents::of(&first), Contents::of(&second));
    }

    #[test]
    fn the_join_is_idempotent(history in any_history(), pick in any::<[Index; 2]>()) {
        let chunks = Execution::of(&history).chunks();
        let [a, b] = pick.map(|index| index.get(&chunks));
        let mut store = store_of([a, b]);
        let once = Contents::of(&store);
        for again in [a, b, &whole(&store_of([a, b]))] {
            prop_assert!(!store.join(again).changed(), "what is known is taken for news");
            prop_assert_eq!(&Contents::of(&store), &once);
        }
    }

    /// Any number of chunks in any order make the same state.
    #[test]
    fn the_order_of_arrival_does_not_matter(history in any_history(), order in any::<[u64; 2]>()) {
        let chunks = Execution::of(&history).chunks();
        let [first, second] = order.map(|order| store_of(&Chance(order).shuffled(chunks.clone())));
        prop_assert_eq!(Contents::of(&first), Contents::of(&second));
    }

    /// What a join says that it changed is what it changed.
    #[test]
    fn a_join_tells_what_it_changed(history in any_history(), order in any::<u64>()) {
        let chunks = Execution::of(&history).chunks();
        let mut store = Store::new();
        for chunk in Chance(order).shuffled(chunks) {
            let before = Contents::of(&store);
            let joined = store.join(&chunk);
            let after = Contents::of(&store);
            prop_assert_eq!(joined.dots, (after.dots().count() - before.dots().count()) as u64);
            prop_assert_eq!(joined.added, after.entries.keys().filter(|dot| !before.entries.contains_key(dot)).count());
            prop_assert_eq!(joined.removed, before.entries.keys().filter(|dot| !after.entries.contains_key(dot)).count());
            prop_assert_eq!(joined.changed(), before != after);
        }
    }

    /// Equal roots mean equal states, and different states have different roots.
    #[test]
    fn roots_are_equal_exactly_if_states_are(history in any_history(), pick in any::<[Index; 3]>()) {
        let chunks = Execution::of(&history).chunks();
        let [a, b, c] = pick.map(|index| index.get(&chunks));
        let (left, right) = (store_of([a, b]), store_of([a, c]));
        prop_assert_eq!(left.root() == right.root(), Contents::of(&left) == Contents::of(&right));
    }
}

/// What one dot was, in three pieces that were cut at three times: counted, counted again (which replaces the first), and
/// deleted. The pieces say nothing of the first dot's end. In each order the same is left: the first dot.
#[test]
fn a_counter_has_no_order_either() {
    let mut execution = Execution::new();
    let increment = [("k".to_owned(), DataType::GCounter, Operation::Increment(1))];
    let writer = execution.peers[0].writer;
    let piece = |execution: &Execution, seq: u64| -> Chunk {
        execution.peers[0].store.extract(&DotSet::from_iter([(writer, [(seq, seq)].into_iter().collect())]))
    };
    execution.write(0, 0, &increment).unwrap();
    let first = piece(&execution, 1);
    execution.write(0, 0, &increment).unwrap();
    let second = piece(&execution, 2);
    execution.write(0, 0, &[("k".to_owned(), DataType::GCounter, Operation::Delete)]).unwrap();
    let deleted = piece(&execution, 2);

    let orders = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];
    let pieces = [&first, &second, &deleted];
    let all = orders.map(|order| Contents::of(&store_of(order.map(|at| pieces[at]))));
    assert!(all.iter().all(|contents| *contents == all[0]), "{all:#?}");
    assert_eq!(all[0].entries.len(), 1);
    // Before the deletion is known, only the newer of the two counts.
    let counted = Contents::of(&store_of([&second, &first])).reads;
    assert_eq!(counted.into_values().collect::<Vec<_>>(), ["2"]);
}
