//! A client: it writes lanes and into the crowd, reads its own writes elsewhere, and remembers how everything ended.

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Error, Result};
use dayfly_conformance::http::Answer;
use dayfly_core::cell::DataType;
use dayfly_core::http::Request;
use serde_json::Value;

use super::crowd::{self, Ledger};
use super::finding::{Finding, Key, Kind};
use super::fleet::{Fleet, Target};
use super::lane::Lane;
use super::write::{Host, Made, Outcome};
use crate::chance::Chance;
use crate::platform::Refused;
use crate::simulation::client::read_request;
use crate::simulation::drawn::{deed, pick};
use crate::simulation::types::{Deed, Operation};

/// How long a read that does not show what it must is repeated, to tell what comes late from what never comes.
const LATE: Duration = Duration::from_secs(10);
const LATE_PAUSE: Duration = Duration::from_millis(200);

/// Keys have other names after each checkpoint.
pub const FIRST_GENERATION: u64 = 1;

/// How many of what ended how.
pub type Tally = BTreeMap<&'static str, BTreeMap<&'static str, u64>>;

/// One more of that kind which ended so.
pub fn count(tally: &mut Tally, kind: &'static str, ended: &'static str) {
    *tally.entry(kind).or_default().entry(ended).or_default() += 1;
}

/// All that one client knows.
pub struct Session {
    number: usize,
    chance: Chance,
    begun: Instant,
    generation: u64,
    /// What it wrote one after the other since the last checkpoint.
    pub lanes: Vec<Lane>,
    /// What it wrote among others since then.
    pub ledger: Ledger,
    /// Writes by their type, those of several operations as batches.
    pub writes: Tally,
    /// The same writes by the host that was asked.
    pub by_host: Tally,
    /// Reads by what they were to show.
    pub reads: Tally,
    /// What was not as it must be.
    pub findings: Vec<Finding>,
}

impl Session {
    /// A client that has done nothing, in a run that began then.
    pub fn new(number: usize, seed: u64, begun: Instant) -> Self {
        Self {
            number,
            chance: Chance::new(seed, &format!("client {number}")),
            begun,
            generation: FIRST_GENERATION,
            lanes: Vec::new(),
            ledger: Ledger::new(FIRST_GENERATION, number),
            writes: Tally::new(),
            by_host: Tally::new(),
            reads: Tally::new(),
            findings: Vec::new(),
        }
    }

    /// Begins anew with other keys.
    pub fn begin(&mut self, generation: u64) {
        self.generation = generation;
        self.lanes.clear();
        self.ledger = Ledger::new(generation, self.number);
    }

    /// How long to wait before the next request.
    pub fn pause(&mut self, usual: Duration) -> Duration {
        let usual = usual.as_micros() as u64;
        Duration::from_micros(usual / 2 + self.chance.below(usual.max(1)))
    }

    /// Makes one request; whether it was served.
    pub fn act(&mut self, fleet: &Fleet) -> bool {
        let draw = self.chance.below(100);
        let host = match self.chance.below(100) {
            0..45 => Host::Native,
            45..60 => Host::Lambda,
            _ => Host::Spin,
        };
        let Some(target) = fleet.pick(host, &mut self.chance) else { return false };
        match draw {
            0..48 => self.write_lane(fleet, &target),
            48..78 => self.write_crowd(fleet, &target),
            78..86 => self.read_own_lane(fleet, &target),
            86..94 => self.read_own_mark(fleet, &target),
            _ => self.read_pair(fleet, &target),
        }
    }

    fn write_lane(&mut self, fleet: &Fleet, target: &Target) -> bool {
        if self.lanes.last().is_none_or(|lane| !lane.is_open()) {
            let name = format!("g{}.c{}.{}", self.generation, self.number, self.lanes.len());
            self.lanes.push(Lane::new(name));
        }
        let count = if self.chance.below(6) == 0 { 2 + self.chance.below(3) } else { 1 };
        let name = self.lanes.last().map(|lane| lane.name().to_owned()).unwrap_or_default();
        let operations: Vec<Operation> = (0..count).map(|_| self.draw(name.clone())).collect();
        let kind = match &operations[..] {
            [Operation { deed: Deed::Delete, .. }] => "delete",
            [Operation { data_type, .. }] => data_type.name(),
            _ => "batch",
        };
        let lane = self.lanes.last().expect("there is one by now");
        let mut request = lane.request(&operations);
        if self.chance.below(2) == 0 {
            request.headers.push(("prefer".to_owned(), "return=minimal".to_owned()));
        }
        let made = self.write(fleet, target, &request, kind);
        let was_served = matches!(made.outcome, Outcome::Confirmed { .. });
        self.lanes.last_mut().expect("there is one by now").ended(operations, made);
        was_served
    }

    fn draw(&mut self, name: String) -> Operation {
        let data_type = pick(&mut self.chance, &DataType::ALL);
        let deed = match self.chance.below(30) {
            0 => Deed::Delete,
            _ => deed(&mut self.chance, data_type, true, 0),
        };
        Operation { name, data_type, deed }
    }

    fn write_crowd(&mut self, fleet: &Fleet, target: &Target) -> bool {
        let draft = self.ledger.draw(&mut self.chance);
        let request = self.ledger.request(&draft);
        let made = self.write(fleet, target, &request, "batch among others");
        let was_served = matches!(made.outcome, Outcome::Confirmed { .. });
        self.ledger.ended(draft, made);
        was_served
    }

    fn write(&mut self, fleet: &Fleet, target: &Target, request: &Request, kind: &'static str) -> Made {
        let at_ms = self.begun.elapsed().as_millis() as u64;
        let answer = fleet.ask(target, request);
        let replica = answer.as_ref().ok().and_then(|answer| answer.header("dayfly-replica")).map(str::to_owned);
        let outcome = self.outcome(target, request, answer);
        count(&mut self.writes, kind, outcome.name());
        count(&mut self.by_host, target.host().name(), outcome.name());
        Made { host: target.host(), replica, at_ms, outcome }
    }

    fn outcome(&mut self, target: &Target, request: &Request, answer: Result<Answer>) -> Outcome {
        let answer = match answer {
            Ok(answer) => answer,
            Err(error) if was_never_asked(&error) => return Outcome::Refused,
            Err(_) => return Outcome::Unanswered,
        };
        let code = answer.code().unwrap_or_default();
        match (answer.status, code.as_str()) {
            (200 | 204, _) => Outcome::Confirmed { token: answer.header("dayfly-context").map(str::to_owned) },
            (400, "bad_context") => Outcome::Crowded,
            (503, "unconfirmed") => Outcome::Unconfirmed(target.place()),
            (503, "not_yet" | "busy") => Outcome::Refused,
            (503, "no_replica") if answer.header("retry-after").is_some() => Outcome::Refused,
            (500..=506, _) => Outcome::Unanswered,
            (status, _) => {
                let body = String::from_utf8_lossy(&answer.body).into_owned();
                let told = format!("{status} {body} for {}", String::from_utf8_lossy(&request.body));
                self.found(Kind::Answer, request.path.clone(), told, target);
                Outcome::Refused
            }
        }
    }

    fn found(&mut self, kind: Kind, about: String, told: String, target: &Target) {
        let finding = Finding { kind, about, told, at: String::new(), second: 0 };
        self.findings.push(finding.found(&format!("{:?}", target.place()), self.begun.elapsed().as_secs()));
    }

    /// Reads a key of the lane that is being written, and demands what was confirmed.
    fn read_own_lane(&mut self, fleet: &Fleet, target: &Target) -> bool {
        let data_type = pick(&mut self.chance, &DataType::ALL);
        let Some(lane) = self.lanes.last().filter(|lane| lane.is_open()) else { return true };
        let Some(token) = lane.token().map(str::to_owned) else { return true };
        let (key, expected) = ((lane.name().to_owned(), data_type), lane.value(data_type));
        self.read_own(fleet, target, "own writes, one after the other", &key, &token, |value| {
            (value == expected.as_ref()).then_some(()).ok_or_else(|| format!("in place of {expected:?}"))
        })
    }

    /// Reads the set of its marks, and demands the last one.
    fn read_own_mark(&mut self, fleet: &Fleet, target: &Target) -> bool {
        let Some((mark, token)) = self.ledger.last().map(|(mark, token)| (mark, token.to_owned())) else { return true };
        let key = (self.ledger.marks_name(), DataType::GSet);
        self.read_own(fleet, target, "own writes among others", &key, &token, |value| {
            let is_there = value.and_then(Value::as_array).is_some_and(|marks| marks.iter().any(|it| *it == *mark));
            is_there.then_some(()).ok_or_else(|| format!("without {mark}"))
        })
    }

    /// Reads a key with `dayfly-after`. What does not show what it must is read again for a while: what comes late is told
    /// apart from what does not come.
    fn read_own(
        &mut self,
        fleet: &Fleet,
        target: &Target,
        what: &'static str,
        key: &Key,
        token: &str,
        shows: impl Fn(Option<&Value>) -> Result<(), String>,
    ) -> bool {
        let mut request = read_request(&key.0, key.1);
        request.headers.push(("dayfly-after".to_owned(), token.to_owned()));
        let until = Instant::now() + LATE;
        let mut first: Option<String> = None;
        loop {
            let answer = fleet.ask(target, &request);
            let ended = match answer {
                Err(_) => "unanswered",
                Ok(answer) if answer.status >= 500 => "not yet",
                Ok(answer) => {
                    let value = answer.value().ok();
                    match shows(value.as_ref()) {
                        Ok(()) if first.is_some() => "shown late",
                        Ok(()) => "shown",
                        Err(expected) => {
                            let replica = answer.header("dayfly-replica").unwrap_or_default().to_owned();
                            let seen = format!("{value:?} {expected}, by {replica}");
                            let second = self.begun.elapsed().as_millis();
                            first.get_or_insert_with(|| format!("{seen}, first at {second} ms"));
                            if Instant::now() < until {
                                thread::sleep(LATE_PAUSE);
                                continue;
                            }
                            "not shown"
                        }
                    }
                }
            };
            count(&mut self.reads, what, ended);
            if let Some(first) = first {
                let finding = Finding::of_key(Kind::UnseenOwnWrite, key, format!("{first}; then {ended}"));
                self.findings.push(finding.found(&format!("{:?}", target.place()), self.begun.elapsed().as_secs()));
            }
            return !matches!(ended, "unanswered" | "not yet");
        }
    }

    /// Reads the map in which two fields are always filled together.
    fn read_pair(&mut self, fleet: &Fleet, target: &Target) -> bool {
        let name = crowd::common_name(self.generation);
        let Ok(answer) = fleet.ask(target, &read_request(&name, DataType::Map)) else {
            count(&mut self.reads, "two fields of one write", "unanswered");
            return false;
        };
        let torn = answer.value().ok().and_then(|value| crowd::torn_pair(&value));
        count(&mut self.reads, "two fields of one write", if torn.is_some() { "torn" } else { "whole" });
        if let Some(told) = torn {
            let finding = Finding::of_key(Kind::Torn, &(name, DataType::Map), told);
            self.findings.push(finding.found(&format!("{:?}", target.place()), self.begun.elapsed().as_secs()));
        }
        answer.status < 500
    }
}

/// Whether a request reached nobody.
fn was_never_asked(error: &Error) -> bool {
    matches!(error.downcast_ref::<Refused>(), Some(Refused::Throttled | Refused::NotStarted(_) | Refused::Closed))
}
