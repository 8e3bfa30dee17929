//! What goes into a session and what comes out, but for bytes.

use dayfly_amqp::{Birth, Bounds, Names, Route, Source};

use super::Address;

/// What a session is made for.
#[derive(Clone, Debug)]
pub struct Opening {
    /// Where the broker is, and who connects.
    pub address: Address,
    /// What the cluster's things are called.
    pub names: Names,
    /// What they hold.
    pub bounds: Bounds,
    /// The replica's name, and so its inbox's.
    pub name: String,
    /// After how many milliseconds without a consumer the inbox vanishes; at least 1.
    pub inbox_expires_ms: u64,
    /// Nothing that is published outlives this, in milliseconds: `config.retention-ms`.
    pub retention_ms: u64,
    /// How often each side shows that it lives, in seconds, unless the URL tells; 0: never. The broker may want it more
    /// often.
    pub heartbeat_s: u16,
    /// How long it may take until the session is ready, in milliseconds.
    pub connect_ms: u64,
    /// When this session was made, with fresh randomness: of two for one inbox, the later has it.
    pub birth: Birth,
}

/// A frame to publish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Names it in [`Event::Settled`].
    pub id: u64,
    /// Where to.
    pub route: Route<'a>,
    /// What.
    pub body: Vec<u8>,
    /// After how many milliseconds it is worth nothing; none: keep it for the retention.
    pub ttl_ms: Option<u32>,
}

/// What became of a frame, as in the contract (`outbox.verdict`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The broker has taken responsibility for it.
    Confirmed,
    /// No such inbox exists, or no such queue.
    Unroutable,
    /// The broker refused it.
    Failed,
}

/// A message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// Names it in [`super::Session::acknowledge`]; within this session.
    pub tag: u64,
    /// Which queue it came from.
    pub source: Source,
    /// The frame's body.
    pub body: Vec<u8>,
    /// It may have been delivered before.
    pub redelivered: bool,
}

/// What happens in a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// All is declared and consumed. It comes once, before any other but the last.
    Ready {
        /// How many messages waited in the inbox.
        backlog: u32,
        /// How many consumed `anyone` before us: with none, nobody may be there to hand us the database.
        servers: u32,
    },
    /// Outcomes of frames, in the order in which they were published, each once.
    Settled(Vec<(u64, Verdict)>),
    /// A message.
    Delivered(Delivery),
    /// The next messages of the log, oldest first: at most [`LOG_BATCH_MESSAGES_MAX`] and, unless it is one,
    /// [`LOG_BATCH_BYTES_MAX`].
    LogBatch(Vec<Vec<u8>>),
    /// The log has no more, as of when [`super::Session::read_log`] was called.
    LogEnd,
    /// The last one: the broker refused. Trying again would not help until what the text names is mended.
    Refused(String),
    /// The last one: the connection broke, or could not be made. Try again after a while.
    Broken(String),
    /// The last one: another session took the inbox. Two replicas have one name, and this one has to end.
    TakenOver,
    /// The last one: [`super::Session::close`] is done.
    Closed,
}

/// How many messages an [`Event::LogBatch`] brings at most, so that one call into the component costs little a message.
pub const LOG_BATCH_MESSAGES_MAX: usize = 256;

/// How many bytes an [`Event::LogBatch`] brings at most, so that one call into the component stays short.
pub const LOG_BATCH_BYTES_MAX: usize = 1 << 20;
