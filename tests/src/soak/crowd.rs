//! What all clients write at the same time under one name, each write a batch: a mark of its own in a set of its client's,
//! and parts in what all share. Once all agree, the marks say which writes are applied; every other value follows from
//! that, however the writes met, so that a loss, a part of a batch and a repeated increment are each seen.

use std::collections::{BTreeMap, BTreeSet};

use dayfly_core::cell::DataType;
use dayfly_core::http::Request;
use serde_json::{Value, json};

use super::finding::{Finding, Key, Kind, Reading};
use super::fleet::Place;
use super::write::{Due, Made, Outcome};
use crate::chance::Chance;
use crate::simulation::client::write_request;
use crate::simulation::types::{Deed, Operation};

/// The fields of a map, each a set, that a write always fills together.
const PAIR: [&str; 2] = ["left", "right"];
/// What is counted at once, at most.
const AMOUNT_MAX: u64 = 20;
/// The bound of the numbers whose extremes are kept.
const NUMBER_MAX: u64 = 1_000_000;

/// The parts of a write.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parts {
    /// What the `gcounter` is incremented by.
    count: u64,
    /// What the `pncounter` is changed by.
    balance: i64,
    /// Whether the element goes into the `orset` and the `rwset`.
    adds: bool,
    /// The earlier write whose element is removed from both.
    removes: Option<u64>,
    /// What the max- and the minregister are set to.
    number: Option<u64>,
    /// Whether the registers are set to the element.
    sets: bool,
    /// The client's earlier write whose value this one has seen in the registers, and replaces.
    replaces: Option<u64>,
    /// Whether the element goes into both fields of the map.
    pair: bool,
}

/// A write that is to be made.
#[derive(Clone, Debug)]
pub struct Draft {
    number: u64,
    parts: Parts,
    after: Option<String>,
}

/// A write that was made.
#[derive(Clone, Debug)]
struct Share {
    number: u64,
    parts: Parts,
    made: Made,
}

/// What one client has written among the others.
#[derive(Clone, Debug)]
pub struct Ledger {
    generation: u64,
    client: usize,
    next: u64,
    shares: Vec<Share>,
    /// Confirmed writes whose elements are in the sets, with their tokens.
    removable: Vec<(u64, String)>,
    last_set: Option<(u64, String)>,
    last: Option<(u64, String)>,
}

/// The name that all write to.
pub fn common_name(generation: u64) -> String {
    format!("g{generation}.crowd")
}

impl Ledger {
    /// One without writes.
    pub fn new(generation: u64, client: usize) -> Self {
        Self { generation, client, next: 1, shares: Vec::new(), removable: Vec::new(), last_set: None, last: None }
    }

    /// The name of the set of its marks.
    pub fn marks_name(&self) -> String {
        format!("g{}.c{}.marks", self.generation, self.client)
    }

    /// The name that it shares with all.
    pub fn common_name(&self) -> String {
        common_name(self.generation)
    }

    /// The mark of the last confirmed write, with its token.
    pub fn last(&self) -> Option<(String, &str)> {
        self.last.as_ref().map(|(number, token)| (self.element(*number), token.as_str()))
    }

    /// Draws a write.
    pub fn draw(&mut self, chance: &mut Chance) -> Draft {
        let mut parts = Parts { pair: chance.below(3) == 0, adds: chance.below(2) == 0, ..Parts::default() };
        let mut after = None;
        if chance.below(2) == 0 {
            parts.count = 1 + chance.below(AMOUNT_MAX);
        }
        if chance.below(2) == 0 {
            parts.balance = chance.below(2 * AMOUNT_MAX) as i64 - AMOUNT_MAX as i64;
        }
        if chance.below(3) == 0 {
            parts.number = Some(chance.below(NUMBER_MAX));
        }
        match chance.below(4) {
            0 if !self.removable.is_empty() => {
                let (number, token) = self.removable.swap_remove(chance.below(self.removable.len() as u64) as usize);
                (parts.removes, after) = (Some(number), Some(token));
            }
            1 => {
                parts.sets = true;
                if let Some((number, token)) = self.last_set.clone() {
                    (parts.replaces, after) = (Some(number), Some(token));
                }
            }
            _ => {}
        }
        self.next += 1;
        Draft { number: self.next - 1, parts, after }
    }

    /// The request that makes a write.
    pub fn request(&self, draft: &Draft) -> Request {
        let mut request = write_request(&self.operations(draft));
        request.headers.extend(draft.after.clone().map(|token| ("dayfly-after".to_owned(), token)));
        request
    }

    /// Takes note of how a write ended.
    pub fn ended(&mut self, draft: Draft, made: Made) {
        let Draft { number, parts, after } = draft;
        match &made.outcome {
            Outcome::Confirmed { token: Some(token) } => {
                self.last = Some((number, token.clone()));
                if parts.adds {
                    self.removable.push((number, token.clone()));
                }
                if parts.sets {
                    self.last_set = Some((number, token.clone()));
                }
            }
            // It may be removed another time.
            Outcome::Refused | Outcome::Crowded => self.removable.extend(parts.removes.zip(after)),
            Outcome::Confirmed { token: None } | Outcome::Unconfirmed(_) | Outcome::Unanswered => {}
        }
        self.shares.push(Share { number, parts, made });
    }

    fn element(&self, number: u64) -> String {
        format!("c{}-{number}", self.client)
    }

    fn operations(&self, draft: &Draft) -> Vec<Operation> {
        let Draft { number, parts, .. } = draft;
        let element = json!(self.element(*number)).to_string();
        let name = self.common_name();
        let mut operations = vec![Operation {
            name: self.marks_name(),
            data_type: DataType::GSet,
            deed: Deed::Add(vec![element.clone()]),
        }];
        let mut also = |data_type, deed| operations.push(Operation { name: name.clone(), data_type, deed });
        if parts.count > 0 {
            also(DataType::GCounter, Deed::Count(parts.count as i64));
        }
        if parts.balance != 0 {
            also(DataType::PnCounter, Deed::Count(parts.balance));
        }
        for set in [DataType::OrSet, DataType::RwSet] {
            if parts.adds {
                also(set, Deed::Add(vec![element.clone()]));
            }
            if let Some(removed) = parts.removes {
                also(set, Deed::Remove(vec![json!(self.element(removed)).to_string()]));
            }
        }
        if let Some(number) = parts.number {
            also(DataType::MaxRegister, Deed::Set(number.to_string()));
            also(DataType::MinRegister, Deed::Set(number.to_string()));
        }
        if parts.sets {
            also(DataType::LwwRegister, Deed::Set(element.clone()));
            also(DataType::MvRegister, Deed::Set(element.clone()));
        }
        if parts.pair {
            let field = |field: &str| (field.to_owned(), DataType::GSet, Deed::Add(vec![element.clone()]));
            also(DataType::Map, Deed::Update(PAIR.map(field).to_vec()));
        }
        operations
    }
}

/// Whether a value of the map holds something in one of its fields alone; what, if so.
pub fn torn_pair(value: &Value) -> Option<String> {
    let [left, right] = PAIR.map(|field| elements(&value[field]["gset"]));
    let alone: Vec<&String> = left.symmetric_difference(&right).collect();
    (!alone.is_empty()).then(|| format!("{alone:?} in one of the two fields alone"))
}

/// Compares what was read with what may be, for all clients of a generation.
pub fn check(ledgers: &[&Ledger], reading: &Reading, lives: &dyn Fn(&Place) -> bool) -> Vec<Finding> {
    let Some(first) = ledgers.first() else { return Vec::new() };
    let mut findings = Vec::new();
    let mut applied = BTreeMap::new();
    for ledger in ledgers {
        applied.extend(applied_of(ledger, reading, lives, &mut findings));
    }
    let crowd = Crowd { name: first.common_name(), ledgers, reading, applied };
    crowd.check_counters(&mut findings);
    crowd.check_sets(&mut findings);
    crowd.check_numbers(&mut findings);
    crowd.check_registers(&mut findings);
    findings
}

/// The writes of a client whose marks are there, by their elements. Adds what is there or not there against its due.
fn applied_of<'l>(
    ledger: &'l Ledger,
    reading: &Reading,
    lives: &dyn Fn(&Place) -> bool,
    findings: &mut Vec<Finding>,
) -> Vec<(String, &'l Share)> {
    let key: Key = (ledger.marks_name(), DataType::GSet);
    let mut marks = elements(reading.get(&key).unwrap_or(&Value::Null));
    let mut applied = Vec::new();
    for share in &ledger.shares {
        let element = ledger.element(share.number);
        let is_there = marks.remove(&element);
        match share.made.outcome.due(lives) {
            Due::Applied if !is_there => {
                findings.push(Finding::of_key(Kind::Lost, &key, format!("{element} is not there: {}", share.made)));
            }
            Due::NotApplied if is_there => {
                findings.push(Finding::of_key(Kind::Surplus, &key, format!("{element} is there: {}", share.made)));
            }
            _ => {}
        }
        if is_there {
            applied.push((element, share));
        }
    }
    findings.extend(marks.iter().map(|mark| Finding::of_key(Kind::Surplus, &key, format!("nobody wrote {mark}"))));
    applied
}

fn elements(value: &Value) -> BTreeSet<String> {
    let text = |element: &Value| element.as_str().map_or_else(|| element.to_string(), str::to_owned);
    value.as_array().into_iter().flatten().map(text).collect()
}

/// What was read of a generation, and the writes that are applied by their marks.
struct Crowd<'l> {
    name: String,
    ledgers: &'l [&'l Ledger],
    reading: &'l Reading,
    applied: BTreeMap<String, &'l Share>,
}

impl Crowd<'_> {
    fn key(&self, data_type: DataType) -> Key {
        (self.name.clone(), data_type)
    }

    fn read(&self, data_type: DataType) -> &Value {
        self.reading.get(&self.key(data_type)).unwrap_or(&Value::Null)
    }

    fn finding(&self, kind: Kind, data_type: DataType, told: String) -> Finding {
        Finding::of_key(kind, &self.key(data_type), told)
    }

    /// Which write an element is of, for people.
    fn story(&self, element: &str) -> String {
        let of = |ledger: &&Ledger| {
            let share = ledger.shares.iter().find(|share| ledger.element(share.number) == element)?;
            Some(share.made.to_string())
        };
        self.ledgers.iter().find_map(of).unwrap_or_else(|| "nobody wrote it".to_owned())
    }

    fn check_counters(&self, findings: &mut Vec<Finding>) {
        let parts = || self.applied.values().map(|share| &share.parts);
        let count: i64 = parts().map(|parts| parts.count as i64).sum();
        let balance: i64 = parts().map(|parts| parts.balance).sum();
        for (data_type, sum) in [(DataType::GCounter, count), (DataType::PnCounter, balance)] {
            let read = self.read(data_type).as_i64().unwrap_or(0);
            if read == sum {
                continue;
            }
            let kind = match data_type {
                DataType::GCounter if read > sum => Kind::CountedTwice,
                DataType::GCounter => Kind::Lost,
                _ => Kind::Wrong,
            };
            let number = self.applied.len();
            findings.push(self.finding(kind, data_type, format!("{read} in place of {sum}, by {number} writes")));
        }
    }

    fn check_sets(&self, findings: &mut Vec<Finding>) {
        let with = |has: fn(&Parts) -> bool| -> BTreeSet<String> {
            let applied = self.applied.iter().filter(|(_, share)| has(&share.parts));
            applied.map(|(element, _)| element.clone()).collect()
        };
        let (added, paired) = (with(|parts| parts.adds), with(|parts| parts.pair));
        let removed = self.removed();
        let left: BTreeSet<String> = added.difference(&removed).cloned().collect();
        let map = self.read(DataType::Map);
        for (data_type, read, expected) in [
            (DataType::OrSet, elements(self.read(DataType::OrSet)), &left),
            (DataType::RwSet, elements(self.read(DataType::RwSet)), &left),
            (DataType::Map, elements(&map[PAIR[0]]["gset"]), &paired),
            (DataType::Map, elements(&map[PAIR[1]]["gset"]), &paired),
        ] {
            for missing in expected.difference(&read) {
                let told = format!("of a batch {missing} is not there: {}", self.story(missing));
                findings.push(self.finding(Kind::Torn, data_type, told));
            }
            for surplus in read.difference(expected) {
                let kind = match (removed.contains(surplus), self.story(surplus)) {
                    (true, _) => Kind::Resurrected,
                    (false, story) if story == "nobody wrote it" => Kind::Surplus,
                    (false, _) => Kind::Torn,
                };
                findings.push(self.finding(kind, data_type, format!("{surplus} is there: {}", self.story(surplus))));
            }
        }
    }

    /// The elements that applied writes removed.
    fn removed(&self) -> BTreeSet<String> {
        let of = |ledger: &&Ledger| {
            let applied = ledger.shares.iter().filter(|share| self.applied.contains_key(&ledger.element(share.number)));
            applied.filter_map(|share| Some(ledger.element(share.parts.removes?))).collect::<Vec<_>>()
        };
        self.ledgers.iter().flat_map(of).collect()
    }

    fn check_numbers(&self, findings: &mut Vec<Finding>) {
        let numbers = || self.applied.values().filter_map(|share| share.parts.number);
        for (data_type, extreme) in [(DataType::MaxRegister, numbers().max()), (DataType::MinRegister, numbers().min())]
        {
            let read = self.read(data_type).as_u64();
            if read != extreme {
                findings.push(self.finding(Kind::Wrong, data_type, format!("{read:?} in place of {extreme:?}")));
            }
        }
    }

    /// Of each client the values are left that none of its own writes replaced; any of them may have won.
    fn check_registers(&self, findings: &mut Vec<Finding>) {
        let of = |ledger: &&Ledger| {
            let applied = |share: &&Share| self.applied.contains_key(&ledger.element(share.number));
            let sets: Vec<&Share> = ledger.shares.iter().filter(applied).filter(|share| share.parts.sets).collect();
            let replaced: BTreeSet<u64> = sets.iter().filter_map(|share| share.parts.replaces).collect();
            let left = sets.iter().filter(|share| !replaced.contains(&share.number));
            left.map(|share| ledger.element(share.number)).collect::<Vec<_>>()
        };
        let candidates: BTreeSet<String> = self.ledgers.iter().flat_map(of).collect();
        let last = self.read(DataType::LwwRegister).as_str().map(str::to_owned);
        let values = elements(self.read(DataType::MvRegister));
        for (data_type, read) in [(DataType::LwwRegister, BTreeSet::from_iter(last)), (DataType::MvRegister, values)] {
            if !read.is_subset(&candidates) || (read.is_empty() && !candidates.is_empty()) {
                let told = format!("{read:?} in place of one or more of {candidates:?}");
                findings.push(self.finding(Kind::Wrong, data_type, told));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::soak::write::Host;

    fn made(outcome: Outcome) -> Made {
        Made { host: Host::Lambda, replica: None, at_ms: 2_000, outcome }
    }

    fn confirmed() -> Made {
        made(Outcome::Confirmed { token: Some("token".to_owned()) })
    }

    fn write(ledger: &mut Ledger, parts: Parts, made: Made) {
        let draft = Draft { number: ledger.next, parts, after: None };
        ledger.next += 1;
        ledger.ended(draft, made);
    }

    /// Two clients: the first added and removed 1, added 2, and has 3 in doubt; the second has a write of everything.
    fn ledgers() -> [Ledger; 2] {
        let mut first = Ledger::new(1, 0);
        write(&mut first, Parts { adds: true, count: 1, sets: true, ..Parts::default() }, confirmed());
        let second = Parts { adds: true, removes: Some(1), sets: true, replaces: Some(1), ..Parts::default() };
        write(&mut first, second, confirmed());
        let doubtful = Parts { adds: true, count: 7, balance: 3, ..Parts::default() };
        write(&mut first, doubtful, made(Outcome::Unanswered));
        let mut other = Ledger::new(1, 1);
        let all = Parts { adds: true, count: 10, number: Some(5), sets: true, pair: true, ..Parts::default() };
        write(&mut other, all, confirmed());
        write(&mut other, Parts { adds: true, ..Parts::default() }, made(Outcome::Refused));
        [first, other]
    }

    /// What is right if the write in doubt is not applied.
    fn right() -> Reading {
        let crowd = |data_type| (common_name(1), data_type);
        Reading::from([
            (("g1.c0.marks".to_owned(), DataType::GSet), json!(["c0-1", "c0-2"])),
            (("g1.c1.marks".to_owned(), DataType::GSet), json!(["c1-1"])),
            (crowd(DataType::GCounter), json!(11)),
            (crowd(DataType::OrSet), json!(["c0-2", "c1-1"])),
            (crowd(DataType::RwSet), json!(["c0-2", "c1-1"])),
            (crowd(DataType::MaxRegister), json!(5)),
            (crowd(DataType::MinRegister), json!(5)),
            (crowd(DataType::LwwRegister), json!("c1-1")),
            (crowd(DataType::MvRegister), json!(["c0-2", "c1-1"])),
            (crowd(DataType::Map), json!({"left": {"gset": ["c1-1"]}, "right": {"gset": ["c1-1"]}})),
        ])
    }

    fn found(reading: &Reading) -> Vec<Kind> {
        let ledgers = ledgers();
        let findings = check(&[&ledgers[0], &ledgers[1]], reading, &|_| false);
        findings.into_iter().map(|finding| finding.kind).collect()
    }

    fn with(data_type: DataType, value: Value) -> Reading {
        let mut reading = right();
        reading.insert((common_name(1), data_type), value);
        reading
    }

    fn with_marks(marks: Value) -> Reading {
        let mut reading = right();
        reading.insert(("g1.c0.marks".to_owned(), DataType::GSet), marks);
        reading
    }

    #[test]
    fn what_follows_from_the_marks_is_right() {
        assert_eq!(found(&right()), []);
        assert_eq!(found(&with(DataType::LwwRegister, json!("c0-2"))), []);
        assert_eq!(found(&with(DataType::MvRegister, json!(["c0-2"]))), []);
    }

    #[test]
    fn a_write_in_doubt_is_there_whole_or_not_at_all() {
        let mut reading = with_marks(json!(["c0-1", "c0-2", "c0-3"]));
        reading.insert((common_name(1), DataType::GCounter), json!(18));
        reading.insert((common_name(1), DataType::PnCounter), json!(3));
        let elements = json!(["c0-2", "c0-3", "c1-1"]);
        reading.insert((common_name(1), DataType::OrSet), elements.clone());
        assert_eq!(found(&reading), [Kind::Torn]);
        reading.insert((common_name(1), DataType::RwSet), elements);
        assert_eq!(found(&reading), []);
        // Its element without its mark.
        assert_eq!(found(&with(DataType::OrSet, json!(["c0-2", "c0-3", "c1-1"]))), [Kind::Torn]);
    }

    #[test]
    fn a_lost_element_is_found() {
        assert_eq!(found(&with(DataType::OrSet, json!(["c0-2"]))), [Kind::Torn]);
        let of_marks = found(&with_marks(json!(["c0-2"])));
        assert!(of_marks.contains(&Kind::Lost), "{of_marks:?}");
    }

    #[test]
    fn an_increment_that_counts_twice_or_not_is_found() {
        assert_eq!(found(&with(DataType::GCounter, json!(21))), [Kind::CountedTwice]);
        assert_eq!(found(&with(DataType::GCounter, json!(10))), [Kind::Lost]);
        assert_eq!(found(&with(DataType::PnCounter, json!(1))), [Kind::Wrong]);
    }

    #[test]
    fn a_resurrected_element_is_found() {
        assert_eq!(found(&with(DataType::OrSet, json!(["c0-1", "c0-2", "c1-1"]))), [Kind::Resurrected]);
        assert_eq!(found(&with(DataType::RwSet, json!(["c0-1", "c0-2", "c1-1"]))), [Kind::Resurrected]);
    }

    #[test]
    fn a_replaced_or_lost_value_of_a_register_is_found() {
        assert_eq!(found(&with(DataType::LwwRegister, json!("c0-1"))), [Kind::Wrong]);
        assert_eq!(found(&with(DataType::MvRegister, json!(["c0-1", "c1-1"]))), [Kind::Wrong]);
        assert_eq!(found(&with(DataType::MvRegister, Value::Null)), [Kind::Wrong]);
        assert_eq!(found(&with(DataType::MaxRegister, Value::Null)), [Kind::Wrong]);
    }

    #[test]
    fn what_nobody_wrote_and_what_was_refused_is_found() {
        assert_eq!(found(&with(DataType::OrSet, json!(["c0-2", "c1-1", "x"]))), [Kind::Surplus]);
        let mut reading = right();
        reading.insert(("g1.c1.marks".to_owned(), DataType::GSet), json!(["c1-1", "c1-2"]));
        assert_eq!(found(&reading)[0], Kind::Surplus);
    }

    #[test]
    fn a_half_pair_is_seen_in_any_read() {
        assert_eq!(torn_pair(&json!({"left": {"gset": ["a"]}, "right": {"gset": ["a"]}})), None);
        assert_eq!(torn_pair(&Value::Null), None);
        assert!(torn_pair(&json!({"left": {"gset": ["a", "b"]}, "right": {"gset": ["a"]}})).is_some());
    }

    #[test]
    fn every_drawn_write_is_a_batch_that_says_what_its_parts_say() {
        let (mut ledger, mut chance) = (Ledger::new(1, 0), Chance::new(1, "crowd"));
        let mut removals = 0;
        for _ in 0..200 {
            let draft = ledger.draw(&mut chance);
            let operations = ledger.operations(&draft);
            assert_eq!(operations[0].name, ledger.marks_name());
            removals += usize::from(draft.parts.removes.is_some());
            ledger.ended(draft, confirmed());
        }
        assert!(removals > 10, "{removals}");
    }
}
