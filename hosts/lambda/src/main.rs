//! The program `bootstrap`: a replica as an AWS Lambda function. Lambda starts it in an execution environment, hands it
//! events, and freezes it whenever both it and its extension wait for the next.
//!
//! Before the first event it only reads the environment and maps the compiled component: Lambda may copy what is there
//! by then, so there is no identity, no randomness and no connection yet.

mod answer;
mod delivered;
mod environment;
mod event;
mod host;
mod life;
mod logging;
mod platform;

use std::env;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use dayfly_engine::{Limits, Runtime};
use lambda_runtime::service_fn;
use tracing::{debug, error, warn};

use crate::delivered::Delivered;
use crate::environment::{Environment, Logging};
use crate::host::Host;
use crate::life::Life;
use crate::platform::Platform;

/// Where Lambda's APIs are.
const API_VARIABLE: &str = "AWS_LAMBDA_RUNTIME_API";
/// What else Lambda says, and its runtime cannot do without.
const LAMBDA_VARIABLES: [&str; 3] =
    ["AWS_LAMBDA_FUNCTION_NAME", "AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "AWS_LAMBDA_FUNCTION_VERSION"];
/// One that is present, and one in place of one that was lost and may not be gone yet.
const INSTANCES: u32 = 2;
/// One calls the component while the other speaks to the broker and to Lambda.
const WORKERS: usize = 2;

/// Why the function cannot take events.
struct Unfit {
    kind: &'static str,
    reason: String,
}

fn main() -> ExitCode {
    let began = Instant::now();
    let Some(address) = variable(API_VARIABLE) else {
        eprintln!(
            "bootstrap: {API_VARIABLE} is missing. This is Dayfly's program for AWS Lambda, which Lambda starts as the \
             `bootstrap` of a function with the runtime provided.al2023. On this machine it runs under an emulator, \
             such as `cargo lambda watch`. It takes its settings from DAYFLY_BROKER, DAYFLY_CLUSTER and others"
        );
        return ExitCode::from(2);
    };
    let tokio = tokio::runtime::Builder::new_multi_thread().worker_threads(WORKERS).enable_all().build();
    let outcome = match tokio {
        Ok(tokio) => tokio.block_on(run(&address, began)),
        Err(error) => Err(format!("no threads: {error}")),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            eprintln!("bootstrap: {reason}");
            ExitCode::FAILURE
        }
    }
}

async fn run(address: &str, began: Instant) -> Result<(), String> {
    let platform = Platform::new(address).map_err(|error| format!("{API_VARIABLE}: {error}"))?;
    let host = match prepare() {
        Ok(host) => Arc::new(host),
        Err(Unfit { kind, reason }) => {
            if let Err(error) = platform.report_init_error(kind, &reason).await {
                error!("{error}");
            }
            return Err(reason);
        }
    };
    match platform.register().await {
        Ok(extension) => {
            host.will_linger();
            let host = Arc::clone(&host);
            tokio::spawn(async move { host.linger(&extension).await });
        }
        // Some emulators have none.
        Err(error) => warn!("no extension, so replicas are frozen before the answer: {error}"),
    }
    debug!(ms = began.elapsed().as_secs_f64() * 1_000.0, "ready for events");
    let delivered = Delivered { host: Arc::clone(&host) };
    let answer = move |event| {
        let host = Arc::clone(&host);
        async move { host.answer(event).await }
    };
    let runtime = lambda_runtime::Runtime::new(service_fn(answer)).layer(delivered);
    runtime.run().await.map_err(|error| error.to_string())
}

/// Reads the environment and maps the component.
fn prepare() -> Result<Host, Unfit> {
    let bad = |reason: String| Unfit { kind: "Dayfly.Environment", reason };
    let logging = Logging::read(variable);
    logging::start(logging.as_ref().unwrap_or(&Logging::default()));
    logging.map_err(|error| bad(error.to_string()))?;
    if let Some(name) = LAMBDA_VARIABLES.iter().find(|name| variable(name).is_none()) {
        return Err(bad(format!("{name} is missing: Lambda and its emulators set it")));
    }
    let environment = Environment::read(variable).map_err(|error| bad(error.to_string()))?;
    // What wit/lifecycle.wit asks for: three times the store.
    let memory_bytes = 3 * environment.config.store_bytes;
    let limits = Limits { instances: INSTANCES, memory_bytes, ..Limits::default() };
    let given_mib = variable("AWS_LAMBDA_FUNCTION_MEMORY_SIZE").and_then(|mib| mib.parse::<u64>().ok());
    if let Some(given_mib) = given_mib.filter(|mib| *mib < memory_bytes >> 20) {
        warn!(
            "the function has {given_mib} MiB, and a full store may take {} MiB: give it more, or a smaller \
             DAYFLY_STORE_MIB",
            memory_bytes >> 20
        );
    }
    let folder = component_folder(&environment).map_err(|reason| Unfit { kind: "Dayfly.Component", reason })?;
    // SAFETY: the package was made by `Runtime::precompile` and is not written to: Lambda mounts it for reading.
    let runtime = unsafe { Runtime::map(&folder, limits) };
    let runtime = runtime.map_err(|error| Unfit { kind: "Dayfly.Component", reason: error.to_string() })?;
    let linger = environment.linger;
    let life = Life::new(runtime, environment).map_err(|error| bad(format!("DAYFLY_BROKER: {error}")))?;
    Ok(Host::new(life, linger))
}

/// Where the compiled component is.
fn component_folder(environment: &Environment) -> Result<PathBuf, String> {
    if let Some(folder) = &environment.component_dir {
        return Ok(folder.clone());
    }
    let program = env::current_exe().map_err(|error| format!("where this program is cannot be told: {error}"))?;
    Ok(program.parent().map(PathBuf::from).unwrap_or_default())
}

/// A variable that is set to something.
fn variable(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}
