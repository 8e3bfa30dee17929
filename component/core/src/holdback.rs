//! Removals that came in pieces of answers to requests for repair, held back until all pieces are here.
//!
//! A piece may say that an entry is no more, and another what took its place. If the other never comes, because its server
//! was killed in the midst of the answer, the entry must still be here: somebody may have been told that it is confirmed.
//! All pieces together are a whole state only if they are of one replica's state.

use crate::intervals::DotSet;

/// Whose state the pieces are of.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Origin {
    /// Of one life of a replica. Its state only grows, so pieces of different times go together.
    One(String, u64),
    /// Of several: one may have told what is gone, another not have what took its place.
    Several,
}

/// What is held back.
#[derive(Clone, Debug, Default)]
pub struct Holdback {
    removals: DotSet,
    /// `None`: no piece has come.
    origin: Option<Origin>,
}

impl Holdback {
    /// Takes in the removals of a piece of this life of a replica's state.
    pub fn add(&mut self, from: &str, incarnation: u64, removals: &DotSet) {
        let origin = Origin::One(from.to_owned(), incarnation);
        let is_same = self.origin.as_ref().is_none_or(|known| *known == origin);
        self.origin = Some(if is_same { origin } else { Origin::Several });
        self.removals.extend(removals);
    }

    /// All pieces are here: gives the removals that can be done now, which is all or none. Those that cannot show again at
    /// the next comparison.
    pub fn release(&mut self) -> DotSet {
        match std::mem::take(self) {
            Self { removals, origin: Some(Origin::One(..)) } => removals,
            Self { removals: _, origin: Some(Origin::Several) | None } => DotSet::default(),
        }
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

    fn dots(seqs: std::ops::RangeInclusive<u64>) -> DotSet {
        let mut dots = DotSet::default();
        dots.insert_span(WriterId(1), *seqs.start(), *seqs.end());
        dots
    }

    #[test]
    fn pieces_of_one_state_are_released_together() {
        let mut held = Holdback::default();
        held.add("a", 7, &dots(1..=2));
        held.add("a", 7, &dots(3..=4));
        assert_eq!(held.release(), dots(1..=4));
        assert!(held.release().is_empty());
    }

    #[test]
    fn pieces_of_several_states_are_not() {
        for (name, incarnation) in [("b", 7), ("a", 8)] {
            let mut held = Holdback::default();
            held.add("a", 7, &dots(1..=2));
            held.add(name, incarnation, &dots(3..=4));
            held.add("a", 7, &dots(5..=6));
            assert!(held.release().is_empty());
        }
    }
}
