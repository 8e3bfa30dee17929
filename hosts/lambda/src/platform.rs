//! What Lambda's APIs have beyond events and answers: the internal extension, which keeps the function from being
//! frozen after an answer, and errors before the first event.

use std::fmt;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::{Method, Request, Uri};
use lambda_runtime_api_client::body::Body;
use lambda_runtime_api_client::{PooledClient, build_request};
use serde::Deserialize;
use serde_json::{Value, json};

/// The extension's name. An internal extension may choose it.
const NAME: &str = "dayfly-linger";
/// The header that names an extension after it has registered.
const IDENTIFIER: &str = "lambda-extension-identifier";

/// Why one of the APIs did not do as asked; for people.
#[derive(Debug)]
pub struct PlatformError(String);

impl fmt::Display for PlatformError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl std::error::Error for PlatformError {}

/// A client of Lambda's APIs.
#[derive(Debug)]
pub struct Platform {
    client: PooledClient,
}

impl Platform {
    /// A client of the APIs at this address (`HOST:PORT`, perhaps with `http://` before it). It does no I/O.
    ///
    /// # Errors
    /// It is no address.
    pub fn new(address: &str) -> Result<Self, PlatformError> {
        let endpoint: Uri =
            address.parse().map_err(|error| PlatformError(format!("{address:?} is no address: {error}")))?;
        if endpoint.authority().is_none() {
            return Err(PlatformError(format!("{address:?} is no address: it names no host")));
        }
        Ok(Self { client: PooledClient::builder().with_endpoint(endpoint).build() })
    }

    /// Says why there will be no first event; the process is to end then.
    ///
    /// # Errors
    /// Nobody heard it.
    pub async fn report_init_error(&self, kind: &str, message: &str) -> Result<(), PlatformError> {
        let body = json!({ "errorType": kind, "errorMessage": message, "stackTrace": [] });
        let headers = [("lambda-runtime-function-error-type", kind)];
        self.call(Method::POST, "/2018-06-01/runtime/init/error", &headers, Some(&body)).await.map(|_| ())
    }

    /// Registers the internal extension. It has to be done before the first event is asked for.
    ///
    /// # Errors
    /// The platform has no extensions, or refused.
    pub async fn register(self) -> Result<Extension, PlatformError> {
        // An internal extension may not ask to hear of the shutdown.
        let body = json!({ "events": ["INVOKE"] });
        let headers = [("lambda-extension-name", NAME)];
        let (identifier, _) = self.call(Method::POST, "/2020-01-01/extension/register", &headers, Some(&body)).await?;
        let identifier = identifier.ok_or_else(|| PlatformError("the extension got no identifier".to_owned()))?;
        Ok(Extension { platform: self, identifier })
    }

    /// Asks and reads the answer: the extension's identifier, if it has one, and the body.
    async fn call(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&Value>,
    ) -> Result<(Option<String>, Bytes), PlatformError> {
        let failed = |what: &dyn fmt::Display| PlatformError(format!("{method} {path}: {what}"));
        let mut request = build_request().method(&method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let body = body.map_or_else(Body::empty, |body| Body::from(body.to_string()));
        let request: Request<Body> =
            request.header("content-type", "application/json").body(body).map_err(|error| failed(&error))?;
        let response = self.client.call(request).await.map_err(|error| failed(&error))?;
        let status = response.status();
        let identifier = response.headers().get(IDENTIFIER).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let body = response.into_body().collect().await.map_err(|error| failed(&error))?.to_bytes();
        if !status.is_success() {
            return Err(failed(&format!("{status} {}", String::from_utf8_lossy(&body))));
        }
        Ok((identifier, body))
    }
}

/// The internal extension. The platform freezes the function only while it waits in [`Extension::next`].
#[derive(Debug)]
pub struct Extension {
    platform: Platform,
    identifier: String,
}

/// An invocation, as the extension hears of it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Invoked {
    /// Which; the same as the event's.
    pub request_id: String,
    /// When the platform ends it, in milliseconds since 1970.
    pub deadline_ms: u64,
}

impl Extension {
    /// Says that nothing is left to do, and waits for the next invocation: the function is frozen meanwhile.
    ///
    /// # Errors
    /// The platform refused, or does not answer.
    pub async fn next(&self) -> Result<Invoked, PlatformError> {
        const PATH: &str = "/2020-01-01/extension/event/next";
        let headers = [(IDENTIFIER, self.identifier.as_str())];
        let (_, body) = self.platform.call(Method::GET, PATH, &headers, None).await?;
        serde_json::from_slice(&body).map_err(|error| PlatformError(format!("GET {PATH}: no event: {error}")))
    }
}
