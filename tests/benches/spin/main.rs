//! The packaged application for Spin: how long a request takes that has to wait for a new instance, how long one takes that
//! need not, and what a write costs.
//!
//! `cargo xtask bench spin [--quick] [--json]` runs it under `spin-platform`, with a RabbitMQ of its own. Times are not
//! asserted; that every request is answered as it should be is.

mod cold;
mod warm;

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use clap::Parser;
use dayfly_tests::application::{Application, Platform, StateFolder};
use dayfly_tests::node::fresh_cluster;
use serde::Serialize;

use crate::cold::{Cold, SIZES};
use crate::warm::{CONFIRMS, Warm};

/// Measures the packaged application.
#[derive(Parser)]
struct Arguments {
    /// Only measurements whose name contains this: `spin/cold/10MB`, `spin/warm/both`.
    filter: Option<String>,
    /// Measure less.
    #[arg(long)]
    quick: bool,
    /// Print JSON in place of the table.
    #[arg(long)]
    json: bool,
    /// What cargo gives every benchmark.
    #[arg(long, hide = true)]
    bench: bool,
}

/// All that was measured.
#[derive(Serialize)]
struct Outcome {
    cores: usize,
    /// How many processes waited for a core in the last minute, before and after.
    load_average: [Option<f64>; 2],
    cold: Vec<Cold>,
    warm: Vec<Warm>,
}

/// How long something took, several times, in milliseconds.
#[derive(Serialize)]
struct Times {
    p50_ms: f64,
    p99_ms: f64,
    max_ms: f64,
}

impl Times {
    /// Of these; there is at least one.
    fn of(mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        let ms = |index: usize| times[index].as_secs_f64() * 1e3;
        Self { p50_ms: ms(times.len() / 2), p99_ms: ms(times.len() * 99 / 100), max_ms: ms(times.len() - 1) }
    }
}

impl std::fmt::Display for Times {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:>9.2} {:>9.2} {:>9.2}", self.p50_ms, self.p99_ms, self.max_ms)
    }
}

/// Does something and tells how long it took.
fn timed<T>(run: impl FnOnce() -> Result<T>) -> Result<(Duration, T)> {
    let begun = Instant::now();
    let done = run()?;
    Ok((begun.elapsed(), done))
}

/// An application alone in its cluster, with its store.
fn alone(what: &str, variables: &[(&str, &str)]) -> Result<(Application, StateFolder)> {
    let state = StateFolder::new()?;
    Ok((Application::start(Platform::Ours, &fresh_cluster(what), &state, variables)?, state))
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let takes = |name: &str| arguments.filter.as_ref().is_none_or(|filter| name.contains(filter.as_str()));
    let before = load_average();
    let (mut cold, mut warm) = (Vec::new(), Vec::new());
    for size in SIZES.iter().filter(|size| takes(size.name)) {
        eprintln!("{}", size.name);
        cold.push(cold::measure(size, if arguments.quick { 5 } else { 40 })?);
    }
    for confirm in CONFIRMS.iter().filter(|confirm| takes(confirm.name)) {
        eprintln!("{}", confirm.name);
        warm.push(warm::measure(confirm, if arguments.quick { 100 } else { 2_000 })?);
    }
    ensure!(!cold.is_empty() || !warm.is_empty(), "no measurement has such a name");
    let cores = std::thread::available_parallelism()?.get();
    let outcome = Outcome { cores, load_average: [before, load_average()], cold, warm };
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&outcome)?);
    } else {
        print(&outcome);
    }
    Ok(())
}

fn print(outcome: &Outcome) {
    let shown = |load: Option<f64>| load.map_or_else(|| "unknown".to_owned(), |load| format!("{load:.1}"));
    let [before, after] = outcome.load_average.map(shown);
    println!("\nThe packaged application on {} cores. Load average: {before} before, {after} after.\n", outcome.cores);
    println!("{:<44} {:>9} {:>9} {:>9}", "milliseconds", "p50", "p99", "max");
    for cold in &outcome.cold {
        let label = format!("request to a new instance, {} stored in {}", megabytes(cold.stored_bytes), cold.values);
        println!("{label:<44} {}", cold.request);
    }
    for warm in &outcome.warm {
        println!("{:<44} {}", format!("read, confirm = {}", warm.confirm), warm.read);
        println!("{:<44} {}", format!("write, confirm = {}", warm.confirm), warm.write);
    }
    for warm in &outcome.warm {
        println!(
            "confirm = {}: a write stores {:.0} bytes in {:.2} values, with what is bundled meanwhile",
            warm.confirm, warm.stored_bytes_each, warm.sets_each
        );
    }
}

fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}

/// Of the last minute; none where the system does not tell.
fn load_average() -> Option<f64> {
    std::fs::read_to_string("/proc/loadavg").ok()?.split(' ').next()?.parse().ok()
}
