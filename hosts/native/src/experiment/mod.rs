//! `dayfly experiment`: a cluster of real replicas in a modelled world, under virtual time.
//!
//! What is real and what is not: each replica is an instance of the component, whose bytes are those that hosts run,
//! called as hosts call it. All around it is a model: time and chance, the broker (`broker`), the network (`network`),
//! the host of each replica (`node`), the platform with its keeper and its bill (`platform`), and clients (`clients`).
//! `center` has all of these but the hosts; `run` puts them together; `pool` has hosts' turns on several threads;
//! `measure` and `report` tell what was seen, `page` shows it.

mod broker;
mod center;
mod clients;
mod compare;
mod measure;
mod message;
mod moment;
mod network;
mod node;
mod page;
mod platform;
mod pool;
mod progress;
mod published;
mod report;
mod run;
mod scenario;
mod shipped;
mod tables;
mod trace;

use std::fs;
use std::io::{Write, stdout};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::available_parallelism;

use anyhow::Context;
use clap::{Args, Subcommand};

use self::compare::{Told, table};
use self::page::{Sheet, page};
use self::progress::Progress;
use self::scenario::Scenario;
use self::shipped::SHIPPED;
use self::tables::{TablesArgs, tables};
use crate::component::COMPONENT;
use crate::load::signal;

const HELP: &str = "\
Each replica is a real instance of the component, the same bytes that hosts run. Everything around it is modelled: time,
chance, network, broker, platform, price and clients. Figures are those of that model, not of a run in a cloud.

Examples:
  dayfly experiment list                                   which scenarios come with the program
  dayfly experiment show gset > mine.toml                  one of them, to begin with
  dayfly experiment run mine.toml --out mine.json          a run, and its report
  dayfly experiment run advertisement-server --replicas 1025
  dayfly experiment run gset --overlay mesh --out mesh.json   replicas speak to their neighbours, as in the paper
  dayfly experiment compare one.json other.json            figures side by side
  dayfly experiment run gset --html gset.html              a run as a page with plots, published figures beside it
  dayfly experiment report *.json --html all.html          several reports in one page, compared
  dayfly experiment tables LIST.toml --document ME.md --reports all/    runs of a list, as tables of a document

Exit codes:
  0    done
  1    the run could not be made, or its report not be written
  2    wrong usage, or a scenario that says what it must not
  130  interrupted: what there is was told and written";

/// Large replication experiments: real replicas in a modelled world, under virtual time
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub struct ExperimentArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a scenario. The same scenario, seed and program give the same figures, however many threads
    Run(RunArgs),
    /// List the scenarios that come with the program
    List,
    /// Print a scenario, or what a report (a file that ends in .json) says
    Show {
        /// A scenario's name or file, or a report
        #[arg(value_name = "NAME|FILE")]
        name: String,
    },
    /// Write reports as one page of HTML with plots, which needs no network: one by itself, several compared
    Report {
        /// Reports, as `run --out` writes them
        #[arg(value_name = "REPORT", required = true, num_args = 1..=64)]
        reports: Vec<String>,

        /// Write the page there
        #[arg(long, value_name = "FILE")]
        html: PathBuf,
    },
    /// Run what a list names, and write the tables of a document that show what came of it
    Tables(TablesArgs),
    /// Set the figures of reports side by side
    Compare {
        /// Reports, as `run --out` writes them
        #[arg(value_name = "REPORT", required = true, num_args = 1..)]
        reports: Vec<String>,
    },
}

#[derive(Debug, Args)]
struct RunArgs {
    /// A scenario's file, or the name of one that comes with the program
    #[arg(value_name = "FILE|NAME")]
    scenario: String,

    /// What all chance is drawn from, in place of the scenario's
    #[arg(long, value_name = "NUMBER")]
    seed: Option<u64>,

    /// How many replicas, in place of the scenario's; its places keep their shares
    #[arg(long, short = 'n', value_name = "N")]
    replicas: Option<u32>,

    /// In which of the scenario's overlays: replicas speak to their neighbours in place of everyone [default: in none]
    #[arg(long, value_name = "NAME")]
    overlay: Option<String>,

    /// How many virtual seconds clients are active, in place of the scenario's
    #[arg(long, value_name = "SECONDS")]
    seconds: Option<f64>,

    /// On how many threads; changes no figure but the real time [default: as many as there are processors]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    threads: Option<u16>,

    /// Write the report there, as JSON
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,

    /// Write the report there as a page of HTML with plots, which needs no network
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,

    /// Write this into the report, beside how long the run took
    #[arg(long, value_name = "TEXT")]
    note: Option<String>,

    /// Print the report in place of the table
    #[arg(long)]
    json: bool,

    /// Tell no progress
    #[arg(long, short)]
    quiet: bool,
}

/// `dayfly experiment`.
pub fn experiment(args: &ExperimentArgs) -> anyhow::Result<ExitCode> {
    match &args.command {
        Command::Run(args) => run_one(args),
        Command::List => list(),
        Command::Show { name } => show(name),
        Command::Report { reports, html } => {
            let sheets = read_all(reports)?.into_iter().zip(reports).map(|(told, path)| Sheet::of(told, path));
            write_page(sheets.collect::<Result<_, _>>()?, html)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Tables(args) => tables(args),
        Command::Compare { reports } => {
            let reports = read_all(reports)?;
            stdout().write_all(table(&reports).as_bytes())?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn read_all(paths: &[String]) -> anyhow::Result<Vec<Told>> {
    paths.iter().map(|path| Told::read(path)).collect()
}

fn write_page(sheets: Vec<Sheet>, path: &Path) -> anyhow::Result<()> {
    fs::write(path, page(&Sheet::in_order(sheets))?).with_context(|| format!("cannot write {}", path.display()))
}

fn list() -> anyhow::Result<ExitCode> {
    let width = SHIPPED.iter().map(|(name, _)| name.len()).max().unwrap_or_default();
    for (name, _) in SHIPPED {
        let scenario = shipped::scenario(name)?;
        let (replicas, minutes) = (scenario.replicas(), scenario.total_s() / 60.0);
        let overlays: Vec<&str> = scenario.overlays.keys().map(String::as_str).collect();
        let overlays = if overlays.is_empty() { String::new() } else { format!(" [--overlay {}]", overlays.join("|")) };
        writeln!(stdout(), "{name:width$}  {replicas:>6} replicas  {minutes:>6.1} min  {}{overlays}", scenario.title)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn show(name: &str) -> anyhow::Result<ExitCode> {
    let text = if name.ends_with(".json") { table(&[Told::read(name)?]) } else { shipped::text_of(name)? };
    stdout().write_all(text.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

impl RunArgs {
    /// The scenario that is meant, with what is to be different in it.
    fn scenario(&self) -> anyhow::Result<Scenario> {
        let mut scenario = shipped::scenario(&self.scenario)?;
        if let Some(replicas) = self.replicas {
            scenario = scenario.with_replicas(replicas);
        }
        if let Some(name) = &self.overlay {
            scenario = scenario.in_overlay(name)?;
        }
        scenario.seed = self.seed.unwrap_or(scenario.seed);
        scenario.seconds = self.seconds.unwrap_or(scenario.seconds);
        Ok(scenario.checked()?)
    }
}

fn run_one(args: &RunArgs) -> anyhow::Result<ExitCode> {
    let scenario = args.scenario()?;
    let threads = args.threads.map_or_else(|| available_parallelism().map_or(1, usize::from), usize::from);

    let stop = Arc::new(AtomicBool::new(false));
    signal::watch({
        let stop = Arc::clone(&stop);
        move |count| match count {
            1 => stop.store(true, Ordering::Relaxed),
            // Whoever asks twice does not want to wait for a report.
            _ => std::process::exit(130),
        }
    })
    .context("cannot listen for Ctrl-C")?;
    let progress = Progress::begin(args.quiet, scenario.total_s());
    let outcome = run::run(scenario, COMPONENT, threads, &stop, &progress);
    progress.end();
    let mut run = outcome?;
    let report = report::report(&mut run, args.note.as_deref())?;
    if let Some(path) = &args.out {
        let text = serde_json::to_string_pretty(&report)? + "\n";
        fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    if let Some(path) = &args.html {
        write_page(vec![Sheet::of(serde_json::from_value(report.clone())?, "this run")?], path)?;
    }
    if args.json {
        writeln!(stdout(), "{}", serde_json::to_string_pretty(&report)?)?;
    } else {
        let wall = format!("{:.1} s of real time on {} threads\n", run.took.as_secs_f64(), run.threads);
        stdout().write_all((table(&[serde_json::from_value(report)?]) + &wall).as_bytes())?;
    }
    if run.interrupted {
        eprintln!("dayfly: interrupted after {:.1} virtual seconds", run.now.as_s());
        return Ok(ExitCode::from(130));
    }
    Ok(ExitCode::SUCCESS)
}
