//! Figures of several reports, side by side.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::fs;

use anyhow::Context;
use serde::Deserialize;
use serde_json::Value;

use super::measure::{Interval, Spread};
use super::published::order;
use super::report::{Directions, Distributions, Figures, SCHEMA};
use super::scenario::Published;
use crate::client::Failure;

/// What is read of a report. What an earlier program did not write into it is missing.
#[derive(Default, Deserialize)]
#[serde(default)]
pub struct Told {
    schema: u32,
    /// What is real in it, and what a model.
    pub nature: String,
    /// The program's version.
    pub version: String,
    /// The hash of the component.
    pub component: String,
    /// It was ended before its time.
    pub interrupted: bool,
    /// How long was counted, in virtual seconds.
    pub counted_s: f64,
    /// The figures.
    pub figures: Figures,
    /// All that happened, as one number.
    pub trace: String,
    /// What it is of.
    pub scenario: Value,
    /// What went by each route.
    pub ways: BTreeMap<String, Directions>,
    /// How long writes took to all.
    pub convergence: Spread,
    /// How long to another.
    pub staleness: Spread,
    /// How long newcomers took to be filled.
    pub fills: Spread,
    /// The same three, in full.
    pub distributions: Distributions,
    /// The intervals.
    pub series: Vec<Interval>,
    /// What others published.
    pub published: Vec<Published>,
    /// All else.
    #[serde(flatten)]
    pub rest: BTreeMap<String, Value>,
}

impl Told {
    /// Reads a report.
    ///
    /// # Errors
    /// The file is missing, is no report, or one of another form.
    pub fn read(path: &str) -> anyhow::Result<Self> {
        let text = fs::read_to_string(path).with_context(|| path.to_owned())?;
        let told: Self = serde_json::from_str(&text)
            .map_err(|error| Failure::Usage(format!("{path} is no report of an experiment: {error}")))?;
        if told.schema != SCHEMA {
            let refusal = format!("{path} is a report of form {}; this program reads form {SCHEMA}", told.schema);
            return Err(Failure::Usage(refusal).into());
        }
        Ok(told)
    }

    /// How many times ours a figure is that this stands beside, and that is of as many replicas.
    fn times(&self, theirs: &Published) -> Option<String> {
        let places = self.scenario.get("places").and_then(Value::as_array);
        let replicas = places.map(|places| places.iter().filter_map(|place| place.get("replicas")?.as_u64()).sum());
        let is_alike = theirs.replicas.is_none_or(|count| replicas == Some(u64::from(count)));
        let ours = self.figures.get(&theirs.figure).filter(|ours| is_alike && **ours > 0.0)?;
        self.published.contains(theirs).then(|| format!("x{:.3}", theirs.value / ours))
    }

    /// What stood beside the run when it was made.
    pub fn note(&self) -> Option<&str> {
        self.rest.get("wall")?.get("note")?.as_str()
    }

    fn title(&self) -> String {
        let text = |name| self.scenario.get(name).map(Value::to_string).unwrap_or_default();
        let title = self.scenario.get("title").and_then(Value::as_str).unwrap_or("?");
        let interrupted = if self.interrupted { ", interrupted" } else { "" };
        format!("{title} (seed {}{interrupted}, trace {})", text("seed"), self.trace)
    }
}

/// A number as it stands in a table: whole ones whole, others with three digits after the point.
pub fn shown(number: f64) -> String {
    if number.fract() == 0.0 && number.abs() < 1e15 {
        let whole = crate::client::text::grouped(number.abs() as u64);
        return if number < 0.0 { format!("-{whole}") } else { whole };
    }
    format!("{number:.3}")
}

/// A table: a line a figure, a column a report; of two, by how much the second is more.
pub fn table(reports: &[Told]) -> String {
    let mut out = String::new();
    for (number, report) in reports.iter().enumerate() {
        // A text cannot fail to be written into.
        let _ = writeln!(out, "{}: {}", number + 1, report.title());
    }
    let names: BTreeSet<&String> = reports.iter().flat_map(|report| report.figures.keys()).collect();
    let width = names.iter().map(|name| name.len()).max().unwrap_or_default();
    for name in names {
        let _ = write!(out, "{name:width$}");
        for report in reports {
            let value = report.figures.get(name).map_or_else(|| "-".to_owned(), |value| shown(*value));
            let _ = write!(out, "  {value:>18}");
        }
        if let [first, second] = reports
            && let (Some(first), Some(second)) = (first.figures.get(name), second.figures.get(name))
            && *first != 0.0
        {
            let _ = write!(out, "  x{:.3}", second / first);
        }
        out.push('\n');
    }
    let mut published: Vec<&Published> = Vec::new();
    for figure in reports.iter().flat_map(|report| &report.published) {
        if !published.contains(&figure) {
            published.push(figure);
        }
    }
    published.sort_by_key(|figure| order(&figure.figure));
    let sources: BTreeSet<&String> = published.iter().map(|published| &published.source).collect();
    for source in sources {
        let _ = writeln!(out, "\nPublished by {source}, and how many times ours that is:");
        for figure in published.iter().filter(|published| published.source == *source) {
            let _ = write!(out, "{:width$}  {:>18}", figure.figure, shown(figure.value));
            for report in reports {
                let _ = write!(out, "  {:>9}", report.times(figure).unwrap_or_else(|| "-".to_owned()));
            }
            let _ = writeln!(out, "  {}", figure.told());
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_stand_side_by_side() {
        let told = |bytes: f64| -> Told {
            let text = serde_json::json!({
                "schema": SCHEMA, "figures": { "a_bytes": bytes }, "scenario": { "title": "t", "seed": 1 }
            });
            serde_json::from_value(text).expect("a report")
        };
        let published = Published {
            figure: "a_bytes".to_owned(),
            of: "their way".to_owned(),
            replicas: None,
            value: 9_000.0,
            source: "Them".to_owned(),
        };
        let table = table(&[Told { published: vec![published], ..told(2_000.0) }, told(3_000.5)]);
        let last = table.lines().last().expect("there are lines");
        assert!(table.contains("\nPublished by Them, and how many times ours that is:\na_bytes"), "{table}");
        // The second has nothing to do with it.
        assert!(last.contains("9,000     x4.500          -") && last.ends_with("  their way"), "{table}");
        assert!(table.starts_with("1: t (seed 1, trace )\n2: t"), "{table}");
        assert!(table.contains("2,000") && table.contains("3000.500  x1.500"), "{table}");
    }
}
