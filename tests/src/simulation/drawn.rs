//! Operations as chance has them: on few elements, fields and values, so that they collide.

use dayfly_core::cell::DataType;

use super::types::Deed;
use crate::chance::Chance;

const FIELDS: [&str; 3] = ["f", "g", "h"];
const ELEMENTS: [&str; 5] = ["\"a\"", "\"b\"", "7", "[1,\"x\"]", "{\"y\":null}"];
const NUMBERS: [&str; 6] = ["-3", "0", "2.5", "7", "1000", "-0.25"];
/// The leaves of maps.
const LEAVES: [DataType; 6] = [
    DataType::PnCounter,
    DataType::OrSet,
    DataType::LwwRegister,
    DataType::MvRegister,
    DataType::EwFlag,
    DataType::Map,
];

/// One of these; there is at least one.
pub fn pick<T: Copy>(chance: &mut Chance, choices: &[T]) -> T {
    choices[chance.below(choices.len() as u64) as usize]
}

/// What is done to a key of this type; `deletes`: also what takes fields of maps away. `depth` is 0 but within maps.
pub fn deed(chance: &mut Chance, data_type: DataType, deletes: bool, depth: u32) -> Deed {
    match data_type {
        DataType::GCounter => Deed::Count(chance.below(10) as i64),
        DataType::PnCounter => Deed::Count(chance.below(20) as i64 - 10),
        DataType::GSet => Deed::Add(some(chance, &ELEMENTS)),
        DataType::OrSet | DataType::RwSet => match chance.below(3) {
            0 => Deed::Remove(some(chance, &ELEMENTS)),
            _ => Deed::Add(some(chance, &ELEMENTS)),
        },
        DataType::LwwRegister | DataType::MvRegister => Deed::Set(value(chance)),
        DataType::EwFlag | DataType::DwFlag => Deed::Flag(chance.below(2) == 0),
        DataType::MaxRegister | DataType::MinRegister => Deed::Set(pick(chance, &NUMBERS).to_owned()),
        DataType::Map if deletes && chance.below(6) == 0 => Deed::RemoveFields(some(chance, &FIELDS)),
        DataType::Map => {
            let leaves = if depth < 2 { &LEAVES[..] } else { &LEAVES[..5] };
            let mut names: Vec<&str> = FIELDS.to_vec();
            names.truncate(1 + chance.below(2) as usize);
            let field = |name: &str| {
                let leaf = pick(chance, leaves);
                (name.to_owned(), leaf, deed(chance, leaf, deletes, depth + 1))
            };
            Deed::Update(names.into_iter().map(field).collect())
        }
    }
}

fn some(chance: &mut Chance, choices: &[&str]) -> Vec<String> {
    let count = 1 + chance.below(2);
    (0..count).map(|_| pick(chance, choices).to_owned()).collect()
}

fn value(chance: &mut Chance) -> String {
    let number = chance.below(100);
    match chance.below(3) {
        0 => number.to_string(),
        1 => format!("{{\"n\":{number}}}"),
        _ => "\"text\"".to_owned(),
    }
}
