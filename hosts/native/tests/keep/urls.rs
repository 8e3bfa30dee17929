//! Replicas over HTTP: real ones, and a server that only takes linger requests.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{RawQuery, State};
use axum::routing::get;
use serde_json::{Value, json};

use crate::keeping::{Keeping, PATIENCE, program};
use crate::server::Server;

/// A `dayfly up` that is ended with this value.
struct Up {
    child: Child,
    address: String,
}

impl Up {
    fn start(args: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_dayfly"))
            .args(["up", "--json", "--listen", "127.0.0.1:0"])
            .args(args)
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program runs");
        let mut out = BufReader::new(child.stdout.take().expect("it is piped"));
        let mut first = String::new();
        out.read_line(&mut first).expect("it says that it listens");
        let hello: Value = serde_json::from_str(&first).expect("JSON");
        let url = hello["listening"].as_str().expect("a URL");
        let address = url.strip_prefix("http://").expect("plain").to_owned();
        // What it says later is read and dropped, so that it is never held up.
        thread::spawn(move || out.lines().map_while(Result::ok).for_each(drop));
        Self { child, address }
    }

    /// Status and body of an answer.
    fn ask(&self, method: &str, path: &str, body: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(&self.address).expect("it listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("it can be set");
        let length = body.len();
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
        )
        .expect("it reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("it answers");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
        (head[9..12].parse().expect("a status"), body.to_owned())
    }

    fn json(&self, method: &str, path: &str, body: &str) -> Value {
        let (status, body) = self.ask(method, path, body);
        assert_eq!(status, 200, "{method} {path}: {body}");
        serde_json::from_str(&body).expect("JSON")
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn real_replicas_are_kept_though_each_dies_within_seconds() {
    // Replicas are frozen after a second, and each is killed within a minute. So many, and so long lives, that not all
    // die before a newcomer is filled.
    let up = Up::start(&["--replicas", "6", "--ephemeral", "--awake", "1", "--idle", "20", "--mean-life", "20"]);
    up.json("POST", "/v1/data/pncounter/visits", r#"{"increment":7}"#);
    let members = up.json("GET", "/v1/members", "");
    let members = members["members"].as_array().expect("a list").iter();
    let founders: Vec<String> =
        members.map(|m| format!("replica=\"{}\"", m["name"].as_str().expect("a name"))).collect();
    assert_eq!(founders.len(), 6, "{founders:?}");
    // To ask a replica would wake it; the metrics name those that live.
    let a_founder_lives = || {
        let page = up.ask("GET", "/metrics", "").1;
        assert!(page.contains("replica=\""), "{page}");
        founders.iter().any(|founder| page.contains(founder))
    };
    let target = format!("http://{}=3", up.address);
    let mut keeping = Keeping::start(&[&target, "--seconds", "5"], &[]);
    keeping.hear("three are awake", |event| event["targets"][0]["awake"].as_u64() >= Some(3));
    let began = Instant::now();
    while a_founder_lives() || keeping.named("woken").len() < 12 {
        assert!(began.elapsed() < PATIENCE, "founders live, or too few were woken: {:#?}", keeping.heard);
        keeping.hear("another is woken", |event| event["event"] == "woken");
    }
    let names: BTreeSet<&str> = keeping.named("woken").iter().filter_map(|event| event["replica"].as_str()).collect();
    assert!(names.len() > 3, "successors are others: {names:?}");
    let began = Instant::now();
    while up.json("GET", "/v1/data/pncounter/visits", "")["value"] != 7 {
        assert!(began.elapsed() < PATIENCE, "what was written is gone");
        thread::sleep(Duration::from_millis(50));
    }
    let status = keeping.hear("a status", |event| event["event"] == "status");
    assert_eq!(status["targets"][0]["cost_usd"], Value::Null, "nobody bills it");
    keeping.signal("INT");
    assert_eq!(keeping.end().0.code(), Some(0));
}

#[test]
fn a_wake_is_answered_when_the_replica_is_complete() {
    let up =
        Up::start(&["--replicas", "1", "--ephemeral", "--awake", "0.5", "--mean-life", "0", "--max-replicas", "2"]);
    up.json("POST", "/v1/data/pncounter/visits", r#"{"increment":1}"#);
    let first = up.json("POST", "/v1/wake", r#"{"seconds":60}"#);
    let second = up.json("POST", "/v1/wake", r#"{"seconds":60}"#);
    assert_ne!(first["replica"], second["replica"], "one that is held is not taken again");
    assert_eq!((&first["complete"], &second["complete"]), (&json!(true), &json!(true)));
    assert_eq!(first["filled_ms"], Value::Null, "it was there already");
    assert!(second["filled_ms"].as_u64().is_some(), "{second}");
    assert_eq!(first["root"], second["root"]);
    let left_ms = |answer: &Value| {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("it is later");
        answer["awake_until"].as_u64().expect("a time").saturating_sub(now.as_millis() as u64)
    };
    assert!(left_ms(&first) > 30_000 && left_ms(&second) <= 60_000, "{first} {second}");
    // There is no room for a third: the one that is let go first is held on.
    assert_eq!(up.json("POST", "/v1/wake", r#"{"seconds":60}"#)["replica"], first["replica"]);
    let named = format!("/replicas/{}/v1/wake", second["replica"].as_str().expect("a name"));
    assert_eq!(up.json("POST", &named, r#"{"seconds":5}"#)["replica"], second["replica"]);
    for (method, body, status) in [("GET", "", 405), ("POST", "", 400), ("POST", r#"{"seconds":0}"#, 400)] {
        assert_eq!(up.ask(method, "/v1/wake", body).0, status, "{method} {body}");
    }
    assert_eq!(up.ask("POST", "/replicas/nobody/v1/wake", r#"{"seconds":5}"#).0, 503);
}

#[test]
fn replicas_that_always_stand_answer_a_wake_at_once() {
    let up = Up::start(&["--replicas", "2"]);
    let mut keeping = Keeping::start(&[&format!("http://{}=2", up.address), "--seconds", "5"], &[]);
    keeping.hear("they hand on", |event| event["targets"][0]["handed_on"].as_u64() >= Some(2));
    let names: BTreeSet<&str> = keeping.named("woken").iter().filter_map(|event| event["replica"].as_str()).collect();
    assert_eq!(names.len(), 2);
}

/// Streams a status line at once that is not complete, and complete ones four times a second; at the first request for
/// five seconds fewer than was asked for.
async fn linger(State(asked): State<Arc<AtomicU64>>, RawQuery(query): RawQuery) -> axum::body::Body {
    let query = query.expect("a query");
    let seconds: u64 = query.strip_prefix("seconds=").expect("the seconds").parse().expect("a number");
    let request = asked.fetch_add(1, Ordering::SeqCst);
    let (tell, told) = tokio::sync::mpsc::channel::<String>(4);
    tokio::spawn(async move {
        for line in 0..4 * (seconds - if request == 0 { 5 } else { 0 }) {
            let status = json!({ "name": format!("spin-{request}"), "complete": line > 0, "root": "00ff" });
            // Nobody listens once the keeper has ended.
            if tell.send(format!("{status}\n")).await.is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
    });
    axum::body::Body::new(Lines(told))
}

/// Lines as a body.
struct Lines(tokio::sync::mpsc::Receiver<String>);

impl hyper::body::Body for Lines {
    type Data = hyper::body::Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<hyper::body::Frame<Self::Data>, Self::Error>>> {
        self.0.poll_recv(cx).map(|line| line.map(|line| Ok(hyper::body::Frame::data(line.into()))))
    }
}

#[test]
fn where_there_is_no_wake_a_linger_request_is_kept_open() {
    let asked = Arc::new(AtomicU64::new(0));
    let server = Server::start(Router::new().route("/v1/linger", get(linger)).with_state(Arc::clone(&asked)));
    let mut keeping = Keeping::start(&[&format!("{}=1", server.url()), "--seconds", "8"], &[]);
    let first = keeping.hear("it lingers", |event| event["event"] == "woken");
    assert_eq!((&first["replica"], &first["complete"]), (&json!("spin-0"), &json!(true)));
    keeping.hear("it ends early", |event| event["event"] == "nobody_holds");
    keeping.hear("the second is woken at once", |event| event["event"] == "held");
    keeping
        .hear("the second hands on to the third", |event| event["replica"] == "spin-2" && event["handed_on"] == true);
    assert_eq!(keeping.named("failed"), Vec::<&Value>::new());
    keeping.signal("INT");
    assert_eq!(keeping.end().0.code(), Some(0));
}

#[test]
fn what_is_no_host_of_dayfly_and_what_is_not_there_are_told_apart() {
    let server = Server::start(Router::new());
    let output = program(&[&format!("{}=1", server.url())]).output().expect("the program runs");
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(errors.contains("answers neither POST /v1/wake nor GET /v1/linger"), "{errors}");
    let nowhere = server.url();
    drop(server);
    let output = program(&[&format!("{nowhere}=1"), "--for", "1"]).output().expect("the program runs");
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(errors.contains("tried again in") && errors.contains("no answer from"), "{errors}");
}
