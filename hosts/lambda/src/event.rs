//! What the function can be invoked with.

mod http;
mod queue;

use std::fmt;

use dayfly_engine::contract::Request;
use serde_json::Value;

/// The most seconds that a wake may ask for: Lambda ends no invocation later.
pub const WAKE_SECONDS_MAX: f64 = 900.0;

/// An event.
#[derive(Debug)]
pub enum Event {
    /// A request of HTTP, from a function URL or the API Gateway.
    Http(Request),
    /// Be awake for so many seconds.
    Wake {
        /// More than 0, at most [`WAKE_SECONDS_MAX`].
        seconds: f64,
    },
    /// Messages of RabbitMQ's event source.
    Messages(Messages),
}

/// Messages that the event source took from queues of the broker.
#[derive(Debug, PartialEq, Eq)]
pub struct Messages {
    /// The bodies of frames, in the order of their queues.
    pub bodies: Vec<Vec<u8>>,
    /// How many others are not in base64.
    pub broken: usize,
}

/// An event that is none of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unknown {
    /// What is wrong with it.
    pub reason: String,
}

/// What is accepted, for whoever sent something else.
const ACCEPTED: &str = concat!(
    r#"accepted are requests of a function URL or an API Gateway (HTTP API with payload 1.0 or 2.0, REST API with "#,
    r#"proxy integration), {"wake":{"seconds":30}}, and the events of a RabbitMQ event source ("rmqMessagesByQueue")"#
);

impl fmt::Display for Unknown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {ACCEPTED}", self.reason)
    }
}

impl std::error::Error for Unknown {}

fn unknown(reason: impl Into<String>) -> Unknown {
    Unknown { reason: reason.into() }
}

impl Event {
    /// Reads an event.
    ///
    /// # Errors
    /// It is of no known kind, or one of a known kind is broken.
    pub fn read(event: Value) -> Result<Self, Unknown> {
        let Value::Object(fields) = &event else { return Err(unknown("the event is no JSON object")) };
        if let Some(wake) = fields.get("wake") {
            return seconds_of(wake).map(|seconds| Self::Wake { seconds }).map_err(unknown);
        }
        if fields.contains_key("rmqMessagesByQueue") {
            return queue::read(event).map(Self::Messages);
        }
        if event.pointer("/requestContext/http").is_some() || fields.contains_key("httpMethod") {
            return http::read(event).map(Self::Http);
        }
        let names: Vec<&str> = fields.keys().take(8).map(String::as_str).collect();
        Err(unknown(format!("an event with the fields [{}] is not known", names.join(", "))))
    }
}

/// The seconds of a wake; else what they must be.
pub fn seconds_of(wake: &Value) -> Result<f64, String> {
    let seconds = wake.get("seconds").and_then(Value::as_f64);
    let in_bounds = seconds.filter(|seconds| *seconds > 0.0 && *seconds <= WAKE_SECONDS_MAX);
    in_bounds.ok_or_else(|| format!("a wake must have `seconds`: a number above 0 and up to {WAKE_SECONDS_MAX}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_wake_says_for_how_long() {
        assert!(matches!(Event::read(json!({"wake": {"seconds": 30}})), Ok(Event::Wake { seconds: 30.0 })));
        for wrong in [json!({}), json!({"seconds": 0}), json!({"seconds": "30"}), json!({"seconds": 901}), json!(30)] {
            let error = Event::read(json!({ "wake": wrong })).expect_err("it is none").to_string();
            assert!(error.contains("above 0 and up to 900") && error.contains("accepted are"), "{error}");
        }
    }

    #[test]
    fn an_unknown_event_is_told_what_is_accepted() {
        for event in [json!({"source": "aws.events", "detail-type": "Scheduled Event"}), json!([1]), json!(null)] {
            let error = Event::read(event).expect_err("it is none").to_string();
            assert!(error.contains("rmqMessagesByQueue") && error.contains("wake"), "{error}");
        }
    }
}
