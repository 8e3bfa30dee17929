//! The platform itself, with a guest that is nothing but a life: what it does follows from the method of a request.
//!
//! What it answers is the status 200 and how many requests its instance has had, which tells the instances apart.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use dayfly_spin_platform::{Addresses, Keeping, Settings, start};
use dayfly_tests::client::Client;
use dayfly_tests::function::tokio;
use dayfly_tests::patience::await_that;
use serde_json::Value;
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

/// As much of WASI 0.3 as the guest asks for.
const CLOCKS: &str = "
    package wasi:clocks@0.3.0;
    interface types { type duration = u64; }
    interface monotonic-clock {
        use types.{duration};
        wait-for: async func(how-long: duration);
    }
";
const HTTP: &str = "
    package wasi:http@0.3.0;
    interface types {
        variant method { get, head, post, put, delete, connect, options, trace, patch, other(string) }
        record DNS-error-payload { rcode: option<string>, info-code: option<u16> }
        record TLS-alert-received-payload { alert-id: option<u8>, alert-message: option<string> }
        record field-size-payload { field-name: option<string>, field-size: option<u32> }
        variant error-code {
            DNS-timeout, DNS-error(DNS-error-payload), destination-not-found, destination-unavailable,
            destination-IP-prohibited, destination-IP-unroutable, connection-refused, connection-terminated,
            connection-timeout, connection-read-timeout, connection-write-timeout, connection-limit-reached,
            TLS-protocol-error, TLS-certificate-error, TLS-alert-received(TLS-alert-received-payload),
            HTTP-request-denied, HTTP-request-length-required, HTTP-request-body-size(option<u64>),
            HTTP-request-method-invalid, HTTP-request-URI-invalid, HTTP-request-URI-too-long,
            HTTP-request-header-section-size(option<u32>), HTTP-request-header-size(option<field-size-payload>),
            HTTP-request-trailer-section-size(option<u32>), HTTP-request-trailer-size(field-size-payload),
            HTTP-response-incomplete, HTTP-response-header-section-size(option<u32>),
            HTTP-response-header-size(field-size-payload), HTTP-response-body-size(option<u64>),
            HTTP-response-trailer-section-size(option<u32>), HTTP-response-trailer-size(field-size-payload),
            HTTP-response-transfer-coding(option<string>), HTTP-response-content-coding(option<string>),
            HTTP-response-timeout, HTTP-upgrade-failed, HTTP-protocol-error, loop-detected, configuration-error,
            internal-error(option<string>)
        }
        resource fields { constructor(); }
        type headers = fields;
        type trailers = fields;
        resource request { get-method: func() -> method; }
        resource response {
            new: static func(
                headers: headers,
                contents: option<stream<u8>>,
                trailers: future<result<option<trailers>, error-code>>
            ) -> tuple<response, future<result<_, error-code>>>;
            set-status-code: func(status-code: u16) -> result;
        }
    }
    interface handler {
        use types.{request, response, error-code};
        handle: async func(request: request) -> result<response, error-code>;
    }
";
const WORLD: &str = "
    package t:guest;
    world guest {
        import wasi:clocks/monotonic-clock@0.3.0;
        export wasi:http/handler@0.3.0;
    }
";

/// How long the guest works on after the answer to a POST.
const BACKGROUND: Duration = Duration::from_secs(2);
/// How it goes with each method. GET answers. POST answers and works on for two seconds, PATCH for an hour. PUT answers
/// after an hour. DELETE traps.
const GUEST: &str = r#"(module
    (import "wasi:http/types@0.3.0" "[method]request.get-method" (func $method (param i32 i32)))
    (import "wasi:http/types@0.3.0" "[resource-drop]request" (func $drop_request (param i32)))
    (import "wasi:http/types@0.3.0" "[constructor]fields" (func $fields (result i32)))
    (import "wasi:http/types@0.3.0" "[static]response.new" (func $response (param i32 i32 i32 i32 i32)))
    (import "wasi:http/types@0.3.0" "[method]response.set-status-code" (func $status (param i32 i32) (result i32)))
    (import "wasi:http/types@0.3.0" "[future-new-1][static]response.new" (func $trailers (result i64)))
    (import "wasi:http/types@0.3.0" "[async-lower][future-write-1][static]response.new"
        (func $write_trailers (param i32 i32) (result i32)))
    (import "wasi:http/types@0.3.0" "[future-drop-readable-2][static]response.new" (func $drop_sent (param i32)))
    (import "wasi:clocks/monotonic-clock@0.3.0" "[async-lower]wait-for" (func $wait_for (param i64) (result i32)))
    (import "$root" "[waitable-set-new]" (func $set_new (result i32)))
    (import "$root" "[waitable-join]" (func $join (param i32 i32)))
    (import "$root" "[subtask-drop]" (func $drop_subtask (param i32)))
    (import "$root" "[context-set-0]" (func $owe (param i32)))
    (import "$root" "[context-get-0]" (func $owed (result i32)))
    (import "[export]wasi:http/handler@0.3.0" "[task-return]handle"
        (func $return (param i32 i32 i32 i64 i32 i32 i32 i32)))
    (memory (export "memory") 1)
    (global $requests (mut i32) (i32.const 0))

    ;; At 0: a method. At 16: a response and the future of its sending. At 1024: no trailers, without an error.
    (func $answer
        (local $ends i64)
        (local.set $ends (call $trailers))
        (call $response (call $fields) (i32.const 0) (i32.const 0) (i32.wrap_i64 (local.get $ends)) (i32.const 16))
        (drop (call $status (i32.load (i32.const 16)) (i32.add (i32.const 200) (global.get $requests))))
        (call $return (i32.const 0) (i32.load (i32.const 16)) (i32.const 0) (i64.const 0) (i32.const 0) (i32.const 0)
            (i32.const 0) (i32.const 0))
        (call $drop_sent (i32.load (i32.const 20)))
        (drop (call $write_trailers
            (i32.wrap_i64 (i64.shr_u (local.get $ends) (i64.const 32))) (i32.const 1024))))

    ;; Has the callback called after so many nanoseconds.
    (func $after (param $ns i64) (result i32)
        (local $set i32)
        (local.set $set (call $set_new))
        (call $join (i32.shr_u (call $wait_for (local.get $ns)) (i32.const 4)) (local.get $set))
        (i32.or (i32.const 2) (i32.shl (local.get $set) (i32.const 4))))

    (func (export "[async-lift]wasi:http/handler@0.3.0#handle") (param $request i32) (result i32)
        (local $method i32)
        (call $method (local.get $request) (i32.const 0))
        (call $drop_request (local.get $request))
        (local.set $method (i32.load8_u (i32.const 0)))
        (global.set $requests (i32.add (global.get $requests) (i32.const 1)))
        (if (i32.eq (local.get $method) (i32.const 4)) (then (unreachable)))
        (if (i32.eq (local.get $method) (i32.const 3))
            (then (call $owe (i32.const 1)) (return (call $after (i64.const 3600_000_000_000)))))
        (call $answer)
        (if (i32.eq (local.get $method) (i32.const 2)) (then (return (call $after (i64.const 2_000_000_000)))))
        (if (i32.eq (local.get $method) (i32.const 8)) (then (return (call $after (i64.const 3600_000_000_000)))))
        (i32.const 0))

    (func (export "[callback][async-lift]wasi:http/handler@0.3.0#handle")
        (param $event i32) (param $subtask i32) (param $state i32) (result i32)
        (call $drop_subtask (local.get $subtask))
        (if (call $owed) (then (call $answer)))
        (i32.const 0))

    ;; Called for methods that have no number, which no test sends.
    (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (unreachable)))"#;

fn guest() -> Vec<u8> {
    let mut resolve = Resolve::default();
    for wit in [CLOCKS, HTTP] {
        resolve.push_str("wasi.wit", wit).expect("it is WIT");
    }
    let package = resolve.push_str("guest.wit", WORLD).expect("it is WIT");
    let world = resolve.select_world(&[package], Some("guest")).expect("it is there");
    let mut module = wat::parse_str(GUEST).expect("it is WAT");
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).expect("the world is sound");
    ComponentEncoder::default().validate(true).module(&module).and_then(|encoder| encoder.encode()).expect("they fit")
}

/// An application in a folder of its own, removed when this is dropped.
struct Application {
    folder: PathBuf,
    at: Addresses,
}

impl Application {
    fn start(keeping: Keeping) -> Result<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("dayfly-spin-platform-{}-{number}", std::process::id()));
        fs::create_dir_all(&folder)?;
        fs::write(folder.join("guest.wasm"), guest())?;
        let manifest = "spin_manifest_version = 2\n[application]\nname = \"t\"\n\
                        [component.t]\nsource = \"guest.wasm\"\n\
                        [[trigger.http]]\nroute = \"/here/...\"\ncomponent = \"t\"\n";
        fs::write(folder.join("spin.toml"), manifest)?;
        let settings = Settings {
            folder: folder.clone(),
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            variables: Default::default(),
            state: None,
            compiled: None,
            keeping,
        };
        Ok(Self { at: tokio().block_on(start(&settings))?, folder })
    }

    /// The status of an answer.
    fn ask(&self, method: &str) -> Result<u16> {
        ask(self.at, method)
    }

    /// One of the counters.
    fn count(&self, name: &str) -> Result<u64> {
        let answer = Client::new(&format!("http://{}", self.at.control))?.get("/stats")?;
        let stats: Value = serde_json::from_slice(&answer.body)?;
        stats[name].as_u64().with_context(|| format!("{name} in {stats}"))
    }

    fn evict(&self) -> Result<Value> {
        let answer = Client::new(&format!("http://{}", self.at.control))?.send("POST", "/evict", &[], b"")?;
        Ok(serde_json::from_slice(&answer.body)?)
    }

    fn await_none(&self) -> Result<()> {
        await_that("all instances are dropped", || Ok(self.count("instances")? == 0))
    }
}

fn ask(at: Addresses, method: &str) -> Result<u16> {
    Ok(Client::new(&format!("http://{}", at.listening))?.send(method, "/here/x", &[], b"")?.status)
}

impl Drop for Application {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Those of `spin up`, with instances that are kept through any test, however slow the machine is.
fn kept() -> Keeping {
    Keeping { idle: Duration::from_secs(600), ..Keeping::default() }
}

fn idle(milliseconds: u64) -> Keeping {
    Keeping { idle: Duration::from_millis(milliseconds), ..Keeping::default() }
}

#[test]
fn an_instance_answers_as_many_requests_as_it_may() -> Result<()> {
    let application = Application::start(Keeping { max_requests: 3, ..kept() })?;
    for status in [201, 202, 203, 201, 202] {
        assert_eq!(application.ask("GET")?, status);
    }
    assert_eq!(application.count("started")?, 2);
    assert_eq!(application.count("requests")?, 5);
    await_that("the first is dropped", || Ok(application.count("ended")? == 1))
}

#[test]
fn an_idle_instance_is_dropped() -> Result<()> {
    let application = Application::start(idle(50))?;
    assert_eq!(application.ask("GET")?, 201);
    application.await_none()?;
    assert_eq!(application.ask("GET")?, 201);
    assert_eq!(application.count("started")?, 2);
    Ok(())
}

#[test]
fn work_in_the_background_keeps_an_instance() -> Result<()> {
    let application = Application::start(idle(50))?;
    let begun = Instant::now();
    assert_eq!(application.ask("POST")?, 201);
    application.await_none()?;
    assert!(begun.elapsed() >= BACKGROUND, "dropped after {:?}", begun.elapsed());
    Ok(())
}

#[test]
fn work_in_the_background_does_not_keep_an_instance_where_that_is_asked_for() -> Result<()> {
    let application = Application::start(Keeping { drop_idle: true, ..idle(50) })?;
    // It would work for an hour.
    assert_eq!(application.ask("PATCH")?, 201);
    application.await_none()
}

#[test]
fn an_instance_answers_as_many_requests_at_a_time_as_it_may() -> Result<()> {
    for (max_concurrent, status, started) in [(1, 201, 2), (2, 202, 1)] {
        let application = Application::start(Keeping { max_concurrent, ..kept() })?;
        let at = application.at;
        let waiting = thread::spawn(move || ask(at, "PUT"));
        await_that("the request is taken", || Ok(application.count("requests")? == 1))?;
        assert_eq!(application.ask("GET")?, status);
        assert_eq!(application.count("started")?, started);
        // All are dropped at once, and what they owe fails.
        assert_eq!(application.evict()?["evicted"], started);
        assert_eq!(application.count("instances")?, 0);
        assert_eq!(waiting.join().expect("it does not panic")?, 500);
    }
    Ok(())
}

#[test]
fn a_trap_ends_its_instance_alone() -> Result<()> {
    let application = Application::start(kept())?;
    assert_eq!(application.ask("GET")?, 201);
    assert_eq!(application.ask("DELETE")?, 500);
    assert_eq!(application.ask("GET")?, 201);
    assert_eq!((application.count("started")?, application.count("ended")?), (2, 1));
    Ok(())
}

#[test]
fn paths_that_are_not_routed_are_not_found() -> Result<()> {
    let application = Application::start(kept())?;
    let answer = Client::new(&format!("http://{}", application.at.listening))?.get("/there")?;
    assert_eq!(answer.status, 404);
    assert_eq!(application.count("started")?, 0);
    Ok(())
}
