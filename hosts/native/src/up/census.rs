//! What the platform counts.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use dayfly_engine::contract::{Request, Response};
use serde::Deserialize;

/// How many replicas there are and were.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Census {
    /// Awake now.
    pub awake: usize,
    /// Frozen now.
    pub dormant: usize,
    /// Being started now.
    pub starting: usize,
    /// Started in all.
    pub started: u64,
    /// Killed at random.
    pub killed: u64,
    /// Reclaimed for being idle.
    pub reclaimed: u64,
    /// Lost by a fault of their own.
    pub lost: u64,
    /// How many of the living had the whole database when they were last awake.
    pub complete: usize,
    /// How often the last of these ended: what the others had not been handed was lost, unless it was stored or logged.
    pub complete_losses: u64,
    /// How often there was no replica left at all.
    pub extinctions: u64,
}

impl Census {
    /// How many replicas live.
    pub fn alive(&self) -> usize {
        self.awake + self.dormant
    }

    /// How many have lived and do no more.
    pub fn gone(&self) -> u64 {
        self.killed + self.reclaimed + self.lost
    }
}

/// Counts what clients do. An operation is one write or read of a key; a batch counts what it holds.
#[derive(Debug, Default)]
pub struct Traffic {
    operations: AtomicU64,
    requests: AtomicU64,
}

/// The answer to a batch.
#[derive(Deserialize)]
struct Applied {
    applied: u64,
}

impl Traffic {
    /// Counts a request that was answered.
    pub fn count(&self, request: &Request, response: &Response) {
        self.requests.fetch_add(1, Ordering::Relaxed);
        if response.status >= 300 {
            return;
        }
        let operations = if request.path == "/v1/batch" {
            serde_json::from_slice::<Applied>(&response.body).map_or(0, |batch| batch.applied)
        } else {
            u64::from(request.path.starts_with("/v1/data/"))
        };
        self.operations.fetch_add(operations, Ordering::Relaxed);
    }

    /// Operations that succeeded.
    pub fn operations(&self) -> u64 {
        self.operations.load(Ordering::Relaxed)
    }

    /// Requests that were answered by a replica.
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }
}

/// A replica in the platform's roster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name.
    pub name: String,
    /// Its region's place in the list of regions.
    pub region: usize,
    /// How long it has lived.
    pub age: Duration,
    /// How long it has been frozen; none: it is awake.
    pub frozen_for: Option<Duration>,
}

/// What is read of `/v1/status`, as any client may.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Status {
    /// The digest of its state: equal roots mean equal states.
    pub root: String,
    /// How many live entries it holds.
    pub entries: u64,
    /// Whether it has been handed the whole database.
    pub complete: bool,
}
