//! The way to the broker: made in the background, mended when it breaks, and not trusted where time has passed
//! unnoticed.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use super::{Drive, End};
use crate::broker::{BoxFuture, Broker, BrokerError, Link, PROBE_MAX};
use crate::replica::Ended;
use crate::world::{Chance, system_now_ms};

/// An attempt to connect.
pub(super) type Attaching = BoxFuture<'static, Result<Box<dyn Link>, BrokerError>>;

/// Between two attempts to reach a broker that is away, at first and at most.
const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// How long one attempt may take: a broker that takes a connection and says nothing is away.
const ATTACH_MAX: Duration = Duration::from_secs(20);
/// By how much a turn of the loop may be late, in milliseconds, before the process counts as having been stopped: longer
/// than a busy machine keeps a thread waiting, shorter than any broker's patience.
const GAP_MIN_MS: u64 = 2_000;

/// Pauses between attempts: doubled each time, up to a bound, and shortened by chance to between half and the whole, so
/// that not all replicas come back to a broker at once.
#[derive(Debug)]
pub(super) struct Backoff {
    pause: Duration,
    chance: Chance,
}

impl Backoff {
    pub(super) fn new() -> Self {
        // A system without randomness starts no replica; that all come back at once would be the lesser harm.
        Self { pause: RETRY.0, chance: Chance::new(getrandom::u64().unwrap_or(0)) }
    }

    /// How long to wait before the next attempt.
    pub(super) fn pause(&mut self) -> Duration {
        let pause = self.pause.mul_f64(0.5 + self.chance.next_f64() / 2.0);
        self.pause = (self.pause * 2).min(RETRY.1);
        pause
    }

    /// The last attempt has led to something.
    pub(super) fn reset(&mut self) {
        self.pause = RETRY.0;
    }
}

/// When the loop's turn has to be over, to notice that the process was stopped (SIGSTOP, a frozen container, a laptop
/// that slept). Wall-clock time: others stop with the machine.
#[derive(Debug)]
pub(super) struct Watch {
    due_ms: u64,
}

impl Watch {
    pub(super) fn new() -> Self {
        Self { due_ms: system_now_ms() }
    }

    /// Something takes until then, and nothing is wrong with that.
    pub(super) fn expect(&mut self, within: Duration) {
        self.due_ms = system_now_ms().saturating_add(u64::try_from(within.as_millis()).unwrap_or(u64::MAX));
    }

    /// How late it is, in milliseconds, if that is too much.
    fn gap_ms(&self) -> Option<u64> {
        Some(system_now_ms().saturating_sub(self.due_ms)).filter(|late_ms| *late_ms > GAP_MIN_MS)
    }
}

/// Waits for an attempt; forever, without one.
pub(super) async fn attached(attaching: Option<&mut Attaching>) -> Result<Box<dyn Link>, BrokerError> {
    match attaching {
        Some(attaching) => attaching.await,
        None => std::future::pending().await,
    }
}

impl Drive {
    /// Begins to connect after a pause, unless there is a link or an attempt is under way.
    pub(super) fn begin_attaching(&mut self, pause: Duration) {
        if self.link.is_some() || self.attaching.is_some() {
            return;
        }
        let (broker, attachment): (Arc<dyn Broker>, _) = (Arc::clone(&self.broker), self.attachment.clone());
        self.attaching = Some(Box::pin(async move {
            sleep(pause).await;
            match timeout(ATTACH_MAX, broker.attach(attachment)).await {
                Ok(outcome) => outcome,
                Err(_) => Err(BrokerError::Unreachable(format!("no answer within {} s", ATTACH_MAX.as_secs()))),
            }
        }));
    }

    /// Takes in how an attempt ended; whether there is a link now. What the component has to be told of it is told by
    /// [`Drive::fail_stale`], which is the caller's to call.
    pub(super) fn adopt(&mut self, outcome: Result<Box<dyn Link>, BrokerError>) -> Result<bool, End> {
        self.attaching = None;
        match outcome {
            Ok(mut link) => {
                if self.serves_anyone {
                    link.serve_anyone(true);
                }
                self.counters.attached(link.backlog(), std::mem::take(&mut self.broke));
                self.link = Some(link);
                // What was under way over the former link, or had none, may or may not have arrived.
                self.stale.extend(std::mem::take(&mut self.unsettled).into_keys());
                Ok(true)
            }
            Err(BrokerError::Unreachable(_)) => {
                let pause = self.backoff.pause();
                self.begin_attaching(pause);
                Ok(false)
            }
            Err(error @ (BrokerError::Refused(_) | BrokerError::TakenOver)) => Err(End(Ended::Refused(error))),
        }
    }

    /// Connects at once if the broker can be reached within this time; else the attempts go on in the background.
    pub(super) async fn reach_broker(&mut self, within: Duration) -> Result<(), End> {
        let until = Instant::now() + within;
        self.begin_attaching(Duration::ZERO);
        while self.link.is_none() {
            let Ok(outcome) = tokio::time::timeout_at(until, attached(self.attaching.as_mut())).await else { break };
            self.adopt(outcome)?;
        }
        Ok(())
    }

    /// The broker can be reached again while the replica is awake.
    pub(super) fn reconnected(&mut self, outcome: Result<Box<dyn Link>, BrokerError>) -> Result<(), End> {
        if !self.adopt(outcome)? {
            return Ok(());
        }
        if let Some(until_ms) = self.awake_until_ms.filter(|_| std::mem::take(&mut self.unannounced)) {
            let effects = self.instance.wake(until_ms)?;
            self.carry_out(effects);
        }
        self.fail_stale()
    }

    /// What the link left unsettled is failed when there is another.
    pub(super) fn link_broke(&mut self, error: BrokerError) -> Result<(), End> {
        self.link = None;
        self.broke = true;
        self.combining.clear();
        match error {
            BrokerError::Unreachable(_) => Ok(()),
            BrokerError::Refused(_) | BrokerError::TakenOver => Err(End(Ended::Refused(error))),
        }
    }

    /// Gives the link up for a new one, at once: what it delivered and was not acknowledged comes again.
    pub(super) fn renew_link(&mut self) {
        self.link = None;
        self.broke = true;
        self.combining.clear();
    }

    /// Looks whether the process was stopped for a while. The link is asked for a sign of life then; if it gives none,
    /// it says that it is broken.
    pub(super) async fn notice_gap(&mut self) {
        if let Some(gap_ms) = self.watch.gap_ms() {
            self.gaps.0 += 1;
            self.gaps.1 = self.gaps.1.max(gap_ms);
            if let Some(link) = &mut self.link
                && timeout(2 * PROBE_MAX, link.probe()).await.is_err()
            {
                self.renew_link();
            }
        }
        self.watch.expect(Duration::ZERO);
    }
}
