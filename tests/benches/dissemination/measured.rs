//! What was measured of a case.

use std::time::Duration;

use serde::Serialize;

use crate::cluster::Totals;
use crate::spread::Spread;

/// Times of writes that were made one at a time.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Latency {
    /// From the request to its answer, which the broker's confirmation permits.
    pub to_confirmed: Option<Spread>,
    /// From the answer to the presence on all replicas; zero where that came first.
    pub confirmed_to_all: Option<Spread>,
    /// From the request to both.
    pub to_all: Option<Spread>,
}

/// What the broker carried, all told, for each of a number of writes.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Cost {
    /// Messages that replicas published.
    pub published: f64,
    /// Messages that it delivered.
    pub delivered: f64,
    /// Bytes of the bodies of those published.
    pub published_bytes: f64,
    /// Bytes of the bodies of those delivered.
    pub delivered_bytes: f64,
    /// Bytes that repair brought; they are among those delivered.
    pub repair_bytes: f64,
}

impl Cost {
    /// For each of so many writes.
    pub fn of(totals: Totals, writes: u64) -> Self {
        let each = |total: u64| total as f64 / writes.max(1) as f64;
        Self {
            published: each(totals.published),
            delivered: each(totals.delivered),
            published_bytes: each(totals.published_bytes),
            delivered_bytes: each(totals.delivered_bytes),
            repair_bytes: each(totals.repair_bytes),
        }
    }
}

/// What came of writes made as fast as they were confirmed.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Load {
    /// How many clients wrote, each one write at a time.
    pub clients: usize,
    /// Confirmed writes a second, after the warm-up and before the end.
    pub confirmed_a_second: f64,
    /// From the request to its answer, after the warm-up.
    pub to_confirmed: Option<Spread>,
    /// From the last answer to equal states everywhere, in seconds; none: it took longer than is waited.
    pub catch_up_s: Option<f64>,
    /// From then until no replica has anything left to do, in seconds; none: it took longer than is waited.
    pub rest_s: Option<f64>,
    /// Confirmed writes, warm-up included, by the time from the first request to equal states everywhere.
    pub everywhere_a_second: Option<f64>,
    /// What the broker carried for each confirmed write, until all was at rest or that was not waited for longer.
    pub cost: Cost,
    /// Writes that were answered with anything but 200.
    pub refused: u64,
    /// Messages that the broker had not delivered when the last write was answered.
    pub waiting: u64,
    /// The longest time without a frame to everyone, in milliseconds: of a combiner, how long it stood still.
    pub longest_pause_ms: f64,
    /// Requests for repair.
    pub repairs_asked: u64,
}

/// What should be zero, over all of a case.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Trouble {
    /// Frames that the broker refused, returned, or left open.
    pub unsent: u64,
    /// Messages that may have been delivered twice.
    pub redelivered: u64,
    /// Messages that were to be delivered and were not, at the end: an inbox was full, or they came too late to be
    /// worth anything, or the cluster was not at rest.
    pub undelivered: u64,
    /// Links that broke.
    pub reconnections: u64,
    /// Times that a replica found its process stopped for more than 2 s.
    pub freeze_gaps: u64,
    /// Requests for repair while there was one write at a time.
    pub repairs_at_leisure: u64,
}

/// A case's row.
#[derive(Clone, Debug, Serialize)]
pub struct Measured {
    /// Its name.
    pub name: String,
    /// How many replicas.
    pub replicas: usize,
    /// How their frames got to everyone.
    pub way: String,
    /// How long the cluster took from nothing to all being ready, in seconds.
    pub start_s: f64,
    /// One write at a time.
    pub latency: Latency,
    /// What one write costs that comes alone, with the announcements that follow it; none if the cluster did not come
    /// to rest.
    pub spaced: Option<Cost>,
    /// As many as go.
    pub load: Load,
    /// What should be zero.
    pub trouble: Trouble,
    /// How long all that took, in seconds.
    pub took_s: f64,
}

/// For numbers a second.
pub fn a_second(count: u64, time: Duration) -> f64 {
    count as f64 / time.as_secs_f64()
}
