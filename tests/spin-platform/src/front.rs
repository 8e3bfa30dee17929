//! The platform over HTTP: the application at one address, what the tests ask of the platform at another.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::task::{Context, Poll};

use anyhow::{Context as _, Result, ensure};
use axum::Router;
use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{Request, State};
use axum::http::uri::{Authority, Scheme};
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use http_body_util::BodyExt;
use hyper::body::{Frame, SizeHint};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use wasmtime_wasi_http::handler::ProxyHandler;
use wasmtime_wasi_http::{Error, WasiBody};

use super::life::{Answering, Instances, Lease};
use super::manifest::Route;
use super::shelf::Shelf;
use super::tally::Tally;

/// What both addresses serve.
pub struct Served {
    /// The instances, and the queue before them.
    pub handler: ProxyHandler<Instances>,
    /// Which paths are theirs.
    pub route: Route,
    /// The application's store.
    pub shelf: Shelf,
    /// What was counted.
    pub tally: Arc<Tally>,
}

/// Serves the application at this address, with port 0 at a free one, and returns where. It ends with the runtime.
///
/// # Errors
/// The address is taken.
pub async fn serve_application(served: &Arc<Served>, address: SocketAddr) -> Result<SocketAddr> {
    serve(Router::new().fallback(answer).with_state(Arc::clone(served)), address).await
}

/// Serves `GET /stats` and `POST /evict` in the same way.
///
/// # Errors
/// The address is taken.
pub async fn serve_control(served: &Arc<Served>, address: SocketAddr) -> Result<SocketAddr> {
    let router = Router::new().route("/stats", get(stats)).route("/evict", post(evict));
    serve(router.with_state(Arc::clone(served)), address).await
}

async fn serve(router: Router, address: SocketAddr) -> Result<SocketAddr> {
    let listener = TcpListener::bind(address).await.with_context(|| address.to_string())?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        // It ends with the process.
        let _ = axum::serve(listener, router).await;
    });
    Ok(address)
}

async fn answer(State(served): State<Arc<Served>>, request: Request) -> Response {
    if !served.route.takes(request.uri().path()) {
        return StatusCode::NOT_FOUND.into_response();
    }
    match instance_answers(&served, request).await {
        Ok(answer) => answer,
        Err(error) => {
            eprintln!("a request failed: {error:#}");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

async fn instance_answers(served: &Served, mut request: Request) -> Result<Response> {
    *request.uri_mut() = absolute(&request)?;
    let request = request.map(|body: Body| -> WasiBody {
        body.map_err(|error| Error::InternalError(Some(error.to_string()))).boxed_unsync()
    });
    let lease = Lease::default();
    let answer = served.handler.handle(Arc::clone(&lease), request).await;
    let answer = answer.map_err(|error| anyhow::anyhow!("{error:#}"))?;
    let taken = lease.lock().unwrap_or_else(PoisonError::into_inner).take();
    let answering = taken.context("no instance took the request")?;
    Ok(answer.map(|body| Body::new(Sent { body, answering })))
}

/// The body of an answer. It ends when it was sent, or when the client left.
struct Sent {
    body: WasiBody,
    answering: Answering,
}

impl HttpBody for Sent {
    type Data = Bytes;
    type Error = Error;

    /// An end for want of an instance is none: the client must not take a part for the whole.
    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        if matches!(frame, Poll::Ready(None)) && self.answering.is_broken() {
            return Poll::Ready(Some(Err(Error::InternalError(Some("the instance is gone".to_owned())))));
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The address of a request with scheme and host, as Spin hands it on.
fn absolute(request: &Request) -> Result<Uri> {
    let mut parts = request.uri().clone().into_parts();
    let host = request.headers().get(header::HOST).map(|host| Authority::try_from(host.as_bytes())).transpose()?;
    if let (Some(host), Some(authority)) = (&host, &parts.authority) {
        ensure!(host == authority, "the header host differs from the host of the address");
    }
    parts.authority = Some(host.or(parts.authority.take()).context("there is no header host")?);
    parts.scheme = Some(Scheme::HTTP);
    Ok(Uri::from_parts(parts)?)
}

async fn stats(State(served): State<Arc<Served>>) -> Response {
    let shelf = served.shelf.clone();
    let held = tokio::task::spawn_blocking(move || shelf.holding()).await;
    let held = match held.map_err(anyhow::Error::from).and_then(|held| Ok(held?)) {
        Ok(held) => held,
        Err(error) => return (StatusCode::INTERNAL_SERVER_ERROR, format!("{error:#}\n")).into_response(),
    };
    let tally = &served.tally;
    let kv = *tally.kv.lock().unwrap_or_else(PoisonError::into_inner);
    let told = json!({
        "instances": served.handler.state().live(),
        "started": tally.started.load(Ordering::Relaxed),
        "ended": tally.ended.load(Ordering::Relaxed),
        "requests": tally.requests.load(Ordering::Relaxed),
        "kv": {
            "sets": kv.sets,
            "set_bytes": kv.set_bytes,
            "gets": kv.gets,
            "get_bytes": kv.get_bytes,
            "deletes": kv.deletes,
            "keys": held.keys,
            "stored_bytes": held.bytes,
        },
        "outbound": {"connections": tally.connections.load(Ordering::Relaxed)},
    });
    as_json(&told)
}

async fn evict(State(served): State<Arc<Served>>) -> Response {
    as_json(&json!({"evicted": served.handler.state().evict().await}))
}

fn as_json(value: &Value) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], format!("{value}\n")).into_response()
}
