//! What is known of a replica, and the families that tell it.

use std::collections::BTreeMap;

use dayfly_engine::{Latency, Report, Traffic, Volume};
use serde::Deserialize;

use super::exposition::{Exposition, Label, Type};

/// With more replicas than this in a process they are told together, so that the number of series stays bounded.
pub const SERIES_REPLICAS_MAX: usize = 64;

/// What is read of `GET /v1/status`. A replica that is frozen is not asked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Status {
    entries: u64,
    keys: u64,
    writers: u64,
    store_bytes: u64,
    unsettled: u64,
    repair: Repair,
    dropped: BTreeMap<String, u64>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
struct Repair {
    sessions: u64,
    pending_ranges: u64,
    received_bytes: u64,
    asked: u64,
    answered: u64,
}

/// What is known of a replica.
#[derive(Clone, Debug)]
pub struct Observed {
    /// Its name.
    pub name: String,
    /// What its host tells of it.
    pub report: Report,
    /// What it sent and received.
    pub traffic: Traffic,
    /// What it tells of itself; none while it is frozen, or if it did not answer in time.
    pub status: Option<Status>,
}

/// What becomes of a family's values when replicas are told together.
#[derive(Clone, Copy)]
enum Together {
    Sum,
    Greatest,
}

/// A family with one value a replica; none: unknown now.
type Family = (&'static str, Type, Together, &'static str, fn(&Observed) -> Option<f64>);

/// A reading of the status.
macro_rules! of_status {
    ($($field:ident).+) => {
        |seen| seen.status.as_ref().map(|status| status.$($field).+ as f64)
    };
}

/// The families with one value a replica.
const FAMILIES: &[Family] = &[
    (
        "dayfly_complete",
        Type::Gauge,
        Together::Sum,
        "Whether the replica holds the whole database (1) or is still being filled (0).",
        |seen| Some(f64::from(u8::from(seen.report.complete))),
    ),
    (
        "dayfly_connected",
        Type::Gauge,
        Together::Sum,
        "Whether the replica is linked to its broker (1) or not (0); one that is frozen is not.",
        |seen| Some(f64::from(u8::from(seen.report.connected))),
    ),
    ("dayfly_entries", Type::Gauge, Together::Greatest, "Live entries in the store.", of_status!(entries)),
    ("dayfly_keys", Type::Gauge, Together::Greatest, "Keys in the store.", of_status!(keys)),
    ("dayfly_writers", Type::Gauge, Together::Greatest, "Writers that the context names.", of_status!(writers)),
    (
        "dayfly_store_bytes",
        Type::Gauge,
        Together::Sum,
        "Memory that the state takes, estimated from counts.",
        of_status!(store_bytes),
    ),
    (
        "dayfly_unsettled_frames",
        Type::Gauge,
        Together::Sum,
        "Frames that the broker has neither confirmed nor refused yet.",
        |seen| Some(seen.report.unsettled as f64),
    ),
    (
        "dayfly_unsettled_writes",
        Type::Gauge,
        Together::Sum,
        "Writes that the broker has not confirmed yet.",
        of_status!(unsettled),
    ),
    (
        "dayfly_inbox_backlog",
        Type::Gauge,
        Together::Sum,
        "Messages that waited in the inbox when the replica was last linked to it.",
        |seen| Some(seen.traffic.backlog as f64),
    ),
    (
        "dayfly_repair_sessions",
        Type::Gauge,
        Together::Sum,
        "Repairs under way, asked for by the replica.",
        of_status!(repair.sessions),
    ),
    (
        "dayfly_repair_pending_ranges",
        Type::Gauge,
        Together::Sum,
        "Ranges of the state that the replica is still to ask for.",
        of_status!(repair.pending_ranges),
    ),
    (
        "dayfly_repair_received_bytes_total",
        Type::Counter,
        Together::Sum,
        "Bytes that answers to repair requests brought in this incarnation.",
        of_status!(repair.received_bytes),
    ),
    (
        "dayfly_repair_requests_asked_total",
        Type::Counter,
        Together::Sum,
        "Repair requests that the replica has sent in this incarnation.",
        of_status!(repair.asked),
    ),
    (
        "dayfly_repair_requests_answered_total",
        Type::Counter,
        Together::Sum,
        "Repair requests that the replica has answered in this incarnation.",
        of_status!(repair.answered),
    ),
    (
        "dayfly_returned_publishes_total",
        Type::Counter,
        Together::Sum,
        "Frames that the broker returned because nobody would get them.",
        |seen| Some(seen.traffic.unroutable as f64),
    ),
    (
        "dayfly_failed_publishes_total",
        Type::Counter,
        Together::Sum,
        "Frames that the broker refused, or of which a broken link leaves it open whether they arrived.",
        |seen| Some(seen.traffic.failed as f64),
    ),
    (
        "dayfly_redelivered_total",
        Type::Counter,
        Together::Sum,
        "Messages that may have been delivered before.",
        |seen| Some(seen.traffic.received.redelivered as f64),
    ),
    (
        "dayfly_reconnections_total",
        Type::Counter,
        Together::Sum,
        "How often a link to the broker that broke was replaced.",
        |seen| Some(seen.traffic.reconnections as f64),
    ),
    (
        "dayfly_freeze_gaps_total",
        Type::Counter,
        Together::Sum,
        "How often the process was found to have stood still while the replica was awake.",
        |seen| Some(seen.report.freeze_gaps as f64),
    ),
    (
        "dayfly_freeze_gap_longest_seconds",
        Type::Gauge,
        Together::Greatest,
        "For how long at most it stood still.",
        |seen| Some(seen.report.freeze_gap_ms_max as f64 / 1_000.0),
    ),
    (
        "dayfly_vault_errors_total",
        Type::Counter,
        Together::Sum,
        "How often stored state could not be read or written, or gave a part that is broken.",
        |seen| Some(seen.report.vault_errors as f64),
    ),
    ("dayfly_wakes_total", Type::Counter, Together::Sum, "Awake periods that the replica has begun.", |seen| {
        Some(seen.report.wakes as f64)
    }),
];

/// Volumes of a replica's frames: direction, route, and how many.
fn volumes(traffic: &Traffic) -> [(&'static str, &'static str, Volume); 9] {
    let Traffic { sent, received, replayed, .. } = traffic;
    [
        ("sent", "everyone", sent.everyone),
        ("sent", "one", sent.one),
        ("sent", "anyone", sent.anyone),
        ("sent", "combiner", sent.combiner),
        ("sent", "log", sent.log),
        // What came from the fan-out and what was for this one alone lie in one queue, and the host looks into neither.
        ("received", "inbox", received.inbox),
        ("received", "anyone", received.anyone),
        ("received", "combiner", received.combiner),
        ("received", "log", *replayed),
    ]
}

/// Writes the families of these replicas.
pub fn write(page: &mut Exposition, replicas: &[Observed]) {
    // Each group has one series: a replica, or all of them.
    let groups: Vec<(Vec<Label<'_>>, &[Observed])> = if replicas.len() <= SERIES_REPLICAS_MAX {
        replicas.iter().map(|seen| (vec![("replica", seen.name.as_str())], std::slice::from_ref(seen))).collect()
    } else {
        vec![(Vec::new(), replicas)]
    };
    for (name, kind, together, help, value) in FAMILIES {
        page.family(name, *kind, help);
        for (labels, group) in &groups {
            let values = group.iter().filter_map(value);
            let value = match together {
                Together::Sum => values.reduce(|sum, value| sum + value),
                Together::Greatest => values.reduce(f64::max),
            };
            if let Some(value) = value {
                page.sample(name, labels, value);
            }
        }
    }
    type Amount = fn(&Volume) -> u64;
    let amounts: [(&str, &str, Amount); 2] = [
        ("dayfly_frames_total", "Frames handed to the broker and delivered by it.", |volume| volume.frames),
        ("dayfly_frame_bytes_total", "Bytes of their bodies.", |volume| volume.bytes),
    ];
    for (name, help, amount) in amounts {
        page.family(name, Type::Counter, help);
        for (labels, group) in &groups {
            let mut sums: BTreeMap<(&str, &str), u64> = BTreeMap::new();
            for (direction, route, volume) in group.iter().flat_map(|seen| volumes(&seen.traffic)) {
                *sums.entry((direction, route)).or_default() += amount(&volume);
            }
            for ((direction, route), sum) in sums {
                let labels = [&labels[..], &[("direction", direction), ("route", route)]].concat();
                page.sample(name, &labels, sum as f64);
            }
        }
    }
    page.family("dayfly_dropped_frames_total", Type::Counter, "Frames that were dropped on receipt, by the reason.");
    for (labels, group) in &groups {
        let mut sums: BTreeMap<&str, u64> = BTreeMap::new();
        for (reason, number) in group.iter().filter_map(|seen| seen.status.as_ref()).flat_map(|seen| &seen.dropped) {
            *sums.entry(reason).or_default() += number;
        }
        for (reason, sum) in sums {
            page.sample("dayfly_dropped_frames_total", &[&labels[..], &[("reason", reason)]].concat(), sum as f64);
        }
    }
    let name = "dayfly_confirm_seconds";
    page.family(name, Type::Histogram, "Time from handing a frame to the broker to its confirmation.");
    for (labels, group) in &groups {
        let mut counts = [0; Latency::BOUNDS_MS.len() + 1];
        for seen in *group {
            counts.iter_mut().zip(seen.traffic.confirmed.counts).for_each(|(sum, count)| *sum += count);
        }
        let bounds = Latency::BOUNDS_MS.map(|bound_ms| bound_ms as f64 / 1_000.0);
        let buckets: Vec<(f64, u64)> = bounds.into_iter().zip(counts).collect();
        let sum_us: u64 = group.iter().map(|seen| seen.traffic.confirmed.sum_us).sum();
        page.histogram(name, labels, &buckets, counts[Latency::BOUNDS_MS.len()], sum_us as f64 / 1e6);
    }
}
