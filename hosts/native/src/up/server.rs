//! The HTTP server: which path goes to whom.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue, Request, Response, StatusCode};
use dayfly_engine::contract;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Body as _;

use super::platform::Platform;
use super::refusal::Refusal;

/// The most bytes that a request's body may have, as wit/api.wit says.
pub const BODY_BYTES_MAX: usize = 2 << 20;
/// How long a client may take to send a body.
const BODY_MAX: Duration = Duration::from_secs(30);

/// The server of a platform's replicas.
pub fn router(platform: Arc<Platform>) -> Router {
    // One handler for all: the paths are the replicas', percent-encoded as they came.
    Router::new().fallback(answer).with_state(platform)
}

async fn answer(State(platform): State<Arc<Platform>>, request: Request<Body>) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path();
    if path == "/healthz" {
        return health(&platform);
    }
    let (name, path) = match path.strip_prefix("/replicas/").and_then(|rest| rest.split_once('/')) {
        Some((name, path)) => (Some(name), format!("/{path}")),
        None => (None, path.to_owned()),
    };
    if !path.starts_with("/v1/") {
        return Refusal::NoSuchPath.into_response();
    }
    let body = match read(body).await {
        Ok(body) => body,
        Err(refusal) => return refusal.into_response(),
    };
    let request = request_of(&parts, path, body);
    let answered = match name {
        Some(name) => platform.invoke_on(name, request).await,
        None => platform.invoke(request).await,
    };
    answered.map_or_else(Refusal::into_response, response_of)
}

fn health(platform: &Platform) -> Response<Body> {
    let alive = platform.census().alive() > 0;
    let mut response = Response::new(Body::from(if alive { "ok\n" } else { "no replica\n" }));
    *response.status_mut() = if alive { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    response
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
