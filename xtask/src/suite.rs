//! All that continuous integration runs.

use std::fs;
use std::process::{Command, ExitCode};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, ensure};

use crate::artifact::{self, Artifact};
use crate::command;
use crate::component::{self, Component, machine_paths};
use crate::earlier::{self, Earlier};
use crate::lambda::{Architecture, Packager};
use crate::matrix::{self, Matrix};
use crate::program::{self, Program};
use crate::rabbitmq::RabbitMq;
use crate::spin::{self, Application};
use crate::tally::{LineCounter, Tally};
use crate::templates;
use crate::toolchain::{Kind, Toolchain};
use crate::workspace::Workspace;

/// The environment variable that tells tests to write their golden files anew.
const BLESS_VARIABLE: &str = "DAYFLY_BLESS";

/// The environment variable that tells Rust's harness how many tests to run at once.
const THREADS_VARIABLE: &str = "RUST_TEST_THREADS";

/// So many tests of a file run at once at least, on however few processors: those over a broker spend most of their time
/// waiting.
const TEST_THREADS_MIN: usize = 4;

/// The packages that are tested natively, without wasmtime: in the profile with overflow checks and debug assertions.
const NATIVELY_TESTED: [&str; 2] = ["dayfly-core", "dayfly-amqp"];

fn test_threads() -> usize {
    thread::available_parallelism().map_or(1, usize::from).max(TEST_THREADS_MIN)
}

/// A run of the suite.
pub struct Suite<'a> {
    workspace: &'a Workspace,
    toolchain: Option<Kind>,
    bless: bool,
    tally: Tally,
    /// The steps that have ended, and how long each took.
    ended: Vec<(&'static str, Duration)>,
    /// What became of the scenarios, once they were played.
    matrix: Option<Matrix>,
}

impl<'a> Suite<'a> {
    /// A run that has not begun.
    pub fn new(workspace: &'a Workspace, toolchain: Option<Kind>, bless: bool) -> Self {
        Self { workspace, toolchain, bless, tally: Tally::default(), ended: Vec::new(), matrix: None }
    }

    /// Runs the steps until one fails, and prints what became of the scenarios, the times and the count.
    pub fn run(mut self) -> ExitCode {
        let outcome = self.steps();
        if let Some(matrix) = &self.matrix {
            println!("\n== scenarios\n{}", matrix.shown());
        }
        println!("\n== times");
        for (name, time) in &self.ended {
            println!("{:>8.1} s  {name}", time.as_secs_f64());
        }
        let mut code = ExitCode::SUCCESS;
        if let Err(error) = outcome {
            println!("\nxtask: {error:#}");
            // A step that fails without a failed test (a lint, a compile error, a crash) is counted, or the last line
            // would lie.
            self.tally.failed = self.tally.failed.max(1);
            code = ExitCode::FAILURE;
        }
        // "skipped" is the word that readers of this line know; Rust's harness says "ignored" for the same.
        println!("\n{} passed, {} failed, {} skipped", self.tally.passed, self.tally.failed, self.tally.ignored);
        code
    }

    /// The steps. The component comes before what needs it, even before the lints, since the program embeds it as it
    /// compiles; apart from that the quick ones come first. What contains wasmtime is built in the release profile alone.
    fn steps(&mut self) -> Result<()> {
        let workspace = self.workspace;
        self.step("format", |_| command::run(workspace.cargo().args(["fmt", "--all", "--check"])))?;
        let (toolchain, component) = self.step("component", |suite| {
            let toolchain = Toolchain::find(workspace, suite.toolchain)?;
            let component = Component::build(workspace, &toolchain)?;
            Ok((toolchain, component))
        })?;
        let machine_paths = machine_paths(workspace, &toolchain)?;
        self.step("checks of the component", |suite| {
            suite.check(&Artifact {
                name: "component",
                bytes: &component.bytes,
                golden: artifact::REPLICA_GOLDEN,
                imports: &artifact::REPLICA_IMPORTS,
                machine_paths: &machine_paths,
            })
        })?;
        let earlier = self.step("earlier components", |_| Earlier::build_pinned(workspace, &toolchain))?;
        self.step("tests of xtask", |suite| {
            suite.tests(workspace.cargo().args(["test", "--profile", "xtask", "--package", "xtask"]))
        })?;
        self.step("tests of the core, and of hosts without their platforms", |suite| {
            let packages = NATIVELY_TESTED.iter().flat_map(|package| ["--package", package]);
            let mut test = workspace.cargo();
            suite.tell_whether_to_bless(&mut test);
            suite.tests(test.args(["test", "--no-fail-fast"]).args(packages))
        })?;
        let application = self.step("applications for Spin, and checks of their guests", |suite| {
            let mut applications = Application::package_all(workspace, &toolchain, &component)?;
            for application in &applications {
                suite.check(&Artifact {
                    name: application.release.name(),
                    bytes: &application.guest,
                    golden: application.release.golden(),
                    imports: &spin::GUEST_IMPORTS,
                    machine_paths: &machine_paths,
                })?;
            }
            Ok(applications.swap_remove(0))
        })?;
        self.step("lints", |_| {
            let mut clippy = workspace.cargo();
            clippy.args(["clippy", "--workspace", "--all-targets", "--release", "--", "-D", "warnings"]);
            command::run(clippy.env(component::VARIABLE, &component.path))?;
            spin::lint_guest(workspace, &toolchain)
        })?;
        let on_hosts = |subcommand| program::cargo_on_hosts(workspace, &component, subcommand);
        self.step("build of the program and its tests", |_| {
            command::run(on_hosts("build").args(["--release", "--bins", "--tests"]))
        })?;
        self.step("templates", |_| templates::check(workspace))?;
        // It is ended when it is dropped, also if the tests fail.
        let rabbitmq = self.step("start of RabbitMQ", |_| RabbitMq::start_for_tests(workspace))?;
        let name = "package for Lambda, and meanwhile tests of the guest's own parts";
        let (packager, package) = self.step(name, |suite| {
            thread::scope(|scope| {
                // It is built in a target folder of its own. Its last part, linking all as a whole, is work for one processor.
                let packaged = scope.spawn(|| {
                    let packager = Packager::find_or_install(workspace)?;
                    let package = packager.package(&Program::built(workspace), Architecture::X86_64)?;
                    Ok((packager, package))
                });
                let mut test = workspace.cargo();
                rabbitmq.announce_to(&mut test);
                let tested = suite.tests(test.args(["test", "--no-fail-fast", "--package", "dayfly-spin"]));
                let packaged = packaged.join().unwrap_or_else(|_| Err(anyhow!("the package was not made: a bug")));
                tested.and(packaged)
            })
        })?;
        self.step("tests of engine, program and scenarios", |suite| {
            let mut test = on_hosts("test");
            rabbitmq.announce_to(&mut test);
            packager.announce_to(&package, &mut test)?;
            application.announce_to(&mut test);
            earlier::announce_to(&earlier, &mut test)?;
            suite.tell_whether_to_bless(&mut test);
            test.env(THREADS_VARIABLE, test_threads().to_string());
            // What an earlier run left must not be taken for this one's.
            let file = workspace.target.join("matrix.tsv");
            if file.exists() {
                fs::remove_file(&file)?;
            }
            let outcome = suite.tests(test.env(matrix::VARIABLE, &file).args(["--release", "--no-fail-fast"]));
            let matrix = Matrix::read(&file).map(|matrix| suite.matrix = Some(matrix));
            outcome.and(matrix)
        })
    }

    /// Tells a command's tests to write their golden files anew, or not to: a variable that was left set must not turn
    /// comparisons off.
    fn tell_whether_to_bless(&self, test: &mut Command) {
        match self.bless {
            true => test.env(BLESS_VARIABLE, "1"),
            false => test.env_remove(BLESS_VARIABLE),
        };
    }

    /// Checks a component that was built.
    fn check(&mut self, artifact: &Artifact<'_>) -> Result<()> {
        let passed = artifact::check(self.workspace, artifact, self.bless, &mut self.tally);
        ensure!(passed, "the {} is not what it must be", artifact.name);
        Ok(())
    }

    /// Runs one step, with a heading and its time.
    fn step<T>(&mut self, name: &'static str, run: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        println!("\n== {name}");
        let begun = Instant::now();
        let outcome = run(self);
        let time = begun.elapsed();
        let word = if outcome.is_ok() { "done" } else { "FAILED" };
        println!("== {name}: {word} in {:.1} s", time.as_secs_f64());
        self.ended.push((name, time));
        outcome.map_err(|error| error.context(format!("the step \"{name}\" failed")))
    }

    /// Runs `cargo test`, and counts its tests. None at all is a failure: then something was left out by mistake.
    fn tests(&mut self, cargo_test: &mut Command) -> Result<()> {
        let mut counter = LineCounter::default();
        let outcome = command::run_watched(cargo_test, |piece| counter.add(piece));
        self.tally += counter.tally;
        outcome?;
        ensure!(counter.tally.passed > 0, "no test ran");
        Ok(())
    }
}
