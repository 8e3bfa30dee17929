//! Intervals, sets of dots and ranges against plain sets.

use std::collections::BTreeSet;

use dayfly_core::dot::{Dot, Seq, WriterId};
use dayfly_core::intervals::{DotSet, Intervals};
use dayfly_core::store::{Range, Ranges};
use proptest::prelude::*;

/// Where a small universe of numbers begins: at either end of all numbers, or within.
fn origin() -> impl Strategy<Value = u64> {
    prop_oneof![Just(0), Just(1_000), Just(u64::MAX - UNIVERSE + 1)]
}

const UNIVERSE: u64 = 40;

#[derive(Clone, Debug)]
enum Change {
    Insert(u64, u64),
    Remove(u64, u64),
}

/// Changes within the universe, lower end first.
fn changes() -> impl Strategy<Value = Vec<Change>> {
    let span = (0..UNIVERSE, 0..8_u64).prop_map(|(low, more)| (low, (low + more).min(UNIVERSE - 1)));
    let change = (span, prop::bool::weighted(0.7))
        .prop_map(|((low, high), insert)| if insert { Change::Insert(low, high) } else { Change::Remove(low, high) });
    prop::collection::vec(change, 0..16)
}

fn check_form(set: &Intervals, model: &BTreeSet<u64>) {
    let spans: Vec<(u64, u64)> = set.iter().collect();
    assert!(spans.iter().all(|(low, high)| low <= high));
    assert!(spans.windows(2).all(|pair| pair[0].1.checked_add(1).is_some_and(|next| next < pair[1].0)), "{spans:?}");
    let numbers: Vec<u64> = spans.iter().flat_map(|(low, high)| *low..=*high).collect();
    assert!(numbers.iter().eq(model), "{spans:?}, but expected {model:?}");
    assert_eq!(set.interval_count(), spans.len());
    assert_eq!(set.len(), model.len() as u64);
    assert_eq!(set.is_empty(), model.is_empty());
    assert_eq!(set.max(), model.last().copied().unwrap_or(0));
}

fn build(origin: u64, changes: &[Change]) -> (Intervals, BTreeSet<u64>) {
    let (mut set, mut model) = (Intervals::default(), BTreeSet::new());
    for change in changes {
        match change {
            Change::Insert(low, high) => {
                let before = model.len();
                model.extend(origin + low..=origin + high);
                assert_eq!(set.insert_span(origin + low, origin + high), model.len() > before);
            }
            Change::Remove(low, high) => {
                model.retain(|n| !(origin + low..=origin + high).contains(n));
                set.remove_span(origin + low, origin + high);
            }
        }
        check_form(&set, &model);
    }
    (set, model)
}

proptest! {
    #[test]
    fn intervals_are_sets(
        origin in origin(), one in changes(), other in changes(), low in 0..UNIVERSE, more in 0..12_u64,
    ) {
        let ((a, model_a), (b, model_b)) = (build(origin, &one), build(origin, &other));
        let (low, high) = (origin + low, origin + (low + more).min(UNIVERSE - 1));
        let span: BTreeSet<u64> = (low..=high).collect();
        check_form(&a.intersect(&b), &(&model_a & &model_b));
        check_form(&a.subtract(&b), &(&model_a - &model_b));
        check_form(&a.clip(low, high), &(&model_a & &span));
        prop_assert_eq!(a.intersects(low, high), !model_a.is_disjoint(&span));
        prop_assert_eq!(a.covers(low, high), span.is_subset(&model_a));
        prop_assert_eq!(a.contains(low), model_a.contains(&low));
        prop_assert_eq!(a == b, model_a == model_b);
        check_form(&a.iter().rev().collect(), &model_a);
        if origin < u64::MAX / 2 {
            let seen: BTreeSet<u64> = (1..=a.max()).collect();
            check_form(&a.gaps(), &(&seen - &model_a));
        }
    }

    #[test]
    fn dot_sets_are_sets(
        one in prop::collection::vec((0..4_u128, 1..12_u64, 0..4_u64), 0..12),
        other in prop::collection::vec((0..4_u128, 1..12_u64, 0..4_u64), 0..12),
        dot in (0..4_u128, 0..16_u64),
    ) {
        let build = |spans: &[(u128, u64, u64)]| {
            let (mut set, mut model) = (DotSet::default(), BTreeSet::new());
            for (writer, low, more) in spans {
                let before = model.len();
                model.extend((*low..=low + more).map(|seq| Dot { writer: WriterId(*writer), seq: Seq(seq) }));
                let added = match more {
                    0 => set.insert(Dot { writer: WriterId(*writer), seq: Seq(*low) }),
                    _ => set.insert_span(WriterId(*writer), *low, low + more),
                };
                assert_eq!(added, model.len() > before);
            }
            (set, model)
        };
        let dots = |set: &DotSet| -> BTreeSet<Dot> {
            set.iter().flat_map(|(writer, seqs)| crate::contents::dots_of(writer, seqs)).collect()
        };
        let ((mut a, mut model_a), (b, model_b)) = (build(&one), build(&other));
        let dot = Dot { writer: WriterId(dot.0), seq: Seq(dot.1) };
        prop_assert_eq!(dots(&a), model_a.clone());
        prop_assert_eq!(a.contains(dot), model_a.contains(&dot));
        prop_assert_eq!(a.is_empty(), model_a.is_empty());
        let writers: BTreeSet<WriterId> = model_a.iter().map(|dot| dot.writer).collect();
        prop_assert_eq!(a.writer_count(), writers.len());
        let greatest = model_a.iter().filter(|other| other.writer == dot.writer).map(|dot| dot.seq.0).max();
        prop_assert_eq!(a.max_seq(dot.writer), Seq(greatest.unwrap_or(0)));
        prop_assert_eq!(a.of(dot.writer).is_some(), greatest.is_some());
        a.extend(&b);
        model_a.extend(model_b);
        prop_assert_eq!(dots(&a), model_a);
        prop_assert_eq!(a.iter().map(|(writer, seqs)| (writer, seqs.clone())).collect::<DotSet>(), a);
    }

    #[test]
    fn ranges_are_sets(changes in prop::collection::vec((0..PLACES, 0..PLACES, prop::bool::weighted(0.7)), 0..16)) {
        let (mut ranges, mut model) = (Ranges::default(), BTreeSet::new());
        for (low, high, insert) in changes {
            let range = Range { low: place(low), high: place(high) };
            prop_assert_eq!(range.is_empty(), low >= high);
            if insert {
                ranges.insert(range);
                model.extend(low..high);
            } else {
                ranges.remove(range);
                model.retain(|at| !(low..high).contains(at));
            }
            let list: Vec<Range> = ranges.iter().collect();
            let within = |at: usize| list.iter().any(|range| range.low <= place(at) && place(at) < range.high);
            prop_assert!((0..PLACES).filter(|at| within(*at)).eq(model.iter().copied()), "{:?} is not {:?}", list, model);
            prop_assert!(list.iter().all(|range| !range.is_empty()));
            prop_assert!(list.windows(2).all(|pair| pair[0].high < pair[1].low), "{:?}", list);
            prop_assert_eq!(ranges.len(), list.len());
            prop_assert_eq!(ranges.is_empty(), model.is_empty());
            prop_assert_eq!(list.into_iter().rev().collect::<Ranges>(), ranges.clone());
        }
        ranges.remove(Range::ALL);
        prop_assert_eq!(&ranges, &Ranges::default());
        ranges.insert(Range::ALL);
        prop_assert_eq!(ranges, Ranges::all());
    }
}

const PLACES: usize = 24;

/// Dots in their order, with both ends of all.
fn place(at: usize) -> Dot {
    match at {
        0 => Range::ALL.low,
        at if at == PLACES - 1 => Range::ALL.high,
        at => Dot { writer: WriterId(at as u128 / 5), seq: Seq(at as u64 % 5) },
    }
}
