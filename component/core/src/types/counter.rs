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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::types::site::Site;

    fn run(site: &mut Site, leaf: DataType, operations: &[&str]) -> Result<(), Refusal> {
        operations.iter().try_for_each(|operation| site.run(leaf, operation).map(|_| ()))
    }

    #[test]
    fn a_gcounter_sums_over_writers() {
        let (mut left, mut right) = Site::pair(DataType::GCounter, &[r#"{"increment":5}"#]);
        run(&mut left, DataType::GCounter, &[r#"{"increment":1}"#, r#"{"increment":1}"#]).unwrap();
        run(&mut right, DataType::GCounter, &[r#"{"increment":10}"#]).unwrap();
        assert_eq!(Site::agree(&mut left, &mut right, DataType::GCounter).as_deref(), Some("17"));
        let cell = left.store.find(&Cell::of_key("key", DataType::GCounter)).unwrap();
        assert_eq!(left.store.entry_count_of(cell), 2, "one entry a writer");
    }

    #[test]
    fn a_pncounter_goes_below_zero() {
        let (mut left, mut right) = Site::pair(DataType::PnCounter, &[r#"{"increment":5}"#]);
        run(&mut left, DataType::PnCounter, &[r#"{"decrement":7}"#]).unwrap();
        run(&mut right, DataType::PnCounter, &[r#"{"decrement":8}"#]).unwrap();
        assert_eq!(Site::agree(&mut left, &mut right, DataType::PnCounter).as_deref(), Some("-10"));
    }

    #[test]
    fn zero_writes_nothing() {
        let mut site = Site::new(1);
        for (leaf, operation) in [
            (DataType::GCounter, r#"{"increment":0}"#),
            (DataType::PnCounter, r#"{"increment":0}"#),
            (DataType::PnCounter, r#"{"decrement":0}"#),
        ] {
            assert!(site.run(leaf, operation).unwrap().is_empty());
            assert_eq!(site.read(leaf), None);
        }
        assert!(site.store.is_empty());
    }

    #[test]
    fn a_gcounter_holds_up_to_the_greatest_of_64_bits() {
        let mut site = Site::new(1);
        run(&mut site, DataType::GCounter, &[r#"{"increment":18446744073709551615}"#]).unwrap();
        assert_eq!(run(&mut site, DataType::GCounter, &[r#"{"increment":1}"#]), Err(Refusal::Overflow));
        assert_eq!(site.read(DataType::GCounter).as_deref(), Some("18446744073709551615"));
    }

    #[test]
    fn a_pncounter_holds_what_a_signed_word_holds() {
        let mut site = Site::new(1);
        run(&mut site, DataType::PnCounter, &[r#"{"increment":9223372036854775807}"#]).unwrap();
        assert_eq!(run(&mut site, DataType::PnCounter, &[r#"{"increment":1}"#]), Err(Refusal::Overflow));
        // From the upper bound to the lower in one operation, which is the greatest there is.
        run(&mut site, DataType::PnCounter, &[r#"{"decrement":18446744073709551615}"#]).unwrap();
        assert_eq!(site.read(DataType::PnCounter).as_deref(), Some("-9223372036854775808"));
        assert_eq!(run(&mut site, DataType::PnCounter, &[r#"{"decrement":1}"#]), Err(Refusal::Overflow));
        assert_eq!(site.read(DataType::PnCounter).as_deref(), Some("-9223372036854775808"));
    }

    #[test]
    fn what_was_added_and_taken_away_again_does_not_add_up() {
        let mut site = Site::new(1);
        for _ in 0..3 {
            run(&mut site, DataType::PnCounter, &[r#"{"increment":9223372036854775807}"#]).unwrap();
            run(&mut site, DataType::PnCounter, &[r#"{"decrement":9223372036854775807}"#]).unwrap();
        }
        assert_eq!(site.read(DataType::PnCounter).as_deref(), Some("0"));
    }

    #[test]
    fn another_writers_total_counts_for_the_bounds() {
        let (mut left, mut right) = Site::pair(DataType::GCounter, &[r#"{"increment":18446744073709551615}"#]);
        assert_eq!(run(&mut right, DataType::GCounter, &[r#"{"increment":1}"#]), Err(Refusal::Overflow));
        // Nobody can refuse what is written concurrently: the sum is right all the same.
        left.run(DataType::GCounter, r#"{"delete":true}"#).unwrap();
        run(&mut left, DataType::GCounter, &[r#"{"increment":2}"#]).unwrap();
        let mut third = Site::new(3);
        run(&mut third, DataType::GCounter, &[r#"{"increment":18446744073709551615}"#]).unwrap();
        third.take(&left);
        assert_eq!(third.read(DataType::GCounter).as_deref(), Some("18446744073709551617"));
    }

    #[test]
    fn the_writers_own_total_stays_in_bounds_even_if_the_value_would() {
        let (mut left, mut right) = Site::pair(DataType::PnCounter, &[r#"{"increment":9223372036854775807}"#]);
        run(&mut right, DataType::PnCounter, &[r#"{"decrement":9223372036854775807}"#]).unwrap();
        left.take(&right);
        assert_eq!(left.read(DataType::PnCounter).as_deref(), Some("0"));
        assert_eq!(run(&mut left, DataType::PnCounter, &[r#"{"increment":1}"#]), Err(Refusal::Overflow));
        run(&mut left, DataType::PnCounter, &[r#"{"decrement":1}"#]).unwrap();
        assert_eq!(left.read(DataType::PnCounter).as_deref(), Some("-1"));
    }

    #[test]
    fn an_increment_beside_a_deletion_keeps_its_writers_whole_total() {
        let (mut left, mut right) = Site::pair(DataType::GCounter, &[r#"{"increment":5}"#]);
        run(&mut right, DataType::GCounter, &[r#"{"increment":3}"#]).unwrap();
        left.take(&right);
        run(&mut right, DataType::GCounter, &[r#"{"increment":1}"#]).unwrap();
        left.run(DataType::GCounter, r#"{"delete":true}"#).unwrap();
        assert_eq!(left.read(DataType::GCounter), None);
        assert_eq!(Site::agree(&mut left, &mut right, DataType::GCounter).as_deref(), Some("4"));
    }

    #[test]
    fn only_a_counters_payload_is_one() {
        assert!(check(DataType::GCounter, &[7]).is_ok());
        assert!(check(DataType::PnCounter, &[7, 0]).is_ok());
        for (leaf, payload) in [
            (DataType::GCounter, &[][..]),
            (DataType::GCounter, &[7, 0][..]),
            (DataType::PnCounter, &[7][..]),
            (DataType::PnCounter, &[7, 0, 0][..]),
            (DataType::GCounter, &[251, 7, 0][..]),
        ] {
            assert!(check(leaf, payload).is_err(), "{payload:?}");
        }
    }

    proptest! {
        #[test]
        fn a_pncounter_is_a_sum(steps in prop::collection::vec((0..3_usize, any::<bool>(), 0..1000_u64), 0..40)) {
            let mut sites = [Site::new(1), Site::new(2), Site::new(3)];
            let mut sum = 0_i64;
            for (at, up, by) in steps {
                let (name, signed) = if up { ("increment", by as i64) } else { ("decrement", -(by as i64)) };
                sites[at].run(DataType::PnCounter, &format!(r#"{{"{name}":{by}}}"#)).unwrap();
                sum += signed;
            }
            let [mut first, second, third] = sites;
            first.take(&second);
            first.take(&third);
            let value = first.read(DataType::PnCounter).map_or(0, |json| json.parse().unwrap());
            prop_assert_eq!(value, sum);
        }
    }
}
