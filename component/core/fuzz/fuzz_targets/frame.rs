//! Any bytes as a frame: they are refused by name or decode to what encodes to the same bytes, and a replica that takes
//! them in stays sound, answers, and can hand on what it took in.

#![no_main]

use std::sync::OnceLock;

use dayfly_core::chunk::Chunk;
use dayfly_core::config::Config;
use dayfly_core::digest::Digest;
use dayfly_core::dot::Era;
use dayfly_core::frame::{Body, Frame};
use dayfly_core::http::{Request, Response};
use dayfly_core::member::Record;
use dayfly_core::replica::Replica;
use dayfly_core::snapshot::LogMark;
use dayfly_core::time::{Timestamp, Turn};
use libfuzzer_sys::fuzz_target;

/// A short name, so that few bytes of a frame are the same in all.
const CLUSTER: &str = "c";

fuzz_target!(|input: &[u8]| {
    // Two thirds of the inputs are what stands behind a header, or behind that of a chunk of writes: most is to find there.
    let Some((way, rest)) = input.split_first() else { return };
    let bytes = &*match way % 3 {
        0 => rest.to_vec(),
        1 => [&header(), rest].concat(),
        _ => [&header(), &[1][..], rest].concat(),
    };
    if let Ok(chunk) = Chunk::decode(bytes) {
        assert_eq!(chunk.encode(), bytes, "a chunk has two encodings");
    }
    let Ok(frame) = Frame::decode(bytes, CLUSTER) else { return };
    assert_eq!(frame.encode(CLUSTER), bytes, "a frame has two encodings");

    let mut replica = Driven::start(0);
    for (data_type, operation) in OWN {
        replica.request("POST", &format!("/v1/data/{data_type}/k"), operation);
    }
    replica.call(|replica, turn| replica.receive(&[bytes.to_vec()], turn));
    replica.check();
    // What was taken in can be written over, saved, and loaded elsewhere.
    for (data_type, operation) in OWN {
        replica.request("POST", &format!("/v1/data/{data_type}/k"), operation);
    }
    replica.check();
    let saved = replica.call(|replica, _| replica.save(0));
    let mut other = Driven::start(1_000);
    for part in saved.parts {
        let loaded = other.call(|replica, turn| replica.load(&part.chunk, turn));
        loaded.expect("what a replica saves can be loaded");
    }
    other.check();
    assert_eq!(other.replica.store().root(), replica.replica.store().root());
});

/// What stands before the body of a frame.
fn header() -> Vec<u8> {
    let sender = Record {
        name: "n".into(),
        incarnation: 1,
        left: false,
        awake_until: Timestamp(NOW_MS + 1_000),
        host: String::new(),
        region: String::new(),
        zone: String::new(),
    };
    let frame = Frame { era: Era(0), sender, complete: true, root: Digest::default(), log: LogMark::default(), body: Body::Beat };
    let mut bytes = frame.encode(CLUSTER);
    bytes.pop();
    bytes
}

/// What the replica wrote itself.
const OWN: [(&str, &str); 11] = [
    ("gcounter", r#"{"increment":1}"#),
    ("pncounter", r#"{"decrement":1}"#),
    ("gset", r#"{"add":["a"]}"#),
    ("orset", r#"{"add":["a"]}"#),
    ("rwset", r#"{"remove":["a"]}"#),
    ("lwwregister", r#"{"set":1}"#),
    ("mvregister", r#"{"set":1}"#),
    ("ewflag", r#"{"enable":true}"#),
    ("dwflag", r#"{"disable":true}"#),
    ("maxregister", r#"{"set":1}"#),
    ("map", r#"{"update":{"f":{"type":"minregister","set":1}}}"#),
];

struct Driven {
    replica: Replica,
    seed: u64,
}

impl Driven {
    fn start(seed: u64) -> Self {
        static CONFIG: OnceLock<Config> = OnceLock::new();
        let config = CONFIG.get_or_init(|| Config { bootstrap_ms: 0, ..Config::usual(CLUSTER) });
        let mut seed = seed;
        let mut turn = Turn { now: Timestamp(NOW_MS), chance: &mut || draw(&mut seed) };
        let (mut replica, _) = Replica::start(config.clone(), &mut turn).expect("the configuration is within bounds");
        replica.wake(Timestamp(NOW_MS + 1_000), &mut turn);
        Self { replica, seed }
    }

    fn call<T>(&mut self, call: impl FnOnce(&mut Replica, &mut Turn<'_>) -> T) -> T {
        let seed = &mut self.seed;
        call(&mut self.replica, &mut Turn { now: Timestamp(NOW_MS), chance: &mut || draw(seed) })
    }

    fn request(&mut self, method: &str, path: &str, body: &str) -> Response {
        let request = Request { method: method.into(), path: path.into(), body: body.into(), ..Request::default() };
        self.call(|replica, turn| replica.invoke(&request, turn))
    }

    /// The state is sound, and every key can be read.
    fn check(&mut self) {
        self.replica.store().assert_sound();
        for path in ["/v1/keys", "/v1/members", "/v1/status"] {
            assert_eq!(self.request("GET", path, "").status, 200);
        }
        let mut keys = Vec::new();
        let first = dayfly_core::cell::Cell::of_key("", dayfly_core::cell::DataType::GCounter);
        self.replica.store().cells_from(&first).for_each(|(cell, _)| keys.push((cell.name.clone(), cell.key_type)));
        keys.dedup();
        for (name, data_type) in keys {
            let name: String = name.bytes().map(|byte| format!("%{byte:02x}")).collect();
            let path = format!("/v1/data/{}/{name}", data_type.name());
            assert_eq!(self.request("GET", &path, "").status, 200);
        }
    }
}

const NOW_MS: u64 = 1_700_000_000_000;

fn draw(seed: &mut u64) -> u64 {
    *seed += 1;
    dayfly_core::digest::mix(*seed)
}
