//! How long a target that refuses is left alone.

use std::time::Duration;

use dayfly_engine::Chance;

/// The pause after a first failure is at most so long; it doubles with each that follows.
const FIRST: Duration = Duration::from_millis(500);
/// The longest pause of our own. Short, since what is awake must be renewed before it ends.
const LONGEST: Duration = Duration::from_secs(10);
/// The longest pause that a target may ask for (`retry-after`).
const ASKED_MAX: Duration = Duration::from_secs(60);

/// When a target may be called. Times are counted from the keeper's start.
#[derive(Clone, Debug, Default)]
pub struct Pause {
    /// Failures since the last success.
    failures: u32,
    /// Nothing is begun before.
    until: Duration,
    /// When the pause was set: what was begun before knew nothing of it.
    set: Duration,
}

impl Pause {
    /// A call failed. The pause is a random part, half at least, of a time that doubles, so that many keepers and
    /// replicas do not come back at once; what the target asked for is heeded. Failures of calls that were begun before
    /// the present pause are part of the same trouble and count once.
    pub fn failed(&mut self, now: Duration, begun: Duration, asked: Option<Duration>, chance: &mut Chance) {
        let asked = asked.unwrap_or_default().min(ASKED_MAX);
        self.until = self.until.max(now + asked);
        if self.failures > 0 && begun < self.set {
            return;
        }
        self.failures = self.failures.saturating_add(1);
        self.set = now;
        self.until = self.until.max(now + self.step().mul_f64(0.5 + chance.next_f64() / 2.0));
    }

    /// A call succeeded: the trouble is over.
    pub fn succeeded(&mut self) {
        *self = Self::default();
    }

    /// A call is begun. While there is trouble there is one in a pause, not all that are due.
    pub fn begun(&mut self, now: Duration) {
        if self.failures > 0 {
            self.set = now;
            self.until = now + self.step();
        }
    }

    /// When the next call may be begun; zero: at any time.
    pub fn until(&self) -> Duration {
        self.until
    }

    fn step(&self) -> Duration {
        FIRST.saturating_mul(1 << (self.failures.max(1) - 1).min(10)).min(LONGEST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn pauses_double_within_their_bounds_and_end_with_a_success() {
        let (mut pause, mut chance) = (Pause::default(), Chance::new(1));
        assert_eq!(pause.until(), ms(0));
        let mut now = ms(1_000);
        for most in [500, 1_000, 2_000, 4_000, 8_000, 10_000, 10_000] {
            pause.begun(now);
            pause.failed(now, now, None, &mut chance);
            let length = pause.until() - now;
            assert!((ms(most / 2)..=ms(most)).contains(&length), "{most}: {length:?}");
            now = pause.until();
        }
        pause.succeeded();
        assert_eq!(pause.until(), ms(0));
    }

    #[test]
    fn what_the_target_asks_for_is_heeded_within_a_minute() {
        let (mut pause, mut chance) = (Pause::default(), Chance::new(1));
        pause.failed(ms(0), ms(0), Some(ms(7_000)), &mut chance);
        assert_eq!(pause.until(), ms(7_000));
        pause.succeeded();
        pause.failed(ms(0), ms(0), Some(ms(3_600_000)), &mut chance);
        assert_eq!(pause.until(), ms(60_000));
    }

    #[test]
    fn a_burst_that_fails_counts_once() {
        let (mut pause, mut chance) = (Pause::default(), Chance::new(1));
        for at in 10..20 {
            pause.failed(ms(at), ms(1), None, &mut chance);
        }
        assert!(pause.until() <= ms(519), "{:?}", pause.until());
        // And while it lasts one call is tried, then a pause again.
        let now = pause.until();
        pause.begun(now);
        assert_eq!(pause.until(), now + ms(500));
    }
}
