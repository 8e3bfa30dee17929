//! A `dayfly keep --json` that runs, and what it says.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

/// Long enough for anything that is awaited, on a machine that does other things too.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// It is killed when it is dropped.
pub struct Keeping {
    child: Child,
    input: Option<ChildStdin>,
    events: Receiver<Value>,
    /// What was heard so far.
    pub heard: Vec<Value>,
}

/// The program with a home of nobody's, so that no credentials are found but those that a test gives.
pub fn program(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dayfly"));
    command.arg("keep").args(args).env("HOME", env!("CARGO_TARGET_TMPDIR")).stdin(Stdio::null());
    for name in ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE"] {
        command.env_remove(name);
    }
    command.env_remove("AWS_SHARED_CREDENTIALS_FILE");
    command
}

impl Keeping {
    pub fn start(args: &[&str], environment: &[(&str, &str)]) -> Self {
        let mut command = program(&[args, &["--json", "--every", "0.5"]].concat());
        command.envs(environment.iter().copied()).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the program runs");
        let out = BufReader::new(child.stdout.take().expect("it is piped"));
        let (tell, events) = channel();
        thread::spawn(move || {
            for line in out.lines().map_while(Result::ok) {
                let event = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{line}: {error}"));
                if tell.send(event).is_err() {
                    return;
                }
            }
        });
        let input = child.stdin.take();
        Self { child, input, events, heard: Vec::new() }
    }

    /// Waits for an event like this.
    #[track_caller]
    pub fn hear(&mut self, what: &str, is_it: impl Fn(&Value) -> bool) -> Value {
        let began = Instant::now();
        loop {
            let left = PATIENCE.saturating_sub(began.elapsed());
            let Ok(event) = self.events.recv_timeout(left) else {
                panic!("{what} is not heard of: {:#?}", self.heard);
            };
            self.heard.push(event.clone());
            if is_it(&event) {
                return event;
            }
        }
    }

    /// Those that were heard of this name.
    pub fn named(&self, name: &str) -> Vec<&Value> {
        self.heard.iter().filter(|event| event["event"] == name).collect()
    }

    pub fn say(&mut self, line: &str) {
        writeln!(self.input.as_mut().expect("it is piped"), "{line}").expect("it reads");
    }

    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([&format!("-{name}"), &self.child.id().to_string()]).status();
        assert!(sent.expect("`kill` can be started").success());
    }

    /// Waits for its end; what it said on stderr comes with its status.
    pub fn end(&mut self) -> (ExitStatus, String) {
        let status = self.child.wait().expect("it ends");
        let mut errors = String::new();
        let stderr = self.child.stderr.as_mut().expect("it is piped");
        stderr.read_to_string(&mut errors).expect("UTF-8");
        while let Ok(event) = self.events.recv_timeout(PATIENCE) {
            self.heard.push(event);
        }
        (status, errors)
    }
}

impl Drop for Keeping {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
