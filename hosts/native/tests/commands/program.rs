//! The program, run as its users run it.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};

/// What a run of the program left.
#[derive(Debug)]
pub struct Ran {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Ran {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().expect("it ended by itself"),
            out: String::from_utf8(output.stdout).expect("UTF-8"),
            err: String::from_utf8(output.stderr).expect("UTF-8"),
        }
    }

    /// The output, of a run that must have gone well and said nothing else.
    #[track_caller]
    pub fn ok(self) -> String {
        assert_eq!((self.code, self.err.as_str()), (0, ""), "{self:?}");
        self.out
    }

    /// The output as JSON.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Asserts the exit code and that stderr has all of these parts.
    #[track_caller]
    pub fn failed(&self, code: i32, parts: &[&str]) {
        assert_eq!(self.code, code, "{self:?}");
        for part in parts {
            assert!(self.err.contains(part), "{part:?} is missing: {self:?}");
        }
    }
}

/// The program with these arguments, asking the cluster at this URL.
pub fn program(url: &str, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dayfly"));
    command.args(args).env("DAYFLY_URL", url).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs it to its end.
pub fn run(url: &str, args: &[&str]) -> Ran {
    Ran::from(program(url, args).output().expect("the program can be started"))
}

/// Runs it to its end, with this on its standard input.
pub fn run_with_input(url: &str, args: &[&str], input: &str) -> Ran {
    let mut child = program(url, args).stdin(Stdio::piped()).spawn().expect("the program can be started");
    let mut stdin = child.stdin.take().expect("it is piped");
    let input = input.to_owned();
    let writer = std::thread::spawn(move || {
        // The program may end before it has read all.
        let _ = stdin.write_all(input.as_bytes());
    });
    let ran = end(child);
    writer.join().expect("the writer ends");
    ran
}

/// Waits for the end.
pub fn end(child: Child) -> Ran {
    Ran::from(child.wait_with_output().expect("the program can be waited for"))
}

/// Sends a signal to a process that this test started.
pub fn signal(process: u32, name: &str) {
    let sent = Command::new("kill").args([&format!("-{name}"), &process.to_string()]).status();
    assert!(sent.expect("`kill` can be started").success());
}

/// A file that is deleted with this value.
pub struct TemporaryFile(pub PathBuf);

impl TemporaryFile {
    pub fn with(name: &str, content: &str) -> Self {
        let path = std::env::temp_dir().join(format!("dayfly-test-{}-{name}", std::process::id()));
        std::fs::write(&path, content).expect("the folder for temporary files can be written");
        Self(path)
    }

    pub fn path(&self) -> &str {
        self.0.to_str().expect("UTF-8")
    }
}

impl Drop for TemporaryFile {
    fn drop(&mut self) {
        // A file that stays behind fails no test.
        let _ = std::fs::remove_file(&self.0);
    }
}
