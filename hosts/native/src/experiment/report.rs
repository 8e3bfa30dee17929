//! The report of a run: JSON, with a version of its form.
//!
//! All but `wall` follows from scenario, seed and component alone: two runs of the same have the same.

use std::collections::BTreeMap;
use std::fs;

use serde::{Deserialize, Serialize};

use super::broker::{Flow, Tally};
use super::clients::number;
use super::measure::{Interval, Spread};
use super::message::Way;
use super::platform::{Census, Cost};
use super::run::Run;
use super::scenario::{Published, Scenario};
use crate::client::Failure;

/// The version of a report's form: another number, if what a figure means changes or one goes.
pub const SCHEMA: u32 = 1;

/// What stands in every report, so that nobody takes it for more than it is.
const NATURE: &str =
    "Each replica was a real instance of the component. Broker, network, platform, clients and time were models.";

/// A report.
#[derive(Serialize)]
pub struct Report<'a> {
    schema: u32,
    nature: &'static str,
    version: &'static str,
    component: &'a str,
    scenario: &'a Scenario,
    /// It was ended before its time: figures are of what there was.
    interrupted: bool,
    /// How long was counted, in virtual seconds.
    counted_s: f64,
    /// All that happened, as one number.
    trace: String,
    /// The figures that `compare` sets side by side.
    figures: Figures,
    /// By route.
    ways: BTreeMap<&'static str, Directions>,
    /// By kind of clients.
    requests: BTreeMap<&'a str, OfClients>,
    convergence: Spread,
    staleness: Spread,
    fills: Spread,
    broker: Tally,
    /// Copies of the whole run, warm-up included: whether each is accounted for, and how many wait or are not
    /// acknowledged.
    copies: Copies,
    platform: Census,
    cost: Option<Cost>,
    advertisements: Vec<Advertisement>,
    lost_reasons: &'a [String],
    series: Vec<Interval>,
    distributions: Distributions,
    published: Vec<Published>,
    wall: Wall<'a>,
}

/// Figures by name, in alphabetical order. A name ends in its unit.
pub type Figures = BTreeMap<String, f64>;

/// What went by one route.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize)]
pub struct Directions {
    /// What replicas published.
    pub published: Flow,
    /// What the broker delivered.
    pub delivered: Flow,
}

/// How times are distributed, in milliseconds: the least, and for each hundredth of them the time that it took at most.
/// Empty where there are none.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
pub struct Distributions {
    /// Until everybody had seen a write.
    pub convergence_ms: Vec<f64>,
    /// Until another replica had.
    pub staleness_ms: Vec<f64>,
    /// Until a newcomer had the whole database.
    pub fill_ms: Vec<f64>,
}

#[derive(Serialize)]
struct Copies {
    accounted: bool,
    waiting: u64,
    unacknowledged: u64,
}

#[derive(Serialize)]
struct OfClients {
    asked: u64,
    succeeded: u64,
    refused: BTreeMap<u16, u64>,
    turned_away: u64,
    lost: u64,
    times: Spread,
}

/// How often an advertisement was shown, as a complete replica knew at the end.
#[derive(Serialize)]
struct Advertisement {
    wanted: u64,
    shown: u64,
}

/// What differs from run to run.
#[derive(Serialize)]
struct Wall<'a> {
    seconds: f64,
    threads: usize,
    calls: u64,
    windows: u64,
    turns: u64,
    /// What whoever made it wrote beside it.
    note: Option<&'a str>,
    /// The most memory that this process has had, in bytes; none where the system does not tell.
    memory_peak_bytes: Option<u64>,
}

/// What of a replica's status is reported.
#[derive(Deserialize)]
struct Status {
    root: String,
    entries: u64,
    writers: u64,
    members: u64,
    store_bytes: u64,
    repair: RepairStatus,
}

#[derive(Deserialize)]
struct RepairStatus {
    asked: u64,
}

/// What the replicas are like at the end.
#[derive(Default)]
struct Looks {
    figures: Figures,
}

impl Looks {
    fn of(run: &mut Run) -> Self {
        let mut figures = Figures::new();
        let mut roots = std::collections::BTreeSet::new();
        let mut most = |name: &str, value: u64| {
            let figure = figures.entry(format!("replica_{name}_max")).or_insert(0.0);
            *figure = figure.max(value as f64);
        };
        let (mut living, mut awake, mut complete, mut memory, mut asked) = (0u64, 0u64, 0u64, 0u64, 0u64);
        for node in run.nodes.iter_mut().filter(|node| !node.is_dead()) {
            let memory_bytes = node.memory_bytes();
            let is_awake = node.is_awake();
            let is_complete = node.is_complete();
            let Some((200, body)) = node.inquire("/v1/status") else { continue };
            let Ok(status) = serde_json::from_slice::<Status>(&body) else { continue };
            living += 1;
            memory += memory_bytes;
            awake += u64::from(is_awake);
            complete += u64::from(is_complete);
            asked += status.repair.asked;
            if is_awake {
                roots.insert(status.root);
            }
            most("entries", status.entries);
            most("context_writers", status.writers);
            most("members", status.members);
            most("store_bytes", status.store_bytes);
            most("memory_bytes", memory_bytes);
        }
        let counts = [
            ("replicas_living", living),
            ("replicas_awake", awake),
            ("replicas_complete", complete),
            ("replicas_roots", roots.len() as u64),
            ("replicas_memory_bytes", memory),
            ("repair_asked", asked),
        ];
        figures.extend(counts.map(|(name, count)| (name.to_owned(), count as f64)));
        Self { figures }
    }
}

fn advertisements(run: &mut Run) -> Vec<Advertisement> {
    let Some((count, wanted)) = run.center.clients().advertised() else { return Vec::new() };
    let Some(node) = run.nodes.iter_mut().find(|node| node.is_complete()) else { return Vec::new() };
    let shown = (0..count).map(|advertisement| {
        let answer = node.inquire(&format!("/v1/data/gcounter/shown-{advertisement}"));
        Advertisement {
            wanted,
            shown: match answer {
                Some((200, body)) => number(&body),
                Some(_) | None => 0,
            },
        }
    });
    shown.collect()
}

/// The report of a run, as JSON, with a note beside how long it took.
///
/// # Errors
/// JSON that cannot be made would be a bug of ours.
pub fn report(run: &mut Run, note: Option<&str>) -> anyhow::Result<serde_json::Value> {
    let looks = Looks::of(run);
    let advertisements = advertisements(run);
    let begin_s = run.scenario.warmup_s;
    let counted_s = (run.now.as_s() - begin_s).max(0.0);
    let books = run.center.books();
    let (waiting, unacknowledged) = run.center.broker().waiting();
    let copies = Copies {
        accounted: run.center.broker().tally().accounts_for(waiting + unacknowledged),
        waiting,
        unacknowledged,
    };
    let tally = run.center.broker().tally().since(&books.before);
    let cost = run.center.platform().cost(run.now);
    let census = run.center.platform().census();
    let convergence = books.sight.convergence.spread();
    let staleness = books.sight.staleness.spread();
    let distributions = Distributions {
        convergence_ms: books.sight.convergence.percentiles_ms(),
        staleness_ms: books.sight.staleness.percentiles_ms(),
        fill_ms: books.fills.percentiles_ms(),
    };
    let ways: BTreeMap<_, _> = Way::ALL
        .into_iter()
        .map(|way| {
            let flows =
                Directions { published: tally.published[way as usize], delivered: tally.delivered[way as usize] };
            (way.name(), flows)
        })
        .collect();

    let mut figures = looks.figures;
    let mut set = |name: &str, value: f64| figures.insert(name.to_owned(), value);
    let sum = |flows: &[Flow]| flows.iter().fold(Flow::default(), |sum, flow| sum.plus(*flow));
    let others = sum(&tally.delivered).since(tally.delivered_own);
    let mut flows = vec![
        ("published", sum(&tally.published)),
        ("delivered", sum(&tally.delivered)),
        ("delivered_to_others", others),
    ];
    if run.scenario.active_overlay().is_none() {
        // In an overlay writes go to somebody by name too, and from outside cannot be told from repair.
        flows.push(("repair_delivered", sum(&tally.delivered[Way::One as usize..=Way::Anyone as usize])));
    }
    for (name, flow) in flows {
        set(&format!("{name}_messages"), flow.messages as f64);
        set(&format!("{name}_bytes"), flow.bytes as f64);
        set(&format!("{name}_elements"), flow.elements as f64);
    }
    for (name, spread) in [("convergence", convergence), ("staleness", staleness), ("fill", books.fills.spread())] {
        set(&format!("{name}_count"), spread.count as f64);
        set(&format!("{name}_p50_ms"), spread.p50_ms);
        set(&format!("{name}_p99_ms"), spread.p99_ms);
        set(&format!("{name}_max_ms"), spread.max_ms);
    }
    set("convergence_unseen_writes", books.sight.open() as f64);
    set("staleness_asleep", books.sight.gone as f64);
    set("fill_periods_max", f64::from(books.fill_periods_max));
    set("invocations", census.invocations as f64);
    if let Some(cost) = cost {
        set("cost_gb_s", cost.gb_s);
        set("cost_usd", cost.usd);
        set("cost_usd_a_month", cost.usd_a_month);
        set("cost_usd_a_month_beyond_free", cost.usd_a_month_beyond_free);
    }
    if let Some(frozen) = run.center.platform().frozen_share(run.now) {
        set("frozen_percent", frozen.percent);
        if let Some((least, most)) = frozen.of_whole_lives {
            set("frozen_percent_min", least);
            set("frozen_percent_max", most);
        }
    }
    if !advertisements.is_empty() {
        let over: u64 = advertisements.iter().map(|one| one.shown.saturating_sub(one.wanted)).sum();
        set("overcount", over as f64);
        set("shown", advertisements.iter().map(|one| one.shown).sum::<u64>() as f64);
    }

    let requests = run.scenario.clients.iter().zip(&books.requests).map(|(spec, requests)| {
        let of_clients = OfClients {
            asked: requests.asked,
            succeeded: requests.succeeded,
            refused: requests.refused.clone(),
            turned_away: requests.turned_away,
            lost: requests.lost,
            times: requests.times.spread(),
        };
        (spec.name.as_str(), of_clients)
    });
    let series = books
        .series
        .iter()
        .enumerate()
        .map(|(index, interval)| Interval { staleness: books.sight.spread_of(index as u64), ..interval.clone() });
    let report = Report {
        schema: SCHEMA,
        nature: NATURE,
        version: env!("CARGO_PKG_VERSION"),
        component: &run.component_hash,
        scenario: &run.scenario,
        interrupted: run.interrupted,
        counted_s,
        trace: run.trace().to_string(),
        figures,
        ways,
        requests: requests.collect(),
        convergence,
        staleness,
        fills: books.fills.spread(),
        broker: tally,
        copies,
        platform: census,
        cost,
        advertisements,
        lost_reasons: &books.lost_reasons,
        series: series.collect(),
        distributions,
        published: run.scenario.all_published().map_err(Failure::Usage)?,
        wall: Wall {
            seconds: (run.took.as_secs_f64() * 1_000.0).round() / 1_000.0,
            threads: run.threads,
            calls: run.nodes.iter().map(|node| node.calls()).sum(),
            windows: run.windows.0,
            turns: run.windows.1,
            note,
            memory_peak_bytes: memory_peak_bytes(),
        },
    };
    Ok(serde_json::to_value(report)?)
}

/// What Linux tells of this process's memory.
fn memory_peak_bytes() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib * 1_024)
}
