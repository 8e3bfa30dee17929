//! Virtual time: microseconds since a run began. Nothing in a run asks for the real time.

use std::ops::{Add, Sub};

/// When virtual time begins on the replicas' wall clocks, in milliseconds since 1970: the first of January 2026, UTC.
/// Any would do, as long as it is always the same: names of writers hold it.
const EPOCH_MS: u64 = 1_767_225_600_000;

/// A moment of a run, or the time between two, in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(pub u64);

impl Moment {
    /// The beginning.
    pub const ZERO: Self = Self(0);
    /// Later than everything.
    pub const NEVER: Self = Self(u64::MAX);

    /// So many milliseconds, to the nearest microsecond. What is negative is none.
    pub fn from_ms(ms: f64) -> Self {
        Self((ms * 1_000.0).round().max(0.0) as u64)
    }

    /// So many seconds, to the nearest microsecond. What is negative is none.
    pub fn from_s(seconds: f64) -> Self {
        Self::from_ms(seconds * 1_000.0)
    }

    /// In milliseconds.
    pub fn as_ms(self) -> f64 {
        self.0 as f64 / 1_000.0
    }

    /// In seconds.
    pub fn as_s(self) -> f64 {
        self.0 as f64 / 1_000_000.0
    }

    /// What a replica's wall clock shows then, in milliseconds since 1970.
    pub fn wall_ms(self) -> u64 {
        EPOCH_MS + self.0 / 1_000
    }

    /// The first moment at which a replica's wall clock shows this; the beginning, if that was before.
    pub fn of_wall_ms(wall_ms: u64) -> Self {
        Self(wall_ms.saturating_sub(EPOCH_MS).saturating_mul(1_000))
    }

    /// From the earlier one to this; none, if this is the earlier.
    pub fn since(self, earlier: Self) -> Self {
        Self(self.0.saturating_sub(earlier.0))
    }
}

impl Add for Moment {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl Sub for Moment {
    type Output = Self;

    /// As [`Moment::since`].
    fn sub(self, other: Self) -> Self {
        self.since(other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wall_clock_shows_a_time_from_its_moment_on() {
        let moment = Moment::from_s(1.5);
        assert_eq!(moment, Moment(1_500_000));
        assert_eq!(Moment::of_wall_ms(moment.wall_ms()), moment);
        assert_eq!((moment + Moment(999)).wall_ms(), moment.wall_ms());
        assert_eq!(Moment::of_wall_ms(0), Moment::ZERO);
        assert_eq!(Moment(3) - Moment(5), Moment::ZERO);
        assert_eq!(Moment::NEVER + Moment(1), Moment::NEVER);
        assert_eq!(Moment::from_ms(-1.0), Moment::ZERO);
    }
}
