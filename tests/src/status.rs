//! What `/v1/status` tells, as far as a runner needs it to see whether a cluster has settled.

use serde::Deserialize;

/// A replica's status.
#[derive(Clone, Debug, Deserialize)]
pub struct Status {
    /// Its name.
    pub name: String,
    /// The digest of its state.
    pub root: String,
    /// Whether it has the whole database, as far as it can know.
    pub complete: bool,
    /// Writes that the broker has not confirmed.
    pub unsettled: u64,
    /// Its repairs.
    pub repair: Repair,
    /// How many live entries it has.
    pub entries: u64,
    /// Which of its lives.
    pub incarnation: u64,
    /// What it did as combiner.
    pub combining: Combining,
    /// What it knows of the log.
    pub log: Log,
}

/// What a replica did as combiner.
#[derive(Clone, Debug, Deserialize)]
pub struct Combining {
    /// Shares that it took in.
    pub shares: u64,
}

/// What a replica knows of the log.
#[derive(Clone, Debug, Deserialize)]
pub struct Log {
    /// Snapshots that it wrote.
    pub written: u64,
}

/// A replica's repairs.
#[derive(Clone, Debug, Deserialize)]
pub struct Repair {
    /// Under way.
    pub sessions: u64,
    /// Still to be asked for.
    pub pending_ranges: u64,
    /// Bytes that answers brought.
    pub received_bytes: u64,
    /// How many entries those have who fill it.
    pub expected_entries: u64,
}

impl Status {
    /// Whether it has nothing under way.
    pub fn is_done(&self) -> bool {
        self.complete && self.unsettled == 0 && self.repair.sessions == 0 && self.repair.pending_ranges == 0
    }
}
