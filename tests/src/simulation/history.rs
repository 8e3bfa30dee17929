//! What clients did, and what values follow from that alone.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::rc::Rc;

use dayfly_core::cell::{Cell, DataType};
use dayfly_core::dot::{Dot, Seq, WriterId};
use serde_json::Value;

use super::model::{Fact, View};
use super::types::{Deed, Operation};
use super::value::{self, Cells};

/// A request that wrote.
#[derive(Clone, Debug)]
pub struct Write {
    /// Its operations.
    pub operations: Vec<Operation>,
    /// Who wrote.
    pub writer: WriterId,
    /// Its own dots.
    pub seqs: Range<u64>,
    /// What they put.
    pub puts: BTreeMap<Dot, Rc<Fact>>,
    /// What it dropped, its own dots included.
    pub drops: BTreeSet<Dot>,
    /// Whether a client was told that it is confirmed.
    pub confirmed: bool,
}

impl Write {
    /// Its own dots.
    pub fn own(&self) -> impl Iterator<Item = Dot> + '_ {
        self.seqs.clone().map(|seq| Dot { writer: self.writer, seq: Seq(seq) })
    }

    /// All dots that its chunk speaks of.
    pub fn dots(&self) -> BTreeSet<Dot> {
        self.own().chain(self.drops.iter().copied()).collect()
    }

    /// Whether one that knows this knows all that the write did.
    pub fn is_known_to(&self, view: &View) -> bool {
        self.own().all(|dot| view.has_seen(dot))
            && self.drops.iter().all(|dot| view.has_seen(*dot) && !view.is_live(*dot))
    }

    /// Whether one that knows this knows of the write and not all that it did.
    pub fn is_torn_in(&self, view: &View) -> bool {
        self.own().any(|dot| view.has_seen(dot)) && !self.is_known_to(view)
    }
}

/// All requests that wrote.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// In the order in which they were answered.
    pub writes: Vec<Write>,
    /// How much was ever added to and taken from each counter key.
    counted: BTreeMap<(String, DataType), (i128, i128)>,
    /// Keys of which something was deleted.
    deleted: BTreeSet<(String, DataType)>,
}

impl History {
    /// Takes note of a write; gives its index.
    pub fn add(&mut self, write: Write) -> usize {
        for operation in &write.operations {
            let key = (operation.name.clone(), operation.data_type);
            if operation.deed.deletes() {
                self.deleted.insert(key.clone());
            }
            if let Deed::Count(by) = operation.deed {
                let (up, down) = self.counted.entry(key).or_default();
                *up += i128::from(by.max(0));
                *down += i128::from(by.min(0));
            }
        }
        self.writes.push(write);
        self.writes.len() - 1
    }

    /// The bounds of what a counter can ever read as.
    pub fn bounds(&self, name: &str, data_type: DataType) -> (i128, i128) {
        let (up, down) = self.counted.get(&(name.to_owned(), data_type)).copied().unwrap_or_default();
        (down, up)
    }

    /// The keys that were ever written.
    pub fn keys(&self) -> BTreeSet<(String, DataType)> {
        let operations = self.writes.iter().flat_map(|write| &write.operations);
        operations.map(|operation| (operation.name.clone(), operation.data_type)).collect()
    }

    /// The sum of the increments of a counter key that survive: of each writer, all up to the last one that somebody has
    /// seen, since each entry holds its writer's total. `None` if something of the key was deleted.
    pub fn sum(&self, name: &str, data_type: DataType, view: &View) -> Option<i128> {
        if self.deleted.contains(&(name.to_owned(), data_type)) {
            return None;
        }
        let cell = Cell::of_key(name, data_type);
        let mut last: BTreeMap<WriterId, u64> = BTreeMap::new();
        let mut amounts: Vec<(Dot, i128)> = Vec::new();
        for write in &self.writes {
            let mut puts = write.puts.iter().filter(|(_, fact)| fact.cell == cell).map(|(dot, _)| *dot);
            let counts = write.operations.iter().filter(|operation| {
                operation.name == name && operation.data_type == data_type && operation.deed != Deed::Count(0)
            });
            for operation in counts {
                let Deed::Count(by) = operation.deed else { continue };
                let dot = puts.next().expect("each count of a batch puts an entry");
                amounts.push((dot, by.into()));
                if view.has_seen(dot) {
                    let last = last.entry(dot.writer).or_default();
                    *last = dot.seq.0.max(*last);
                }
            }
        }
        let counted = amounts.iter().filter(|(dot, _)| last.get(&dot.writer).is_some_and(|last| dot.seq.0 <= *last));
        Some(counted.map(|(_, by)| by).sum())
    }

    /// What a key reads as, from the writes that somebody has seen: what they put and no other of them dropped. A counter
    /// is left out.
    pub fn value(&self, name: &str, data_type: DataType, view: &View) -> Option<Value> {
        let known: Vec<&Write> = self.writes.iter().filter(|write| write.own().any(|dot| view.has_seen(dot))).collect();
        let dropped: BTreeSet<Dot> = known.iter().flat_map(|write| &write.drops).copied().collect();
        let mut cells = Cells::new();
        for (dot, fact) in known.iter().flat_map(|write| &write.puts) {
            let of_key = *fact.cell.name == *name && fact.cell.key_type == data_type;
            if of_key && view.has_seen(*dot) && !dropped.contains(dot) {
                cells.entry(fact.cell.clone()).or_default().push((*dot, fact.content.clone()));
            }
        }
        value::of_key(data_type, &cells)
    }
}
