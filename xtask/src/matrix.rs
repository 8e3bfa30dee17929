//! What became of each conformance scenario on each runner, as a table.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};

/// Tells the suite into which file to write what became of its scenarios.
pub const VARIABLE: &str = "DAYFLY_TEST_MATRIX";

/// The runners that are no host: those in virtual time.
const STEPPED: [&str; 2] = ["core", "component"];

/// What became of a scenario on a runner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mark {
    NotRun,
    Passed,
    Failed,
    Known,
    Refused,
}

impl Mark {
    const ALL: [Self; 5] = [Self::Passed, Self::Failed, Self::Known, Self::Refused, Self::NotRun];

    fn shown(self) -> &'static str {
        match self {
            Self::NotRun => ".",
            Self::Passed => "ok",
            Self::Failed => "FAILED",
            Self::Known => "known",
            Self::Refused => "-",
        }
    }

    fn meaning(self) -> &'static str {
        match self {
            Self::NotRun => "not run",
            Self::Passed => "passed",
            Self::Failed => "failed",
            Self::Known => "failed as tests/known-differences.toml says",
            Self::Refused => "not playable there",
        }
    }
}

/// A scenario's row: what became of it by runner, in the order of the columns.
struct Row {
    scenario: String,
    marks: Vec<Mark>,
}

/// The table.
pub struct Matrix {
    runners: Vec<String>,
    rows: Vec<Row>,
    /// Why it cannot be played or fails: kind and reason, then how often by runner.
    reasons: BTreeMap<(&'static str, String), BTreeMap<String, usize>>,
}

impl Matrix {
    /// Reads the file that the suite has written.
    ///
    /// # Errors
    /// It is not there, or not as the suite writes it.
    pub fn read(file: &Path) -> Result<Self> {
        Self::parse(&fs::read_to_string(file).context("the suite has not told what became of its scenarios")?)
    }

    fn parse(text: &str) -> Result<Self> {
        let mut matrix = Self { runners: Vec::new(), rows: Vec::new(), reasons: BTreeMap::new() };
        for line in text.lines() {
            let [scenario, runner, word, reason] = line.split('\t').collect::<Vec<_>>()[..] else {
                bail!("no outcome of a scenario: {line:?}");
            };
            let mark = match word {
                "not-run" => Mark::NotRun,
                "passed" => Mark::Passed,
                "failed" => Mark::Failed,
                "known" => Mark::Known,
                "refused" => Mark::Refused,
                other => bail!("no outcome: {other:?}"),
            };
            if matrix.rows.last().is_none_or(|row| row.scenario != scenario) {
                matrix.rows.push(Row { scenario: scenario.to_owned(), marks: Vec::new() });
            }
            let is_first = matrix.rows.len() == 1;
            let marks = &mut matrix.rows.last_mut().context("there is a row")?.marks;
            if is_first {
                matrix.runners.push(runner.to_owned());
            }
            let column = matrix.runners.get(marks.len());
            ensure!(column.is_some_and(|column| column == runner), "{scenario} on {runner} is not in its column");
            marks.push(mark);
            if !reason.is_empty() {
                let of_reason = matrix.reasons.entry((mark.shown(), reason.to_owned())).or_default();
                *of_reason.entry(runner.to_owned()).or_default() += 1;
            }
        }
        ensure!(!matrix.rows.is_empty(), "no scenario has an outcome");
        let is_full = |row: &Row| row.marks.len() == matrix.runners.len();
        ensure!(matrix.rows.iter().all(is_full), "a scenario has no outcome on some runner");
        Ok(matrix)
    }

    /// The table, its legend, and the scenarios that no host has played.
    pub fn shown(&self) -> String {
        let named = |mark: Mark| format!("{}: {}", mark.shown(), mark.meaning());
        let names = self.rows.iter().map(|row| row.scenario.len()).chain(Mark::ALL.map(|mark| named(mark).len()));
        let width = names.max().unwrap_or(0);
        let mut out = String::new();
        let mut line = |name: &str, cells: &mut dyn Iterator<Item = String>| {
            let mut text = format!("{name:width$}");
            for (runner, cell) in std::iter::zip(&self.runners, cells) {
                let _ = write!(text, "  {cell:>0$}", runner.len().max("FAILED".len()));
            }
            out.push_str(text.trim_end());
            out.push('\n');
        };
        line("", &mut self.runners.iter().cloned());
        for row in &self.rows {
            line(&row.scenario, &mut row.marks.iter().map(|mark| mark.shown().to_owned()));
        }
        for mark in Mark::ALL {
            let count = |at: usize| self.rows.iter().filter(|row| row.marks[at] == mark).count();
            line(&named(mark), &mut (0..self.runners.len()).map(|at| count(at).to_string()));
        }
        for ((shown, reason), runners) in &self.reasons {
            let counts: Vec<_> = runners.iter().map(|(runner, count)| format!("{runner} {count}")).collect();
            let _ = write!(out, "\n{shown}  {reason}: {}", counts.join(", "));
        }
        let unplayed: Vec<_> = self.rows.iter().filter(|row| !self.is_played(row)).map(|row| &*row.scenario).collect();
        let _ = write!(out, "\n\n{} of {} scenarios were played by no host", unplayed.len(), self.rows.len());
        for scenario in &unplayed {
            let _ = write!(out, "\n  {scenario}");
        }
        out
    }

    /// Whether a host has played it, whatever came of it.
    fn is_played(&self, row: &Row) -> bool {
        let mut cells = std::iter::zip(&self.runners, &row.marks);
        cells.any(|(runner, mark)| {
            !STEPPED.contains(&runner.as_str()) && matches!(mark, Mark::Passed | Mark::Failed | Mark::Known)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINES: &str = "long_name\tcore\tpassed\t\nlong_name\tnode\trefused\tno clock\n\
        b\tcore\tfailed\t\nb\tnode\tknown\theads\nc\tcore\tnot-run\t\nc\tnode\trefused\tno clock\n";

    #[test]
    fn a_line_a_scenario_and_below_it_why() {
        let shown = Matrix::parse(LINES).expect("proper").shown();
        let lines: Vec<&str> = shown.lines().collect();
        let cells = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(cells(lines[0]), ["core", "node"]);
        assert_eq!(cells(lines[1]), ["long_name", "ok", "-"]);
        assert_eq!(cells(lines[2]), ["b", "FAILED", "known"]);
        assert_eq!(cells(lines[3]), ["c", ".", "-"]);
        assert_eq!(cells(lines[4]), ["ok:", "passed", "1", "0"]);
        assert!(lines[..9].iter().all(|line| line.len() == lines[0].len()), "{shown}");
        assert!(shown.contains("\n-  no clock: node 2\n"), "{shown}");
        assert!(shown.contains("\nknown  heads: node 1"), "{shown}");
        assert!(shown.ends_with("\n2 of 3 scenarios were played by no host\n  long_name\n  c"), "{shown}");
    }

    #[test]
    fn what_is_no_matrix_is_refused() {
        for text in [
            "",
            "s\tcore\tpassed\n",
            "s\tcore\tgreat\t\n",
            "s\tcore\tpassed\t\ns\tnode\tpassed\t\nt\tnode\tpassed\t\n",
            "s\tcore\tpassed\t\ns\tnode\tpassed\t\nt\tcore\tpassed\t\n",
        ] {
            assert!(Matrix::parse(text).is_err(), "{text:?}");
        }
    }
}
