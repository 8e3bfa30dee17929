//! Replicas on AWS Lambda. The simulator freezes each environment by itself when it is quiet, between any two steps. A kill
//! is a SIGKILL, as when the platform reclaims an environment. A second emulator plays the scenarios that need neither.

use anyhow::Result;
use dayfly_conformance::act::Act;
use dayfly_conformance::http::{Answer, Request};
use dayfly_conformance::scenario::Scenario;
use dayfly_conformance::stage::{Runner, Stage};
use dayfly_conformance::step::Step;
use serde_json::{Value, json};

use crate::function::Function;
use crate::node::fresh_cluster;
use crate::serverless::{self, Environment, Environments, FunctionStage};
use crate::told::Told;
use crate::watch::Watched;

/// Between two requests each is frozen: soon, since a scenario has many.
const LINGER: &str = "quiet:0.05";

/// An event that has a function be awake for a while.
pub fn wake_event(seconds: f64) -> Value {
    json!({"wake": {"seconds": seconds}})
}

/// The settings as variables of the function.
pub fn variables(settings: &[Told]) -> Vec<(String, String)> {
    let variable =
        |(name, value): &Told| (format!("DAYFLY_{}", name.to_ascii_uppercase().replace('-', "_")), value.clone());
    let linger = ("DAYFLY_LINGER".to_owned(), LINGER.to_owned());
    settings.iter().map(variable).chain([linger]).collect()
}

/// Each environment under a simulator of its own.
struct Simulated {
    cluster: String,
}

impl Environments for Simulated {
    fn start(&mut self, settings: &[Told]) -> Result<Box<dyn Environment>> {
        let variables = variables(settings);
        let variables: Vec<(&str, &str)> = variables.iter().map(|(name, value)| (&**name, &**value)).collect();
        Ok(Box::new(Function::start(&self.cluster, &variables)?))
    }
}

impl Environment for Function {
    fn ask(&self, request: &Request) -> Result<Answer> {
        Self::ask(self, request)
    }

    fn wake(&self, seconds: f64) -> Result<Value> {
        Self::wake(self, seconds)
    }

    fn begin_wake(&self, seconds: f64) -> Result<()> {
        self.begin(wake_event(seconds)).map(|_| ())
    }

    /// It is frozen once it has the whole database, and not before.
    fn await_filled(&self) -> Result<()> {
        self.await_frozen()
    }

    /// The platform does it by itself.
    fn freeze(&self) -> Result<()> {
        self.await_frozen()
    }

    /// The next event does it.
    fn thaw(&self) -> Result<()> {
        Ok(())
    }

    fn has_many_replicas(&self) -> bool {
        false
    }

    fn kill(self: Box<Self>) -> Result<()> {
        Self::kill(*self)
    }
}

/// Plays scenarios on functions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LambdaRunner {
    /// Under a simulator that stops processes between events, and may kill them.
    Simulator,
    /// Under `cargo lambda watch`.
    Watch,
}

impl Runner for LambdaRunner {
    fn name(&self) -> &'static str {
        match self {
            Self::Simulator => "lambda",
            Self::Watch => "lambda-watch",
        }
    }

    fn refuses(&self, scenario: &Scenario) -> Option<String> {
        let mut acts = scenario.steps.iter().filter_map(|line| match &line.step {
            Step::Act(act) => Some(&**act),
            Step::Ask(_) | Step::Settle(_) | Step::Members(_) | Step::Roots(_) | Step::Traffic(_) => None,
        });
        if *self == Self::Watch && acts.any(needs_a_platform) {
            return Some("this emulator freezes nothing, and bears no environment that ends".to_owned());
        }
        serverless::refuses(scenario)
    }

    fn seeds(&self, _scenario: &Scenario) -> u64 {
        1
    }

    fn open(&self, scenario: &Scenario, _seed: u64) -> Result<Box<dyn Stage>> {
        let cluster = fresh_cluster(&scenario.name);
        let environments: Box<dyn Environments> = match self {
            Self::Simulator => Box::new(Simulated { cluster }),
            Self::Watch => Box::new(Watched::start(&cluster)?),
        };
        Ok(Box::new(FunctionStage::new(scenario, environments)))
    }
}

/// Whether only a platform that stops and reclaims environments can do it.
fn needs_a_platform(act: &Act) -> bool {
    matches!(act, Act::Freeze(_) | Act::Thaw(_) | Act::Kill(_))
}
