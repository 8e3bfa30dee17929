//! `dayfly experiment tables`: the runs that a list names, and the tables of a document that show what came of them.

mod arithmetic;
mod document;
mod list;
mod shelf;

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context;
use clap::Args;

use self::document::{Cell, Row, Section};
use self::list::{List, Run, Table};
use self::shelf::Shelf;
use super::compare::Told;
use super::page::Unit;
use super::published;
use crate::client::text::grouped;
use crate::load::signal;

/// The table that every document has: of all runs, what they took and what they were made with.
const OF_RUNS: &str = "runs";
/// What stands where there is nothing to tell.
const NOTHING: &str = "–";

#[derive(Debug, Args)]
pub struct TablesArgs {
    /// The list of tables, and of the runs that each shows
    #[arg(value_name = "LIST")]
    list: PathBuf,

    /// The document: what stands between a table's marks is written anew
    #[arg(long, value_name = "FILE")]
    document: PathBuf,

    /// Where reports are kept: what has one there, of the same component and scenario, is not run again
    #[arg(long, value_name = "FOLDER")]
    reports: PathBuf,

    /// Run only what these tables show, these scenarios, or exactly these runs
    #[arg(long, value_name = "NAME", num_args = 1..)]
    only: Vec<String>,

    /// Run those of the sizes that are listed as large, too
    #[arg(long)]
    large: bool,

    /// Run nothing: write the tables from reports that are there
    #[arg(long, conflicts_with_all = ["only", "large"])]
    no_run: bool,

    /// What is to stand beside what is run now, such as the commit
    #[arg(long, value_name = "TEXT")]
    note: Option<String>,
}

/// Runs what is wanted and has no report yet, one after the other, and writes the document after each.
pub fn tables(args: &TablesArgs) -> anyhow::Result<ExitCode> {
    let list = List::read(&args.list)?;
    let shelf = Shelf::new(&args.reports)?;
    let wanted = if args.no_run { Vec::new() } else { list.wanted(&args.only, args.large)? };
    write(args, &list, &shelf)?;
    let stop = Arc::new(AtomicBool::new(false));
    signal::watch({
        let stop = Arc::clone(&stop);
        // The run that is under way hears of it by itself, and ends.
        move |_| stop.store(true, Ordering::Relaxed)
    })
    .context("cannot listen for Ctrl-C")?;
    for run in wanted {
        if shelf.report(run)?.is_some() {
            eprintln!("dayfly: {}: there is a report of this component and scenario", run.line);
            continue;
        }
        eprintln!("dayfly: experiment run {}", run.line);
        if !shelf.make(run, args.note.as_deref())? || stop.load(Ordering::Relaxed) {
            eprintln!("dayfly: interrupted; what was run before it stands in the document");
            return Ok(ExitCode::from(130));
        }
        write(args, &list, &shelf)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Writes the document, if that changes it.
fn write(args: &TablesArgs, list: &List, shelf: &Shelf) -> anyhow::Result<()> {
    let path = &args.document;
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut reports = BTreeMap::new();
    for run in list.runs() {
        if let Some(report) = shelf.report(run)? {
            reports.insert(run.line.as_str(), report);
        }
    }
    let mut sections = list.tables.iter().map(|table| section(table, &reports)).collect::<anyhow::Result<Vec<_>>>()?;
    sections.push(section_of_runs(list, &reports));
    let written = document::with_sections(&text, &sections).with_context(|| path.display().to_string())?;
    if written != text {
        fs::write(path, written).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

/// The reports that there are, by the line of their run.
type Reports<'a> = BTreeMap<&'a str, Told>;

/// A table as its list wants it.
fn section(table: &Table, reports: &Reports) -> anyhow::Result<Section> {
    let (head, rows) = if table.runs.iter().any(|run| !run.beside.is_empty()) {
        beside(table, reports)?
    } else if let [run] = &table.runs[..] {
        of_one(table, run, reports.get(run.line.as_str()))
    } else {
        of_several(table, reports)
    };
    Ok(Section { name: table.name.clone(), head, rows })
}

/// Ours beside what was published: a row for each run and each that it stands beside.
fn beside(table: &Table, reports: &Reports) -> anyhow::Result<(Vec<String>, Vec<Row>)> {
    let mut head = vec!["`dayfly experiment run` …".to_owned(), "published".to_owned()];
    for figure in &table.figures {
        head.extend([format!("{}, theirs", title(figure)), "ours".to_owned(), "theirs / ours".to_owned()]);
    }
    head.extend(["real time", "memory"].map(str::to_owned));
    let mut rows = Vec::new();
    for run in &table.runs {
        let report = reports.get(run.line.as_str());
        let mut others: Vec<(String, BTreeMap<&str, Option<f64>>)> = Vec::new();
        for reference in &run.beside {
            let of_size = |row: &published::Row| row.replicas == run.replicas;
            for row in published::rows(reference).map_err(anyhow::Error::msg)?.1.into_iter().filter(of_size) {
                let label = format!("{}, {}", row.overlay, row.algorithm);
                match others.iter_mut().find(|(other, _)| *other == label) {
                    Some((_, values)) => drop(values.insert(row.figure, row.value)),
                    None => others.push((label, BTreeMap::from([(row.figure, row.value)]))),
                }
            }
        }
        if others.is_empty() {
            others.push((NOTHING.to_owned(), BTreeMap::new()));
        }
        for (label, values) in &others {
            let mut cells = vec![Cell::known(code(&run.line)), Cell::known(label.clone())];
            for figure in &table.figures {
                let theirs = values.get(figure.as_str());
                let shown = theirs.map(|value| value.map_or("failed".to_owned(), |value| told(figure, value)));
                cells.push(Cell::known(shown.unwrap_or_else(|| NOTHING.to_owned())));
                cells.push(Cell::Ours(report.map(|report| figure_of(report, figure))));
                let ours = report.map(|report| value_of(report, figure));
                cells.push(Cell::Ours(ours.map(|ours| ratio(theirs.copied().flatten(), ours))));
            }
            cells.extend(taken(report));
            rows.push(Row { cells, keys: 2 });
        }
    }
    Ok((head, rows))
}

/// A row a figure.
fn of_one(table: &Table, run: &Run, report: Option<&Told>) -> (Vec<String>, Vec<Row>) {
    let row = |title: String, cell| Row { cells: vec![Cell::known(title), cell], keys: 1 };
    let command = Cell::known(code(&format!("dayfly experiment run {}", run.line)));
    let mut rows = vec![row("command".to_owned(), command)];
    let ours = |figure: &String| Cell::Ours(report.map(|report| figure_of(report, figure)));
    rows.extend(table.figures.iter().map(|figure| row(title(figure), ours(figure))));
    let of_run = ["real time", "memory"].map(str::to_owned).into_iter();
    rows.extend(std::iter::zip(of_run, taken(report)).map(|(title, cell)| row(title, cell)));
    (vec!["figure".to_owned(), "value".to_owned()], rows)
}

/// A row a run, a column a figure; below, if the list says so, what arithmetic makes of two of them.
fn of_several(table: &Table, reports: &Reports) -> (Vec<String>, Vec<Row>) {
    let mut head = vec!["`dayfly experiment run` …".to_owned()];
    head.extend(table.figures.iter().map(|figure| title(figure)));
    head.extend(["real time", "memory"].map(str::to_owned));
    let row = |run: &Run| {
        let report = reports.get(run.line.as_str());
        let mut cells = vec![Cell::known(code(&run.line))];
        cells.extend(table.figures.iter().map(|figure| Cell::Ours(report.map(|report| figure_of(report, figure)))));
        cells.extend(taken(report));
        Row { cells, keys: 1 }
    };
    let mut rows: Vec<Row> = table.runs.iter().map(row).collect();
    if let Some(towards) = table.towards {
        let columns: Vec<&str> = table.figures.iter().map(String::as_str).chain([REAL_TIME, MEMORY]).collect();
        let measured = |size: u32| {
            let mut of_size = table.runs.iter().filter(|run| run.replicas == size);
            let report = of_size.find_map(|run| reports.get(run.line.as_str()))?;
            Some(columns.iter().map(|column| value_of(report, column)).collect())
        };
        let [few, many] = towards.from.map(measured);
        rows.extend(arithmetic::rows(towards, &columns, few.zip(many).map(|(few, many)| [few, many])));
    }
    (head, rows)
}

/// What each run took, and what it was made with.
fn section_of_runs(list: &List, reports: &Reports) -> Section {
    let head = [
        "`dayfly experiment run` …",
        "replicas",
        "virtual time",
        "real time",
        "threads",
        "memory",
        "of",
        "component",
        "trace",
    ];
    let row = |run: &Run| {
        let report = reports.get(run.line.as_str());
        let text = |of: fn(&Told) -> String| Cell::Ours(report.map(of));
        let [time, memory] = taken(report);
        let cells = vec![
            Cell::known(code(&run.line)),
            Cell::known(grouped(run.replicas.into())),
            Cell::known(Unit::Seconds.told(run.virtual_s)),
            time,
            text(|told| {
                value_of(told, "wall.threads").map_or_else(|| NOTHING.to_owned(), |threads| threads.to_string())
            }),
            memory,
            text(|told| told.note().unwrap_or(NOTHING).to_owned()),
            text(|told| told.component.chars().take(12).collect()),
            text(|told| told.trace.clone()),
        ];
        Row { cells, keys: 1 }
    };
    Section {
        name: OF_RUNS.to_owned(),
        head: head.map(str::to_owned).to_vec(),
        rows: list.runs().into_iter().map(row).collect(),
    }
}

/// Where a report tells how long it took, and how much memory the program had at most.
const REAL_TIME: &str = "wall.seconds";
const MEMORY: &str = "wall.memory_peak_bytes";

fn taken(report: Option<&Told>) -> [Cell; 2] {
    [REAL_TIME, MEMORY].map(|figure| Cell::Ours(report.map(|report| figure_of(report, figure))))
}

/// A figure's value by its name, or by a path into the report, such as `platform.killed`.
fn value_of(report: &Told, figure: &str) -> Option<f64> {
    if let Some(value) = report.figures.get(figure) {
        return Some(*value);
    }
    let mut path = figure.split('.');
    let first = report.rest.get(path.next()?)?;
    path.try_fold(first, |value, member| value.get(member))?.as_f64()
}

/// The same as it is shown.
fn figure_of(report: &Told, figure: &str) -> String {
    value_of(report, figure).map_or_else(|| NOTHING.to_owned(), |value| told(figure, value))
}

/// A value of a figure, in the figure's unit.
fn told(figure: &str, value: f64) -> String {
    let unit = if figure == REAL_TIME { Unit::Seconds } else { Unit::of(figure) };
    unit.told(value)
}

/// A figure's name as a heading. Units stand beside the values.
fn title(figure: &str) -> String {
    let words = figure.replace(['_', '.'], " ");
    words.trim_end_matches(" ms").replace(" percent", "")
}

fn code(text: &str) -> String {
    format!("`{text}`")
}

/// How many times ours theirs is.
fn ratio(theirs: Option<f64>, ours: Option<f64>) -> String {
    match theirs.zip(ours).map(|(theirs, ours)| theirs / ours) {
        Some(ratio) if ratio >= 100.0 && ratio.is_finite() => grouped(ratio.round() as u64),
        Some(ratio) if ratio >= 10.0 && ratio.is_finite() => format!("{ratio:.1}"),
        Some(ratio) if ratio.is_finite() => format!("{ratio:.2}"),
        Some(_) | None => NOTHING.to_owned(),
    }
}

#[cfg(test)]
mod tests;
