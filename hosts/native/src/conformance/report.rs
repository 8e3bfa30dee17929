//! What became of each scenario: a table while they are played, and the whole at the end.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{Write, stdout};
use std::time::Duration;

use serde_json::{Value, json};

use super::deployment::Deployment;

/// One scenario, played or not.
pub struct Case {
    /// Its name.
    pub name: String,
    /// The file of `tests/scenarios` that it stands in.
    pub file: String,
    /// The promise that it checks.
    pub checks: String,
    /// What became of it.
    pub outcome: Outcome,
    /// How long it took, with the deletion of its keys.
    pub took: Duration,
}

/// What became of a scenario.
pub enum Outcome {
    /// All was as expected.
    Passed,
    /// Something was not.
    Failed(String),
    /// A request got no answer, so nothing is known.
    Unanswered(String),
    /// Clients cannot bring it about, for this reason.
    NotPlayable(String),
}

impl Outcome {
    /// The word for it.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed(_) => "failed",
            Self::Unanswered(_) => "no answer",
            Self::NotPlayable(_) => "not playable",
        }
    }

    /// Why, unless it passed.
    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::Passed => None,
            Self::Failed(reason) | Self::Unanswered(reason) | Self::NotPlayable(reason) => Some(reason),
        }
    }
}

/// A run.
pub struct Report {
    /// The URL.
    pub url: String,
    /// The scenarios so far.
    pub cases: Vec<Case>,
    component: String,
    is_json: bool,
    interrupted: bool,
    /// Why keys may be left, and how they begin.
    left: Option<String>,
}

impl Report {
    /// A run on the deployment at this URL begins, of which a replica tells this status. Unless the report is to be JSON,
    /// it is printed as it grows.
    pub fn begin(url: &str, status: &Value, is_json: bool) -> Self {
        let text = |name: &str| status[name].as_str().unwrap_or("?").to_owned();
        if !is_json {
            let (name, cluster, host) = (text("name"), text("cluster"), text("host"));
            println!("{url}: replica {name} on {host}, of cluster {cluster}, component {}", text("component"));
        }
        let component = text("component");
        Self { url: url.to_owned(), cases: Vec::new(), component, is_json, interrupted: false, left: None }
    }

    /// Adds a scenario, and prints its row.
    ///
    /// # Errors
    /// Nobody reads standard output any more.
    pub fn add(&mut self, case: Case) -> anyhow::Result<()> {
        let is_played = !matches!(case.outcome, Outcome::NotPlayable(_));
        if !self.is_json && is_played {
            let mut out = stdout().lock();
            writeln!(
                out,
                "{:9}  {:>6.2} s  {:44}  {}",
                case.outcome.word(),
                case.took.as_secs_f64(),
                case.name,
                case.checks
            )?;
            if let Some(reason) = case.outcome.reason() {
                writeln!(out, "           {}", reason.trim_end().replace('\n', "\n           "))?;
            }
        }
        self.cases.push(case);
        Ok(())
    }

    /// The run ends. Deletes what is left of it.
    pub fn end(&mut self, deployment: &Deployment, interrupted: bool) {
        self.interrupted = interrupted;
        if let Err(error) = deployment.delete_keys(deployment.run(), None) {
            self.left = Some(format!("keys that begin with {} may be left, delete them: {error:#}", deployment.run()));
        }
    }

    /// How many came out so.
    pub fn count(&self, word: &str) -> usize {
        self.cases.iter().filter(|case| case.outcome.word() == word).count()
    }

    /// Whether all that was played passed, and nothing is left.
    pub fn is_good(&self) -> bool {
        self.left.is_none() && self.count("passed") > 0 && self.count("failed") + self.count("no answer") == 0
    }

    /// What is printed at the end: the rest of the table, or all as JSON.
    pub fn tail(&self) -> String {
        if self.is_json { format!("{:#}\n", self.json()) } else { self.summary() }
    }

    fn json(&self) -> Value {
        let case = |case: &Case| {
            json!({
                "name": case.name, "file": case.file, "checks": case.checks, "outcome": case.outcome.word(),
                "reason": case.outcome.reason(), "seconds": case.took.as_secs_f64(),
            })
        };
        json!({
            "url": self.url, "component": self.component, "passed": self.count("passed"), "failed": self.count("failed"),
            "no_answer": self.count("no answer"), "not_playable": self.count("not playable"),
            "interrupted": self.interrupted, "left": self.left, "scenarios": self.cases.iter().map(case).collect::<Vec<_>>(),
        })
    }

    fn summary(&self) -> String {
        let mut reasons: BTreeMap<&str, usize> = BTreeMap::new();
        for case in &self.cases {
            if let Outcome::NotPlayable(reason) = &case.outcome {
                *reasons.entry(reason).or_default() += 1;
            }
        }
        let mut text = String::new();
        let [passed, failed, silent, rest] =
            ["passed", "failed", "no answer", "not playable"].map(|word| self.count(word));
        writeln!(text, "{passed} passed, {failed} failed, {silent} without answer, {rest} not playable from outside")
            .unwrap_or_default();
        for (reason, count) in reasons {
            writeln!(text, "  {count:3} not playable: {reason}").unwrap_or_default();
        }
        let notes = [self.interrupted.then_some("interrupted"), self.left.as_deref()];
        for note in notes.into_iter().flatten() {
            writeln!(text, "{note}").unwrap_or_default();
        }
        text
    }
}
