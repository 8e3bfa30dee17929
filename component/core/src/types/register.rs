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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::site::Site;

    #[test]
    fn a_value_is_any_json_and_stands_as_it_is() {
        for (leaf, open, close) in [(DataType::LwwRegister, "", ""), (DataType::MvRegister, "[", "]")] {
            for (sent, read) in [
                ("null", "null"),
                ("false", "false"),
                ("1e2", "100.0"),
                ("-9223372036854775808", "-9223372036854775808"),
                ("18446744073709551615", "18446744073709551615"),
                (r#""\u00e9\n\"""#, r#""é\n\"""#),
                (r#"{"b": [1, {}], "a": ""}"#, r#"{"a":"","b":[1,{}]}"#),
            ] {
                let mut site = Site::new(1);
                site.run(leaf, &format!(r#"{{"set":{sent}}}"#)).unwrap();
                assert_eq!(site.read(leaf), Some(format!("{open}{read}{close}")), "{leaf:?}");
            }
        }
    }

    #[test]
    fn the_last_writer_is_the_one_with_the_greatest_clock() {
        let (mut left, mut right) = Site::pair(DataType::LwwRegister, &[r#"{"set":"old"}"#]);
        left.stamp = Stamp(1000);
        left.run(DataType::LwwRegister, r#"{"set":"later"}"#).unwrap();
        right.stamp = Stamp(999);
        right.run(DataType::LwwRegister, r#"{"set":"earlier"}"#).unwrap();
        assert_eq!(Site::agree(&mut left, &mut right, DataType::LwwRegister).as_deref(), Some(r#""later""#));
        assert_eq!(left.store.entry_count(), 2, "what is concurrent stays until it is replaced");
        // A write replaces all that it saw, whatever the clocks.
        right.stamp = Stamp(1);
        right.run(DataType::LwwRegister, r#"{"set":"new"}"#).unwrap();
        assert_eq!(Site::agree(&mut left, &mut right, DataType::LwwRegister).as_deref(), Some(r#""new""#));
        assert_eq!(left.store.entry_count(), 1);
    }

    #[test]
    fn of_equal_clocks_the_greatest_writer_wins() {
        let (mut left, mut right) = Site::pair(DataType::LwwRegister, &[]);
        left.run(DataType::LwwRegister, r#"{"set":"z, but of writer 1"}"#).unwrap();
        right.run(DataType::LwwRegister, r#"{"set":"a, but of writer 2"}"#).unwrap();
        let value = Site::agree(&mut left, &mut right, DataType::LwwRegister);
        assert_eq!(value.as_deref(), Some(r#""a, but of writer 2""#));
    }

    #[test]
    fn a_multi_value_register_keeps_all_that_no_other_replaced() {
        let (mut left, mut right) = Site::pair(DataType::MvRegister, &[r#"{"set":"old"}"#]);
        left.run(DataType::MvRegister, r#"{"set":"b"}"#).unwrap();
        right.run(DataType::MvRegister, r#"{"set":"passing"}"#).unwrap();
        right.run(DataType::MvRegister, r#"{"set":{"a":1}}"#).unwrap();
        assert_eq!(Site::agree(&mut left, &mut right, DataType::MvRegister).as_deref(), Some(r#"["b",{"a":1}]"#));
        left.run(DataType::MvRegister, r#"{"set":"all"}"#).unwrap();
        assert_eq!(Site::agree(&mut left, &mut right, DataType::MvRegister).as_deref(), Some(r#"["all"]"#));
    }

    #[test]
    fn equal_concurrent_values_read_once() {
        let (mut left, mut right) = Site::pair(DataType::MvRegister, &[]);
        left.run(DataType::MvRegister, r#"{"set":1}"#).unwrap();
        right.run(DataType::MvRegister, r#"{"set":1}"#).unwrap();
        assert_eq!(Site::agree(&mut left, &mut right, DataType::MvRegister).as_deref(), Some("[1]"));
    }

    #[test]
    fn deletion_spares_what_was_set_beside_it() {
        for (leaf, value) in [(DataType::LwwRegister, "2"), (DataType::MvRegister, "[2]")] {
            let (mut left, mut right) = Site::pair(leaf, &[r#"{"set":1}"#]);
            left.run(leaf, r#"{"delete":true}"#).unwrap();
            assert_eq!(left.read(leaf), None, "{leaf:?}");
            right.run(leaf, r#"{"set":2}"#).unwrap();
            assert_eq!(Site::agree(&mut left, &mut right, leaf).as_deref(), Some(value), "{leaf:?}");
        }
    }
}
