//! A request that finds no instance: one is made, connects, loads what is stored, and answers.

use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use dayfly_tests::application::Application;
use serde::Serialize;
use serde_json::{Value, json};

use crate::{Times, alone, timed};

/// How much is stored.
pub struct Size {
    pub name: &'static str,
    bytes: u64,
}

/// What is measured.
pub const SIZES: [Size; 3] = [
    Size { name: "spin/cold/empty", bytes: 0 },
    Size { name: "spin/cold/1MB", bytes: 1_000_000 },
    Size { name: "spin/cold/10MB", bytes: 10_000_000 },
];

/// Elements of a write.
const BATCH: usize = 500;
/// About how long one is.
const ELEMENT_BYTES: usize = 60;

/// What was measured.
#[derive(Serialize)]
pub struct Cold {
    name: &'static str,
    pub stored_bytes: u64,
    pub values: u64,
    pub request: Times,
}

/// Stores so much, and asks so many new instances.
pub fn measure(size: &Size, times: usize) -> Result<Cold> {
    let (application, _state) = alone("cold", &[])?;
    let mut elements = 0;
    while stored(&application, "stored_bytes")? < size.bytes {
        let element = |number: usize| format!("{:0ELEMENT_BYTES$}", elements + number);
        let batch: Vec<String> = (0..BATCH).map(element).collect();
        let answer = application.post(&format!("/v1/data/orset/set{}", elements / 5_000), &json!({ "add": batch }))?;
        ensure!(answer.status == 200, "{answer:?}");
        elements += BATCH;
    }
    // Ends in good order, and bundles.
    await_end(&application)?;
    let mut requests = Vec::new();
    for _ in 0..times {
        let (time, status) = timed(|| application.status())?;
        ensure!(status.complete && status.entries == elements as u64, "{status:?}");
        requests.push(time);
        application.evict()?;
        // Until the broker has noticed: else the next instance would wait for this one to hand it the database.
        sleep(Duration::from_millis(300));
    }
    Ok(Cold {
        name: size.name,
        stored_bytes: stored(&application, "stored_bytes")?,
        values: stored(&application, "keys")?,
        request: Times::of(requests),
    })
}

/// Waits until no instance is left.
fn await_end(application: &Application) -> Result<()> {
    while application.stats()?["instances"] != 0 {
        sleep(Duration::from_millis(50));
    }
    Ok(())
}

fn stored(application: &Application, what: &str) -> Result<u64> {
    let stats: Value = application.stats()?;
    stats["kv"][what].as_u64().with_context(|| format!("no {what}: {stats}"))
}
