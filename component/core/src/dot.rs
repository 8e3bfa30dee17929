//! Dots: the names of writes. DESIGN section 2; the term is from Almeida, Shoker and Baquero, *Delta state replicated data
//! types* (2018), section 7.

use crate::time::Timestamp;

/// Hours since 2020-01-01 UTC. It stands in each writer id, so that a later version can fold the writers of an era that is
/// long over into one watermark.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Era(pub u32);

/// 2020-01-01 00:00 UTC in milliseconds since 1970.
const ERA_ZERO_MS: u64 = 1_577_836_800_000;
const ERA_MS: u64 = 3_600_000;

impl Era {
    /// The era of a time; times before 2020 count as era 0.
    pub fn at(now: Timestamp) -> Self {
        let hours = now.0.saturating_sub(ERA_ZERO_MS) / ERA_MS;
        Self(u32::try_from(hours).unwrap_or(u32::MAX))
    }

    /// When it ends.
    pub fn end(self) -> Timestamp {
        Timestamp(ERA_ZERO_MS + (u64::from(self.0) + 1) * ERA_MS)
    }
}

/// An id that makes dots: 32 bits of era and 96 random bits. Ordered by era first, so that newer writers are greater.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
// Aligned as 64 bits are: at 16 bytes the component's allocator takes a slow path, and dots are a third larger.
#[repr(Rust, packed(8))]
pub struct WriterId(pub u128);

impl WriterId {
    /// A new id, from 128 fresh random bits of which 96 are used.
    pub fn fresh(era: Era, chance: &mut dyn FnMut() -> u64) -> Self {
        let random = (u128::from(chance()) << 64 | u128::from(chance())) >> 32;
        Self(u128::from(era.0) << 96 | random)
    }

    /// When it was made.
    pub fn era(self) -> Era {
        Era((self.0 >> 96) as u32)
    }
}

impl std::fmt::Debug for WriterId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:032x}", { self.0 })
    }
}

/// A writer's count of its writes, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Seq(pub u64);

/// The name of one write. The order (writer, sequence) is the *dot order* in which states are walked and transferred.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Dot {
    /// Who wrote.
    pub writer: WriterId,
    /// Which of its writes.
    pub seq: Seq,
}

impl std::fmt::Debug for Dot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}:{}", self.writer, self.seq.0)
    }
}
