//! Figures of several reports, side by side.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs;

use anyhow::Context;
use serde::Deserialize;
use serde_json::Value;

use super::report::{Figures, SCHEMA};
use crate::client::Failure;

/// What is read of a report.
#[derive(Deserialize)]
pub struct Told {
    schema: u32,
    #[serde(default)]
    interrupted: bool,
    #[serde(default)]
    figures: Figures,
    #[serde(default)]
    trace: String,
    #[serde(default)]
    scenario: Value,
    #[serde(default)]
    published: Vec<super::scenario::Published>,
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

    fn title(&self) -> String {
        let text = |name| self.scenario.get(name).map(Value::to_string).unwrap_or_default();
        let title = self.scenario.get("title").and_then(Value::as_str).unwrap_or("?");
        let interrupted = if self.interrupted { ", interrupted" } else { "" };
        format!("{title} (seed {}{interrupted}, trace {})", text("seed"), self.trace)
    }
}

/// A number as it stands in a table: whole ones whole, others with three digits after the point.
fn shown(number: f64) -> String {
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
    let published: Vec<_> = reports.iter().take(1).flat_map(|report| &report.published).collect();
    let sources: BTreeSet<&String> = published.iter().map(|published| &published.source).collect();
    for source in sources {
        let _ = writeln!(out, "\nPublished by {source}:");
        for figure in published.iter().filter(|published| published.source == *source) {
            let _ = writeln!(out, "{:width$}  {:>18}  {}", figure.figure, shown(figure.value), figure.of);
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
        let published = super::super::scenario::Published {
            figure: "a_bytes".to_owned(),
            of: "their way".to_owned(),
            value: 9_000.0,
            source: "Them".to_owned(),
        };
        let table = table(&[Told { published: vec![published], ..told(2_000.0) }, told(3_000.5)]);
        assert!(table.contains("\nPublished by Them:\na_bytes") && table.ends_with("9,000  their way\n"), "{table}");
        assert!(table.starts_with("1: t (seed 1, trace )\n2: t"), "{table}");
        assert!(table.contains("2,000") && table.contains("3000.500  x1.500"), "{table}");
    }
}
