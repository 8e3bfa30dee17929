//! From the start of the process to the first call for an event.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Sender};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use dayfly_tests::function::bootstrap_file;
use dayfly_tests::platform::{Memory, Pid};
use serde::Serialize;

/// How many starts are timed, after one that is not.
const RUNS: usize = 20;
/// How long one is waited for.
const PATIENCE: Duration = Duration::from_secs(30);

/// How fast it starts.
#[derive(Clone, Debug, Serialize)]
pub struct Start {
    /// How many starts were timed.
    pub runs: usize,
    /// Half of them took at most this, in milliseconds.
    pub p50_ms: f64,
    /// The slowest, in milliseconds.
    pub max_ms: f64,
    /// What the process holds by then.
    pub memory: Memory,
}

/// A process that is killed when it is dropped.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Times starts, the files being in the system's cache.
pub fn measure() -> Result<Start> {
    once()?;
    let mut times = Vec::new();
    let mut memory = None;
    for _ in 0..RUNS {
        let (time, held) = once()?;
        times.push(time.as_secs_f64() * 1e3);
        memory = Some(held);
    }
    times.sort_by(f64::total_cmp);
    let memory = memory.context("there are runs")?;
    Ok(Start { runs: RUNS, p50_ms: times[RUNS.div_ceil(2) - 1], max_ms: times[RUNS - 1], memory })
}

fn once() -> Result<(Duration, Memory)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?;
    let (tell, told) = mpsc::channel();
    thread::spawn(move || {
        // Until the process is gone and this bench with it: a thread that waits costs nothing.
        for stream in listener.incoming().map_while(Result::ok) {
            let tell = tell.clone();
            thread::spawn(move || serve(stream, &tell));
        }
    });
    let mut command = Command::new(bootstrap_file()?);
    command
        .env_clear()
        .env("AWS_LAMBDA_RUNTIME_API", address.to_string())
        .env("AWS_LAMBDA_FUNCTION_NAME", "dayfly")
        .env("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST")
        .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256")
        .env("AWS_REGION", "eu-north-1")
        // It is spoken to with the first event, and there is none.
        .env("DAYFLY_BROKER", "amqp://localhost")
        .stdin(Stdio::null());
    if let Ok(folder) = std::env::var("DAYFLY_COMPONENT_DIR") {
        command.env("DAYFLY_COMPONENT_DIR", folder);
    }
    let begun = Instant::now();
    let process = Killed(command.spawn()?);
    match told.recv_timeout(PATIENCE) {
        Ok(asked) => Ok((asked - begun, Pid::new(process.0.id()).memory()?)),
        Err(_) => bail!("it does not ask for an event within {PATIENCE:?}; is it the packaged one (DAYFLY_BOOTSTRAP)?"),
    }
}

/// What Lambda answers before the first event; of calls for an event it is told when they came, and they wait.
fn serve(stream: TcpStream, tell: &Sender<Instant>) -> Option<()> {
    let mut reader = BufReader::new(stream);
    loop {
        let mut first = String::new();
        if reader.read_line(&mut first).ok()? == 0 {
            return None;
        }
        let came = Instant::now();
        let mut length = 0;
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).ok()?;
            let line = line.trim().to_ascii_lowercase();
            if line.is_empty() {
                break;
            }
            if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse().ok()?;
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).ok()?;
        if first.contains("/runtime/invocation/next") {
            tell.send(came).ok()?;
        } else if first.contains("/extension/register") {
            let body = r#"{"functionName":"dayfly","functionVersion":"$LATEST","handler":"bootstrap"}"#;
            let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nlambda-extension-identifier: one\r\n";
            let answer = format!("{head}content-length: {}\r\n\r\n{body}", body.len());
            reader.get_mut().write_all(answer.as_bytes()).ok()?;
        }
    }
}
