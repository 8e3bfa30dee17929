//! One replica as the platform sees it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use dayfly_engine::{Phase, Replica};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How the platform ended a replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// At random.
    Killed,
    /// It had been frozen for too long.
    Reclaimed,
}

/// A replica that lives.
pub struct Slot {
    /// The replica.
    pub replica: Replica,
    /// Its region's place in the list of regions.
    pub region: usize,
    /// Its place in the order of use: greater is later; negative: it was never used.
    pub used: i64,
    /// When it was started.
    pub born: Instant,
    /// When it is killed; none: never.
    pub dies_at: Option<Instant>,
    /// Since when it is frozen, as far as was looked; none while it is awake.
    pub frozen_since: Option<Instant>,
    /// Until when a keeper from outside has it awake (`POST /v1/wake`): it is not chosen for another such wake.
    pub kept_until: Option<Instant>,
    /// Whether it had the whole database when it was last awake.
    pub complete: bool,
    /// What the platform did to it. Once there is something here it is given no more requests.
    pub verdict: Option<Verdict>,
    /// The permit to invoke it: one invocation at a time.
    turn: Arc<Semaphore>,
}

impl Slot {
    /// A slot of a replica that was just started.
    pub fn new(replica: Replica, region: usize, used: i64, life: Option<Duration>) -> Self {
        let born = Instant::now();
        Self {
            replica,
            region,
            used,
            born,
            dies_at: life.map(|life| born + life),
            frozen_since: None,
            kept_until: None,
            complete: false,
            verdict: None,
            turn: Arc::new(Semaphore::new(1)),
        }
    }

    /// The permit to invoke it, if nobody has it.
    pub fn try_turn(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.turn).try_acquire_owned().ok()
    }

    /// What the permit comes from, to wait for it.
    pub fn turn(&self) -> Arc<Semaphore> {
        Arc::clone(&self.turn)
    }

    /// Whether it is awake.
    pub fn is_awake(&self) -> bool {
        matches!(self.replica.report().phase, Phase::Awake { .. })
    }

    /// Notes whether it is frozen.
    pub fn look(&mut self, now: Instant) {
        self.frozen_since = match self.replica.report().phase {
            Phase::Frozen => self.frozen_since.or(Some(now)),
            Phase::Awake { .. } | Phase::Ended(_) => None,
        };
    }
}
