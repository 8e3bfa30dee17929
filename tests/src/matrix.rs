//! What became of each scenario on each runner, for whoever prints it (`cargo xtask test` does).

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result};

/// Names the file into which the suite writes what became of its scenarios.
pub const VARIABLE: &str = "DAYFLY_TEST_MATRIX";

/// What became of a scenario on a runner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was not asked for.
    NotRun,
    /// It passed.
    Passed,
    /// It failed.
    Failed,
    /// It failed as a known difference does; with its reason.
    Known(String),
    /// The runner cannot play it; with the reason.
    Refused(String),
}

/// The outcomes of a run, by the places of scenario and runner in their lists.
pub struct Matrix {
    outcomes: Mutex<BTreeMap<(usize, usize), Outcome>>,
}

impl Matrix {
    /// Nothing has been run of so many scenarios on so many runners.
    pub fn new(scenarios: usize, runners: usize) -> Self {
        let pairs = (0..scenarios).flat_map(|scenario| (0..runners).map(move |runner| (scenario, runner)));
        Self { outcomes: Mutex::new(pairs.map(|pair| (pair, Outcome::NotRun)).collect()) }
    }

    /// Notes an outcome in place of what was noted before.
    pub fn note(&self, scenario: usize, runner: usize, outcome: Outcome) {
        self.outcomes.lock().unwrap_or_else(PoisonError::into_inner).insert((scenario, runner), outcome);
    }

    /// One line for each pair: scenario, runner, outcome and reason, between tabulators.
    pub fn lines(&self, scenarios: &[&str], runners: &[&str]) -> String {
        let outcomes = self.outcomes.lock().unwrap_or_else(PoisonError::into_inner);
        let line = |((scenario, runner), outcome): (&(usize, usize), &Outcome)| {
            let (word, reason) = match outcome {
                Outcome::NotRun => ("not-run", ""),
                Outcome::Passed => ("passed", ""),
                Outcome::Failed => ("failed", ""),
                Outcome::Known(reason) => ("known", reason.as_str()),
                Outcome::Refused(reason) => ("refused", reason.as_str()),
            };
            let reason = reason.split_whitespace().collect::<Vec<_>>().join(" ");
            format!("{}\t{}\t{word}\t{reason}\n", scenarios[*scenario], runners[*runner])
        };
        outcomes.iter().map(line).collect()
    }

    /// Writes these lines into a file.
    pub fn write(&self, file: &Path, scenarios: &[&str], runners: &[&str]) -> Result<()> {
        fs::write(file, self.lines(scenarios, runners)).with_context(|| format!("cannot write {}", file.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pair_has_a_line() {
        let matrix = Matrix::new(2, 2);
        matrix.note(0, 1, Outcome::Failed);
        matrix.note(0, 1, Outcome::Passed);
        matrix.note(1, 0, Outcome::Refused("it\thas\nnone".to_owned()));
        matrix.note(1, 1, Outcome::Known("so it is".to_owned()));
        let lines = "s\tcore\tnot-run\t\ns\tnode\tpassed\t\nt\tcore\trefused\tit has none\nt\tnode\tknown\tso it is\n";
        assert_eq!(matrix.lines(&["s", "t"], &["core", "node"]), lines);
    }
}
