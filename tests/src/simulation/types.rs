//! What operations do, in plain words: which observed entries an operation drops and which it puts, as DESIGN section 4 and
//! `wit/http-api.md` have it. It is written from those texts and shares nothing with the core but the names of cells.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use dayfly_core::cell::{Cell, DataType};
use dayfly_core::codec::Reader;
use dayfly_core::dot::{Dot, Seq, WriterId};
use serde_json::{Map, Value, json};

use super::model::{Fact, View};
use super::value;

/// What a client asks of one key, or of one field of a map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Deed {
    /// Counters: by how much; negative is a decrement.
    Count(i64),
    /// Sets: elements as JSON texts.
    Add(Vec<String>),
    /// Sets: elements as JSON texts.
    Remove(Vec<String>),
    /// Registers: a value as JSON text.
    Set(String),
    /// Flags.
    Flag(bool),
    /// Maps: fields, ascending by name.
    Update(Vec<(String, DataType, Deed)>),
    /// Maps.
    RemoveFields(Vec<String>),
    /// Any key.
    Delete,
}

/// A deed and the key that it is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    /// The key's name.
    pub name: String,
    /// The key's type.
    pub data_type: DataType,
    /// What to do.
    pub deed: Deed,
}

fn parsed(texts: &[String]) -> Value {
    texts.iter().map(|text| serde_json::from_str::<Value>(text).expect("elements are JSON texts")).collect()
}

impl Deed {
    /// The members of the request's body that say it.
    pub fn to_json(&self) -> Map<String, Value> {
        let body = match self {
            Self::Count(by) if *by < 0 => json!({ "decrement": by.unsigned_abs() }),
            Self::Count(by) => json!({ "increment": by }),
            Self::Add(elements) => json!({ "add": parsed(elements) }),
            Self::Remove(elements) => json!({ "remove": parsed(elements) }),
            Self::Set(value) => json!({ "set": serde_json::from_str::<Value>(value).expect("values are JSON texts") }),
            Self::Flag(true) => json!({ "enable": true }),
            Self::Flag(false) => json!({ "disable": true }),
            Self::Update(fields) => {
                let field = |(name, data_type, deed): &(String, DataType, Deed)| {
                    let mut body = deed.to_json();
                    body.insert("type".into(), data_type.name().into());
                    (name.clone(), Value::Object(body))
                };
                json!({ "update": fields.iter().map(field).collect::<Map<_, _>>() })
            }
            Self::RemoveFields(fields) => json!({ "remove": fields }),
            Self::Delete => json!({ "delete": true }),
        };
        match body {
            Value::Object(members) => members,
            _ => unreachable!("each arm makes an object"),
        }
    }

    /// Whether it takes away more than it replaces, so that what was counted may be gone.
    pub fn deletes(&self) -> bool {
        match self {
            Self::Delete | Self::RemoveFields(_) => true,
            Self::Update(fields) => fields.iter().any(|(_, _, deed)| deed.deletes()),
            Self::Count(_) | Self::Add(_) | Self::Remove(_) | Self::Set(_) | Self::Flag(_) => false,
        }
    }
}

/// The clock of a value that was replaced before anybody could look at it.
pub const UNKNOWN_STAMP: u64 = 0;

/// What an entry holds.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Content {
    /// A writer's total in a counter.
    Total(i128),
    /// A set's element.
    Element(String),
    /// What an `rwset` says of an element: whether it was added.
    Stated(bool, String),
    /// The value of an `lwwregister` with its clock.
    Stamped(u64, String),
    /// The value of an `mvregister`.
    Value(String),
    /// A flag's token.
    Flag(bool),
    /// The number of a max- or minregister.
    Number(String),
}

impl Content {
    /// What the bytes of an entry mean; `None` if they are of no form.
    pub fn of_payload(leaf: DataType, payload: &[u8]) -> Option<Self> {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).ok();
        match leaf {
            DataType::GCounter => {
                let mut reader = Reader::new(payload);
                let up = reader.number().ok()?;
                reader.end().ok().map(|()| Self::Total(up.into()))
            }
            DataType::PnCounter => {
                let mut reader = Reader::new(payload);
                let (up, down) = (reader.number().ok()?, reader.number().ok()?);
                reader.end().ok().map(|()| Self::Total(i128::from(up) - i128::from(down)))
            }
            DataType::GSet | DataType::OrSet => text(payload).map(Self::Element),
            DataType::RwSet => {
                let (said, element) = payload.split_first()?;
                text(element).map(|element| Self::Stated(*said == 1, element))
            }
            DataType::LwwRegister => {
                let (stamp, value) = payload.split_first_chunk::<8>()?;
                text(value).map(|value| Self::Stamped(u64::from_be_bytes(*stamp), value))
            }
            DataType::MvRegister => text(payload).map(Self::Value),
            DataType::EwFlag | DataType::DwFlag => payload.first().map(|said| Self::Flag(*said == 1)),
            DataType::MaxRegister | DataType::MinRegister => text(payload).map(Self::Number),
            DataType::Map => None,
        }
    }

    /// Whether an entry that holds `other` can be this one.
    pub fn fits(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Stamped(UNKNOWN_STAMP, value), Self::Stamped(_, other)) => value == other,
            _ => self == other,
        }
    }

    /// The element that it speaks of, in a set.
    pub fn element(&self) -> Option<&str> {
        match self {
            Self::Element(element) | Self::Stated(_, element) => Some(element),
            Self::Total(_) | Self::Stamped(..) | Self::Value(_) | Self::Flag(_) | Self::Number(_) => None,
        }
    }
}

/// A counter would leave its bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overflow;

/// What a request does: all of it or nothing.
#[derive(Clone, Debug)]
pub struct Draft<'v> {
    view: &'v View,
    writer: WriterId,
    next: u64,
    stamp: u64,
    /// What it put, also what it dropped again.
    pub puts: BTreeMap<Dot, Rc<Fact>>,
    /// What it dropped.
    pub drops: BTreeSet<Dot>,
}

impl<'v> Draft<'v> {
    /// A request answered by one that has seen `view`, whose writer's next dot is `next`, at this time of its clock.
    pub fn new(view: &'v View, writer: WriterId, next: u64, stamp: u64) -> Self {
        Self { view, writer, next, stamp, puts: BTreeMap::new(), drops: BTreeSet::new() }
    }

    /// The first dot that the request did not use.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// Does an operation.
    pub fn perform(&mut self, operation: &Operation) -> Result<(), Overflow> {
        let Operation { name, data_type, deed } = operation;
        match deed {
            Deed::Delete => {
                let cells = self.cells(|cell| *cell.name == **name && cell.key_type == *data_type);
                cells.iter().for_each(|cell| self.drop_where(cell, |_, _| true));
                Ok(())
            }
            _ => self.perform_at(&Cell::of_key(name, *data_type), deed),
        }
    }

    fn perform_at(&mut self, cell: &Cell, deed: &Deed) -> Result<(), Overflow> {
        match (cell.leaf, deed) {
            (DataType::Map, Deed::Update(fields)) => {
                for (field, leaf, deed) in fields {
                    let mut inner = cell.clone();
                    inner.path.push(field.as_str().into());
                    inner.leaf = *leaf;
                    self.perform_at(&inner, deed)?;
                }
            }
            (DataType::Map, Deed::RemoveFields(fields)) => {
                for field in fields {
                    let mut path = cell.path.clone();
                    path.push(field.as_str().into());
                    let cells = self.cells(|other| {
                        other.name == cell.name && other.key_type == DataType::Map && other.path.starts_with(&path)
                    });
                    cells.iter().for_each(|cell| self.drop_where(cell, |_, _| true));
                }
            }
            (DataType::GCounter | DataType::PnCounter, Deed::Count(by)) => return self.count(cell, *by),
            (DataType::GSet, Deed::Add(elements)) => {
                for element in each_once(elements) {
                    if !self.live(cell).iter().any(|(_, content)| content.element() == Some(element)) {
                        self.put(cell, Content::Element(element.to_owned()));
                    }
                }
            }
            (DataType::OrSet, Deed::Add(elements)) => {
                for element in each_once(elements) {
                    self.drop_where(cell, |_, content| content.element() == Some(element));
                    self.put(cell, Content::Element(element.to_owned()));
                }
            }
            (DataType::OrSet, Deed::Remove(elements)) => {
                for element in each_once(elements) {
                    self.drop_where(cell, |_, content| content.element() == Some(element));
                }
            }
            (DataType::RwSet, Deed::Add(elements) | Deed::Remove(elements)) => {
                for element in each_once(elements) {
                    self.drop_where(cell, |_, content| content.element() == Some(element));
                    self.put(cell, Content::Stated(matches!(deed, Deed::Add(_)), element.to_owned()));
                }
            }
            (DataType::LwwRegister, Deed::Set(value)) => {
                self.drop_where(cell, |_, _| true);
                self.put(cell, Content::Stamped(self.stamp, value.clone()));
            }
            (DataType::MvRegister, Deed::Set(value)) => {
                self.drop_where(cell, |_, _| true);
                self.put(cell, Content::Value(value.clone()));
            }
            (DataType::EwFlag | DataType::DwFlag, Deed::Flag(on)) => {
                self.drop_where(cell, |_, _| true);
                self.put(cell, Content::Flag(*on));
            }
            (DataType::MaxRegister | DataType::MinRegister, Deed::Set(value)) => {
                let sign = if cell.leaf == DataType::MaxRegister { 1.0 } else { -1.0 };
                let rank = |text: &str| sign * text.parse::<f64>().expect("it is a number");
                let best = |(_, content): &(Dot, Content)| match content {
                    Content::Number(number) => rank(number) < rank(value),
                    _ => unreachable!("a register of numbers holds numbers"),
                };
                if self.live(cell).iter().all(best) {
                    self.drop_where(cell, |_, _| true);
                    self.put(cell, Content::Number(value.clone()));
                }
            }
            (leaf, deed) => panic!("no client asks a {} for {deed:?}", leaf.name()),
        }
        Ok(())
    }

    fn count(&mut self, cell: &Cell, by: i64) -> Result<(), Overflow> {
        if by == 0 {
            return Ok(());
        }
        let live = self.live(cell);
        let writer = self.writer;
        let own: Vec<_> = live.iter().filter(|(dot, _)| dot.writer == writer).cloned().collect();
        let value = value::sum(&live) + i128::from(by);
        let own = value::sum(&own) + i128::from(by);
        let bounds = match cell.leaf {
            DataType::GCounter => 0..=i128::from(u64::MAX),
            _ => i128::from(i64::MIN)..=i128::from(i64::MAX),
        };
        if !bounds.contains(&value) || !bounds.contains(&own) {
            return Err(Overflow);
        }
        self.drop_where(cell, |dot, _| dot.writer == writer);
        self.put(cell, Content::Total(own));
        Ok(())
    }

    /// The live entries of a cell, as the request sees them by now.
    fn live(&self, cell: &Cell) -> Vec<(Dot, Content)> {
        let new = self.puts.iter().filter(|(_, fact)| fact.cell == *cell);
        let new = new.map(|(dot, fact)| (*dot, fact.content.clone()));
        let old = self.view.of_cell(cell).map(|(dot, fact)| (dot, fact.content.clone()));
        old.chain(new).filter(|(dot, _)| !self.drops.contains(dot)).collect()
    }

    fn cells(&self, wanted: impl Fn(&Cell) -> bool) -> Vec<Cell> {
        let new = self.puts.values().map(|fact| &fact.cell);
        let cells: BTreeSet<&Cell> = self.view.cells().chain(new).filter(|cell| wanted(cell)).collect();
        cells.into_iter().cloned().collect()
    }

    fn drop_where(&mut self, cell: &Cell, wanted: impl Fn(Dot, &Content) -> bool) {
        let live = self.live(cell).into_iter();
        let gone: Vec<Dot> = live.filter(|(dot, content)| wanted(*dot, content)).map(|(dot, _)| dot).collect();
        self.drops.extend(gone);
    }

    fn put(&mut self, cell: &Cell, content: Content) {
        let dot = Dot { writer: self.writer, seq: Seq(self.next) };
        self.next += 1;
        self.puts.insert(dot, Rc::new(Fact { cell: cell.clone(), content }));
    }

    /// Ends the request: if it only dropped, it takes a dot all the same.
    pub fn end(&mut self) {
        if self.puts.is_empty() && !self.drops.is_empty() {
            self.next += 1;
        }
    }
}

fn each_once(elements: &[String]) -> BTreeSet<&str> {
    elements.iter().map(String::as_str).collect()
}
