//! Where messages come from.

/// The queues that a replica consumes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// Its own inbox.
    Inbox,
    /// The queue with competing consumers.
    Anyone,
    /// The queue with a single active consumer. Its messages are acknowledged only when what was made of them has been
    /// confirmed, so that the consumer's death loses nothing.
    Combiner,
}
