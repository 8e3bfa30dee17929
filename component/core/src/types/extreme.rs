//! Registers that keep the greatest, or the least, number that was ever set.

use std::cmp::Ordering;

use serde_json::Number;

use crate::cell::{Cell, DataType};
use crate::refusal::Refusal;
use crate::store::{CellRef, EntryRef, Store, Write};
use crate::types::as_text;

/// Writes a number (canonical JSON) in place of those that it beats, unless it beats none of those that are there.
pub fn set(write: &mut Write<'_>, cell: &Cell, value: &str) -> Result<(), Refusal> {
    let number = parse(value.as_bytes());
    let store = write.store();
    let entries: Vec<EntryRef> = store.find(cell).into_iter().flat_map(|found| store.entries(found)).collect();
    let (beaten, unbeaten): (Vec<_>, Vec<_>) = entries
        .into_iter()
        .partition(|entry| better(cell.leaf, &number, &parse(store.payload(*entry))) == Ordering::Greater);
    if !unbeaten.is_empty() {
        return Ok(());
    }
    beaten.into_iter().for_each(|entry| write.drop_entry(entry));
    Ok(write.put(cell, value.as_bytes())?)
}

/// Appends the extreme.
pub fn read(store: &Store, cell: CellRef, leaf: DataType, json: &mut String) {
    let best = store
        .entries(cell)
        .max_by(|a, b| better(leaf, &parse(store.payload(*a)), &parse(store.payload(*b))))
        .expect("a cell that is found has an entry");
    json.push_str(as_text(store.payload(best)));
}

fn parse(payload: &[u8]) -> Number {
    serde_json::from_slice(payload).expect("payloads are checked on decoding and made from numbers here")
}

/// `Greater` if the first number beats the second.
fn better(leaf: DataType, a: &Number, b: &Number) -> Ordering {
    let order = compare(a, b);
    if leaf == DataType::MinRegister { order.reverse() } else { order }
}

/// The order of numbers by value; equal values of different form (`1`, `1.0`) in the order of their texts, so that every
/// replica reads the same.
fn compare(a: &Number, b: &Number) -> Ordering {
    let by_value = match (a.as_i128(), b.as_i128()) {
        (Some(a), Some(b)) => a.cmp(&b),
        (Some(a), None) => compare_mixed(a, float(b)),
        (None, Some(b)) => compare_mixed(b, float(a)).reverse(),
        (None, None) => float(a).total_cmp(&float(b)),
    };
    by_value.then_with(|| a.to_string().cmp(&b.to_string()))
}

fn float(number: &Number) -> f64 {
    number.as_f64().expect("what is no integer is a fraction")
}

/// Compares exactly: rounding the integer to a fraction could make unequal numbers equal.
fn compare_mixed(integer: i128, fraction: f64) -> Ordering {
    // All integers here fit 65 bits; beyond 2^100 the fraction decides by its sign alone.
    if fraction.abs() >= 2f64.powi(100) {
        return if fraction > 0.0 { Ordering::Less } else { Ordering::Greater };
    }
    let whole = fraction.trunc();
    integer.cmp(&(whole as i128)).then_with(|| 0.0.partial_cmp(&(fraction - whole)).expect("the fraction is finite"))
}
