//! Why a run ends early, and the flag that tells everybody.

use std::fmt;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::ledger::Range;

/// Why a run ended before the end of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stop {
    /// Ctrl-C, or a request to terminate.
    Interrupted,
    /// A bad line, with `--strict`.
    BadLine {
        /// Its number.
        line: u64,
        /// What is bad about it.
        reason: String,
    },
    /// Lines were refused for a reason that is not theirs, or for longer than `--retry`; nothing of them was applied.
    Refused {
        /// The lines.
        range: Range,
        /// What the cluster said.
        reason: String,
    },
    /// Lines were sent and may have been applied.
    InDoubt {
        /// The lines.
        range: Range,
        /// What is known.
        reason: String,
    },
    /// No connection came about for longer than `--retry`.
    Unreachable {
        /// What the system said.
        reason: String,
    },
    /// The mark is beyond the end of the file; nothing was sent.
    ForeignMark {
        /// Where the mark is.
        line: u64,
        /// How many lines the file has.
        lines: u64,
    },
    /// The file could not be read further.
    Input {
        /// What the system said.
        reason: String,
    },
}

impl Stop {
    /// The exit code, as the help of `dayfly` lists them.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::BadLine { .. } | Self::Refused { .. } | Self::Input { .. } => 1,
            Self::ForeignMark { .. } => 2,
            Self::Unreachable { .. } => 3,
            Self::InDoubt { .. } => 5,
            Self::Interrupted => 130,
        }
    }
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Interrupted => f.write_str("interrupted"),
            Self::BadLine { line, reason } => write!(f, "line {line}: {reason}"),
            Self::Refused { range, reason } => write!(f, "{range} refused: {reason}"),
            Self::InDoubt { range, reason } => write!(f, "{range} sent, but not answered: {reason}"),
            Self::Unreachable { reason } => write!(f, "the cluster is not reachable any more: {reason}"),
            Self::ForeignMark { line, lines } => write!(
                f,
                "the mark is at line {line}, but the input has only {lines} lines: it is the mark of another file, or \
                 of this one before it was cut; take another key, or delete that"
            ),
            Self::Input { reason } => write!(f, "the input cannot be read: {reason}"),
        }
    }
}

/// A flag that is raised once, and wakes whoever pauses.
#[derive(Debug, Default)]
pub struct Flag {
    raised: Mutex<Option<Stop>>,
    changed: Condvar,
}

impl Flag {
    /// Raises the flag; the first reason stands.
    pub fn raise(&self, stop: Stop) {
        self.raised.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(stop);
        self.changed.notify_all();
    }

    /// The reason, once the flag is raised.
    pub fn reason(&self) -> Option<Stop> {
        self.raised.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether the flag is raised.
    pub fn is_raised(&self) -> bool {
        self.raised.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// Waits so long, or until the flag is raised; tells whether it is.
    pub fn pause(&self, pause: Duration) -> bool {
        let deadline = Instant::now() + pause;
        let mut raised = self.raised.lock().unwrap_or_else(PoisonError::into_inner);
        while raised.is_none() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            raised = self.changed.wait_timeout(raised, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_reason_stands_and_ends_every_pause() {
        let flag = Flag::default();
        assert!(!flag.pause(Duration::from_millis(1)));
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| flag.pause(Duration::from_secs(600)));
            flag.raise(Stop::Interrupted);
            flag.raise(Stop::Input { reason: "later".to_owned() });
            assert!(waiting.join().expect("the pause ends"));
        });
        assert_eq!(flag.reason(), Some(Stop::Interrupted));
    }
}
