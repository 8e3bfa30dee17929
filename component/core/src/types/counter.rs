//! Counters: one entry a writer, with that writer's total. After Shapiro et al., *A comprehensive study of convergent and
//! commutative replicated data types* (2011), specifications 6 and 7.

use std::fmt::Write as _;

use crate::cell::{Cell, DataType};
use crate::codec::{CodecError, Reader, Writer};
use crate::refusal::Refusal;
use crate::store::{CellRef, Store, Write};

/// A writer's totals: of increments, and of decrements (of a `gcounter` always 0, and not stored).
type Totals = (u64, u64);

/// Adds to the writer's own entry.
pub fn add(write: &mut Write<'_>, cell: &Cell, up: u64, down: u64) -> Result<(), Refusal> {
    if up == 0 && down == 0 {
        return Ok(());
    }
    let store = write.store();
    let found = store.find(cell);
    let own = found.and_then(|found| store.entry_of_writer(found, write.writer()));
    let (ups, downs) = own.map_or((0, 0), |own| totals(cell.leaf, store.payload(own)));
    let value = found.map_or(0, |found| store.total(found)) + i128::from(up) - i128::from(down);
    let bounds = match cell.leaf {
        DataType::GCounter => 0..=i128::from(u64::MAX),
        _ => i128::from(i64::MIN)..=i128::from(i64::MAX),
    };
    let totals = ups.checked_add(up).zip(downs.checked_add(down));
    let Some((ups, downs)) = totals.filter(|_| bounds.contains(&value)) else {
        return Err(Refusal::Overflow);
    };
    if let Some(own) = own {
        write.drop_entry(own);
    }
    let mut payload = Writer::new();
    payload.number(ups);
    if cell.leaf == DataType::PnCounter {
        payload.number(downs);
    }
    Ok(write.put(cell, &payload.into_bytes())?)
}

/// Appends the sum.
pub fn read(store: &Store, cell: CellRef, json: &mut String) {
    write!(json, "{}", store.total(cell)).expect("a String takes all");
}

/// What an entry adds to its cell's sum.
pub fn amount(leaf: DataType, payload: &[u8]) -> i128 {
    let (ups, downs) = totals(leaf, payload);
    i128::from(ups) - i128::from(downs)
}

/// Whether a payload is a counter's.
pub fn check(leaf: DataType, payload: &[u8]) -> Result<(), CodecError> {
    parse(leaf, payload).map(|_| ())
}

fn totals(leaf: DataType, payload: &[u8]) -> Totals {
    parse(leaf, payload).expect("payloads are checked on decoding")
}

fn parse(leaf: DataType, payload: &[u8]) -> Result<Totals, CodecError> {
    let mut reader = Reader::new(payload);
    let ups = reader.number()?;
    let downs = if leaf == DataType::PnCounter { reader.number()? } else { 0 };
    reader.end()?;
    Ok((ups, downs))
}
