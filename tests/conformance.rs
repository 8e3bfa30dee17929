//! The conformance suite: one test a scenario and runner, named `runner::scenario`. What a runner cannot play is listed
//! as ignored, with the reason. A known difference (`known-differences.toml`) is run, and must fail as it is known to.

use std::env;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Result, anyhow};
use dayfly_conformance::player::play;
use dayfly_conformance::scenario::{Scenario, read_folder};
use dayfly_conformance::stage::Runner;
use dayfly_tests::application::Platform;
use dayfly_tests::difference::{Difference, read_differences};
use dayfly_tests::lambda::LambdaRunner;
use dayfly_tests::matrix::{self, Matrix, Outcome};
use dayfly_tests::native::NativeRunner;
use dayfly_tests::node::NodeRunner;
use dayfly_tests::program::ProgramRunner;
use dayfly_tests::spin::SpinRunner;
use dayfly_tests::stepped::SteppedRunner;
use libtest_mimic::{Arguments, Completion, Failed, Trial};

fn main() -> Result<()> {
    let mut arguments = Arguments::from_args();
    // Driven replicas wait more than they work.
    arguments.test_threads.get_or_insert(8);
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let scenarios = read_folder(&folder.join("scenarios"))?;
    let program = Arc::new(ProgramRunner::new());
    let runners: Vec<Arc<dyn Runner>> = vec![
        Arc::new(SteppedRunner::core()),
        Arc::new(SteppedRunner::component()),
        Arc::new(NativeRunner),
        program.clone(),
        Arc::new(NodeRunner),
        Arc::new(LambdaRunner::Simulator),
        Arc::new(LambdaRunner::Watch),
        Arc::new(SpinRunner(Platform::Ours)),
        Arc::new(SpinRunner(Platform::Real)),
    ];
    let runner_names: Vec<&str> = runners.iter().map(|runner| runner.name()).collect();
    let scenario_names: Vec<&str> = scenarios.iter().map(|scenario| scenario.name.as_str()).collect();
    let differences = read_differences(&folder.join("known-differences.toml"), &runner_names, &scenario_names)?;
    let matrix = Arc::new(Matrix::new(scenarios.len(), runners.len()));
    let mut trials = Vec::new();
    for (runner_at, runner) in runners.iter().enumerate() {
        for (scenario_at, scenario) in scenarios.iter().enumerate() {
            let is_here = |known: &&Difference| known.runner == runner.name() && known.scenario == scenario.name;
            let known = differences.iter().find(is_here).cloned();
            let (runner, scenario, matrix) = (runner.clone(), scenario.clone(), matrix.clone());
            let name = format!("{}::{}", runner.name(), scenario.name);
            trials.push(Trial::ignorable_test(name, move || {
                // Should it panic.
                matrix.note(scenario_at, runner_at, Outcome::Failed);
                let outcome = run(&*runner, &scenario, known.as_ref())?;
                matrix.note(scenario_at, runner_at, outcome.clone());
                match outcome {
                    Outcome::Refused(reason) => Ok(Completion::ignored_with(reason)),
                    Outcome::Passed | Outcome::Known(_) | Outcome::Failed | Outcome::NotRun => {
                        Ok(Completion::Completed)
                    }
                }
            }));
        }
    }
    let conclusion = libtest_mimic::run(&arguments, trials);
    // What ends the process below would leave them running.
    program.end_all();
    if let Some(file) = env::var_os(matrix::VARIABLE) {
        matrix.write(Path::new(&file), &scenario_names, &runner_names)?;
    }
    conclusion.exit()
}

/// Plays a scenario, if the runner can. A failure is an error, but for one that is known.
fn run(runner: &dyn Runner, scenario: &Scenario, known: Option<&Difference>) -> Result<Outcome, Failed> {
    let told = |error: anyhow::Error| Failed::from(format!("{error:#}"));
    match (runner.refuses(scenario), known) {
        (Some(reason), Some(_)) if runner.absence().is_none() => {
            Err(told(anyhow!("tests/known-differences.toml has it, but this runner does not play it: {reason}")))
        }
        (Some(reason), _) => Ok(Outcome::Refused(reason)),
        (None, Some(known)) => {
            known.judge(play(runner, scenario)).map_err(told)?;
            Ok(Outcome::Known(known.reason.clone()))
        }
        (None, None) => {
            play(runner, scenario).map_err(told)?;
            Ok(Outcome::Passed)
        }
    }
}
