//! `POST /v1/wake` with `{"seconds":30}`: a replica is kept awake for so long, and answers when it has the whole
//! database.
//!
//! The answer is `{"replica","complete","awake_until","filled_ms","root"}`: its name; whether it is complete, for the
//! answer comes after half of the seconds at latest; until when it is awake, in milliseconds since 1970; how long a new
//! replica took from its start until it was complete, else null; and the digest of its state. It is the host's own
//! path: a keeper (`dayfly keep`) asks it of every host alike.

use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::{HeaderValue, Response, header};
use dayfly_engine::world::system_now_ms;
use dayfly_engine::{Phase, Replica};
use serde_json::{Value, json};
use tokio::time::timeout;

use super::Refusal;
use crate::metrics;

/// The fewest and the most seconds that may be asked for.
const SECONDS: std::ops::RangeInclusive<f64> = 1.0..=840.0;
/// How long a replica that is asked for its root may take.
const STATUS_MAX: Duration = Duration::from_millis(500);

/// A replica that was woken.
#[derive(Clone, Debug)]
pub struct Woken {
    /// The replica.
    pub replica: Replica,
    /// When it was started, if it was for this.
    pub started: Option<Instant>,
    /// Whether it is always awake, whatever was asked for.
    pub stands: bool,
}

/// Reads how long a replica is to be awake.
pub fn period(body: &[u8]) -> Result<Duration, Refusal> {
    let parsed: Value = serde_json::from_slice(body).unwrap_or_default();
    match parsed["seconds"].as_f64() {
        Some(seconds) if SECONDS.contains(&seconds) => Ok(Duration::from_secs_f64(seconds)),
        Some(_) | None => Err(Refusal::BadWake),
    }
}

/// Waits until a woken replica is complete, for half of the period at most, and gives the answer.
pub async fn answer(woken: Woken, period: Duration) -> Result<Response<Body>, Refusal> {
    let Woken { replica, started, stands } = woken;
    let mut report = replica.watch();
    let settled = report.wait_for(|report| report.complete || matches!(report.phase, Phase::Ended(_)));
    // Who is not complete in time, or whose task is gone, is told by its report.
    let _ = timeout(period / 2, settled).await;
    let filled = started.map(|started| started.elapsed());
    let report = replica.report();
    let until_ms = match report.phase {
        Phase::Ended(_) => return Err(Refusal::NoReplica("the replica that was woken has ended".to_owned())),
        Phase::Awake { until_ms } if stands => until_ms.max(system_now_ms() + period.as_millis() as u64),
        Phase::Awake { until_ms } => until_ms,
        // It froze at this very moment.
        Phase::Frozen => system_now_ms(),
    };
    let body = json!({
        "replica": replica.name(),
        "complete": report.complete,
        "awake_until": until_ms,
        "filled_ms": filled.filter(|_| report.complete).map(|filled| filled.as_millis() as u64),
        "root": root(&replica).await,
    });
    let mut response = Response::new(Body::from(body.to_string()));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let Ok(name) = HeaderValue::try_from(replica.name()) {
        response.headers_mut().insert("dayfly-replica", name);
    }
    Ok(response)
}

/// The digest of its state, if it says so in time.
async fn root(replica: &Replica) -> Option<String> {
    let answer = timeout(STATUS_MAX, replica.peek(metrics::peeking("/v1/status", ""))).await.ok()??;
    let status: Value = serde_json::from_slice(&answer.body).ok()?;
    status["root"].as_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wake_says_for_how_many_seconds() {
        assert_eq!(period(br#"{"seconds":30}"#), Ok(Duration::from_secs(30)));
        assert_eq!(period(br#"{"seconds":1.5,"more":1}"#), Ok(Duration::from_millis(1_500)));
        for wrong in [&b""[..], b"30", b"{}", br#"{"seconds":"30"}"#, br#"{"seconds":0}"#, br#"{"seconds":841}"#] {
            assert_eq!(period(wrong), Err(Refusal::BadWake), "{wrong:?}");
        }
    }
}
