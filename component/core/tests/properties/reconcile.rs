//! Two stores that find out what they do not share.

use dayfly_core::cell::DataType;
use dayfly_core::dot::Dot;
use dayfly_core::intervals::DotSet;
use dayfly_core::store::{Lack, Range, Store};
use dayfly_core::types::operation::Operation;
use proptest::prelude::*;

use crate::contents::{Contents, dots_of, whole};
use crate::execution::Execution;
use crate::history::{REPLICAS, any_history};

/// What `asker` lacks of `teller`, found with a sketch, which grows until it tells.
fn lack_by_sketch(asker: &Store, teller: &Store) -> Lack {
    let gaps = asker.gaps();
    (0..16)
        .find_map(|doubling| teller.lack_by_sketch(&asker.sketch(8 << doubling, &gaps), &gaps))
        .expect("a sketch of a quarter of a million symbols tells any difference here")
}

/// `asker` learns all that `teller` knows, by sketch.
pub fn by_sketch(asker: &mut Store, teller: &Store) {
    let lack = lack_by_sketch(asker, teller);
    check_unshared(asker, teller, &lack.dots);
    let before = Contents::of(asker);
    let mut all = Store::new();
    all.join(&whole(teller));
    let more = all.join(&whole(asker)).changed();
    assert_eq!(lack.knows_more, more, "whether the asker knows more");
    let joined = asker.join(&teller.extract(&lack.dots));
    assert_eq!(joined.changed(), Contents::of(asker) != before);
}

/// `asker` learns all that `teller` knows, by descriptions of parts of this weight.
pub fn by_description(asker: &mut Store, teller: &Store, weight: usize) {
    let ranges = asker.cut(Range::ALL, weight);
    check_tiling(&ranges, Range::ALL);
    for range in ranges {
        let lack = teller.lack_by_description(range, &asker.describe(range));
        check_unshared(asker, teller, &lack.dots);
        let mut merged = Store::new();
        merged.join(&walk(teller, range, None));
        let more = merged.join(&walk(asker, range, None)).changed();
        assert_eq!(lack.knows_more, more, "whether the asker knows more");
        asker.join(&walk(teller, range, Some(&lack.dots)));
        merged.join(&walk(asker, range, None));
        assert_eq!(Contents::of(&merged).entries, in_range(asker, range), "a described range is dealt with");
    }
}

fn walk(store: &Store, range: Range, only: Option<&DotSet>) -> dayfly_core::chunk::Chunk {
    store.walk_down(range, only, usize::MAX).next().expect("a walk gives at least one piece").chunk
}

fn in_range(store: &Store, range: Range) -> std::collections::BTreeMap<Dot, (dayfly_core::cell::Cell, Vec<u8>)> {
    let within = |dot: &Dot| range.low <= *dot && *dot < range.high;
    Contents::of(store).entries.into_iter().filter(|(dot, _)| within(dot)).collect()
}

/// Nothing is told that both know alike: that is the point of finding out.
fn check_unshared(asker: &Store, teller: &Store, told: &DotSet) {
    let (asker, teller) = (Contents::of(asker), Contents::of(teller));
    for dot in told.iter().flat_map(|(writer, seqs)| dots_of(writer, seqs)) {
        // What the teller has not seen itself is in no chunk of its.
        if teller.context.get(&dot.writer).is_some_and(|seen| seen.contains(dot.seq.0)) {
            assert_ne!(asker.status(dot), teller.status(dot), "{dot:?} is told although both know it alike");
        }
    }
}

/// Ranges follow each other without a gap and make up the whole.
pub fn check_tiling(ranges: &[Range], whole: Range) {
    assert_eq!(ranges.first().map(|range| range.low), Some(whole.low));
    assert_eq!(ranges.last().map(|range| range.high), Some(whole.high));
    assert!(ranges.iter().all(|range| !range.is_empty()), "a range is empty: {ranges:?}");
    assert!(ranges.windows(2).all(|pair| pair[0].high == pair[1].low), "ranges leave gaps: {ranges:?}");
}

/// The store that knows all that both know.
fn merged(a: &Store, b: &Store) -> Contents {
    let mut store = Store::new();
    store.join(&whole(a));
    store.join(&whole(b));
    Contents::of(&store)
}

proptest! {
    #[test]
    fn stores_reconciled_by_sketch_are_equal(history in any_history(), a in 0..REPLICAS, b in 0..REPLICAS) {
        prop_assume!(a != b);
        let mut execution = Execution::of(&history);
        let [a, b] = execution.peers.get_disjoint_mut([a, b]).expect("two peers");
        let expected = merged(&a.store, &b.store);
        by_sketch(&mut a.store, &b.store);
        prop_assert_eq!(&Contents::of(&a.store), &expected);
        by_sketch(&mut b.store, &a.store);
        prop_assert_eq!(&Contents::of(&b.store), &expected);
        let rest = lack_by_sketch(&a.store, &b.store);
        prop_assert!(!rest.knows_more && b.store.extract(&rest.dots).is_empty(), "{:?}", rest);
    }

    #[test]
    fn stores_reconciled_by_description_are_equal(
        history in any_history(), a in 0..REPLICAS, b in 0..REPLICAS, weight in 1..40_usize,
    ) {
        prop_assume!(a != b);
        let mut execution = Execution::of(&history);
        let [a, b] = execution.peers.get_disjoint_mut([a, b]).expect("two peers");
        let expected = merged(&a.store, &b.store);
        by_description(&mut a.store, &b.store, weight);
        prop_assert_eq!(&Contents::of(&a.store), &expected);
        by_description(&mut b.store, &a.store, weight);
        prop_assert_eq!(&Contents::of(&b.store), &expected);
        let rest = a.store.lack_by_description(Range::ALL, &b.store.describe(Range::ALL));
        prop_assert_eq!(rest, Lack::default());
    }

    /// A sketch that is too small says so, or tells the truth: it never leaves anything out.
    #[test]
    fn a_small_sketch_tells_all_or_nothing(
        history in any_history(), a in 0..REPLICAS, b in 0..REPLICAS, symbols in 0..24_usize,
    ) {
        prop_assume!(a != b);
        let mut execution = Execution::of(&history);
        let [a, b] = execution.peers.get_disjoint_mut([a, b]).expect("two peers");
        let gaps = a.store.gaps();
        let exact = lack_by_sketch(&a.store, &b.store);
        let told = b.store.lack_by_sketch(&a.store.sketch(symbols, &gaps), &gaps);
        prop_assert!(told.is_none_or(|told| told == exact));
    }
}

/// What one dropped and the other still has, when nothing else tells them apart: the other must hear that it lacks
/// something, or it would never ask.
#[test]
fn a_sketch_tells_of_a_removal_that_the_teller_missed() {
    let mut execution = Execution::new();
    let write = |execution: &mut Execution, operation: Operation| {
        execution.write(0, 0, &[("k".to_owned(), DataType::OrSet, operation)]).unwrap();
    };
    write(&mut execution, Operation::Add(vec!["1".to_owned()]));
    let added = execution.deltas[0].clone();
    write(&mut execution, Operation::Remove(vec!["1".to_owned()]));
    let writer = execution.peers[0].writer;
    let asker = &execution.peers[0].store;
    let mut teller = Store::new();
    teller.join(&added);
    // Of the removal only the dot that it took, not the dot that it dropped.
    teller.join(&asker.extract(&[(writer, [(2, 2)].into_iter().collect())].into_iter().collect()));
    assert!(lack_by_sketch(asker, &teller).knows_more);
    assert!(!lack_by_sketch(&teller, asker).dots.is_empty());
}

/// What only the asker has seen, and is no more: the live entries and the newest dots are the same on both sides.
#[test]
fn a_sketch_tells_of_what_the_teller_has_not_seen_and_is_gone() {
    let mut execution = Execution::new();
    for name in ["first", "second", "third"] {
        execution.write(0, 0, &[(name.to_owned(), DataType::GSet, Operation::Add(vec!["1".to_owned()]))]).unwrap();
    }
    execution.write(0, 0, &[("gone".to_owned(), DataType::OrSet, Operation::Add(vec!["1".to_owned()]))]).unwrap();
    execution.write(0, 0, &[("gone".to_owned(), DataType::OrSet, Operation::Remove(vec!["1".to_owned()]))]).unwrap();
    execution.write(0, 0, &[("last".to_owned(), DataType::GSet, Operation::Add(vec!["1".to_owned()]))]).unwrap();
    let writer = execution.peers[0].writer;
    let asker = &execution.peers[0].store;
    let mut teller = Store::new();
    // All but the dots of what came and went.
    let known = [(writer, [(1, 3), (6, 6)].into_iter().collect())].into_iter().collect();
    teller.join(&asker.extract(&known));
    assert!(!teller.gaps().is_empty() && asker.gaps().is_empty());
    assert!(lack_by_sketch(asker, &teller).knows_more);
    assert!(!lack_by_sketch(&teller, asker).dots.is_empty());
}
