//! What the types mean, said a second time and differently: as a history of acts, each with the acts that its replica knew
//! then. No dots, no contexts, no entries: a read looks at the whole history each time.

use std::collections::{BTreeMap, BTreeSet};

use dayfly_core::cell::DataType;
use dayfly_core::types::operation::Operation;
use serde_json::{Value, json};

use crate::history::{Keyed, NUMBERS};

/// The acts that a replica knows, by their index. It knows whatever an act that it knows was made in knowledge of.
pub type View = BTreeSet<usize>;

/// What an act is about: a key of a plain type, or a leaf of a map.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    name: String,
    key_type: DataType,
    path: Vec<String>,
    leaf: DataType,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum What {
    Count(i128),
    Add(String),
    Remove(String),
    Set(String),
    Flag(bool),
    /// The key, or a field of the map on the way, is removed.
    Drop,
}

#[derive(Clone, Debug)]
struct Act {
    place: Place,
    what: What,
    author: Author,
    seen: View,
}

/// Who writes, and what its clock shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Author {
    /// Ordered as writers are.
    pub writer: u128,
    pub stamp: u64,
}

/// A counter would leave its bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overflow;

/// All acts of all replicas.
#[derive(Clone, Debug, Default)]
pub struct Model {
    acts: Vec<Act>,
}

impl Model {
    /// Makes a write of a replica that knows `view`, which then knows the write too. True if it did anything.
    pub fn write(&mut self, view: &mut View, author: Author, operations: &[Keyed]) -> Result<bool, Overflow> {
        let before = (self.acts.len(), view.clone());
        for (name, data_type, operation) in operations {
            let place = Place { name: name.clone(), key_type: *data_type, path: Vec::new(), leaf: *data_type };
            if let Err(overflow) = self.apply(view, author, &place, operation) {
                self.acts.truncate(before.0);
                *view = before.1;
                return Err(overflow);
            }
        }
        Ok(self.acts.len() > before.0)
    }

    fn apply(&mut self, view: &mut View, author: Author, at: &Place, operation: &Operation) -> Result<(), Overflow> {
        match operation {
            Operation::Increment(by) => self.count(view, author, at, i128::from(*by))?,
            Operation::Decrement(by) => self.count(view, author, at, -i128::from(*by))?,
            Operation::Add(elements) => {
                for element in elements {
                    // A grow-only set says nothing of an element that it has.
                    if at.leaf != DataType::GSet || !self.elements(view, at).contains(&**element) {
                        self.act(view, author, at, What::Add(element.clone()));
                    }
                }
            }
            Operation::Remove(elements) => {
                for element in elements {
                    // A remove-wins set says that an element is not there even if it never was.
                    if at.leaf == DataType::RwSet || self.elements(view, at).contains(&**element) {
                        self.act(view, author, at, What::Remove(element.clone()));
                    }
                }
            }
            Operation::Set(value) => {
                if self.extreme(view, at).is_none_or(|best| beats(at.leaf, value, best)) {
                    self.act(view, author, at, What::Set(value.clone()));
                }
            }
            Operation::Flag(on) => self.act(view, author, at, What::Flag(*on)),
            Operation::Update(fields) => {
                for (field, leaf, operation) in fields {
                    let path = at.path.iter().chain([field]).cloned().collect();
                    self.apply(view, author, &Place { path, leaf: *leaf, ..at.clone() }, operation)?;
                }
            }
            Operation::RemoveFields(fields) => {
                for field in fields {
                    let path: Vec<String> = at.path.iter().chain([field]).cloned().collect();
                    self.drop_under(view, author, at, &path);
                }
            }
            Operation::Delete => self.drop_under(view, author, at, &[]),
        }
        Ok(())
    }

    fn act(&mut self, view: &mut View, author: Author, place: &Place, what: What) {
        let seen = view.clone();
        view.insert(self.acts.len());
        self.acts.push(Act { place: place.clone(), what, author, seen });
    }

    fn count(&mut self, view: &mut View, author: Author, at: &Place, by: i128) -> Result<(), Overflow> {
        if by == 0 {
            return Ok(());
        }
        let totals = self.totals(view, at);
        let (own, all) = (totals.get(&author.writer).unwrap_or(&0) + by, totals.values().sum::<i128>() + by);
        let bounds = match at.leaf {
            DataType::GCounter => 0..=i128::from(u64::MAX),
            _ => i128::from(i64::MIN)..=i128::from(i64::MAX),
        };
        if !bounds.contains(&own) || !bounds.contains(&all) {
            return Err(Overflow);
        }
        self.act(view, author, at, What::Count(by));
        Ok(())
    }

    /// Drops the leaves of a key whose path begins so, if anything is there.
    fn drop_under(&mut self, view: &mut View, author: Author, at: &Place, path: &[String]) {
        for place in self.places(view, &at.name, at.key_type) {
            if place.path.starts_with(path) && self.value(view, &place).is_some() {
                self.act(view, author, &place, What::Drop);
            }
        }
    }

    // --- reading ---

    /// The value of a key as the API shows it; `None` if it does not exist.
    pub fn read(&self, view: &View, name: &str, key_type: DataType) -> Option<String> {
        let values = self.places(view, name, key_type).into_iter().filter_map(|place| {
            let value = self.value(view, &place)?;
            Some((place, value))
        });
        if key_type != DataType::Map {
            return values.map(|(_, value)| value).next();
        }
        let mut map = json!({});
        for (place, value) in values {
            let (last, way) = place.path.split_last().expect("a leaf has a path");
            let inner = way.iter().fold(&mut map, |map, field| &mut map[field]["map"]);
            inner[last][place.leaf.name()] = serde_json::from_str::<Value>(&value).expect("values are JSON");
        }
        (map != json!({})).then(|| map.to_string())
    }

    /// The keys that were ever written in this view.
    pub fn keys(&self, view: &View) -> BTreeSet<(String, DataType)> {
        view.iter().map(|act| (self.acts[*act].place.name.clone(), self.acts[*act].place.key_type)).collect()
    }

    fn places(&self, view: &View, name: &str, key_type: DataType) -> BTreeSet<Place> {
        let places = view.iter().map(|act| &self.acts[*act].place);
        places.filter(|place| place.name == name && place.key_type == key_type).cloned().collect()
    }

    fn value(&self, view: &View, at: &Place) -> Option<String> {
        let array = |values: BTreeSet<&str>| format!("[{}]", Vec::from_iter(values).join(","));
        match at.leaf {
            DataType::GCounter | DataType::PnCounter => {
                let totals = self.totals(view, at);
                (!totals.is_empty()).then(|| totals.values().sum::<i128>().to_string())
            }
            DataType::GSet | DataType::OrSet => {
                let elements = self.elements(view, at);
                (!elements.is_empty()).then(|| array(elements))
            }
            DataType::RwSet => {
                let statements = self.standing(view, at);
                let said = |act: &&Act| matches!(act.what, What::Add(_) | What::Remove(_));
                statements.iter().any(said).then(|| array(self.elements(view, at)))
            }
            DataType::LwwRegister => {
                let standing = self.standing(view, at);
                let last = standing.iter().max_by_key(|act| (act.author.stamp, act.author.writer))?;
                set_value(last).map(str::to_owned)
            }
            DataType::MvRegister => {
                let values: BTreeSet<&str> = self.standing(view, at).into_iter().filter_map(set_value).collect();
                (!values.is_empty()).then(|| array(values))
            }
            DataType::EwFlag | DataType::DwFlag => {
                let said = |on| self.standing(view, at).iter().any(|act| act.what == What::Flag(on));
                let value = if at.leaf == DataType::EwFlag { said(true) } else { !said(false) };
                (said(true) || said(false)).then(|| value.to_string())
            }
            DataType::MaxRegister | DataType::MinRegister => self.extreme(view, at).map(str::to_owned),
            DataType::Map => unreachable!("a map is its leaves"),
        }
    }

    /// Of each writer that still counts, the sum of what it counted since its count was last dropped under its eyes.
    fn totals(&self, view: &View, at: &Place) -> BTreeMap<u128, i128> {
        let mut totals = BTreeMap::new();
        let mut last: BTreeMap<u128, usize> = BTreeMap::new();
        for id in view.iter().filter(|id| self.acts[**id].place == *at) {
            let act = &self.acts[*id];
            let What::Count(by) = act.what else { continue };
            let dropped = last.get(&act.author.writer).is_some_and(|last| self.is_dropped(*last, at, &act.seen));
            let total = totals.entry(act.author.writer).or_insert(0);
            *total = if dropped { by } else { *total + by };
            last.insert(act.author.writer, *id);
        }
        totals.retain(|writer, _| !self.is_dropped(last[writer], at, view));
        totals
    }

    /// Whether somebody in the view removed the place knowing of an act.
    fn is_dropped(&self, id: usize, at: &Place, view: &View) -> bool {
        let drops =
            view.iter().map(|other| &self.acts[*other]).filter(|act| act.what == What::Drop && act.place == *at);
        drops.into_iter().any(|act| act.seen.contains(&id))
    }

    /// The acts that nobody in the view spoke against or over knowing of them. Who speaks of one element says nothing of
    /// another.
    fn standing(&self, view: &View, at: &Place) -> Vec<&Act> {
        let here = || view.iter().filter(|id| self.acts[**id].place == *at);
        let element = |act: &Act| match &act.what {
            What::Add(element) | What::Remove(element) => Some(element.clone()),
            What::Count(_) | What::Set(_) | What::Flag(_) | What::Drop => None,
        };
        let overrules = |later: &Act, id: &usize| {
            let of_same = later.what == What::Drop || element(later) == element(&self.acts[*id]);
            of_same && later.seen.contains(id)
        };
        here()
            .filter(|id| !here().any(|later| overrules(&self.acts[*later], id)))
            .map(|id| &self.acts[*id])
            .filter(|act| act.what != What::Drop)
            .collect()
    }

    /// The elements of a set: those of which what was said last, by all who said something last, is that they are there;
    /// where opinions differ, adding wins, or in a remove-wins set removing.
    fn elements(&self, view: &View, at: &Place) -> BTreeSet<&str> {
        let (mut added, mut removed) = (BTreeSet::new(), BTreeSet::new());
        for id in view {
            let act = &self.acts[*id];
            // An addition stands until somebody who knew of it removed the element.
            let stands = |is_over: &dyn Fn(&Act) -> bool| {
                let later = view.iter().map(|later| &self.acts[*later]).filter(|later| later.place == *at);
                !later.filter(|later| later.seen.contains(id)).any(is_over)
            };
            match &act.what {
                What::Add(element) if act.place == *at => {
                    let is_over = |later: &Act| later.what == What::Drop || later.what == What::Remove(element.clone());
                    if stands(&is_over) {
                        added.insert(&**element);
                    }
                }
                What::Remove(element) if act.place == *at && at.leaf == DataType::RwSet => {
                    let is_over = |later: &Act| later.what == What::Drop || later.what == What::Add(element.clone());
                    if stands(&is_over) {
                        removed.insert(&**element);
                    }
                }
                _ => {}
            }
        }
        added.difference(&removed).copied().collect()
    }

    /// Of a max- or minregister the number that beats all that were set and not dropped.
    fn extreme(&self, view: &View, at: &Place) -> Option<&str> {
        if !matches!(at.leaf, DataType::MaxRegister | DataType::MinRegister) {
            return None;
        }
        let numbers = view.iter().filter(|id| self.acts[**id].place == *at && !self.is_dropped(**id, at, view));
        let numbers = numbers.filter_map(|id| set_value(&self.acts[*id]));
        numbers.reduce(|best, number| if beats(at.leaf, number, best) { number } else { best })
    }
}

fn set_value(act: &Act) -> Option<&str> {
    match &act.what {
        What::Set(value) => Some(value),
        What::Count(_) | What::Add(_) | What::Remove(_) | What::Flag(_) | What::Drop => None,
    }
}

/// Whether one number beats another: by where they stand in the list, which no arithmetic made.
fn beats(leaf: DataType, number: &str, other: &str) -> bool {
    let rank = |number: &str| NUMBERS.iter().position(|known| *known == number).expect("numbers are of the list");
    match leaf {
        DataType::MinRegister => rank(number) < rank(other),
        _ => rank(number) > rank(other),
    }
}
