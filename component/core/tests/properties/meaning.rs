//! Each type against the plain model of its meaning, under random concurrent histories.

use std::collections::BTreeMap;

use dayfly_core::cell::DataType;
use dayfly_core::refusal::Refusal;
use proptest::prelude::*;
use serde_json::Value;

use crate::contents::Contents;
use crate::execution::Execution;
use crate::history::{NUMBERS, REPLICAS, Step, causal_history, causal_history_of};
use crate::model::{Author, Model, View};

/// Lives through a history twice, in stores and in the model, and compares after each step.
fn check(history: &[Step]) -> Result<(), TestCaseError> {
    let mut execution = Execution::new();
    let mut model = Model::default();
    let mut views = vec![View::new(); REPLICAS];
    for step in history {
        let changed = match step {
            Step::Write { replica, fresh, stamp, operations } => {
                if *fresh {
                    execution.renew_writer(*replica);
                }
                let author = Author { writer: execution.peers[*replica].writer.0, stamp: *stamp };
                let expected = model.write(&mut views[*replica], author, operations);
                match (execution.write(*replica, *stamp, operations), expected) {
                    (Ok(written), Ok(did)) => prop_assert_eq!(written.is_some(), did, "whether the write did anything"),
                    (Err(Refusal::Overflow), Err(_)) => {}
                    (got, expected) => prop_assert!(false, "{:?}, but expected {:?}", got, expected),
                }
                *replica
            }
            Step::Sync { from, to, way } => {
                execution.sync(*from, *to, way);
                let learned = views[*from].clone();
                views[*to].extend(learned);
                *to
            }
            Step::Leak { .. } => unreachable!("a causal history leaks nothing"),
        };
        compare(&execution, &model, &views[changed], changed)?;
    }
    Ok(())
}

fn compare(execution: &Execution, model: &Model, view: &View, replica: usize) -> Result<(), TestCaseError> {
    let keys = model.keys(view).into_iter();
    let expected: BTreeMap<(String, DataType), String> =
        keys.filter_map(|key| model.read(view, &key.0, key.1).map(|value| (key, value))).collect();
    let reads = Contents::of(&execution.peers[replica].store).reads;
    prop_assert!(reads.keys().eq(expected.keys()), "keys: {:?}, but expected {:?}", reads, expected);
    for (key, value) in reads {
        if key.1 == DataType::Map {
            // The order of fields is not part of the meaning.
            let parsed = [&value, &expected[&key]].map(|text| serde_json::from_str::<Value>(text).expect("JSON"));
            prop_assert_eq!(&parsed[0], &parsed[1], "the map {}", key.0);
        } else {
            prop_assert_eq!(&value, &expected[&key], "the {} {}", key.1.name(), key.0);
        }
    }
    Ok(())
}

macro_rules! each_type_means_what_its_model_says {
    ($($name:ident: $types:expr;)+) => {
        proptest! {
            $(
                #[test]
                fn $name(history in causal_history_of($types)) {
                    check(&history)?;
                }
            )+
        }
    };
}

each_type_means_what_its_model_says! {
    gcounters_count: &[DataType::GCounter];
    pncounters_count: &[DataType::PnCounter];
    gsets_grow: &[DataType::GSet];
    orsets_add_and_remove: &[DataType::OrSet];
    rwsets_remove_and_add: &[DataType::RwSet];
    lwwregisters_keep_the_last: &[DataType::LwwRegister];
    mvregisters_keep_all_that_are_last: &[DataType::MvRegister];
    ewflags_are_enabled_in_doubt: &[DataType::EwFlag];
    dwflags_are_disabled_in_doubt: &[DataType::DwFlag];
    maxregisters_keep_the_greatest: &[DataType::MaxRegister];
    minregisters_keep_the_least: &[DataType::MinRegister];
    maps_hold_all_of_them: &[DataType::Map];
}

proptest! {
    #[test]
    fn all_types_beside_each_other_mean_the_same(history in causal_history()) {
        check(&history)?;
    }
}

proptest! {
    /// Where nothing is concurrent, nothing piles up: what a write replaces is gone.
    #[test]
    fn a_lone_replica_keeps_one_entry_of_a_kind(history in causal_history()) {
        let mut execution = Execution::new();
        for step in &history {
            let Step::Write { stamp, operations, .. } = step else { continue };
            let _ = execution.write(0, *stamp, operations);
            let mut kinds = BTreeMap::new();
            for (cell, payload) in Contents::of(&execution.peers[0].store).entries.into_values() {
                let element = cell.leaf.element(&payload).to_vec();
                let count = kinds.entry((cell, element)).or_insert(0);
                *count += 1;
                prop_assert_eq!(*count, 1, "{:?}", kinds);
            }
        }
    }
}

/// The list by whose order the model compares is in the form that the API would give the store.
#[test]
fn the_numbers_of_the_model_are_canonical() {
    for number in NUMBERS {
        let parsed: Value = serde_json::from_str(number).expect("a number");
        assert_eq!(parsed.to_string(), number);
    }
}
