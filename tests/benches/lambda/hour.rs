//! What an hour of a database costs, by what follows an answer.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, bail, ensure};
use dayfly_conformance::http::Request;
use dayfly_tests::node::fresh_cluster;
use dayfly_tests::platform::{Bill, Platform, Settings};
use serde::Serialize;
use serde_json::json;

/// How many replicas: environments, of which each is invoked once a minute with a write.
pub const REPLICAS: usize = 16;
/// The function's memory: three times the usual store fits.
pub const MEMORY_MIB: u32 = 256;
/// Between two invocations, whichever environment it is.
const EVERY: Duration = Duration::from_millis(60_000 / REPLICAS as u64);
/// How often all are woken at first until each has the whole database.
const WAKES: usize = 10;

/// USD for a GB-second on x86-64 and for a million requests; the same figures as in hosts/native/src/keep/price.rs,
/// from AWS's price list for us-east-1.
const GB_S_USD: f64 = 0.000_016_666_7;
const MILLION_REQUESTS_USD: f64 = 0.20;

/// A way to go on after an answer.
pub struct Case {
    /// As a filter names it.
    pub name: &'static str,
    /// For people.
    pub shown: &'static str,
    /// `DAYFLY_LINGER`.
    linger: &'static str,
}

/// The usual way; a fixed time; and the rule of the original, Lasp on Lambda, whose functions ran for 30 s whatever
/// there was to do.
pub const CASES: [Case; 3] = [
    Case { name: "lambda/hour/quiet", shown: "quiet", linger: "quiet" },
    Case { name: "lambda/hour/linger-10", shown: "10 s", linger: "10" },
    Case { name: "lambda/hour/original-30", shown: "30 s", linger: "30" },
];

/// What was counted, and what an hour of it costs.
#[derive(Clone, Debug, Serialize)]
pub struct Hour {
    /// The case's name.
    pub name: &'static str,
    /// For people.
    pub shown: &'static str,
    /// How long writes were made, in seconds.
    pub window_s: u64,
    /// What was counted of them, until the last environment was frozen.
    pub counted: Bill,
    /// From the event to the write's answer: half of them took at most this, in milliseconds.
    pub answer_p50_ms: f64,
    /// The slowest answer, in milliseconds.
    pub answer_max_ms: f64,
    /// Milliseconds billed for each invocation.
    pub billed_ms_each: f64,
    /// GB-seconds an hour.
    pub hour_gb_s: f64,
    /// Requests an hour.
    pub hour_requests: f64,
    /// USD an hour, nothing of it free.
    pub hour_usd: f64,
    /// USD in a month of 30 days, nothing of it free.
    pub month_usd: f64,
}

/// Writes for so long, a whole number of minutes.
pub fn measure(case: &Case, window: Duration) -> Result<Hour> {
    let variables = vec![("DAYFLY_LINGER".to_owned(), case.linger.to_owned())];
    let settings = Settings { variables, memory_mib: MEMORY_MIB, ..Settings::of(&fresh_cluster("hour")) };
    let platform = Platform::start(settings);
    fill(&platform)?;
    let before = platform.standing().bill;
    let rounds = window.as_secs() / 60;
    let mut answers = write(&platform, rounds)?;
    platform.await_idle()?;
    let standing = platform.standing();
    let counted = standing.bill.since(&before);
    let (fewest, most) = standing.environments.iter().fold((u64::MAX, 0), |(fewest, most), environment| {
        (fewest.min(environment.invocations), most.max(environment.invocations))
    });
    ensure!(
        standing.environments.len() == REPLICAS && counted.cold_starts == 0 && most == fewest,
        "not all took their turns: {standing:?}"
    );
    ensure!(counted.requests == rounds * REPLICAS as u64 && counted.errors == 0, "{counted:?}");
    answers.sort_by(f64::total_cmp);
    let hours = window.as_secs_f64() / 3_600.0;
    let (hour_gb_s, hour_requests) = (counted.gb_s(MEMORY_MIB) / hours, counted.requests as f64 / hours);
    let hour_usd = hour_gb_s * GB_S_USD + hour_requests / 1e6 * MILLION_REQUESTS_USD;
    Ok(Hour {
        name: case.name,
        shown: case.shown,
        window_s: window.as_secs(),
        counted,
        answer_p50_ms: answers[answers.len().div_ceil(2) - 1],
        answer_max_ms: answers[answers.len() - 1],
        billed_ms_each: counted.billed_ms as f64 / counted.requests as f64,
        hour_gb_s,
        hour_requests,
        hour_usd,
        month_usd: hour_usd * 24.0 * 30.0,
    })
}

/// Starts all, and wakes them until each has the whole database.
fn fill(platform: &Platform) -> Result<()> {
    for _ in 0..WAKES {
        let woken = platform.wake_at_once(REPLICAS, 8)?;
        platform.await_idle()?;
        if woken.iter().all(|answer| answer["complete"] == true) {
            return Ok(());
        }
    }
    bail!("not all are complete after {WAKES} wakes")
}

/// A write each [`EVERY`], for so many minutes; gives the times to the answers, in milliseconds.
fn write(platform: &Platform, rounds: u64) -> Result<Vec<f64>> {
    let begun = Instant::now();
    thread::scope(|scope| {
        let mut writes = Vec::new();
        for number in 0..rounds * REPLICAS as u64 {
            let at = EVERY * u32::try_from(number)?;
            thread::sleep(at.saturating_sub(begun.elapsed()));
            writes.push(scope.spawn(move || -> Result<f64> {
                let path = format!("/v1/data/lwwregister/key-{}", number % REPLICAS as u64);
                let body = json!({"set": format!("value-{number:010}")}).to_string().into_bytes();
                let asked = Instant::now();
                let answer = platform.ask(&Request { method: "POST".into(), path, body, ..Request::default() })?;
                ensure!(answer.status == 200, "{} {}", answer.status, String::from_utf8_lossy(&answer.body));
                Ok(asked.elapsed().as_secs_f64() * 1e3)
            }));
        }
        writes.into_iter().map(|write| write.join().map_err(|_| anyhow!("a write panicked"))?).collect()
    })
}
