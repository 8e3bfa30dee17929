//! Removals that came in pieces of answers to requests for repair, held back until all pieces of the answer are here.
//!
//! A piece may say that an entry is no more, and another what took its place. If the other never comes, because its server
//! was killed in the midst of the answer, the entry must still be here: somebody may have been told that it is confirmed.
//! Nor may it be told to others that hold the entry, so this goes for entries that were never here as well.
//! All pieces together are a whole state only if they are of one state, or of later ones than the removals.

use crate::digest::Digest;
use crate::intervals::DotSet;

/// Whose state the pieces are of.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Origin {
    name: String,
    incarnation: u64,
    root: Digest,
}

/// What is held back.
#[derive(Clone, Debug, Default)]
pub struct Holdback {
    /// Removals that pieces of the first piece's state told.
    removals: DotSet,
    /// Of what state the first piece was. `None`: no piece has come.
    origin: Option<Origin>,
    /// Whether a piece came of another replica in another state: it may lack what took the place of what is gone.
    is_mixed: bool,
    /// Whether removals were told that were not kept.
    is_short: bool,
}

impl Holdback {
    /// Takes in the removals of a piece of the state with this root, of this life of a replica.
    ///
    /// A replica's state only grows, so a later piece has what took the place of what an earlier one said is gone. The
    /// other way round it need not: what a later piece says is gone may have been replaced in a part that was told before.
    pub fn add(&mut self, from: &str, incarnation: u64, root: Digest, removals: &DotSet) {
        let piece = Origin { name: from.to_owned(), incarnation, root };
        let origin = self.origin.get_or_insert_with(|| piece.clone());
        if origin.root == root {
            self.removals.extend(removals);
        } else {
            self.is_mixed |= (&origin.name, origin.incarnation) != (&piece.name, incarnation);
            self.is_short |= !removals.is_empty();
        }
    }

    /// Whether some of the removals that the pieces told will not be released.
    pub fn is_short(&self) -> bool {
        self.is_short || (self.is_mixed && !self.removals.is_empty())
    }

    /// All pieces are here: gives the removals that can be done now. Those that cannot show again at the next comparison.
    pub fn release(&mut self) -> DotSet {
        let held = std::mem::take(self);
        if held.is_mixed { DotSet::default() } else { held.removals }
    }

    /// As [`Self::release`], but nothing if the pieces were of more than one state: what took the place of what is gone may
    /// itself have been replaced meanwhile, by something in a part that was told before.
    pub fn release_if_whole(&mut self) -> DotSet {
        if self.is_short() {
            self.forget();
        }
        self.release()
    }

    /// Not all pieces will come.
    pub fn forget(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dot::WriterId;

    const ROOT: Digest = Digest([1, 2]);
    const OTHER_ROOT: Digest = Digest([1, 3]);

    fn dots(seqs: std::ops::RangeInclusive<u64>) -> DotSet {
        let mut dots = DotSet::default();
        dots.insert_span(WriterId(1), *seqs.start(), *seqs.end());
        dots
    }

    #[test]
    fn pieces_of_one_state_are_released_together() {
        let mut held = Holdback::default();
        held.add("a", 7, ROOT, &dots(1..=2));
        held.add("a", 7, ROOT, &dots(3..=4));
        // Equal roots are equal states, whoever tells.
        held.add("b", 8, ROOT, &dots(5..=6));
        assert_eq!(held.release(), dots(1..=6));
        assert!(held.release().is_empty());
    }

    #[test]
    fn what_a_later_state_lost_is_not_released() {
        let mut held = Holdback::default();
        held.add("a", 7, ROOT, &dots(1..=2));
        assert_eq!(held.clone().release_if_whole(), dots(1..=2));
        assert!(!held.is_short());
        held.add("a", 7, OTHER_ROOT, &dots(3..=4));
        assert!(held.is_short());
        assert!(held.clone().release_if_whole().is_empty());
        assert_eq!(held.release(), dots(1..=2));
        assert!(!held.is_short());
    }

    #[test]
    fn pieces_of_several_states_are_not() {
        for (name, incarnation) in [("b", 7), ("a", 8)] {
            let mut held = Holdback::default();
            held.add("a", 7, ROOT, &dots(1..=2));
            held.add(name, incarnation, OTHER_ROOT, &dots(3..=4));
            held.add("a", 7, ROOT, &dots(5..=6));
            assert!(held.is_short());
            assert!(held.release().is_empty());
        }
    }
}
