//! Requests that find an instance, one after the other.

use anyhow::{Context, Result, ensure};
use serde::Serialize;
use serde_json::json;

use crate::{Times, alone, timed};

/// When writes are answered.
pub struct Confirm {
    pub name: &'static str,
    value: &'static str,
}

/// What is measured.
pub const CONFIRMS: [Confirm; 3] = [
    Confirm { name: "spin/warm/both", value: "both" },
    Confirm { name: "spin/warm/store", value: "store" },
    Confirm { name: "spin/warm/broker", value: "broker" },
];

/// What was measured.
#[derive(Serialize)]
pub struct Warm {
    pub confirm: &'static str,
    pub read: Times,
    pub write: Times,
    /// How many bytes went to the key-value store, and by how many values, a write.
    pub stored_bytes_each: f64,
    pub sets_each: f64,
}

/// Writes and reads so many times.
pub fn measure(confirm: &Confirm, times: usize) -> Result<Warm> {
    // Requests beyond Spin's limit of an instance go to the next one, as they do in life.
    let (application, _state) = alone("warm", &[("confirm", confirm.value)])?;
    ensure!(application.status()?.complete);
    let (mut reads, mut writes) = (Vec::new(), Vec::new());
    for _ in 0..times {
        let (time, answer) = timed(|| application.post("/v1/data/gcounter/k", &json!({ "increment": 1 })))?;
        ensure!(answer.status == 200, "{answer:?}");
        writes.push(time);
    }
    for _ in 0..times {
        let (time, answer) = timed(|| application.get("/v1/data/gcounter/k"))?;
        ensure!(answer.status == 200, "{answer:?}");
        reads.push(time);
    }
    let stats = application.stats()?;
    let each = |what: &str| -> Result<f64> {
        let count = stats["kv"][what].as_f64().with_context(|| format!("no {what}: {stats}"))?;
        Ok(count / times as f64)
    };
    Ok(Warm {
        confirm: confirm.value,
        read: Times::of(reads),
        write: Times::of(writes),
        stored_bytes_each: each("set_bytes")?,
        sets_each: each("sets")?,
    })
}
