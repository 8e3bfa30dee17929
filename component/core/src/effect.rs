//! What a call asks of its host, as data. The counterpart of `wit/types.wit` and `wit/outbox.wit`, where each item is explained.

use crate::time::Timestamp;

/// Where a frame goes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Route {
    /// The inbox of every replica of the cluster.
    Everyone,
    /// The inbox of the replica of this name.
    One(String),
    /// Some one replica that serves `anyone`.
    Anyone,
    /// The one replica that consumes the combining queue.
    Combiner,
    /// The log that the broker keeps.
    Log,
}

/// Identifies a frame within one incarnation; never given twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FrameId(pub u64);

/// A message for the broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// To be named in a [`Receipt`].
    pub id: FrameId,
    /// Where to.
    pub route: Route,
    /// The encoded frame.
    pub body: Vec<u8>,
    /// After how many milliseconds the frame is worth nothing.
    pub ttl_ms: Option<u32>,
}

/// What a call asks of its host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Effects {
    /// Frames to publish, in this order.
    pub frames: Vec<Frame>,
    /// When to tick at latest.
    pub next_tick: Option<Timestamp>,
    /// Whether this replica takes frames sent to `anyone`.
    pub serve_anyone: bool,
    /// Whether nothing is left to do.
    pub quiet: bool,
    /// Whether the replica started anew after too long a freeze: the host hands in stored state again.
    pub started_anew: bool,
    /// Whether the replica waits for what the log tells.
    pub replay: bool,
    /// How many of the messages received are done with, from the first on.
    pub done_with: u64,
}

/// How the broker answered a publish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The broker has taken responsibility.
    Confirmed,
    /// No such inbox.
    Unroutable,
    /// Refused, or unknown because the connection broke.
    Failed,
}

/// One frame's outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// Which frame.
    pub id: FrameId,
    /// What became of it.
    pub verdict: Verdict,
}
