//! The packaged function under a second emulator of Lambda's APIs, `cargo lambda watch`, over a real RabbitMQ. It shares no
//! code with the simulator of `lambda.rs`, and freezes nothing.

use std::env;
use std::fs;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use dayfly_core::http::Request;
use dayfly_tests::client::Client;
use dayfly_tests::function::{read_answer, url_event};
use dayfly_tests::node::{Node, broker_url, fresh_cluster};
use dayfly_tests::stage::Answer;
use serde_json::{Value, json};

/// How long anything that is awaited may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(20);

/// What the test command tells (xtask/src/lambda.rs): the folder of the unpacked zip, and the program cargo-lambda.
const FOLDER_VARIABLE: &str = "DAYFLY_TEST_LAMBDA";
const EMULATOR_VARIABLE: &str = "DAYFLY_TEST_CARGO_LAMBDA";

/// The functions that the emulator knows. Each has one environment: it hands a function's events out one at a time.
const FUNCTIONS: [&str; 2] = ["one", "two"];

fn told(variable: &str) -> Result<PathBuf> {
    let value = env::var_os(variable);
    Ok(value.with_context(|| format!("{variable} is not set: run the tests by `cargo xtask test`"))?.into())
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

/// The emulator, with a port of its own.
struct Emulator {
    _process: Killed,
    port: u16,
    cluster: String,
}

impl Emulator {
    /// Starts its APIs, and no function.
    fn start(test: &str) -> Result<Self> {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("watch-{test}"));
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
        Ok(Self { _process: process, port, cluster: fresh_cluster("watch") })
    }

    /// Starts an environment of a function, as the platform does: the program of the zip, with the platform's variables
    /// and the function's own.
    fn environment(&self, function: &str) -> Result<Killed> {
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
            .env("DAYFLY_LOG_LEVEL", "error");
        let process = command.stdin(Stdio::null()).spawn();
        Ok(Killed(process.with_context(|| format!("cannot run {}", bootstrap.display()))?))
    }

    /// Asks a function by its URL.
    fn ask_url(&self, function: &str, method: &str, path: &str, body: &str) -> Result<Answer> {
        let mut client = Client::new(&format!("http://127.0.0.1:{}/lambda-url/{function}", self.port))?;
        let headers = [("content-type".to_owned(), b"application/json".to_vec())];
        client.send(method, path, &headers, body.as_bytes())
    }

    /// Hands a function an event by the Invoke API.
    fn invoke(&self, function: &str, event: &Value) -> Result<Answer> {
        let mut client = Client::new(&format!("http://127.0.0.1:{}", self.port))?;
        let path = format!("/2015-03-31/functions/{function}/invocations");
        client.send("POST", &path, &[], event.to_string().as_bytes())
    }

    /// Wakes a function until its replica has the whole database; gives what the last wake answered.
    fn wake(&self, function: &str) -> Result<Value> {
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

/// A package with a binary for each function. It is never built: the emulator answers only for functions that it finds in
/// a package.
fn write_project(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder)?;
    let package = "[package]\nname = \"functions\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n[workspace]\n";
    let binary = |name: &str| format!("\n[[bin]]\nname = \"{name}\"\npath = \"main.rs\"\n");
    fs::write(folder.join("Cargo.toml"), FUNCTIONS.iter().fold(package.to_owned(), |all, name| all + &binary(name)))?;
    fs::write(folder.join("main.rs"), "fn main() {}\n")?;
    Ok(())
}

fn json_of(answer: &Answer) -> Result<Value> {
    ensure!(answer.status == 200, "{} {}", answer.status, String::from_utf8_lossy(&answer.body));
    Ok(serde_json::from_slice(&answer.body)?)
}

fn run(test: impl FnOnce() -> Result<()>) {
    if let Err(error) = test() {
        panic!("{error:#}");
    }
}

#[test]
fn what_is_written_by_the_url_of_one_environment_is_read_by_invoking_another() {
    run(|| {
        let emulator = Emulator::start("hand-over")?;
        // It lives on: when one environment is killed, this emulator answers no other one's call for events any more.
        let _first = emulator.environment("one")?;
        let woken = emulator.wake("one")?;
        let written = emulator.ask_url("one", "POST", "/v1/data/gcounter/visits", r#"{"increment":3}"#)?;
        ensure!(json_of(&written)?["value"] == json!(3), "{written:?}");

        let _second = emulator.environment("two")?;
        let other = emulator.wake("two")?;
        ensure!(other["replica"] != woken["replica"] && other["replica"].is_string(), "{woken} {other}");
        let read = Request { method: "GET".into(), path: "/v1/data/gcounter/visits".into(), ..Request::default() };
        let read = read_answer(&json_of(&emulator.invoke("two", &url_event(&read))?)?)?;
        ensure!(json_of(&read)?["value"] == json!(3), "{read:?}");
        let by = read.headers.iter().find(|(name, _)| name == "dayfly-replica").map(|(_, value)| json!(value));
        ensure!(by.as_ref() == Some(&other["replica"]), "{by:?} answered, and not {}", other["replica"]);
        Ok(())
    });
}

#[test]
fn a_packaged_function_and_a_native_replica_are_one_cluster() {
    run(|| {
        let emulator = Emulator::start("mixed")?;
        let node = Node::start(&emulator.cluster, "native", &[])?;
        node.await_ready()?;
        let _function = emulator.environment("one")?;
        emulator.wake("one")?;
        let written = emulator.ask_url("one", "POST", "/v1/data/orset/tags", r#"{"add":["lambda"]}"#)?;
        json_of(&written)?;
        let until = Instant::now() + PATIENCE;
        loop {
            let read = node.client()?.get("/v1/data/orset/tags")?;
            if read.status == 200 && json_of(&read)?["value"] == json!(["lambda"]) {
                break;
            }
            ensure!(Instant::now() < until, "the native replica does not have it: {read:?}");
            thread::sleep(POLL);
        }
        let root = emulator.wake("one")?["root"].clone();
        ensure!(root == json!(node.status()?.root), "{root} {}", node.status()?.root);
        Ok(())
    });
}

#[test]
fn an_unknown_event_is_told_what_is_accepted() {
    run(|| {
        let emulator = Emulator::start("unknown")?;
        let _function = emulator.environment("one")?;
        let answer = emulator.invoke("one", &json!({"weak": {"seconds": 30}}))?;
        let told = String::from_utf8_lossy(&answer.body).into_owned();
        ensure!(told.contains(r#"{\"wake\":{\"seconds\":30}}"#), "{answer:?}");
        Ok(())
    });
}
