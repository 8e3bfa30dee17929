//! What is not as it must be.

use std::collections::BTreeMap;
use std::fmt;

use dayfly_core::cell::DataType;
use serde::Serialize;
use serde_json::Value;

/// A key: its name and its type.
pub type Key = (String, DataType);

/// What was read: the values of the keys that exist.
pub type Reading = BTreeMap<Key, Value>;

/// What kind of fault it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A write that must be seen is not.
    Lost,
    /// More was counted than was written.
    CountedTwice,
    /// A part of what belongs together is there without the rest.
    Torn,
    /// What was removed is there.
    Resurrected,
    /// What nobody wrote, or what was refused, is there.
    Surplus,
    /// A value is none of those that it may be.
    Wrong,
    /// A read with `dayfly-after` did not show what it must.
    UnseenOwnWrite,
    /// Replicas do not agree.
    Disagreement,
    /// A request was answered as no request of a client should be.
    Answer,
    /// A process ended by itself, or could not be started.
    Process,
}

/// A fault that was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Of which kind.
    pub kind: Kind,
    /// What it is about: a key with its type, or a replica.
    pub about: String,
    /// What should be, what is, and which write that is about, with its host and time.
    pub told: String,
    /// Where it was read; empty: where all agree.
    pub at: String,
    /// Seconds since the run began.
    pub second: u64,
}

impl Finding {
    /// One about a key, found where and when the caller adds.
    pub fn of_key(kind: Kind, (name, data_type): &Key, told: String) -> Self {
        Self { kind, about: format!("{} {name}", data_type.name()), told, at: String::new(), second: 0 }
    }

    /// The same, with the place and the time.
    pub fn found(self, at: &str, second: u64) -> Self {
        Self { at: at.to_owned(), second, ..self }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} at {} s: {}: {}", self.kind, self.second, self.about, self.told)?;
        if !self.at.is_empty() {
            write!(f, " (read at {})", self.at)?;
        }
        Ok(())
    }
}
