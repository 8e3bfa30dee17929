//! The packaged function under a second emulator of Lambda's APIs, `cargo lambda watch`, over a real RabbitMQ. It shares no
//! code with the simulator of `lambda.rs`, and freezes nothing.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use dayfly_conformance::http::Request;
use dayfly_tests::function::{read_answer, url_event};
use dayfly_tests::node::{Node, fresh_cluster};
use dayfly_tests::watch::{Emulator, function, json_of};
use serde_json::json;

/// How long anything that is awaited may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(20);

fn run(test: impl FnOnce() -> Result<()>) {
    if let Err(error) = test() {
        panic!("{error:#}");
    }
}

#[test]
fn what_is_written_by_the_url_of_one_environment_is_read_by_invoking_another() {
    run(|| {
        let emulator = Emulator::start(&fresh_cluster("watch"))?;
        // It lives on: when one environment is killed, this emulator answers no other one's call for events any more.
        let _first = emulator.environment(&function(1), &[])?;
        let woken = emulator.wake(&function(1))?;
        let written = emulator.ask_url(&function(1), "POST", "/v1/data/gcounter/visits", r#"{"increment":3}"#)?;
        ensure!(json_of(&written)?["value"] == json!(3), "{written:?}");

        let _second = emulator.environment(&function(2), &[])?;
        let other = emulator.wake(&function(2))?;
        ensure!(other["replica"] != woken["replica"] && other["replica"].is_string(), "{woken} {other}");
        let read = Request { method: "GET".into(), path: "/v1/data/gcounter/visits".into(), ..Request::default() };
        let read = read_answer(&json_of(&emulator.invoke(&function(2), &url_event(&read))?)?)?;
        ensure!(json_of(&read)?["value"] == json!(3), "{read:?}");
        let by = read.headers.iter().find(|(name, _)| name == "dayfly-replica").map(|(_, value)| json!(value));
        ensure!(by.as_ref() == Some(&other["replica"]), "{by:?} answered, and not {}", other["replica"]);
        Ok(())
    });
}

#[test]
fn a_packaged_function_and_a_native_replica_are_one_cluster() {
    run(|| {
        let emulator = Emulator::start(&fresh_cluster("watch"))?;
        let node = Node::start(&emulator.cluster, "native", &[])?;
        node.await_ready()?;
        let _function = emulator.environment(&function(1), &[])?;
        emulator.wake(&function(1))?;
        let written = emulator.ask_url(&function(1), "POST", "/v1/data/orset/tags", r#"{"add":["lambda"]}"#)?;
        json_of(&written)?;
        let until = Instant::now() + PATIENCE;
        loop {
            let read = node.client()?.get("/v1/data/orset/tags")?;
            if read.status == 200 && json_of(&read)?["value"] == json!(["lambda"]) {
                break;
            }
            ensure!(Instant::now() < until, "the native replica does not have it: {read:?}");
            thread::sleep(POLL);
        }
        let root = emulator.wake(&function(1))?["root"].clone();
        ensure!(root == json!(node.status()?.root), "{root} {}", node.status()?.root);
        Ok(())
    });
}

#[test]
fn an_unknown_event_is_told_what_is_accepted() {
    run(|| {
        let emulator = Emulator::start(&fresh_cluster("watch"))?;
        let _function = emulator.environment(&function(1), &[])?;
        let answer = emulator.invoke(&function(1), &json!({"weak": {"seconds": 30}}))?;
        let told = String::from_utf8_lossy(&answer.body).into_owned();
        ensure!(told.contains(r#"{\"wake\":{\"seconds\":30}}"#), "{answer:?}");
        Ok(())
    });
}
