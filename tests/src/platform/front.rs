//! The platform over HTTP: AWS's Invoke API, the function's URL, and what has been counted.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Result;
use axum::Router;
use axum::body::to_bytes;
use axum::extract::{Path, Request, State};
use axum::http::HeaderMap;
use axum::response::Response;
use axum::routing::{get, post};
use serde_json::{Value, json};

use super::{Platform, Refused, Shared};
use crate::function::{Outcome, read_answer, url_event};
use crate::gateway::{self, BODY_BYTES_MAX, Gateway, respond};

/// Which version of the function ran: there is but one.
const VERSION: (&str, &str) = ("x-amz-executed-version", "$LATEST");

/// A server. Dropping it ends it; the platform goes on.
pub struct Front(Gateway);

impl Front {
    /// Serves a platform at this address; with port 0 at a free one.
    ///
    /// # Errors
    /// The address is taken.
    pub fn listen(platform: &Platform, address: SocketAddr) -> Result<Self> {
        let router = Router::new()
            .route("/2015-03-31/functions/{name}/invocations", post(invoke))
            .route("/platform", get(standing))
            .fallback(by_url)
            .with_state(Arc::clone(&platform.shared));
        Ok(Self(Gateway::listen(router, address)?))
    }

    /// Where it is: `http://HOST:PORT`.
    pub fn url(&self) -> String {
        self.0.url()
    }
}

/// The Invoke API, as <https://docs.aws.amazon.com/lambda/latest/api/API_Invoke.html> has it.
async fn invoke(State(shared): State<Arc<Shared>>, Path(name): Path<String>, request: Request) -> Response {
    if !names(&name, &shared.settings.function) {
        let message = format!("Function not found: {name}");
        return error(404, "ResourceNotFoundException", &json!({"Type": "User", "Message": message}));
    }
    let kind = header(request.headers(), "x-amz-invocation-type").unwrap_or("RequestResponse").to_owned();
    let Ok(body) = to_bytes(request.into_body(), BODY_BYTES_MAX).await else { return too_large() };
    let event: Value = match serde_json::from_slice(if body.is_empty() { b"{}" } else { &body }) {
        Ok(event) => event,
        Err(reason) => {
            let message = format!("Could not parse request body into json: {reason}");
            return error(400, "InvalidRequestContentException", &json!({"Type": "User", "Message": message}));
        }
    };
    match kind.as_str() {
        "RequestResponse" => match blocking(move || shared.invoke(event)).await {
            Ok(Outcome::Answer(answer)) => respond(200, &[VERSION], answer.to_string()),
            Ok(Outcome::Error(kind, message)) => failed(&kind, &message),
            Err(Refused::Throttled) => throttled(),
            Err(refused @ (Refused::NotStarted(_) | Refused::Died(_))) => {
                failed("Runtime.ExitError", &refused.to_string())
            }
            Err(Refused::Closed) => closed(),
        },
        "Event" => {
            shared.invoke_later(event);
            respond(202, &[], String::new())
        }
        "DryRun" => respond(204, &[], String::new()),
        other => {
            let message = format!("{other}: expected RequestResponse, Event or DryRun");
            error(400, "InvalidParameterValueException", &json!({"Type": "User", "Message": message}))
        }
    }
}

/// Whether this names the function: its name or its ARN, perhaps with `:$LATEST` behind it.
fn names(given: &str, function: &str) -> bool {
    let given = given.strip_suffix(":$LATEST").unwrap_or(given);
    let of_arn = given.starts_with("arn:").then(|| given.rsplit_once(":function:")).flatten();
    of_arn.map_or(given, |(_, name)| name) == function
}

/// The function's URL: all other paths.
async fn by_url(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    // Headers that are no text are left out, as a JSON event cannot have them.
    let Some(request) = gateway::read(request).await else { return too_large() };
    let invoked = blocking(move || shared.invoke(url_event(&request))).await;
    match invoked {
        Ok(Outcome::Answer(answer)) => match read_answer(&answer) {
            Ok(answer) => gateway::write(answer),
            Err(reason) => respond(502, &[], json!({"Message": format!("{reason:#}")}).to_string()),
        },
        Ok(Outcome::Error(_, _)) | Err(Refused::NotStarted(_) | Refused::Died(_)) => {
            respond(502, &[], json!({"Message": "Internal Server Error"}).to_string())
        }
        Err(Refused::Throttled) => throttled(),
        Err(Refused::Closed) => closed(),
    }
}

/// What has been counted.
async fn standing(State(shared): State<Arc<Shared>>) -> Response {
    respond(200, &[], json!(shared.standing()).to_string())
}

/// Runs what blocks where that is no harm.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, Refused> + Send + 'static) -> Result<T, Refused> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|panic| Err(Refused::Died(panic.to_string())))
}

fn failed(kind: &str, message: &str) -> Response {
    let body = json!({"errorMessage": message, "errorType": kind});
    respond(200, &[VERSION, ("x-amz-function-error", "Unhandled")], body.to_string())
}

fn throttled() -> Response {
    let reason = "ReservedFunctionConcurrentInvocationLimitExceeded";
    let body = json!({"Reason": reason, "Type": "User", "message": "Rate Exceeded."});
    let headers = [("x-amzn-errortype", "TooManyRequestsException"), ("retry-after", "1")];
    respond(429, &headers, body.to_string())
}

fn closed() -> Response {
    error(503, "ServiceException", &json!({"Type": "Service", "Message": "the platform ends"}))
}

fn too_large() -> Response {
    let message = format!("a request has at most {BODY_BYTES_MAX} bytes");
    error(413, "RequestTooLargeException", &json!({"Type": "User", "Message": message}))
}

fn error(status: u16, kind: &str, body: &Value) -> Response {
    respond(status, &[("x-amzn-errortype", kind)], body.to_string())
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

#[cfg(test)]
mod tests {
    use super::names;

    #[test]
    fn a_function_is_named_by_its_name_or_its_arn() {
        for given in ["f", "f:$LATEST", "arn:aws:lambda:eu-north-1:123456789012:function:f"] {
            assert!(names(given, "f"), "{given}");
        }
        assert!(!names("g", "f") && !names("f:1", "f"));
    }
}
