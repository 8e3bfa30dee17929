//! How writes get to everyone on one RabbitMQ, directly and combined, side by side: the time until they are there, how
//! many go, and what the broker carries for each.
//!
//! `cargo xtask bench dissemination [--quick] [--json]` runs it, with a RabbitMQ of its own. The replicas are real:
//! each an instance of the component over a connection of its own. They share this process and its machine with each
//! other, and with the broker: times are those of a machine that does the work of all.
//!
//! A case's cluster is new. First some writes are made so far apart that all that follows from one can be counted. Then
//! writes are timed one at a time, each at a replica by chance (`latency`). Then two clients a replica write as fast as
//! they are answered (`load`). Each write sets a register to a value of 16 bytes. Times are not asserted; that
//! each write is shown where it was seen to arrive is.

mod case;
mod cluster;
mod latency;
mod load;
mod measured;
mod sight;
mod spread;
mod table;

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use dayfly_tests::chance::Chance;
use serde::Serialize;

use crate::case::{Case, Extent, WAYS, Way};
use crate::cluster::{Cluster, ROUND, write};
use crate::measured::{Cost, Measured, Trouble};

/// Where the broker is.
const URL_VARIABLE: &str = "DAYFLY_TEST_BROKER";
/// How many replicas.
const SIZES: [usize; 3] = [8, 32, 128];
/// How long a cluster may take to have nothing left to do that has nothing to do but one write.
const CALM_MAX: Duration = Duration::from_secs(15);
/// The sequence of writers is the same in each run.
const SEED: u64 = 1;

/// Measures how writes get to everyone on RabbitMQ.
#[derive(Parser)]
struct Arguments {
    /// Only cases whose name contains this: `dissemination/direct/8`, `dissemination/combined-100-ms/128`.
    filter: Option<String>,
    /// Measure less, in under a minute: to see whether all works, not how fast.
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
    resolution_ms: Resolution,
    cases: Vec<Measured>,
}

/// How exact times are, in milliseconds.
#[derive(Serialize)]
struct Resolution {
    /// The host's acts between the component's call and the look at the clock, about.
    presence: f64,
    /// A round of looking whether all agree.
    agreement: u128,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let cases: Vec<Case> = SIZES
        .into_iter()
        .flat_map(|replicas| WAYS.map(|way| Case { replicas, way }))
        .filter(|case| !arguments.quick || case.way != Way::Combined { gather_ms: 20 })
        .filter(|case| arguments.filter.as_ref().is_none_or(|filter| case.name().contains(filter.as_str())))
        .collect();
    if cases.is_empty() {
        return Ok(());
    }
    let url = std::env::var(URL_VARIABLE).with_context(|| {
        format!("{URL_VARIABLE} is not set: this needs a RabbitMQ of its own, which `cargo xtask bench` brings")
    })?;
    let extent = if arguments.quick { Extent::QUICK } else { Extent::FULL };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let load_before = load_average();
    let (mut measured, mut failures) = (Vec::new(), Vec::new());
    for case in cases {
        eprintln!("{}", case.name());
        match runtime.block_on(measure(&url, case, extent)) {
            Ok(of_case) => measured.push(of_case),
            Err(error) => failures.push(format!("{}: {error:#}", case.name())),
        }
    }
    let outcome = Outcome {
        cores: std::thread::available_parallelism()?.get(),
        load_average: [load_before, load_average()],
        resolution_ms: Resolution { presence: 0.1, agreement: ROUND.as_millis() },
        cases: measured,
    };
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&outcome)?);
    } else if !outcome.cases.is_empty() {
        print(&outcome);
    }
    ensure!(failures.is_empty(), "not measured:\n{}", failures.join("\n"));
    Ok(())
}

fn print(outcome: &Outcome) {
    let Outcome { cores, load_average: [before, after], resolution_ms, cases } = outcome;
    let shown = |load: &Option<f64>| load.map_or_else(|| "unknown".to_owned(), |load| format!("{load:.1}"));
    println!(
        "\nWrites on their way to everyone, over one RabbitMQ, on {cores} cores for broker, replicas and clients."
    );
    println!("Load average: {} before, {} after. comb N: combined every N ms.", shown(before), shown(after));
    println!(
        "Presence is seen by the host as it hands frames over, nobody is asked: exact to {} ms. That all replicas\n\
         have all is looked for every {} ms. p50 and p99 are of the writes timed, after a warm-up.\n",
        resolution_ms.presence, resolution_ms.agreement
    );
    print!("{}", table::table(cases));
}

/// Measures a case, and leaves nothing on the broker.
async fn measure(url: &str, case: Case, extent: Extent) -> Result<Measured> {
    let begun = Instant::now();
    let cluster = Cluster::start(url, case).await?;
    let start = begun.elapsed();
    let measured = measure_on(&cluster, case, extent).await;
    cluster.end().await?;
    let (start_s, took_s) = (start.as_secs_f64(), begun.elapsed().as_secs_f64());
    Ok(Measured { start_s, took_s, ..measured? })
}

/// Measures all but how long that takes.
async fn measure_on(cluster: &Cluster, case: Case, extent: Extent) -> Result<Measured> {
    let at_first = cluster.totals().await?;
    let spaced = count_spaced(cluster, extent).await?;
    let latency = latency::measure(cluster, extent, &mut Chance::new(SEED, "writers")).await?;
    let at_leisure = cluster.totals().await?.since(at_first);
    let load = load::measure(cluster, extent).await?;
    let in_all = cluster.totals().await?.since(at_first);
    let trouble = Trouble {
        unsent: in_all.unsent,
        redelivered: in_all.redelivered,
        undelivered: in_all.due.saturating_sub(in_all.delivered),
        reconnections: in_all.reconnections,
        freeze_gaps: in_all.freeze_gaps,
        repairs_at_leisure: at_leisure.asked,
    };
    let (name, way) = (case.name(), case.way.shown());
    Ok(Measured { name, replicas: case.replicas, way, start_s: 0.0, latency, spaced, load, trouble, took_s: 0.0 })
}

/// Counts what follows from a write that comes alone, until nobody has anything left to do. None if they always have.
async fn count_spaced(cluster: &Cluster, extent: Extent) -> Result<Option<Cost>> {
    if cluster.rest(CALM_MAX).await.is_none() {
        return Ok(None);
    }
    let before = cluster.totals().await?;
    for number in 0..extent.spaced {
        let replica = &cluster.replicas[number % cluster.replicas.len()];
        let answer = write(replica, "alone", &format!("alone-{number:010}")).await?;
        ensure!(answer.status == 200, "a write was refused: {}", String::from_utf8_lossy(&answer.body));
        if cluster.rest(CALM_MAX).await.is_none() {
            return Ok(None);
        }
    }
    Ok(Some(Cost::of(cluster.totals().await?.since(before), extent.spaced as u64)))
}

/// Of the last minute; none where the system does not tell.
fn load_average() -> Option<f64> {
    std::fs::read_to_string("/proc/loadavg").ok()?.split(' ').next()?.parse().ok()
}
