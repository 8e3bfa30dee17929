//! What every host needs to know of a cluster's broker over AMQP 0-9-1 (RabbitMQ from 3.10 on), and no I/O: hosts that
//! use different clients have to mean the same queues by it, or they do not share a cluster.
//!
//! | route | on the broker, for a cluster `C` |
//! |---|---|
//! | `everyone` | the durable fan-out exchange `dayfly.C.everyone` |
//! | `one(NAME)` | the durable queue `dayfly.C.node.NAME`, bound to it: expires when unused for the retention, bounded in bytes, drops its oldest |
//! | `anyone` | the durable queue `dayfly.C.anyone`, bounded; what does not fit is refused |
//! | `combiner` | the durable queue `dayfly.C.combiner`, bounded likewise, with a single active consumer |
//! | `log` | the stream `dayfly.C.log`, bound to the exchange too |
//!
//! What the broker has is declared whenever a connection is made, so a cluster needs no set-up and heals after a purge.
//! Publishing is confirmed. Frames with a time to live that go to a single queue are not written to disk; all others
//! are.
//!
//! Time and chance are arguments here, and nothing needs an operating system: it compiles for every target.

mod birth;
mod bounds;
mod combining;
mod ledger;
mod log_mark;
mod names;
mod prefetch;
mod publication;
mod queue;
mod refusal;
mod source;
mod url;

pub use birth::{Birth, TAKE_OVER, TAKE_OVER_BODY, TAKE_OVER_MAX, TAKE_OVER_TTL_MS};
pub use bounds::Bounds;
pub use combining::Combining;
pub use ledger::{Ack, Ledger};
pub use log_mark::{LOG_MARK, LOG_MARK_BODY, LOG_START, LogMark, Logged};
pub use names::Names;
pub use prefetch::{ANYONE_PREFETCH, LOG_PREFETCH, PREFETCH};
pub use publication::{Publication, Route};
pub use queue::{Argument, Arguments, Queue};
pub use refusal::{Hints, Refusal};
pub use source::Source;
pub use url::without_password;
