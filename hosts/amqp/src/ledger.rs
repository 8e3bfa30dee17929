//! Which deliveries of a channel have been answered for, so that many can be acknowledged by one frame.

use std::collections::BTreeSet;

/// The tags of a channel: 1, 2, … in the order of delivery, over all of its consumers.
///
/// Acknowledging *all up to* a tag is right only if none of them is held by somebody still, be it another consumer
/// whose messages have not been looked at. So it counts what has been answered for, not what has been seen.
#[derive(Debug, Default)]
pub struct Ledger {
    /// All tags up to this one are answered for.
    floor: u64,
    /// Those above, each greater than `floor + 1`.
    above: BTreeSet<u64>,
}

/// An acknowledgement to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ack {
    /// The last delivery that it is for.
    pub tag: u64,
    /// For all tags up to it.
    pub multiple: bool,
}

impl Ledger {
    /// Notes that these are answered for, and tells what has to be sent for it. Each tag is given once.
    pub fn answer(&mut self, tags: impl IntoIterator<Item = u64>) -> Vec<Ack> {
        let before = self.floor;
        let mut new: BTreeSet<u64> =
            tags.into_iter().filter(|tag| *tag > before && !self.above.contains(tag)).collect();
        self.above.extend(&new);
        while self.above.remove(&(self.floor + 1)) {
            self.floor += 1;
        }
        let mut acks = Vec::new();
        let rest = new.split_off(&(self.floor + 1));
        match new.last() {
            // Those between that were answered for earlier are named once more, which the broker does not mind.
            Some(last) if new.len() > 1 => acks.push(Ack { tag: *last, multiple: true }),
            Some(last) => acks.push(Ack { tag: *last, multiple: false }),
            None => {}
        }
        acks.extend(rest.into_iter().map(|tag| Ack { tag, multiple: false }));
        acks
    }
}

#[cfg(test)]
mod tests {
    use super::{Ack, Ledger};

    fn ack(tag: u64, multiple: bool) -> Ack {
        Ack { tag, multiple }
    }

    #[test]
    fn what_follows_without_a_gap_is_one_acknowledgement() {
        let mut ledger = Ledger::default();
        assert_eq!(ledger.answer([1, 2, 3]), [ack(3, true)]);
        assert_eq!(ledger.answer([4]), [ack(4, false)]);
        assert_eq!(ledger.answer([5, 6]), [ack(6, true)]);
    }

    #[test]
    fn a_tag_that_is_held_is_never_covered() {
        let mut ledger = Ledger::default();
        assert_eq!(ledger.answer([1, 3, 4]), [ack(1, false), ack(3, false), ack(4, false)]);
        assert_eq!(ledger.answer([6]), [ack(6, false)]);
        assert_eq!(ledger.answer([2]), [ack(2, false)]);
        // 3 and 4 were answered for, so 5 closes the gap up to 6.
        assert_eq!(ledger.answer([5, 7]), [ack(7, true)]);
    }

    #[test]
    fn a_tag_counts_once() {
        let mut ledger = Ledger::default();
        assert_eq!(ledger.answer([2]), [ack(2, false)]);
        assert_eq!(ledger.answer([2]), []);
        assert_eq!(ledger.answer([1]), [ack(1, false)]);
        assert_eq!(ledger.answer([1, 2]), []);
    }
}
