//! Why a command failed, and with which exit code.

use std::fmt;

use super::refusal::Refusal;

/// Why a command failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The arguments make no sense; nothing was sent.
    Usage(String),
    /// No connection came about, so nothing was done.
    Unreachable {
        /// The URL that was asked.
        url: String,
        /// What the system said.
        reason: String,
    },
    /// The answer to a request that changes nothing did not come.
    NoAnswer {
        /// The URL that was asked.
        url: String,
        /// What happened instead.
        reason: String,
    },
    /// A write was sent, and whether it is applied is not known.
    InDoubt(String),
    /// The cluster refused and changed nothing.
    Refused(Refusal),
    /// The write is applied on one replica, which will send it again; the broker has not confirmed it yet.
    Unconfirmed(Refusal),
    /// What answered does not answer as Dayfly does.
    Foreign(String),
}

impl Failure {
    /// The exit code, as the help of `dayfly` lists them.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Refused(refusal) if refusal.code.as_deref() == Some("no_such_key") => 4,
            Self::Refused(_) | Self::Foreign(_) => 1,
            Self::Usage(_) => 2,
            Self::Unreachable { .. } | Self::NoAnswer { .. } => 3,
            Self::InDoubt(_) | Self::Unconfirmed(_) => 5,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(what) => f.write_str(what),
            Self::Unreachable { url, reason } => {
                write!(f, "nothing listens at {url}: start a cluster with `dayfly up`, or set --url ({reason})")
            }
            Self::NoAnswer { url, reason } => write!(f, "no answer from {url}: {reason}"),
            Self::InDoubt(reason) => {
                write!(
                    f,
                    "the write was sent, and may have been applied or not: {reason}. Read before you send it again"
                )
            }
            Self::Refused(refusal) => write!(f, "{refusal}"),
            Self::Unconfirmed(refusal) => {
                write!(f, "applied on one replica, which will send it again; do not repeat the write ({refusal})")
            }
            Self::Foreign(what) => write!(f, "this is no answer of Dayfly's: {what}"),
        }
    }
}

impl std::error::Error for Failure {}
