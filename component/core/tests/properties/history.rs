//! Random histories: what replicas write, and what they tell each other.

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

/// Every type; maps come more often, since they hold all the others.
const MIXED: [DataType; 15] = {
    let mut types = [DataType::Map; 15];
    let mut at = 0;
    while at < DataType::ALL.len() {
        types[at] = DataType::ALL[at];
        at += 1;
    }
    types
};

/// Histories in which replicas learn all that another knows, so that what each knows is closed under causality.
pub fn causal_history() -> impl Strategy<Value = Vec<Step>> {
    causal_history_of(&MIXED)
}

/// The same, about keys of these types, so that more of the writes meet.
pub fn causal_history_of(types: &'static [DataType]) -> impl Strategy<Value = Vec<Step>> {
    prop::collection::vec(prop_oneof![3 => write_step(types), 2 => sync_step()], 0..24)
}

/// Histories in which parts of anything get anywhere.
pub fn any_history() -> impl Strategy<Value = Vec<Step>> {
    prop::collection::vec(prop_oneof![4 => write_step(&MIXED), 1 => sync_step(), 2 => leak_step()], 0..24)
}

fn write_step(types: &'static [DataType]) -> impl Strategy<Value = Step> {
    (0..REPLICAS, prop::bool::weighted(0.1), 0..4_u64, batch(types))
        .prop_map(|(replica, fresh, stamp, operations)| Step::Write { replica, fresh, stamp, operations })
}

/// The operations of one write.
pub fn batch(types: &'static [DataType]) -> impl Strategy<Value = Vec<Keyed>> {
    prop::collection::vec(operation(types), 1..4)
}

/// The operations of one write, about keys of any type.
pub fn any_batch() -> impl Strategy<Value = Vec<Keyed>> {
    batch(&MIXED)
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

/// An operation on one of few keys.
fn operation(types: &'static [DataType]) -> impl Strategy<Value = Keyed> {
    (select(&["k", "kk", "l"][..]), select(types)).prop_flat_map(|(name, data_type)| {
        let operation = prop_oneof![12 => on_type(data_type, 3), 1 => Just(Operation::Delete)];
        operation.prop_map(move |operation| (name.to_owned(), data_type, operation))
    })
}

/// An operation that a type has; of a map, at most so deep.
fn on_type(data_type: DataType, depth: usize) -> BoxedStrategy<Operation> {
    match data_type {
        DataType::GCounter => amount().prop_map(Operation::Increment).boxed(),
        DataType::PnCounter => {
            prop_oneof![amount().prop_map(Operation::Increment), amount().prop_map(Operation::Decrement)].boxed()
        }
        DataType::GSet => elements().prop_map(Operation::Add).boxed(),
        DataType::OrSet | DataType::RwSet => {
            prop_oneof![3 => elements().prop_map(Operation::Add), 2 => elements().prop_map(Operation::Remove)].boxed()
        }
        DataType::LwwRegister | DataType::MvRegister => {
            select(&ELEMENTS[..]).prop_map(|value| Operation::Set(value.to_owned())).boxed()
        }
        DataType::MaxRegister | DataType::MinRegister => {
            select(&NUMBERS[..]).prop_map(|value| Operation::Set(value.to_owned())).boxed()
        }
        DataType::EwFlag | DataType::DwFlag => any::<bool>().prop_map(Operation::Flag).boxed(),
        DataType::Map => on_map(depth),
    }
}

fn on_map(depth: usize) -> BoxedStrategy<Operation> {
    let field = move |name: String| {
        let types = prop_oneof![5 => select(&DataType::ALL[..11]), 2 => Just(DataType::Map)];
        types.prop_flat_map(move |inner| {
            let inner = if depth == 0 { DataType::OrSet } else { inner };
            let name = name.clone();
            on_type(inner, depth.saturating_sub(1)).prop_map(move |operation| (name.clone(), inner, operation))
        })
    };
    // As from a JSON object: each name once, ascending.
    let update = prop::collection::btree_set(field_name(), 0..3)
        .prop_flat_map(move |names| names.into_iter().map(field).collect::<Vec<_>>())
        .prop_map(Operation::Update);
    let remove = prop::collection::btree_set(field_name(), 0..3)
        .prop_map(|names| Operation::RemoveFields(names.into_iter().collect()));
    prop_oneof![4 => update, 1 => remove].boxed()
}

fn field_name() -> impl Strategy<Value = String> {
    select(&["f", "ff", "g"][..]).prop_map(str::to_owned)
}

/// Amounts whose sums stay within all bounds, and amounts whose sums do not.
fn amount() -> impl Strategy<Value = u64> {
    prop_oneof![8 => 0..4_u64, 1 => Just(1 << 62), 1 => Just(i64::MAX as u64), 1 => Just(u64::MAX)]
}

/// Canonical JSON, of which some are alike.
const ELEMENTS: [&str; 7] =
    ["1", "1.0", "\"a\"", "\"an element that is longer than twenty-two\"", "[]", "null", "{\"a\":1}"];

/// Numbers, each greater than the one before it; of the same value in different forms, by their texts.
pub const NUMBERS: [&str; 16] = [
    "-1e+300",
    "-9223372036854775808",
    "-1.5",
    "-1",
    "-0.0",
    "0",
    "0.0",
    "0.5",
    "1",
    "1.0",
    "9007199254740992",
    "9007199254740992.0",
    "9007199254740993",
    "18446744073709551615",
    "1.8446744073709552e+19",
    "1e+300",
];

/// Elements, each once, ascending, as from a request.
fn elements() -> impl Strategy<Value = Vec<String>> {
    let some = prop::collection::btree_set(select(&ELEMENTS[..]), 0..3);
    some.prop_map(|texts| texts.into_iter().map(str::to_owned).collect())
}
