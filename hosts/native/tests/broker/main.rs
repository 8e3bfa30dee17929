//! What the commands that need a broker say when there is none, or when nobody can be asked.

use std::process::{Command, Output, Stdio};

use serde_json::Value;

/// Nothing listens at port 1, which is reserved.
const NOBODY: &str = "amqp://me:secret@127.0.0.1:1/";

fn run(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dayfly"));
    command.args(args).env_remove("DAYFLY_BROKER").stdin(Stdio::null());
    command.output().expect("the program can be started")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("UTF-8")
}

#[test]
fn the_doctor_says_that_nobody_answers_and_what_to_do() {
    let output = run(&["doctor", "--broker", NOBODY]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let told = text(&output.stdout);
    assert!(told.starts_with("fail") && told.contains("127.0.0.1:1") && told.contains("→"), "{told}");
    let output = run(&["doctor", "--broker", NOBODY, "--json"]);
    let told: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!((output.status.code(), &told["healthy"]), (Some(1), &Value::Bool(false)));
    assert_eq!(told["checks"][0]["verdict"], "fail");
    assert!(told["checks"][0]["advice"].is_string(), "{told}");
}

#[test]
fn purge_does_nothing_unasked_where_nobody_can_be_asked() {
    let output = run(&["purge", "--broker", NOBODY, "--cluster", "c"]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(text(&output.stderr).contains("--yes"), "{output:?}");
    let output = run(&["purge", "--broker", NOBODY, "--cluster", "c", "--yes"]);
    assert_eq!(output.status.code(), Some(3), "it was not refused, but there is nobody: {output:?}");
}

#[test]
fn a_node_without_its_broker_ends_and_says_so() {
    let output = run(&["node", "--broker", NOBODY, "--listen", "127.0.0.1:0"]);
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    let told = text(&output.stderr);
    assert!(told.contains("127.0.0.1:1") && told.contains("dayfly doctor"), "{told}");
    let output = run(&["node", "--listen", "127.0.0.1:0"]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let output = run(&["up", "--broker", NOBODY, "--listen", "127.0.0.1:0"]);
    assert!(!output.status.success() && text(&output.stderr).contains("127.0.0.1:1"), "{output:?}");
}
