//! Hybrid logical clocks, after Kulkarni et al., *Logical physical clocks* (2014), in one 64-bit word.

use crate::time::Timestamp;

/// A time of a hybrid logical clock: 48 bits of milliseconds since 1970 and 16 bits of count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stamp(pub u64);

impl Stamp {
    /// The length of its bytes.
    pub const BYTES: usize = 8;

    /// Big-endian, so that bytes compare as stamps do.
    pub fn to_bytes(self) -> [u8; Self::BYTES] {
        self.0.to_be_bytes()
    }

    /// The stamp at the front of a payload that was checked.
    pub fn of_payload(payload: &[u8]) -> Self {
        let bytes = payload[..Self::BYTES].try_into().expect("the slice has 8 bytes");
        Self(u64::from_be_bytes(bytes))
    }

    fn at(now: Timestamp) -> Self {
        Self(now.0.min((1 << 48) - 1) << 16)
    }
}

/// How far ahead of the wall clock a received stamp may pull this replica's clock, so that one replica with a wrong clock
/// does not carry all others along.
pub const AHEAD_MAX_MS: u64 = 60_000;

/// A replica's hybrid logical clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct Clock {
    last: Stamp,
}

impl Clock {
    /// A stamp for a write now, greater than all that this clock gave or (within [`AHEAD_MAX_MS`]) saw.
    pub fn tick(&mut self, now: Timestamp) -> Stamp {
        self.last = Stamp::at(now).max(Stamp(self.last.0 + 1));
        self.last
    }

    /// Takes note of a received stamp.
    pub fn observe(&mut self, stamp: Stamp, now: Timestamp) {
        let bound = Stamp::at(now.plus_ms(AHEAD_MAX_MS));
        self.last = self.last.max(stamp.min(bound));
    }
}
