//! What is done with an event.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use dayfly_engine::Grant;
use dayfly_engine::contract::Request;
use lambda_runtime::{Diagnostic, LambdaEvent};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::{timeout, timeout_at};
use tracing::{debug, info, warn};

use crate::answer;
use crate::environment::Linger;
use crate::event::{self, Event, Messages};
use crate::life::{DEADLINE_MARGIN_MS, Life, NoAnswer, instant, now_ms};
use crate::platform::{Extension, Invoked};

/// The one path of HTTP that is the host's.
const WAKE_PATH: &str = "/v1/wake";
/// An awake period is announced for at least so long, so that starting, answering and confirming fit even where nothing
/// is to follow the answer. It is ended earlier then.
const ANSWER_MS: u64 = 5_000;
/// How many invocations are remembered as answered. Lambda has one at a time.
const ANSWERED_MAX: usize = 64;
/// How long before its deadline the extension gives an invocation up, frozen replica or not.
const EXTENSION_MARGIN_MS: u64 = 100;

/// Answers events, and lingers after the answers.
pub struct Host {
    life: Life,
    linger: Linger,
    /// Whether an extension keeps the platform from freezing this process right after an answer.
    lingers: AtomicBool,
    /// Before this time in milliseconds since 1970 the extension does not end an awake period.
    lingers_until_ms: AtomicU64,
    /// The latest invocations that were answered.
    answered: watch::Sender<VecDeque<String>>,
}

/// Why a wake was not carried out.
enum NoWake {
    Malformed(String),
    NoAnswer(NoAnswer),
}

impl Host {
    /// A host for this replica.
    pub fn new(life: Life, linger: Linger) -> Self {
        let (lingers, lingers_until_ms) = (AtomicBool::new(false), AtomicU64::new(0));
        Self { life, linger, lingers, lingers_until_ms, answered: watch::Sender::new(VecDeque::new()) }
    }

    /// Answers an event. Without an extension the replica is frozen by then.
    ///
    /// # Errors
    /// The event is unknown, or is not from HTTP, where errors are answers, and could not be dealt with.
    pub async fn answer(&self, event: LambdaEvent<Value>) -> Result<Value, Diagnostic> {
        let (id, began_ms) = (event.context.request_id, now_ms());
        let deadline_ms = since_1970(event.context.deadline, began_ms).saturating_sub(DEADLINE_MARGIN_MS);
        let is_http_v2 = event.payload["version"] == "2.0";
        let outcome = match Event::read(event.payload) {
            Ok(Event::Http(request)) => {
                let mut answer = self.http(&id, &request, deadline_ms).await;
                if is_http_v2 {
                    // `cargo lambda watch` insists on it. Not in answers to a REST API, which has no such field.
                    answer["cookies"] = Value::Array(Vec::new());
                }
                Ok(answer)
            }
            Ok(Event::Wake { seconds }) => {
                self.wake(seconds, deadline_ms).await.map_err(|error| failure("Dayfly.NoReplica", &error))
            }
            Ok(Event::Messages(messages)) => self.messages(messages, deadline_ms).await,
            Err(unknown) => Err(failure("Dayfly.UnknownEvent", &unknown)),
        };
        if let Err(error) = &outcome {
            warn!(request_id = id, error = error.error_type, "{}", error.error_message);
        }
        if !self.lingers.load(Ordering::SeqCst) {
            self.life.freeze().await;
        }
        debug!(request_id = id, ms = now_ms().saturating_sub(began_ms), "answered");
        outcome
    }

    /// The platform has the answer to this invocation.
    pub fn note_answered(&self, id: String) {
        self.answered.send_modify(|answered| {
            answered.truncate(ANSWERED_MAX - 1);
            answered.push_front(id);
        });
    }

    /// Answers a request, errors included.
    async fn http(&self, id: &str, request: &Request, deadline_ms: u64) -> Value {
        if request.path == WAKE_PATH {
            return self.wake_over_http(request, deadline_ms).await;
        }
        let deadline = instant(deadline_ms);
        match self.life.invoke(request, self.grant(deadline_ms), deadline).await {
            Ok(response) => {
                if response.status >= 500 {
                    info!(request_id = id, method = request.method, status = response.status, "request");
                }
                answer::of(response)
            }
            Err(error) => {
                warn!(request_id = id, method = request.method, "{error}");
                refusal(&error)
            }
        }
    }

    async fn wake_over_http(&self, request: &Request, deadline_ms: u64) -> Value {
        if request.method != "POST" {
            let message = "this path is for POST, with {\"seconds\":30}";
            return answer::error(405, "bad_method", message, Some(("allow", "POST")));
        }
        let seconds = match serde_json::from_slice::<Value>(&request.body) {
            Ok(body) => event::seconds_of(&body).map_err(NoWake::Malformed),
            Err(error) => Err(NoWake::Malformed(format!("the body is no JSON: {error}"))),
        };
        let outcome = match seconds {
            Ok(seconds) => self.wake(seconds, deadline_ms).await.map_err(NoWake::NoAnswer),
            Err(error) => Err(error),
        };
        match outcome {
            Ok(woken) => answer::json(200, &woken),
            Err(NoWake::Malformed(message)) => answer::error(400, "bad_request", &message, None),
            Err(NoWake::NoAnswer(error)) => refusal(&error),
        }
    }

    /// Has the replica be awake, and answers when it is complete, at latest when half of the time is over.
    async fn wake(&self, seconds: f64, deadline_ms: u64) -> Result<Value, NoAnswer> {
        let began_ms = now_ms();
        let wanted = Duration::from_secs_f64(seconds);
        let until_ms = (began_ms + u64::try_from(wanted.as_millis()).unwrap_or(u64::MAX)).min(deadline_ms);
        self.lingers_until_ms.fetch_max(until_ms, Ordering::SeqCst);
        let present = self.life.awake(Grant { until_ms, quiet_ms: None }, instant(deadline_ms)).await?;
        let half = Duration::from_millis(until_ms.saturating_sub(began_ms) / 2);
        let rest = half.saturating_sub(Duration::from_millis(now_ms().saturating_sub(began_ms)));
        let complete = present.complete(rest).await;
        let request = Request {
            method: "GET".into(),
            path: "/v1/status".into(),
            query: String::new(),
            headers: vec![],
            body: vec![],
        };
        let status = timeout(rest.max(Duration::from_secs(1)), present.replica.peek(request)).await.ok().flatten();
        let status: Value = status.and_then(|status| serde_json::from_slice(&status.body).ok()).unwrap_or_default();
        Ok(json!({
            "replica": present.replica.name(),
            "complete": complete,
            "awake_until": until_ms,
            "filled_ms": present.filled_ms(),
            "root": status["root"],
        }))
    }

    /// Hands in what an event source took from the broker. It succeeds when what was made of it is safe: the event
    /// source has the broker forget the messages then.
    async fn messages(&self, messages: Messages, deadline_ms: u64) -> Result<Value, Diagnostic> {
        let (received, broken) = (messages.bodies.len(), messages.broken);
        if broken > 0 {
            warn!(broken, "messages of the event source are not in base64 and were dropped");
        }
        let deadline = instant(deadline_ms);
        let no_replica = |error: NoAnswer| failure("Dayfly.NoReplica", &error);
        let present = self.life.awake(self.grant(deadline_ms), deadline).await.map_err(no_replica)?;
        let bodies: Vec<Bytes> = messages.bodies.into_iter().map(Bytes::from).collect();
        match timeout_at(deadline, present.replica.deliver(bodies)).await {
            Ok(true) => Ok(json!({ "received": received, "broken": broken })),
            Ok(false) | Err(_) => {
                let reason = "what was made of the messages was not confirmed within the time: they have to come again";
                Err(failure("Dayfly.NotDone", &reason))
            }
        }
    }

    /// How long the replica may be awake for an invocation.
    fn grant(&self, deadline_ms: u64) -> Grant {
        let now_ms = now_ms();
        match self.linger {
            Linger::Quiet(quiet) => {
                let quiet_ms = u64::try_from(quiet.as_millis()).unwrap_or(u64::MAX);
                Grant { until_ms: deadline_ms, quiet_ms: Some(quiet_ms) }
            }
            Linger::For(time) => {
                let time_ms = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
                self.lingers_until_ms.fetch_max(now_ms + time_ms, Ordering::SeqCst);
                Grant { until_ms: (now_ms + time_ms.max(ANSWER_MS)).min(deadline_ms), quiet_ms: None }
            }
        }
    }

    /// From now on [`Host::linger`] goes on after answers. To be called before the first event.
    pub fn will_linger(&self) {
        self.lingers.store(true, Ordering::SeqCst);
    }

    /// Keeps the platform from freezing this process until the replica is frozen, invocation for invocation. Ends when
    /// the extension does; from then on replicas are frozen before the answer.
    pub async fn linger(&self, extension: &Extension) {
        loop {
            match extension.next().await {
                Ok(invoked) => self.linger_after(&invoked).await,
                Err(error) => {
                    warn!("the extension has ended, so replicas are frozen before the answer: {error}");
                    self.lingers.store(false, Ordering::SeqCst);
                    return;
                }
            }
        }
    }

    async fn linger_after(&self, invoked: &Invoked) {
        let deadline_ms = since_1970(invoked.deadline_ms, now_ms());
        let deadline = instant(deadline_ms.saturating_sub(EXTENSION_MARGIN_MS));
        let mut answered = self.answered.subscribe();
        let is_answered = answered.wait_for(|answered| answered.contains(&invoked.request_id));
        if timeout_at(deadline, is_answered).await.is_err() {
            warn!(request_id = invoked.request_id, "there is no answer at the deadline");
            return;
        }
        let Ok(Some(present)) = timeout_at(deadline, self.life.present()).await else { return };
        if let Linger::For(_) = self.linger {
            let until = instant(self.lingers_until_ms.load(Ordering::SeqCst)).min(deadline);
            if !present.frozen(until).await {
                // Bounded by the deadline below, as every freeze.
                let _ = timeout_at(deadline, present.replica.suspend()).await;
            }
        }
        if !present.frozen(deadline).await {
            warn!(request_id = invoked.request_id, "the replica is not frozen at the deadline");
        }
    }
}

/// A deadline in milliseconds since 1970, as Lambda gives it. `cargo lambda watch` gives how much time there is: ten
/// minutes. A time that is before 2001, when there was no Lambda, is taken for that.
fn since_1970(deadline_ms: u64, now_ms: u64) -> u64 {
    const YEAR_2001_MS: u64 = 978_307_200_000;
    if deadline_ms < YEAR_2001_MS { now_ms + deadline_ms } else { deadline_ms }
}

/// An error of an event that is not from HTTP.
fn failure(kind: &str, error: &impl ToString) -> Diagnostic {
    Diagnostic { error_type: kind.to_owned(), error_message: error.to_string() }
}

/// What a client gets in place of an answer.
fn refusal(error: &NoAnswer) -> Value {
    let header = match error {
        NoAnswer::NoReplica(_) => Some(("retry-after", "1")),
        // What may have been applied is not to be repeated unseen.
        NoAnswer::InDoubt => None,
    };
    answer::error(503, "no_replica", &error.to_string(), header)
}

#[cfg(test)]
mod tests {
    use super::since_1970;

    #[test]
    fn a_deadline_that_counts_from_the_event_is_understood() {
        let now_ms = 1_800_000_000_000;
        assert_eq!(since_1970(600_000, now_ms), now_ms + 600_000);
        // Also one that is over.
        assert_eq!(since_1970(now_ms - 1, now_ms), now_ms - 1);
    }
}
