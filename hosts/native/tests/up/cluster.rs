//! A cluster that runs in a process of its own, and what it reports.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::http::{Answer, Connection};

/// Long enough for anything that is awaited, on a machine that does other things too.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A running `dayfly up --json`. It is killed when it is dropped.
pub struct Cluster {
    child: Child,
    pub address: SocketAddr,
    /// The first line.
    pub hello: Value,
    lines: Arc<Mutex<Vec<Value>>>,
    reader: Option<thread::JoinHandle<()>>,
}

impl Cluster {
    /// Starts one on a free port and waits until it listens.
    pub fn start(args: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_dayfly"))
            .args(["up", "--json", "--listen", "127.0.0.1:0"])
            .args(args)
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program runs");
        let mut out = BufReader::new(child.stdout.take().expect("it is piped"));
        let mut first = String::new();
        out.read_line(&mut first).expect("it says that it listens");
        let hello: Value = serde_json::from_str(&first).unwrap_or_else(|error| panic!("{first}: {error}"));
        let url = hello["listening"].as_str().expect("a URL");
        let address = url.trim_start_matches("http://").parse().expect("an address");
        let lines = Arc::new(Mutex::new(Vec::new()));
        let reader = thread::spawn({
            let lines = Arc::clone(&lines);
            move || {
                for line in out.lines() {
                    let line = line.expect("it is text");
                    let line = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{line}: {error}"));
                    lines.lock().expect("nobody panics with it").push(line);
                }
            }
        });
        Self { child, address, hello, lines, reader: Some(reader) }
    }

    pub fn connect(&self) -> Connection {
        Connection::open(self.address)
    }

    pub fn get(&self, path: &str) -> Answer {
        let mut connection = self.connect();
        connection.write(format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").as_bytes());
        connection.answer()
    }

    pub fn send(&self, method: &str, path: &str, body: &Value) -> Answer {
        let mut connection = self.connect();
        let body = body.to_string();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        connection.write((head + &body).as_bytes());
        connection.answer()
    }

    /// The names of the members that are not gone, as some replica knows them.
    pub fn members(&self) -> Vec<String> {
        let answer = self.get("/v1/members?limit=10000");
        let members = answer.json();
        let members = members["members"].as_array().unwrap_or_else(|| panic!("{answer:?}"));
        let here = members.iter().filter(|member| member["state"] != "gone");
        here.map(|member| member["name"].as_str().expect("a name").to_owned()).collect()
    }

    /// Asks until the answer is as wanted.
    pub fn await_that(&self, path: &str, wanted: impl Fn(&Answer) -> bool) {
        let began = Instant::now();
        loop {
            let answer = self.get(path);
            if wanted(&answer) {
                return;
            }
            assert!(began.elapsed() < PATIENCE, "{path}: {answer:?}");
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// The last line that was reported; null if there is none.
    pub fn last_line(&self) -> Value {
        self.lines.lock().expect("nobody panics with it").last().cloned().unwrap_or_default()
    }

    /// Waits for a new line that is as wanted.
    pub fn await_line(&self, wanted: impl Fn(&Value) -> bool) -> Value {
        let began = Instant::now();
        let seen = self.lines.lock().expect("nobody panics with it").len();
        loop {
            let lines = self.lines.lock().expect("nobody panics with it").clone();
            if let Some(line) = lines[seen..].iter().find(|line| wanted(line)) {
                return line.clone();
            }
            assert!(began.elapsed() < PATIENCE, "{:?}", lines.last());
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// Sends a signal, waits until the program has ended well, and returns its last line.
    pub fn end(mut self, signal: &str) -> Value {
        let sent = Command::new("kill").args([&format!("-{signal}"), &self.child.id().to_string()]).status();
        assert!(sent.expect("kill runs").success());
        let status = self.child.wait().expect("it ends");
        assert_eq!(status.code(), Some(0), "{status}");
        self.reader.take().expect("it was not taken before").join().expect("it reads to the end");
        self.last_line()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
