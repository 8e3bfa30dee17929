//! Processes of the program, and the broker that they share.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::PATIENCE;
use super::http::{Answer, Connection};

/// The tests' broker.
pub fn broker() -> String {
    std::env::var("DAYFLY_TEST_BROKER").unwrap_or_else(|_| {
        panic!("DAYFLY_TEST_BROKER must name a RabbitMQ for the tests: `cargo xtask test` starts one")
    })
}

/// A name that no other cluster of this broker has.
pub fn fresh_cluster(what: &str) -> String {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let since = std::time::UNIX_EPOCH.elapsed().unwrap_or_default();
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    format!("{what}-{}-{:x}-{number}", std::process::id(), since.as_millis())
}

/// Runs the program to its end.
pub fn run(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dayfly"));
    command.args(args).stdin(Stdio::null()).output().expect("the program can be started")
}

/// Waits until it holds; otherwise panics with what there is instead.
pub fn wait_for(holds: impl Fn() -> bool, instead: impl Fn() -> String) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < PATIENCE, "{}", instead());
        thread::sleep(Duration::from_millis(50));
    }
}

/// A process that serves HTTP. It is killed when it is dropped.
pub struct Process {
    child: Child,
    address: SocketAddr,
    /// The first line.
    pub hello: Value,
    log: Arc<Mutex<String>>,
    readers: Vec<thread::JoinHandle<()>>,
}

/// How a process ended.
pub struct EndOf {
    pub code: Option<i32>,
    pub log: String,
}

impl Process {
    /// Starts one on a free port and waits until it listens.
    pub fn start(args: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_dayfly"))
            .args(args)
            .args(["--listen", "127.0.0.1:0"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program runs");
        let log = Arc::new(Mutex::new(String::new()));
        let err = BufReader::new(child.stderr.take().expect("it is piped"));
        let logging = thread::spawn({
            let log = Arc::clone(&log);
            move || {
                for line in err.lines() {
                    let line = line.expect("it is text");
                    let mut log = log.lock().expect("nobody panics with it");
                    log.push_str(&line);
                    log.push('\n');
                }
            }
        });
        let mut out = BufReader::new(child.stdout.take().expect("it is piped"));
        let mut first = String::new();
        out.read_line(&mut first).expect("it says that it listens");
        let hello: Value = serde_json::from_str(&first).unwrap_or_else(|error| {
            let log = log.lock().expect("nobody panics with it");
            panic!("{error}: {first:?}, and said {log}")
        });
        let url = hello["listening"].as_str().expect("a URL");
        let address = url.trim_start_matches("http://").parse().expect("an address");
        // Read on, or it would wait for a reader.
        let draining = thread::spawn(move || {
            let _ = out.read_to_end(&mut Vec::new());
        });
        Self { child, address, hello, log, readers: vec![logging, draining] }
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

    /// What it has logged so far.
    pub fn log(&self) -> String {
        self.log.lock().expect("nobody panics with it").clone()
    }

    pub fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args([&format!("-{signal}"), &self.child.id().to_string()]).status();
        assert!(sent.expect("kill runs").success());
    }

    /// Sends a signal and waits until it has ended.
    pub fn end(self, signal: &str) -> EndOf {
        self.signal(signal);
        self.ended()
    }

    /// Waits until it has ended by itself.
    pub fn ended(mut self) -> EndOf {
        let began = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("it is ours") {
                break status;
            }
            assert!(began.elapsed() < PATIENCE, "it does not end: {}", self.log());
            thread::sleep(Duration::from_millis(20));
        };
        self.readers.drain(..).for_each(|reader| reader.join().expect("it reads to the end"));
        EndOf { code: status.code(), log: self.log() }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
