//! The platform as the HTTP server sees it.

use std::sync::Arc;

use dayfly_engine::contract::{Request, Response};

use super::platform::Platform;
use crate::serve::{House, Readiness, Refusal};

/// A platform behind an HTTP server.
#[derive(Clone)]
pub struct Platforms(pub Arc<Platform>);

impl House for Platforms {
    async fn invoke(&self, name: Option<&str>, request: Request) -> Result<Response, Refusal> {
        match name {
            Some(name) => self.0.invoke_on(name, request).await,
            None => self.0.invoke(request).await,
        }
    }

    fn lives(&self) -> bool {
        self.0.census().alive() > 0
    }

    fn readiness(&self) -> Readiness {
        if self.lives() {
            return Readiness::Ready;
        }
        Readiness::NotReady { code: "no_replica", message: "no replica lives here".to_owned() }
    }

    async fn metrics(&self) -> String {
        String::new()
    }

    fn count(&self, status: u16) {
        self.0.answers.count(status);
    }
}
