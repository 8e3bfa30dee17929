//! How much the cluster's queues hold.

/// The bounds of a cluster's queues, in bytes of bodies. All replicas of a cluster have to use the same ones: the
/// broker refuses who declares a queue with others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// How much an inbox holds; at it, the oldest is dropped, which costs a repair.
    pub inbox_bytes: u64,
    /// How much `anyone` holds; at it, publishing fails.
    pub anyone_bytes: u64,
    /// How much `combiner` holds; at it, publishing fails.
    pub combiner_bytes: u64,
    /// How much the log keeps; 0: there is none. As `config.log-bytes` of the replicas. The broker drops whole
    /// segments, of a sixteenth of it.
    pub log_bytes: u64,
}

impl Default for Bounds {
    /// The usual bounds, no log.
    fn default() -> Self {
        Self { inbox_bytes: 16 << 20, anyone_bytes: 4 << 20, combiner_bytes: 64 << 20, log_bytes: 0 }
    }
}
