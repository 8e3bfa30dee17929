//! What the host answers in place of a replica, in the form of the API's errors (wit/http-api.md).

use axum::body::Body;
use axum::http::{Response, StatusCode, header};

/// An error of the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// No replica took the request: nothing was applied, and it may be sent again.
    NoReplica(String),
    /// The replica ended while it answered.
    InDoubt,
    /// The body is larger than the host takes.
    BodyTooLarge,
    /// The body did not come within its time.
    BodyTooSlow,
    /// The body broke off.
    BodyBroken,
    /// The path is none of the host's.
    NoSuchPath,
    /// The path is one of the host's own, which are only read.
    OnlyGet,
    /// To `/v1/wake`, which is only posted to.
    OnlyPost,
    /// To `/v1/wake`: the body does not say for how long.
    BadWake,
    /// To `/readyz`: requests had better go elsewhere.
    NotReady {
        /// A word for programs.
        code: &'static str,
        /// A sentence for people.
        message: String,
    },
}

impl Refusal {
    fn parts(&self) -> (StatusCode, &'static str, String) {
        match self {
            Self::NoReplica(reason) => {
                (StatusCode::SERVICE_UNAVAILABLE, "no_replica", format!("{reason}; nothing was applied: send it again"))
            }
            Self::InDoubt => (
                StatusCode::SERVICE_UNAVAILABLE,
                "no_replica",
                "the replica ended while it answered: a write may or may not have been applied".to_owned(),
            ),
            Self::BodyTooLarge => (
                StatusCode::PAYLOAD_TOO_LARGE,
                "body_too_large",
                format!("a body holds at most {} bytes: send less at once", super::server::BODY_BYTES_MAX),
            ),
            Self::BodyTooSlow => (
                StatusCode::REQUEST_TIMEOUT,
                "bad_request",
                "the body did not come in time; nothing was applied".to_owned(),
            ),
            Self::BodyBroken => {
                (StatusCode::BAD_REQUEST, "bad_request", "the body broke off; nothing was applied".to_owned())
            }
            Self::NoSuchPath => (
                StatusCode::NOT_FOUND,
                "no_such_path",
                "the paths are /v1/…, /replicas/NAME/v1/…, /healthz, /readyz and /metrics".to_owned(),
            ),
            Self::OnlyGet => (StatusCode::METHOD_NOT_ALLOWED, "bad_method", "this path is only read".to_owned()),
            Self::OnlyPost => (StatusCode::METHOD_NOT_ALLOWED, "bad_method", "a replica is woken by POST".to_owned()),
            Self::BadWake => (
                StatusCode::BAD_REQUEST,
                "bad_request",
                "a wake is {\"seconds\":30}, with a number from 1 to 840; nobody was woken".to_owned(),
            ),
            Self::NotReady { code, message } => (StatusCode::SERVICE_UNAVAILABLE, code, message.clone()),
        }
    }

    /// The answer.
    pub fn into_response(self) -> Response<Body> {
        let (status, code, message) = self.parts();
        let body = serde_json::json!({ "error": { "code": code, "message": message } }).to_string();
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
        match self {
            Self::NoReplica(_) => {
                headers.insert(header::RETRY_AFTER, header::HeaderValue::from_static("1"));
            }
            // What may have been applied is not to be repeated unseen.
            Self::InDoubt | Self::NoSuchPath | Self::BadWake => {}
            Self::OnlyGet => {
                headers.insert(header::ALLOW, header::HeaderValue::from_static("GET, HEAD"));
            }
            Self::OnlyPost => {
                headers.insert(header::ALLOW, header::HeaderValue::from_static("POST"));
            }
            Self::NotReady { .. } => {
                headers.insert(header::RETRY_AFTER, header::HeaderValue::from_static("1"));
            }
            // The rest of the body is not waited for.
            Self::BodyTooLarge | Self::BodyTooSlow | Self::BodyBroken => {
                headers.insert(header::CONNECTION, header::HeaderValue::from_static("close"));
            }
        }
        response
    }
}
