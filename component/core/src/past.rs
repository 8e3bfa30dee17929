//! The roots that this replica's state had lately. States only grow, so all that a peer had when it told one of them is here.

use std::collections::VecDeque;

use crate::digest::Digest;

/// How many roots are remembered, at 16 bytes each: the writes of some seconds in a cluster that sends them directly.
const ROOTS_MAX: usize = 256;

/// The latest roots, oldest first.
#[derive(Clone, Debug, Default)]
pub struct Past {
    roots: VecDeque<Digest>,
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
}
