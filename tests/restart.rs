//! The broker is restarted while clients write, or loses its disk. In a file of its own, so that no other test meets a broker
//! that is away.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Result, ensure};
use dayfly_conformance::http::Answer;
use dayfly_tests::control::control;
use dayfly_tests::node::{Node, fresh_cluster, settle};
use serde_json::Value;

/// How long things may take to settle on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// Only one test at a time has the broker.
static BROKER: Mutex<()> = Mutex::new(());

#[test]
fn a_broker_restarted_under_load_loses_no_confirmed_write() {
    run(restart);
}

#[test]
fn a_broker_that_lost_its_disk_is_made_anew_by_those_that_live() {
    run(lost_disk);
}

fn run(test: impl FnOnce() -> Result<()>) {
    let _alone = BROKER.lock().unwrap_or_else(PoisonError::into_inner);
    if let Err(error) = test() {
        panic!("{error:#}");
    }
}

/// `reset` takes all queues, exchanges and messages from the broker, and its log with them.
fn lost_disk() -> Result<()> {
    let cluster = fresh_cluster("disk");
    let log = ["--log"];
    let nodes = [Node::start(&cluster, "a", &log)?, Node::start(&cluster, "b", &log)?];
    nodes.iter().try_for_each(Node::await_ready)?;
    ensure!(increment(&nodes[0])? == 200);
    settle(&[&nodes[0], &nodes[1]], PATIENCE)?;
    // Frozen, it has not seen what its inbox holds when that is lost.
    nodes[1].freeze()?;
    ensure!(increment(&nodes[0])? == 200);
    control(&["stop_app"])?;
    control(&["reset"])?;
    control(&["start_app"])?;
    nodes[1].thaw()?;
    nodes.iter().try_for_each(Node::await_ready)?;
    for node in &nodes {
        ensure!(increment(node)? == 200);
    }
    settle(&[&nodes[0], &nodes[1]], PATIENCE)?;
    let value = |node: &Node| node.client()?.get("/v1/data/gcounter/k")?.value();
    ensure!(value(&nodes[1])? == 4, "{}", value(&nodes[1])?);
    // The log is made anew as well: what those that live had in it is read by one that finds nobody.
    let [a, b] = nodes;
    a.kill()?;
    b.kill()?;
    let late = Node::start(&cluster, "late", &log)?;
    late.await_ready()?;
    ensure!(value(&late)? == 4, "the log brought {} back", value(&late)?);
    late.leave()
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
    while !ends.load(Ordering::Relaxed) {
        let answer = post(node)?;
        match answer.status {
            200 => confirmed += 1,
            503 if String::from_utf8_lossy(&answer.body).contains("unconfirmed") => unconfirmed += 1,
            other => ensure!(other == 503, "{other}: {}", String::from_utf8_lossy(&answer.body)),
        }
        thread::sleep(Duration::from_millis(5));
    }
    Ok((confirmed, unconfirmed))
}

fn increment(node: &Node) -> Result<u16> {
    Ok(post(node)?.status)
}

fn post(node: &Node) -> Result<Answer> {
    let json = [("content-type".to_owned(), b"application/json".to_vec())];
    node.client()?.send("POST", "/v1/data/gcounter/k", &json, br#"{"increment":1}"#)
}
