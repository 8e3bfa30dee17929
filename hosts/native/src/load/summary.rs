//! What a run did, told at its end.

use std::fmt::Write;
use std::time::Duration;

use serde_json::{Value, json};

use super::ledger::{Range, Rest};
use super::stop::Stop;
use crate::client::text::grouped;

/// What was counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Lines that are done: applied, bad, blank or comments.
    pub lines: u64,
    /// Operations that were applied, the unconfirmed ones included.
    pub applied: u64,
    /// Lines that were bad, or whose operation was refused.
    pub bad: u64,
    /// Operations that are applied on one replica, and were not confirmed by the broker when the answer came.
    pub unconfirmed: u64,
    /// Requests that were sent once more because the cluster could not take them, or did not answer.
    pub retries: u64,
    /// Batches that were applied.
    pub batches: u64,
    /// Batches that got no answer and were applied, as the mark told.
    pub doubts_applied: u64,
    /// Times that a batch got no answer and was not applied, as the mark told, and was sent again.
    pub doubts_lost: u64,
}

impl Counts {
    /// Operations a second.
    pub fn rate(&self, elapsed: Duration) -> u64 {
        (self.applied as f64 / elapsed.as_secs_f64().max(0.001)) as u64
    }
}

/// A run that is over.
#[derive(Clone, Debug)]
pub struct Summary {
    /// What was counted.
    pub counts: Counts,
    /// How long it took.
    pub elapsed: Duration,
    /// What is left, if it did not reach the end.
    pub rest: Rest,
    /// Why it did not reach the end.
    pub stop: Option<Stop>,
}

impl Summary {
    /// The exit code, as the help of `dayfly` lists them.
    pub fn exit_code(&self) -> u8 {
        match &self.stop {
            Some(stop) => stop.exit_code(),
            None if self.counts.bad > 0 => 1,
            None if self.counts.unconfirmed > 0 => 5,
            None => 0,
        }
    }

    /// One line for people.
    pub fn text(&self) -> String {
        let Counts { lines, applied, bad, unconfirmed, retries, batches, doubts_applied, doubts_lost } = &self.counts;
        let mut text = format!(
            "{} operations applied from {} lines in {:.1} s ({}/s, {} batches)",
            grouped(*applied),
            grouped(*lines),
            self.elapsed.as_secs_f64(),
            grouped(self.counts.rate(self.elapsed)),
            grouped(*batches),
        );
        let extras = [
            (bad, "bad"),
            (unconfirmed, "not confirmed yet"),
            (retries, "requests repeated"),
            (doubts_applied, "in doubt and applied, as the mark told"),
            (doubts_lost, "in doubt and sent again, as the mark told"),
        ];
        for (count, what) in extras.into_iter().filter(|(count, _)| **count > 0) {
            write!(text, "; {} {what}", grouped(*count)).expect("a string takes all");
        }
        text
    }

    /// The same, and how to go on, as JSON.
    pub fn json(&self) -> Value {
        let pair = |range: &Range| json!([range.first, range.last]);
        let Counts { lines, applied, bad, unconfirmed, retries, batches, doubts_applied, doubts_lost } = &self.counts;
        json!({
            "lines": lines,
            "applied": applied,
            "bad": bad,
            "unconfirmed": unconfirmed,
            "retries": retries,
            "batches": batches,
            "doubts_applied": doubts_applied,
            "doubts_lost": doubts_lost,
            "seconds": (self.elapsed.as_secs_f64() * 1000.0).round() / 1000.0,
            "operations_per_second": self.counts.rate(self.elapsed),
            "complete": self.stop.is_none(),
            "stopped": self.stop.as_ref().map(Stop::to_string),
            "next_line": self.rest.from,
            "gaps": self.rest.gaps.iter().map(pair).collect::<Vec<_>>(),
            "in_doubt": self.rest.in_doubt.iter().map(pair).collect::<Vec<_>>(),
        })
    }
}
