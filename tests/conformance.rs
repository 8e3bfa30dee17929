//! The conformance suite: one test a scenario and runner, named `runner::scenario`. What a runner cannot play is listed
//! as ignored, with the reason.

use std::path::Path;
use std::sync::Arc;

use anyhow::Result;
use dayfly_conformance::player::play;
use dayfly_conformance::scenario::read_folder;
use dayfly_conformance::stage::Runner;
use dayfly_tests::application::Platform;
use dayfly_tests::lambda::LambdaRunner;
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
    let scenarios = read_folder(&Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios"))?;
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
    let mut trials = Vec::new();
    for runner in &runners {
        for scenario in scenarios.clone() {
            let runner = runner.clone();
            let name = format!("{}::{}", runner.name(), scenario.name);
            let refused = runner.refuses(&scenario);
            let run = move || match refused {
                Some(reason) => Ok(Completion::ignored_with(reason)),
                None => match play(&*runner, &scenario) {
                    Ok(()) => Ok(Completion::Completed),
                    Err(error) => Err(Failed::from(format!("{error:#}"))),
                },
            };
            trials.push(Trial::ignorable_test(name, run));
        }
    }
    let conclusion = libtest_mimic::run(&arguments, trials);
    // What ends the process below would leave them running.
    program.end_all();
    conclusion.exit()
}
