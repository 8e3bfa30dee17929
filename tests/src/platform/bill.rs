//! What invocations cost.

use std::time::Duration;

use serde::Serialize;

/// What has been counted since the platform began.
///
/// AWS bills each invocation from the event until runtime and extensions have nothing left to do (they ask for the next
/// event, and the environment is frozen), rounded up to a millisecond; to the first one of an environment it adds the
/// initialisation (since August 2025 for every kind of function). Requests that are throttled cost nothing. The time is
/// multiplied by the memory that the function was given, used or not.
///
/// An invocation is counted once it is over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Bill {
    /// Invocations.
    pub requests: u64,
    /// Refused, as there were too many at a time.
    pub throttled: u64,
    /// Invocations that ended with an error, or without an answer.
    pub errors: u64,
    /// Environments that were started.
    pub cold_starts: u64,
    /// Environments that the platform killed when they were old.
    pub reclaimed: u64,
    /// Environments that ended by themselves, or were never frozen.
    pub died: u64,
    /// The time that initialisations took, in milliseconds, each rounded up; contained in `billed_ms`.
    pub init_ms: u64,
    /// What is billed, in milliseconds.
    pub billed_ms: u64,
}

impl Bill {
    /// Adds an invocation that took so long, its initialisation (perhaps zero) included.
    pub(super) fn add(&mut self, init: Duration, billed: Duration) {
        self.requests += 1;
        self.init_ms += rounded_up_ms(init);
        self.billed_ms += rounded_up_ms(billed);
    }

    /// GiB times seconds, for a function of this memory.
    pub fn gb_s(&self, memory_mib: u32) -> f64 {
        self.billed_ms as f64 / 1e3 * f64::from(memory_mib) / 1_024.0
    }

    /// What has come since then.
    pub fn since(&self, before: &Self) -> Self {
        Self {
            requests: self.requests - before.requests,
            throttled: self.throttled - before.throttled,
            errors: self.errors - before.errors,
            cold_starts: self.cold_starts - before.cold_starts,
            reclaimed: self.reclaimed - before.reclaimed,
            died: self.died - before.died,
            init_ms: self.init_ms - before.init_ms,
            billed_ms: self.billed_ms - before.billed_ms,
        }
    }
}

fn rounded_up_ms(time: Duration) -> u64 {
    u64::try_from(time.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_invocation_is_rounded_up_to_a_millisecond() {
        let mut bill = Bill::default();
        bill.add(Duration::ZERO, Duration::from_micros(1_001));
        bill.add(Duration::from_micros(500), Duration::from_millis(998));
        assert_eq!((bill.requests, bill.init_ms, bill.billed_ms), (2, 1, 1_000));
        assert!((bill.gb_s(256) - 0.25).abs() < 1e-9);
    }
}
