//! A model of the broker: inboxes with a bound and an expiry, the queue of competing consumers, the queue of which one
//! consumer at a time gets the messages, and the log. Every accident that may
//! happen to a message happens here or on the way to here, where `cluster.rs` decides it.

use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use super::node::NodeId;

/// A message in a queue. Times are the simulation's own, in milliseconds.
#[derive(Clone, Debug)]
pub struct Message {
    /// The frame's body.
    pub body: Rc<[u8]>,
    /// After this time it may be dropped.
    pub expires: Option<u64>,
}

impl Message {
    fn is_fresh(&self, now: u64) -> bool {
        self.expires.is_none_or(|expires| now <= expires)
    }
}

#[derive(Debug, Default)]
struct Inbox {
    ready: VecDeque<Message>,
    bytes: usize,
    unused_since: Option<u64>,
}

/// An entry of the log.
#[derive(Clone, Debug)]
enum Logged {
    /// What was published.
    Body(Rc<[u8]>),
    /// So many bytes of what nobody asks about: it stands for a lot of frames.
    Filler(u64),
}

impl Logged {
    fn bytes(&self) -> u64 {
        match self {
            Self::Body(body) => body.len() as u64,
            Self::Filler(bytes) => *bytes,
        }
    }
}

/// The broker.
#[derive(Debug, Default)]
pub struct Broker {
    /// The bound of each inbox.
    pub inbox_bytes: usize,
    /// After how long an inbox that nobody consumes disappears.
    pub expiry_ms: u64,
    inboxes: BTreeMap<String, Inbox>,
    anyone: VecDeque<Message>,
    /// Those that consume the queue `combiner`, longest first: the first one gets its messages.
    combiners: Vec<NodeId>,
    for_combiner: VecDeque<Rc<[u8]>>,
    /// How much the log keeps; 0: there is none.
    pub log_bytes: u64,
    log: VecDeque<Logged>,
    logged_bytes: u64,
    /// How many entries were trimmed.
    trimmed: usize,
    /// Messages that fell out of a full inbox.
    pub overflowed: u64,
}

impl Broker {
    /// A broker without queues.
    pub fn new(inbox_bytes: usize, expiry_ms: u64, log_bytes: u64) -> Self {
        Self { inbox_bytes, expiry_ms, log_bytes, ..Self::default() }
    }

    /// Declares an inbox, which does nothing where it stands, and begins to consume it.
    pub fn declare(&mut self, name: &str) {
        self.inboxes.entry(name.to_owned()).or_default().unused_since = None;
    }

    /// Nobody consumes this inbox from now on.
    pub fn abandon(&mut self, name: &str, now: u64) {
        if let Some(inbox) = self.inboxes.get_mut(name) {
            inbox.unused_since.get_or_insert(now);
        }
    }

    /// Deletes an inbox with what is in it.
    pub fn delete(&mut self, name: &str) {
        self.inboxes.remove(name);
    }

    /// Whether this inbox is there.
    pub fn has(&mut self, name: &str, now: u64) -> bool {
        self.expire(now);
        self.inboxes.contains_key(name)
    }

    /// The names of all inboxes.
    pub fn names(&mut self, now: u64) -> Vec<String> {
        self.expire(now);
        self.inboxes.keys().cloned().collect()
    }

    fn expire(&mut self, now: u64) {
        let expiry_ms = self.expiry_ms;
        self.inboxes.retain(|_, inbox| inbox.unused_since.is_none_or(|since| now < since + expiry_ms));
    }

    /// Puts a message into an inbox, if it is there. A full inbox drops its oldest messages.
    pub fn store(&mut self, name: &str, message: Message, now: u64) {
        self.expire(now);
        let Some(inbox) = self.inboxes.get_mut(name) else { return };
        inbox.bytes += message.body.len();
        inbox.ready.push_back(message);
        while inbox.bytes > self.inbox_bytes {
            let oldest = inbox.ready.pop_front().expect("an inbox with bytes has a message");
            inbox.bytes -= oldest.body.len();
            self.overflowed += 1;
        }
    }

    /// Takes at most so many messages out of an inbox, without those that have expired.
    pub fn take(&mut self, name: &str, most: u64, now: u64) -> Vec<Message> {
        let mut taken = Vec::new();
        let Some(inbox) = self.inboxes.get_mut(name) else { return taken };
        while (taken.len() as u64) < most
            && let Some(message) = inbox.ready.pop_front()
        {
            inbox.bytes -= message.body.len();
            if message.is_fresh(now) {
                taken.push(message);
            }
        }
        taken
    }

    /// Whether an inbox has a message.
    pub fn has_mail(&self, name: &str) -> bool {
        self.inboxes.get(name).is_some_and(|inbox| !inbox.ready.is_empty())
    }

    /// What waits in an inbox.
    pub fn waiting(&self, name: &str) -> impl Iterator<Item = &Message> + '_ {
        self.inboxes.get(name).into_iter().flat_map(|inbox| &inbox.ready)
    }

    /// Puts a message into the queue of competing consumers.
    pub fn store_for_anyone(&mut self, message: Message) {
        self.anyone.push_back(message);
    }

    /// Takes the oldest message out of the queue of competing consumers.
    pub fn take_for_anyone(&mut self, now: u64) -> Option<Message> {
        self.anyone.retain(|message| message.is_fresh(now));
        self.anyone.pop_front()
    }

    // --- the queue `combiner` ---

    /// This node consumes the queue `combiner` from now on, if it does not already.
    pub fn consume_for_combiner(&mut self, id: NodeId) {
        if !self.combiners.contains(&id) {
            self.combiners.push(id);
        }
    }

    /// This node does so no longer. What it took and has not acknowledged stays with it, till [`Self::requeue`].
    pub fn stop_combining(&mut self, id: NodeId) {
        self.combiners.retain(|other| *other != id);
    }

    /// Who gets the messages of the queue `combiner` now.
    pub fn combiner(&self) -> Option<NodeId> {
        self.combiners.first().copied()
    }

    /// Puts a message into the queue `combiner`.
    pub fn store_for_combiner(&mut self, body: Rc<[u8]>) {
        self.for_combiner.push_back(body);
    }

    /// Takes at most so many messages out of the queue `combiner`. They are gone for good once they are acknowledged.
    pub fn take_for_combiner(&mut self, most: u64) -> Vec<Rc<[u8]>> {
        let count = self.for_combiner.len().min(most as usize);
        self.for_combiner.drain(..count).collect()
    }

    /// Puts messages that were taken and not acknowledged back to the head of the queue `combiner`, in their order.
    pub fn requeue(&mut self, bodies: impl DoubleEndedIterator<Item = Rc<[u8]>>) {
        bodies.rev().for_each(|body| self.for_combiner.push_front(body));
    }

    /// What waits in the queue `combiner`.
    pub fn waiting_for_combiner(&self) -> impl Iterator<Item = &Rc<[u8]>> + '_ {
        self.for_combiner.iter()
    }

    // --- the log ---

    /// Appends what was published to everyone or to the log, if there is one.
    pub fn append(&mut self, body: Rc<[u8]>) {
        self.log_entry(Logged::Body(body));
    }

    /// Appends so many bytes of nothing, if there is a log.
    pub fn fill_log(&mut self, bytes: u64) {
        self.log_entry(Logged::Filler(bytes));
    }

    fn log_entry(&mut self, entry: Logged) {
        if self.log_bytes == 0 {
            return;
        }
        self.logged_bytes += entry.bytes();
        self.log.push_back(entry);
        while self.logged_bytes > self.log_bytes {
            let oldest = self.log.pop_front().expect("a log with bytes has an entry");
            self.logged_bytes -= oldest.bytes();
            self.trimmed += 1;
        }
    }

    /// From where to where the log reaches now, as numbers of its entries.
    pub fn log_span(&self) -> std::ops::Range<usize> {
        self.trimmed..self.trimmed + self.log.len()
    }

    /// The entries of the log from this number on, at most so many, without those that were trimmed meanwhile.
    pub fn read_log(&self, from: usize, most: usize) -> Vec<Rc<[u8]>> {
        let body = |entry: &Logged| match entry {
            Logged::Body(body) => Some(body.clone()),
            Logged::Filler(_) => None,
        };
        let end = (from + most).saturating_sub(self.trimmed);
        let span = from.saturating_sub(self.trimmed).min(end)..end.min(self.log.len());
        self.log.range(span.start.min(span.end)..span.end).filter_map(body).collect()
    }

    /// Whether the log has lost its oldest entries.
    pub fn is_trimmed(&self) -> bool {
        self.trimmed > 0
    }
}
