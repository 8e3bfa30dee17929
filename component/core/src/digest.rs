//! Digests: sums of well-mixed words, so that they follow each change in constant time. DESIGN section 4.
//!
//! They find accidental differences: two different states share a root with a chance of about 2^-128. They are no
//! defence against a replica that lies, which could as well write what it wants.

/// 128 bits that stand for a set; the digest of a union of disjoint sets is the sum of theirs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Digest(pub [u64; 2]);

impl Digest {
    /// The digest of the set with the one element that is made of these words.
    pub fn of(words: impl IntoIterator<Item = u64>) -> Self {
        words.into_iter().fold(Words::NONE, Words::and).digest()
    }

    /// Adds the digest of another set.
    pub fn add(&mut self, other: Self) {
        self.0[0] = self.0[0].wrapping_add(other.0[0]);
        self.0[1] = self.0[1].wrapping_add(other.0[1]);
    }

    /// Takes the digest of a part of the set away.
    pub fn subtract(&mut self, other: Self) {
        self.0[0] = self.0[0].wrapping_sub(other.0[0]);
        self.0[1] = self.0[1].wrapping_sub(other.0[1]);
    }
}

/// The words of an element so far. Elements that begin alike need not be mixed from their beginnings each.
#[derive(Clone, Copy)]
pub struct Words([u64; 2]);

impl Words {
    /// None yet: two chains with different odd constants (fractional parts of the golden ratio and of the root of 2).
    pub const NONE: Self = Self([0x9e37_79b9_7f4a_7c15, 0x6a09_e667_f3bc_c909]);

    /// These, and one more.
    pub fn and(self, word: u64) -> Self {
        let Self([one, other]) = self;
        Self([
            mix(one ^ word).wrapping_add(0x9e37_79b9_7f4a_7c15),
            mix(other.wrapping_mul(0x6a09_e667_f3bc_c909) ^ word).wrapping_add(1),
        ])
    }

    /// The digest of the set with this element.
    pub fn digest(self) -> Digest {
        Digest(self.0.map(mix))
    }
}

impl std::fmt::Display for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:016x}{:016x}", self.0[0], self.0[1])
    }
}

/// A bijection of 64-bit words in which each bit of the input changes about half of the output: the finaliser of
/// Steele, Lea and Flood, *Fast splittable pseudorandom number generators* (OOPSLA 2014), variant 13 of D. Stafford.
pub fn mix(word: u64) -> u64 {
    let word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}
