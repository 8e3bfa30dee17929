//! The roots that this replica's state had lately. States only grow, so all that a peer had when it told one of them is here.

use std::collections::VecDeque;

use crate::digest::Digest;
use crate::time::Timestamp;

/// How many roots are remembered, at 16 bytes each: the writes of some seconds in a cluster that sends them directly.
const ROOTS_MAX: usize = 256;

/// How many own writes are remembered.
const OWN_MAX: usize = 16;

/// The latest roots, oldest first.
#[derive(Clone, Debug, Default)]
pub struct Past {
    roots: VecDeque<Digest>,
    /// When the latest own writes were made and by what they changed the root, oldest first.
    own: VecDeque<(Timestamp, Digest)>,
}

impl Past {
    /// The state has this root now.
    pub fn note(&mut self, root: Digest) {
        if self.roots.back() == Some(&root) {
            return;
        }
        if self.roots.len() == ROOTS_MAX {
            self.roots.pop_front();
        }
        self.roots.push_back(root);
    }

    /// Whether it had this root, as far as that is remembered.
    pub fn has(&self, root: Digest) -> bool {
        self.roots.contains(&root)
    }

    /// A write made here has changed the root that was before to this one.
    pub fn note_own(&mut self, before: Digest, root: Digest, now: Timestamp) {
        self.note(root);
        let mut change = root;
        change.subtract(before);
        if self.own.len() == OWN_MAX {
            self.own.pop_front();
        }
        self.own.push_back((now, change));
    }

    /// Whether the state would have this root without own writes that were made lately, at `since` or later. Since a root is a
    /// sum over the writers this holds whatever else came before or after them, unless they replaced what is of others.
    pub fn would_have(&self, root: Digest, since: Timestamp) -> bool {
        let Some(mut rest) = self.roots.back().copied() else { return false };
        let mut lately = self.own.iter().rev().take_while(|(at, _)| *at >= since);
        lately.any(|(_, change)| {
            rest.subtract(*change);
            rest == root
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_are_remembered() {
        let mut past = Past::default();
        let root = |number: usize| Digest([number as u64, 0]);
        (0..=ROOTS_MAX).for_each(|number| past.note(root(number)));
        assert!(!past.has(root(0)), "it was too long ago");
        assert!((1..=ROOTS_MAX).all(|number| past.has(root(number))));
    }

    #[test]
    fn own_writes_are_told_from_those_of_others() {
        let root = |number: u64| Digest([number, 2 * number]);
        let mut past = Past::default();
        past.note(root(100));
        past.note_own(root(100), root(101), Timestamp(1_000));
        past.note(root(111));
        past.note_own(root(111), root(113), Timestamp(2_000));
        past.note(root(143));
        assert!(past.would_have(root(141), Timestamp(0)), "without the last");
        assert!(past.would_have(root(140), Timestamp(0)), "without both");
        assert!(!past.would_have(root(142), Timestamp(0)), "the last is told before the first, or with it");
        assert!(!past.would_have(root(143), Timestamp(0)), "that is what it has");
        assert!(!past.would_have(root(140), Timestamp(1_001)), "the first is long ago");
    }
}
