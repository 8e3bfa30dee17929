//! How large a cluster is, and how long it is troubled.

use std::time::Duration;

use super::faults::DECK;

/// What a run goes by.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Decides all that is drawn.
    pub seed: u64,
    /// How long there is load.
    pub lasts: Duration,
    /// How long there is load between two checkpoints.
    pub checkpoint_every: Duration,
    /// The time from one sample of memory and queues to the next.
    pub sample_every: Duration,
    /// How many native replicas there are, at least 2: the first is never killed.
    pub natives: usize,
    /// How many functions there are at a time.
    pub functions: usize,
    /// How many applications there are, each with instances of its own.
    pub applications: usize,
    /// How many clients write.
    pub clients: usize,
    /// How long a client waits between two requests, on average.
    pub pause: Duration,
    /// The time between two faults, on average.
    pub fault_every: Duration,
    /// How many faults there are to be at least: on a busy machine the load lasts longer, until there were.
    pub faults_min: u64,
    /// The time between two restarts of the broker.
    pub broker_every: Duration,
    /// Whether replicas are now and then frozen for longer than the retention.
    pub oversleeps: bool,
}

impl Settings {
    /// How long the absent are remembered: short, so that a run sees the queues of the dead go.
    pub const RETENTION_S: u64 = 60;

    /// Those of a soak.
    pub fn soak(seed: u64, lasts: Duration) -> Self {
        Self {
            seed,
            lasts,
            checkpoint_every: Duration::from_secs(180).min(lasts),
            sample_every: Duration::from_secs(60),
            natives: 4,
            functions: 4,
            applications: 4,
            clients: 8,
            pause: Duration::from_millis(60),
            fault_every: Duration::from_secs(4),
            faults_min: 0,
            broker_every: Duration::from_secs(420),
            oversleeps: true,
        }
    }

    /// Those of a test: half a minute of load with many faults and one restart of the broker.
    pub fn short(seed: u64) -> Self {
        let lasts = Duration::from_secs(26);
        Self {
            checkpoint_every: lasts,
            clients: 6,
            pause: Duration::from_millis(50),
            fault_every: Duration::from_millis(600),
            faults_min: DECK,
            broker_every: Duration::from_secs(12),
            oversleeps: false,
            ..Self::soak(seed, lasts)
        }
    }
}
