//! What one client writes one after the other: every type under one name. Each write waits, by `dayfly-after`, until the
//! replica has seen all before it, wherever they were made; so the keys read as a sequential program computes them. The
//! token of all is joined by `dayfly-context`: that of the last write alone would let a replica answer that has seen this one
//! and not yet an earlier one of another writer.
//!
//! A lane ends when a token cannot name more writers, and with the first write that is in doubt. So there are two states at most in which it may be found, and whoever
//! loses, repeats or tears a write leaves it in neither.

use std::collections::BTreeMap;

use dayfly_core::cell::DataType;
use dayfly_core::dot::WriterId;
use dayfly_core::http::Request;
use serde_json::{Map, Value};

use super::finding::{Finding, Key, Kind, Reading};
use super::fleet::Place;
use super::write::{Due, Made, Outcome};
use crate::simulation::client::write_request;
use crate::simulation::model::View;
use crate::simulation::types::{Deed, Draft, Operation};

/// After so many writes a lane ends, so that its state stays small.
const STEPS_MAX: usize = 120;
/// The sequential program is one writer.
const WRITER: WriterId = WriterId(1);
/// How many writes a finding names.
const NAMED: usize = 3;

/// What is written at once.
#[derive(Clone, Debug)]
struct Step {
    operations: Vec<Operation>,
    made: Made,
}

/// A client's keys.
#[derive(Clone, Debug)]
pub struct Lane {
    name: String,
    applied: Vec<Step>,
    doubtful: Option<Step>,
    token: Option<String>,
    is_full: bool,
}

/// The values of a lane's keys, those that exist.
type Values = BTreeMap<DataType, Value>;

impl Lane {
    /// One under this name, which no other has.
    pub fn new(name: String) -> Self {
        Self { name, applied: Vec::new(), doubtful: None, token: None, is_full: false }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether it takes further writes.
    pub fn is_open(&self) -> bool {
        !self.is_full && self.doubtful.is_none() && self.applied.len() < STEPS_MAX
    }

    /// The token of all that was confirmed.
    pub fn token(&self) -> Option<&str> {
        self.token.as_deref()
    }

    /// The request that writes these.
    pub fn request(&self, operations: &[Operation]) -> Request {
        let mut request = write_request(operations);
        if let Some(token) = &self.token {
            request.headers.extend(["dayfly-after", "dayfly-context"].map(|name| (name.to_owned(), token.clone())));
        }
        request
    }

    /// Takes note of how a write ended.
    pub fn ended(&mut self, operations: Vec<Operation>, made: Made) {
        match &made.outcome {
            Outcome::Confirmed { token } => {
                self.token = token.clone().or_else(|| self.token.take());
                self.applied.push(Step { operations, made });
            }
            Outcome::Unconfirmed(_) | Outcome::Unanswered => self.doubtful = Some(Step { operations, made }),
            Outcome::Refused => {}
            Outcome::Crowded => self.is_full = true,
        }
    }

    /// What a key of it reads as after all that was confirmed; none: it does not exist.
    pub fn value(&self, data_type: DataType) -> Option<Value> {
        self.play(&self.applied).read(&self.name, data_type)
    }

    /// Compares what was read with what may be; `lives` tells which replicas have not ended.
    pub fn check(&self, reading: &Reading, lives: &dyn Fn(&Place) -> bool) -> Vec<Finding> {
        let read: Values = self.values(|key| reading.get(&key).cloned());
        let allowed = self.allowed(lives);
        if allowed.contains(&read) {
            return Vec::new();
        }
        let differing = |values: &Values| -> Vec<DataType> {
            DataType::ALL.into_iter().filter(|data_type| values.get(data_type) != read.get(data_type)).collect()
        };
        if allowed.len() == 2 && differing(&allowed[0]).iter().all(|of| !differing(&allowed[1]).contains(of)) {
            return vec![self.torn(&allowed, &read)];
        }
        let nearest = allowed.iter().min_by_key(|values| differing(values).len()).expect("there is one");
        differing(nearest).into_iter().map(|of| self.finding(of, nearest.get(&of), read.get(&of))).collect()
    }

    fn values(&self, value: impl Fn(Key) -> Option<Value>) -> Values {
        let of = |data_type| Some((data_type, value((self.name.clone(), data_type))?));
        DataType::ALL.into_iter().filter_map(of).collect()
    }

    /// The states in which it may be found: one, or that without and that with the write in doubt.
    fn allowed(&self, lives: &dyn Fn(&Place) -> bool) -> Vec<Values> {
        let of = |steps: &[Step]| {
            let view = self.play(steps);
            self.values(|(name, data_type)| view.read(&name, data_type))
        };
        let Some(doubtful) = &self.doubtful else { return vec![of(&self.applied)] };
        let with = of(&[&self.applied[..], std::slice::from_ref(doubtful)].concat());
        match doubtful.made.outcome.due(lives) {
            Due::Applied => vec![with],
            Due::Either => vec![of(&self.applied), with],
            Due::NotApplied => vec![of(&self.applied)],
        }
    }

    fn play(&self, steps: &[Step]) -> View {
        let mut view = View::default();
        let mut next = 1;
        for step in steps {
            let first = next;
            // Its clock goes with its dots.
            let mut draft = Draft::new(&view, WRITER, next, next);
            for operation in &step.operations {
                draft.perform(operation).expect("amounts are small");
            }
            draft.end();
            next = draft.next();
            let (puts, drops) = (std::mem::take(&mut draft.puts), std::mem::take(&mut draft.drops));
            view.write(WRITER, first..next, &puts, &drops);
        }
        view
    }

    /// Some keys are as without the write in doubt, and others as with it.
    fn torn(&self, allowed: &[Values], read: &Values) -> Finding {
        let doubtful = self.doubtful.as_ref().expect("there are two states");
        let with = |of: &&DataType| allowed[1].get(of) == read.get(of) && allowed[0].get(of) != read.get(of);
        let present: Vec<&str> = DataType::ALL.iter().filter(with).map(|of| of.name()).collect();
        let told = format!("a batch is seen in {} alone: {}", present.join(", "), shown(doubtful));
        let (name, data_type) = (self.name.clone(), doubtful.operations[0].data_type);
        Finding::of_key(Kind::Torn, &(name, data_type), told)
    }

    fn finding(&self, of: DataType, expected: Option<&Value>, read: Option<&Value>) -> Finding {
        let kind = self.kind(of, expected, read);
        let text = |value: Option<&Value>| value.map_or_else(|| "nothing".to_owned(), Value::to_string);
        let steps = self.applied.iter().chain(&self.doubtful).rev();
        let concerned = steps.filter(|step| step.operations.iter().any(|operation| operation.data_type == of));
        let named: Vec<String> = concerned.take(NAMED).map(shown).collect();
        let told = format!("{} in place of {}; written last: {}", text(read), text(expected), named.join("; "));
        Finding::of_key(kind, &(self.name.clone(), of), told)
    }

    fn kind(&self, of: DataType, expected: Option<&Value>, read: Option<&Value>) -> Kind {
        match (expected, read) {
            (Some(_), None) => Kind::Lost,
            (None, Some(_)) => Kind::Resurrected,
            (Some(Value::Array(expected)), Some(Value::Array(read))) if of != DataType::MvRegister => {
                match expected.iter().any(|element| !read.contains(element)) {
                    true => Kind::Lost,
                    false if read.iter().all(|element| self.has_written(of, element)) => Kind::Resurrected,
                    false => Kind::Surplus,
                }
            }
            (Some(expected), Some(read)) if of == DataType::GCounter => {
                if read.as_u64() > expected.as_u64() {
                    Kind::CountedTwice
                } else {
                    Kind::Lost
                }
            }
            _ => Kind::Wrong,
        }
    }

    /// Whether this element was ever added to the set of this type.
    fn has_written(&self, of: DataType, element: &Value) -> bool {
        let text = element.to_string();
        let adds = |operation: &Operation| match &operation.deed {
            Deed::Add(elements) => operation.data_type == of && elements.contains(&text),
            _ => false,
        };
        self.applied.iter().chain(&self.doubtful).any(|step| step.operations.iter().any(adds))
    }
}

/// A write, for people.
fn shown(step: &Step) -> String {
    let operation = |operation: &Operation| {
        format!("{} {}", operation.data_type.name(), Value::Object(Map::from_iter(operation.deed.to_json())))
    };
    let operations: Vec<String> = step.operations.iter().map(operation).collect();
    format!("{} {}", operations.join(" + "), step.made)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::soak::write::Host;

    fn operation(data_type: DataType, deed: Deed) -> Operation {
        Operation { name: "lane".to_owned(), data_type, deed }
    }

    fn made(outcome: Outcome) -> Made {
        Made { host: Host::Spin, replica: Some("s1".to_owned()), at_ms: 1_500, outcome }
    }

    fn confirmed() -> Made {
        made(Outcome::Confirmed { token: Some("token".to_owned()) })
    }

    fn add(element: &str) -> Operation {
        operation(DataType::OrSet, Deed::Add(vec![format!("\"{element}\"")]))
    }

    /// A lane in which `b` was added and removed, `a` is left, and two were counted.
    fn lane() -> Lane {
        let mut lane = Lane::new("lane".to_owned());
        lane.ended(vec![add("a"), add("b")], confirmed());
        lane.ended(vec![operation(DataType::OrSet, Deed::Remove(vec!["\"b\"".to_owned()]))], confirmed());
        lane.ended(vec![operation(DataType::GCounter, Deed::Count(2))], confirmed());
        lane.ended(vec![operation(DataType::LwwRegister, Deed::Set("1".to_owned()))], confirmed());
        lane.ended(vec![operation(DataType::LwwRegister, Deed::Set("2".to_owned()))], confirmed());
        lane
    }

    fn reading(values: &[(DataType, Value)]) -> Reading {
        values.iter().map(|(of, value)| (("lane".to_owned(), *of), value.clone())).collect()
    }

    fn found(lane: &Lane, set: Value, count: Value, register: Value) -> Vec<Kind> {
        let values = [(DataType::OrSet, set), (DataType::GCounter, count), (DataType::LwwRegister, register)];
        let values: Vec<_> = values.into_iter().filter(|(_, value)| !value.is_null()).collect();
        lane.check(&reading(&values), &|_| false).into_iter().map(|finding| finding.kind).collect()
    }

    #[test]
    fn what_a_sequential_program_computes_is_right() {
        assert_eq!(found(&lane(), json!(["a"]), json!(2), json!(2)), []);
    }

    #[test]
    fn each_fault_is_found_and_named() {
        let lane = lane();
        assert_eq!(found(&lane, Value::Null, json!(2), json!(2)), [Kind::Lost]);
        assert_eq!(found(&lane, json!(["a", "b"]), json!(2), json!(2)), [Kind::Resurrected]);
        assert_eq!(found(&lane, json!(["a", "x"]), json!(2), json!(2)), [Kind::Surplus]);
        assert_eq!(found(&lane, json!(["a"]), json!(4), json!(2)), [Kind::CountedTwice]);
        assert_eq!(found(&lane, json!(["a"]), json!(1), json!(2)), [Kind::Lost]);
        assert_eq!(found(&lane, json!(["a"]), json!(2), json!(1)), [Kind::Wrong]);
        let findings = lane.check(&reading(&[]), &|_| false);
        assert_eq!(findings.len(), 3, "{findings:?}");
        assert!(findings[0].told.contains("confirmed at 1.500 s by spin (s1)"), "{}", findings[0]);
    }

    #[test]
    fn what_is_in_doubt_is_there_whole_or_not_at_all() {
        let mut lane = lane();
        let count = operation(DataType::GCounter, Deed::Count(5));
        lane.ended(vec![add("c"), count], made(Outcome::Unanswered));
        assert!(!lane.is_open());
        assert_eq!(found(&lane, json!(["a"]), json!(2), json!(2)), []);
        assert_eq!(found(&lane, json!(["a", "c"]), json!(7), json!(2)), []);
        assert_eq!(found(&lane, json!(["a", "c"]), json!(2), json!(2)), [Kind::Torn]);
        assert_eq!(found(&lane, json!(["a"]), json!(7), json!(2)), [Kind::Torn]);
        assert_eq!(found(&lane, json!(["a", "c"]), json!(12), json!(2)), [Kind::CountedTwice]);
    }

    #[test]
    fn what_is_unconfirmed_must_be_there_if_its_replica_lives() {
        let mut lane = lane();
        lane.ended(vec![add("c")], made(Outcome::Unconfirmed(Place::Spin { slot: 0 })));
        let without = reading(&[
            (DataType::OrSet, json!(["a"])),
            (DataType::GCounter, json!(2)),
            (DataType::LwwRegister, json!(2)),
        ]);
        assert_eq!(lane.check(&without, &|_| false), []);
        assert_eq!(lane.check(&without, &|_| true)[0].kind, Kind::Lost);
    }

    #[test]
    fn a_token_that_is_full_ends_a_lane_and_leaves_it_as_it_is() {
        let mut lane = lane();
        lane.ended(vec![add("c")], made(Outcome::Crowded));
        assert!(!lane.is_open());
        assert_eq!(found(&lane, json!(["a"]), json!(2), json!(2)), []);
        let headers = lane.request(&[add("d")]).headers;
        let of = |name: &str| headers.iter().find(|(header, _)| header == name).map(|(_, value)| value.as_str());
        assert_eq!((of("dayfly-after"), of("dayfly-context")), (Some("token"), Some("token")));
    }

    #[test]
    fn what_was_refused_must_not_be_there() {
        let mut lane = lane();
        lane.ended(vec![add("c")], made(Outcome::Refused));
        assert!(lane.is_open());
        assert_eq!(found(&lane, json!(["a", "c"]), json!(2), json!(2)), [Kind::Surplus]);
    }
}
