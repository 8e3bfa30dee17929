//! Counters: one entry a writer, with that writer's total. After Shapiro et al., *A comprehensive study of convergent and
//! commutative replicated data types* (2011), specifications 6 and 7.

use std::fmt::Write as _;

use crate::cell::{Cell, DataType};
use crate::codec::{CodecError, Reader, Writer};
use crate::refusal::Refusal;
use crate::store::{CellRef, Store, Write};

/// A writer's total as an increment and a decrement, of which one is 0 (of a `gcounter` the decrement, which is not
/// stored). Only their difference counts: both sums would grow past their bounds while the total stays within its own.
type Total = (u64, u64);

/// Adds to the writer's own entry.
pub fn add(write: &mut Write<'_>, cell: &Cell, up: u64, down: u64) -> Result<(), Refusal> {
    if up == 0 && down == 0 {
        return Ok(());
    }
    let store = write.store();
    let found = store.find(cell);
    let own = found.and_then(|found| store.entry_of_writer(found, write.writer()));
    let by = i128::from(up) - i128::from(down);
    let total = own.map_or(0, |own| amount(cell.leaf, store.payload(own))) + by;
    let value = found.map_or(0, |found| store.total(found)) + by;
    let bounds = match cell.leaf {
        DataType::GCounter => 0..=i128::from(u64::MAX),
        _ => i128::from(i64::MIN)..=i128::from(i64::MAX),
    };
    if !bounds.contains(&total) || !bounds.contains(&value) {
        return Err(Refusal::Overflow);
    }
    if let Some(own) = own {
        write.drop_entry(own);
    }
    let side = |amount: i128| u64::try_from(amount.max(0)).expect("the bounds of totals fit 64 bits");
    let mut payload = Writer::new();
    payload.number(side(total));
    if cell.leaf == DataType::PnCounter {
        payload.number(side(-total));
    }
    Ok(write.put(cell, &payload.into_bytes())?)
}

/// Appends the sum.
pub fn read(store: &Store, cell: CellRef, json: &mut String) {
    write!(json, "{}", store.total(cell)).expect("a String takes all");
}

/// What an entry adds to its cell's sum.
pub fn amount(leaf: DataType, payload: &[u8]) -> i128 {
    let (up, down) = parse(leaf, payload).expect("payloads are checked on decoding");
    i128::from(up) - i128::from(down)
}

/// Whether a payload is a counter's.
pub fn check(leaf: DataType, payload: &[u8]) -> Result<(), CodecError> {
    parse(leaf, payload).map(|_| ())
}

fn parse(leaf: DataType, payload: &[u8]) -> Result<Total, CodecError> {
    let mut reader = Reader::new(payload);
    let up = reader.number()?;
    let down = if leaf == DataType::PnCounter { reader.number()? } else { 0 };
    reader.end()?;
    Ok((up, down))
}
