//! Of two links to one inbox the later has it.
//!
//! A link consumes its inbox with the time of its birth as the consumer's priority, so the broker hands everything to
//! the latest, however long it takes a dead one's connection to end. A link that finds its inbox consumed sends the
//! earlier one a message, through the inbox itself ([`TAKE_OVER`]), and waits for it to go within [`TAKE_OVER_MAX`].
//! This compares clocks, as leases do: who takes a name over within the clocks' difference may be the one who has to
//! go.

use std::fmt;
use std::time::Duration;

/// The `type` of a message of one link to an earlier one of the same inbox; its `message-id` is the [`Birth`] of the
/// sender. Who finds it in its inbox and was born earlier has to go. It is published to the inbox by its name, not
/// mandatory, not written to disk.
pub const TAKE_OVER: &str = "dayfly.take-over";

/// What such a message says, to people.
pub const TAKE_OVER_BODY: &[u8] = b"take-over";

/// After this time in the inbox it finds nobody to tell, in milliseconds.
pub const TAKE_OVER_TTL_MS: u64 = 60_000;

/// How long a link waits for an earlier one to give up the inbox. One that is frozen is not waited for longer.
pub const TAKE_OVER_MAX: Duration = Duration::from_secs(1);

/// When a link was made, and which of those made in the same millisecond it is. Ordered by that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Birth {
    /// In milliseconds since 1970.
    pub ms: u64,
    /// Tells those of one millisecond apart.
    pub random: u64,
}

impl Birth {
    /// Reads what [`fmt::Display`] writes; none if it is something else.
    pub fn read(text: &str) -> Option<Self> {
        let (ms, random) = text.split_once('-')?;
        Some(Self { ms: ms.parse().ok()?, random: random.parse().ok()? })
    }

    /// Whether a message of this type and id tells this link to go.
    pub fn must_yield_to(&self, id: Option<&str>) -> bool {
        id.and_then(Self::read).is_some_and(|other| other > *self)
    }
}

impl fmt::Display for Birth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.ms, self.random)
    }
}

#[cfg(test)]
mod tests {
    use super::Birth;

    #[test]
    fn a_birth_is_read_as_it_is_written() {
        let birth = Birth { ms: 17, random: u64::MAX };
        assert_eq!(Birth::read(&birth.to_string()), Some(birth));
        for text in ["", "17", "17-", "-1", "17-x", "17-1-1"] {
            assert_eq!(Birth::read(text), None, "{text}");
        }
    }

    #[test]
    fn the_earlier_yields() {
        let birth = Birth { ms: 17, random: 5 };
        assert!(birth.must_yield_to(Some("17-6")) && birth.must_yield_to(Some("18-0")));
        assert!(!birth.must_yield_to(Some("17-5")) && !birth.must_yield_to(Some("16-9")));
        assert!(!birth.must_yield_to(Some("later")) && !birth.must_yield_to(None));
    }
}
