//! Requests and answers as they stand in HTTP.

use anyhow::{Context, Result, ensure};
use serde_json::Value;

/// A request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request {
    /// `GET`, `POST`, ….
    pub method: String,
    /// The path, percent-encoded.
    pub path: String,
    /// What follows `?`, percent-encoded.
    pub query: String,
    /// Headers; names are compared without regard to case.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Request {
    /// Path and query, as they stand in a request line.
    pub fn target(&self) -> String {
        if self.query.is_empty() { self.path.clone() } else { format!("{}?{}", self.path, self.query) }
    }
}

/// An answer as the client sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The headers, names as they came.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Answer {
    /// The value of the header of this name (in lower case), if there is exactly one.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.iter().filter(|(other, _)| other.eq_ignore_ascii_case(name));
        let value = values.next()?;
        values.next().is_none().then_some(value.1.as_str())
    }

    /// The body, as JSON.
    pub fn json(&self) -> Result<Value> {
        serde_json::from_slice(&self.body).with_context(|| format!("no JSON: {}", String::from_utf8_lossy(&self.body)))
    }

    /// What it tells that a key holds; an error unless it is 200.
    pub fn value(&self) -> Result<Value> {
        ensure!(self.status == 200, "{} {}", self.status, String::from_utf8_lossy(&self.body));
        Ok(self.json()?["value"].take())
    }

    /// The code of a refusal.
    pub fn code(&self) -> Result<String> {
        Ok(self.json()?["error"]["code"].as_str().context("no code")?.to_owned())
    }
}
