//! A wake as it goes out, and what came of it, whatever the target is.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use serde::Deserialize;

use super::target::Target;
use super::{lambda, url};
use crate::client::agents::Agents;

/// Beyond the awake period that a wake asks for, so long is an answer waited for: a cold start, and slow networks.
const ANSWER_MAX: Duration = Duration::from_secs(20);
/// The longest time for a connection to come about.
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// The longest answer that is read, in bytes.
pub const ANSWER_BYTES_MAX: u64 = 64 * 1_024;

/// What a target answers to a wake: the contract of every host.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Answer {
    /// The replica's name.
    pub replica: String,
    /// Whether it has the whole database.
    pub complete: bool,
    /// Until when it is awake, in milliseconds since 1970 by its own clock.
    pub awake_until: Option<u64>,
    /// How long it took from its start until it was complete, in milliseconds.
    pub filled_ms: Option<u64>,
    /// The digest of its state.
    pub root: Option<String>,
}

/// Why a wake failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// The kind.
    pub kind: Kind,
    /// What happened, for people.
    pub message: String,
    /// How long the target asks to be left alone.
    pub retry_after: Option<Duration>,
}

/// Kinds of failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Too many invocations at once: it did not run.
    Throttled,
    /// It will not work before somebody mends something: no such function, no permission. It did not run.
    Refused,
    /// No connection, or the platform failed before it ran.
    Unreachable,
    /// The function failed.
    Function,
    /// What answers is no replica of Dayfly.
    Foreign,
    /// No answer in time, or it broke off: it may have run.
    Silent,
}

impl Kind {
    /// Whether the invocation is billed: whether it ran, or may have.
    pub fn is_billed(self) -> bool {
        match self {
            Self::Function | Self::Foreign | Self::Silent => true,
            Self::Throttled | Self::Refused | Self::Unreachable => false,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Throttled => "throttled",
            Self::Refused => "refused",
            Self::Unreachable => "unreachable",
            Self::Function => "function_error",
            Self::Foreign => "foreign",
            Self::Silent => "no_answer",
        })
    }
}

impl Trouble {
    /// Of this kind, for this reason.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), retry_after: None }
    }

    /// What an error of the HTTP client means.
    pub fn of_transport(error: &ureq::Error) -> Self {
        use std::io::ErrorKind::{AddrNotAvailable, ConnectionRefused, HostUnreachable, NetworkUnreachable};
        let before = |io: &std::io::Error| {
            let known = [ConnectionRefused, HostUnreachable, NetworkUnreachable, AddrNotAvailable];
            known.contains(&io.kind()) || io.to_string().starts_with("failed to lookup address")
        };
        let kind = match error {
            ureq::Error::HostNotFound
            | ureq::Error::ConnectionFailed
            | ureq::Error::Http(_)
            | ureq::Error::BadUri(_)
            | ureq::Error::Tls(_)
            | ureq::Error::Rustls(_)
            | ureq::Error::Timeout(ureq::Timeout::Connect | ureq::Timeout::Resolve) => Kind::Unreachable,
            ureq::Error::Io(io) if before(io) => Kind::Unreachable,
            _ => Kind::Silent,
        };
        Self::new(kind, error.to_string())
    }
}

/// What happens to a wake. An answer may be followed by an end that nobody announced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The target answered; its replica is awake.
    Answered(Answer),
    /// It did not.
    Failed(Trouble),
    /// The replica that was awake is so no longer: its linger request has ended.
    Ended,
}

/// Wakes replicas.
#[derive(Clone, Debug)]
pub struct Caller {
    agents: Agents,
    /// The emulator that is asked in place of AWS.
    endpoint: Option<String>,
    /// How long a woken replica is to be awake, in seconds.
    seconds: u64,
}

impl Caller {
    /// A caller that wakes for so many seconds; `endpoint` stands in for AWS, without a slash at its end.
    pub fn new(seconds: u64, endpoint: Option<String>) -> Self {
        let agents = Agents::patient(Duration::from_secs(seconds) + ANSWER_MAX, CONNECT_MAX);
        Self { agents, endpoint, seconds }
    }

    /// Wakes a replica, and tells what comes of it. Returns when nothing more is to come: with a linger request, when
    /// that has ended. `lingers` is kept with the target.
    pub fn wake(&self, target: &Target, lingers: &Arc<AtomicBool>, mut tell: impl FnMut(Outcome)) {
        match target {
            Target::Lambda { function, region } => {
                let endpoint = self.endpoint.as_deref();
                let agent = self.agents.of(endpoint.unwrap_or("https"));
                tell(match lambda::invoke(agent, endpoint, function, region, self.seconds) {
                    Ok(answer) => Outcome::Answered(answer),
                    Err(trouble) => Outcome::Failed(trouble),
                });
            }
            Target::Url(base) => {
                let agent = self.agents.of(base);
                if let Err(trouble) = url::wake(agent, base, self.seconds, lingers, &mut tell) {
                    tell(Outcome::Failed(trouble));
                }
            }
        }
    }
}
