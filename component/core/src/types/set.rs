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
            _ => replace(write, cell, element, element.as_bytes())?,
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

fn replace(write: &mut Write<'_>, cell: &Cell, element: &str, payload: &[u8]) -> Result<(), StoreFull> {
    drop_observed(write, cell, element);
    write.put(cell, payload)
}

fn state(write: &mut Write<'_>, cell: &Cell, element: &str, what: u8) -> Result<(), StoreFull> {
    let payload = [&[what], element.as_bytes()].concat();
    replace(write, cell, element, &payload)
}
