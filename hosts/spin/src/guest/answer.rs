//! Answers that the replica did not make.

use spin_sdk::http::{FullBody, HeaderValue, IntoResponse, StatusCode};
use spin_sdk::wasip3::http::types::{ErrorCode, Response};

use super::bindings::dayfly::replica::api;

/// An answer: the replica's, or one in its form.
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    /// With one more header.
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }
}

impl From<api::Response> for Answer {
    fn from(response: api::Response) -> Self {
        Self { status: response.status, headers: response.headers, body: response.body }
    }
}

/// A refusal in the form of the HTTP API.
pub fn refusal(status: u16, code: &str, message: &str) -> Answer {
    let body = serde_json::json!({ "error": { "code": code, "message": message } });
    Answer { status, headers: Vec::new(), body: body.to_string().into_bytes() }.with("content-type", "application/json")
}

impl IntoResponse for Answer {
    fn into_response(self) -> Result<Response, ErrorCode> {
        let internal = |text: String| ErrorCode::InternalError(Some(text));
        let mut response = spin_sdk::http::Response::new(FullBody::new(bytes::Bytes::from(self.body)));
        *response.status_mut() = StatusCode::from_u16(self.status).map_err(|error| internal(error.to_string()))?;
        for (name, value) in self.headers {
            let name: spin_sdk::http::HeaderName =
                name.parse().map_err(|_| internal(format!("{name:?} is no name of a header")))?;
            let value = HeaderValue::from_str(&value).map_err(|error| internal(error.to_string()))?;
            response.headers_mut().append(name, value);
        }
        response.into_response()
    }
}
