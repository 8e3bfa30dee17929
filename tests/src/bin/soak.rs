//! Runs a cluster of all three hosts under load and faults for as long as one likes, and tells what came of it. Started by
//! `cargo xtask soak`, which brings what it needs.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Result;
use clap::Parser;
use dayfly_engine::world::system_now_ms;
use dayfly_tests::function::tokio;
use dayfly_tests::soak::run::{Progress, run};
use dayfly_tests::soak::settings::Settings;

/// A cluster of native replicas, functions and applications for Spin under load and faults
///
/// It needs a RabbitMQ, the programs and the packages: `cargo xtask soak` brings them. Ctrl-C ends it with the report.
/// The exit code is 1 if anything was lost, wrong or growing.
#[derive(Debug, Parser)]
#[command(name = "soak", max_term_width = 100)]
struct Arguments {
    /// For how many minutes there is load
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=10_000))]
    minutes: u64,
    /// Draws the same operations and faults again; without it, another one each time
    #[arg(long, value_name = "S")]
    seed: Option<u64>,
    /// Print the report as JSON, with all samples
    #[arg(long)]
    json: bool,
}

fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    let seed = arguments.seed.unwrap_or_else(|| system_now_ms() % 1_000_000);
    let settings = Settings::soak(seed, Duration::from_secs(60 * arguments.minutes));
    let stop = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&stop);
    tokio().spawn(async move {
        if tokio_signal().await.is_ok() {
            eprintln!("soak: ends early; the last checkpoint takes a while");
            told.store(true, Ordering::Relaxed);
        }
    });
    eprintln!("soak: seed {seed}, {} minutes", arguments.minutes);
    let report = run(&settings, &stop, &mut |progress| tell(progress))?;
    let text = if arguments.json { serde_json::to_string_pretty(&report)? } else { report.to_string() };
    writeln!(std::io::stdout(), "{text}")?;
    Ok(if report.is_well() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn tokio_signal() -> std::io::Result<()> {
    ::tokio::signal::ctrl_c().await
}

/// A line about every ten seconds; each minute where nobody watches.
fn tell(progress: &Progress) {
    let Progress { second, confirmed, in_doubt, faults, checkpoints, findings } = progress;
    if std::io::stderr().is_terminal() || second % 60 < 10 {
        eprintln!(
            "{second:>6} s  {confirmed} writes confirmed, {in_doubt} in doubt; {faults} faults; {checkpoints} checkpoints; \
             {findings} findings"
        );
    }
}
