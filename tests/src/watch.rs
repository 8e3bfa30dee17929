//! Functions under `cargo lambda watch`, an emulator of Lambda's APIs that shares no code with the simulator of
//! [`crate::function`], and freezes nothing.

use std::env;
use std::fs;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use dayfly_conformance::http::{Answer, Request};
use serde_json::{Value, json};

use crate::client::Client;
use crate::function::{read_answer, url_event};
use crate::lambda::{variables, wake_event};
use crate::node::broker_url;
use crate::serverless::{Environment, Environments};
use crate::told::Told;

/// How long anything that is awaited may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(20);

/// What the test command tells (xtask/src/lambda.rs): the folder of the unpacked zip, and the program cargo-lambda.
const FOLDER_VARIABLE: &str = "DAYFLY_TEST_LAMBDA";
const EMULATOR_VARIABLE: &str = "DAYFLY_TEST_CARGO_LAMBDA";

/// How many functions the emulator knows. Each has one environment: it hands a function's events out one at a time.
const FUNCTIONS: usize = 24;

/// The name of a function.
pub fn function(number: usize) -> String {
    format!("f{number}")
}

fn told(variable: &str) -> Result<PathBuf> {
    let value = env::var_os(variable);
    Ok(value.with_context(|| format!("{variable} is not set: run the tests by `cargo xtask test`"))?.into())
}

/// A process that is killed when it is dropped.
pub struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The emulator, with a port of its own.
pub struct Emulator {
    _process: Killed,
    /// The package that it looks at.
    folder: PathBuf,
    port: u16,
    /// The cluster of its functions.
    pub cluster: String,
}

impl Emulator {
    /// Starts its APIs, and no function.
    pub fn start(cluster: &str) -> Result<Self> {
        let own = env::current_exe()?;
        let folder = own.parent().context("a test is in a folder")?.join("watch").join(cluster);
        write_project(&folder)?;
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let mut command = Command::new(told(EMULATOR_VARIABLE)?);
        command.current_dir(&folder).args(["lambda", "watch", "--only-lambda-apis", "--invoke-address", "127.0.0.1"]);
        command.args(["--invoke-port", &port.to_string()]);
        let log = fs::File::create(folder.join("emulator.log"))?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let mut process = Killed(command.spawn().context("cargo-lambda cannot be run")?);
        let until = Instant::now() + PATIENCE;
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            let log = || fs::read_to_string(folder.join("emulator.log")).unwrap_or_default();
            ensure!(process.0.try_wait()?.is_none(), "the emulator has ended: {}", log());
            ensure!(Instant::now() < until, "the emulator does not listen: {}", log());
            thread::sleep(POLL);
        }
        Ok(Self { _process: process, folder, port, cluster: cluster.to_owned() })
    }

    /// Starts an environment of a function, as the platform does: the program of the zip, with the platform's variables
    /// and the function's own.
    pub fn environment(&self, function: &str, variables: &[(&str, &str)]) -> Result<Killed> {
        let bootstrap = told(FOLDER_VARIABLE)?.join("bootstrap");
        let mut command = Command::new(&bootstrap);
        command
            .env_clear()
            .env("AWS_LAMBDA_RUNTIME_API", format!("http://127.0.0.1:{}/.rt/{function}", self.port))
            .env("AWS_LAMBDA_FUNCTION_NAME", function)
            .env("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST")
            .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256")
            .env("AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand")
            .env("AWS_REGION", "eu-north-1")
            .env("DAYFLY_BROKER", broker_url()?)
            .env("DAYFLY_CLUSTER", &self.cluster)
            // It tells the extension deadlines that are over, of which the function warns.
            .env("DAYFLY_LOG_LEVEL", "error")
            .envs(variables.iter().copied());
        let process = command.stdin(Stdio::null()).spawn();
        Ok(Killed(process.with_context(|| format!("cannot run {}", bootstrap.display()))?))
    }

    /// Asks a function by its URL.
    pub fn ask_url(&self, function: &str, method: &str, path: &str, body: &str) -> Result<Answer> {
        let mut client = Client::new(&format!("http://127.0.0.1:{}/lambda-url/{function}", self.port))?;
        let headers = [("content-type".to_owned(), b"application/json".to_vec())];
        client.send(method, path, &headers, body.as_bytes())
    }

    /// Hands a function an event by the Invoke API.
    pub fn invoke(&self, function: &str, event: &Value) -> Result<Answer> {
        let mut client = Client::new(&format!("http://127.0.0.1:{}", self.port))?;
        let path = format!("/2015-03-31/functions/{function}/invocations");
        client.send("POST", &path, &[], event.to_string().as_bytes())
    }

    /// Wakes a function until its replica has the whole database; gives what the last wake answered.
    pub fn wake(&self, function: &str) -> Result<Value> {
        let until = Instant::now() + PATIENCE;
        loop {
            let answer = self.invoke(function, &json!({"wake": {"seconds": 4}}))?;
            let told: Value = json_of(&answer)?;
            if told["complete"] == Value::Bool(true) {
                return Ok(told);
            }
            ensure!(Instant::now() < until, "{function} is not complete: {told}");
        }
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        // What stays behind disturbs nobody: each cluster has a name of its own.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// A package with a binary for each function. It is never built: the emulator answers only for functions that it finds in
/// a package.
fn write_project(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder)?;
    let package = "[package]\nname = \"functions\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n[workspace]\n";
    let binary = |name: &str| format!("\n[[bin]]\nname = \"{name}\"\npath = \"main.rs\"\n");
    let all = (0..FUNCTIONS).fold(package.to_owned(), |all, number| all + &binary(&function(number)));
    fs::write(folder.join("Cargo.toml"), all)?;
    fs::write(folder.join("main.rs"), "fn main() {}\n")?;
    Ok(())
}

/// What an invocation answered, as JSON.
pub fn json_of(answer: &Answer) -> Result<Value> {
    ensure!(answer.status == 200, "{} {}", answer.status, String::from_utf8_lossy(&answer.body));
    Ok(serde_json::from_slice(&answer.body)?)
}

/// The functions of one cluster under an emulator of their own.
pub struct Watched {
    emulator: Arc<Emulator>,
    started: usize,
}

impl Watched {
    /// Starts the emulator.
    pub fn start(cluster: &str) -> Result<Self> {
        Ok(Self { emulator: Arc::new(Emulator::start(cluster)?), started: 0 })
    }
}

impl Environments for Watched {
    fn start(&mut self, settings: &[Told]) -> Result<Box<dyn Environment>> {
        ensure!(self.started < FUNCTIONS, "the emulator knows {FUNCTIONS} functions");
        let function = function(self.started);
        self.started += 1;
        let variables = variables(settings);
        let variables: Vec<(&str, &str)> = variables.iter().map(|(name, value)| (&**name, &**value)).collect();
        let _process = self.emulator.environment(&function, &variables)?;
        Ok(Box::new(WatchedFunction { emulator: Arc::clone(&self.emulator), function, _process }))
    }
}

/// One of them.
struct WatchedFunction {
    emulator: Arc<Emulator>,
    function: String,
    _process: Killed,
}

impl WatchedFunction {
    fn answer(&self, event: &Value) -> Result<Value> {
        json_of(&self.emulator.invoke(&self.function, event)?)
    }
}

impl Environment for WatchedFunction {
    fn ask(&self, request: &Request) -> Result<Answer> {
        read_answer(&self.answer(&url_event(request))?)
    }

    fn wake(&self, seconds: f64) -> Result<Value> {
        self.answer(&wake_event(seconds))
    }

    fn begin_wake(&self, seconds: f64) -> Result<()> {
        let (emulator, function) = (Arc::clone(&self.emulator), self.function.clone());
        // The Invoke API answers when the function does; who begins does not wait for that.
        thread::spawn(move || emulator.invoke(&function, &wake_event(seconds)));
        Ok(())
    }

    /// Requests wait for it.
    fn await_filled(&self) -> Result<()> {
        Ok(())
    }

    /// It freezes nothing.
    fn freeze(&self) -> Result<()> {
        Ok(())
    }

    fn thaw(&self) -> Result<()> {
        Ok(())
    }

    fn has_many_replicas(&self) -> bool {
        false
    }

    fn kill(self: Box<Self>) -> Result<()> {
        Ok(())
    }
}
