//! The line a second: who is awake, what was done, and whether all say the same.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::census::{Census, Status};
use super::platform::Platform;

/// How often there is a line.
const EVERY: Duration = Duration::from_secs(1);

/// What stands in a line.
#[derive(Clone, Debug, PartialEq)]
struct Line {
    second: u64,
    census: Census,
    operations: u64,
    operations_per_second: u64,
    requests: u64,
    roots: Roots,
}

/// What the awake replicas say of their states.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Roots {
    /// How many replicas answered.
    asked: usize,
    /// How many different roots they have.
    different: usize,
    /// How many of them are still being filled.
    incomplete: usize,
    /// The most live entries that one of them has.
    entries: u64,
}

impl Roots {
    fn of(statuses: &[Status]) -> Self {
        Self {
            asked: statuses.len(),
            different: statuses.iter().map(|status| &status.root).collect::<BTreeSet<_>>().len(),
            incomplete: statuses.iter().filter(|status| !status.complete).count(),
            entries: statuses.iter().map(|status| status.entries).max().unwrap_or(0),
        }
    }

    /// Whether all agree; unknown while nobody is awake.
    fn agree(self) -> Option<bool> {
        (self.asked > 0).then_some(self.different == 1)
    }
}

impl Line {
    fn to_json(&self) -> serde_json::Value {
        json!({
            "second": self.second,
            "awake": self.census.awake,
            "dormant": self.census.dormant,
            "gone": self.census.gone(),
            "started": self.census.started,
            "killed": self.census.killed,
            "reclaimed": self.census.reclaimed,
            "lost": self.census.lost,
            "complete": self.census.complete,
            "complete_losses": self.census.complete_losses,
            "extinctions": self.census.extinctions,
            "requests": self.requests,
            "operations": self.operations,
            "operations_per_second": self.operations_per_second,
            "entries": self.roots.entries,
            "incomplete": self.roots.incomplete,
            "roots": self.roots.different,
            "roots_agree": self.roots.agree(),
        })
    }

    fn to_text(&self) -> String {
        let Census { awake, dormant, started, killed, reclaimed, lost, complete, complete_losses, extinctions, .. } =
            self.census;
        let roots = match self.roots.agree() {
            None => "no root".to_owned(),
            Some(true) => "roots agree".to_owned(),
            Some(false) => format!("{} roots", self.roots.different),
        };
        let mut text = format!(
            "{:>5}s  {awake} awake, {dormant} dormant, {} gone \
             ({killed} killed, {reclaimed} reclaimed; {started} started)  \
             {} operations ({}/s)  {} entries, {roots}",
            self.second,
            self.census.gone(),
            grouped(self.operations),
            grouped(self.operations_per_second),
            grouped(self.roots.entries),
        );
        if self.roots.incomplete > 0 {
            text += &format!(", {} being filled", self.roots.incomplete);
        }
        if lost > 0 {
            text += &format!(", {lost} LOST");
        }
        if complete_losses > 0 {
            let left = if complete == 0 { "none is now" } else { "since then others are" };
            text += &format!(
                ", {complete_losses} times NO COMPLETE replica was left ({left}): what the others had not been handed \
                 is lost, unless it was stored or logged"
            );
        }
        if extinctions > 0 {
            text += &format!(", {extinctions} times ALL WERE GONE");
        }
        text
    }
}

/// A number with its thousands apart.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Writes the line a second, and whatever else is to be read.
pub struct Reporter {
    platform: Arc<Platform>,
    json: bool,
    began: Instant,
    operations: u64,
}

impl Reporter {
    /// A reporter of this platform, for people or as JSON lines.
    pub fn new(platform: Arc<Platform>, json: bool) -> Self {
        Self { platform, json, began: Instant::now(), operations: 0 }
    }

    /// Tells something once: a text for people, or an object.
    pub fn say(&self, text: &str, object: &serde_json::Value) -> io::Result<()> {
        let mut out = io::stdout().lock();
        if self.json { writeln!(out, "{object}") } else { writeln!(out, "{text}") }?;
        out.flush()
    }

    /// Writes a line a second, until nobody reads them.
    pub async fn report(mut self) -> io::Result<()> {
        let mut every = interval(EVERY);
        every.set_missed_tick_behavior(MissedTickBehavior::Delay);
        every.tick().await;
        loop {
            every.tick().await;
            let line = self.line().await;
            self.say(&line.to_text(), &line.to_json())?;
        }
    }

    async fn line(&mut self) -> Line {
        let statuses: Vec<Status> = self.platform.statuses().await.into_iter().map(|(_, status)| status).collect();
        let roots = Roots::of(&statuses);
        let operations = self.platform.traffic().operations();
        let operations_per_second = operations - std::mem::replace(&mut self.operations, operations);
        Line {
            second: self.began.elapsed().as_secs(),
            census: self.platform.census(),
            operations,
            operations_per_second,
            requests: self.platform.traffic().requests(),
            roots,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(root: &str, complete: bool) -> Status {
        Status { root: root.to_owned(), entries: 3, complete }
    }

    fn line(statuses: &[Status]) -> Line {
        Line {
            second: 12,
            census: Census { awake: 2, dormant: 1, started: 5, killed: 1, reclaimed: 1, ..Census::default() },
            operations: 1_234_567,
            operations_per_second: 999,
            requests: 7,
            roots: Roots::of(statuses),
        }
    }

    #[test]
    fn a_line_tells_whether_all_roots_agree() {
        let same = line(&[status("x", true), status("x", true)]);
        assert!(same.to_text().ends_with("1,234,567 operations (999/s)  3 entries, roots agree"), "{}", same.to_text());
        assert_eq!(same.to_json()["roots_agree"], true);
        let differ = line(&[status("x", true), status("y", false)]);
        assert!(differ.to_text().ends_with("3 entries, 2 roots, 1 being filled"), "{}", differ.to_text());
        assert_eq!(differ.to_json()["roots_agree"], false);
        assert_eq!(line(&[]).to_json()["roots_agree"], serde_json::Value::Null);
    }

    #[test]
    fn a_line_tells_when_no_complete_replica_was_left() {
        let mut line = line(&[status("x", false)]);
        assert!(!line.to_text().contains("COMPLETE"), "{}", line.to_text());
        line.census.complete_losses = 1;
        assert!(line.to_text().contains("1 times NO COMPLETE replica was left (none is now)"), "{}", line.to_text());
        line.census.complete = 2;
        assert!(line.to_text().contains("(since then others are)"), "{}", line.to_text());
        assert_eq!(
            (line.to_json()["complete"].as_u64(), line.to_json()["complete_losses"].as_u64()),
            (Some(2), Some(1))
        );
    }

    #[test]
    fn numbers_are_grouped() {
        assert_eq!(["0", "999", "1,000", "1,234,567"], [0, 999, 1_000, 1_234_567].map(grouped)[..]);
    }
}
