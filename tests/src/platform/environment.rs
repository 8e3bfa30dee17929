//! An execution environment of a platform's function.

use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::Value;

use super::pid::Pid;
use super::{Refused, Settings};
use crate::function::{Function, Outcome};

/// AWS gives each environment a log stream of its own, and says so in this variable. By it the process is found.
const STREAM_VARIABLE: &str = "AWS_LAMBDA_LOG_STREAM_NAME";
/// How often it is looked whether an environment is frozen: what is billed is too much by half of it.
const FREEZE_POLL: Duration = Duration::from_millis(2);
/// How often it is looked whether one has ended without an answer.
const ANSWER_POLL: Duration = Duration::from_millis(50);
/// How long one may go on after its answer. More than an invocation may take: what is not frozen by then never is.
const FREEZE_PATIENCE: Duration = Duration::from_secs(150);

/// An environment.
pub struct Environment {
    number: u64,
    name: String,
    function: Arc<Function>,
    pid: Pid,
    born: Instant,
}

impl Environment {
    /// Starts the one of this number, and waits until it asks for an event; how long that took. Where the function is
    /// not packaged, the first start of all compiles the component, and that is in its time.
    ///
    /// # Errors
    /// It does not come to events.
    pub fn start(settings: &Settings, number: u64) -> Result<(Self, Duration)> {
        let name = format!("[$LATEST]{:x}-{:x}-{number}", std::process::id(), dayfly_engine::world::system_now_ms());
        let memory = settings.memory_mib.to_string();
        let mut variables = vec![
            (STREAM_VARIABLE, name.as_str()),
            ("AWS_LAMBDA_FUNCTION_NAME", &settings.function),
            ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", &memory),
        ];
        variables.extend(settings.variables.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        let born = Instant::now();
        let function = Arc::new(Function::start(&settings.cluster, &variables)?);
        let init = born.elapsed();
        let pid = Pid::of_variable(STREAM_VARIABLE, &name)?.context("its process is not found")?;
        Ok((Self { number, name, function, pid, born }, init))
    }

    /// Its number.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// The name of its log stream.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its process.
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// When it was started.
    pub fn born(&self) -> Instant {
        self.born
    }

    /// Whether its process has not ended.
    pub fn is_alive(&self) -> bool {
        self.pid.state().is_some_and(|state| state != 'Z' && state != 'X')
    }

    /// Hands it an event and waits for the answer, unless it is to be given up.
    ///
    /// # Errors
    /// There is no answer.
    pub fn answer(&self, event: Value, is_given_up: impl Fn() -> bool) -> Result<Outcome, Refused> {
        let died = |reason: &dyn std::fmt::Display| Refused::Died(reason.to_string());
        let id = self.function.begin(event).map_err(|error| died(&error))?;
        let (tell, told) = mpsc::channel();
        let (function, awaited) = (Arc::clone(&self.function), id.clone());
        // It waits for a minute, also for what has died.
        thread::spawn(move || tell.send(function.outcome(&awaited)));
        loop {
            match told.recv_timeout(ANSWER_POLL) {
                Ok(outcome) => return outcome.map_err(|error| died(&error)),
                Err(RecvTimeoutError::Disconnected) => return Err(died(&"nobody waits for it")),
                // The simulator's waiting now and then oversees an answer. It is there when asked for anew.
                Err(RecvTimeoutError::Timeout) if self.function.is_frozen() => {
                    return self.function.outcome(&id).map_err(|error| died(&error));
                }
                Err(RecvTimeoutError::Timeout) if is_given_up() => return Err(Refused::Closed),
                Err(RecvTimeoutError::Timeout) if !self.is_alive() => return Err(died(&"its process has ended")),
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }

    /// Waits until it is frozen; false: it has ended, or is to be given up, or goes on for too long.
    pub fn await_frozen(&self, is_given_up: impl Fn() -> bool) -> bool {
        let until = Instant::now() + FREEZE_PATIENCE;
        let mut looked = Instant::now();
        loop {
            // The simulator says so a moment before it does so.
            if self.function.is_frozen() && self.pid.state() == Some('T') {
                return true;
            }
            if looked.elapsed() > ANSWER_POLL {
                looked = Instant::now();
                if is_given_up() || !self.is_alive() || looked > until {
                    return false;
                }
            }
            thread::sleep(FREEZE_POLL);
        }
    }

    /// Kills it, as the platform does: without notice, frozen or not.
    pub fn kill(self) {
        match Arc::into_inner(self.function) {
            // Killing what has ended is no error; were its end not to be waited for, a process would be left and seen.
            Some(function) => drop(function.kill()),
            // Somebody still waits for an answer, and has the process be killed by dropping it; but not now.
            None => self.pid.kill(),
        }
    }
}
