//! Random histories: what replicas write, and what they tell each other.

use std::collections::BTreeMap;

use dayfly_core::cell::DataType;
use dayfly_core::types::operation::Operation;
use proptest::prelude::*;
use proptest::sample::select;

/// How many replicas an execution has.
pub const REPLICAS: usize = 4;

/// An operation with its key.
pub type Keyed = (String, DataType, Operation);

/// One thing that happens.
#[derive(Clone, Debug)]
pub enum Step {
    /// A replica makes one write of these operations; with a new writer id if `fresh`. `stamp` is its clock's reading.
    Write { replica: usize, fresh: bool, stamp: u64, operations: Vec<Keyed> },
    /// A replica learns all that another knows.
    Sync { from: usize, to: usize, way: Way },
    /// A replica learns a part of what another knows.
    Leak { from: usize, to: usize, part: Part },
}

/// How all that one knows gets to another.
#[derive(Clone, Debug)]
pub enum Way {
    /// As one chunk.
    Whole,
    /// In pieces, in some order, some of them twice.
    Pieces { fill_bytes: usize, order: u64 },
    /// As the chunks of the single writes, in some order, some of them twice.
    Deltas { order: u64 },
    /// Found out with sketches.
    Sketch,
    /// Found out with descriptions of ranges.
    Description { weight: usize },
}

/// What part of what is known.
#[derive(Clone, Debug)]
pub enum Part {
    /// The chunk of one write that the sender knows.
    Delta { which: prop::sample::Index },
    /// Some of the pieces of the state.
    Pieces { fill_bytes: usize, keep: u64 },
    /// Some dots.
    Dots { keep: u64 },
}

/// Histories in which replicas learn all that another knows, so that what each knows is closed under causality.
pub fn causal_history() -> impl Strategy<Value = Vec<Step>> {
    prop::collection::vec(prop_oneof![3 => write_step(operation(any_type().boxed())), 2 => sync_step()], 0..24)
}

/// The same, about keys of few types, so that more of the writes meet.
pub fn causal_history_of(types: &'static [DataType]) -> impl Strategy<Value = Vec<Step>> {
    prop::collection::vec(prop_oneof![3 => write_step(operation(select(types).boxed())), 2 => sync_step()], 0..24)
}

/// Histories in which parts of anything get anywhere.
pub fn any_history() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![4 => write_step(operation(any_type().boxed())), 1 => sync_step(), 2 => leak_step()];
    prop::collection::vec(step, 0..24)
}

fn write_step(operation: impl Strategy<Value = Keyed>) -> impl Strategy<Value = Step> {
    let operations = prop::collection::vec(operation, 1..4);
    let fresh = prop::bool::weighted(0.1);
    (0..REPLICAS, fresh, 0..4_u64, operations)
        .prop_map(|(replica, fresh, stamp, operations)| Step::Write { replica, fresh, stamp, operations })
}

fn sync_step() -> impl Strategy<Value = Step> {
    (0..REPLICAS, 0..REPLICAS, way()).prop_map(|(from, to, way)| Step::Sync { from, to, way })
}

fn leak_step() -> impl Strategy<Value = Step> {
    let part = prop_oneof![
        2 => any::<prop::sample::Index>().prop_map(|which| Part::Delta { which }),
        1 => (fill_bytes(), any::<u64>()).prop_map(|(fill_bytes, keep)| Part::Pieces { fill_bytes, keep }),
        1 => any::<u64>().prop_map(|keep| Part::Dots { keep }),
    ];
    (0..REPLICAS, 0..REPLICAS, part).prop_map(|(from, to, part)| Step::Leak { from, to, part })
}

fn way() -> impl Strategy<Value = Way> {
    prop_oneof![
        Just(Way::Whole),
        (fill_bytes(), any::<u64>()).prop_map(|(fill_bytes, order)| Way::Pieces { fill_bytes, order }),
        any::<u64>().prop_map(|order| Way::Deltas { order }),
        Just(Way::Sketch),
        (1..40_usize).prop_map(|weight| Way::Description { weight }),
    ]
}

/// How full pieces may be: from a single entry each to everything in one.
pub fn fill_bytes() -> impl Strategy<Value = usize> {
    prop_oneof![4 => 1..400_usize, 1 => 400..4000_usize, 1 => Just(usize::MAX)]
}

/// Every type.
pub fn any_type() -> impl Strategy<Value = DataType> {
    select(&DataType::ALL[..])
}

/// An operation on one of few keys. Maps come more often than each other type, since they hold all of them.
pub fn operation(types: BoxedStrategy<DataType>) -> impl Strategy<Value = Keyed> {
    let keyed = |data_type| {
        let operation = prop_oneof![
            12 => on_type(data_type, 3),
            1 => Just(Operation::Delete),
        ];
        (select(&["k", "kk", "l"][..]), Just(data_type), operation)
    };
    prop_oneof![3 => types.clone(), 1 => types.prop_filter("no map", |t| *t == DataType::Map).boxed()]
        .prop_flat_map(keyed)
        .prop_map(|(name, data_type, operation)| (name.to_owned(), data_type, operation))
}
