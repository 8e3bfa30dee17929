//! The packaged function: how fast it starts, what it holds in memory, and what a database of sixteen replicas costs in
//! an hour, counted from a real run.
//!
//! `cargo xtask bench lambda [--quick] [--json]` runs it on the files of the zip, with a RabbitMQ of its own. The
//! platform is that of `dayfly_tests::platform`: it freezes processes by SIGSTOP and bills as AWS does. The start has
//! none of what AWS does before it runs the program (it fetches the zip and makes a virtual machine). Times are not
//! asserted; that every write is answered and every environment takes its turn is.

mod hour;
mod memory;
mod start;
mod table;

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use serde::Serialize;

use crate::hour::{CASES, Hour};
use crate::memory::Held;
use crate::start::Start;

/// Names the zip, for its size.
const ZIP_VARIABLE: &str = "DAYFLY_BENCH_ZIP";

/// Measures the packaged function.
#[derive(Parser)]
struct Arguments {
    /// Only measurements whose name contains this: `lambda/start`, `lambda/memory`, `lambda/hour/quiet`.
    filter: Option<String>,
    /// Measure less: a minute in place of three for each way to linger.
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
    zip_bytes: Option<u64>,
    start: Option<Start>,
    memory: Option<Held>,
    hours: Vec<Hour>,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let takes = |name: &str| arguments.filter.as_ref().is_none_or(|filter| name.contains(filter.as_str()));
    let window = Duration::from_secs(if arguments.quick { 60 } else { 180 });
    let before = load_average();
    let zip = std::env::var_os(ZIP_VARIABLE);
    let zip_bytes = zip.map(|zip| std::fs::metadata(&zip).with_context(|| format!("{zip:?}"))).transpose()?;
    let (mut start, mut memory, mut hours) = (None, None, Vec::new());
    if takes("lambda/start") {
        eprintln!("lambda/start");
        start = Some(start::measure()?);
    }
    if takes("lambda/memory") {
        eprintln!("lambda/memory");
        memory = Some(memory::measure()?);
    }
    for case in CASES.iter().filter(|case| takes(case.name)) {
        eprintln!("{}", case.name);
        hours.push(hour::measure(case, window)?);
    }
    let outcome = Outcome {
        cores: std::thread::available_parallelism()?.get(),
        load_average: [before, load_average()],
        zip_bytes: zip_bytes.map(|zip| zip.len()),
        start,
        memory,
        hours,
    };
    ensure!(
        outcome.start.is_some() || outcome.memory.is_some() || !outcome.hours.is_empty(),
        "no measurement has such a name"
    );
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&outcome)?);
    } else {
        print!("{}", table::table(&outcome));
    }
    Ok(())
}

/// Of the last minute; none where the system does not tell.
fn load_average() -> Option<f64> {
    std::fs::read_to_string("/proc/loadavg").ok()?.split(' ').next()?.parse().ok()
}
