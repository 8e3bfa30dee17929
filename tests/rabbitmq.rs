//! Replicas as processes of their own, which share nothing but a real RabbitMQ, and what happens to such processes: frozen by
//! SIGSTOP, killed by SIGKILL, with inboxes that overflow and a broker that keeps a log.

use std::time::{Duration, Instant};
use std::{env, thread};

use anyhow::{Context, Result, ensure};
use dayfly_conformance::http::Answer;
use dayfly_tests::control::queues;
use dayfly_tests::node::{Node, broker_url, fresh_cluster, settle};
use dayfly_tests::throttle::throttle;
use serde_json::Value;

/// How long things may take to settle on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

fn run(test: impl FnOnce() -> Result<()>) {
    if let Err(error) = test() {
        panic!("{error:#}");
    }
}

fn start(cluster: &str, count: usize, arguments: &[&str]) -> Result<Vec<Node>> {
    let mut nodes = Vec::new();
    for number in 0..count {
        nodes.push(Node::start(cluster, &format!("n{number}"), arguments)?);
        if number == 0 {
            nodes[0].await_ready()?;
        }
    }
    nodes.iter().try_for_each(Node::await_ready)?;
    Ok(nodes)
}

fn post(node: &Node, path: &str, body: &str) -> Result<Answer> {
    let json = [("content-type".to_owned(), b"application/json".to_vec())];
    node.client()?.send("POST", path, &json, body.as_bytes())
}

/// Writes; again if nothing was applied because the broker or its log does not keep up.
fn write(node: &Node, path: &str, body: &str) -> Result<()> {
    let until = Instant::now() + PATIENCE;
    loop {
        let answer = post(node, path, body)?;
        let told = String::from_utf8_lossy(&answer.body).into_owned();
        if answer.status == 200 {
            return Ok(());
        }
        let is_busy = answer.status == 503 && told.contains("\"busy\"");
        ensure!(is_busy && Instant::now() < until, "POST {path} at {}: {} {told}", node.name(), answer.status);
        thread::sleep(Duration::from_millis(50));
    }
}

fn read(node: &Node, path: &str) -> Result<Value> {
    let answer = node.client()?.get(path)?;
    ensure!(answer.status == 200, "GET {path} at {}: {}", node.name(), answer.status);
    let body: Value = serde_json::from_slice(&answer.body)?;
    Ok(body["value"].clone())
}

fn all(nodes: &[Node]) -> Vec<&Node> {
    nodes.iter().collect()
}

/// Writes so many values of so many bytes, each under a key of its own, in batches.
fn fill(node: &Node, prefix: &str, count: usize, bytes: usize) -> Result<()> {
    for number in 0..count {
        let value = format!("{number:08}").repeat(bytes / 8);
        write(node, &format!("/v1/data/lwwregister/{prefix}{number}"), &format!("{{\"set\":\"{value}\"}}"))?;
    }
    Ok(())
}

#[test]
fn a_replica_frozen_for_longer_than_the_heartbeat_goes_on_where_it_was() {
    run(|| {
        let cluster = fresh_cluster("heartbeat");
        // The broker gives the connection up after about twice that.
        let broker = format!("{}?heartbeat=2", broker_url()?);
        let mut nodes = Vec::new();
        for name in ["a", "b", "c"] {
            nodes.push(Node::start_at(&broker, &cluster, name, &[])?);
            nodes[0].await_ready()?;
        }
        nodes.iter().try_for_each(Node::await_ready)?;
        write(&nodes[2], "/v1/data/gcounter/k", r#"{"increment":1}"#)?;
        nodes[2].freeze()?;
        (0..50).try_for_each(|_| write(&nodes[0], "/v1/data/gcounter/k", r#"{"increment":1}"#))?;
        thread::sleep(Duration::from_secs(12));
        nodes[2].thaw()?;
        settle(&all(&nodes), PATIENCE)?;
        ensure!(read(&nodes[2], "/v1/data/gcounter/k")? == 51);
        write(&nodes[2], "/v1/data/gcounter/k", r#"{"increment":1}"#)?;
        settle(&all(&nodes), PATIENCE)?;
        ensure!(read(&nodes[0], "/v1/data/gcounter/k")? == 52);
        nodes.into_iter().try_for_each(Node::leave)
    });
}

#[test]
fn a_newcomer_is_filled_though_its_server_and_then_itself_is_killed_in_the_midst() {
    run(|| {
        let cluster = fresh_cluster("midrepair");
        let mut nodes = start(&cluster, 2, &[])?;
        fill(&nodes[0], "k", 300, 60_000)?;
        settle(&all(&nodes), PATIENCE)?;
        let is_under_way = |node: &Node| -> Result<bool> {
            let until = Instant::now() + PATIENCE;
            loop {
                let status = node.status()?;
                if status.complete {
                    return Ok(false);
                }
                if status.entries > 0 {
                    return Ok(true);
                }
                ensure!(Instant::now() < until, "it is never served");
            }
        };
        let newcomer = Node::start(&cluster, "new", &["--repair-kib", "64"])?;
        let killed_server = is_under_way(&newcomer)?;
        nodes.remove(0).kill()?;
        let killed_itself = is_under_way(&newcomer)?;
        newcomer.kill()?;
        ensure!(killed_server || killed_itself, "the repair was over before anybody was killed");
        let newcomer = Node::start(&cluster, "new", &["--repair-kib", "64"])?;
        newcomer.await_ready()?;
        settle(&[&nodes[0], &newcomer], PATIENCE)?;
        ensure!(newcomer.status()?.entries == 300);
        newcomer.leave()?;
        nodes.into_iter().try_for_each(Node::leave)
    });
}

#[test]
fn more_than_an_awake_period_can_bring_comes_over_several_and_from_several_peers() {
    run(|| {
        const ENTRIES: usize = 200;
        const ENTRY_BYTES: usize = 60_000;
        const FRAME_BYTES: u64 = 64 << 10;
        let cluster = fresh_cluster("budget");
        let mut nodes = start(&cluster, 3, &[])?;
        fill(&nodes[0], "k", ENTRIES, ENTRY_BYTES)?;
        settle(&all(&nodes), PATIENCE)?;
        let broker = broker_url()?;
        let address = broker.rsplit('@').next().and_then(|rest| rest.split('/').next()).context("no address")?;
        let thin = throttle(address.parse()?, 1 << 20)?;
        let newcomer =
            Node::start_at(&broker.replace(address, &thin.to_string()), &cluster, "new", &["--repair-kib", "256"])?;
        let (mut cuts, mut seen) = (0, vec![0]);
        while !newcomer.status()?.complete {
            thread::sleep(Duration::from_secs(2));
            let status = newcomer.status()?;
            ensure!(status.repair.expected_entries as usize <= ENTRIES, "{status:?}");
            seen.push(status.entries);
            // Its awake period is over; some time later another begins.
            newcomer.freeze()?;
            if cuts == 1 {
                nodes.remove(0).kill()?;
            }
            thread::sleep(Duration::from_secs(2));
            newcomer.thaw()?;
            cuts += 1;
            ensure!(cuts < 60, "it does not come to an end: {seen:?}");
        }
        settle(&[&nodes[0], &nodes[1], &newcomer], PATIENCE)?;
        ensure!(cuts >= 3 && seen.is_sorted(), "{cuts} cuts: {seen:?}");
        let (received, needed) = (newcomer.status()?.repair.received_bytes, (ENTRIES * ENTRY_BYTES) as u64);
        // At most a frame again for each cut, and the frames' own few bytes.
        let allowed = needed + needed / 50 + (cuts + 1) * FRAME_BYTES;
        ensure!(received <= allowed, "{received} bytes came for {needed}, with {cuts} cuts");
        newcomer.leave()?;
        nodes.into_iter().try_for_each(Node::leave)
    });
}

#[test]
fn what_a_full_inbox_drops_is_repaired() {
    run(|| {
        let cluster = fresh_cluster("overflow");
        let nodes = start(&cluster, 3, &["--inbox-mib", "1"])?;
        nodes[2].freeze()?;
        fill(&nodes[0], "k", 80, 60_000)?;
        write(&nodes[1], "/v1/data/gcounter/k", r#"{"increment":1}"#)?;
        nodes[2].thaw()?;
        settle(&all(&nodes), PATIENCE)?;
        ensure!(nodes[2].status()?.entries == 81);
        nodes.into_iter().try_for_each(Node::leave)
    });
}

#[test]
fn two_thousand_confirmed_writes_survive_the_kill_of_two_thirds_at_once() {
    run(|| {
        let cluster = fresh_cluster("twothirds");
        let mut nodes = start(&cluster, 6, &[])?;
        thread::scope(|scope| -> Result<()> {
            let writers: Vec<_> = nodes
                .iter()
                .enumerate()
                .map(|(writer, node)| {
                    scope.spawn(move || -> Result<()> {
                        for number in (0..2_000).filter(|number| number % 6 == writer) {
                            write(node, "/v1/data/gset/k", &format!("{{\"add\":[\"{number}\"]}}"))?;
                            write(node, "/v1/data/gcounter/k", r#"{"increment":1}"#)?;
                        }
                        Ok(())
                    })
                })
                .collect();
            writers.into_iter().try_for_each(|writer| writer.join().expect("no writer panics"))
        })?;
        // Those that took the last writes go as well, at the same moment.
        let dead: Vec<Node> = nodes.drain(2..).collect();
        thread::scope(|scope| {
            let killers: Vec<_> = dead.into_iter().map(|node| scope.spawn(move || node.kill())).collect();
            killers.into_iter().try_for_each(|killer| killer.join().expect("no killer panics"))
        })?;
        settle(&all(&nodes), PATIENCE)?;
        for node in &nodes {
            ensure!(read(node, "/v1/data/gcounter/k")? == 2_000, "{}", read(node, "/v1/data/gcounter/k")?);
            let set = read(node, "/v1/data/gset/k")?;
            ensure!(set.as_array().context("no set")?.len() == 2_000);
        }
        nodes.into_iter().try_for_each(Node::leave)
    });
}

#[test]
fn with_many_awake_the_combiner_carries_the_writes_and_its_death_loses_none() {
    run(|| {
        let cluster = fresh_cluster("combining");
        let mut nodes = start(&cluster, 5, &["--combine-above", "2", "--combine-ms", "200"])?;
        thread::sleep(Duration::from_secs(1));
        for number in 0..300 {
            let youngest = nodes.len() - 1 - number % 2;
            write(&nodes[youngest], "/v1/data/gcounter/k", r#"{"increment":1}"#)?;
            if number == 100 || number == 200 {
                // The broker's single active consumer is the one that consumed first.
                nodes.remove(0).kill()?;
            }
        }
        settle(&all(&nodes), PATIENCE)?;
        for node in &nodes {
            ensure!(
                read(node, "/v1/data/gcounter/k")? == 300,
                "{}: {}",
                node.name(),
                read(node, "/v1/data/gcounter/k")?
            );
        }
        let shares: u64 = nodes.iter().map(|node| Ok(node.status()?.combining.shares)).sum::<Result<u64>>()?;
        ensure!(shares > 0, "nothing was combined");
        nodes.into_iter().try_for_each(Node::leave)
    });
}

#[test]
fn when_all_are_dead_the_log_brings_everything_back() {
    run(|| {
        let cluster = fresh_cluster("log");
        let nodes = start(&cluster, 3, &["--log-mib", "16"])?;
        write(&nodes[0], "/v1/data/gcounter/early", r#"{"increment":7}"#)?;
        for number in 0..500 {
            write(&nodes[number % 3], "/v1/data/orset/set", &format!("{{\"add\":[\"{number}\"]}}"))?;
        }
        // Three times what the log keeps, so that what was written first is there by a snapshot alone.
        for round in 0..32 {
            fill(&nodes[round % 3], "k", 25, 60_000)?;
            write(&nodes[round % 3], "/v1/data/orset/set", &format!("{{\"remove\":[\"{round}\"]}}"))?;
        }
        let root = settle(&all(&nodes), PATIENCE)?;
        let written: u64 = nodes.iter().map(|node| Ok(node.status()?.log.written)).sum::<Result<u64>>()?;
        ensure!(written > 0, "no snapshot was written");
        nodes.into_iter().try_for_each(Node::kill)?;
        let back = Node::start(&cluster, "back", &["--log-mib", "16"])?;
        back.await_ready()?;
        ensure!(read(&back, "/v1/data/gcounter/early")? == 7);
        ensure!(read(&back, "/v1/data/orset/set")?.as_array().context("no set")?.len() == 468);
        ensure!(back.status()?.root == root, "it is not what it was");
        back.leave()
    });
}

#[test]
fn a_folder_of_checkpoints_brings_everything_back() {
    run(|| {
        let cluster = fresh_cluster("data");
        let folder = env::temp_dir().join(&cluster);
        let data = folder.to_str().context("the folder is UTF-8")?.to_owned();
        let node = Node::start(&cluster, "a", &["--data", &data])?;
        node.await_ready()?;
        fill(&node, "k", 100, 1_000)?;
        // Left in good order: what was saved last is all there was.
        let root = node.status()?.root;
        node.leave()?;
        let node = Node::start(&cluster, "b", &["--data", &data])?;
        node.await_ready()?;
        ensure!(node.status()?.root == root);
        node.leave()?;
        std::fs::remove_dir_all(&folder)?;
        Ok(())
    });
}

#[test]
fn a_replica_thawed_after_the_retention_starts_anew_and_its_queue_was_gone() {
    run(|| {
        let cluster = fresh_cluster("stale");
        let nodes = start(&cluster, 3, &["--retention", "5"])?;
        (0..3).try_for_each(|nth| write(&nodes[nth], "/v1/data/gcounter/k", r#"{"increment":1}"#))?;
        settle(&all(&nodes), PATIENCE)?;
        let before = nodes[2].status()?.incarnation;
        nodes[2].freeze()?;
        thread::sleep(Duration::from_secs(7));
        write(&nodes[0], "/v1/data/gcounter/k", r#"{"increment":1}"#)?;
        nodes[2].thaw()?;
        settle(&all(&nodes), PATIENCE)?;
        ensure!(nodes[2].status()?.incarnation > before, "it did not start anew");
        write(&nodes[2], "/v1/data/gcounter/k", r#"{"increment":1}"#)?;
        settle(&all(&nodes), PATIENCE)?;
        for node in &nodes {
            ensure!(read(node, "/v1/data/gcounter/k")? == 5);
        }
        nodes.into_iter().try_for_each(Node::leave)
    });
}

#[test]
fn no_queue_of_a_dead_replica_outlives_its_expiry() {
    run(|| {
        let cluster = fresh_cluster("hygiene");
        let mut nodes = start(&cluster, 4, &["--retention", "5"])?;
        let own = |queues: Vec<String>| queues.into_iter().filter(|name| name.contains(&cluster)).collect::<Vec<_>>();
        let inboxes = |queues: &[String]| queues.iter().filter(|name| name.contains(".node.")).count();
        ensure!(inboxes(&own(queues()?)) == 4, "{:?}", own(queues()?));
        nodes.pop().context("one of four")?.leave()?;
        ensure!(inboxes(&own(queues()?)) == 3, "a replica that leaves takes its inbox with it");
        nodes.drain(1..).try_for_each(Node::kill)?;
        let until = Instant::now() + PATIENCE;
        while inboxes(&own(queues()?)) > 1 {
            ensure!(Instant::now() < until, "{:?}", own(queues()?));
            thread::sleep(Duration::from_millis(500));
        }
        nodes.into_iter().try_for_each(Node::leave)
    });
}
