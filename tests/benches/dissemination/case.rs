//! What is compared: sizes of a cluster, and ways to everyone.

use std::time::Duration;

/// How what is for everyone gets there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Each replica publishes its own frames to everyone.
    Direct,
    /// Everything goes to the combiner, which gathers for so many milliseconds.
    Combined {
        /// `config.combine-ms`.
        gather_ms: u32,
    },
}

/// Those that stand side by side in the table: the usual time to gather, and a short one.
pub const WAYS: [Way; 3] = [Way::Direct, Way::Combined { gather_ms: 100 }, Way::Combined { gather_ms: 20 }];

impl Way {
    /// `config.combine-above` and `config.combine-ms`.
    pub fn settings(self) -> (u32, u32) {
        match self {
            Self::Direct => (u32::MAX, 100),
            Self::Combined { gather_ms } => (0, gather_ms),
        }
    }

    /// For people.
    pub fn shown(self) -> String {
        match self {
            Self::Direct => "direct".to_owned(),
            Self::Combined { gather_ms } => format!("comb {gather_ms}"),
        }
    }
}

/// A cluster to measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Case {
    /// How many replicas.
    pub replicas: usize,
    /// How their frames get to everyone.
    pub way: Way,
}

impl Case {
    /// As a filter names it.
    pub fn name(self) -> String {
        match self.way {
            Way::Direct => format!("dissemination/direct/{}", self.replicas),
            Way::Combined { gather_ms } => format!("dissemination/combined-{gather_ms}-ms/{}", self.replicas),
        }
    }
}

/// How much is measured of each case.
#[derive(Clone, Copy, Debug)]
pub struct Extent {
    /// Writes whose way to everyone is timed, at most.
    pub writes_max: usize,
    /// The time after which no further one is begun.
    pub latency: Duration,
    /// Writes that are counted one by one, with all that follows from each.
    pub spaced: usize,
    /// How long the load is measured, after its warm-up.
    pub load: Duration,
    /// How long one waits, after the load, for a cluster that has nothing left to do.
    pub rest_max: Duration,
}

impl Extent {
    /// Nine cases in less than six minutes.
    pub const FULL: Self = Self {
        writes_max: 200,
        latency: Duration::from_secs(10),
        spaced: 4,
        load: Duration::from_secs(5),
        rest_max: Duration::from_secs(8),
    };
    /// Six cases in less than one minute, to see whether all works.
    pub const QUICK: Self = Self {
        writes_max: 30,
        latency: Duration::from_millis(1_500),
        spaced: 1,
        load: Duration::from_millis(1_500),
        rest_max: Duration::from_secs(2),
    };
}
