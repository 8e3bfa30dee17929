//! `load --mark` into a real cluster whose replicas are killed at random.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::process::Child;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::program::{TemporaryFile, end, program, run, signal};

/// Operations of the file.
const OPERATIONS: u64 = 20_000;

/// A `dayfly up` that is ended with this value.
struct Up(Child, String);

impl Up {
    fn start(args: &[&str]) -> Self {
        let args = [&["up", "--json", "--listen", "127.0.0.1:0"], args].concat();
        let mut child = program("", &args).stderr(std::process::Stdio::null()).spawn().expect("it can be started");
        let mut out = BufReader::new(child.stdout.take().expect("it is piped"));
        let mut first = String::new();
        out.read_line(&mut first).expect("it says that it listens");
        let url = serde_json::from_str::<Value>(&first).expect("JSON")["listening"].as_str().expect("a URL").to_owned();
        // What it says later is read and dropped, so that it is never held up.
        std::thread::spawn(move || out.lines().map_while(Result::ok).for_each(drop));
        Self(child, url)
    }

    /// The value of a key as a complete replica has it; null if there is none.
    fn value(&self, type_name: &str, key: &str) -> Value {
        let begun = Instant::now();
        loop {
            let ran = run(&self.1, &["get", type_name, key, "--json"]);
            if ran.code == 0 && ran.err.is_empty() {
                return ran.json()["value"].clone();
            }
            if ran.code == 4 && !ran.err.contains("still being filled") {
                return Value::Null;
            }
            assert!(begun.elapsed() < Duration::from_secs(60), "{ran:?}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn replicas_die_and_the_loader_too_and_every_operation_counts_once() {
    let mut lines = String::new();
    let mut expected: BTreeMap<(&str, String), i64> = BTreeMap::new();
    for number in 0..OPERATIONS {
        let key = format!("k{}", number * 7919 % 11);
        let by = i64::try_from(number % 9).expect("it is small");
        let (type_name, verb, sign) = match number % 3 {
            0 => ("gcounter", "increment", 1),
            1 => ("pncounter", "increment", 1),
            _ => ("pncounter", "decrement", -1),
        };
        lines.push_str(&format!("{{\"type\":\"{type_name}\",\"key\":\"{key}\",\"{verb}\":{by}}}\n"));
        *expected.entry((type_name, key)).or_insert(0) += sign * by;
    }
    let file = TemporaryFile::with("ephemeral", &lines);
    let up = Up::start(&["--replicas", "8", "--ephemeral", "--mean-life", "2"]);
    let founders: Value = run(&up.1, &["members", "--json"]).json();
    let founders = founders["members"].as_array().expect("a list");
    assert_eq!(founders.len(), 8, "{founders:?}");
    // Small batches, so that a replica is often killed with one under way.
    let args = ["load", file.path(), "--batch", "20", "--mark", "loaded", "--settle", "2", "--json"];
    let child = program(&up.1, &args).spawn().expect("the program can be started");
    let begun = Instant::now();
    while up.value("maxregister", "loaded").as_u64().unwrap_or(0) < OPERATIONS / 4 {
        assert!(begun.elapsed() < Duration::from_secs(120), "it does not get on");
    }
    signal(child.id(), "KILL");
    drop(child.wait_with_output().expect("it can be waited for"));
    let ran = end(program(&up.1, &args).spawn().expect("the program can be started"));
    ran.failed(0, &["mark loaded: lines up to ", "are done, going on behind it"]);
    assert_eq!(ran.json()["next_line"], json!(OPERATIONS + 1));
    for ((type_name, key), value) in expected {
        assert_eq!(up.value(type_name, &key), json!(value), "{type_name} {key}: {ran:?}");
    }
    assert_eq!(up.value("maxregister", "loaded"), json!(OPERATIONS));
}
