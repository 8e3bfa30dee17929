//! Notes when the platform has an answer: the extension goes on from there.

use std::fmt::Debug;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use lambda_runtime::tower::{Layer, Service};
use lambda_runtime::{Error, LambdaInvocation};

use crate::host::Host;

/// Lays itself around what asks for answers and sends them.
pub struct Delivered {
    /// Who is told.
    pub host: Arc<Host>,
}

impl<S> Layer<S> for Delivered {
    type Service = Telling<S>;

    fn layer(&self, inner: S) -> Telling<S> {
        Telling { inner, host: Arc::clone(&self.host) }
    }
}

/// A service that tells the host when it is done with an invocation.
pub struct Telling<S> {
    inner: S,
    host: Arc<Host>,
}

impl<S> Service<LambdaInvocation> for Telling<S>
where
    S: Service<LambdaInvocation, Response = (), Error = Error>,
    S::Future: Send + 'static,
    S::Error: Debug,
{
    type Response = ();
    type Error = Error;
    type Future = Pin<Box<dyn Future<Output = Result<(), Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, invocation: LambdaInvocation) -> Self::Future {
        let (id, host) = (invocation.context.request_id.clone(), Arc::clone(&self.host));
        let sent = self.inner.call(invocation);
        Box::pin(async move {
            let outcome = sent.await;
            host.note_answered(id);
            outcome
        })
    }
}
