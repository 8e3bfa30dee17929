//! Reports as one page of HTML that stands by itself: it asks for nothing from elsewhere, has no script, and follows from
//! the reports alone. It is well-formed XML, too.

mod plot;
mod plots;
mod unit;

use std::collections::BTreeSet;
use std::fmt::Write;

use quick_xml::escape::escape;
use serde_json::Value;

pub use self::unit::Unit;
use super::compare::{Told, shown};
use super::published::order;
use super::scenario::Scenario;
use crate::client::Failure;

/// No policy of the page's own lets anything be fetched.
const HEAD: &str = r#"<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8"/>
<meta name="viewport" content="width=device-width, initial-scale=1"/>
<meta name="color-scheme" content="light dark"/>
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'"/>
"#;

const STYLE: &str = include_str!("page/style.css");

/// A report, and its scenario.
pub struct Sheet {
    /// What it says.
    told: Told,
    /// What it is of.
    scenario: Scenario,
    /// What it is called among several.
    name: String,
}

impl Sheet {
    /// Of a report that came from there.
    ///
    /// # Errors
    /// Its scenario is none that this program knows.
    pub fn of(told: Told, path: &str) -> Result<Self, Failure> {
        let scenario: Scenario = serde_json::from_value(told.scenario.clone()).map_err(|error| {
            Failure::Usage(format!("{path}: its scenario cannot be read ({error}); run it again with this program"))
        })?;
        Ok(Self { told, scenario, name: String::new() })
    }

    /// In the order of titles, sizes and seeds, and numbered in it.
    pub fn in_order(mut sheets: Vec<Self>) -> Vec<Self> {
        sheets.sort_by_cached_key(|sheet| {
            (sheet.scenario.title.clone(), sheet.scenario.replicas(), sheet.scenario.seed, sheet.told.trace.clone())
        });
        for (sheet, number) in sheets.iter_mut().zip(1..) {
            let scenario = &sheet.scenario;
            let overlay = scenario.overlay.as_ref().map(|name| format!(", over the {name}")).unwrap_or_default();
            sheet.name = format!("{number}: {} replicas, seed {}{overlay}", scenario.replicas(), scenario.seed);
        }
        sheets
    }

    fn heading(&self) -> String {
        let interrupted = if self.told.interrupted { ", interrupted" } else { "" };
        format!(
            "{} ({} replicas, seed {}{interrupted})",
            self.scenario.title,
            self.scenario.replicas(),
            self.scenario.seed
        )
    }
}

/// A text as it may stand in XML: escaped, and without what XML cannot say.
fn escaped(text: &str) -> String {
    let sayable = |c: &char| matches!(c, '\n' | '\t') || !(c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}'));
    escape(text.chars().filter(sayable).collect::<String>()).into_owned()
}

/// The page of these reports: one by itself, several compared.
///
/// # Errors
/// A plot that cannot be drawn, or a scenario that cannot be written, would be a bug of ours.
pub fn page(sheets: &[Sheet]) -> anyhow::Result<String> {
    let title = match sheets {
        [sheet] => sheet.heading(),
        _ => format!("{} experiments", sheets.len()),
    };
    let title = escaped(&title);
    let mut out =
        format!("{HEAD}<title>{title}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<h1>{title}</h1>\n");
    if let Some(first) = sheets.first() {
        paragraph(&mut out, "nature", &first.told.nature);
    }
    match sheets {
        [sheet] => {
            paragraph(&mut out, "about", &sheet.scenario.about);
            facts(&mut out, sheet);
            section(&mut out, "Plots", &(plots::published(sheets)? + &plots::of_one(sheet)?));
        }
        _ => {
            list(&mut out, sheets);
            section(&mut out, "Compared", &(plots::published(sheets)? + &plots::of_many(sheets)?));
        }
    }
    figures(&mut out, sheets);
    published(&mut out, sheets);
    for sheet in sheets {
        if sheets.len() > 1 {
            let _ = writeln!(
                out,
                "<details>\n<summary>{}</summary>",
                escaped(&format!("{}: {}", sheet.name, sheet.scenario.title))
            );
            paragraph(&mut out, "about", &sheet.scenario.about);
            facts(&mut out, sheet);
            section(&mut out, "Plots", &plots::of_one(sheet)?);
        }
        rest(&mut out, sheet);
        let text = toml::to_string_pretty(&sheet.scenario)?;
        let _ = writeln!(out, "<h2>Scenario, as it was run, with all defaults</h2>\n<pre>{}</pre>", escaped(&text));
        if sheets.len() > 1 {
            out.push_str("</details>\n");
        }
    }
    out.push_str("</body>\n</html>\n");
    Ok(out)
}

fn paragraph(out: &mut String, class: &str, text: &str) {
    if !text.is_empty() {
        // A text cannot fail to be written into, here and below.
        let _ = writeln!(out, "<p class=\"{class}\">{}</p>", escaped(text));
    }
}

fn section(out: &mut String, title: &str, plots: &str) {
    let _ = writeln!(out, "<h2>{title}</h2>\n<div class=\"plots\">\n{plots}</div>");
}

fn row(out: &mut String, head: &str, cells: &[String]) {
    let cells: String = cells.iter().map(|cell| format!("<td>{}</td>", escaped(cell))).collect();
    let _ = writeln!(out, "<tr><th scope=\"row\">{}</th>{cells}</tr>", escaped(head));
}

fn table_head(out: &mut String, cells: &[String]) {
    let cells: String = cells.iter().map(|cell| format!("<th scope=\"col\">{}</th>", escaped(cell))).collect();
    let _ = writeln!(out, "<div class=\"wide\">\n<table>\n<thead><tr>{cells}</tr></thead>\n<tbody>");
}

const TABLE_END: &str = "</tbody>\n</table>\n</div>\n";

/// What makes the run one that can be repeated.
fn facts(out: &mut String, sheet: &Sheet) {
    let told = &sheet.told;
    out.push_str("<table class=\"facts\">\n<tbody>\n");
    for (name, value) in [
        ("seed", sheet.scenario.seed.to_string()),
        ("replicas", sheet.scenario.replicas().to_string()),
        ("counted", format!("{} s of virtual time", told.counted_s)),
        ("program", format!("dayfly {}", told.version)),
        ("component", told.component.clone()),
        ("trace", told.trace.clone()),
    ] {
        row(out, name, &[value]);
    }
    out.push_str("</tbody>\n</table>\n");
}

fn list(out: &mut String, sheets: &[Sheet]) {
    let names = ["experiment", "title", "program", "component", "trace"].map(str::to_owned);
    table_head(out, &names);
    for sheet in sheets {
        let told = &sheet.told;
        let title = format!("{}{}", sheet.scenario.title, if told.interrupted { " (interrupted)" } else { "" });
        let component = told.component.chars().take(12).collect();
        row(out, &sheet.name, &[title, told.version.clone(), component, told.trace.clone()]);
    }
    out.push_str(TABLE_END);
}

/// All figures, a column a report.
fn figures(out: &mut String, sheets: &[Sheet]) {
    let names: BTreeSet<&String> = sheets.iter().flat_map(|sheet| sheet.told.figures.keys()).collect();
    let columns = sheets.iter().map(|sheet| if sheets.len() == 1 { "value".to_owned() } else { sheet.name.clone() });
    out.push_str("<h2>All figures</h2>\n");
    table_head(out, &std::iter::once("figure".to_owned()).chain(columns).collect::<Vec<_>>());
    for name in names {
        let value = |sheet: &Sheet| sheet.told.figures.get(name).map_or_else(|| "-".to_owned(), |value| shown(*value));
        row(out, name, &sheets.iter().map(value).collect::<Vec<_>>());
    }
    out.push_str(TABLE_END);
}

/// What others published, each with ours of as many replicas.
fn published(out: &mut String, sheets: &[Sheet]) {
    let mut all = Vec::new();
    for figure in sheets.iter().flat_map(|sheet| &sheet.told.published) {
        if !all.contains(&figure) {
            all.push(figure);
        }
    }
    if all.is_empty() {
        return;
    }
    all.sort_by_key(|theirs| order(&theirs.figure));
    out.push_str("<h2>Published figures</h2>\n");
    table_head(
        out,
        &["figure", "of", "replicas", "published", "ours", "published, times ours", "source"].map(str::to_owned),
    );
    for theirs in all {
        let is_alike = |sheet: &&Sheet| {
            theirs.replicas.is_none_or(|replicas| replicas == sheet.scenario.replicas())
                && sheet.told.published.contains(theirs)
        };
        // Of several that stand beside it, the one that stands beside the fewest is the closest: it names the same overlay.
        let ours = sheets.iter().filter(is_alike).min_by_key(|sheet| sheet.told.published.len());
        let ours = ours.and_then(|sheet| sheet.told.figures.get(&theirs.figure));
        let ratio = ours.filter(|ours| **ours > 0.0).map(|ours| format!("{:.2}", theirs.value / ours));
        let cells = [
            theirs.of.clone(),
            theirs.replicas.map_or_else(String::new, |replicas| replicas.to_string()),
            shown(theirs.value),
            ours.map_or_else(|| "-".to_owned(), |ours| shown(*ours)),
            ratio.unwrap_or_else(|| "-".to_owned()),
            theirs.source.clone(),
        ];
        row(out, &theirs.figure, &cells);
    }
    out.push_str(TABLE_END);
}

/// What else a report says, but for its series: a row a value.
fn rest(out: &mut String, sheet: &Sheet) {
    out.push_str("<h2>What else the report says</h2>\n");
    table_head(out, &["name", "value"].map(str::to_owned));
    for (name, value) in &sheet.told.rest {
        // How long it took differs from run to run; the page does not.
        if name != "wall" {
            values(out, name, value);
        }
    }
    out.push_str(TABLE_END);
}

fn values(out: &mut String, name: &str, value: &Value) {
    match value {
        Value::Object(members) => {
            members.iter().for_each(|(member, value)| values(out, &format!("{name}.{member}"), value))
        }
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(index, value)| values(out, &format!("{name}[{index}]"), value));
        }
        Value::String(text) => row(out, name, std::slice::from_ref(text)),
        Value::Number(number) => row(out, name, &[number.as_f64().map_or_else(|| number.to_string(), shown)]),
        Value::Bool(_) | Value::Null => row(out, name, &[value.to_string()]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_xml_cannot_say_is_left_out() {
        assert_eq!(escaped("a\u{0}\u{b}<b>\n\"&'\u{ffff}é"), "a&lt;b&gt;\n&quot;&amp;&apos;é");
    }
}
