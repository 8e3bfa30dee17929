//! Writes that are not committed.

use dayfly_core::clock::Stamp;
use dayfly_core::store::Write;
use dayfly_core::types;
use proptest::prelude::*;

use crate::contents::Contents;
use crate::execution::{Execution, NO_LIMIT};
use crate::history::{REPLICAS, any_batch, any_history};

proptest! {
    /// A write that is dropped leaves the state, its root and its counts exactly as they were, whoever writes.
    #[test]
    fn a_dropped_write_leaves_no_trace(
        history in any_history(), replica in 0..REPLICAS, batch in any_batch(), fresh in any::<bool>(), after in any_batch(),
    ) {
        let mut execution = Execution::of(&history);
        if fresh {
            execution.renew_writer(replica);
        }
        let peer = &mut execution.peers[replica];
        let before = Contents::of(&peer.store);
        {
            let mut write = Write::begin(&mut peer.store, peer.writer, NO_LIMIT);
            for (name, data_type, operation) in &batch {
                if types::apply(&mut write, name, *data_type, operation, Stamp(9)).is_err() {
                    break;
                }
            }
        }
        prop_assert_eq!(&Contents::of(&peer.store), &before);

        // And what is written next is what would have been written without it.
        let mut other = Execution::of(&history);
        if fresh {
            other.renew_writer(replica);
        }
        let written = execution.write(replica, 9, &after);
        prop_assert_eq!(&written, &other.write(replica, 9, &after));
        let [one, other] = [execution, other].map(|execution| Contents::of(&execution.peers[replica].store));
        prop_assert_eq!(one, other);
    }

    /// A store that is full refuses, and what the write did before is undone.
    #[test]
    fn a_full_store_refuses_and_undoes(history in any_history(), replica in 0..REPLICAS, batch in any_batch()) {
        let mut execution = Execution::of(&history);
        let peer = &mut execution.peers[replica];
        let before = Contents::of(&peer.store);
        let limit = peer.store.bytes();
        let mut write = Write::begin(&mut peer.store, peer.writer, limit);
        let outcome = batch
            .iter()
            .try_for_each(|(name, data_type, operation)| types::apply(&mut write, name, *data_type, operation, Stamp(9)));
        if outcome.is_err() {
            drop(write);
            prop_assert_eq!(&Contents::of(&peer.store), &before);
        } else {
            write.commit();
            // Something was dropped first, or nothing was put.
            prop_assert!(peer.store.bytes() <= limit + 600, "{} bytes, of {limit} at most", peer.store.bytes());
        }
    }
}
