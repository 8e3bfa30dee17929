//! Replicas on Fermyon Spin: each of a scenario is an application of its own, with its own key-value store, in a process of
//! the platform. The instances in it come and go, and each is another replica; while things settle one is kept awake by a
//! linger request. A freeze is a SIGSTOP of the process, a kill a SIGKILL, and what was stored is not used again.

use anyhow::Result;
use dayfly_conformance::act::Act;
use dayfly_conformance::http::{Answer, Request};
use dayfly_conformance::scenario::Scenario;
use dayfly_conformance::stage::{Runner, Stage};
use dayfly_conformance::step::Step;
use serde_json::Value;

use crate::application::{Application, Platform, StateFolder};
use crate::node::fresh_cluster;
use crate::serverless::{self, Environment, Environments, FunctionStage};
use crate::told::Told;

/// Plays scenarios on applications.
#[derive(Clone, Copy, Debug)]
pub struct SpinRunner(pub Platform);

impl Runner for SpinRunner {
    fn name(&self) -> &'static str {
        match self.0 {
            Platform::Ours => "spin",
            Platform::Real => "spin-real",
        }
    }

    fn absence(&self) -> Option<String> {
        self.0.absence().map(str::to_owned)
    }

    fn refuses(&self, scenario: &Scenario) -> Option<String> {
        if let Some(absence) = self.absence() {
            return Some(absence);
        }
        if scenario.steps.iter().any(|line| line.text.contains("/dropped/")) {
            return Some("the instance that tells its counts need not be the one that counted".to_owned());
        }
        if scenario.steps.iter().any(|line| matches!(&line.step, Step::Act(act) if is_announced_freeze(act))) {
            return Some("Spin freezes nothing: a process that is stopped by a signal announces nothing".to_owned());
        }
        serverless::refuses(scenario)
    }

    fn seeds(&self, _scenario: &Scenario) -> u64 {
        1
    }

    fn open(&self, scenario: &Scenario, _seed: u64) -> Result<Box<dyn Stage>> {
        let applications = Applications { platform: self.0, cluster: fresh_cluster(&scenario.name) };
        Ok(Box::new(FunctionStage::new(scenario, Box::new(applications))))
    }
}

fn is_announced_freeze(act: &Act) -> bool {
    matches!(act, Act::Freeze(freeze) if !freeze.abruptly)
}

/// Starts applications of one cluster.
struct Applications {
    platform: Platform,
    cluster: String,
}

impl Environments for Applications {
    fn start(&mut self, settings: &[Told]) -> Result<Box<dyn Environment>> {
        let variables: Vec<(String, &str)> =
            settings.iter().map(|(name, value)| (name.replace('-', "_"), value.as_str())).collect();
        let variables: Vec<(&str, &str)> = variables.iter().map(|(name, value)| (name.as_str(), *value)).collect();
        let state = StateFolder::new()?;
        let application = Application::start(self.platform, &self.cluster, &state, &variables)?;
        Ok(Box::new(Deployed { application, _state: state }))
    }
}

/// An application with its key-value store.
struct Deployed {
    application: Application,
    /// Goes after it.
    _state: StateFolder,
}

impl Environment for Deployed {
    fn ask(&self, request: &Request) -> Result<Answer> {
        self.application.ask(request)
    }

    fn wake(&self, seconds: f64) -> Result<Value> {
        Ok(self.application.linger(seconds.ceil() as u64)?.pop().unwrap_or_default())
    }

    fn begin_wake(&self, seconds: f64) -> Result<()> {
        self.application.begin_linger(seconds.ceil() as u64)
    }

    fn await_filled(&self) -> Result<()> {
        self.application.await_filled()
    }

    fn freeze(&self) -> Result<()> {
        self.application.freeze()
    }

    fn thaw(&self) -> Result<()> {
        self.application.thaw()
    }

    fn has_many_replicas(&self) -> bool {
        true
    }

    fn kill(self: Box<Self>) -> Result<()> {
        self.application.kill()
    }
}
