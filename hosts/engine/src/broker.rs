//! What a replica's host needs of a message broker. The in-process [`crate::Bus`] is one; RabbitMQ over AMQP is
//! another.
//!
//! A broker serves one cluster. It has an inbox for each replica, bound to the fan-out `everyone`; a queue `anyone`
//! with competing consumers; and a queue `combiner` of which one consumer at a time is active. Inboxes outlive their
//! replicas' connections, so that a frozen replica finds on waking what was sent meanwhile, and vanish when nobody used
//! them for the retention.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;

use crate::contract::{Frame, Receipt};

pub use dayfly_amqp::Source;

/// A future that a trait object can return.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A broker of one cluster. Shared by all replicas of a process.
pub trait Broker: Send + Sync {
    /// Connects a replica: declares its inbox, or finds the one that it left, and begins to consume it and the queue
    /// `combiner`. Of two links to one inbox the later one has it; the earlier one ends with
    /// [`BrokerError::TakenOver`].
    fn attach(&self, attachment: Attachment) -> BoxFuture<'_, Result<Box<dyn Link>, BrokerError>>;

    /// Opens the log at its beginning. A cluster that keeps none is [`BrokerError::Refused`]. It needs no link, and
    /// any number of readers may be open.
    fn read_log(&self) -> BoxFuture<'_, Result<Box<dyn LogReader>, BrokerError>>;
}

/// Reads the log of a cluster once, from the oldest message that is kept to the newest that was there when it was
/// opened. Dropping it at any time is fine.
pub trait LogReader: Send {
    /// The next messages, oldest first, in batches of at most [`BATCH_MESSAGES_MAX`] and, unless it is one message,
    /// [`BATCH_BYTES_MAX`]; none at the end, and ever after. After an error it is of no use: open the log anew.
    fn next(&mut self) -> BoxFuture<'_, Result<Option<Vec<Bytes>>, BrokerError>>;
}

/// Who connects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attachment {
    /// The replica's name, and so its inbox's.
    pub name: String,
    /// After how many milliseconds without a link the inbox vanishes: `config.retention-ms`.
    pub retention_ms: u64,
}

/// A replica's connection. Dropping it, at any time and however abruptly, gives back what was delivered and not
/// acknowledged, to be delivered again, and leaves the inbox.
pub trait Link: Send {
    /// Hands frames to the broker, in order and after those of earlier calls. Does not wait: each frame's outcome comes
    /// as [`Event::Settled`]. How many frames are in flight is bounded by the replica, which refuses writes beyond.
    fn publish(&mut self, frames: Vec<Frame>);

    /// Begins or ends to consume the queue `anyone`. At first it is not consumed.
    fn serve_anyone(&mut self, serve: bool);

    /// Waits for what comes next. It may be cancelled: nothing is lost. After [`Event::Broken`] it waits forever.
    fn next(&mut self) -> BoxFuture<'_, Event>;

    /// What [`Link::next`] would return at once; `None` if it would wait.
    fn try_next(&mut self) -> Option<Event>;

    /// How many messages waited in the inbox when the link was made, as far as the broker tells: a replica that wakes
    /// takes in so many before it answers.
    fn backlog(&self) -> usize;

    /// Asks the broker for a sign of life and waits for it, [`PROBE_MAX`] at most. If none comes, or the link is dead
    /// already, [`Event::Broken`] is what comes next. To be called whenever time has passed unnoticed, as it does for a
    /// process that was stopped: the connection may have died meanwhile, and a dead one looks like a silent one. It may
    /// be cancelled. By default there is nothing to ask.
    fn probe(&mut self) -> BoxFuture<'_, ()> {
        Box::pin(std::future::ready(()))
    }

    /// Lets the broker forget what was delivered under these tags. Unknown tags are ignored.
    fn acknowledge(&mut self, tags: &[u64]);

    /// Ends the connection in good order: as a drop, after what was handed over has been sent.
    fn detach(self: Box<Self>) -> BoxFuture<'static, ()>;

    /// As [`Link::detach`], and deletes the inbox: the replica leaves for good.
    fn retire(self: Box<Self>) -> BoxFuture<'static, ()>;
}

/// What comes over a link.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// Outcomes of frames that were published over this link, each once.
    Settled(Vec<Receipt>),
    /// Messages, at most [`BATCH_MESSAGES_MAX`]; in bytes at most [`BATCH_BYTES_MAX`], unless it is one message.
    Delivered(Vec<Delivery>),
    /// The link is dead. What was published and is not settled may or may not have arrived.
    Broken(BrokerError),
}

/// How many messages an [`Event::Delivered`] brings at most: enough that a call into the component costs little a
/// message.
pub const BATCH_MESSAGES_MAX: usize = 256;

/// How many bytes an [`Event::Delivered`] brings at most: a call into the component stays short, and what it takes for a
/// moment the component keeps.
pub const BATCH_BYTES_MAX: usize = 128 << 10;

/// How long [`Link::probe`] waits for the broker.
pub const PROBE_MAX: Duration = Duration::from_secs(2);

/// A message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// Names this delivery on this link, to be acknowledged.
    pub tag: u64,
    /// Which queue it came from.
    pub source: Source,
    /// The frame's body.
    pub body: Bytes,
    /// It may have been delivered before.
    pub redelivered: bool,
}

/// Why there is no link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BrokerError {
    /// The connection broke or could not be made. Attach again after a while.
    Unreachable(String),
    /// The broker refused. Attaching again would not help until its configuration is mended.
    Refused(String),
    /// Another link took the inbox: two replicas have one name. The earlier one has to end.
    TakenOver,
}

impl fmt::Display for BrokerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(detail) => write!(f, "the broker cannot be reached: {detail}"),
            Self::Refused(detail) => write!(f, "the broker refused: {detail}"),
            Self::TakenOver => write!(f, "another replica of the same name took the inbox"),
        }
    }
}

impl std::error::Error for BrokerError {}
