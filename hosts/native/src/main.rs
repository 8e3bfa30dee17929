//! The program `dayfly`: local clusters of replicas, and a client for any cluster.
//!
//! This file knows the commands and nothing else. Every command is a struct of arguments and a function, which returns
//! the exit code or the error that this file prints; what an error's exit code is, the error knows.

use std::io;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod client;
mod component;
mod conformance;
mod doctor;
mod experiment;
mod keep;
mod life;
mod load;
mod logging;
mod metrics;
mod node;
mod precompile;
mod purge;
mod replica;
mod serve;
mod settings;
mod up;

use client::Failure;
use client::data::{DeleteArgs, GetArgs, UpdateArgs};
use client::listing::{KeysArgs, MembersArgs};
use client::status::StatusArgs;
use conformance::ConformanceArgs;
use doctor::DoctorArgs;
use experiment::ExperimentArgs;
use keep::KeepArgs;
use load::LoadArgs;
use node::NodeArgs;
use precompile::PrecompileArgs;
use purge::PurgeArgs;
use settings::ConfigArgs;
use up::UpArgs;

/// What stands below the help of `dayfly` itself.
const AFTER_HELP: &str = "\
Examples:
  dayfly up --replicas 8                         a cluster of eight replicas on 127.0.0.1:8080
  dayfly update pncounter visits increment 3     count
  dayfly update orset tags add red green         add two elements
  dayfly get orset tags                          read them, one a line
  dayfly get orset tags --json                   the same as JSON
  dayfly keys --prefix vis                       which keys there are
  dayfly load operations.jsonl                   many operations from a file
  dayfly node --broker amqp://me:secret@host/    one replica of a cluster that spans machines, over RabbitMQ
  dayfly keep lambda:dayfly@eu-west-1=4          four replicas of a function on AWS Lambda, kept awake
  dayfly doctor --broker amqp://me:secret@host/  whether that broker can carry it
  dayfly experiment run gset                     a replication experiment: real replicas in a modelled world
  dayfly conformance --url https://host/         whether a deployment keeps what wit/http-api.md promises
  dayfly config                                  what holds, and where it came from

Exit codes:
  0    done
  1    the cluster or the broker refused, or answered with an error; `load`: some lines were refused; `doctor`:
       something is wrong; `keep`: every target refused; `conformance`: a scenario failed
  2    wrong usage: nothing was sent
  3    not reachable: nothing listens at the URL, or the answer to a reading request did not come
  4    no such key (`get`)
  5    in doubt: a write was sent and its outcome is not known, or it is applied but not confirmed yet
  6    another replica took the name (`node`)
  130  interrupted (`load`, `experiment`, `conformance`), or ended by a second signal (`node`, `up`, `keep`)";

/// Dayfly, a database of counters, sets, registers, flags and maps that merge. Its replicas are short-lived functions.
///
/// `up` runs a cluster in one process, `node` one replica of a cluster that is joined by RabbitMQ; `keep` keeps
/// replicas on AWS Lambda and elsewhere awake; `precompile` makes what a host without a compiler runs; `experiment` runs
/// thousands of replicas in a modelled world; `conformance` checks any deployment. `doctor` and `purge` look after the broker, `config` after the settings. The other commands are a client and speak HTTP to any
/// Dayfly cluster, by default the one that `up` runs on this machine. The full HTTP interface is described in
/// wit/http-api.md.
#[derive(Debug, Parser)]
#[command(name = "dayfly", version, after_help = AFTER_HELP, arg_required_else_help = true)]
struct Program {
    #[command(subcommand)]
    command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
enum Command {
    Up(Box<UpArgs>),
    Node(Box<NodeArgs>),
    Keep(Box<KeepArgs>),
    Get(GetArgs),
    Update(UpdateArgs),
    Delete(DeleteArgs),
    Keys(KeysArgs),
    Members(MembersArgs),
    Status(StatusArgs),
    Load(LoadArgs),
    Config(Box<ConfigArgs>),
    Doctor(Box<DoctorArgs>),
    Purge(Box<PurgeArgs>),
    Precompile(PrecompileArgs),
    Experiment(ExperimentArgs),
    Conformance(ConformanceArgs),
}

fn main() -> ExitCode {
    let outcome = match Program::parse().command {
        Command::Up(args) => up::run(*args),
        Command::Node(args) => node::run(&args),
        Command::Keep(args) => keep::run(&args),
        Command::Get(args) => client::data::get(&args),
        Command::Update(args) => client::data::update(&args),
        Command::Delete(args) => client::data::delete(&args),
        Command::Keys(args) => client::listing::keys(&args),
        Command::Members(args) => client::listing::members(&args),
        Command::Status(args) => client::status::status(&args),
        Command::Load(args) => load::run(&args),
        Command::Doctor(args) => doctor::run(&args),
        Command::Purge(args) => purge::run(&args),
        Command::Precompile(args) => precompile::run(&args),
        Command::Experiment(args) => experiment::experiment(&args),
        Command::Conformance(args) => conformance::run(&args),
        Command::Config(args) => settings::config(&args),
    };
    outcome.unwrap_or_else(|error| {
        // Whoever reads our output has had enough of it (`dayfly keys | head`): that is no failure.
        let hung_up = |cause: &io::Error| cause.kind() == io::ErrorKind::BrokenPipe;
        if error.downcast_ref::<io::Error>().is_some_and(hung_up) {
            return ExitCode::SUCCESS;
        }
        eprintln!("dayfly: {error:#}");
        error.downcast_ref::<Failure>().map_or(ExitCode::FAILURE, |failure| ExitCode::from(failure.exit_code()))
    })
}
