//! The sockets: how many there are, how large their headers, how slow their peers may be.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{Sleep, sleep};

/// The most bytes that a request's head may have: a key of 1 KiB takes 3 KiB in a path, and a context token up to 16
/// writers.
const HEAD_BYTES_MAX: usize = 32 * 1024;
/// The most headers.
const HEADERS_MAX: usize = 64;
/// How long a client may take to send a request's head; also how long a connection may stand idle.
const HEAD_MAX: Duration = Duration::from_secs(15);
/// How long a client may take nothing of an answer that is ready for it.
const WRITE_MAX: Duration = Duration::from_secs(15);
/// How long requests under way have to end once the cluster is to end.
const GRACE: Duration = Duration::from_secs(3);
/// After an error of accepting (too many open files, say), so long until the next attempt.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves connections until `over` becomes true; then none is accepted, and those under way have [`GRACE`] to end.
/// At most `connections_max` are open; more wait in the system's queue until one closes.
pub async fn serve(listener: TcpListener, router: Router, connections_max: usize, mut over: watch::Receiver<bool>) {
    let room = Arc::new(Semaphore::new(connections_max));
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = accept(&listener, &room) => accepted,
            // An error means that whoever would say so is gone: it is over too.
            _ = over.wait_for(|over| *over) => break,
        };
        match accepted {
            Ok((stream, permit)) => {
                let (router, over) = (router.clone(), over.clone());
                connections.spawn(async move {
                    serve_one(stream, router, over).await;
                    drop(permit);
                });
            }
            Err(_) => sleep(ACCEPT_PAUSE).await,
        }
        while connections.try_join_next().is_some() {}
    }
    drop(listener);
    let all_end = async { while connections.join_next().await.is_some() {} };
    // Those that have not ended are cut off.
    let _ = tokio::time::timeout(GRACE, all_end).await;
}

async fn accept(
    listener: &TcpListener,
    room: &Arc<Semaphore>,
) -> io::Result<(TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    let permit = Arc::clone(room).acquire_owned().await.expect("it is never closed");
    let (stream, _peer): (TcpStream, SocketAddr) = listener.accept().await?;
    stream.set_nodelay(true)?;
    Ok((stream, permit))
}

async fn serve_one(stream: TcpStream, router: Router, mut over: watch::Receiver<bool>) {
    let io = TokioIo::new(Patience { stream, stalled: None });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_MAX)
        .max_header_size(HEAD_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        .serve_connection(io, TowerToHyperService::new(router));
    let mut connection = std::pin::pin!(connection);
    // How a connection ended is its peer's affair: it has been answered, or is gone.
    tokio::select! {
        _ = connection.as_mut() => return,
        _ = over.wait_for(|over| *over) => connection.as_mut().graceful_shutdown(),
    }
    let _ = connection.await;
}

/// A stream that gives up on a peer that takes nothing for [`WRITE_MAX`].
struct Patience {
    stream: TcpStream,
    stalled: Option<Pin<Box<Sleep>>>,
}

impl Patience {
    /// Passes on how a write went, and fails one that has been pending for too long.
    fn watch<T>(&mut self, cx: &mut Context<'_>, poll: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if poll.is_ready() {
            self.stalled = None;
            return poll;
        }
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(sleep(WRITE_MAX)));
        ready!(stalled.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Patience {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Patience {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.watch(cx, poll)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.watch(cx, poll)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
