//! A model of the broker: inboxes with a bound and an expiry, and the queue of competing consumers. Every accident that may
//! happen to a message happens here or on the way to here, where `cluster.rs` decides it.

use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

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

/// The broker.
#[derive(Debug, Default)]
pub struct Broker {
    /// The bound of each inbox.
    pub inbox_bytes: usize,
    /// After how long an inbox that nobody consumes disappears.
    pub expiry_ms: u64,
    inboxes: BTreeMap<String, Inbox>,
    anyone: VecDeque<Message>,
    /// Messages that fell out of a full inbox.
    pub overflowed: u64,
}

impl Broker {
    /// A broker without queues.
    pub fn new(inbox_bytes: usize, expiry_ms: u64) -> Self {
        Self { inbox_bytes, expiry_ms, ..Self::default() }
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
}
