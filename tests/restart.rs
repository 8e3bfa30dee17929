//! The broker is restarted while clients write. In a file of its own, so that no other test meets a broker that is away.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Result, ensure};
use dayfly_tests::control::control;
use dayfly_tests::node::{Node, fresh_cluster, settle};
use serde_json::Value;

/// How long things may take to settle on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

#[test]
fn a_broker_restarted_under_load_loses_no_confirmed_write() {
    if let Err(error) = restart() {
        panic!("{error:#}");
    }
}

fn restart() -> Result<()> {
    let cluster = fresh_cluster("restart");
    let mut nodes = Vec::new();
    for name in ["a", "b", "c"] {
        nodes.push(Node::start(&cluster, name, &[])?);
        nodes[0].await_ready()?;
    }
    nodes.iter().try_for_each(Node::await_ready)?;
    let ends = AtomicBool::new(false);
    let answers = thread::scope(|scope| -> Result<Vec<(u64, u64)>> {
        let ends = &ends;
        let writers: Vec<_> = nodes.iter().map(|node| scope.spawn(move || increments(node, ends))).collect();
        thread::sleep(Duration::from_secs(2));
        control(&["stop_app"])?;
        thread::sleep(Duration::from_secs(3));
        // It is read while the broker is away.
        let answer = nodes[0].client()?.get("/v1/data/gcounter/k")?;
        ensure!(answer.status == 200, "a read without a broker: {}", answer.status);
        control(&["start_app"])?;
        thread::sleep(Duration::from_secs(5));
        ends.store(true, Ordering::Relaxed);
        writers.into_iter().map(|writer| writer.join().expect("no writer panics")).collect()
    });
    ends.store(true, Ordering::Relaxed);
    let answers = answers?;
    let confirmed: u64 = answers.iter().map(|(confirmed, _)| confirmed).sum();
    let unconfirmed: u64 = answers.iter().map(|(_, unconfirmed)| unconfirmed).sum();
    settle(&nodes.iter().collect::<Vec<_>>(), PATIENCE)?;
    for node in &nodes {
        let body: Value = serde_json::from_slice(&node.client()?.get("/v1/data/gcounter/k")?.body)?;
        // No replica was killed, so what was applied and not confirmed has been sent again.
        ensure!(body["value"] == confirmed + unconfirmed, "{body} of {confirmed} confirmed and {unconfirmed} others");
    }
    ensure!(confirmed > 100, "only {confirmed} writes were confirmed");
    nodes.into_iter().try_for_each(Node::leave)
}

/// Writes until it is told to end; gives how many writes were confirmed, and how many were applied and not confirmed.
fn increments(node: &Node, ends: &AtomicBool) -> Result<(u64, u64)> {
    let (mut confirmed, mut unconfirmed) = (0, 0);
    let json = [("content-type".to_owned(), b"application/json".to_vec())];
    while !ends.load(Ordering::Relaxed) {
        let answer = node.client()?.send("POST", "/v1/data/gcounter/k", &json, br#"{"increment":1}"#)?;
        match answer.status {
            200 => confirmed += 1,
            503 if String::from_utf8_lossy(&answer.body).contains("unconfirmed") => unconfirmed += 1,
            other => ensure!(other == 503, "{other}: {}", String::from_utf8_lossy(&answer.body)),
        }
        thread::sleep(Duration::from_millis(5));
    }
    Ok((confirmed, unconfirmed))
}
