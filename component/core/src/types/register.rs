//! Registers: a write replaces what it saw. Of concurrent writes the multi-value register keeps all, the other reads the
//! one with the greatest hybrid logical clock.

use crate::cell::{Cell, DataType};
use crate::clock::Stamp;
use crate::refusal::Refusal;
use crate::store::{CellRef, Store, Write};
use crate::types::{as_text, drop_all};

/// Writes a value (canonical JSON) in place of all that is there.
pub fn set(write: &mut Write<'_>, cell: &Cell, value: &str, stamp: Stamp) -> Result<(), Refusal> {
    drop_all(write, cell);
    match cell.leaf {
        DataType::LwwRegister => write.put(cell, &[&stamp.to_bytes(), value.as_bytes()].concat())?,
        _ => write.put(cell, value.as_bytes())?,
    }
    Ok(())
}

/// Appends the value with the greatest clock; of equal clocks, that of the greatest writer.
pub fn read_last(store: &Store, cell: CellRef, json: &mut String) {
    // The clock is big-endian, so clocks compare as bytes.
    let order = |entry: &_| (&store.payload(*entry)[..Stamp::BYTES], store.dot(*entry));
    let last = store.entries(cell).max_by_key(order).expect("a cell that is found has an entry");
    json.push_str(as_text(&store.payload(last)[Stamp::BYTES..]));
}

/// Appends all values as an array.
pub fn read_all(store: &Store, cell: CellRef, json: &mut String) {
    let mut values: Vec<&str> = store.entries(cell).map(|entry| as_text(store.payload(entry))).collect();
    values.sort_unstable();
    values.dedup();
    json.push('[');
    json.push_str(&values.join(","));
    json.push(']');
}
