//! Sets: an entry an element. Add-wins is the optimised OR-set of Bieniusa et al., *An optimized conflict-free replicated
//! set* (2012); remove-wins keeps the removals as entries of their own.

use crate::cell::{Cell, DataType};
use crate::refusal::Refusal;
use crate::store::{CellRef, EntryRef, Store, StoreFull, Write};
use crate::types::as_text;

/// The first byte of an `rwset`'s payload.
const REMOVED: u8 = 0;
const ADDED: u8 = 1;

/// Adds elements (canonical JSON).
pub fn add(write: &mut Write<'_>, cell: &Cell, elements: &[String]) -> Result<(), Refusal> {
    for element in elements {
        match cell.leaf {
            DataType::GSet if !observed(write.store(), cell, element).is_empty() => {}
            DataType::RwSet => state(write, cell, element, ADDED)?,
            _ => write.replace(cell, element.as_bytes())?,
        }
    }
    Ok(())
}

/// Removes elements (canonical JSON).
pub fn remove(write: &mut Write<'_>, cell: &Cell, elements: &[String]) -> Result<(), Refusal> {
    for element in elements {
        match cell.leaf {
            DataType::RwSet => state(write, cell, element, REMOVED)?,
            _ => drop_observed(write, cell, element),
        }
    }
    Ok(())
}

/// Appends the elements as an array.
pub fn read(store: &Store, cell: CellRef, json: &mut String) {
    let mut last = None;
    json.push('[');
    for entry in store.entries(cell) {
        let element = store.payload(entry);
        // What was added concurrently has several entries, which stand side by side.
        if last != Some(element) {
            push_element(json, element);
            last = Some(element);
        }
    }
    json.push(']');
}

/// Appends the elements of which no removal is left, as an array.
pub fn read_remove_wins(store: &Store, cell: CellRef, json: &mut String) {
    let entries: Vec<&[u8]> = store.entries(cell).map(|entry| store.payload(entry)).collect();
    json.push('[');
    for same in entries.chunk_by(|a, b| a[1..] == b[1..]) {
        if same.iter().all(|payload| payload[0] == ADDED) {
            push_element(json, &same[0][1..]);
        }
    }
    json.push(']');
}

fn push_element(json: &mut String, element: &[u8]) {
    if !json.ends_with('[') {
        json.push(',');
    }
    json.push_str(as_text(element));
}

fn observed(store: &Store, cell: &Cell, element: &str) -> Vec<EntryRef> {
    let found = store.find(cell).into_iter();
    found.flat_map(|found| store.entries_of_element(found, element.as_bytes())).collect()
}

fn drop_observed(write: &mut Write<'_>, cell: &Cell, element: &str) {
    observed(write.store(), cell, element).into_iter().for_each(|entry| write.drop_entry(entry));
}

fn state(write: &mut Write<'_>, cell: &Cell, element: &str, what: u8) -> Result<(), StoreFull> {
    write.replace(cell, &[&[what], element.as_bytes()].concat())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::types::site::Site;

    const SETS: [DataType; 3] = [DataType::GSet, DataType::OrSet, DataType::RwSet];

    #[test]
    fn elements_are_any_json_in_canonical_form_and_order() {
        for leaf in SETS {
            let mut site = Site::new(1);
            site.run(leaf, r#"{"add":["b", 1, 1.0, null, {"z": [ ], "a": true}, [2, "é"], "a", "\u0061"]}"#).unwrap();
            let expected = r#"["a","b",1,1.0,[2,"é"],null,{"a":true,"z":[]}]"#;
            assert_eq!(site.read(leaf).as_deref(), Some(expected), "{leaf:?}");
        }
    }

    #[test]
    fn an_element_that_stands_twice_counts_once() {
        for leaf in SETS {
            let mut site = Site::new(1);
            site.run(leaf, r#"{"add":[{"a":1,"b":2},"x",{"b":2,"a":1},"x"]}"#).unwrap();
            assert_eq!(site.store.entry_count(), 2, "{leaf:?}");
        }
    }

    #[test]
    fn what_changes_nothing_writes_nothing() {
        let mut site = Site::new(1);
        for leaf in SETS {
            assert!(site.run(leaf, r#"{"add":[]}"#).unwrap().is_empty(), "{leaf:?}");
            assert_eq!(site.read(leaf), None, "{leaf:?}");
        }
        assert!(site.run(DataType::OrSet, r#"{"remove":["absent"]}"#).unwrap().is_empty());
        assert!(site.run(DataType::OrSet, r#"{"remove":[]}"#).unwrap().is_empty());
        assert!(site.run(DataType::RwSet, r#"{"remove":[]}"#).unwrap().is_empty());
        assert!(site.store.is_empty());
        site.run(DataType::GSet, r#"{"add":["x"]}"#).unwrap();
        assert!(site.run(DataType::GSet, r#"{"add":["x"]}"#).unwrap().is_empty(), "a gset has it already");
    }

    #[test]
    fn a_gset_unites() {
        let (mut left, mut right) = Site::pair(DataType::GSet, &[r#"{"add":["a"]}"#]);
        left.run(DataType::GSet, r#"{"add":["b","d"]}"#).unwrap();
        right.run(DataType::GSet, r#"{"add":["b","c"]}"#).unwrap();
        assert_eq!(Site::agree(&mut left, &mut right, DataType::GSet).as_deref(), Some(r#"["a","b","c","d"]"#));
    }

    #[test]
    fn in_an_orset_the_add_wins() {
        let (mut left, mut right) = Site::pair(DataType::OrSet, &[r#"{"add":["x","y"]}"#]);
        left.run(DataType::OrSet, r#"{"remove":["x","y"]}"#).unwrap();
        right.run(DataType::OrSet, r#"{"add":["x"]}"#).unwrap();
        assert_eq!(Site::agree(&mut left, &mut right, DataType::OrSet).as_deref(), Some(r#"["x"]"#));
        left.run(DataType::OrSet, r#"{"remove":["x"]}"#).unwrap();
        assert_eq!(Site::agree(&mut left, &mut right, DataType::OrSet), None, "emptied, it does not exist");
    }

    #[test]
    fn in_an_rwset_the_removal_wins() {
        let (mut left, mut right) = Site::pair(DataType::RwSet, &[r#"{"add":["x","y"]}"#]);
        left.run(DataType::RwSet, r#"{"remove":["x"]}"#).unwrap();
        right.run(DataType::RwSet, r#"{"add":["x"]}"#).unwrap();
        assert_eq!(Site::agree(&mut left, &mut right, DataType::RwSet).as_deref(), Some(r#"["y"]"#));
        right.run(DataType::RwSet, r#"{"add":["x"]}"#).unwrap();
        let value = Site::agree(&mut left, &mut right, DataType::RwSet);
        assert_eq!(value.as_deref(), Some(r#"["x","y"]"#), "an add that saw the removal undoes it");
    }

    #[test]
    fn an_rwset_removal_of_what_is_absent_is_a_statement() {
        let (mut left, mut right) = Site::pair(DataType::RwSet, &[]);
        assert!(!left.run(DataType::RwSet, r#"{"remove":["x"]}"#).unwrap().is_empty());
        right.run(DataType::RwSet, r#"{"add":["x"]}"#).unwrap();
        // The removal is a live entry, so the key exists.
        assert_eq!(Site::agree(&mut left, &mut right, DataType::RwSet).as_deref(), Some("[]"));
    }

    #[test]
    fn an_element_added_on_both_sides_reads_once() {
        for leaf in SETS {
            let (mut left, mut right) = Site::pair(leaf, &[]);
            left.run(leaf, r#"{"add":["x"]}"#).unwrap();
            right.run(leaf, r#"{"add":["x"]}"#).unwrap();
            assert_eq!(Site::agree(&mut left, &mut right, leaf).as_deref(), Some(r#"["x"]"#), "{leaf:?}");
        }
    }

    #[test]
    fn deletion_spares_what_was_added_beside_it() {
        for leaf in SETS {
            let (mut left, mut right) = Site::pair(leaf, &[r#"{"add":["seen"]}"#]);
            left.run(leaf, r#"{"delete":true}"#).unwrap();
            assert_eq!(left.read(leaf), None, "{leaf:?}");
            right.run(leaf, r#"{"add":["beside"]}"#).unwrap();
            assert_eq!(Site::agree(&mut left, &mut right, leaf).as_deref(), Some(r#"["beside"]"#), "{leaf:?}");
        }
    }

    proptest! {
        /// Of one element, added and removed on three sites that never hear of each other in between: after the join an
        /// orset has it if some site added it last, an rwset if no site removed it last (and some added it).
        #[test]
        fn each_set_follows_its_plain_model(steps in prop::collection::vec((0..3_usize, any::<bool>()), 1..12)) {
            for leaf in [DataType::OrSet, DataType::RwSet] {
                let mut sites = [Site::new(1), Site::new(2), Site::new(3)];
                let mut last = [None; 3];
                for (at, add) in &steps {
                    let name = if *add { "add" } else { "remove" };
                    sites[*at].run(leaf, &format!(r#"{{"{name}":["x"]}}"#)).unwrap();
                    last[*at] = Some(*add);
                }
                let [mut first, second, third] = sites;
                first.take(&second);
                first.take(&third);
                let said: BTreeSet<bool> = last.into_iter().flatten().collect();
                let expected = match leaf {
                    DataType::OrSet => said.contains(&true).then_some("[\"x\"]"),
                    _ => Some(if said.contains(&false) { "[]" } else { "[\"x\"]" }),
                };
                let value = first.read(leaf);
                prop_assert_eq!(value.as_deref(), expected, "{:?}", leaf);
            }
        }
    }
}
