//! How long to wait before a request is tried again.

use std::time::{Duration, Instant};

/// Pauses that double from a first to a longest one, until a deadline.
#[derive(Clone, Debug)]
pub struct Backoff {
    next: Duration,
    longest: Duration,
    deadline: Instant,
}

impl Backoff {
    /// Pauses from 10 ms to 1 s, for so long in all.
    pub fn until(deadline: Instant) -> Self {
        Self { next: Duration::from_millis(10), longest: Duration::from_secs(1), deadline }
    }

    /// Moves the deadline: what took so long is not to count.
    pub fn postpone(&mut self, by: Duration) {
        self.deadline += by;
    }

    /// The next pause, never beyond the deadline; none once that has come. `at_least` is what the server asked for
    /// (`retry-after`), cut to the longest pause: another replica may be ready sooner.
    pub fn pause(&mut self, now: Instant, at_least: Option<Duration>) -> Option<Duration> {
        let left = self.deadline.checked_duration_since(now).filter(|left| !left.is_zero())?;
        let pause = self.next.max(at_least.unwrap_or_default()).min(self.longest).min(left);
        self.next = (self.next * 2).min(self.longest);
        Some(pause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_second_and_end_at_the_deadline() {
        let start = Instant::now();
        let mut backoff = Backoff::until(start + Duration::from_secs(60));
        let pauses: Vec<_> = (0..9).filter_map(|_| backoff.pause(start, None)).map(|p| p.as_millis()).collect();
        assert_eq!(pauses, [10, 20, 40, 80, 160, 320, 640, 1000, 1000]);
        let late = start + Duration::from_millis(59_990);
        assert_eq!(backoff.pause(late, None), Some(Duration::from_millis(10)));
        assert_eq!(backoff.pause(start + Duration::from_secs(60), None), None);
        assert_eq!(backoff.pause(start + Duration::from_secs(61), None), None);
        backoff.postpone(Duration::from_secs(2));
        assert_eq!(backoff.pause(start + Duration::from_secs(61), None), Some(Duration::from_secs(1)));
        assert_eq!(backoff.pause(start + Duration::from_secs(62), None), None);
    }

    #[test]
    fn what_the_server_asks_for_is_heeded_within_bounds() {
        let start = Instant::now();
        let mut backoff = Backoff::until(start + Duration::from_secs(60));
        assert_eq!(backoff.pause(start, Some(Duration::from_millis(300))), Some(Duration::from_millis(300)));
        assert_eq!(backoff.pause(start, Some(Duration::from_secs(3600))), Some(Duration::from_secs(1)));
    }
}
