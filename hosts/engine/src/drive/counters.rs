//! What a replica has sent and received, in numbers.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use crate::broker::{Delivery, Source};
use crate::contract::{Frame, Receipt, Route, Verdict};

/// A number of messages and their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Volume {
    /// How many.
    pub frames: u64,
    /// Bytes of their bodies.
    pub bytes: u64,
}

impl Volume {
    fn add(&mut self, body: &[u8]) {
        self.frames += 1;
        self.bytes += body.len() as u64;
    }
}

/// What was handed to the broker, by route. What the component made while there was no link is not in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    /// To every inbox.
    pub everyone: Volume,
    /// To one inbox.
    pub one: Volume,
    /// To some replica.
    pub anyone: Volume,
    /// To the combiner.
    pub combiner: Volume,
    /// To the log.
    pub log: Volume,
}

/// What was delivered, by the queue that it came from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Received {
    /// From its own inbox.
    pub inbox: Volume,
    /// From the queue with competing consumers.
    pub anyone: Volume,
    /// From the combining queue.
    pub combiner: Volume,
    /// How many of all these may have been delivered before.
    pub redelivered: u64,
}

/// How long frames took from being handed over to being confirmed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Latency {
    /// How many took at most so long as [`Latency::BOUNDS_MS`] says, and longer than the bound before; the last: longer
    /// than all bounds.
    pub counts: [u64; Latency::BOUNDS_MS.len() + 1],
    /// All their times together, in microseconds.
    pub sum_us: u64,
}

impl Latency {
    /// The upper bounds of the counts, in milliseconds.
    pub const BOUNDS_MS: [u64; 12] = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000];

    /// How many there were.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    fn add(&mut self, took: Duration) {
        let bucket = Self::BOUNDS_MS.iter().take_while(|bound_ms| took > Duration::from_millis(**bound_ms)).count();
        self.counts[bucket] += 1;
        self.sum_us += u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
    }
}

/// What a replica has sent and received since it was started. All numbers but `backlog` only grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// What it handed to the broker.
    pub sent: Sent,
    /// What it was delivered.
    pub received: Received,
    /// What it read of the log.
    pub replayed: Volume,
    /// Frames that the broker has confirmed, by how long that took.
    pub confirmed: Latency,
    /// Frames that the broker returned because nobody would get them.
    pub unroutable: u64,
    /// Frames that the broker refused, or of which a broken or absent link leaves it open whether they arrived.
    pub failed: u64,
    /// How often a link that broke was replaced.
    pub reconnections: u64,
    /// How many messages waited in the inbox when the present link was made.
    pub backlog: u64,
}

/// The numbers, as the loop writes them and others read them. Each call holds the lock for a few additions.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counters(Arc<Mutex<Traffic>>);

impl Counters {
    pub(crate) fn read(&self) -> Traffic {
        *self.lock()
    }

    fn lock(&self) -> MutexGuard<'_, Traffic> {
        // Numbers are sound wherever an addition stopped.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn sent(&self, frames: &[Frame]) {
        let sent = &mut self.lock().sent;
        for frame in frames {
            let volume = match &frame.route {
                Route::Everyone => &mut sent.everyone,
                Route::One(_) => &mut sent.one,
                Route::Anyone => &mut sent.anyone,
                Route::Combiner => &mut sent.combiner,
                Route::Log => &mut sent.log,
            };
            volume.add(&frame.body);
        }
    }

    pub(super) fn received(&self, deliveries: &[Delivery]) {
        let received = &mut self.lock().received;
        for delivery in deliveries {
            let volume = match delivery.source {
                Source::Inbox => &mut received.inbox,
                Source::Anyone => &mut received.anyone,
                Source::Combiner => &mut received.combiner,
            };
            volume.add(&delivery.body);
            received.redelivered += u64::from(delivery.redelivered);
        }
    }

    /// An outcome of a frame that was handed over at this time; none if there was no link to hand it to.
    pub(super) fn settled(&self, receipt: &Receipt, sent_at: Option<Instant>) {
        let mut traffic = self.lock();
        match receipt.verdict {
            Verdict::Confirmed => {
                if let Some(sent_at) = sent_at {
                    traffic.confirmed.add(sent_at.elapsed());
                }
            }
            Verdict::Unroutable => traffic.unroutable += 1,
            Verdict::Failed => traffic.failed += 1,
        }
    }

    pub(super) fn replayed(&self, bodies: &[Bytes]) {
        let replayed = &mut self.lock().replayed;
        bodies.iter().for_each(|body| replayed.add(body));
    }

    pub(super) fn attached(&self, backlog: usize, again: bool) {
        let mut traffic = self.lock();
        traffic.backlog = backlog as u64;
        traffic.reconnections += u64::from(again);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_counted_where_they_belong() {
        let mut latency = Latency::default();
        for micros in [0, 1_000, 1_001, 5_000_000, 5_000_001] {
            latency.add(Duration::from_micros(micros));
        }
        assert_eq!((latency.counts[0], latency.counts[1], latency.counts[11], latency.counts[12]), (2, 1, 1, 1));
        assert_eq!((latency.count(), latency.sum_us), (5, 10_002_002));
    }
}
