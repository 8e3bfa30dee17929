//! Time and chance are arguments: nothing in this crate asks a clock or a random generator.

/// Wall-clock time in milliseconds since 1970-01-01 UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// This time plus a span in milliseconds; at the end of time it stays there.
    pub fn plus_ms(self, span_ms: u64) -> Self {
        Self(self.0.saturating_add(span_ms))
    }

    /// The milliseconds from `earlier` to this time; 0 if it is not earlier.
    pub fn since_ms(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// What the host knows at the moment of a call.
pub struct Turn<'a> {
    /// The wall clock. It may jump, in both directions.
    pub now: Timestamp,
    /// Gives 64 fresh random bits a call. Names, writers and session numbers are made of it, so two replicas must never
    /// share a generator's state.
    pub chance: &'a mut dyn FnMut() -> u64,
}
