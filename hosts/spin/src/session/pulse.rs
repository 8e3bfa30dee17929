//! Signs of life, ours and the broker's.

/// When something was heard and said last. All times are in milliseconds of the clock that the host tells.
#[derive(Debug)]
pub(super) struct Pulse {
    /// How often each side shows that it lives; 0: neither does.
    interval_ms: u64,
    heard_ms: u64,
    said_ms: u64,
}

impl Pulse {
    /// Off, until an interval is agreed on.
    pub(super) fn new(now_ms: u64) -> Self {
        Self { interval_ms: 0, heard_ms: now_ms, said_ms: now_ms }
    }

    /// The interval in seconds that holds: the shorter wish. Who wishes none gets none from us.
    pub(super) fn agree(&mut self, ours_s: u16, theirs_s: u16) -> u16 {
        let agreed_s = if theirs_s == 0 { ours_s } else { ours_s.min(theirs_s) };
        self.interval_ms = u64::from(agreed_s) * 1_000;
        agreed_s
    }

    pub(super) fn hear(&mut self, now_ms: u64) {
        self.heard_ms = now_ms;
    }

    pub(super) fn say(&mut self, now_ms: u64) {
        self.said_ms = now_ms;
    }

    /// Whether we were silent for half an interval: the other half is for the way.
    pub(super) fn is_due(&self, now_ms: u64) -> bool {
        self.interval_ms > 0 && now_ms >= self.said_ms + self.interval_ms / 2
    }

    /// Whether the broker was silent for two intervals.
    pub(super) fn is_lost(&self, now_ms: u64) -> bool {
        self.interval_ms > 0 && now_ms >= self.heard_ms + self.interval_ms * 2
    }

    /// When either will be so.
    pub(super) fn next_ms(&self) -> Option<u64> {
        let next = (self.said_ms + self.interval_ms / 2).min(self.heard_ms + self.interval_ms * 2);
        (self.interval_ms > 0).then_some(next)
    }
}

#[cfg(test)]
mod tests {
    use super::Pulse;

    #[test]
    fn the_shorter_wish_holds_and_ours_may_be_none() {
        for (ours, theirs, agreed) in [(20, 60, 20), (60, 20, 20), (20, 0, 20), (0, 60, 0), (0, 0, 0)] {
            assert_eq!(Pulse::new(0).agree(ours, theirs), agreed, "{ours}, {theirs}");
        }
    }

    #[test]
    fn silence_is_seen_on_both_sides() {
        let mut pulse = Pulse::new(1_000);
        assert_eq!(pulse.next_ms(), None);
        assert!(!pulse.is_due(u64::MAX) && !pulse.is_lost(u64::MAX));
        pulse.agree(10, 10);
        assert_eq!(pulse.next_ms(), Some(6_000));
        assert!(!pulse.is_due(5_999) && pulse.is_due(6_000));
        pulse.say(15_000);
        assert_eq!(pulse.next_ms(), Some(20_000));
        pulse.say(20_000);
        assert_eq!(pulse.next_ms(), Some(21_000));
        assert!(!pulse.is_lost(20_999) && pulse.is_lost(21_000));
        pulse.hear(21_000);
        assert!(!pulse.is_lost(40_999));
    }
}
