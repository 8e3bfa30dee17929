//! A replica with what its host holds for it.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::rc::Rc;

use dayfly_core::config::Config;
use dayfly_core::effect::{Frame, FrameId, Receipt};
use dayfly_core::time::Timestamp;

use crate::life::Life;

/// Names a node of a cluster: one life of a replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NodeId(pub usize);

/// What the platform lets a node do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Its host makes calls.
    Awake,
    /// It was suspended or has left; its last frames are on their way.
    Ending,
    /// Nothing happens. It does not know.
    Frozen,
    /// It will never be called again.
    Dead,
}

/// A node.
pub struct Node {
    /// The replica's name.
    pub name: String,
    /// The replica.
    pub life: Box<dyn Life>,
    /// Its configuration.
    pub config: Config,
    /// What it may do.
    pub phase: Phase,
    /// Whether it ends for good.
    pub leaves: bool,
    /// By how much its clock is wrong, in milliseconds.
    pub offset_ms: i64,
    /// Changes with each beginning of an awake period and each end, so that an event can tell that it is of another one.
    pub period: u64,
    /// When to tick.
    pub tick_at: Option<Timestamp>,
    /// Changes with `tick_at`.
    pub tick_order: u64,
    /// What the last call said.
    pub serve_anyone: bool,
    /// What the last call said.
    pub quiet: bool,
    /// Frames that the host has not published.
    pub outgoing: VecDeque<Frame>,
    /// Whether an event will publish them.
    pub is_pumping: bool,
    /// Whether an event will empty the inbox.
    pub is_polling: bool,
    /// Published frames that the host has not reported on.
    pub outstanding: BTreeMap<FrameId, ()>,
    /// Outcomes that came while it was frozen.
    pub late: Vec<Receipt>,
    /// How many bodies were given to `receive` since the start.
    pub received: u64,
    /// The messages of the queue `combiner` that are not acknowledged, with their numbers among all that were received.
    pub taken: VecDeque<(u64, Rc<[u8]>)>,
    /// Whether it waits for the log.
    pub wants_replay: bool,
    /// Which entries of the log are to be read, while it is.
    pub replaying: Option<Range<usize>>,
    /// The version of the last checkpoint.
    pub saved: u64,
    /// The neighbours that it was told, by name.
    pub neighbours: Vec<String>,
}

impl Node {
    /// What its clock shows at this time of the simulation.
    pub fn clock(&self, now: u64) -> Timestamp {
        Timestamp(now.saturating_add_signed(self.offset_ms))
    }

    /// When its clock shows this time.
    pub fn moment(&self, at: Timestamp) -> u64 {
        at.0.saturating_add_signed(-self.offset_ms)
    }

    /// Whether it is not dead.
    pub fn lives(&self) -> bool {
        self.phase != Phase::Dead
    }
}
