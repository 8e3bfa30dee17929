//! A process of the real program that serves HTTP.

use std::env;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

/// How long it may take to stand, and to end.
const PATIENCE: Duration = Duration::from_secs(60);

/// How often it is looked whether it stands or has ended.
const POLL: Duration = Duration::from_millis(20);

/// The program: where `DAYFLY_PROGRAM` says, else beside the folder in which cargo put this test.
pub fn program_file() -> Result<PathBuf> {
    if let Some(told) = env::var_os("DAYFLY_PROGRAM") {
        return Ok(told.into());
    }
    let own = env::current_exe()?;
    let folders = own.ancestors().skip(1).take(2);
    let file = folders.map(|folder| folder.join("dayfly")).find(|file| file.is_file());
    file.context(
        "no program `dayfly` beside this test: build it with `cargo xtask build`, or name it in DAYFLY_PROGRAM",
    )
}

/// A running process. Dropping it kills the process.
#[derive(Debug)]
pub struct Process {
    child: Child,
    url: String,
    told: Arc<Mutex<Vec<Value>>>,
}

impl Process {
    /// Runs the program with these arguments, among them `--json`, and waits until it says where it listens.
    pub fn listening(arguments: &[&str]) -> Result<Self> {
        Self::run(Command::new(program_file()?), arguments)
    }

    /// The same, where Ctrl-C at the terminal does not end it: whoever runs it may have to ask it something yet.
    pub fn listening_apart(arguments: &[&str]) -> Result<Self> {
        let mut command = Command::new(program_file()?);
        command.process_group(0);
        Self::run(command, arguments)
    }

    fn run(mut command: Command, arguments: &[&str]) -> Result<Self> {
        let mut child = command
            .args(arguments)
            // What is usual would hide what is not.
            .env("DAYFLY_LOG_LEVEL", "error")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("{:?}", command.get_program()))?;
        let out = child.stdout.take().context("its output is piped")?;
        let told = Arc::new(Mutex::new(Vec::new()));
        let keep = Arc::clone(&told);
        thread::spawn(move || {
            let lines = BufReader::new(out).lines().map_while(Result::ok);
            for line in lines {
                let value = serde_json::from_str(&line).unwrap_or(Value::String(line));
                keep.lock().unwrap_or_else(PoisonError::into_inner).push(value);
            }
        });
        let mut process = Self { child, url: String::new(), told };
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(ended) = process.child.try_wait()? {
                bail!("dayfly {} has ended: {ended}", arguments.join(" "));
            }
            if let Some(url) = process.told().iter().find_map(|line| line["listening"].as_str()) {
                process.url = url.to_owned();
                return Ok(process);
            }
            ensure!(Instant::now() < until, "it does not say where it listens: {:?}", process.told());
            thread::sleep(POLL);
        }
    }

    /// Where it listens.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Its number in the system.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// How it has ended, if it has.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// The lines that it has written so far.
    pub fn told(&self) -> Vec<Value> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Sends it a signal (`INT`, `STOP`, `CONT`, `KILL`).
    pub fn signal(&self, signal: &str) -> Result<()> {
        let sent = Command::new("kill").args([&format!("-{signal}"), &self.child.id().to_string()]).status()?;
        ensure!(sent.success(), "no {signal} can be sent to it");
        Ok(())
    }

    /// Waits until it has ended.
    pub fn wait(&mut self) -> Result<ExitStatus> {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(ended) = self.child.try_wait()? {
                return Ok(ended);
            }
            ensure!(Instant::now() < until, "it does not end");
            thread::sleep(POLL);
        }
    }

    /// Ends it as Ctrl-C does, and gives what it wrote. An error if it does not end well.
    pub fn end(mut self) -> Result<Vec<Value>> {
        self.signal("INT")?;
        let ended = self.wait()?;
        ensure!(ended.success(), "it ended with {ended}");
        Ok(self.told())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
