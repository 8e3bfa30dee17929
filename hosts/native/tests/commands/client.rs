//! `get`, `update`, `delete`, `keys`, `members`, `status`.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::cluster::{Cluster, Fault};
use crate::program::{program, run};

#[test]
fn what_is_written_can_be_read() {
    let cluster = Cluster::start();
    let url = cluster.url();
    assert_eq!(run(&url, &["update", "pncounter", "stock", "increment", "5"]).ok(), "5\n");
    assert_eq!(run(&url, &["update", "pncounter", "stock", "decrement"]).ok(), "4\n");
    assert_eq!(run(&url, &["get", "pncounter", "stock"]).ok(), "4\n");
    assert_eq!(run(&url, &["update", "orset", "tags", "add", "red", "7", "two words"]).ok(), "red\ntwo words\n7\n");
    assert_eq!(run(&url, &["update", "orset", "tags", "remove", "red"]).ok(), "two words\n7\n");
    assert_eq!(run(&url, &["update", "--text", "orset", "codes", "add", "007"]).ok(), "007\n");
    assert_eq!(run(&url, &["update", "lwwregister", "n", "set", "-5"]).ok(), "-5\n");
    assert_eq!(run(&url, &["update", "ewflag", "open", "enable"]).ok(), "true\n");
    assert_eq!(run(&url, &["update", "gset", "s", r#"{"add":["x"]}"#]).ok(), "x\n");
    assert_eq!(cluster.value("orset", "tags"), Some(json!(["two words", 7])));
    assert_eq!(cluster.value("orset", "codes"), Some(json!(["007"])));
    assert_eq!(run(&url, &["delete", "pncounter", "stock"]).ok(), "");
    assert_eq!(cluster.value("pncounter", "stock"), None);
}

#[test]
fn answers_are_printed_as_json() {
    let cluster = Cluster::start();
    let url = cluster.url();
    let updated = run(&url, &["update", "gcounter", "n", "increment", "3", "--json", "--show-context"]);
    assert_eq!(updated.json(), json!({"key": "n", "type": "gcounter", "value": 3, "context": "w1"}));
    assert_eq!(
        run(&url, &["get", "gcounter", "n", "--json"]).json(),
        json!({"key": "n", "type": "gcounter", "value": 3})
    );
    let deleted = run(&url, &["delete", "gcounter", "n", "--json", "--show-context", "--context", "T"]);
    assert_eq!(deleted.json(), json!({"key": "n", "type": "gcounter", "deleted": true, "context": "T.w2"}));
}

#[test]
fn a_key_arrives_whatever_is_in_it() {
    let cluster = Cluster::start();
    for key in ["a/b", "é?&=#%", "..", "with space", "-"] {
        assert_eq!(run(&cluster.url(), &["update", "gcounter", "--", key, "increment"]).ok(), "1\n", "{key}");
        assert_eq!(cluster.value("gcounter", key), Some(json!(1)), "{key}");
    }
}

#[test]
fn the_tokens_and_the_replica_are_told() {
    let cluster = Cluster::start();
    let url = cluster.url();
    let args =
        ["update", "gcounter", "n", "increment", "--context", "A", "--after", "B", "--show-context", "--replica", "r1"];
    assert_eq!(run(&url, &args).ok(), "1\ndayfly-context: A.w1\n");
    assert_eq!(run(&url, &["get", "gcounter", "n", "--after", "C"]).ok(), "1\n");
    let inside = cluster.inside();
    assert_eq!(inside.seen[0].line, "POST /replicas/r1/v1/data/gcounter/n");
    assert_eq!(
        (inside.seen[0].header("dayfly-context"), inside.seen[0].header("dayfly-after")),
        (Some("A"), Some("B"))
    );
    assert_eq!(inside.seen[0].header("content-type"), Some("application/json"));
    assert_eq!((inside.seen[1].header("dayfly-context"), inside.seen[1].header("dayfly-after")), (None, Some("C")));
}

#[test]
fn a_refusal_is_told_with_its_reason() {
    let cluster = Cluster::start();
    let url = cluster.url();
    run(&url, &["get", "gcounter", "none"]).failed(4, &["there is no none", "no_such_key"]);
    run(&url, &["update", "gcounter", "n", "decrement"]).failed(1, &["a gcounter has no decrement", "wrong_operation"]);
    run(&url, &["update", "counter", "n", "increment"]).failed(1, &["there is no type counter", "unknown_type"]);
    run(&url, &["status", "--replica", "r9"]).failed(1, &["no_such_path"]);
}

#[test]
fn wrong_usage_is_told_before_anything_is_sent() {
    let cluster = Cluster::start();
    let url = cluster.url();
    run(&url, &["update", "gcounter", "n", "increment", "-1"]).failed(2, &["0 to 18446744073709551615"]);
    run(&url, &["update", "gcounter", "n", "incremnt"]).failed(2, &["no operation `incremnt`"]);
    run(&url, &["update", "gcounter", "n"]).failed(2, &["OPERATION"]);
    run(&url, &["get", "gcounter", ""]).failed(2, &["1 to 1,024 bytes"]);
    run(&url, &["get", "gcounter", "n", "--timeout", "0"]).failed(2, &["0.1 to 3600"]);
    run(&url, &["get", "gcounter", "n", "--after", "a\nb"]).failed(2, &["expected a token"]);
    run("https://127.0.0.1:1", &["status"]).failed(2, &["plain http only"]);
    run("127.0.0.1:8080", &["status"]).failed(2, &["begins with http://"]);
    run("http://", &["status"]).failed(2, &["--url http://"]);
    assert_eq!(cluster.inside().seen.len(), 0);
}

#[test]
fn nobody_there_is_told_with_what_to_do() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
    let url = format!("http://{}", listener.local_addr().expect("it is bound"));
    drop(listener);
    for args in [&["status"][..], &["get", "gcounter", "n"], &["update", "gcounter", "n", "increment"], &["load", "-"]]
    {
        run(&url, args).failed(3, &["nothing listens at http://127.0.0.1:", "dayfly up", "--url"]);
    }
    run("http://no-such-host.invalid", &["status"]).failed(3, &["nothing listens", "lookup"]);
}

#[test]
fn a_cluster_that_does_not_answer_is_not_waited_for_forever() {
    // Takes connections and never answers.
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
    let url = format!("http://{}", listener.local_addr().expect("it is bound"));
    let begun = Instant::now();
    run(&url, &["get", "gcounter", "n", "--timeout", "0.5"]).failed(3, &["no answer", "within 0.5 s"]);
    run(&url, &["update", "gcounter", "n", "increment", "--timeout", "0.5"]).failed(5, &["may have been applied"]);
    assert!(begun.elapsed() < Duration::from_secs(10));
}

#[test]
fn a_write_without_an_answer_is_in_doubt_and_not_repeated() {
    let cluster = Cluster::start();
    let url = cluster.url();
    let update = ["update", "gcounter", "n", "increment"];
    cluster.fail([Fault::BreakAfter, Fault::Unconfirmed, Fault::Lost]);
    run(&url, &update).failed(5, &["may have been applied or not", "the connection broke"]);
    run(&url, &update).failed(5, &["do not repeat", "unconfirmed"]);
    run(&url, &update).failed(5, &["may have been applied", "the replica ended"]);
    assert_eq!(cluster.inside().seen.len(), 3);
    assert_eq!(cluster.value("gcounter", "n"), Some(json!(3)));
}

#[test]
fn a_busy_cluster_is_asked_again_within_the_timeout() {
    let cluster = Cluster::start();
    let url = cluster.url();
    cluster.fail([Fault::NotYet, Fault::Busy]);
    assert_eq!(run(&url, &["update", "gcounter", "n", "increment"]).ok(), "1\n");
    assert_eq!(cluster.inside().seen.len(), 3);
    cluster.fail([Fault::Busy; 100]);
    run(&url, &["update", "gcounter", "n", "increment", "--timeout", "1"]).failed(1, &["busy"]);
    assert_eq!(cluster.value("gcounter", "n"), Some(json!(1)));
}

#[test]
fn keys_come_in_pages() {
    let cluster = Cluster::start();
    let url = cluster.url();
    for number in 0..2345 {
        cluster.inside().data.insert(("gcounter".to_owned(), format!("k{number:04}")), json!(1));
    }
    cluster.inside().data.insert(("orset".to_owned(), "other\nline".to_owned()), json!([1]));
    let all = run(&url, &["keys", "--all"]).ok();
    assert_eq!(all.lines().count(), 1 + 2346);
    assert!(all.starts_with("TYPE         KEY\ngcounter     k0000\n"), "{}", &all[..200]);
    assert!(all.ends_with("\norset        \"other\\nline\"\n"), "a key cannot pass for two lines");
    let some = run(&url, &["keys", "--prefix", "k", "--limit", "1500"]);
    some.failed(0, &["--from k1499/gcounter"]);
    assert_eq!(some.out.lines().count(), 1501);
    let rest = run(&url, &["keys", "--prefix", "k", "--from", "k1499/gcounter", "--all", "--json"]);
    assert_eq!(rest.json()["keys"].as_array().map(Vec::len), Some(845));
    let two = run(&url, &["keys", "--limit", "2", "--json"]).json();
    let expected = [("k0000", "gcounter"), ("k0001", "gcounter")].map(|(key, name)| json!({"key": key, "type": name}));
    assert_eq!(two, json!({"keys": expected, "next": "k0001/gcounter"}));
    assert_eq!(run(&url, &["keys", "--prefix", "none", "--json"]).json(), json!({"keys": []}));
    assert_eq!(run(&url, &["keys", "--prefix", "none"]).ok(), "");
}

#[test]
fn a_reader_that_leaves_is_no_failure() {
    let cluster = Cluster::start();
    for number in 0..20_000 {
        cluster.inside().data.insert(("gcounter".to_owned(), format!("{number:05}")), json!(1));
    }
    let mut child = program(&cluster.url(), &["keys", "--all"]).spawn().expect("the program can be started");
    drop(child.stdout.take());
    let ran = crate::program::end(child);
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
}

#[test]
fn members_are_a_table_or_json() {
    let cluster = Cluster::start();
    let table = run(&cluster.url(), &["members"]).ok();
    let lines: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[0], ["NAME", "STATE", "HOST", "REGION", "ZONE", "AWAKE", "UNTIL"]);
    assert_eq!(lines[1][..6], ["r1", "awake", "native", "eu", "a", "in"]);
    assert_eq!(lines[2][..5], ["r2", "gone", "native", "eu", "a"]);
    assert_eq!(lines[2][6..], ["days", "ago"]);
    let members = run(&cluster.url(), &["members", "--json"]).json();
    let names: Vec<_> = members["members"].as_array().expect("a list").iter().map(|row| &row["name"]).collect();
    assert_eq!(names, ["r1", "r2"]);
}

#[test]
fn the_status_is_a_table_or_json() {
    let cluster = Cluster::start();
    let table = run(&cluster.url(), &["status"]).ok();
    assert!(table.contains("repair.sessions  0\n") && table.contains("root             00ff\n"), "{table}");
    assert_eq!(run(&cluster.url(), &["status", "--json"]).json()["root"], "00ff");
}

#[test]
fn a_replica_that_is_being_filled_is_told() {
    let cluster = Cluster::start();
    cluster.inside().incomplete = true;
    let url = cluster.url();
    run(&url, &["status"]).failed(0, &["r1 is still being filled"]);
    run(&url, &["get", "gcounter", "n"]).failed(4, &["r1 is still being filled", "no_such_key"]);
}

#[test]
fn what_is_not_dayfly_is_told() {
    let cluster = Cluster::start();
    // The path leads to another place of the same server.
    run(&format!("{}/other", cluster.url()), &["status"]).failed(1, &["no_such_path"]);
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
    let url = format!("http://{}", listener.local_addr().expect("it is bound"));
    std::thread::spawn(move || {
        use std::io::{Read, Write};
        for answer in ["HTTP/1.1 302 Found\r\nlocation: /x\r\n", "HTTP/1.1 200 OK\r\n", "nonsense\r\n"] {
            let (mut stream, _) = listener.accept().expect("a client comes");
            let _ = stream.read(&mut [0; 4096]).expect("a request");
            write!(stream, "{answer}content-length: 2\r\nconnection: close\r\n\r\nhi").expect("the client reads");
        }
    });
    run(&url, &["status"]).failed(1, &["no answer of Dayfly's", "302"]);
    run(&url, &["status"]).failed(1, &["no answer of Dayfly's", "200"]);
    run(&url, &["status"]).failed(3, &["no answer from"]);
}

#[test]
fn the_help_tells_the_exit_codes_and_gives_examples() {
    for args in [&["--help"][..], &["load", "--help"], &["update", "--help"], &["get", "--help"], &["keys", "--help"]] {
        let help = run("http://127.0.0.1:1", args).ok();
        assert!(help.contains("Examples:") && help.contains("Exit codes:"), "{help}");
    }
}
