//! The Invoke API as AWS's emulators have it: functions with a limit of concurrency, whose environments are busy from
//! their invocation to the end of their linger.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse;
use axum::routing::post;
use serde_json::{Value, json};

use crate::server::Server;

/// What a function does when it is invoked.
#[derive(Clone, Debug)]
pub enum Does {
    /// It answers after so long that it is complete, and lingers.
    Wakes(Duration),
    /// It fails.
    Fails,
    /// It is none of Dayfly's.
    SaysHello,
}

/// An invocation that came in.
#[derive(Clone, Debug)]
pub struct Invocation {
    pub at: Instant,
    pub headers: HeaderMap,
    pub body: Value,
    pub status: u16,
}

pub struct Inside {
    pub does: Does,
    /// How many environments the function may have.
    pub concurrency: usize,
    /// Sent with 429.
    pub retry_after: Option<u64>,
    /// Refuse all, with this status and type of error.
    pub refuses: Option<(u16, &'static str)>,
    pub invocations: Vec<Invocation>,
    /// Until when each environment is busy.
    busy: Vec<Instant>,
    names: u64,
}

/// An emulator with one function, named `f`.
pub struct InvokeApi {
    pub inside: Arc<Mutex<Inside>>,
    server: Server,
}

impl InvokeApi {
    pub fn start(does: Does) -> Self {
        let inside = Arc::new(Mutex::new(Inside {
            does,
            concurrency: 100,
            retry_after: None,
            refuses: None,
            invocations: Vec::new(),
            busy: Vec::new(),
            names: 0,
        }));
        let router = Router::new()
            .route("/2015-03-31/functions/{name}/invocations", post(invoke))
            .with_state(Arc::clone(&inside));
        Self { inside, server: Server::start(router) }
    }

    pub fn url(&self) -> String {
        self.server.url()
    }

    pub fn with<T>(&self, look: impl FnOnce(&mut Inside) -> T) -> T {
        look(&mut self.inside.lock().expect("no test panics with it"))
    }
}

fn error(status: u16, name: &'static str, reason: Option<&str>, message: &str) -> axum::response::Response {
    let status = StatusCode::from_u16(status).expect("a status");
    let body = json!({ "Type": "User", "Reason": reason, "message": message }).to_string();
    (status, [("x-amzn-errortype", name), ("content-type", "application/json")], body).into_response()
}

async fn invoke(
    State(inside): State<Arc<Mutex<Inside>>>,
    Path(name): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> axum::response::Response {
    let (response, pause) = {
        let mut inside = inside.lock().expect("no test panics with it");
        decide(&mut inside, &name, headers, &body)
    };
    tokio::time::sleep(pause).await;
    response
}

fn decide(inside: &mut Inside, name: &str, headers: HeaderMap, body: &[u8]) -> (axum::response::Response, Duration) {
    let now = Instant::now();
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    inside.busy.retain(|until| *until > now);
    let mut pause = Duration::ZERO;
    let mut response = if name != "f" {
        error(404, "ResourceNotFoundException", None, &format!("Function not found: {name}"))
    } else if let Some((status, kind)) = inside.refuses {
        error(status, kind, None, "User is not authorized to perform: lambda:InvokeFunction")
    } else if inside.busy.len() >= inside.concurrency {
        let reason = Some("ReservedFunctionConcurrentInvocationLimitExceeded");
        error(429, "TooManyRequestsException", reason, "Rate Exceeded.")
    } else {
        let seconds = body["wake"]["seconds"].as_u64().expect("a wake");
        inside.names += 1;
        match inside.does {
            Does::Wakes(after) => {
                pause = after;
                inside.busy.push(now + Duration::from_secs(seconds));
                let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("it is later");
                let until = since + Duration::from_secs(seconds);
                json!({
                    "replica": format!("f-{}", inside.names),
                    "complete": true,
                    "awake_until": until.as_millis() as u64,
                    "filled_ms": after.as_millis() as u64 / 2,
                    "root": "00ff",
                })
                .to_string()
                .into_response()
            }
            Does::Fails => (
                [("x-amz-function-error", "Unhandled")],
                r#"{"errorType":"Runtime.ExitError","errorMessage":"exit status 1"}"#,
            )
                .into_response(),
            Does::SaysHello => r#""hello""#.into_response(),
        }
    };
    if let (429, Some(seconds)) = (response.status().as_u16(), inside.retry_after) {
        response.headers_mut().insert("retry-after", seconds.into());
    }
    let status = response.status().as_u16();
    inside.invocations.push(Invocation { at: now, headers, body, status });
    (response, pause)
}
