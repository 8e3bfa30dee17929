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
        .max_by(|a, b| {
            let (a, b) = (store.payload(*a), store.payload(*b));
            // A peer may have written one number in two ways: all replicas read the same one.
            better(leaf, &parse(a), &parse(b)).then_with(|| a.cmp(b))
        })
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::types::site::Site;

    /// The value after setting these numbers one after the other.
    fn after(leaf: DataType, numbers: &[&str]) -> String {
        let mut site = Site::new(1);
        for number in numbers {
            site.run(leaf, &format!(r#"{{"set":{number}}}"#)).unwrap();
        }
        assert_eq!(site.store.entry_count(), 1);
        site.read(leaf).unwrap()
    }

    #[test]
    fn the_extreme_of_all_that_was_set() {
        let numbers = ["3", "-7.5", "12", "0", "-7"];
        assert_eq!(after(DataType::MaxRegister, &numbers), "12");
        assert_eq!(after(DataType::MinRegister, &numbers), "-7.5");
    }

    #[test]
    fn a_number_that_beats_nothing_writes_nothing() {
        for (leaf, beaten) in [(DataType::MaxRegister, "2"), (DataType::MinRegister, "4")] {
            let mut site = Site::new(1);
            site.run(leaf, r#"{"set":3}"#).unwrap();
            for number in [beaten, "3"] {
                assert!(site.run(leaf, &format!(r#"{{"set":{number}}}"#)).unwrap().is_empty(), "{leaf:?} {number}");
            }
            assert_eq!(site.read(leaf).as_deref(), Some("3"));
        }
    }

    #[test]
    fn concurrent_numbers_join_to_the_extreme() {
        for (leaf, value) in [(DataType::MaxRegister, "9"), (DataType::MinRegister, "4")] {
            let (mut left, mut right) = Site::pair(leaf, &[r#"{"set":5}"#]);
            left.run(leaf, r#"{"set":9}"#).unwrap();
            right.run(leaf, r#"{"set":4}"#).unwrap();
            assert_eq!(Site::agree(&mut left, &mut right, leaf).as_deref(), Some(value), "{leaf:?}");
        }
    }

    #[test]
    fn deletion_forgets_the_extreme() {
        let mut site = Site::new(1);
        site.run(DataType::MaxRegister, r#"{"set":5}"#).unwrap();
        site.run(DataType::MaxRegister, r#"{"delete":true}"#).unwrap();
        assert_eq!(site.read(DataType::MaxRegister), None);
        site.run(DataType::MaxRegister, r#"{"set":1}"#).unwrap();
        assert_eq!(site.read(DataType::MaxRegister).as_deref(), Some("1"));
    }

    #[test]
    fn integers_are_exact_and_compare_exactly_with_fractions() {
        // In ascending order; as 64-bit fractions several of them would be equal.
        let ascending = [
            "-1e300",
            "-9223372036854775808.5e3",
            "-9223372036854775808",
            "-9223372036854775807",
            "-1.5",
            "-1",
            "-0.5",
            "0",
            "5e-324",
            "0.5",
            "1",
            "9007199254740992",
            "9007199254740993",
            "9007199254740994.0",
            "9223372036854775807",
            "9223372036854775808",
            "18446744073709551614",
            "18446744073709551615",
            "18446744073709551616.0",
            "1e300",
        ];
        for pair in ascending.windows(2) {
            let (low, high) = (parse(pair[0].as_bytes()), parse(pair[1].as_bytes()));
            assert_eq!(compare(&low, &high), Ordering::Less, "{pair:?}");
            assert_eq!(compare(&high, &low), Ordering::Greater, "{pair:?}");
        }
        assert_eq!(after(DataType::MaxRegister, &["9007199254740992.0", "9007199254740993"]), "9007199254740993");
        assert_eq!(after(DataType::MaxRegister, &["18446744073709551615"]), "18446744073709551615");
        assert_eq!(after(DataType::MinRegister, &["-9223372036854775808"]), "-9223372036854775808");
    }

    #[test]
    fn equal_values_of_different_form_have_an_order_of_their_own() {
        for forms in [["1", "1.0"], ["1.0", "1"], ["-0.0", "0"], ["0", "0.0"]] {
            let (mut left, mut right) = Site::pair(DataType::MaxRegister, &[]);
            left.run(DataType::MaxRegister, &format!(r#"{{"set":{}}}"#, forms[0])).unwrap();
            right.run(DataType::MaxRegister, &format!(r#"{{"set":{}}}"#, forms[1])).unwrap();
            let joined = Site::agree(&mut left, &mut right, DataType::MaxRegister).unwrap();
            assert_eq!(joined, after(DataType::MaxRegister, &forms), "whether concurrent or not");
        }
    }

    fn number() -> impl Strategy<Value = Number> {
        let edges = [0_i64, 1, -1, 1 << 53, (1 << 53) + 1, i64::MAX, i64::MIN, i64::MIN + 1];
        prop_oneof![
            prop::sample::select(edges.to_vec()).prop_map(Number::from),
            prop::sample::select(edges.to_vec()).prop_map(|edge| Number::from_f64(edge as f64).unwrap()),
            (-3_i64..3).prop_map(Number::from),
            (-6_i64..6).prop_map(|half| Number::from_f64(half as f64 / 2.0).unwrap()),
            any::<u64>().prop_map(Number::from),
            any::<i64>().prop_map(Number::from),
            any::<f64>().prop_filter_map("finite", Number::from_f64),
        ]
    }

    proptest! {
        #[test]
        fn the_order_is_total(mut numbers in prop::collection::vec(number(), 3)) {
            numbers.sort_by(compare);
            for (at, a) in numbers.iter().enumerate() {
                for b in &numbers[at..] {
                    prop_assert!(compare(a, b).is_le());
                    prop_assert_eq!(compare(a, b), compare(b, a).reverse());
                    prop_assert_eq!(compare(a, b).is_eq(), a.to_string() == b.to_string());
                }
            }
        }
    }
}
