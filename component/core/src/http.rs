//! Requests and responses as they stand in HTTP. The counterpart of `wit/api.wit`.

use crate::effect::{Effects, FrameId};

/// A request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request {
    /// `GET`, `POST`, ….
    pub method: String,
    /// The path, percent-encoded.
    pub path: String,
    /// What followed `?`, percent-encoded.
    pub query: String,
    /// Headers; names are compared without regard to case.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// The HTTP status.
    pub status: u16,
    /// Headers, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
    /// The frame whose confirmation the answer to a write waits for.
    pub after: Option<FrameId>,
    /// What to do now.
    pub effects: Effects,
}
