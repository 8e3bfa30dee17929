//! One life of a replica in virtual time, with what its host keeps of it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use dayfly_conformance::act::RouteKind;
use dayfly_core::config::Config;
use dayfly_core::effect::{FrameId, Verdict};
use dayfly_core::time::Timestamp;

use crate::broker::Message;
use crate::life::Life;

/// How long an actor without a lease of its own says that it is awake. It is prolonged at half of it.
pub const LEASE_MS: u64 = 3_600_000;

/// Where an actor is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// It receives, is asked and ticks.
    Awake,
    /// It has suspended, and hears only what became of its frames.
    Suspending,
    /// It does nothing at all.
    Frozen,
    /// It never does anything again.
    Dead,
}

/// One life of a replica, with what its host keeps of it.
pub struct Actor {
    /// What the scenario calls it.
    pub label: String,
    /// Its name, as `start` gave it.
    pub name: String,
    /// Its configuration.
    pub config: Config,
    /// Its inbox's bound.
    pub inbox_bytes: usize,
    /// Where it is in its life.
    pub phase: Phase,
    /// By how much its clock is ahead of the true time.
    pub clock_ms: i64,
    /// How long it says that it is awake; none: [`LEASE_MS`], prolonged.
    pub lease_ms: Option<u64>,
    /// The instance.
    pub(crate) life: Box<dyn Life>,
    /// When to prolong the awake period.
    pub(crate) renew: Timestamp,
    /// When it asked to be ticked, by its own clock.
    pub(crate) next_tick: Option<Timestamp>,
    /// When it was last ticked.
    pub(crate) ticked: Option<Timestamp>,
    /// Whether it takes frames for anyone.
    pub(crate) serves_anyone: bool,
    /// Whether it said that it has nothing to do.
    pub(crate) quiet: bool,
    /// How many bodies were given to `receive` since the start.
    pub(crate) received: u64,
    /// The messages of the queue `combiner` that are not acknowledged, with their numbers among all that were received.
    pub(crate) taken: VecDeque<(u64, Message)>,
    /// The ids of all frames that it returned.
    pub(crate) ids: BTreeSet<FrameId>,
    /// Frames of which the broker has not yet said what became of them.
    pub outstanding: BTreeSet<FrameId>,
    /// Frames that answers wait for and that no call has returned yet.
    pub awaited: BTreeSet<FrameId>,
    /// Frames that answers wait for and that are with the broker.
    pub(crate) unconfirmed: BTreeSet<FrameId>,
    /// The verdicts that came.
    pub verdicts: BTreeMap<FrameId, Verdict>,
    /// All that it published.
    pub published: Vec<(RouteKind, Vec<u8>)>,
}

impl Actor {
    /// A life that has just begun, with its clock right; it is frozen until it wakes.
    pub(crate) fn new(label: &str, life: Box<dyn Life>, config: Config, inbox_bytes: usize) -> Self {
        Self {
            label: label.to_owned(),
            name: life.name(),
            config,
            inbox_bytes,
            phase: Phase::Frozen,
            clock_ms: 0,
            lease_ms: None,
            life,
            renew: Timestamp(u64::MAX),
            next_tick: None,
            ticked: None,
            serves_anyone: false,
            quiet: false,
            received: 0,
            taken: VecDeque::new(),
            ids: BTreeSet::new(),
            outstanding: BTreeSet::new(),
            awaited: BTreeSet::new(),
            unconfirmed: BTreeSet::new(),
            verdicts: BTreeMap::new(),
            published: Vec::new(),
        }
    }
}
