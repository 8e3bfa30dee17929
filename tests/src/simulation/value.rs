//! What a key reads as, in plain words, from the live entries of its cells.

use std::collections::{BTreeMap, BTreeSet};

use dayfly_core::cell::{Cell, DataType};
use dayfly_core::dot::Dot;
use serde_json::{Map, Value};

use super::types::Content;

/// Live entries by cell.
pub type Cells = BTreeMap<Cell, Vec<(Dot, Content)>>;

/// The value of a key that has these cells; `None` if it has no entry.
pub fn of_key(data_type: DataType, cells: &Cells) -> Option<Value> {
    match data_type {
        DataType::Map => of_map(0, cells.iter()),
        _ => cells.values().find(|entries| !entries.is_empty()).map(|entries| of_cell(data_type, entries)),
    }
}

/// What a write's answer shows of a key that has no entry.
pub fn of_nothing(data_type: DataType) -> Value {
    match data_type {
        DataType::GSet | DataType::OrSet | DataType::RwSet | DataType::MvRegister => Value::Array(Vec::new()),
        DataType::Map => Value::Object(Map::new()),
        DataType::GCounter
        | DataType::PnCounter
        | DataType::LwwRegister
        | DataType::EwFlag
        | DataType::DwFlag
        | DataType::MaxRegister
        | DataType::MinRegister => Value::Null,
    }
}

/// The leaves under one field, with what each holds.
type Leaves<'a> = Vec<(&'a Cell, &'a Vec<(Dot, Content)>)>;

fn of_map<'c>(depth: usize, cells: impl Iterator<Item = (&'c Cell, &'c Vec<(Dot, Content)>)>) -> Option<Value> {
    let mut fields: BTreeMap<String, Leaves<'_>> = BTreeMap::new();
    for (cell, entries) in cells.filter(|(_, entries)| !entries.is_empty()) {
        fields.entry(cell.path[depth].to_string()).or_default().push((cell, entries));
    }
    let field = |(name, cells): (String, Leaves<'_>)| {
        let (leaves, inner): (Vec<_>, Vec<_>) = cells.into_iter().partition(|(cell, _)| cell.path.len() == depth + 1);
        let leaves = leaves.into_iter().map(|(cell, entries)| (cell.leaf.name().into(), of_cell(cell.leaf, entries)));
        let mut types: Map<String, Value> = leaves.collect();
        if let Some(inner) = of_map(depth + 1, inner.into_iter()) {
            types.insert("map".into(), inner);
        }
        (name, Value::Object(types))
    };
    (!fields.is_empty()).then(|| Value::Object(fields.into_iter().map(field).collect()))
}

fn of_cell(leaf: DataType, entries: &[(Dot, Content)]) -> Value {
    let contents = || entries.iter().map(|(_, content)| content);
    match leaf {
        DataType::GCounter | DataType::PnCounter => number(sum(entries)),
        DataType::GSet | DataType::OrSet => array(contents().filter_map(Content::element).collect()),
        DataType::RwSet => {
            let removed: BTreeSet<&str> = contents()
                .filter(|content| matches!(content, Content::Stated(false, _)))
                .filter_map(Content::element)
                .collect();
            array(contents().filter_map(Content::element).filter(|element| !removed.contains(element)).collect())
        }
        DataType::LwwRegister => {
            let stamped = entries.iter().map(|(dot, content)| match content {
                Content::Stamped(stamp, value) => (*stamp, dot.writer, dot.seq, value),
                other => unreachable!("{other:?} in an lwwregister"),
            });
            parse(stamped.max().expect("a cell has entries").3)
        }
        DataType::MvRegister => array(
            contents()
                .map(|content| match content {
                    Content::Value(value) => value.as_str(),
                    other => unreachable!("{other:?} in an mvregister"),
                })
                .collect(),
        ),
        DataType::EwFlag => contents().any(|content| *content == Content::Flag(true)).into(),
        DataType::DwFlag => contents().all(|content| *content == Content::Flag(true)).into(),
        DataType::MaxRegister | DataType::MinRegister => {
            let numbers = contents().map(|content| match content {
                Content::Number(text) => (text.parse::<f64>().expect("it is a number"), text),
                other => unreachable!("{other:?} in a register of numbers"),
            });
            let sign = if leaf == DataType::MaxRegister { 1.0 } else { -1.0 };
            let extreme = numbers.max_by(|(a, _), (b, _)| (sign * a).total_cmp(&(sign * b)));
            parse(extreme.expect("a cell has entries").1)
        }
        DataType::Map => unreachable!("a map has no cell of its own"),
    }
}

/// What a counter's entries say together: of each writer the newest, since that holds all that it counted.
pub fn sum(entries: &[(Dot, Content)]) -> i128 {
    let total = |(dot, content): &(Dot, Content)| match content {
        Content::Total(total) => (dot.writer, (dot.seq, *total)),
        other => unreachable!("{other:?} in a counter"),
    };
    let mut newest = BTreeMap::new();
    for (writer, entry) in entries.iter().map(total) {
        let known = newest.entry(writer).or_insert(entry);
        *known = entry.max(*known);
    }
    newest.into_values().map(|(_, total)| total).sum()
}

fn number(sum: i128) -> Value {
    match (u64::try_from(sum), i64::try_from(sum)) {
        (Ok(sum), _) => sum.into(),
        (_, Ok(sum)) => sum.into(),
        // Concurrent increments can add up to more than either was allowed to: shown as what it is.
        _ => parse(&sum.to_string()),
    }
}

fn array(texts: BTreeSet<&str>) -> Value {
    texts.into_iter().map(parse).collect()
}

fn parse(text: &str) -> Value {
    serde_json::from_str(text).expect("values are JSON texts")
}
