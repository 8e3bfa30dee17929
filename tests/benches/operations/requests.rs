//! The operations as requests and frames, for the subjects that take those.

use dayfly_core::chunk::Chunk;
use dayfly_core::digest::Digest;
use dayfly_core::dot::Era;
use dayfly_core::frame::{Body, Frame};
use dayfly_core::http::Request;
use dayfly_core::member::Record;
use dayfly_core::snapshot::LogMark;
use dayfly_core::time::Timestamp;

use crate::database::{COUNTER_KEY, LARGE_KEY, NOW, SMALL_KEY};

/// The cluster.
pub const CLUSTER: &str = "bench";
/// How far the clock goes on between two stretches of operations: longer than a burst, so that each stretch pays for the
/// frame of the one before.
pub const PAUSE_MS: u64 = 10;

fn post(type_name: &str, key: &str, body: String) -> Request {
    Request {
        method: "POST".to_owned(),
        path: format!("/v1/data/{type_name}/{key}"),
        headers: vec![("prefer".to_owned(), "return=minimal".to_owned())],
        body: body.into_bytes(),
        ..Request::default()
    }
}

/// Adds an element to the large set.
pub fn add(element: &str) -> Request {
    post("orset", LARGE_KEY, format!(r#"{{"add":[{element}]}}"#))
}

/// Takes elements out of the large set.
pub fn remove(elements: &[String]) -> Request {
    post("orset", LARGE_KEY, format!(r#"{{"remove":[{}]}}"#, elements.join(",")))
}

/// Increments the counter.
pub fn increment() -> Request {
    post("gcounter", COUNTER_KEY, r#"{"increment":1}"#.to_owned())
}

fn get(type_name: &str, key: &str) -> Request {
    Request { method: "GET".to_owned(), path: format!("/v1/data/{type_name}/{key}"), ..Request::default() }
}

/// Reads the counter.
pub fn read_counter() -> Request {
    get("gcounter", COUNTER_KEY)
}

/// Reads the small set.
pub fn read_set() -> Request {
    get("orset", SMALL_KEY)
}

/// A frame of writes from another replica.
pub fn frame(chunk: Chunk) -> Vec<u8> {
    let sender = Record {
        name: "another".to_owned(),
        incarnation: 1,
        left: false,
        awake_until: Timestamp(NOW.0 + 60_000),
        host: String::new(),
        region: String::new(),
        zone: String::new(),
    };
    let frame = Frame {
        era: Era::at(NOW),
        sender,
        complete: true,
        root: Digest::default(),
        log: LogMark::default(),
        body: Body::Delta(chunk),
    };
    frame.encode(CLUSTER)
}
