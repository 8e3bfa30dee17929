//! The HTTP server: which path goes to whom.

use std::future::Future;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use dayfly_engine::contract;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Body as _;
use tracing::{debug, info};

use super::refusal::Refusal;
use super::request_id;
use super::wake::{self, Woken};

/// The most bytes that a request's body may have, as wit/api.wit says.
pub const BODY_BYTES_MAX: usize = 2 << 20;
/// How long a client may take to send a body.
const BODY_MAX: Duration = Duration::from_secs(30);
/// Of a path, so many characters are logged.
const LOGGED_PATH_CHARS: usize = 200;
/// The type of what `/metrics` gives: version 0.0.4 of Prometheus' text format.
const METRICS_TYPE: HeaderValue = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");

/// Whoever has replicas to answer requests.
pub trait House: Clone + Send + Sync + 'static {
    /// Has the replica of this name answer, or any.
    fn invoke(
        &self,
        name: Option<&str>,
        request: contract::Request,
    ) -> impl Future<Output = Result<contract::Response, Refusal>> + Send;

    /// Wakes the replica of this name, or one that no other keeper's wake keeps awake, for so long; or starts one.
    fn wake(&self, name: Option<&str>, period: Duration) -> impl Future<Output = Result<Woken, Refusal>> + Send;

    /// Whether a replica lives.
    fn lives(&self) -> bool;

    /// Whether what is asked is answered from a whole database that is linked to the others.
    fn readiness(&self) -> Readiness;

    /// What `/metrics` tells.
    fn metrics(&self) -> impl Future<Output = String> + Send;

    /// Counts an answer, whoever gave it, by its status.
    fn count(&self, status: u16);
}

/// Whether requests may be sent here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// They may.
    Ready,
    /// They had better go elsewhere, for this reason.
    NotReady {
        /// A word for programs.
        code: &'static str,
        /// A sentence for people.
        message: String,
    },
}

/// The server of a house.
pub fn router<H: House>(house: H) -> Router {
    // One handler for all: the paths are the replicas', percent-encoded as they came.
    Router::new().fallback(answer::<H>).with_state(house)
}

async fn answer<H: House>(State(house): State<H>, request: Request<Body>) -> Response<Body> {
    let began = Instant::now();
    let (parts, body) = request.into_parts();
    let id = request_id::of(&parts.headers);
    let mut response = route(&house, &parts, body).await;
    house.count(response.status().as_u16());
    log(&parts, &id, &response, began);
    response.headers_mut().insert(&request_id::HEADER, id);
    response
}

async fn route<H: House>(house: &H, parts: &Parts, body: Body) -> Response<Body> {
    let path = parts.uri.path();
    match path {
        "/healthz" | "/readyz" | "/metrics" if !matches!(parts.method, Method::GET | Method::HEAD) => {
            return Refusal::OnlyGet.into_response();
        }
        "/healthz" => return health(house.lives()),
        "/readyz" => return ready(house.readiness()),
        "/metrics" => {
            let mut response = Response::new(Body::from(house.metrics().await));
            response.headers_mut().insert(header::CONTENT_TYPE, METRICS_TYPE);
            return response;
        }
        _ => {}
    }
    let (name, path) = match path.strip_prefix("/replicas/").and_then(|rest| rest.split_once('/')) {
        Some((name, path)) => (Some(name), format!("/{path}")),
        None => (None, path.to_owned()),
    };
    if !path.starts_with("/v1/") {
        return Refusal::NoSuchPath.into_response();
    }
    if path == "/v1/wake" && parts.method != Method::POST {
        return Refusal::OnlyPost.into_response();
    }
    let body = match read(body).await {
        Ok(body) => body,
        Err(refusal) => return refusal.into_response(),
    };
    if path == "/v1/wake" {
        return wake_one(house, name, &body).await.unwrap_or_else(Refusal::into_response);
    }
    let request = request_of(parts, path, body);
    house.invoke(name, request).await.map_or_else(Refusal::into_response, response_of)
}

async fn wake_one<H: House>(house: &H, name: Option<&str>, body: &[u8]) -> Result<Response<Body>, Refusal> {
    let period = wake::period(body)?;
    wake::answer(house.wake(name, period).await?, period).await
}

/// Each request at `debug`; one that the host or the broker failed at `info`.
fn log(parts: &Parts, id: &HeaderValue, response: &Response<Body>, began: Instant) {
    let status = response.status().as_u16();
    let text = |value: &HeaderValue| value.to_str().unwrap_or_default().to_owned();
    let path = || crate::client::text::excerpt(parts.uri.path(), LOGGED_PATH_CHARS);
    let replica = || response.headers().get("dayfly-replica").map(text).unwrap_or_default();
    let ms = began.elapsed().as_millis() as u64;
    // Whoever probes asks all the time, and is answered.
    let probes = !parts.uri.path().contains("/v1/");
    // The level of an event is fixed where it stands.
    if status >= 500 && !probes {
        info!(replica = replica(), request = text(id), method = %parts.method, path = path(), status, ms, "request");
    } else {
        debug!(replica = replica(), request = text(id), method = %parts.method, path = path(), status, ms, "request");
    }
}

fn health(lives: bool) -> Response<Body> {
    let mut response = Response::new(Body::from(if lives { "ok\n" } else { "no replica\n" }));
    *response.status_mut() = if lives { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    response
}

fn ready(readiness: Readiness) -> Response<Body> {
    match readiness {
        Readiness::Ready => Response::new(Body::from("ready\n")),
        Readiness::NotReady { code, message } => Refusal::NotReady { code, message }.into_response(),
    }
}

/// Reads a body to its end, within its bounds of size and time.
async fn read(body: Body) -> Result<Vec<u8>, Refusal> {
    // One that is announced as too large is not waited for.
    if body.size_hint().lower() > BODY_BYTES_MAX as u64 {
        return Err(Refusal::BodyTooLarge);
    }
    match tokio::time::timeout(BODY_MAX, Limited::new(body, BODY_BYTES_MAX).collect()).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes().to_vec()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(Refusal::BodyTooLarge),
        Ok(Err(_)) => Err(Refusal::BodyBroken),
        Err(_) => Err(Refusal::BodyTooSlow),
    }
}

fn request_of(parts: &Parts, path: String, body: Vec<u8>) -> contract::Request {
    // A value that is no text must not get lost: the API refuses it, where it means something.
    let headers = parts
        .headers
        .iter()
        .map(|(name, value)| (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned()));
    contract::Request {
        method: parts.method.as_str().to_owned(),
        path,
        query: parts.uri.query().unwrap_or_default().to_owned(),
        headers: headers.collect(),
        body,
    }
}

fn response_of(answer: contract::Response) -> Response<Body> {
    let mut response = Response::new(Body::from(answer.body));
    // A status outside of HTTP would be a bug of the component; the client is told that, not nothing.
    *response.status_mut() = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    for (name, value) in answer.headers {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            response.headers_mut().append(name, value);
        }
    }
    response
}
