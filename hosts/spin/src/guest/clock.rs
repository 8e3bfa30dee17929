//! Time and chance.

use std::future::Future;
use std::pin::pin;

use futures_util::future::{Either, select};
use spin_sdk::wasip3::clocks::{monotonic_clock, system_clock};

/// Wall-clock time in milliseconds since 1970.
pub fn now_ms() -> u64 {
    let now = system_clock::now();
    u64::try_from(now.seconds).unwrap_or(0) * 1_000 + u64::from(now.nanoseconds) / 1_000_000
}

/// Waits so many milliseconds.
pub async fn pause(ms: u64) {
    monotonic_clock::wait_for(ms.saturating_mul(1_000_000)).await;
}

/// Waits for something, so many milliseconds at most.
pub async fn within<T>(ms: u64, what: impl Future<Output = T>) -> Option<T> {
    match select(pin!(what), pin!(pause(ms))).await {
        Either::Left((done, _)) => Some(done),
        Either::Right(_) => None,
    }
}

/// 64 random bits.
pub fn random() -> u64 {
    spin_sdk::wasip3::random::random::get_random_u64()
}
