//! Runs of whole seeds, and what is reported of one that fails.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Result, anyhow, ensure};

use super::cluster::Cluster;
use super::finish::Verdict;
use super::plan::Plan;
use super::trace::Trace;
use crate::life::Maker;

/// What a run left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// What happened, as a number.
    pub trace: Trace,
    /// What it came to.
    pub verdict: Verdict,
}

/// Runs a seed. `is_watched` needs replicas that can be looked into.
pub fn run(seed: u64, maker: &dyn Maker, is_watched: bool) -> Result<Outcome> {
    let mut cluster = Cluster::new(seed, Plan::draw(seed), maker);
    if !is_watched {
        cluster.witness = None;
    }
    cluster.tell(|| format!("{:?}", cluster.plan));
    cluster.begin()?;
    cluster.run_for(cluster.plan.storm_ms)?;
    let verdict = cluster.finish()?;
    Ok(Outcome { trace: cluster.trace, verdict })
}

/// Runs a seed twice: it must hold, and be the same both times. A panic is an error.
pub fn run_twice(seed: u64, maker: &dyn Maker) -> Result<Outcome> {
    let once = || {
        catch_unwind(AssertUnwindSafe(|| run(seed, maker, true))).unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            Err(anyhow!("panicked: {}", text.unwrap_or_default()))
        })
    };
    let first = once()?;
    let second = once()?;
    ensure!(first == second, "two runs differ: {first:?}, {second:?}");
    Ok(first)
}

/// Something for each of several seeds.
pub type BySeed<T> = Vec<(u64, T)>;

/// Runs many seeds on all processors; gives the outcomes and the failures, by seed.
pub fn run_all(seeds: std::ops::Range<u64>, maker: &dyn Maker) -> (BySeed<Outcome>, BySeed<String>) {
    let next = AtomicU64::new(seeds.start);
    let (outcomes, failures) = (Mutex::new(Vec::new()), Mutex::new(Vec::new()));
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                break;
            }
            match run_twice(seed, maker) {
                Ok(outcome) => outcomes.lock().expect("no thread panics here").push((seed, outcome)),
                Err(error) => failures.lock().expect("no thread panics here").push((seed, format!("{error:#}"))),
            }
        }
    };
    std::thread::scope(|scope| {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        (0..threads).for_each(|_| drop(scope.spawn(work)));
    });
    let mut outcomes = outcomes.into_inner().expect("no thread panics here");
    let mut failures = failures.into_inner().expect("no thread panics here");
    outcomes.sort_unstable_by_key(|(seed, _)| *seed);
    failures.sort_unstable_by_key(|(seed, _)| *seed);
    (outcomes, failures)
}
