//! `dayfly node`, `doctor`, `purge` and `up --broker` on a real RabbitMQ, which DAYFLY_TEST_BROKER names; `cargo xtask
//! test` starts one.

#[path = "../up/exposition.rs"]
mod exposition;
#[path = "../up/http.rs"]
mod http;
mod process;

use std::time::Duration;

use serde_json::{Value, json};

use process::{Process, broker, fresh_cluster, run, wait_for};

/// Long enough for anything that is awaited, on a machine that does other things too.
pub const PATIENCE: Duration = Duration::from_secs(60);

const VISITS: &str = "/v1/data/gcounter/visits";

/// Removes what a cluster left, whatever became of its test.
struct Cleanup(String);

impl Drop for Cleanup {
    fn drop(&mut self) {
        run(&[
            "purge",
            "--broker",
            &broker(),
            "--cluster",
            &self.0,
            "--yes",
            "--force",
            "--inbox",
            "a",
            "--inbox",
            "b",
        ]);
    }
}

fn node(cluster: &str, name: &str, args: &[&str]) -> Process {
    let broker = broker();
    let usual = ["node", "--json", "--broker", &broker, "--cluster", cluster, "--name", name, "--retention", "60"];
    Process::start(&[&usual[..], args].concat())
}

#[test]
fn nodes_share_what_is_written_and_tell_how_they_are() {
    let cluster = fresh_cluster("share");
    let _cleanup = Cleanup(cluster.clone());
    let (a, b) = (node(&cluster, "a", &["--region", "eu"]), node(&cluster, "b", &["--zone", "z"]));
    assert_eq!((&a.hello["name"], &a.hello["cluster"]), (&json!("a"), &json!(cluster)));
    for process in [&a, &b] {
        wait_for(|| process.get("/readyz").status == 200, || process.get("/readyz").text());
    }
    assert_eq!(a.send("POST", VISITS, &json!({ "increment": 3 })).status, 200);
    let value = || b.get(&format!("/replicas/b{VISITS}")).json()["value"].clone();
    wait_for(|| value() == 3, || value().to_string());
    assert_eq!(b.get("/replicas/a/v1/status").code(), "no_replica");

    let page = b.get("/metrics").text();
    let samples = exposition::read(&page);
    assert_eq!(samples.get("dayfly_connected{replica=\"b\"}"), Some(&1.0), "{page}");
    assert_eq!(samples.get("dayfly_complete{replica=\"b\"}"), Some(&1.0), "{page}");
    assert_eq!(samples.get("dayfly_members{replica=\"b\",state=\"awake\"}"), Some(&2.0), "{page}");

    // While they live nothing is removed unforced; what a doctor finds is as it should be.
    let purged = run(&["purge", "--broker", &broker(), "--cluster", &cluster, "--yes"]);
    assert_eq!(purged.status.code(), Some(1), "{purged:?}");
    let doctor = run(&["doctor", "--broker", &broker(), "--cluster", &cluster, "--json"]);
    let report: Value = serde_json::from_slice(&doctor.stdout).expect("JSON");
    assert_eq!((doctor.status.code(), &report["healthy"]), (Some(0), &json!(true)), "{report}");
    for process in [a, b] {
        let ended = process.end("TERM");
        assert_eq!(ended.code, Some(0), "{}", ended.log);
        assert!(ended.log.contains("left"), "{}", ended.log);
    }
    let purged = run(&["purge", "--broker", &broker(), "--cluster", &cluster, "--yes", "--json"]);
    let report: Value = serde_json::from_slice(&purged.stdout).expect("JSON");
    let names: Vec<&str> =
        report["removed"].as_array().expect("a list").iter().filter_map(|found| found["name"].as_str()).collect();
    let left = ["everyone", "anyone", "combiner"].map(|what| format!("dayfly.{cluster}.{what}"));
    assert_eq!(names, left);
}

#[test]
fn a_node_whose_name_is_taken_ends_and_says_so() {
    let cluster = fresh_cluster("taken");
    let _cleanup = Cleanup(cluster.clone());
    let first = node(&cluster, "a", &[]);
    let second = node(&cluster, "a", &[]);
    let ended = first.ended();
    assert_eq!(ended.code, Some(6), "{}", ended.log);
    assert!(ended.log.contains("another replica of the name a took the inbox"), "{}", ended.log);
    assert_eq!(second.get("/healthz").status, 200);
}

#[test]
fn a_node_that_is_kept_comes_back_with_what_came_meanwhile() {
    let cluster = fresh_cluster("kept");
    let _cleanup = Cleanup(cluster.clone());
    let folder = std::env::temp_dir().join(format!("dayfly-{cluster}"));
    let data = folder.to_str().expect("UTF-8");
    let a = node(&cluster, "a", &[]);
    wait_for(|| a.get("/readyz").status == 200, || a.get("/readyz").text());
    let b = node(&cluster, "b", &["--data", data, "--keep"]);
    wait_for(|| b.get("/readyz").status == 200, || b.get("/readyz").text());
    assert_eq!(b.send("POST", VISITS, &json!({ "increment": 1 })).status, 200);
    let ended = b.end("INT");
    assert_eq!(ended.code, Some(0), "{}", ended.log);
    assert!(ended.log.contains("frozen"), "{}", ended.log);
    let state = |name: &str| {
        let members = a.get("/v1/members").json();
        let found = members["members"].as_array().and_then(|all| all.iter().find(|one| one["name"] == name).cloned());
        found.map(|member| member["state"].clone())
    };
    assert_ne!(state("b"), Some(json!("gone")), "it did not say farewell");
    assert_eq!(a.send("POST", VISITS, &json!({ "increment": 2 })).status, 200);
    // Nobody is there to fill it: what it knows comes from its folder and its inbox.
    assert_eq!(a.end("INT").code, Some(0));
    let b = node(&cluster, "b", &["--data", data]);
    let value = || b.get(VISITS).json()["value"].clone();
    wait_for(|| value() == 3, || value().to_string());
    drop(b);
    std::fs::remove_dir_all(&folder).expect("it can be removed");
}

#[test]
fn a_second_signal_does_not_wait() {
    let cluster = fresh_cluster("twice");
    let _cleanup = Cleanup(cluster.clone());
    let process = node(&cluster, "a", &[]);
    // A request that does not end keeps it from ending in good order for a while.
    let mut hanging = process.connect();
    hanging.write(b"POST /v1/batch HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\n[");
    process.signal("TERM");
    wait_for(|| process.log().contains("ending"), || process.log());
    process.signal("INT");
    assert_eq!(process.ended().code, Some(130));
}

#[test]
fn up_runs_its_replicas_over_the_broker() {
    let cluster = fresh_cluster("up");
    let _cleanup = Cleanup(cluster.clone());
    let broker = broker();
    let args = ["up", "--json", "--broker", &broker, "--cluster", &cluster, "--replicas", "2", "--retention", "60"];
    let up = Process::start(&args);
    let outside = node(&cluster, "a", &[]);
    assert_eq!(up.send("POST", VISITS, &json!({ "increment": 2 })).status, 200);
    let value = || outside.get(VISITS).json()["value"].clone();
    wait_for(|| value() == 2, || value().to_string());
    let ended = up.end("INT");
    assert_eq!(ended.code, Some(0), "{}", ended.log);
}
