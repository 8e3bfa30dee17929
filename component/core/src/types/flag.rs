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

#[cfg(test)]
mod tests {
    use crate::cell::DataType;
    use crate::types::site::Site;

    const ENABLE: &str = r#"{"enable":true}"#;
    const DISABLE: &str = r#"{"disable":true}"#;

    #[test]
    fn a_flag_exists_once_something_was_said() {
        for leaf in [DataType::EwFlag, DataType::DwFlag] {
            let mut site = Site::new(1);
            assert_eq!(site.read(leaf), None, "{leaf:?}");
            site.run(leaf, DISABLE).unwrap();
            assert_eq!(site.read(leaf).as_deref(), Some("false"), "{leaf:?}");
            site.run(leaf, ENABLE).unwrap();
            assert_eq!(site.read(leaf).as_deref(), Some("true"), "{leaf:?}");
            assert_eq!(site.store.entry_count(), 1, "{leaf:?}");
            site.run(leaf, r#"{"delete":true}"#).unwrap();
            assert_eq!(site.read(leaf), None, "{leaf:?}");
        }
    }

    #[test]
    fn of_concurrent_statements_the_named_one_wins() {
        for before in [&[][..], &[ENABLE], &[DISABLE]] {
            for (leaf, value) in [(DataType::EwFlag, "true"), (DataType::DwFlag, "false")] {
                let (mut left, mut right) = Site::pair(leaf, before);
                left.run(leaf, ENABLE).unwrap();
                right.run(leaf, DISABLE).unwrap();
                assert_eq!(Site::agree(&mut left, &mut right, leaf).as_deref(), Some(value), "{leaf:?} {before:?}");
            }
        }
    }

    #[test]
    fn a_later_statement_replaces_those_it_saw() {
        for (leaf, losing, value) in [(DataType::EwFlag, DISABLE, "false"), (DataType::DwFlag, ENABLE, "true")] {
            let (mut left, mut right) = Site::pair(leaf, &[]);
            left.run(leaf, ENABLE).unwrap();
            right.run(leaf, DISABLE).unwrap();
            Site::agree(&mut left, &mut right, leaf);
            right.run(leaf, losing).unwrap();
            assert_eq!(Site::agree(&mut left, &mut right, leaf).as_deref(), Some(value), "{leaf:?}");
        }
    }

    #[test]
    fn statements_that_agree_read_as_such() {
        for leaf in [DataType::EwFlag, DataType::DwFlag] {
            for (said, value) in [(ENABLE, "true"), (DISABLE, "false")] {
                let (mut left, mut right) = Site::pair(leaf, &[]);
                left.run(leaf, said).unwrap();
                right.run(leaf, said).unwrap();
                assert_eq!(Site::agree(&mut left, &mut right, leaf).as_deref(), Some(value), "{leaf:?}");
            }
        }
    }
}
