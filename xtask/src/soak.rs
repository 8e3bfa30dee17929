//! The soak: a cluster of all three hosts under load and faults (tests/src/bin/soak.rs), with all that it needs.

use std::os::unix::process::CommandExt;
use std::process::Command;

use anyhow::{Context, Error, Result};

use crate::component::Component;
use crate::lambda::{Architecture, Packager};
use crate::rabbitmq::RabbitMq;
use crate::spin::Application;
use crate::toolchain::Toolchain;
use crate::workspace::Workspace;

/// The program, as cargo calls it.
const PROGRAM: &str = "soak";

/// How long, and what is drawn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// Minutes of load.
    pub minutes: u64,
    /// The seed, if not any.
    pub seed: Option<u64>,
    /// Whether to print JSON.
    pub json: bool,
}

impl Choice {
    fn arguments(&self) -> Vec<String> {
        let mut arguments = vec!["--minutes".to_owned(), self.minutes.to_string()];
        arguments.extend(self.seed.iter().flat_map(|seed| ["--seed".to_owned(), seed.to_string()]));
        arguments.extend(self.json.then(|| "--json".to_owned()));
        arguments
    }
}

/// Builds and packages everything, starts a RabbitMQ, and becomes the soak: the same process, so that Ctrl-C reaches it
/// and its exit code is ours. Returns only an error.
pub fn become_soak(workspace: &Workspace, toolchain: &Toolchain, component: &Component, choice: &Choice) -> Error {
    let prepared = prepare(workspace, toolchain, component);
    let error = prepared.map(|mut soak| soak.args(choice.arguments()).exec());
    error.and_then(|error| Err::<(), _>(error).context("cannot run the soak")).unwrap_err()
}

fn prepare(workspace: &Workspace, toolchain: &Toolchain, component: &Component) -> Result<Command> {
    let packager = Packager::find_or_install(workspace)?;
    // It builds all programs, the soak and the platform for Spin among them.
    let program = packager.build_compiler(component, Architecture::X86_64)?;
    let package = packager.package(&program, Architecture::X86_64)?;
    let applications = Application::package_all(workspace, toolchain, component)?;
    let mut soak = Command::new(workspace.target.join("release").join(PROGRAM));
    packager.announce_to(&package, &mut soak)?;
    applications[0].announce_to(&mut soak);
    let rabbitmq = RabbitMq::start_for_soak(workspace)?;
    rabbitmq.announce_to(&mut soak);
    rabbitmq.hand_over_to(&mut soak);
    Ok(soak)
}

#[cfg(test)]
mod tests {
    use super::Choice;

    #[test]
    fn what_is_chosen_is_handed_on() {
        let choice = Choice { minutes: 60, seed: None, json: false };
        assert_eq!(choice.arguments(), ["--minutes", "60"]);
        let all = Choice { seed: Some(7), json: true, ..choice };
        assert_eq!(all.arguments(), ["--minutes", "60", "--seed", "7", "--json"]);
    }
}
