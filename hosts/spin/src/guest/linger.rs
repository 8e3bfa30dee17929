//! `GET /v1/linger?seconds=N`: keeps the instance awake so long, working in the background, and tells each second how it
//! is. A keeper sends it.

use std::rc::Rc;

use serde_json::{Value, json};
use spin_sdk::http::{IntoResponse, Method, Response, StatusCode, body};
use spin_sdk::wasip3::http::types;
use spin_sdk::wit_bindgen::spawn;

use super::answer::{Answer, refusal};
use super::bindings::dayfly::replica::api;
use super::clock::{now_ms, pause};
use super::host::{Busy, Host};

/// The longest time.
const SECONDS_MAX: u64 = 3_600;
/// Between two lines, in milliseconds.
const LINE_MS: u64 = 1_000;

/// What a linger request gets: a stream, or a refusal.
pub enum Lingering {
    Refused(Answer),
    Begun(Result<types::Response, types::ErrorCode>),
}

impl IntoResponse for Lingering {
    fn into_response(self) -> Result<types::Response, types::ErrorCode> {
        match self {
            Self::Refused(answer) => answer.into_response(),
            Self::Begun(response) => response,
        }
    }
}

/// Begins to linger.
pub async fn answer(host: &Rc<Host>, method: &Method, query: Option<&str>) -> Lingering {
    if method != Method::GET {
        let refused = refusal(405, "method_not_allowed", "/v1/linger takes GET");
        return Lingering::Refused(refused.with("allow", "GET"));
    }
    let seconds = query.and_then(|query| query.split('&').find_map(|pair| pair.strip_prefix("seconds=")));
    let seconds =
        seconds.and_then(|seconds| seconds.parse().ok()).filter(|seconds| (1..=SECONDS_MAX).contains(seconds));
    let Some(seconds) = seconds else {
        let text = format!("say for how long: /v1/linger?seconds=N, with N from 1 to {SECONDS_MAX}");
        return Lingering::Refused(refusal(400, "bad_request", &text));
    };
    let busy = Busy::new(host);
    let until_ms = now_ms() + seconds * 1_000;
    {
        let mut state = host.state.borrow_mut();
        state.lingers_until_ms = state.lingers_until_ms.max(until_ms);
    }
    if let Err(refused) = host.begin().await {
        return Lingering::Refused(refused);
    }
    host.flush().await;
    let (mut lines, body) = body::stream::<Vec<u8>>();
    let lingering = Rc::clone(host);
    spawn(async move {
        let _busy = busy;
        // Whoever left is not told any more: the stream is closed then.
        while lines.try_send(line(&lingering)).is_ok() {
            let left_ms = until_ms.saturating_sub(now_ms());
            if left_ms == 0 {
                break;
            }
            pause(left_ms.min(LINE_MS)).await;
        }
    });
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::OK;
    let (name, complete) = (host.replica().name.clone(), host.state.borrow().is_complete);
    let headers = [
        ("content-type", "application/x-ndjson"),
        ("dayfly-replica", name.as_str()),
        ("dayfly-complete", if complete { "true" } else { "false" }),
    ];
    for (name, value) in headers {
        let value = value.parse().expect("names of replicas are fit for headers");
        response.headers_mut().insert(name, value);
    }
    Lingering::Begun(response.into_response())
}

/// A status line.
fn line(host: &Host) -> Vec<u8> {
    let request = api::Request {
        method: "GET".to_owned(),
        path: "/v1/status".to_owned(),
        query: String::new(),
        headers: Vec::new(),
        body: Vec::new(),
    };
    let response = api::invoke(&request);
    host.carry_out(response.effects);
    let status: Value = serde_json::from_slice(&response.body).unwrap_or_default();
    let state = host.state.borrow();
    let line = json!({
        "replica": host.replica().name,
        "complete": state.is_complete,
        "awake_until": state.awake_until_ms,
        "filled_ms": state.filled_ms,
        "root": status["root"],
        "connected": state.link.as_ref().is_some_and(|link| link.is_ready),
    });
    let mut line = line.to_string().into_bytes();
    line.push(b'\n');
    line
}
