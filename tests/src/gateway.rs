//! A small HTTP server in the words of scenarios: what clients would ask, and what they are answered.

use std::net::SocketAddr;

use anyhow::{Context, Result};
use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::Response;
use dayfly_conformance::http::{Answer, Request};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::function::tokio;

/// The largest body that is taken: what AWS permits a request or an answer to have.
pub const BODY_BYTES_MAX: usize = 6 << 20;
/// Headers that are made anew for each hop.
const OF_THE_HOP: [&str; 3] = ["connection", "content-length", "transfer-encoding"];

/// A server. Dropping it ends it.
pub struct Gateway {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Gateway {
    /// Serves this at this address; with port 0 at a free one.
    ///
    /// # Errors
    /// The address is taken.
    pub fn listen(router: Router, address: SocketAddr) -> Result<Self> {
        let listener = tokio().block_on(TcpListener::bind(address)).with_context(|| address.to_string())?;
        let address = listener.local_addr()?;
        let task = tokio().spawn(async move {
            // It ends with the process, or when it is aborted.
            let _ = axum::serve(listener, router).await;
        });
        Ok(Self { address, task })
    }

    /// Where it is: `http://HOST:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What is asked; none if it is too large. Headers that are no text are left out.
pub async fn read(request: axum::extract::Request) -> Option<Request> {
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, BODY_BYTES_MAX).await.ok()?;
    let text = |(name, value): (&HeaderName, &HeaderValue)| Some((name.to_string(), value.to_str().ok()?.to_owned()));
    Some(Request {
        method: parts.method.to_string(),
        path: parts.uri.path().to_owned(),
        query: parts.uri.query().unwrap_or_default().to_owned(),
        headers: parts.headers.iter().filter_map(text).collect(),
        body: body.to_vec(),
    })
}

/// An answer as it goes out.
pub fn write(answer: Answer) -> Response {
    let kept = |(name, _): &&(String, String)| !OF_THE_HOP.contains(&name.to_ascii_lowercase().as_str());
    let headers: Vec<(&str, &str)> =
        answer.headers.iter().filter(kept).map(|(name, value)| (name.as_str(), value.as_str())).collect();
    respond(answer.status, &headers, answer.body)
}

/// An answer of JSON, unless its headers say otherwise.
pub fn respond(status: u16, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Response {
    let mut response = Response::new(Body::from(body.into()));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY);
    if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-type")) && status != 204 {
        response.headers_mut().insert("content-type", HeaderValue::from_static("application/json"));
    }
    for (name, value) in headers {
        // What is none of HTTP cannot be handed on.
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(*name), HeaderValue::try_from(*value)) {
            response.headers_mut().append(name, value);
        }
    }
    response
}
