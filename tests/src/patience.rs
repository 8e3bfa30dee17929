//! How long tests wait for what is to come about.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

/// How long anything that is awaited may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(50);

/// Waits until this holds.
///
/// # Errors
/// It does not hold within a minute, or looking at it fails.
pub fn await_that(what: &str, mut holds: impl FnMut() -> Result<bool>) -> Result<()> {
    let until = Instant::now() + PATIENCE;
    while !holds()? {
        ensure!(Instant::now() < until, "not within {PATIENCE:?}: {what}");
        thread::sleep(POLL);
    }
    Ok(())
}
