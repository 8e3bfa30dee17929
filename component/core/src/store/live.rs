//! A writer's live entries in the order of their sequence numbers.

use crate::chunk::SEQ_END;

/// A live entry: its sequence number, by which it is found without a look at the table, and its slot there. 8 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Live(u64);

/// Slots end before this: at 40 bytes an entry, 10 GiB.
pub(super) const SLOT_END: u64 = 1 << SLOT_BITS;
const SLOT_BITS: u32 = 28;
const _: () = assert!(SEQ_END.trailing_zeros() + SLOT_BITS <= u64::BITS);

impl Live {
    pub fn new(seq: u64, slot: u32) -> Self {
        assert!(seq < SEQ_END && u64::from(slot) < SLOT_END, "a sequence number or a slot is out of its bounds");
        Self(seq << SLOT_BITS | u64::from(slot))
    }

    pub fn seq(self) -> u64 {
        self.0 >> SLOT_BITS
    }

    pub fn slot(self) -> u32 {
        // The cast holds: the mask leaves 28 bits.
        (self.0 & (SLOT_END - 1)) as u32
    }

    /// An entry of another sequence number in the same slot.
    pub fn at(self, seq: u64) -> Self {
        Self::new(seq, self.slot())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_greatest_of_both_fit_beside_each_other() {
        let live = Live::new(SEQ_END - 1, (SLOT_END - 1) as u32);
        assert_eq!((live.seq(), live.slot()), (SEQ_END - 1, (SLOT_END - 1) as u32));
        assert!(Live::new(2, 0) > Live::new(1, 7), "the order is that of the sequence numbers");
    }
}
