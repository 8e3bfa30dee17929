//! Flags: a token for each statement that no other replaced.

use crate::cell::Cell;
use crate::refusal::Refusal;
use crate::store::{CellRef, Store, Write};
use crate::types::drop_all;

/// Says that the flag is on or off, in place of all that was said.
pub fn set(write: &mut Write<'_>, cell: &Cell, on: bool) -> Result<(), Refusal> {
    drop_all(write, cell);
    Ok(write.put(cell, &[on.into()])?)
}

/// Appends `true` or `false`; of concurrent statements, `wins` holds.
pub fn read(store: &Store, cell: CellRef, wins: bool, json: &mut String) {
    let said = |entry| store.payload(entry) == [1];
    let on = if wins { store.entries(cell).any(said) } else { store.entries(cell).all(said) };
    json.push_str(if on { "true" } else { "false" });
}
