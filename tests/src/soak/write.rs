//! A write, as its client knows it.

use std::fmt;

use serde::Serialize;

use super::fleet::Place;

/// What runs a replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Host {
    /// `dayfly node`.
    Native,
    /// A function of the platform in `tests/src/platform.rs`.
    Lambda,
    /// An application under `spin-platform`.
    Spin,
}

impl Host {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Native, Self::Lambda, Self::Spin];

    /// As `/v1/status` tells it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Lambda => "lambda",
            Self::Spin => "spin",
        }
    }
}

/// How a write ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is applied, and the broker has it.
    Confirmed {
        /// What `dayfly-context` tells; a write that changed nothing has none.
        token: Option<String>,
    },
    /// It is applied where this says, and is lost only if that ends before it is sent again.
    Unconfirmed(Place),
    /// It may be applied or not.
    Unanswered,
    /// It is not applied.
    Refused,
    /// It is not applied, for its token would hold more writers than a token may.
    Crowded,
}

impl Outcome {
    /// How reports call it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Confirmed { .. } => "confirmed",
            Self::Unconfirmed(_) => "unconfirmed",
            Self::Unanswered => "unanswered",
            Self::Refused | Self::Crowded => "refused",
        }
    }

    /// What may be seen of the write at last, if it is known which replicas have not ended.
    pub fn due(&self, lives: &dyn Fn(&Place) -> bool) -> Due {
        match self {
            Self::Confirmed { .. } => Due::Applied,
            Self::Unconfirmed(place) if lives(place) => Due::Applied,
            Self::Unconfirmed(_) | Self::Unanswered => Due::Either,
            Self::Refused | Self::Crowded => Due::NotApplied,
        }
    }
}

/// Whether a write is to be seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// It must be.
    Applied,
    /// It must not be.
    NotApplied,
    /// It may be, as a whole.
    Either,
}

/// Where and when a write was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Made {
    /// By which host it was asked.
    pub host: Host,
    /// The replica that answered; none: nobody did.
    pub replica: Option<String>,
    /// Milliseconds since the run began, when it was asked for.
    pub at_ms: u64,
    /// How it ended.
    pub outcome: Outcome,
}

impl fmt::Display for Made {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let replica = self.replica.as_deref().unwrap_or("nobody");
        let seconds = self.at_ms as f64 / 1e3;
        write!(f, "{} at {seconds:.3} s by {} ({replica})", self.outcome.name(), self.host.name())
    }
}
