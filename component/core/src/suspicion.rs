//! Differences that were noticed between this replica's root and those of its peers. Most vanish by themselves, since frames
//! are under way; those that last are looked into.

use std::collections::BTreeSet;

use crate::time::{Timestamp, Turn};

/// The most peers that are remembered to differ.
const PEERS_MAX: usize = 16;
/// How long roots may differ before a repair begins: longer than frames are under way.
const SETTLE_MS: u64 = 500;
/// The longest pause between repairs that find nothing.
const PAUSE_MAX_MS: u64 = 16_000;

/// What is suspected.
///
/// Invariant: `check_at` is there exactly if `peers` has somebody or `is_wide`.
#[derive(Clone, Debug)]
pub struct Suspicion {
    /// Whose roots differed; at most [`PEERS_MAX`].
    peers: BTreeSet<String>,
    /// Whether there may be others, so that agreeing with those is not enough.
    is_wide: bool,
    /// When to look into it.
    check_at: Option<Timestamp>,
    /// The pause before the next repair; grows while repairs find nothing.
    pause_ms: u64,
}

impl Default for Suspicion {
    fn default() -> Self {
        Self { peers: BTreeSet::new(), is_wide: false, check_at: None, pause_ms: SETTLE_MS }
    }
}

impl Suspicion {
    /// When to look into it; `None`: nothing is suspected.
    pub fn due(&self) -> Option<Timestamp> {
        self.check_at
    }

    /// A peer's root differs from ours although all its frames should be here soon.
    pub fn suspect(&mut self, peer: &str, turn: &mut Turn<'_>) {
        self.suspect_after(peer, 0, turn);
    }

    /// The same, but the peer's next frame, which may come so much later, may bring what differs.
    pub fn suspect_after(&mut self, peer: &str, next_ms: u32, turn: &mut Turn<'_>) {
        if self.check_at.is_none() {
            // Spread, so that not all that missed the same frame ask at the same time.
            let spread_ms = (turn.chance)() % SETTLE_MS;
            self.check_at = Some(turn.now.plus_ms(u64::from(next_ms) + self.pause_ms + spread_ms));
        }
        if self.peers.len() < PEERS_MAX {
            self.peers.insert(peer.to_owned());
        } else {
            self.is_wide |= !self.peers.contains(peer);
        }
    }

    /// A peer's root equals ours. What another peer knows may be missing all the same.
    pub fn agree(&mut self, peer: &str) {
        self.pause_ms = SETTLE_MS;
        self.peers.remove(peer);
        if self.peers.is_empty() && !self.is_wide {
            self.check_at = None;
        }
    }

    /// Whether it is time to look into it. Then nothing is suspected any more.
    pub fn take_due(&mut self, now: Timestamp) -> bool {
        let is_due = self.check_at.is_some_and(|at| at <= now);
        if is_due {
            *self = Self { pause_ms: self.pause_ms, ..Self::default() };
        }
        is_due
    }

    /// A repair has ended. If it brought nothing although roots differed, the peer lacks something of ours and will find
    /// out by itself, so looking again soon is no use.
    pub fn looked(&mut self, brought_something: bool) {
        self.pause_ms = if brought_something { SETTLE_MS } else { (self.pause_ms * 2).min(PAUSE_MAX_MS) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(now_ms: u64, act: impl FnOnce(&mut Turn<'_>)) {
        act(&mut Turn { now: Timestamp(now_ms), chance: &mut || 0 });
    }

    #[test]
    fn agreeing_with_one_peer_leaves_the_others() {
        let mut suspicion = Suspicion::default();
        at(0, |turn| suspicion.suspect("a", turn));
        at(100, |turn| suspicion.suspect("b", turn));
        suspicion.agree("a");
        assert_eq!(suspicion.due(), Some(Timestamp(SETTLE_MS)));
        suspicion.agree("b");
        assert_eq!(suspicion.due(), None);
    }

    #[test]
    fn of_more_peers_than_it_remembers_none_is_forgotten() {
        let mut suspicion = Suspicion::default();
        (0..=PEERS_MAX).for_each(|nth| at(0, |turn| suspicion.suspect(&nth.to_string(), turn)));
        (0..=PEERS_MAX).for_each(|nth| suspicion.agree(&nth.to_string()));
        assert!(suspicion.take_due(Timestamp(SETTLE_MS)), "the last one was not remembered by name");
        assert_eq!(suspicion.due(), None);
    }

    #[test]
    fn the_pause_grows_while_repairs_bring_nothing() {
        let mut suspicion = Suspicion::default();
        let pause = |suspicion: &mut Suspicion| {
            at(0, |turn| suspicion.suspect("a", turn));
            let due = suspicion.due();
            assert!(suspicion.take_due(Timestamp(u64::MAX)));
            due
        };
        suspicion.looked(false);
        assert_eq!(pause(&mut suspicion), Some(Timestamp(2 * SETTLE_MS)));
        (0..20).for_each(|_| suspicion.looked(false));
        assert_eq!(pause(&mut suspicion), Some(Timestamp(PAUSE_MAX_MS)));
        suspicion.looked(true);
        assert_eq!(pause(&mut suspicion), Some(Timestamp(SETTLE_MS)));
    }
}
