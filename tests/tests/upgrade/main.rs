//! Rolling upgrades: replicas of an earlier component and of the present one in one cluster, driven by the engine over its bus.
//! Both are real components in wasmtime. `cargo xtask test` and `cargo xtask upgrade` build the earlier ones, from the commits
//! that `tests/upgrade.toml` or the command line names, and tell them by `DAYFLY_TEST_EARLIER`. One test a commit and story.

mod cluster;
mod earlier;
mod load;
mod stories;

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Result;
use libtest_mimic::{Arguments, Failed, Trial};

use crate::cluster::Side;
use crate::earlier::Earlier;

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // Replicas wait more than they work.
    arguments.test_threads.get_or_insert(4);
    let trials = match Earlier::told() {
        Ok(told) => told.into_iter().map(Arc::new).flat_map(|earlier| trials(&earlier)).collect(),
        // Not silence: a suite without these tests must not pass.
        Err(error) => {
            let text = format!("{error:#}");
            vec![Trial::test("earlier_components_are_told", move || Err(Failed::from(text)))]
        }
    };
    libtest_mimic::run(&arguments, trials).exit_code()
}

/// All stories with one earlier component.
fn trials(earlier: &Arc<Earlier>) -> Vec<Trial> {
    use Side::{Earlier as Before, Present as Now};
    let trial = |name: &str, story: fn(&Earlier) -> Result<()>| {
        let name = format!("{}::{name}", earlier.short_name());
        let earlier = Arc::clone(earlier);
        Trial::test(name, move || story(&earlier).map_err(|error| Failed::from(format!("{error:#}"))))
    };
    vec![
        trial("is_the_component_that_its_pin_says", stories::is_pinned),
        trial("present_is_filled_by_earlier", |earlier| stories::newcomers(earlier, Before)),
        trial("earlier_is_filled_by_present", |earlier| stories::newcomers(earlier, Now)),
        trial("losses_are_repaired_both_ways", stories::losses),
        trial("frozen_replicas_catch_up", stories::freezes),
        trial("combiners_of_both_take_turns", stories::combiners),
        trial("checkpoints_go_to_present_and_back", |earlier| stories::checkpoints(earlier, Before)),
        trial("checkpoints_go_to_earlier_and_back", |earlier| stories::checkpoints(earlier, Now)),
        trial("present_reads_the_log_of_earlier", |earlier| stories::log(earlier, Before)),
        trial("earlier_reads_the_log_of_present", |earlier| stories::log(earlier, Now)),
        trial("upgrade_one_by_one", |earlier| stories::rolling(earlier, Before, stories::DIRECT)),
        trial("upgrade_one_by_one_combined", |earlier| stories::rolling(earlier, Before, stories::COMBINED)),
        trial("roll_back_one_by_one", |earlier| stories::rolling(earlier, Now, stories::DIRECT)),
        trial("roll_back_one_by_one_combined", |earlier| stories::rolling(earlier, Now, stories::COMBINED)),
    ]
}
