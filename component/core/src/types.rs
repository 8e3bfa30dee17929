//! The types of values: what an operation writes and how entries read. DESIGN section 4 has the table, `wit/http-api.md`
//! the operations. Each file is one family; this one holds what they share.

pub mod counter;
pub mod extreme;
pub mod flag;
pub mod map;
pub mod operation;
pub mod register;
pub mod set;
#[cfg(test)]
mod site;

use crate::cell::{Cell, DataType};
use crate::clock::Stamp;
use crate::codec::CodecError;
use crate::refusal::Refusal;
use crate::store::{CellRef, Store, Write};
use operation::Operation;

/// Applies an operation to a key. On a refusal the write holds part of it: drop the write to undo it.
pub fn apply(
    write: &mut Write<'_>,
    name: &str,
    data_type: DataType,
    operation: &Operation,
    stamp: Stamp,
) -> Result<(), Refusal> {
    match operation {
        Operation::Delete => {
            let cells: Vec<Cell> = write.store().cells_of_key(name, data_type).map(|(cell, _)| cell.clone()).collect();
            cells.iter().for_each(|cell| drop_all(write, cell));
            Ok(())
        }
        _ => match data_type {
            DataType::Map => map::apply(write, &Cell::of_key(name, data_type), operation, stamp),
            plain => apply_to_cell(write, &Cell::of_key(name, plain), operation, stamp),
        },
    }
}

/// Applies an operation to a cell, whose type is not a map.
fn apply_to_cell(write: &mut Write<'_>, cell: &Cell, operation: &Operation, stamp: Stamp) -> Result<(), Refusal> {
    match operation {
        Operation::Increment(by) => counter::add(write, cell, *by, 0),
        Operation::Decrement(by) => counter::add(write, cell, 0, *by),
        Operation::Add(elements) => set::add(write, cell, elements),
        Operation::Remove(elements) => set::remove(write, cell, elements),
        Operation::Set(value) => match cell.leaf {
            DataType::MaxRegister | DataType::MinRegister => extreme::set(write, cell, value),
            _ => register::set(write, cell, value, stamp),
        },
        Operation::Flag(on) => flag::set(write, cell, *on),
        Operation::Update(_) | Operation::RemoveFields(_) | Operation::Delete => {
            unreachable!("parsing lets these reach no plain type")
        }
    }
}

/// Appends a key's value to a JSON text; false, and nothing appended, if the key does not exist.
pub fn read(store: &Store, name: &str, data_type: DataType, json: &mut String) -> bool {
    match data_type {
        DataType::Map => map::read(store, name, json),
        plain => match store.find(&Cell::of_key(name, plain)) {
            Some(cell) => {
                read_cell(store, cell, plain, json);
                true
            }
            None => false,
        },
    }
}

/// The value of a key of this type that has no entry.
pub fn empty_value(data_type: DataType) -> &'static str {
    match data_type {
        DataType::GSet | DataType::OrSet | DataType::RwSet | DataType::MvRegister => "[]",
        DataType::Map => "{}",
        DataType::GCounter
        | DataType::PnCounter
        | DataType::LwwRegister
        | DataType::EwFlag
        | DataType::DwFlag
        | DataType::MaxRegister
        | DataType::MinRegister => "null",
    }
}

fn read_cell(store: &Store, cell: CellRef, leaf: DataType, json: &mut String) {
    match leaf {
        DataType::GCounter | DataType::PnCounter => counter::read(store, cell, json),
        DataType::GSet | DataType::OrSet => set::read(store, cell, json),
        DataType::RwSet => set::read_remove_wins(store, cell, json),
        DataType::LwwRegister => register::read_last(store, cell, json),
        DataType::MvRegister => register::read_all(store, cell, json),
        DataType::EwFlag => flag::read(store, cell, true, json),
        DataType::DwFlag => flag::read(store, cell, false, json),
        DataType::MaxRegister | DataType::MinRegister => extreme::read(store, cell, leaf, json),
        DataType::Map => unreachable!("a map has no cell of its own"),
    }
}

/// Refuses a payload that is not of its type's form, so that reading never meets one.
pub fn check_payload(leaf: DataType, payload: &[u8]) -> Result<(), CodecError> {
    match leaf {
        DataType::GCounter | DataType::PnCounter => counter::check(leaf, payload),
        DataType::GSet | DataType::OrSet | DataType::MvRegister => check_json(payload),
        DataType::RwSet => match payload.split_first() {
            Some((0 | 1, element)) => check_json(element),
            _ => Err(CodecError::Broken("an element of an rwset")),
        },
        DataType::LwwRegister => match payload.split_at_checked(Stamp::BYTES) {
            Some((_, value)) => check_json(value),
            None => Err(CodecError::Broken("the clock of an lwwregister")),
        },
        DataType::EwFlag | DataType::DwFlag => match payload {
            [0 | 1] => Ok(()),
            _ => Err(CodecError::Broken("a flag")),
        },
        DataType::MaxRegister | DataType::MinRegister => serde_json::from_slice::<serde_json::Number>(payload)
            .map(|_| ())
            .map_err(|_| CodecError::Broken("a number")),
        DataType::Map => Err(CodecError::Broken("an entry of a map without a leaf")),
    }
}

fn check_json(text: &[u8]) -> Result<(), CodecError> {
    // The parser does not look into texts that it ignores.
    let text = str::from_utf8(text).map_err(|_| CodecError::Broken("a JSON value is not UTF-8"))?;
    serde_json::from_str::<serde::de::IgnoredAny>(text).map(|_| ()).map_err(|_| CodecError::Broken("a JSON value"))
}

/// A payload that is JSON, as text.
fn as_text(payload: &[u8]) -> &str {
    str::from_utf8(payload).expect("payloads are checked on decoding and made from JSON here")
}

/// Drops all live entries of a cell.
fn drop_all(write: &mut Write<'_>, cell: &Cell) {
    while let Some(found) = write.store().find(cell) {
        let entry = write.store().entries(found).next_back().expect("a cell that is found has an entry");
        write.drop_entry(entry);
    }
}
