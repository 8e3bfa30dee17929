//! The spanning tree of an overlay: each replica knows its root, how far that is, and by which neighbour it comes to it.
//!
//! The least name that is heard of is the root. The root counts *beats*, which everybody passes on, and a neighbour is taken for
//! a parent only if it has heard of a later beat than this replica has, or of the same one and is closer to the root than this
//! replica ever was at that beat. So no replica comes to hang on its own descendants, whatever was lost: this is the
//! feasibility condition of Babel (RFC 8966, section 2.4), with beats for its sequence numbers.

use std::collections::BTreeMap;

use crate::frame::Claim;
use crate::time::Timestamp;

/// The longest way to a root.
const DISTANCE_MAX: u32 = 1_000;
/// How many roots are remembered that were once told of.
const ROOTS_MAX: usize = 64;

/// What was told of a root, at best.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Told {
    beat: u64,
    distance: u32,
    at: Timestamp,
}

/// Where this replica is.
#[derive(Clone, Debug)]
pub struct Tree {
    own: String,
    root: String,
    beat: u64,
    distance: u32,
    parent: Option<String>,
    told: BTreeMap<String, Told>,
    /// The beat that this replica counts as a root.
    own_beat: u64,
    /// When it counts the next one.
    beat_at: Timestamp,
}

impl Tree {
    /// Alone. The first beat is the time, so that it is later than those of an earlier life.
    pub fn new(own: String, now: Timestamp) -> Self {
        let root = own.clone();
        let told = BTreeMap::new();
        Self { own, root, beat: now.0, distance: 0, parent: None, told, own_beat: now.0, beat_at: now }
    }

    /// The neighbour by which it comes to the root; none: it is the root.
    pub fn parent(&self) -> Option<&str> {
        self.parent.as_deref()
    }

    /// What it tells a neighbour.
    pub fn claim_for(&self, neighbour: &str) -> Claim {
        let is_child = self.parent.as_deref() == Some(neighbour);
        Claim { root: self.root.clone(), beat: self.beat, distance: self.distance, is_child }
    }

    /// Chooses anew among what the neighbours claim that live. What was told of a root is forgotten after `memory_ms`; as a
    /// root it beats every `beat_ms`.
    pub fn choose<'a>(
        &mut self,
        claims: impl Iterator<Item = (&'a str, &'a Claim)>,
        beat_ms: u64,
        memory_ms: u64,
        now: Timestamp,
    ) {
        self.told.retain(|_, told| now.since_ms(told.at) <= memory_ms);
        // Nobody but its own parent comes before others that are as good.
        let rank = |name: &str, claim: &Claim, parent: Option<&str>| {
            (claim.root.clone(), claim.distance, parent != Some(name), name.to_owned())
        };
        let parent = self.parent.clone();
        let candidates = claims.filter(|(name, claim)| {
            !claim.is_child
                && claim.root < self.own
                && claim.distance < DISTANCE_MAX
                && (self.is_feasible(claim) || self.is_kept(name, claim))
        });
        let best = candidates
            .min_by_key(|(name, claim)| rank(name, claim, parent.as_deref()))
            .map(|(name, claim)| (name.to_owned(), claim.clone()));
        match best {
            Some((name, claim)) => {
                self.root = claim.root;
                self.beat = claim.beat;
                self.distance = claim.distance + 1;
                self.parent = Some(name);
                self.remember(now);
            }
            None => {
                if now >= self.beat_at || self.beat_at > now.plus_ms(beat_ms) {
                    self.own_beat += 1;
                    self.beat_at = now.plus_ms(beat_ms);
                }
                self.root = self.own.clone();
                self.beat = self.own_beat;
                self.distance = 0;
                self.parent = None;
            }
        }
    }

    fn is_feasible(&self, claim: &Claim) -> bool {
        self.told
            .get(&claim.root)
            .is_none_or(|told| claim.beat > told.beat || (claim.beat == told.beat && claim.distance < told.distance))
    }

    /// Whether it is the parent's claim as it was adopted.
    fn is_kept(&self, name: &str, claim: &Claim) -> bool {
        self.parent.as_deref() == Some(name)
            && claim.root == self.root
            && claim.beat == self.beat
            && claim.distance + 1 == self.distance
    }

    fn remember(&mut self, now: Timestamp) {
        let (beat, distance) = (self.beat, self.distance);
        let told = self.told.entry(self.root.clone()).or_insert(Told { beat, distance, at: now });
        told.at = now;
        if beat > told.beat {
            (told.beat, told.distance) = (beat, distance);
        } else if beat == told.beat {
            told.distance = told.distance.min(distance);
        }
        if self.told.len() > ROOTS_MAX {
            // The greatest is the least likely to become the root of others.
            self.told.pop_last();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEAT_MS: u64 = 8;
    const MEMORY_MS: u64 = 1_000;

    fn claim(root: &str, beat: u64, distance: u32) -> Claim {
        Claim { root: root.to_owned(), beat, distance, is_child: false }
    }

    fn choose(tree: &mut Tree, claims: &[(&str, &Claim)], now: u64) -> (String, u32, Option<String>) {
        tree.choose(claims.iter().copied(), BEAT_MS, MEMORY_MS, Timestamp(now));
        (tree.root.clone(), tree.distance, tree.parent.clone())
    }

    #[test]
    fn the_least_name_is_the_root_and_the_shortest_way_to_it_the_parent() {
        let mut tree = Tree::new("m".to_owned(), Timestamp(0));
        assert_eq!(choose(&mut tree, &[], 1), ("m".to_owned(), 0, None));
        let (far, near, greater) = (claim("a", 5, 3), claim("a", 5, 1), claim("z", 9, 0));
        let chosen = choose(&mut tree, &[("z", &greater), ("q", &far)], 2);
        assert_eq!(chosen, ("a".to_owned(), 4, Some("q".to_owned())));
        let chosen = choose(&mut tree, &[("q", &far), ("x", &near), ("y", &near)], 3);
        assert_eq!(chosen, ("a".to_owned(), 2, Some("x".to_owned())));
        // One that is as good is no reason to change.
        let chosen = choose(&mut tree, &[("b", &near), ("x", &near)], 4);
        assert_eq!(chosen, ("a".to_owned(), 2, Some("x".to_owned())));
        assert!(tree.claim_for("x").is_child && !tree.claim_for("b").is_child);
    }

    #[test]
    fn who_may_hang_on_this_replica_is_no_parent_until_the_root_has_beaten_again() {
        let mut tree = Tree::new("m".to_owned(), Timestamp(0));
        let parent = claim("a", 5, 1);
        choose(&mut tree, &[("p", &parent)], 1);
        let (child, descendant) = (Claim { is_child: true, ..claim("a", 6, 3) }, claim("a", 5, 2));
        let chosen = choose(&mut tree, &[("c", &child), ("d", &descendant)], 2);
        assert_eq!(chosen, ("m".to_owned(), 0, None), "its parent is dead");
        let later = claim("a", 6, 7);
        let chosen = choose(&mut tree, &[("c", &child), ("d", &later)], 3);
        assert_eq!(chosen, ("a".to_owned(), 8, Some("d".to_owned())));
        // What was told is forgotten in the end: a root that began anew with a clock that went back is not shut out.
        let older = claim("a", 1, 0);
        assert_eq!(choose(&mut tree, &[("d", &older)], 4).2, None);
        assert_eq!(choose(&mut tree, &[("d", &older)], 5 + MEMORY_MS).2, Some("d".to_owned()));
    }

    #[test]
    fn only_a_root_beats() {
        let mut tree = Tree::new("m".to_owned(), Timestamp(100));
        choose(&mut tree, &[], 100);
        let first = tree.beat;
        choose(&mut tree, &[], 100 + BEAT_MS - 1);
        assert_eq!(tree.beat, first);
        choose(&mut tree, &[], 100 + BEAT_MS);
        assert_eq!(tree.beat, first + 1);
        choose(&mut tree, &[("p", &claim("a", 5, 1))], 200);
        assert_eq!(tree.beat, 5);
    }
}
