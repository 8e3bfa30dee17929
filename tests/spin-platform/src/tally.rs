//! What has been counted since the platform started.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;

/// Counters that all instances share.
#[derive(Debug, Default)]
pub struct Tally {
    /// Instances that were made.
    pub started: AtomicU64,
    /// Instances that are no more, for whatever reason.
    pub ended: AtomicU64,
    /// Requests that were given to an instance.
    pub requests: AtomicU64,
    /// TCP connections that were allowed and tried.
    pub connections: AtomicU64,
    /// What was done to the key-value store.
    pub kv: Mutex<KeyValueTally>,
}

/// What was done to the key-value store; bytes are those of values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct KeyValueTally {
    /// Values stored.
    pub sets: u64,
    /// Their bytes.
    pub set_bytes: u64,
    /// Values asked for, those that were not there included.
    pub gets: u64,
    /// Bytes of those that were.
    pub get_bytes: u64,
    /// Keys removed, those that were not there included.
    pub deletes: u64,
}

/// Adds one.
pub fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
