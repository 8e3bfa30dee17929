//! The trace of a run as one number: equal runs have equal ones. It finds differences; it is no proof against forgery.

use std::fmt;

/// FNV-1a's offset and prime, for 64 bits.
const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const PRIME: u64 = 0x0000_0100_0000_01b3;

/// What has happened so far, in its order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trace(u64);

impl Default for Trace {
    fn default() -> Self {
        Self(OFFSET)
    }
}

impl Trace {
    /// Takes in a number.
    pub fn number(&mut self, number: u64) {
        // Rotated, so that the order counts; multiplied, so that each bit reaches all.
        self.0 = (self.0.rotate_left(23) ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 ^= self.0 >> 29;
    }

    /// What it amounts to.
    pub fn value(self) -> u64 {
        self.0
    }
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// Bytes as one number.
pub fn digest(bytes: &[u8]) -> u64 {
    bytes.iter().fold(OFFSET, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(PRIME))
}

/// A seed for one purpose, of the run's seed: chance that is drawn for one thing does not shift that of another.
pub fn seed_for(seed: u64, purpose: &str, index: u64) -> u64 {
    let mut trace = Trace::default();
    [seed, digest(purpose.as_bytes()), index].into_iter().for_each(|number| trace.number(number));
    trace.value()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_tells_order_and_content() {
        let of = |numbers: &[u64]| {
            let mut trace = Trace::default();
            numbers.iter().for_each(|number| trace.number(*number));
            trace.value()
        };
        assert_eq!(of(&[1, 2]), of(&[1, 2]));
        assert_ne!(of(&[1, 2]), of(&[2, 1]));
        assert_ne!(of(&[0]), of(&[0, 0]));
        assert_ne!(seed_for(1, "node", 2), seed_for(1, "node", 3));
        assert_ne!(seed_for(1, "node", 2), seed_for(1, "life", 2));
        assert_ne!(digest(b"ab"), digest(b"ba"));
    }
}
