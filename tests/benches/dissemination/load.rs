//! Writes as fast as they are confirmed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use dayfly_engine::Replica;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::case::Extent;
use crate::cluster::{Cluster, write};
use crate::measured::{Cost, Load, a_second};
use crate::spread::Spread;

/// How many clients each replica has. Each waits for an answer before it writes again.
const CLIENTS_EACH: usize = 2;
/// Not measured, so that queues have filled and code has run.
const WARM_UP: Duration = Duration::from_millis(500);
/// How long all replicas may take to have all writes.
const CATCH_UP_MAX: Duration = Duration::from_secs(30);

/// What a client saw.
#[derive(Default)]
struct Seen {
    confirmed: u64,
    refused: u64,
    /// How many were confirmed after the warm-up and before the end.
    measured: u64,
    /// The times of the confirmed ones that were begun after the warm-up, answered late or not.
    times: Vec<Duration>,
}

/// Measures it.
///
/// # Errors
/// A replica has ended.
pub async fn measure(cluster: &Cluster, extent: Extent) -> Result<Load> {
    let before = cluster.totals().await?;
    cluster.sight.time_pauses();
    let begun = Instant::now();
    let over = Arc::new(AtomicBool::new(false));
    let mut clients = JoinSet::new();
    for (number, replica) in cluster.replicas.iter().enumerate() {
        for client in 0..CLIENTS_EACH {
            let key = format!("client-{number}-{client}");
            clients.spawn(write_on(replica.clone(), key, begun + WARM_UP, Arc::clone(&over)));
        }
    }
    let count = clients.len();
    sleep(WARM_UP + extent.load).await;
    let measured = begun.elapsed() - WARM_UP;
    over.store(true, Ordering::Relaxed);
    let longest_pause = cluster.sight.longest_pause();
    let mut seen = Seen::default();
    while let Some(client) = clients.join_next().await {
        let client = client??;
        seen.confirmed += client.confirmed;
        seen.refused += client.refused;
        seen.measured += client.measured;
        seen.times.extend(client.times);
    }
    let waiting = cluster.waiting();
    let answered = begun.elapsed();
    let catch_up = cluster.agree(CATCH_UP_MAX).await?;
    let rest = cluster.rest(extent.rest_max).await;
    let totals = cluster.totals().await?.since(before);
    Ok(Load {
        clients: count,
        confirmed_a_second: a_second(seen.measured, measured),
        to_confirmed: Spread::of(seen.times),
        catch_up_s: catch_up.map(|time| time.as_secs_f64()),
        rest_s: rest.map(|time| time.as_secs_f64()),
        everywhere_a_second: catch_up.map(|time| a_second(seen.confirmed, answered + time)),
        cost: Cost::of(totals, seen.confirmed),
        refused: seen.refused,
        waiting,
        longest_pause_ms: longest_pause.as_secs_f64() * 1e3,
        repairs_asked: totals.asked,
    })
}

async fn write_on(replica: Replica, key: String, warm_at: Instant, over: Arc<AtomicBool>) -> Result<Seen> {
    let mut seen = Seen::default();
    while !over.load(Ordering::Relaxed) {
        let value = format!("{:016}", seen.confirmed);
        let begun = Instant::now();
        let answer = write(&replica, &key, &value).await?;
        if answer.status != 200 {
            seen.refused += 1;
            // As a client does that is told to come again.
            sleep(Duration::from_millis(50)).await;
            continue;
        }
        seen.confirmed += 1;
        let answered = Instant::now();
        if answered >= warm_at && !over.load(Ordering::Relaxed) {
            seen.measured += 1;
        }
        // Those that the end has overtaken as well: they are the slow ones.
        if begun >= warm_at {
            seen.times.push(answered - begun);
        }
    }
    Ok(seen)
}
