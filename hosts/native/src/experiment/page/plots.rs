//! Which plots a page has: of one report what is in it, of several how they compare.

use std::collections::{BTreeMap, BTreeSet};

use super::Sheet;
use super::plot::{Bar, Bars, Curves, Mark, Series};
use super::unit::Unit;
use crate::experiment::broker::Flow;
use crate::experiment::measure::{Interval, Spread};
use crate::experiment::message::Way;
use crate::experiment::published::order;
use crate::experiment::scenario::Published;

/// The most points of a curve over time: further intervals are joined.
const POINTS_MAX: usize = 300;

/// Figures that are plotted together: title and names.
type Group = (&'static str, &'static [&'static str]);

/// What was told, and how long that took; of one report there are closer plots of it.
const TOLD: &[Group] = &[
    ("Bytes", &["delivered_bytes", "delivered_to_others_bytes", "published_bytes", "repair_delivered_bytes"]),
    ("Messages", &["delivered_messages", "published_messages", "repair_delivered_messages"]),
    ("Convergence of a write", &["convergence_p50_ms", "convergence_p99_ms", "convergence_max_ms"]),
    ("Staleness elsewhere", &["staleness_p50_ms", "staleness_p99_ms", "staleness_max_ms"]),
];
/// What else there is.
const ELSE: &[Group] = &[
    ("Elements", &["delivered_elements", "delivered_to_others_elements", "published_elements"]),
    ("Memory, at most of any replica at the end", &["replica_memory_bytes_max", "replica_store_bytes_max"]),
    (
        "Entries, writers in the context and members, at most of any replica at the end",
        &["replica_entries_max", "replica_context_writers_max", "replica_members_max"],
    ),
    ("Cost of a month", &["cost_usd_a_month", "cost_usd_a_month_beyond_free"]),
    ("Overcount", &["overcount"]),
];

/// A figure's name, to be read.
fn spoken(figure: &str) -> String {
    figure.replace('_', " ")
}

/// Plots of one report.
///
/// # Errors
/// What cannot be drawn would be a bug of ours.
pub fn of_one(sheet: &Sheet) -> anyhow::Result<String> {
    let bytes = routes(sheet, "Bytes by route", Unit::Bytes, |flow| flow.bytes);
    let messages = routes(sheet, "Messages by route", Unit::Count, |flow| flow.messages);
    let mut plots = vec![bytes.html()?, messages.html()?, spreads(sheet).html()?];
    for curves in [distribution(sheet), staleness(sheet), traffic(sheet), replicas(sheet)] {
        plots.push(curves.html()?);
    }
    for (title, figures) in ELSE {
        plots.push(bars(sheet, title, figures).html()?);
    }
    Ok(plots.into_iter().flatten().collect())
}

/// Plots of several reports, beside each other.
///
/// # Errors
/// As of [`of_one`].
pub fn of_many(sheets: &[Sheet]) -> anyhow::Result<String> {
    let mut plots = Vec::new();
    for (title, figures) in TOLD.iter().chain(ELSE) {
        if let Some(series) = by_replicas(sheets, figures) {
            let title = format!("{title}, by the number of replicas");
            let unit = Unit::of(figures[0]);
            let curves = Curves { title, x: ("replicas", Unit::Count), y: unit, series, note: String::new() };
            plots.push(curves.html()?);
            continue;
        }
        for (kind, figure) in figures.iter().enumerate() {
            let rows = sheets.iter().filter_map(|sheet| {
                let value = *sheet.told.figures.get(*figure)?;
                Some(Bar { name: sheet.name.clone(), value, kind, is_reference: false })
            });
            let rows: Vec<Bar> = rows.filter(|row| row.value > 0.0).collect();
            let title = format!("{title}: {}", spoken(figure));
            plots.push(Bars { title, unit: Unit::of(figure), rows, note: String::new() }.html()?);
        }
    }
    Ok(plots.into_iter().flatten().collect())
}

/// The figures over the number of replicas, if the reports are of one experiment at several sizes.
fn by_replicas(sheets: &[Sheet], figures: &[&str]) -> Option<Vec<Series>> {
    let first = sheets.first()?;
    let is_one = sheets.iter().all(|sheet| sheet.scenario.title == first.scenario.title);
    let sizes: BTreeMap<u32, &Sheet> = sheets.iter().map(|sheet| (sheet.scenario.replicas(), sheet)).collect();
    if !is_one || sizes.len() < 2 || sizes.len() != sheets.len() {
        return None;
    }
    let series = figures.iter().map(|figure| {
        let point =
            |(replicas, sheet): (&u32, &&Sheet)| Some((f64::from(*replicas), *sheet.told.figures.get(*figure)?));
        Series { name: spoken(figure), points: sizes.iter().filter_map(point).collect(), mark: Mark::Dotted }
    });
    Some(series.filter(|series| series.points.iter().any(|point| point.1 > 0.0)).collect())
}

/// Plots of ours beside what others published.
///
/// # Errors
/// As of [`of_one`].
pub fn published(sheets: &[Sheet]) -> anyhow::Result<String> {
    let mut all: Vec<&Published> = Vec::new();
    for figure in sheets.iter().flat_map(|sheet| &sheet.told.published) {
        if !all.contains(&figure) {
            all.push(figure);
        }
    }
    let mut names: Vec<&str> = all.iter().map(|published| published.figure.as_str()).collect();
    names.sort_unstable_by_key(|figure| order(figure));
    names.dedup();
    let mut plots = Vec::new();
    for name in names {
        let theirs: Vec<&Published> = all.iter().filter(|published| published.figure == name).copied().collect();
        let curves = published_curves(sheets, name, &theirs);
        // A row a report and a reference would say once more what curves over many sizes say.
        let sizes: BTreeSet<u32> = sheets.iter().map(|sheet| sheet.scenario.replicas()).collect();
        if curves.is_none() || sizes.len() == 1 {
            plots.push(published_rows(sheets, name, &theirs).html()?);
        }
        if let Some(curves) = curves {
            plots.push(curves.html()?);
        }
    }
    Ok(plots.into_iter().flatten().collect())
}

/// Whose the references are, and how long ours were: a run made shorter is no equal of what was published.
fn sources(sheets: &[Sheet], theirs: &[&Published]) -> String {
    let mut sources: Vec<&str> = theirs.iter().map(|published| published.source.as_str()).collect();
    sources.sort_unstable();
    sources.dedup();
    let mut counted: Vec<f64> = sheets.iter().map(|sheet| sheet.told.counted_s).collect();
    counted.sort_by(f64::total_cmp);
    counted.dedup();
    let counted: Vec<String> = counted.iter().map(f64::to_string).collect();
    let sources = sources.join("; ");
    format!("Dashed: published by {sources}. Ours: counted over {} s of virtual time.", counted.join(", "))
}

/// The experiments with their sizes and values of a figure, by title.
fn ours(sheets: &[Sheet], name: &str) -> BTreeMap<String, Vec<(f64, f64)>> {
    let mut ours: BTreeMap<String, Vec<(f64, f64)>> = BTreeMap::new();
    for sheet in sheets {
        if let Some(value) = sheet.told.figures.get(name) {
            let points = ours.entry(sheet.scenario.title.clone()).or_default();
            points.push((f64::from(sheet.scenario.replicas()), *value));
        }
    }
    ours.values_mut().for_each(|points| points.sort_by(|one, other| one.0.total_cmp(&other.0)));
    ours
}

/// What was published of several sizes, as curves over these, and ours among them; none, if nothing was.
fn published_curves(sheets: &[Sheet], name: &str, theirs: &[&Published]) -> Option<Curves> {
    let mut by_name: BTreeMap<&str, Vec<(f64, f64)>> = BTreeMap::new();
    for figure in theirs {
        if let Some(replicas) = figure.replicas {
            by_name.entry(&figure.of).or_default().push((f64::from(replicas), figure.value));
        }
    }
    by_name.retain(|_, points| points.len() > 1);
    if by_name.is_empty() {
        return None;
    }
    let ours = ours(sheets, name).into_iter().map(|(name, points)| Series { name, points, mark: Mark::Dotted });
    let theirs_drawn = by_name.into_iter().map(|(of, points)| Series {
        name: format!("published: {of}"),
        points,
        mark: Mark::Reference,
    });
    Some(Curves {
        title: format!("{}, by the number of replicas, beside what was published", spoken(name)),
        x: ("replicas", Unit::Count),
        y: Unit::of(name),
        series: ours.chain(theirs_drawn).collect(),
        note: sources(sheets, theirs),
    })
}

/// Ours, and what was published of as many replicas, in the order of values.
fn published_rows(sheets: &[Sheet], name: &str, theirs: &[&Published]) -> Bars {
    let ours = sheets.iter().filter_map(|sheet| {
        let value = *sheet.told.figures.get(name)?;
        Some(Bar {
            name: if sheets.len() == 1 { "this run".to_owned() } else { sheet.name.clone() },
            value,
            kind: 0,
            is_reference: false,
        })
    });
    let mut rows: Vec<Bar> = ours.filter(|row| row.value > 0.0).collect();
    let is_of_size = |published: &&&Published| {
        let of = |replicas| sheets.iter().any(|sheet| sheet.scenario.replicas() == replicas);
        published.replicas.is_none_or(of)
    };
    let mut references: Vec<Bar> = theirs
        .iter()
        .filter(is_of_size)
        .map(|published| Bar { name: published.of.clone(), value: published.value, kind: 1, is_reference: true })
        .collect();
    references.sort_by(|one, other| one.value.total_cmp(&other.value).then_with(|| one.name.cmp(&other.name)));
    if references.is_empty() {
        rows.clear();
    }
    rows.append(&mut references);
    let title = format!("{} beside what was published of as many replicas", spoken(name));
    Bars { title, unit: Unit::of(name), rows, note: sources(sheets, theirs) }
}

/// What went by each route.
fn routes(sheet: &Sheet, title: &str, unit: Unit, of: fn(&Flow) -> u64) -> Bars {
    let rows =
        Way::ALL.into_iter().filter_map(|way| sheet.told.ways.get_key_value(way.name())).flat_map(|(way, flows)| {
            [("published", 0, &flows.published), ("delivered", 1, &flows.delivered)].map(|(direction, kind, flow)| {
                Bar { name: format!("{direction}, {}", to(way)), value: of(flow) as f64, kind, is_reference: false }
            })
        });
    Bars { title: title.to_owned(), unit, rows: rows.filter(|row| row.value > 0.0).collect(), note: String::new() }
}

/// A route, to be read.
fn to(way: &str) -> String {
    format!("to {}", if matches!(way, "combiner" | "log") { format!("the {way}") } else { way.to_owned() })
}

/// None where all are 0.
fn bars(sheet: &Sheet, title: &str, figures: &[&str]) -> Bars {
    let rows = figures.iter().filter_map(|figure| {
        let value = *sheet.told.figures.get(*figure)?;
        Some(Bar { name: spoken(figure), value, kind: 0, is_reference: false })
    });
    let mut rows: Vec<Bar> = rows.collect();
    if rows.iter().all(|row| row.value == 0.0) {
        rows.clear();
    }
    Bars { title: title.to_owned(), unit: Unit::of(figures[0]), rows, note: String::new() }
}

/// Half, 99 of a hundred, and all of the writes.
fn spreads(sheet: &Sheet) -> Bars {
    let spreads =
        [("convergence", sheet.told.convergence), ("staleness", sheet.told.staleness), ("fill", sheet.told.fills)];
    let rows = spreads.into_iter().enumerate().filter(|(_, (_, spread))| spread.count > 0).flat_map(
        |(kind, (name, spread))| {
            [("half", spread.p50_ms), ("99 %", spread.p99_ms), ("all", spread.max_ms)].map(|(share, value)| Bar {
                name: format!("{name}, {share} within"),
                value,
                kind,
                is_reference: false,
            })
        },
    );
    Bars {
        title: "Convergence, staleness and fills".to_owned(),
        unit: Unit::Milliseconds,
        rows: rows.collect(),
        note: String::new(),
    }
}

/// The share of writes that were everywhere, or elsewhere, within a time.
fn distribution(sheet: &Sheet) -> Curves {
    let of = &sheet.told.distributions;
    let series = [("convergence", &of.convergence_ms), ("staleness", &of.staleness_ms), ("fill", &of.fill_ms)];
    let series = series.into_iter().filter(|(_, times)| !times.is_empty()).map(|(name, times)| Series {
        name: name.to_owned(),
        points: times.iter().enumerate().map(|(hundredth, ms)| (*ms, hundredth as f64)).collect(),
        mark: Mark::Line,
    });
    Curves {
        title: "Share of writes (or newcomers) that needed no longer".to_owned(),
        x: ("time", Unit::Milliseconds),
        y: Unit::Percent,
        series: series.collect(),
        note: String::new(),
    }
}

/// The intervals, joined to some hundreds at most: with the length of each in seconds.
fn intervals(sheet: &Sheet) -> Vec<(f64, &[Interval])> {
    let series = &sheet.told.series;
    let together = series.len().div_ceil(POINTS_MAX).max(1);
    let mut from = 0.0;
    let lengths = series.chunks(together).map(|chunk| {
        let to = chunk.last().map_or(from, |interval| interval.to_s);
        let length = to - std::mem::replace(&mut from, to);
        (length, chunk)
    });
    lengths.filter(|(length, _)| *length > 0.0).collect()
}

fn over_time(sheet: &Sheet, of: impl Fn(f64, &[Interval]) -> Option<f64>) -> Vec<(f64, f64)> {
    let points =
        intervals(sheet).into_iter().filter_map(|(length, chunk)| Some((chunk.last()?.to_s, of(length, chunk)?)));
    points.collect()
}

fn of_time(title: &str, y: Unit, series: Vec<Series>) -> Curves {
    let x = ("seconds since counting began", Unit::Seconds);
    Curves { title: title.to_owned(), x, y, series, note: String::new() }
}

fn line(name: impl Into<String>, points: Vec<(f64, f64)>) -> Series {
    Series { name: name.into(), points, mark: Mark::Line }
}

/// How stale what was written in an interval was elsewhere; of joined ones the worst.
fn staleness(sheet: &Sheet) -> Curves {
    let worst = |of: fn(&Spread) -> f64| {
        over_time(sheet, |_, chunk| {
            let spreads = chunk.iter().filter_map(|interval| interval.staleness.as_ref());
            spreads.map(of).reduce(f64::max)
        })
    };
    let series = vec![
        line("half of the writes and replicas within", worst(|spread| spread.p50_ms)),
        line("99 % within", worst(|spread| spread.p99_ms)),
        line("all within", worst(|spread| spread.max_ms)),
    ];
    of_time("Staleness elsewhere, by when it was written", Unit::Milliseconds, series)
}

/// Bytes in a second, by route.
fn traffic(sheet: &Sheet) -> Curves {
    let rate = |of: &dyn Fn(&Interval) -> u64| {
        over_time(sheet, |length, chunk| Some(chunk.iter().map(of).sum::<u64>() as f64 / length))
    };
    let mut series = vec![line("published, in all", rate(&|interval| interval.published.bytes))];
    for way in Way::ALL {
        let of = |interval: &Interval| interval.delivered_bytes.get(way.name()).copied().unwrap_or(0);
        if sheet.told.series.iter().any(|interval| of(interval) > 0) {
            series.push(line(format!("delivered, {}", to(way.name())), rate(&of)));
        }
    }
    of_time("Bytes in a second", Unit::BytesPerSecond, series)
}

/// How many replicas lived and were awake.
fn replicas(sheet: &Sheet) -> Curves {
    let last = |of: fn(&Interval) -> u64| over_time(sheet, |_, chunk| Some(of(chunk.last()?) as f64));
    let series =
        vec![line("alive", last(|interval| interval.replicas)), line("awake", last(|interval| interval.awake))];
    of_time("Replicas", Unit::Count, series)
}
