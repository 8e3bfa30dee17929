//! What travels between replicas, broker, platform and clients.

use std::sync::Arc;

use dayfly_engine::contract::{FrameId, Receipt, Request, Route};

use super::moment::Moment;

/// Names a replica of a run: its number in the order of starts. Never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NodeId(pub u32);

impl NodeId {
    /// As an index into the run's replicas.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// A kind of route. Frames are opaque; that they go to somebody by name, or to anyone, is what repair looks like from
/// outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Way {
    /// To all.
    Everyone,
    /// To one by name: answers to requests for repair, and questions to a certain peer.
    One,
    /// To some one: requests for repair.
    Anyone,
    /// To the combiner: what it is to send to everyone.
    Combiner,
    /// To the log: snapshots.
    Log,
}

impl Way {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 5] = [Self::Everyone, Self::One, Self::Anyone, Self::Combiner, Self::Log];

    /// What the report calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Everyone => "everyone",
            Self::One => "one",
            Self::Anyone => "anyone",
            Self::Combiner => "combiner",
            Self::Log => "log",
        }
    }

    /// Of a route.
    pub fn of(route: &Route) -> Self {
        match route {
            Route::Everyone => Self::Everyone,
            Route::One(_) => Self::One,
            Route::Anyone => Self::Anyone,
            Route::Combiner => Self::Combiner,
            Route::Log => Self::Log,
        }
    }
}

/// What a frame holds. All copies share it.
#[derive(Debug)]
pub struct Body {
    /// The bytes.
    pub bytes: Vec<u8>,
    /// The bytes as one number, for traces.
    pub digest: u64,
    /// How many elements are in it; 0, if they are not counted.
    pub elements: u64,
}

/// A copy of a frame, on its way from the broker or in one of its queues.
#[derive(Clone, Debug)]
pub struct Message {
    /// What it holds.
    pub body: Arc<Body>,
    /// Who published it.
    pub from: NodeId,
    /// How.
    pub way: Way,
    /// From when on it is worth nothing.
    pub expires: Moment,
}

/// Which queue a message came out of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The replica's own inbox.
    Inbox,
    /// The queue of competing consumers.
    Anyone,
    /// The queue of which one consumer at a time gets the messages.
    Combiner,
}

/// A request of a client's, or of the keeper's.
#[derive(Clone, Debug)]
pub struct Invocation {
    /// By which the answer is known.
    pub id: u64,
    /// The request; none: it is only to be awake.
    pub request: Option<Box<Request>>,
    /// Whether the answer's body is wanted.
    pub wants_body: bool,
    /// Whether it is to be followed who sees the write.
    pub follow: bool,
}

/// What reaches a replica's host from outside.
#[derive(Debug)]
pub enum Input {
    /// The replica begins its life.
    Start,
    /// The link stands; so many messages wait.
    Attached { link: u32, backlog: usize },
    /// A message, over this link.
    Deliver { link: u32, source: Source, body: Arc<Body> },
    /// A publish's outcome, over this link.
    Settled { link: u32, receipt: Receipt },
    /// What comes next in the log.
    Log { link: u32, bodies: Vec<Arc<Body>>, end: bool },
    /// The link is broken.
    Cut,
    /// An invocation.
    Invoke(Box<Invocation>),
    /// To follow: whether it has seen what this token names.
    Watch { write: u64, token: Arc<str> },
    /// The end.
    Kill,
}

/// What a replica's host does, and when. Times of one host ascend.
#[derive(Debug)]
pub struct Output {
    /// When.
    pub at: Moment,
    /// What.
    pub what: Deed,
}

/// What a replica's host does.
#[derive(Debug)]
pub enum Deed {
    /// Asks for a link, of this number.
    Attach { link: u32 },
    /// Gives up its link, or has lost it with its life.
    Detach,
    /// Gives a frame to the broker.
    Publish { link: u32, id: FrameId, route: Route, body: Arc<Body>, ttl_ms: Option<u32> },
    /// Takes messages of `anyone` from now on, or no more.
    Serve(bool),
    /// Acknowledges so many messages of each queue, the oldest first.
    Acknowledge { inbox: u32, anyone: u32, combiner: u32 },
    /// Asks for the log.
    ReadLog { link: u32 },
    /// Answers an invocation.
    Answer(Box<Answer>),
    /// Has the whole database, for the first time; so many awake periods were begun by then.
    Complete { periods: u32 },
    /// Is frozen.
    Frozen,
    /// Has ended.
    Ended(End),
    /// Has seen a write that is followed.
    Seen { write: u64 },
    /// Will not see it: it was frozen or ended before.
    Gone { write: u64 },
}

/// An invocation's answer.
#[derive(Debug)]
pub struct Answer {
    /// To which.
    pub id: u64,
    /// The HTTP status; 0, if there was no request. 503 stands for a write that was not confirmed in time, too.
    pub status: u16,
    /// The body, if it was wanted.
    pub body: Vec<u8>,
    /// When the replica had applied it.
    pub applied: Moment,
    /// What names the write, if it is to be followed.
    pub token: Option<Arc<str>>,
}

/// How a replica ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// The platform ended it.
    Killed,
    /// Its instance was lost: why.
    Lost(String),
}
