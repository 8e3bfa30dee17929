//! What those see who watch over a cluster: metrics, readiness, names of requests, and state that outlives the process.

use serde_json::json;

use super::cluster::Cluster;
use super::exposition;
use super::http::Answer;
use super::{VISITS, increment};

#[test]
fn metrics_are_in_the_format_and_count() {
    let cluster = Cluster::start(&["--replicas", "2"]);
    for _ in 0..3 {
        assert_eq!(increment(&cluster).status, 200);
    }
    assert_eq!(cluster.get("/v1/data/nosuchtype/x").status, 400);
    let answer = cluster.get("/metrics");
    assert_eq!(answer.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    let samples = exposition::read(&answer.text());
    let sample = |series: &str| *samples.get(series).unwrap_or_else(|| panic!("no {series}: {}", answer.text()));
    assert_eq!(sample("dayfly_requests_total{status=\"2xx\"}"), 3.0);
    assert_eq!(sample("dayfly_requests_total{status=\"4xx\"}"), 1.0);
    assert_eq!(sample("dayfly_operations_total"), 3.0);
    assert_eq!(sample("dayfly_members{state=\"awake\"}"), 2.0);
    assert!(sample("dayfly_process_resident_memory_bytes") > 1e6);
    let mut sent = 0.0;
    for replica in ["local-1", "local-2"] {
        assert_eq!(sample(&format!("dayfly_connected{{replica=\"{replica}\"}}")), 1.0);
        sent += sample(&format!("dayfly_frames_total{{replica=\"{replica}\",direction=\"sent\",route=\"everyone\"}}"));
        let count = sample(&format!("dayfly_confirm_seconds_count{{replica=\"{replica}\"}}"));
        assert_eq!(sample(&format!("dayfly_confirm_seconds_bucket{{replica=\"{replica}\",le=\"+Inf\"}}")), count);
    }
    assert!(sent >= 3.0, "each write was confirmed: {sent}");
    let writing = cluster.send("POST", "/metrics", &json!({}));
    assert_eq!((writing.status, writing.header("allow")), (405, Some("GET, HEAD")));
}

#[test]
fn many_replicas_are_told_together() {
    let cluster = Cluster::start(&["--replicas", "65"]);
    // They connect one after the other.
    cluster.await_that("/metrics", |answer| exposition::read(&answer.text()).get("dayfly_connected") == Some(&65.0));
    let page = cluster.get("/metrics").text();
    let samples = exposition::read(&page);
    assert!(!page.contains("replica=\""), "{page}");
    // Those who come when many are awake already tell the combiner.
    let sent = |route: &str| samples[&format!("dayfly_frames_total{{direction=\"sent\",route=\"{route}\"}}")];
    assert!(sent("everyone") + sent("combiner") >= 65.0, "each said that it is awake: {page}");
}

#[test]
fn a_cluster_is_ready_once_a_replica_is_complete() {
    let cluster = Cluster::start(&["--replicas", "2"]);
    cluster.await_that("/readyz", |answer| answer.status == 200);
    assert_eq!(cluster.get("/healthz").body, b"ok\n");
}

#[test]
fn requests_are_named() {
    let cluster = Cluster::start(&["--replicas", "1"]);
    let ask = |header: &str| -> Answer {
        let mut connection = cluster.connect();
        connection.write(format!("GET /v1/status HTTP/1.1\r\nhost: x\r\n{header}connection: close\r\n\r\n").as_bytes());
        connection.answer()
    };
    assert_eq!(ask("x-request-id: mine-1\r\n").header("x-request-id"), Some("mine-1"));
    let made = ask("").header("x-request-id").expect("one is made").to_owned();
    assert_eq!(made.len(), 16);
    let long = format!("x-request-id: {}\r\n", "x".repeat(65));
    assert_eq!(ask(&long).header("x-request-id").map(str::len), Some(16));
}

#[test]
fn what_was_stored_is_there_at_the_next_start_and_is_not_piled_up() {
    let folder = std::env::temp_dir().join(format!("dayfly-data-{}", std::process::id()));
    let path = folder.to_str().expect("UTF-8");
    let subfolders = || {
        let entries = std::fs::read_dir(&folder).expect("it is there");
        entries.filter(|entry| entry.as_ref().is_ok_and(|entry| entry.path().is_dir())).count()
    };
    for run in 0..3 {
        // Fewer at each run, so that there are folders that no replica of this run has the name of.
        let replicas = (4 - run).to_string();
        let cluster = Cluster::start(&["--replicas", &replicas, "--data", path, "--save-seconds", "0.2"]);
        cluster
            .await_that(VISITS, |answer| if run == 0 { answer.status == 404 } else { answer.json()["value"] == run });
        assert_eq!(increment(&cluster).status, 200);
        for number in 1..=4 - run {
            let path = format!("/replicas/local-{number}{VISITS}");
            cluster.await_that(&path, |answer| answer.json()["value"] == run + 1);
        }
        cluster.end("INT");
        assert_eq!(subfolders(), 4 - run, "what was inherited is removed");
    }
    std::fs::remove_dir_all(&folder).expect("it can be removed");
}
