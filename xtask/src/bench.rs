//! The benchmarks: those of operations, and the one that needs a broker.

use anyhow::Result;

use crate::command;
use crate::component::Component;
use crate::program::cargo_on_hosts;
use crate::rabbitmq::RabbitMq;
use crate::workspace::Workspace;

/// The bench that needs a broker. The names of its cases begin with its own.
const OVER_BROKER: &str = "dissemination";
/// The other one.
const OPERATIONS: &str = "operations";

/// Which to run, and how.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Choice {
    /// Only those whose names contain this.
    pub filter: Option<String>,
    /// Measure less.
    pub quick: bool,
    /// Print JSON, which only one of them can.
    pub json: bool,
}

impl Choice {
    /// Whether a bench has anything to do.
    fn takes(&self, bench: &str) -> bool {
        let over_broker = bench == OVER_BROKER;
        if self.json && !over_broker {
            return false;
        }
        self.filter.as_ref().is_none_or(|filter| filter.starts_with(OVER_BROKER) == over_broker)
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
/// One failed, or there is no RabbitMQ for the one that needs it.
pub fn run(workspace: &Workspace, component: &Component, choice: &Choice) -> Result<()> {
    for bench in [OPERATIONS, OVER_BROKER].into_iter().filter(|bench| choice.takes(bench)) {
        let mut cargo = cargo_on_hosts(workspace, component, "bench");
        cargo.args(["--bench", bench, "--"]).args(choice.arguments());
        // It is ended when it is dropped, also if the bench fails.
        let _rabbitmq = match bench == OVER_BROKER {
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
    use super::{Choice, OPERATIONS, OVER_BROKER};

    fn taken(choice: &Choice) -> Vec<&'static str> {
        [OPERATIONS, OVER_BROKER].into_iter().filter(|bench| choice.takes(bench)).collect()
    }

    #[test]
    fn a_filter_says_whether_a_broker_is_needed() {
        let of = |filter: &str| Choice { filter: Some(filter.to_owned()), ..Choice::default() };
        assert_eq!(taken(&Choice::default()), [OPERATIONS, OVER_BROKER]);
        assert_eq!(taken(&of("dissemination")), [OVER_BROKER]);
        assert_eq!(taken(&of("dissemination/direct/8")), [OVER_BROKER]);
        assert_eq!(taken(&of("add/component")), [OPERATIONS]);
    }

    #[test]
    fn json_is_printed_alone() {
        let choice = Choice { json: true, quick: true, filter: None };
        assert_eq!(taken(&choice), [OVER_BROKER]);
        assert_eq!(choice.arguments().collect::<Vec<_>>(), ["--quick", "--json"]);
    }
}
