//! One cluster, or one replica of it, spoken to over HTTP.
//!
//! What matters most here is what is known of a request that got no answer. If no connection came about, nothing was
//! sent; in all other cases it may have been acted on.

use std::fmt;
use std::thread;
use std::time::{Duration, Instant};

use ureq::http::{Request, Uri};
use ureq::{Agent, Timeout};

use super::Failure;
use super::arguments::ClusterArgs;
use super::backoff::Backoff;
use super::path;
use super::refusal::{Outcome, Refusal};

/// The longest answer that is read, in bytes: four times the usual bound of a whole store.
const ANSWER_BYTES: u64 = 256 << 20;

/// The longest time for a connection to come about.
const CONNECT: Duration = Duration::from_secs(5);

/// How long a connection is kept for the next request. Short, because a request that meets a connection just closed by
/// the other side is in doubt.
const IDLE: Duration = Duration::from_secs(2);

/// A cluster, or one replica of it.
#[derive(Clone, Debug)]
pub struct Server {
    agent: Agent,
    base: String,
    timeout: Duration,
}

/// What is asked.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ask<'a> {
    /// `GET`, `POST` or `DELETE`.
    pub method: &'static str,
    /// The path with its query, from `/v1/`.
    pub path: &'a str,
    /// The JSON body.
    pub body: Option<&'a str>,
    /// The header `dayfly-context`.
    pub context: Option<&'a str>,
    /// The header `dayfly-after`.
    pub after: Option<&'a str>,
    /// Whether the new value is of no interest (`prefer: return=minimal`).
    pub minimal: bool,
}

/// What came back, whatever its status.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The body, with what is not UTF-8 replaced; or why it did not arrive whole.
    pub body: Result<String, String>,
    /// The header `dayfly-context`.
    pub context: Option<String>,
    /// The header `dayfly-replica`.
    pub replica: Option<String>,
    /// Whether the replica says that it is still being filled (`dayfly-complete: false`).
    pub incomplete: bool,
    /// The header `retry-after`.
    pub retry_after: Option<Duration>,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Silence {
    /// No connection came about: nothing was sent.
    NotSent(String),
    /// It was sent, in whole or in part, and no answer came.
    NoAnswer(String),
}

impl Silence {
    /// Sorts an error of the HTTP client, which waited so long. Whatever is not known to have happened before a connection stood, may have
    /// happened after the request was read.
    pub fn of(error: &ureq::Error, timeout: Duration) -> Self {
        use std::io::ErrorKind::{AddrNotAvailable, ConnectionRefused, HostUnreachable, NetworkUnreachable};
        match error {
            ureq::Error::HostNotFound => Self::NotSent("no such host".to_owned()),
            // So the standard library begins what the resolver says; it has no kind for it.
            ureq::Error::Io(io) if io.to_string().starts_with("failed to lookup address") => {
                Self::NotSent(io.to_string())
            }
            ureq::Error::Timeout(Timeout::Connect | Timeout::Resolve) => {
                Self::NotSent("no connection came about in time".to_owned())
            }
            ureq::Error::Io(io)
                if matches!(io.kind(), ConnectionRefused | HostUnreachable | NetworkUnreachable | AddrNotAvailable) =>
            {
                Self::NotSent(io.to_string())
            }
            ureq::Error::Http(_) | ureq::Error::BadUri(_) | ureq::Error::ConnectionFailed => {
                Self::NotSent(error.to_string())
            }
            ureq::Error::Timeout(_) => Self::NoAnswer(format!("no answer within {} s", timeout.as_secs_f64())),
            ureq::Error::Io(io) => Self::NoAnswer(format!("the connection broke: {io}")),
            other => Self::NoAnswer(other.to_string()),
        }
    }
}

impl std::error::Error for Silence {}

impl fmt::Display for Silence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotSent(reason) | Self::NoAnswer(reason) => f.write_str(reason),
        }
    }
}

impl Answer {
    /// What the answer refuses, if it does.
    pub fn refusal(&self) -> Option<Refusal> {
        if (200..300).contains(&self.status) {
            return None;
        }
        Some(match &self.body {
            Ok(body) => Refusal::read(self.status, body, self.retry_after.is_some()),
            Err(reason) => Refusal { status: self.status, code: None, message: reason.clone(), invites_retry: false },
        })
    }
}

impl Server {
    /// Checks the arguments; asks nothing yet.
    pub fn new(args: &ClusterArgs) -> Result<Self, Failure> {
        let wrong = |what: &str| Failure::Usage(format!("--url {}: {what}", args.url));
        let uri: Uri = args.url.parse().map_err(|_| wrong("expected a URL such as http://127.0.0.1:8080"))?;
        match uri.scheme_str() {
            Some("http") => {}
            Some("https") => return Err(wrong("this program speaks plain http only; put a proxy in between")),
            Some(_) | None => return Err(wrong("expected a URL that begins with http://")),
        }
        if uri.host().is_none_or(str::is_empty) || uri.query().is_some() {
            return Err(wrong("expected host, port and perhaps a path, nothing else"));
        }
        let mut base = args.url.trim_end_matches('/').to_owned();
        if let Some(replica) = &args.replica {
            base.push_str(&format!("/replicas/{}", path::segment(replica)));
        }
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            // What the environment says of proxies is meant for the world, not for a cluster on this machine.
            .proxy(None)
            .user_agent(concat!("dayfly/", env!("CARGO_PKG_VERSION")))
            .max_idle_age(IDLE)
            .timeout_per_call(Some(args.timeout))
            // Less than the whole, so that a host which does not answer at all is known to have got nothing.
            .timeout_connect(Some(CONNECT.min(args.timeout / 2)))
            .timeout_resolve(Some(CONNECT.min(args.timeout / 2)))
            .build()
            .new_agent();
        Ok(Self { agent, base, timeout: args.timeout })
    }

    /// Asks once.
    pub fn ask(&self, ask: Ask<'_>) -> Result<Answer, Silence> {
        let mut builder = Request::builder().method(ask.method).uri(format!("{}{}", self.base, ask.path));
        let minimal = ask.minimal.then_some("return=minimal");
        let json = ask.body.map(|_| "application/json");
        let headers =
            [("dayfly-context", ask.context), ("dayfly-after", ask.after), ("prefer", minimal), ("content-type", json)];
        for (name, value) in headers {
            if let Some(value) = value {
                builder = builder.header(name, value);
            }
        }
        let request = |error: ureq::http::Error| Silence::NotSent(format!("this cannot be sent over HTTP: {error}"));
        let sent = match ask.body {
            Some(body) => self.agent.run(builder.body(body).map_err(request)?),
            None => self.agent.run(builder.body(()).map_err(request)?),
        };
        let mut response = sent.map_err(|error| Silence::of(&error, self.timeout))?;
        let body = response.body_mut().with_config().limit(ANSWER_BYTES).read_to_vec();
        let header = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        Ok(Answer {
            status: response.status().as_u16(),
            body: match body {
                Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
                Err(error) => Err(format!("the answer broke off: {error}")),
            },
            context: header("dayfly-context"),
            replica: header("dayfly-replica"),
            incomplete: header("dayfly-complete").is_some_and(|value| value == "false"),
            retry_after: header("retry-after").and_then(|value| value.parse().ok()).map(Duration::from_secs),
        })
    }

    /// Asks until a replica answers that is able to: `busy` and `not_yet` are tried again for as long as the timeout
    /// lasts. Refusals are failures, and so is silence; `changes` says whether that leaves a doubt.
    pub fn ask_patiently(&self, ask: Ask<'_>, changes: bool) -> Result<Answer, Failure> {
        let mut backoff = Backoff::until(Instant::now() + self.timeout);
        loop {
            let answer = self.ask(ask).map_err(|silence| self.failure(silence, changes))?;
            let Some(refusal) = answer.refusal() else { return Ok(answer) };
            let passing = matches!(refusal.code.as_deref(), Some("busy" | "not_yet"));
            match backoff.pause(Instant::now(), answer.retry_after).filter(|_| passing) {
                Some(pause) => thread::sleep(pause),
                None => {
                    if answer.incomplete && refusal.status == 404 {
                        warn_incomplete(&answer);
                    }
                    return Err(match refusal.outcome() {
                        Outcome::Applied if changes => Failure::Unconfirmed(refusal),
                        Outcome::Unknown if changes => Failure::InDoubt(refusal.to_string()),
                        _ => Failure::Refused(refusal),
                    });
                }
            }
        }
    }

    /// What silence means to somebody who does not try again.
    pub fn failure(&self, silence: Silence, changes: bool) -> Failure {
        match silence {
            Silence::NotSent(reason) => Failure::Unreachable { url: self.base.clone(), reason },
            Silence::NoAnswer(reason) if changes => Failure::InDoubt(reason),
            Silence::NoAnswer(reason) => Failure::NoAnswer { url: self.base.clone(), reason },
        }
    }
}

/// Says on stderr that the replica which answered is still being filled.
pub fn warn_incomplete(answer: &Answer) {
    let replica = answer.replica.as_deref().unwrap_or("the replica");
    eprintln!("dayfly: note: {replica} is still being filled: what it does not know may exist");
}
