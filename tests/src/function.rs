//! A function in an execution environment of its own: the program `bootstrap` under a simulator of Lambda's platform,
//! which stops it (SIGSTOP) whenever it and its extension wait for the next event.

use std::env;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use dayfly_conformance::http::{Answer, Request};
use dayfly_engine::{Limits, Runtime, Target};
use lambda_simulator::process::{ManagedProcess, ProcessConfig, ProcessRole};
use lambda_simulator::{FreezeMode, InvocationStatus, Simulator};
use serde_json::{Map, Value, json};
use tokio::runtime::Runtime as Tokio;

use crate::component::component_file;
use crate::node::broker_url;
use crate::status::Status;

/// How long an invocation may take, its lingering included; Lambda permits 15 minutes.
const INVOCATION: Duration = Duration::from_secs(120);
/// How long an answer, a freeze or the end of the initialisation is waited for.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often it is looked whether it has come to events.
const POLL: Duration = Duration::from_millis(2);

/// What runs the simulators.
pub fn tokio() -> &'static Tokio {
    static TOKIO: OnceLock<Tokio> = OnceLock::new();
    TOKIO.get_or_init(|| {
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("threads can be had")
    })
}

/// The program: where `DAYFLY_BOOTSTRAP` says, else beside the folder in which cargo put this test.
pub fn bootstrap_file() -> Result<PathBuf> {
    if let Some(told) = env::var_os("DAYFLY_BOOTSTRAP") {
        return Ok(told.into());
    }
    let own = env::current_exe()?;
    let mut folders = own.ancestors().skip(1).take(2);
    let file = folders.find_map(|folder| Some(folder.join("bootstrap")).filter(|file| file.is_file()));
    file.context(
        "no program `bootstrap` beside this test: build it with `cargo xtask test`, or name it in DAYFLY_BOOTSTRAP",
    )
}

/// A folder with the compiled component, made once a process. The one beside `DAYFLY_BOOTSTRAP` is used if there is
/// one: that is how a package is.
fn component_folder(bootstrap: &Path) -> Result<PathBuf> {
    static FOLDER: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let packaged = bootstrap.parent().filter(|folder| folder.join("replica.cwasm").is_file());
    if let Some(folder) = packaged {
        return Ok(folder.to_owned());
    }
    let make = || -> Result<PathBuf> {
        let bytes = std::fs::read(component_file())?;
        let artefact = Runtime::precompile(&bytes, Limits { instances: 2, ..Limits::default() }, Target::Host)?;
        // Tests of another component may run at the same time; those of the same write the same.
        let own = env::current_exe()?;
        let beside = own.parent().context("a test is in a folder")?;
        let folder = beside.join(format!("lambda-component-{}", &artefact.component_hash[..16]));
        std::fs::create_dir_all(&folder)?;
        artefact.write(&folder)?;
        Ok(folder)
    };
    FOLDER.get_or_init(|| make().map_err(|error| format!("{error:#}"))).clone().map_err(|error| anyhow!(error))
}

/// How an invocation ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// With this answer.
    Answer(Value),
    /// With an error of this type, and what it says.
    Error(String, String),
}

impl Outcome {
    /// What it was answered with.
    ///
    /// # Errors
    /// It ended with an error.
    pub fn answer(self) -> Result<Value> {
        match self {
            Self::Answer(answer) => Ok(answer),
            Self::Error(kind, message) => bail!("{kind}: {message}"),
        }
    }
}

/// A function. Dropping it kills its process.
pub struct Function {
    simulator: Simulator,
    process: ManagedProcess,
    /// Whether there has been an event: from then on it is frozen between events.
    was_invoked: AtomicBool,
}

impl Function {
    /// Starts one of this cluster at the tests' broker, with further variables, and waits until it asks for an event.
    pub fn start(cluster: &str, variables: &[(&str, &str)]) -> Result<Self> {
        let broker = broker_url()?;
        let usual = [("DAYFLY_BROKER", broker.as_str()), ("DAYFLY_CLUSTER", cluster), ("DAYFLY_LOG_LEVEL", "error")];
        let mut function = Self::spawn(&[&usual[..], variables].concat(), INVOCATION)?;
        let until = Instant::now() + PATIENCE;
        while !tokio().block_on(function.simulator.is_initialized()) {
            if let Some(ended) = function.process.try_wait()? {
                bail!("it has ended before it asked for an event: {ended}");
            }
            ensure!(Instant::now() < until, "it does not ask for an event");
            thread::sleep(POLL);
        }
        Ok(function)
    }

    /// Starts one with these variables alone, and this time limit; whether it comes to events is left open.
    pub fn spawn(variables: &[(&str, &str)], invocation: Duration) -> Result<Self> {
        let bootstrap = bootstrap_file()?;
        let folder = component_folder(&bootstrap)?;
        let simulator = tokio().block_on(
            Simulator::builder()
                .function_name("dayfly")
                .region("eu-north-1")
                .memory_size_mb(256)
                .freeze_mode(FreezeMode::Process)
                .invocation_timeout(invocation)
                // Or it would be frozen before it says that it has lingered.
                .extension_ready_timeout(invocation)
                .build(),
        )?;
        let mut config = ProcessConfig::new(bootstrap, ProcessRole::Runtime);
        config = config.env("DAYFLY_COMPONENT_DIR", folder.to_string_lossy());
        for (name, value) in variables {
            config = config.env(*name, *value);
        }
        let process = simulator.spawn_process_with_config(config)?;
        Ok(Self { simulator, process, was_invoked: AtomicBool::new(false) })
    }

    /// Invokes it with this event, and waits for the answer, not for what follows it.
    pub fn invoke(&self, event: Value) -> Result<Outcome> {
        let id = self.begin(event)?;
        self.outcome(&id)
    }

    /// Invokes it, once the platform has stopped it after the former event, and does not wait for the answer. Gives the
    /// invocation's id.
    pub fn begin(&self, event: Value) -> Result<String> {
        if self.was_invoked.swap(true, Ordering::SeqCst) {
            self.await_frozen()?;
        }
        Ok(tokio().block_on(self.simulator.enqueue_payload(event)))
    }

    /// Asks it while it lingers after the former event, which only emulators do: Lambda asks another environment.
    pub fn ask_meanwhile(&self, request: &Request) -> Result<Answer> {
        // An event that comes while the simulator notes the former answer is taken for one that came before it, and
        // then the process is stopped in the midst of it.
        thread::sleep(Duration::from_secs(1));
        let id = tokio().block_on(self.simulator.enqueue_payload(url_event(request)));
        read_answer(&self.outcome(&id)?.answer()?)
    }

    /// Waits for the answer to this invocation.
    pub fn outcome(&self, id: &str) -> Result<Outcome> {
        let state = tokio().block_on(self.simulator.wait_for_invocation_complete(id, PATIENCE))?;
        match (state.status, state.response, state.error) {
            (InvocationStatus::Success, Some(response), _) => Ok(Outcome::Answer(response.payload)),
            (InvocationStatus::Error, _, Some(error)) => Ok(Outcome::Error(error.error_type, error.error_message)),
            (status, _, _) => bail!("the invocation ended as {status:?}"),
        }
    }

    /// Asks it as a function URL does.
    pub fn ask(&self, request: &Request) -> Result<Answer> {
        read_answer(&self.invoke(url_event(request))?.answer()?)
    }

    /// Reads a path.
    pub fn get(&self, path: &str) -> Result<Answer> {
        self.ask(&Request { method: "GET".into(), path: path.into(), ..Request::default() })
    }

    /// Sends an operation to a path.
    pub fn post(&self, path: &str, operation: &Value) -> Result<Answer> {
        let headers = vec![("content-type".into(), "application/json".into())];
        let body = operation.to_string().into_bytes();
        self.ask(&Request { method: "POST".into(), path: path.into(), headers, body, ..Request::default() })
    }

    /// Has it be awake for so many seconds; gives what it answers.
    pub fn wake(&self, seconds: f64) -> Result<Value> {
        self.invoke(json!({"wake": {"seconds": seconds}}))?.answer()
    }

    /// Its status.
    pub fn status(&self) -> Result<Status> {
        let answer = self.get("/v1/status")?;
        ensure!(answer.status == 200, "{answer:?}");
        serde_json::from_slice(&answer.body).context("the status is not as wit/http-api.md has it")
    }

    /// Whether the platform has stopped it.
    pub fn is_frozen(&self) -> bool {
        self.simulator.is_frozen()
    }

    /// Waits until the platform has stopped it.
    pub fn await_frozen(&self) -> Result<()> {
        // The simulator says so a moment before it does so.
        let until = Instant::now() + INVOCATION;
        while !(self.is_frozen() && self.is_stopped()?) {
            ensure!(!self.has_ended()?, "it has ended");
            ensure!(Instant::now() < until, "it is not frozen");
            thread::sleep(POLL);
        }
        Ok(())
    }

    /// Whether the system runs none of it.
    fn is_stopped(&self) -> Result<bool> {
        Ok(self.state()? == 'T')
    }

    /// Whether nothing is left of it but its number.
    fn has_ended(&self) -> Result<bool> {
        Ok(matches!(self.state()?, 'Z' | 'X'))
    }

    fn state(&self) -> Result<char> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.process.pid()))?;
        // What stands in parentheses is the program's name.
        let (_, rest) = stat.rsplit_once(')').context("no name")?;
        rest.trim_start().chars().next().context("no state")
    }

    /// Why it has not come to events, once it says so.
    pub fn init_error(&self) -> Result<String> {
        tokio().block_on(async {
            let told = || async { self.simulator.get_init_error().await.is_some() };
            self.simulator.wait_for(told, PATIENCE).await.context("it reports no error")?;
            self.simulator.get_init_error().await.context("it was told a moment ago")
        })
    }

    /// The exit code of its process, once that has ended by itself.
    pub fn exit_code(&mut self) -> Result<Option<i32>> {
        Ok(self.process.wait()?.code())
    }

    /// Reclaims it, as the platform does: without notice, frozen or not.
    pub fn kill(mut self) -> Result<()> {
        self.process.kill()?;
        self.process.wait()?;
        tokio().block_on(self.simulator.shutdown());
        Ok(())
    }
}

/// A request as a function URL hands it on.
pub fn url_event(request: &Request) -> Value {
    // Of several headers of one name it makes a list.
    let mut headers: Map<String, Value> = Map::new();
    for (name, value) in &request.headers {
        let name = name.to_ascii_lowercase();
        let value = match headers.get(&name) {
            Some(former) => format!("{},{value}", former.as_str().unwrap_or_default()),
            None => value.clone(),
        };
        headers.insert(name, value.into());
    }
    let http = json!({"method": request.method, "path": request.path, "protocol": "HTTP/1.1"});
    json!({
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": request.path,
        "rawQueryString": request.query,
        "headers": headers,
        "requestContext": {"stage": "$default", "domainName": "id.lambda-url.eu-north-1.on.aws", "http": http},
        "body": STANDARD.encode(&request.body),
        "isBase64Encoded": true,
    })
}

/// The answer that a function URL makes of the function's.
pub fn read_answer(answer: &Value) -> Result<Answer> {
    let status = answer["statusCode"].as_u64().with_context(|| format!("no status: {answer}"))?;
    let headers = answer["headers"].as_object().context("no headers")?;
    let text = |value: &Value| value.as_str().map(str::to_owned).context("a header that is no text");
    let headers = headers.iter().map(|(name, value)| Ok((name.clone(), text(value)?))).collect::<Result<_>>()?;
    let body = answer["body"].as_str().context("no body")?;
    let body = match answer["isBase64Encoded"].as_bool() {
        Some(true) => STANDARD.decode(body)?,
        _ => body.as_bytes().to_vec(),
    };
    Ok(Answer { status: u16::try_from(status)?, headers, body })
}
