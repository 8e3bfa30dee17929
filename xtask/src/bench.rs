//! The benchmarks: those of operations, the one that needs a broker, and the one that needs the zip for Lambda as well.

use anyhow::Result;

use crate::command;
use crate::component::Component;
use crate::lambda::{Architecture, Packager};
use crate::program::cargo_on_hosts;
use crate::rabbitmq::RabbitMq;
use crate::spin::Application;
use crate::toolchain::Toolchain;
use crate::workspace::Workspace;

/// The bench that needs a broker. The names of its cases begin with its own.
const OVER_BROKER: &str = "dissemination";
/// The bench of the packaged function, which needs a broker and the zip. The names of its cases begin with its own.
/// Making the zip and counting takes a quarter of an hour, so it is run only where it is asked for.
const LAMBDA: &str = "lambda";
/// The bench of the application for Spin, which needs a broker and that. As with the one before.
const SPIN: &str = "spin";
/// The other one.
const OPERATIONS: &str = "operations";
/// All of them.
const BENCHES: [&str; 4] = [OPERATIONS, OVER_BROKER, LAMBDA, SPIN];
/// Tells the bench of the function where the zip is.
const ZIP_VARIABLE: &str = "DAYFLY_BENCH_ZIP";

/// Which to run, and how.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Choice {
    /// Only those whose names contain this.
    pub filter: Option<String>,
    /// Measure less.
    pub quick: bool,
    /// Print JSON, which those that need a broker can.
    pub json: bool,
}

impl Choice {
    /// Whether a bench has anything to do.
    fn takes(&self, bench: &str) -> bool {
        if self.json && bench == OPERATIONS {
            return false;
        }
        let Some(filter) = &self.filter else { return bench != LAMBDA && bench != SPIN };
        let named = [OVER_BROKER, LAMBDA, SPIN].into_iter().find(|name| filter.starts_with(name));
        bench == named.unwrap_or(OPERATIONS)
    }

    fn arguments(&self) -> impl Iterator<Item = &str> {
        let flags = [("--quick", self.quick), ("--json", self.json)];
        let flags = flags.into_iter().filter(|(_, is_given)| *is_given).map(|(flag, _)| flag);
        flags.chain(self.filter.as_deref())
    }
}

/// Runs them.
///
/// # Errors
/// One failed, or there is no RabbitMQ or no zip for the one that needs it.
pub fn run(workspace: &Workspace, toolchain: &Toolchain, component: &Component, choice: &Choice) -> Result<()> {
    for bench in BENCHES.into_iter().filter(|bench| choice.takes(bench)) {
        let mut cargo = cargo_on_hosts(workspace, component, "bench");
        cargo.args(["--bench", bench, "--"]).args(choice.arguments());
        if bench == LAMBDA {
            let packager = Packager::find_or_install(workspace)?;
            let program = packager.build_compiler(component, Architecture::X86_64)?;
            let package = packager.package(&program, Architecture::X86_64)?;
            packager.announce_to(&package, &mut cargo)?;
            cargo.env(ZIP_VARIABLE, &package.zip);
        }
        if bench == SPIN {
            // The platform is a program beside the bench.
            command::run(cargo_on_hosts(workspace, component, "build").args(["--release", "--bin", "spin-platform"]))?;
            Application::package_all(workspace, toolchain, component)?[0].announce_to(&mut cargo);
        }
        // It is ended when it is dropped, also if the bench fails.
        let _rabbitmq = match bench != OPERATIONS {
            true => {
                let rabbitmq = RabbitMq::start_for_benches(workspace)?;
                rabbitmq.announce_to(&mut cargo);
                Some(rabbitmq)
            }
            false => None,
        };
        command::run(&mut cargo)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{BENCHES, Choice, LAMBDA, OPERATIONS, OVER_BROKER, SPIN};

    fn taken(choice: &Choice) -> Vec<&'static str> {
        BENCHES.into_iter().filter(|bench| choice.takes(bench)).collect()
    }

    #[test]
    fn a_filter_says_whether_a_broker_is_needed() {
        let of = |filter: &str| Choice { filter: Some(filter.to_owned()), ..Choice::default() };
        assert_eq!(taken(&Choice::default()), [OPERATIONS, OVER_BROKER]);
        assert_eq!(taken(&of("dissemination")), [OVER_BROKER]);
        assert_eq!(taken(&of("dissemination/direct/8")), [OVER_BROKER]);
        assert_eq!(taken(&of("add/component")), [OPERATIONS]);
        assert_eq!(taken(&of("lambda/hour/quiet")), [LAMBDA]);
        assert_eq!(taken(&of("spin/cold")), [SPIN]);
    }

    #[test]
    fn json_is_printed_alone() {
        let choice = Choice { json: true, quick: true, filter: None };
        assert_eq!(taken(&choice), [OVER_BROKER]);
        assert_eq!(choice.arguments().collect::<Vec<_>>(), ["--quick", "--json"]);
        assert_eq!(taken(&Choice { filter: Some("lambda".to_owned()), ..choice }), [LAMBDA]);
    }
}
