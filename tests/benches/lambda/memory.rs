//! What the process of an environment holds in memory.

use anyhow::{Context, Result, ensure};
use dayfly_conformance::http::Request;
use dayfly_tests::node::fresh_cluster;
use dayfly_tests::platform::{Memory, Platform, Settings};
use serde::Serialize;
use serde_json::{Value, json};

/// How many entries a loaded replica has.
const ENTRIES: u64 = 10_000;
/// How many writes go into a batch.
const BATCH: u64 = 500;

/// What it holds, frozen after an invocation.
#[derive(Clone, Debug, Serialize)]
pub struct Held {
    /// After its first write.
    pub first_write: Memory,
    /// With so many entries of 16 bytes each.
    pub entries: u64,
    /// What it holds then.
    pub loaded: Memory,
}

/// Writes into a replica of its own, and looks.
pub fn measure() -> Result<Held> {
    let platform = Platform::start(Settings::of(&fresh_cluster("memory")));
    post(&platform, "/v1/data/lwwregister/first", &json!({"set": "0123456789abcdef"}))?;
    let first_write = held(&platform)?;
    for batch in 0..ENTRIES / BATCH {
        let entry =
            |number| json!({"type": "lwwregister", "key": format!("entry-{number}"), "set": "0123456789abcdef"});
        let operations: Vec<Value> = (batch * BATCH..(batch + 1) * BATCH).map(entry).collect();
        post(&platform, "/v1/batch", &json!(operations))?;
        // Or the next would start another environment.
        platform.await_idle()?;
    }
    let status = platform.ask(&Request { method: "GET".into(), path: "/v1/status".into(), ..Request::default() })?;
    let status: Value = serde_json::from_slice(&status.body)?;
    let entries = status["entries"].as_u64().context("a status without entries")?;
    ensure!(entries > ENTRIES, "{entries} entries");
    Ok(Held { first_write, entries, loaded: held(&platform)? })
}

fn post(platform: &Platform, path: &str, body: &Value) -> Result<()> {
    let body = body.to_string().into_bytes();
    let request = Request { method: "POST".into(), path: path.into(), body, ..Request::default() };
    let answer = platform.ask(&request)?;
    ensure!(answer.status == 200, "{} {}", answer.status, String::from_utf8_lossy(&answer.body));
    Ok(())
}

/// What the only environment holds, once it is frozen.
fn held(platform: &Platform) -> Result<Memory> {
    platform.await_idle()?;
    let environments = platform.standing().environments;
    let [only] = environments.as_slice() else { anyhow::bail!("not one environment: {environments:?}") };
    only.pid.memory()
}
