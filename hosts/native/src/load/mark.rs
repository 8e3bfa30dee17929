//! The mark: a `maxregister` of the cluster that holds the last line of the last batch that was applied.
//!
//! A batch sets it together with its operations, and a batch is applied as a whole or not at all: so the mark tells
//! whether a batch was applied whose answer did not come, and from which line a later run has to go on. One connection
//! sends one batch after the other; with several, a mark would not say that all lines before it are applied.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::stop::Flag;
use crate::client::backoff::Backoff;
use crate::client::path;
use crate::client::refusal::Outcome;
use crate::client::server::{Ask, Server};
use crate::client::text;

/// How long the mark may be unreadable, beyond the settling time, until that is told.
const PATIENCE: Duration = Duration::from_secs(2);

/// The type of the mark.
const TYPE: &str = "maxregister";

/// A mark, and how long it is read.
#[derive(Clone, Debug)]
pub struct Mark {
    key: String,
    path: String,
    settle: Duration,
    retry: Duration,
}

/// Why it is not known where the mark is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unread {
    /// The flag was raised meanwhile.
    Interrupted,
    /// No complete replica answered in time. Says why not.
    NoAnswer(String),
    /// It is no mark of this file. Says what it is.
    Foreign(String),
}

/// What one request tells.
enum Reading {
    /// The mark is at this line; at 0 if there is none.
    At(u64),
    /// Nothing now, but it may be asked again.
    NotNow(String),
    Foreign(String),
}

impl Mark {
    /// The mark of this key. A reading of it counts once `settle` has passed, in which whatever is still under way
    /// arrives; for `retry` beyond that it is asked again if it cannot be read.
    pub fn new(key: &str, settle: Duration, retry: Duration) -> Self {
        Self { key: key.to_owned(), path: path::data(TYPE, key), settle, retry }
    }

    /// The key, for people.
    pub fn name(&self) -> String {
        text::printable(&self.key)
    }

    /// The operation that sets it, as JSON.
    pub fn operation(&self, line: u64) -> String {
        json!({"type": TYPE, "key": self.key, "set": line}).to_string()
    }

    /// Reads the mark until it is at `goal` or beyond, or until the settling time is over; tells where it is. Only
    /// replicas count that are complete, have seen the writes of `after`, and do not fall behind `known`, where the
    /// mark has been before. If none does for long, `tell` is told why.
    pub fn watch(
        &self,
        server: &Server,
        flag: &Flag,
        tell: impl Fn(&str),
        after: Option<&str>,
        mut known: u64,
        goal: u64,
    ) -> Result<u64, Unread> {
        let settled = Instant::now() + self.settle;
        let mut backoff = Backoff::until(settled + self.retry);
        let mut told = false;
        loop {
            let asked = Instant::now();
            let problem = match self.read(server, after) {
                Reading::At(line) if line >= goal => return Ok(line),
                // A reading that was asked for earlier may have missed what arrived since.
                Reading::At(line) if line >= known && asked >= settled => return Ok(line),
                Reading::At(line) if line >= known => {
                    known = line;
                    String::new()
                }
                Reading::At(line) => format!("it is at line {line}, although it was at {known} before"),
                Reading::NotNow(reason) => reason,
                Reading::Foreign(what) => return Err(Unread::Foreign(what)),
            };
            let now = Instant::now();
            let Some(pause) = backoff.pause(now, None) else { return Err(Unread::NoAnswer(problem)) };
            if !told && now >= settled + PATIENCE {
                told = true;
                tell(&format!("the mark cannot be read yet: {problem}"));
            }
            let left = settled.saturating_duration_since(now);
            if flag.pause(if left.is_zero() { pause } else { pause.min(left) }) {
                return Err(Unread::Interrupted);
            }
        }
    }

    fn read(&self, server: &Server, after: Option<&str>) -> Reading {
        let answer = match server.ask(Ask { method: "GET", path: &self.path, after, ..Ask::default() }) {
            Ok(answer) => answer,
            Err(silence) => return Reading::NotNow(silence.to_string()),
        };
        if answer.incomplete {
            return Reading::NotNow("the replica that answers is still being filled".to_owned());
        }
        match answer.refusal() {
            Some(refusal) if refusal.code.as_deref() == Some("no_such_key") => Reading::At(0),
            Some(refusal) if refusal.outcome() == Outcome::Refused => Reading::Foreign(refusal.to_string()),
            Some(refusal) => Reading::NotNow(refusal.reason()),
            None => match answer.body {
                Ok(body) => line(&body),
                Err(reason) => Reading::NotNow(reason),
            },
        }
    }
}

/// The value of an answer, if it is the number of a line.
fn line(body: &str) -> Reading {
    let value = serde_json::from_str::<Value>(body).ok().and_then(|whole| whole.get("value").cloned());
    match value.as_ref().map(|value| (value.as_u64(), value)) {
        Some((Some(line), _)) if line < u64::MAX => Reading::At(line),
        Some((_, value)) => Reading::Foreign(format!("its value {value} is no line of a file")),
        None => Reading::Foreign("the answer holds no value".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_operation_is_json_whatever_the_key() {
        let mark = Mark::new("a \"b\"/c", Duration::ZERO, Duration::ZERO);
        assert_eq!(mark.operation(7), r#"{"key":"a \"b\"/c","set":7,"type":"maxregister"}"#);
        assert_eq!(mark.path, "/v1/data/maxregister/a%20%22b%22%2Fc");
    }

    #[test]
    fn a_value_that_is_no_line_is_none_of_this_file() {
        assert!(matches!(line(r#"{"value":7}"#), Reading::At(7)));
        for value in ["1.5", "-1", "18446744073709551615", "1e30"] {
            let told = line(&format!("{{\"value\":{value}}}"));
            assert!(matches!(told, Reading::Foreign(what) if what.contains("no line of a file")), "{value}");
        }
        assert!(matches!(line("<html>"), Reading::Foreign(_)));
    }
}
