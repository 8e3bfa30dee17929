//! What a run tells at its end.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use super::finding::Finding;
use super::sample::{Growth, Sample};

/// Numbers by name and name.
pub type Table = BTreeMap<String, BTreeMap<String, u64>>;

/// How many findings are told to people; JSON has all.
const FINDINGS_SHOWN: usize = 40;

/// What guards the database in every run.
const GUARANTEE: &str =
    "the broker keeps a log, applications keep their key-value stores, and one native replica is never killed";

/// All that was done, and what came of it.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// What was drawn follows from it.
    pub seed: u64,
    /// How long there was to be load, in seconds.
    pub wanted_seconds: u64,
    /// How long it took in all, in seconds.
    pub seconds: u64,
    /// Whether it was ended before its time.
    pub was_ended_early: bool,
    /// What guarded the database.
    pub guarantee: &'static str,
    /// Writes by what they did and how they ended.
    pub writes: Table,
    /// The same by the host that was asked.
    pub writes_by_host: Table,
    /// Reads by what they were to show.
    pub reads: Table,
    /// Faults by host.
    pub faults: Table,
    /// Lives that there were, by host.
    pub lives: BTreeMap<String, u64>,
    /// Checkpoints at which all agreed, and all was compared.
    pub checkpoints: u64,
    /// The replicas that agreed at the last one.
    pub replicas: u64,
    /// Keys that were read and compared.
    pub keys: u64,
    /// Lanes whose state was compared, those read at several hosts several times.
    pub lanes: u64,
    /// What was not as it must be: nothing, it is hoped.
    pub findings: Vec<Finding>,
    /// How many replicas of each host told which hash of the component.
    pub components: BTreeMap<String, BTreeMap<String, usize>>,
    /// What must not grow; empty: there were too few samples.
    pub growth: Vec<Growth>,
    /// The samples.
    pub samples: Vec<Sample>,
}

impl Report {
    /// One of a run with this seed.
    pub fn new(seed: u64, wanted_seconds: u64) -> Self {
        Self { seed, wanted_seconds, guarantee: GUARANTEE, ..Self::default() }
    }

    /// How many writes ended so.
    pub fn ended(&self, outcome: &str) -> u64 {
        self.writes_by_host.values().filter_map(|ended| ended.get(outcome)).sum()
    }

    /// How many faults there were.
    pub fn faults(&self) -> u64 {
        self.faults.values().flat_map(BTreeMap::values).sum()
    }

    /// Whether all hosts tell the same hash of the component.
    pub fn is_one_component(&self) -> bool {
        let mut hashes: Vec<&String> = self.components.values().flat_map(BTreeMap::keys).collect();
        hashes.sort_unstable();
        hashes.dedup();
        hashes.len() == 1
    }

    /// Whether nothing was found, nothing grows, and there is one component.
    pub fn is_well(&self) -> bool {
        self.findings.is_empty() && !self.growth.iter().any(Growth::is_growth) && self.is_one_component()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let early = if self.was_ended_early { ", ended early" } else { "" };
        writeln!(f, "{} s of {} s{early}, seed {}; {}", self.seconds, self.wanted_seconds, self.seed, self.guarantee)?;
        table(f, "writes by type", &self.writes)?;
        table(f, "writes by host", &self.writes_by_host)?;
        table(f, "reads", &self.reads)?;
        table(f, "faults", &self.faults)?;
        let lives: Vec<String> = self.lives.iter().map(|(host, lives)| format!("{host} {lives}")).collect();
        writeln!(f, "\nlives: {}", lives.join(", "))?;
        writeln!(
            f,
            "{} checkpoints, at the last {} replicas agreed; {} keys and {} lanes compared",
            self.checkpoints, self.replicas, self.keys, self.lanes
        )?;
        self.growth(f)?;
        writeln!(f, "\ncomponent")?;
        for (host, hashes) in &self.components {
            for (hash, replicas) in hashes {
                writeln!(f, "  {host:<10} {hash} ({replicas} replicas)")?;
            }
        }
        self.verdict(f)
    }
}

impl Report {
    fn growth(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.growth.is_empty() {
            return writeln!(f, "\ngrowth: {} samples are too few to judge", self.samples.len());
        }
        let width = self.growth.iter().map(|growth| growth.what.len()).max().unwrap_or(0);
        writeln!(
            f,
            "\n{:<width$} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9}",
            "growth", "first", "median", "last", "early", "late", "bound"
        )?;
        for Growth { what, first, median, last, early, late, bound, .. } in &self.growth {
            let bound = bound.map_or_else(|| "none".to_owned(), |bound| bound.to_string());
            writeln!(f, "{what:<width$} {first:>9} {median:>9} {last:>9} {early:>9} {late:>9} {bound:>9}")?;
        }
        for growth in self.growth.iter().filter(|growth| growth.is_growth()) {
            writeln!(f, "GROWTH: {}; its bound is {}", growth.what, growth.reason)?;
        }
        Ok(())
    }

    fn verdict(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.findings.is_empty() {
            writeln!(f, "\nlost: nothing")?;
        } else {
            writeln!(f, "\n{} findings; to repeat: --seed {}", self.findings.len(), self.seed)?;
        }
        for finding in self.findings.iter().take(FINDINGS_SHOWN) {
            writeln!(f, "  {finding}")?;
        }
        let growth = match self.growth.iter().any(Growth::is_growth) {
            true => "growth",
            false if self.growth.is_empty() => "growth not judged",
            false => "no growth",
        };
        let component = if self.is_one_component() { "one component" } else { "DIFFERENT COMPONENTS" };
        let well = if self.is_well() { "well" } else { "NOT WELL" };
        write!(f, "verdict: {well}; {growth}; {component}; seed {}", self.seed)
    }
}

fn table(f: &mut fmt::Formatter<'_>, title: &str, table: &Table) -> fmt::Result {
    let mut columns: Vec<&str> = table.values().flat_map(|row| row.keys().map(String::as_str)).collect();
    columns.sort_unstable();
    columns.dedup();
    if columns.len() > 6 {
        // Too wide: a row for each pair.
        writeln!(f, "\n{title}")?;
        for (row, cells) in table {
            for (column, number) in cells {
                writeln!(f, "  {row:<10} {column:<40} {number:>9}")?;
            }
        }
        return Ok(());
    }
    let width = table.keys().map(String::len).max().unwrap_or(0).max(title.len());
    write!(f, "\n{title:<width$}")?;
    columns.iter().try_for_each(|column| write!(f, " {column:>12}"))?;
    writeln!(f)?;
    for (row, cells) in table {
        write!(f, "{row:<width$}")?;
        for column in &columns {
            write!(f, " {:>12}", cells.get(*column).copied().unwrap_or(0))?;
        }
        writeln!(f)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::soak::finding::Kind;

    #[test]
    fn a_finding_growth_or_another_component_is_not_well() {
        let hash = |hash: &str| BTreeMap::from([(hash.to_owned(), 1)]);
        let mut report = Report::new(7, 60);
        assert!(!report.is_well());
        report.components = BTreeMap::from([("native".to_owned(), hash("a")), ("spin".to_owned(), hash("a"))]);
        assert!(report.is_well() && report.to_string().contains("verdict: well"), "{report}");
        let mut other = report.clone();
        other.components.insert("lambda".to_owned(), hash("b"));
        assert!(!other.is_well());
        let key = ("k".to_owned(), dayfly_core::cell::DataType::GSet);
        report.findings.push(Finding::of_key(Kind::Lost, &key, "x is not there".to_owned()));
        assert!(!report.is_well() && report.to_string().contains("--seed 7"), "{report}");
    }
}
