//! Why a command failed, and with which exit code.

use std::fmt;

use dayfly_engine::BrokerError;

use super::refusal::Refusal;
use crate::settings::masked;

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
    /// It was not done, since it would do harm; the text tells what to do.
    Denied(String),
    /// There is no broker, or the connection to it broke.
    NoBroker(String),
    /// The broker refused.
    BrokerRefused(String),
    /// Another replica took this one's name.
    TakenOver(String),
}

impl Failure {
    /// The exit code, as the help of `dayfly` lists them.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Refused(refusal) if refusal.code.as_deref() == Some("no_such_key") => 4,
            Self::Refused(_) | Self::Foreign(_) | Self::Denied(_) | Self::BrokerRefused(_) => 1,
            Self::Usage(_) => 2,
            Self::Unreachable { .. } | Self::NoAnswer { .. } | Self::NoBroker(_) => 3,
            Self::InDoubt(_) | Self::Unconfirmed(_) => 5,
            Self::TakenOver(_) => 6,
        }
    }

    /// Of an error of the broker's.
    pub fn of_broker(error: &BrokerError) -> Self {
        let text = masked(&error.to_string());
        match error {
            BrokerError::Unreachable(_) => Self::NoBroker(text),
            BrokerError::Refused(_) => Self::BrokerRefused(text),
            BrokerError::TakenOver => Self::TakenOver(text),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(what) | Self::Denied(what) | Self::TakenOver(what) => f.write_str(what),
            Self::NoBroker(what) | Self::BrokerRefused(what) => write!(f, "{what} (`dayfly doctor` tells more)"),
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
