//! How times are spread.

use std::time::Duration;

use serde::Serialize;

/// The middle and the end of a number of times, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Spread {
    /// How many there were.
    pub samples: usize,
    /// Half of them were at most this.
    pub p50_ms: f64,
    /// 99 in 100 were at most this.
    pub p99_ms: f64,
    /// The greatest.
    pub max_ms: f64,
}

impl Spread {
    /// None of no times.
    pub fn of(mut times: Vec<Duration>) -> Option<Self> {
        times.sort_unstable();
        let max_ms = milliseconds(*times.last()?);
        // The nearest rank: a time that was measured, and none between two.
        let at = |part: f64| milliseconds(times[(part * times.len() as f64).ceil() as usize - 1]);
        Some(Self { samples: times.len(), p50_ms: at(0.5), p99_ms: at(0.99), max_ms })
    }
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
