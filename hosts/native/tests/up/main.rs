//! `dayfly up` as its users see it: a program that serves HTTP, reports, and ends when it is told to.

mod cluster;
mod exposition;
mod http;
mod watching;

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use cluster::{Cluster, PATIENCE};
use http::Answer;

const VISITS: &str = "/v1/data/pncounter/visits";

fn increment(cluster: &Cluster) -> Answer {
    cluster.send("POST", VISITS, &json!({ "increment": 1 }))
}

#[test]
fn a_write_through_one_replica_is_read_through_each() {
    let cluster = Cluster::start(&["--replicas", "4", "--regions", "eu,us"]);
    assert_eq!(cluster.hello["replicas"], 4);
    assert_eq!(cluster.hello["regions"], json!(["eu", "us"]));
    let written = increment(&cluster);
    assert_eq!(written.status, 200, "{written:?}");
    let names = cluster.members();
    assert_eq!(names.len(), 4, "{names:?}");
    assert_eq!(names.iter().filter(|name| name.starts_with("eu-")).count(), 2);
    for name in &names {
        let path = format!("/replicas/{name}{VISITS}");
        cluster.await_that(&path, |answer| answer.json()["value"] == 1);
        let answer = cluster.get(&path);
        assert_eq!(answer.header("dayfly-replica"), Some(name.as_str()));
    }
    let line = cluster.await_line(|line| line["roots_agree"] == true && line["operations"].as_u64() >= Some(6));
    assert_eq!((&line["awake"], &line["dormant"], &line["gone"]), (&json!(4), &json!(0), &json!(0)));
    cluster.end("INT");
}

#[test]
fn the_most_recently_used_idle_replica_is_used_again() {
    let cluster = Cluster::start(&["--replicas", "3"]);
    let first = increment(&cluster).header("dayfly-replica").expect("it says who it is").to_owned();
    for _ in 0..5 {
        assert_eq!(increment(&cluster).header("dayfly-replica"), Some(first.as_str()));
    }
    let other = cluster.members().into_iter().find(|name| *name != first).expect("there are three");
    assert_eq!(cluster.get(&format!("/replicas/{other}/v1/status")).status, 200);
    assert_eq!(increment(&cluster).header("dayfly-replica"), Some(other.as_str()));
}

#[test]
fn what_the_host_refuses_is_refused_in_the_form_of_the_api() {
    let cluster = Cluster::start(&["--replicas", "1"]);
    assert_eq!(cluster.get("/healthz").body, b"ok\n");
    for path in ["/", "/v2/status", "/replicas/local-1", "/replicas/local-1/healthz", "/v1"] {
        let answer = cluster.get(path);
        assert_eq!((answer.status, answer.code()), (404, "no_such_path".to_owned()), "{path}");
    }
    let nobody = cluster.get("/replicas/nobody/v1/status");
    assert_eq!((nobody.status, nobody.code()), (503, "no_replica".to_owned()));
    assert_eq!(nobody.header("retry-after"), Some("1"));
    // What the replica refuses comes through as it is.
    let unknown = cluster.get("/v1/data/nosuchtype/key");
    assert_eq!((unknown.status, unknown.code()), (400, "unknown_type".to_owned()));
}

#[test]
fn bodies_and_heads_are_bounded() {
    let cluster = Cluster::start(&["--replicas", "1"]);
    // Announced too large, and too large without an announcement.
    let mut announced = cluster.connect();
    announced.write(b"POST /v1/batch HTTP/1.1\r\nhost: x\r\ncontent-length: 2097153\r\n\r\n");
    let answer = announced.answer();
    assert_eq!((answer.status, answer.code()), (413, "body_too_large".to_owned()));
    let mut chunked = cluster.connect();
    chunked.write(b"POST /v1/batch HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n");
    let chunk = [b"10000\r\n".as_slice(), &[b' '; 0x10000], b"\r\n"].concat();
    for _ in 0..33 {
        // It may have been refused already.
        let _ = chunked.stream.write_all(&chunk);
    }
    let answer = chunked.answer();
    assert_eq!((answer.status, answer.code()), (413, "body_too_large".to_owned()));
    // As large as may be: refused by the replica, which knows that it is no JSON.
    let mut largest = cluster.connect();
    largest.write(b"POST /v1/batch HTTP/1.1\r\nhost: x\r\ncontent-length: 2097152\r\n\r\n");
    largest.write(&vec![b'x'; 2_097_152]);
    let answer = largest.answer();
    assert_eq!((answer.status, answer.code()), (400, "bad_json".to_owned()));

    let mut long = cluster.connect();
    long.write(b"GET /v1/status HTTP/1.1\r\nhost: x\r\nx: ");
    let _ = long.stream.write_all(&vec![b'x'; 40_000]);
    let _ = long.stream.write_all(b"\r\n\r\n");
    assert_eq!(long.answer().status, 431);
    let mut many = cluster.connect();
    many.write(b"GET /v1/status HTTP/1.1\r\nhost: x\r\n");
    let _ = many.stream.write_all(&b"x: y\r\n".repeat(70));
    let _ = many.stream.write_all(b"\r\n");
    assert_eq!(many.answer().status, 431);
    assert_eq!(cluster.get("/v1/status").status, 200);
}

#[test]
fn clients_that_dawdle_are_cut_off() {
    let cluster = Cluster::start(&["--replicas", "1"]);
    let began = Instant::now();
    let mut idle = cluster.connect();
    let mut half_a_head = cluster.connect();
    half_a_head.write(b"GET /v1/status HTTP/1.1\r\nhost:");
    let mut half_a_body = cluster.connect();
    half_a_body.write(b"POST /v1/batch HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\n[");
    let mut gone_quiet = cluster.connect();
    gone_quiet.write(b"GET /v1/status HTTP/1.1\r\nhost: x\r\n\r\n");
    assert_eq!(gone_quiet.answer().status, 200);
    for connection in [&mut idle, &mut half_a_head, &mut gone_quiet] {
        let mut rest = Vec::new();
        connection.stream.set_read_timeout(Some(PATIENCE)).expect("it can be set");
        connection.stream.read_to_end(&mut rest).expect("the server closes it");
    }
    assert!((10..30).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
    let answer = half_a_body.answer();
    assert_eq!((answer.status, answer.code()), (408, "bad_request".to_owned()));
    assert!((25..45).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
}

#[test]
fn connections_are_bounded_and_more_wait() {
    let cluster = Cluster::start(&["--replicas", "1", "--connections", "2"]);
    let (mut first, mut second) = (cluster.connect(), cluster.connect());
    for connection in [&mut first, &mut second] {
        connection.write(b"GET /v1/status HTTP/1.1\r\nhost: x\r\n\r\n");
        assert_eq!(connection.answer().status, 200);
    }
    let mut third = cluster.connect();
    third.write(b"GET /v1/status HTTP/1.1\r\nhost: x\r\n\r\n");
    third.stream.set_read_timeout(Some(Duration::from_millis(500))).expect("it can be set");
    assert!(third.stream.read(&mut [0]).is_err(), "there is no room for it");
    drop(first);
    assert_eq!(third.answer().status, 200);
}

#[test]
fn both_signals_end_it_in_good_order_and_nothing_listens_then() {
    for signal in ["INT", "TERM"] {
        let cluster = Cluster::start(&["--replicas", "2"]);
        assert_eq!(increment(&cluster).status, 200);
        let address = cluster.address;
        let last = cluster.end(signal);
        assert_eq!(last["ended"], true, "{last}");
        assert!(std::net::TcpStream::connect(address).is_err());
    }
}

#[test]
fn ephemeral_replicas_come_and_go_and_hand_the_database_on() {
    let cluster = Cluster::start(&[
        "--replicas",
        "4",
        "--regions",
        "eu,us",
        "--ephemeral",
        "--awake",
        "0.6",
        "--idle",
        "2",
        "--mean-life",
        "4",
        "--renew",
        "3",
        "--seed",
        "7",
    ]);
    let founders: BTreeSet<String> = cluster.members().into_iter().collect();
    assert_eq!(founders.len(), 4);
    // Each write is a batch with a mark of its own, so that a write in doubt can be looked up.
    let mut written = 0;
    let began = Instant::now();
    let mut last = Value::Null;
    while began.elapsed() < Duration::from_secs(25) {
        let mark = format!("mark-{written}");
        let batch = json!([
            { "type": "gcounter", "key": "visits", "increment": 1 },
            { "type": "gset", "key": mark, "add": ["x"] },
        ]);
        let answer = cluster.send("POST", "/v1/batch", &batch);
        if answer.status == 200 {
            written += 1;
        } else {
            assert_eq!((answer.status, answer.code()), (503, "no_replica".to_owned()), "{answer:?}");
            let in_doubt = answer.text().contains("may or may not");
            // A replica that died published its frame or did not; if it did, whoever is asked after this pause knows.
            thread::sleep(Duration::from_millis(700));
            if in_doubt && cluster.get(&format!("/v1/data/gset/{mark}")).status == 200 {
                written += 1;
            }
        }
        thread::sleep(Duration::from_millis(20));
        last = cluster.last_line();
        let founders_live = last_names(&cluster).intersection(&founders).count();
        if last["killed"].as_u64() > Some(0) && last["reclaimed"].as_u64() > Some(0) && founders_live == 0 {
            break;
        }
    }
    assert!(last["killed"].as_u64() > Some(0) && last["reclaimed"].as_u64() > Some(0), "{last}");
    assert_eq!(last_names(&cluster).intersection(&founders).count(), 0, "founders live: {last}");
    assert_eq!(last["extinctions"], 0);
    assert!(written > 100, "{written}");
    cluster.await_that("/v1/data/gcounter/visits", |answer| answer.json()["value"] == written);
    let line = cluster.await_line(|line| {
        line["roots_agree"] == true && line["incomplete"] == 0 && line["dormant"].as_u64() > Some(0)
    });
    let alive = line["awake"].as_u64().expect("a number") + line["dormant"].as_u64().expect("a number");
    assert!((3..=8).contains(&alive), "{line}");
    cluster.end("INT");
}

/// Who lives, as far as a request to each shows: one that is gone has no path any more.
fn last_names(cluster: &Cluster) -> BTreeSet<String> {
    let members = cluster.members();
    let lives = |name: &String| cluster.get(&format!("/replicas/{name}/v1/status")).status == 200;
    // Only those that might be founders are asked, since asking wakes.
    members
        .into_iter()
        .filter(|name| name.rsplit('-').next().is_some_and(|n| n.len() == 1 && n < "5"))
        .filter(lives)
        .collect()
}

#[test]
fn while_all_are_busy_requests_wait_and_others_are_refused() {
    let cluster = Cluster::start(&["--replicas", "1", "--queue", "0"]);
    let outcomes: Vec<Answer> = thread::scope(|scope| {
        let clients: Vec<_> = (0..16).map(|_| scope.spawn(|| increment(&cluster))).collect();
        clients.into_iter().map(|client| client.join().expect("it ends")).collect()
    });
    let (applied, refused): (Vec<_>, Vec<_>) = outcomes.into_iter().partition(|answer| answer.status == 200);
    for answer in &refused {
        assert_eq!((answer.status, answer.code()), (503, "no_replica".to_owned()));
        assert!(answer.text().contains("nothing was applied"), "{}", answer.text());
    }
    assert!(!applied.is_empty() && !refused.is_empty());
    cluster.await_that(VISITS, |answer| answer.json()["value"] == applied.len());

    let cluster = Cluster::start(&["--replicas", "1"]);
    thread::scope(|scope| {
        let clients: Vec<_> = (0..16).map(|_| scope.spawn(|| increment(&cluster))).collect();
        assert!(clients.into_iter().all(|client| client.join().expect("it ends").status == 200));
    });
    assert_eq!(cluster.get(VISITS).json()["value"], 16);
}

#[test]
fn while_all_are_busy_the_platform_starts_more() {
    let cluster = Cluster::start(&["--replicas", "1", "--ephemeral", "--mean-life", "0", "--max-replicas", "3"]);
    thread::scope(|scope| {
        let clients: Vec<_> = (0..32).map(|_| scope.spawn(|| increment(&cluster))).collect();
        assert!(clients.into_iter().all(|client| client.join().expect("it ends").status == 200));
    });
    cluster.await_that(VISITS, |answer| answer.json()["value"] == 32);
    let line = cluster.await_line(|line| line["started"].as_u64() > Some(1));
    assert!(line["started"].as_u64() <= Some(3), "{line}");
}

#[test]
fn an_address_in_use_is_told_as_such() {
    let cluster = Cluster::start(&["--replicas", "1"]);
    let second = Command::new(env!("CARGO_BIN_EXE_dayfly"))
        .args(["up", "--replicas", "1", "--listen", &cluster.address.to_string()])
        .output()
        .expect("it runs");
    assert!(!second.status.success());
    let errors = String::from_utf8_lossy(&second.stderr);
    assert!(errors.contains("cannot listen on") && errors.contains("--listen"), "{errors}");
}

#[test]
fn wrong_arguments_are_told_before_anything_is_started() {
    for args in [&["--replicas", "0"][..], &["--regions", "eu,eu"], &["--mean-life", "3"], &["--listen", "nowhere"]] {
        let output = Command::new(env!("CARGO_BIN_EXE_dayfly")).arg("up").args(args).output().expect("it runs");
        assert!(!output.status.success() && output.stdout.is_empty(), "{args:?}: {output:?}");
        assert!(!output.stderr.is_empty());
    }
}
