//! Targets over HTTP: `POST /v1/wake`, or where there is no such path a linger request, `GET /v1/linger`.

use std::io::{BufRead, BufReader, Read};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use ureq::http::{Request, Response};
use ureq::{Agent, Body};

use super::call::{ANSWER_BYTES_MAX, Answer, Kind, Outcome, Trouble};
use crate::client::refusal::Refusal;

/// The longest status line of a linger request that is read, in bytes.
const LINE_BYTES_MAX: u64 = 64 * 1_024;

/// Wakes a replica for so many seconds and tells the answer; with a linger request also its end. `lingers` remembers
/// that only the latter is answered, so that it need not be found out each time.
pub fn wake(
    agent: &Agent,
    base: &str,
    seconds: u64,
    lingers: &AtomicBool,
    tell: &mut impl FnMut(Outcome),
) -> Result<(), Trouble> {
    if !lingers.load(Ordering::Relaxed) {
        let body = json!({ "seconds": seconds }).to_string();
        let request = Request::builder().method("POST").uri(format!("{base}/v1/wake"));
        let request = request.header("content-type", "application/json").body(body);
        let request = request.map_err(|error| Trouble::new(Kind::Refused, format!("{base}: {error}")))?;
        let mut response = agent.run(request).map_err(|error| Trouble::of_transport(&error))?;
        if !matches!(response.status().as_u16(), 404 | 405) {
            let body = read(&mut response)?;
            if response.status().as_u16() != 200 {
                return Err(refusal(base, &response, &body));
            }
            let answer: Answer = serde_json::from_str(&body).map_err(|_| {
                let status = Refusal::read(200, &body, false).reason();
                Trouble::new(Kind::Foreign, format!("{base}/v1/wake does not answer as Dayfly does: {status}"))
            })?;
            tell(Outcome::Answered(answer));
            return Ok(());
        }
    }
    linger(agent, base, seconds, lingers, tell)
}

/// Keeps a linger request open to its end. It is answered as soon as a status line says that the replica is complete,
/// or with the first line after half of the time.
fn linger(
    agent: &Agent,
    base: &str,
    seconds: u64,
    lingers: &AtomicBool,
    tell: &mut impl FnMut(Outcome),
) -> Result<(), Trouble> {
    let begun = Instant::now();
    let request = Request::builder().method("GET").uri(format!("{base}/v1/linger?seconds={seconds}")).body(());
    let request = request.map_err(|error| Trouble::new(Kind::Refused, format!("{base}: {error}")))?;
    let mut response = agent.run(request).map_err(|error| Trouble::of_transport(&error))?;
    match response.status().as_u16() {
        200 => lingers.store(true, Ordering::Relaxed),
        404 | 405 => {
            let message = format!("{base} answers neither POST /v1/wake nor GET /v1/linger");
            return Err(Trouble::new(Kind::Refused, message));
        }
        _ => {
            let body = read(&mut response)?;
            return Err(refusal(base, &response, &body));
        }
    }
    let of_header = header(&response, "dayfly-complete").is_none_or(|value| value != "false");
    let name = header(&response, "dayfly-replica").unwrap_or_default();
    let mut lines = BufReader::new(response.body_mut().as_reader());
    let mut answered = false;
    loop {
        let mut line = Vec::new();
        // How it broke off makes no difference: the replica is no longer kept awake.
        let read = lines.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut line).unwrap_or(0);
        if read == 0 {
            break;
        }
        let late = begun.elapsed() >= Duration::from_secs(seconds) / 2;
        let status = Status::of(&line, &name, of_header);
        if !answered && (status.0.complete || late) {
            answered = true;
            tell(Outcome::Answered(status.0));
        }
    }
    if !answered {
        return Err(Trouble::new(Kind::Silent, format!("{base}/v1/linger ended before it was complete")));
    }
    tell(Outcome::Ended);
    Ok(())
}

/// A status line of a linger request, read as an answer.
struct Status(Answer);

impl Status {
    /// What a line leaves open the headers of the response say.
    fn of(line: &[u8], name: &str, complete: bool) -> Self {
        let status: Value = serde_json::from_slice(line).unwrap_or_default();
        let text = |member: &str| status[member].as_str().map(str::to_owned);
        Self(Answer {
            replica: text("replica").or_else(|| text("name")).unwrap_or_else(|| name.to_owned()),
            complete: status["complete"].as_bool().unwrap_or(complete),
            awake_until: status["awake_until"].as_u64(),
            filled_ms: status["filled_ms"].as_u64(),
            root: text("root"),
        })
    }
}

fn header(response: &Response<Body>, name: &str) -> Option<String> {
    response.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
}

fn read(response: &mut Response<Body>) -> Result<String, Trouble> {
    let body = response.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_vec();
    let body = body.map_err(|error| Trouble::new(Kind::Silent, format!("the answer broke off: {error}")))?;
    Ok(String::from_utf8_lossy(&body).into_owned())
}

/// What another status than 200 means.
fn refusal(base: &str, response: &Response<Body>, body: &str) -> Trouble {
    let status = response.status().as_u16();
    let retry_after = header(response, "retry-after").and_then(|value| value.parse().ok()).map(Duration::from_secs);
    let kind = match status {
        429 => Kind::Throttled,
        500..=599 => Kind::Unreachable,
        _ => Kind::Refused,
    };
    let reason = Refusal::read(status, body, retry_after.is_some()).reason();
    let hint = match status {
        401 | 403 => "; a function URL must have the auth type NONE, or be kept as lambda:FUNCTION@REGION",
        _ => "",
    };
    Trouble { kind, message: format!("{base} answered {reason}{hint}"), retry_after }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_line_is_read_for_what_it_says() {
        let status = |line: &str, complete| Status::of(line.as_bytes(), "header", complete).0;
        let told = status(r#"{"name":"r1","complete":false,"root":"00ff"}"#, true);
        assert_eq!((told.replica.as_str(), told.complete, told.root.as_deref()), ("r1", false, Some("00ff")));
        let told = status("awake\n", true);
        assert_eq!((told.replica.as_str(), told.complete, told.root), ("header", true, None));
        assert!(!status("awake\n", false).complete);
    }
}
