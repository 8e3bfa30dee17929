//! One write at a time, from its answer to its presence on all replicas.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use dayfly_tests::chance::Chance;
use tokio::time::{sleep, timeout};

use crate::case::Extent;
use crate::cluster::{Cluster, shows, write};
use crate::measured::Latency;
use crate::spread::Spread;

/// Writes before those that are timed.
const WARM_UP: usize = 10;
/// Between the presence of one write and the next: a replica that has just sent a burst holds the next one back for
/// 5 ms, and that is the load's to show.
const PAUSE: Duration = Duration::from_millis(10);
/// How long a write may take to be everywhere: by then repair has brought it.
const PRESENCE_MAX: Duration = Duration::from_secs(60);

/// Times of one write.
struct Times {
    to_confirmed: Duration,
    /// From the confirmation on; zero if all had it before.
    confirmed_to_all: Duration,
    to_all: Duration,
}

/// Measures it.
///
/// # Errors
/// A write was refused, did not get everywhere, or is not shown where it was seen to arrive.
pub async fn measure(cluster: &Cluster, extent: Extent, chance: &mut Chance) -> Result<Latency> {
    for number in 0..WARM_UP {
        time_one(cluster, &format!("warm-up-{number:08}"), chance, true).await?;
    }
    let begun = Instant::now();
    let mut times = Vec::new();
    while times.len() < extent.writes_max && begun.elapsed() < extent.latency {
        times.push(time_one(cluster, &format!("timed-{:010}", times.len()), chance, false).await?);
    }
    let spread = |time: fn(&Times) -> Duration| Spread::of(times.iter().map(time).collect());
    Ok(Latency {
        to_confirmed: spread(|times| times.to_confirmed),
        confirmed_to_all: spread(|times| times.confirmed_to_all),
        to_all: spread(|times| times.to_all),
    })
}

async fn time_one(cluster: &Cluster, value: &str, chance: &mut Chance, check_all: bool) -> Result<Times> {
    let count = cluster.replicas.len();
    let mut any = || chance.below(count as u64) as usize;
    let (writer, reader) = (any(), any());
    cluster.sight.seek(value, writer, count);
    let begun = Instant::now();
    let answer = write(&cluster.replicas[writer], "timed", value).await?;
    let confirmed = Instant::now();
    ensure!(answer.status == 200, "a write was refused: {}", String::from_utf8_lossy(&answer.body));
    let Ok(last) = timeout(PRESENCE_MAX, cluster.sight.found_by_all()).await else {
        let (found, seconds) = (cluster.sight.found_by(), PRESENCE_MAX.as_secs());
        anyhow::bail!("{value} is on {found} of {count} replicas only after {seconds} s");
    };
    let last = last.max(begun);
    let readers = if check_all { 0..count } else { reader..reader + 1 };
    for replica in &cluster.replicas[readers] {
        ensure!(shows(replica, "timed", value).await?, "{} does not show {value}, which arrived", replica.name());
    }
    sleep(PAUSE).await;
    Ok(Times {
        to_confirmed: confirmed - begun,
        confirmed_to_all: last.saturating_duration_since(confirmed),
        to_all: last.max(confirmed) - begun,
    })
}
