//! The list of a document's tables.

use std::fs;
use std::path::Path;

use anyhow::Context;
use clap::Parser;
use serde::Deserialize;

use super::super::RunArgs;
use super::super::scenario::Scenario;
use super::OF_RUNS;
use super::arithmetic::Towards;
use crate::client::Failure;

/// What a list's file says.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Listed {
    tables: Vec<ListedTable>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ListedTable {
    name: String,
    figures: Vec<String>,
    runs: Vec<ListedRun>,
    towards: Option<Towards>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ListedRun {
    run: String,
    #[serde(default)]
    beside: Vec<String>,
    #[serde(default)]
    replicas: Vec<u32>,
    #[serde(default)]
    large: Vec<u32>,
}

/// The tables of a document, in its order.
#[derive(Debug)]
pub struct List {
    pub tables: Vec<Table>,
}

/// A table.
#[derive(Debug)]
pub struct Table {
    /// What it is called in its marks.
    pub name: String,
    /// What of the reports it shows: figures by name, or members by their path.
    pub figures: Vec<String>,
    /// Of which runs, in its order.
    pub runs: Vec<Run>,
    /// What else it shows, by arithmetic.
    pub towards: Option<Towards>,
}

/// A run.
#[derive(Debug)]
pub struct Run {
    /// What stands after `dayfly experiment run`.
    pub line: String,
    /// What published figures it stands beside, as far as they are of as many replicas.
    pub beside: Vec<String>,
    /// It is run only where that is asked for.
    pub is_large: bool,
    /// What it is of.
    pub scenario: Scenario,
    /// How many replicas there are.
    pub replicas: u32,
    /// How long it is in virtual time.
    pub virtual_s: f64,
}

/// A run's line, read as the command's own arguments.
#[derive(Parser)]
#[command(no_binary_name = true, name = "dayfly experiment run")]
struct Line {
    #[command(flatten)]
    args: RunArgs,
}

impl Run {
    fn read(line: String, beside: &[String], is_large: bool) -> Result<Self, Failure> {
        let wrong = |what: &str| Failure::Usage(format!("the run {line:?}: {}", what.trim_end()));
        let args = Line::try_parse_from(line.split_whitespace()).map_err(|error| wrong(&error.to_string()))?.args;
        let scenario = args.scenario().map_err(|error| wrong(&error.to_string()))?;
        let (replicas, virtual_s) = (scenario.replicas(), scenario.total_s());
        Ok(Self { beside: beside.to_vec(), is_large, replicas, virtual_s, scenario, line })
    }
}

impl ListedTable {
    fn table(self) -> Result<Table, Failure> {
        let is_name = |name: &str| name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
        if self.name == OF_RUNS || self.name.is_empty() || !is_name(&self.name) {
            return Err(Failure::Usage(format!(
                "{:?} is no table's name: one is of a-z, 0-9 and -, and {OF_RUNS:?} is that of all runs",
                self.name
            )));
        }
        let mut runs = Vec::new();
        for ListedRun { run, beside, replicas, large } in &self.runs {
            if replicas.is_empty() && large.is_empty() {
                runs.push(Run::read(run.clone(), beside, false)?);
            }
            let sizes = replicas.iter().map(|size| (size, false)).chain(large.iter().map(|size| (size, true)));
            for (size, is_large) in sizes {
                runs.push(Run::read(format!("{run} --replicas {size}"), beside, is_large)?);
            }
        }
        if runs.is_empty() || self.figures.is_empty() {
            return Err(Failure::Usage(format!("the table {:?} shows nothing", self.name)));
        }
        if let Some(Towards { from: [few, many], .. }) = self.towards
            && !(few < many && [few, many].iter().all(|size| runs.iter().any(|run| run.replicas == *size)))
        {
            return Err(Failure::Usage(format!(
                "the table {:?} has no runs of {few} and {many} replicas to reckon from, the smaller first",
                self.name
            )));
        }
        Ok(Table { name: self.name, figures: self.figures, runs, towards: self.towards })
    }
}

impl List {
    /// Reads a file. An error tells what is wrong in it.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        Ok(Self::parse(&text).map_err(|error| match error {
            Failure::Usage(what) => Failure::Usage(format!("{}: {what}", path.display())),
            other => other,
        })?)
    }

    /// Reads a text.
    pub fn parse(text: &str) -> Result<Self, Failure> {
        let listed: Listed = toml::from_str(text).map_err(|error| Failure::Usage(error.to_string()))?;
        let tables = listed.tables.into_iter().map(ListedTable::table).collect::<Result<Vec<_>, _>>()?;
        for (index, table) in tables.iter().enumerate() {
            if tables[..index].iter().any(|other| other.name == table.name) {
                return Err(Failure::Usage(format!("there are two tables {:?}", table.name)));
            }
        }
        Ok(Self { tables })
    }

    /// All runs, each once.
    pub fn runs(&self) -> Vec<&Run> {
        let mut runs: Vec<&Run> = Vec::new();
        for run in self.tables.iter().flat_map(|table| &table.runs) {
            if runs.iter().all(|other| other.line != run.line) {
                runs.push(run);
            }
        }
        runs
    }

    /// Those that are to be run: all, or only those that are named; large ones only if that is asked for, or if one is
    /// named exactly.
    pub fn wanted(&self, only: &[String], large: bool) -> Result<Vec<&Run>, Failure> {
        let of_table = |name: &str, run: &Run| {
            let mut named = self.tables.iter().filter(|table| table.name == name);
            named.any(|table| table.runs.iter().any(|other| other.line == run.line))
        };
        let is_meant = |name: &str, run: &Run| {
            run.line == name || run.line.split_whitespace().next() == Some(name) || of_table(name, run)
        };
        if let Some(unknown) = only.iter().find(|name| !self.runs().into_iter().any(|run| is_meant(name, run))) {
            let tables: Vec<&str> = self.tables.iter().map(|table| table.name.as_str()).collect();
            let tables = tables.join(", ");
            return Err(Failure::Usage(format!(
                "nothing is called {unknown:?}: name a table ({tables}), a scenario, or a run as its table shows it"
            )));
        }
        let is_wanted = |run: &&Run| {
            let is_named = only.iter().any(|name| is_meant(name, run));
            let is_named_exactly = only.contains(&run.line);
            is_named_exactly || ((only.is_empty() || is_named) && (large || !run.is_large))
        };
        Ok(self.runs().into_iter().filter(is_wanted).collect())
    }
}
