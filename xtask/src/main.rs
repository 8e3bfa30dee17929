//! `cargo xtask`: sets up, builds, runs and tests Dayfly. What it needs and does not find, it installs where it may, or
//! it says in one line what to install.

mod artifact;
mod bench;
mod command;
mod component;
mod debian;
mod diff;
mod earlier;
mod experiments;
mod lambda;
mod matrix;
mod mutations;
mod program;
mod pypi;
mod rabbitmq;
mod soak;
mod spin;
mod suite;
mod tally;
mod templates;
mod toolchain;
mod workspace;
mod zip;

use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::component::Component;
use crate::lambda::{Architecture, Packager};
use crate::program::Program;
use crate::rabbitmq::RabbitMq;
use crate::spin::Application;
use crate::suite::Suite;
use crate::toolchain::Toolchain;
use crate::workspace::Workspace;

/// Sets up, builds, runs and tests Dayfly.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", arg_required_else_help = true)]
struct Arguments {
    /// With which toolchain to compile the component.
    ///
    /// Without it: the Rust in use, if it has the target wasm32-unknown-unknown;
    /// else with the target that `rustup target add` brings;
    /// else Debian's packages rustc-web, cargo-web and rust-web-src, which are installed if you are root.
    #[arg(long, value_enum, env = toolchain::VARIABLE, verbatim_doc_comment)]
    toolchain: Option<toolchain::Kind>,

    #[command(subcommand)]
    task: Task,
}

/// What to do.
#[derive(Subcommand)]
enum Task {
    /// Build and run a local cluster: `dayfly up`. Ctrl-C ends it.
    ///
    /// The first time this compiles everything, some minutes on two cores.
    Up {
        /// What follows goes to `dayfly up`, as in `cargo xtask up --replicas 8 --ephemeral`.
        /// Its own help: `cargo xtask up -- --help`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGS", verbatim_doc_comment)]
        arguments: Vec<OsString>,
    },
    /// Run everything that continuous integration runs, and stop at the first step that fails.
    ///
    /// In this order: format, the component, an earlier one, the applications for Spin, the checks of what was built, the
    /// tests of xtask, of the core and of what hosts do without a platform, lints, the program, the templates that deploy to Lambda, a
    /// RabbitMQ of its own, the zip for Lambda and meanwhile the tests of the guest's own parts, and the tests of engine, program and
    /// scenarios.
    /// Before the end stands what became of each scenario on each host; the last line counts the tests: `N passed, N failed,
    /// N skipped`.
    #[command(verbatim_doc_comment)]
    Test {
        /// Write the golden files anew instead of comparing with them. Look at the difference before you commit it.
        #[arg(long)]
        bless: bool,
    },
    /// Build the program, with the component inside, at target/release/dayfly.
    Build,
    /// Build the replica component at target/component/dayfly-replica.wasm, the bytes that every host runs.
    ///
    /// The same sources and toolchain give the same bytes on every machine. The file is written only if it changes.
    Component,
    /// Make what is uploaded somewhere.
    #[command(subcommand, arg_required_else_help = true)]
    Package(Packaged),
    /// Plant the bugs of tests/mutations one by one into a copy of the core, and demand that a test fails for each.
    Mutations {
        /// Only mutations whose name contains this.
        filter: Option<String>,
    },
    /// Play rolling upgrades: replicas of an earlier component and of the present one in one cluster.
    Upgrade {
        /// Commits, such as HEAD^, whose components are built and tried; usually those of tests/upgrade.toml.
        commits: Vec<String>,
    },
    /// Run a RabbitMQ on this machine, to try Dayfly with. Ctrl-C ends it; its data stays in the folder `target`.
    ///
    /// It listens on 127.0.0.1 only. Debian's package is installed if it is missing and you are root.
    Rabbitmq {
        /// The port to listen on.
        #[arg(long, default_value_t = rabbitmq::PORT)]
        port: u16,
    },
    /// Run one cluster of native replicas, functions and applications for Spin under load and faults, and tell what came
    /// of it: what was lost, and whether memory or queues grow. Ctrl-C ends it early, with the report.
    ///
    /// It builds and packages what it needs, and starts a RabbitMQ of its own. The exit code is 1 if anything was lost,
    /// wrong or growing. tests/README.md tells what is checked.
    Soak {
        /// For how many minutes there is load; starting and the last comparison come on top.
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=10_000))]
        minutes: u64,
        /// Draw the same operations and faults again; without it, others each time. The report names the seed.
        #[arg(long, value_name = "S")]
        seed: Option<u64>,
        /// Print the report as JSON, with all samples.
        #[arg(long)]
        json: bool,
    },
    /// Run the experiments that EXPERIMENTS.md shows, and write its tables. Ctrl-C ends the run that is under way.
    ///
    /// Reports are kept. What has one, of the present component and the same scenario, is not run again, so that long ones
    /// may be made one by one. Rows of what has none stay as they are.
    Experiments {
        /// Only what these tables show (by the names in their marks), these scenarios, or exactly these runs, as in
        /// --only churn "advertisement-server --replicas 4001".
        #[arg(long, value_name = "NAME", num_args = 1..)]
        only: Vec<String>,
        /// The large ones, too: up to 10,001 replicas, which take gigabytes and a long time.
        #[arg(long)]
        large: bool,
        /// Where to keep the reports [default: target/experiments].
        #[arg(long, value_name = "DIR")]
        out: Option<OsString>,
    },
    /// Run the benchmarks: of operations, natively and through the component, of dissemination over RabbitMQ, and of the
    /// packaged function for Lambda (its start, its memory, and what an hour costs), and of the packaged application for
    /// Spin (requests to new and to running instances, and what a write stores).
    Bench {
        /// Only benchmarks whose name contains this. Those over a RabbitMQ, which is started for them, are run if it
        /// begins with "dissemination", as in `dissemination/direct/8`, with "lambda", as in `lambda/start`, or with "spin",
        /// as in `spin/cold/1MB`; the others if it does not; all but those of "lambda", which take a quarter of an hour, and
        /// of "spin" without it.
        #[arg(verbatim_doc_comment)]
        filter: Option<String>,
        /// Measure less, in less time.
        #[arg(long)]
        quick: bool,
        /// Print what was measured over RabbitMQ as JSON, and run none of the others.
        #[arg(long)]
        json: bool,
    },
}

/// What to package.
#[derive(Subcommand)]
enum Packaged {
    /// Make the zip for AWS Lambda (provided.al2023) at target/lambda/dayfly-lambda-x86_64.zip, or -arm64.zip.
    ///
    /// In it are the program `bootstrap`, linked for Lambda's older glibc, and the component as machine code.
    /// cargo-lambda and zig, which link it, are installed from PyPI into the folder `target`; that takes a python3.
    #[command(verbatim_doc_comment)]
    Lambda {
        /// For AWS's own processors, a fifth cheaper. Has rustup add their target.
        #[arg(long)]
        arm64: bool,
    },
    /// Make the applications for Fermyon Spin: target/spin/dayfly-spin for Spin 4.1, and dayfly-spin-4.0 for 4.0.
    ///
    /// Each is a folder with `spin.toml`, which `spin up` runs and `spin registry push` publishes: the guest that was
    /// built for this release, and the very bytes of the replica component. `spinapp.yaml` is for SpinKube.
    #[command(verbatim_doc_comment)]
    Spin,
}

fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Does one task. An error is one that nothing has printed yet.
fn run(Arguments { toolchain, task }: Arguments) -> Result<ExitCode> {
    let workspace = Workspace::find()?;
    let find_toolchain = || Toolchain::find(&workspace, toolchain);
    let build_component = || Component::build(&workspace, &find_toolchain()?);
    match task {
        Task::Component => drop(build_component()?),
        Task::Build => drop(Program::build(&workspace, &build_component()?)?),
        Task::Up { arguments } => {
            let arguments: Vec<OsString> = std::iter::once("up".into()).chain(arguments).collect();
            return Err(Program::build(&workspace, &build_component()?)?.become_it(&arguments));
        }
        Task::Test { bless } => return Ok(Suite::new(&workspace, toolchain, bless).run()),
        Task::Package(Packaged::Lambda { arm64 }) => {
            let packager = Packager::find_or_install(&workspace)?;
            let architecture = if arm64 { Architecture::Arm64 } else { Architecture::X86_64 };
            let program = packager.build_compiler(&build_component()?, architecture)?;
            packager.package(&program, architecture)?;
        }
        Task::Package(Packaged::Spin) => {
            let toolchain = find_toolchain()?;
            Application::package_all(&workspace, &toolchain, &Component::build(&workspace, &toolchain)?)?;
        }
        Task::Mutations { filter } => mutations::check(&workspace, filter.as_deref())?,
        Task::Upgrade { commits } => earlier::test(&workspace, &find_toolchain()?, &commits)?,
        Task::Rabbitmq { port } => RabbitMq::run_in_foreground(&workspace, port)?,
        Task::Soak { minutes, seed, json } => {
            let toolchain = Toolchain::find(&workspace, toolchain)?;
            let component = Component::build(&workspace, &toolchain)?;
            let choice = soak::Choice { minutes, seed, json };
            return Err(soak::become_soak(&workspace, &toolchain, &component, &choice));
        }
        Task::Experiments { only, large, out } => {
            let program = Program::build(&workspace, &build_component()?)?;
            let choice = experiments::Choice { only, large, out };
            return Err(program.become_it(&experiments::arguments(&workspace, &choice)?));
        }
        Task::Bench { filter, quick, json } => {
            let toolchain = Toolchain::find(&workspace, toolchain)?;
            let component = Component::build(&workspace, &toolchain)?;
            bench::run(&workspace, &toolchain, &component, &bench::Choice { filter, quick, json })?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
