//! The keeper: it sees to it that each region has its number of replicas and that they hand the database on.
//!
//! It knows what any client may: who lives (it started them), how long they have been frozen, and what awake ones
//! answer to `GET /v1/status`. On a real platform it would be a scheduled function. Its rules:
//!
//! 1. A region that has fewer than its number gets new ones. A new one is kept awake until it says that it is complete.
//! 2. Some complete replicas are awake at any time ([`Policy::awake_min`]), so that newcomers find somebody to ask.
//! 3. In each region one after the other is woken, the one that has been frozen longest first, at such a pace that each
//!    comes round within [`Policy::wake_within`]; so each takes in what waits for it, and is not reclaimed.
//! 4. A replica of a certain age is no longer woken, once others are complete: the platform reclaims it, and its
//!    successor has the database from the others. So the database outlives every replica of today.
//!
//! The database lives while one complete replica does, awake or frozen: all others may die in the same moment.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;
use tracing::warn;

use super::census::{Entry, Status};
use super::platform::Platform;

/// What a keeper goes by.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Policy {
    /// Each frozen replica is woken in about so long.
    pub wake_within: Duration,
    /// How many complete replicas are to be awake at any time.
    pub awake_min: usize,
    /// From which age on a replica is left to be reclaimed.
    pub renew_age: Duration,
}

/// How often the keeper looks.
const LOOK: Duration = Duration::from_millis(250);
/// A replica that does not become complete is kept awake no longer than this.
const FILL_MAX: Duration = Duration::from_secs(60);
/// Of a region's number, one in so many is left to be reclaimed at once.
const RENEWED_AT_ONCE: usize = 4;

/// A platform's keeper.
pub struct Keeper {
    platform: Arc<Platform>,
    /// None: it only starts replicas in place of lost ones.
    policy: Option<Policy>,
    /// Who has said to be complete.
    complete: BTreeSet<String>,
    /// Who is left to be reclaimed.
    retired: BTreeSet<String>,
    /// How many replicas of each region are due to be woken, with what is left over from earlier rounds.
    due: Vec<f64>,
    last_round: Instant,
}

impl Keeper {
    /// A keeper of this platform.
    pub fn new(platform: Arc<Platform>, policy: Option<Policy>) -> Self {
        let due = vec![0.0; platform.regions().len()];
        Self { platform, policy, complete: BTreeSet::new(), retired: BTreeSet::new(), due, last_round: Instant::now() }
    }

    /// Keeps, without end.
    pub async fn keep(mut self) {
        loop {
            tokio::select! {
                () = tokio::time::sleep(LOOK) => {}
                () = self.platform.changed() => {}
            }
            self.round().await;
        }
    }

    async fn round(&mut self) {
        let roster = self.platform.roster();
        if let Some(policy) = self.policy {
            self.complete.extend(
                self.platform.statuses::<Status>().await.into_iter().filter(|(_, s)| s.complete).map(|(name, _)| name),
            );
            let lives = |name: &String| roster.iter().any(|entry| entry.name == *name);
            self.complete.retain(lives);
            self.retired.retain(lives);
            self.retire(&roster, policy);
            self.wake(&roster, policy).await;
        }
        self.start_missing(&roster).await;
    }

    /// Rule 4.
    fn retire(&mut self, roster: &[Entry], policy: Policy) {
        for (region, wanted) in self.platform.regions().iter().enumerate() {
            let here = || roster.iter().filter(move |entry| entry.region == region);
            let retired = here().filter(|entry| self.retired.contains(&entry.name)).count();
            let oldest = here()
                .filter(|entry| entry.age >= policy.renew_age && !self.retired.contains(&entry.name))
                .max_by_key(|entry| entry.age);
            let Some(oldest) = oldest.filter(|_| retired < wanted.number.div_ceil(RENEWED_AT_ONCE)) else { continue };
            let others = self.complete.iter().filter(|name| !self.retired.contains(*name) && **name != oldest.name);
            if others.count() >= policy.awake_min {
                self.retired.insert(oldest.name.clone());
            }
        }
    }

    /// Rules 2 and 3, and the second half of 1.
    async fn wake(&mut self, roster: &[Entry], policy: Policy) {
        let mut wake: BTreeSet<&str> = BTreeSet::new();
        let kept = || roster.iter().filter(|entry| !self.retired.contains(&entry.name));
        for entry in kept() {
            let incomplete = !self.complete.contains(&entry.name) && entry.age < FILL_MAX;
            if incomplete && entry.frozen_for.is_some() {
                wake.insert(&entry.name);
            }
        }
        let is_complete = |entry: &&Entry| self.complete.contains(&entry.name);
        // The retired ones count: while they are awake they can be asked.
        let awake = roster.iter().filter(is_complete).filter(|entry| entry.frozen_for.is_none()).count();
        let longest_frozen = |mut entries: Vec<&'_ Entry>| -> Vec<String> {
            entries.retain(|entry| entry.frozen_for.is_some());
            entries.sort_by_key(|entry| std::cmp::Reverse(entry.frozen_for));
            entries.into_iter().map(|entry| entry.name.clone()).collect()
        };
        let mut chosen: Vec<String> = Vec::new();
        let frozen = longest_frozen(kept().filter(is_complete).collect());
        chosen.extend(frozen.into_iter().take(policy.awake_min.saturating_sub(awake)));
        // If there is nobody else, one that was to be reclaimed has to hand the database on first.
        if awake == 0 && chosen.is_empty() {
            chosen.extend(longest_frozen(roster.iter().collect()).into_iter().take(1));
        }
        let passed = std::mem::replace(&mut self.last_round, Instant::now()).elapsed();
        for (region, wanted) in self.platform.regions().iter().enumerate() {
            let pace = wanted.number as f64 / policy.wake_within.as_secs_f64();
            // What was due while nobody was frozen is not made up for.
            let due = (self.due[region] + passed.as_secs_f64() * pace).min(wanted.number as f64);
            self.due[region] = due.fract();
            let frozen = longest_frozen(kept().filter(|entry| entry.region == region).collect());
            chosen.extend(frozen.into_iter().take(due as usize));
        }
        wake.extend(chosen.iter().map(String::as_str));
        let mut woken = JoinSet::new();
        for name in wake {
            let (platform, name) = (Arc::clone(&self.platform), name.to_owned());
            woken.spawn(async move { platform.wake(&name).await });
        }
        woken.join_all().await;
    }

    /// Rule 1. A start that fails is tried again in the next round.
    async fn start_missing(&self, roster: &[Entry]) {
        let mut starts = JoinSet::new();
        for (region, wanted) in self.platform.regions().iter().enumerate() {
            let here = roster.iter().filter(|entry| entry.region == region && !self.retired.contains(&entry.name));
            let missing = wanted.number.saturating_sub(here.count() + self.platform.starting(region));
            for _ in 0..missing {
                let platform = Arc::clone(&self.platform);
                starts.spawn(async move { platform.start(region, false).await });
            }
        }
        for started in starts.join_all().await {
            if let Err(error) = started {
                warn!("a replica could not be started: {error}");
            }
        }
    }
}
