//! What a broker counts.

use serde::{Deserialize, Serialize};

use crate::experiment::message::{Body, Message, NodeId};

/// Messages and what was in them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct Flow {
    /// How many.
    pub messages: u64,
    /// The bytes of their bodies.
    pub bytes: u64,
    /// The elements in them, if they are counted.
    pub elements: u64,
}

impl Flow {
    /// One more.
    pub fn add(&mut self, body: &Body) {
        self.messages += 1;
        self.bytes += body.bytes.len() as u64;
        self.elements += body.elements;
    }

    /// One less.
    fn take_back(&mut self, body: &Body) {
        self.messages -= 1;
        self.bytes -= body.bytes.len() as u64;
        self.elements -= body.elements;
    }

    /// Both together.
    pub fn plus(self, other: Self) -> Self {
        Self {
            messages: self.messages + other.messages,
            bytes: self.bytes + other.bytes,
            elements: self.elements + other.elements,
        }
    }

    /// What came since. What was taken back since of what was counted earlier makes it no less than nothing.
    pub fn since(self, earlier: Self) -> Self {
        Self {
            messages: self.messages.saturating_sub(earlier.messages),
            bytes: self.bytes.saturating_sub(earlier.bytes),
            elements: self.elements.saturating_sub(earlier.elements),
        }
    }
}

/// What became of messages. A *copy* is a message in one queue; each copy that came into being was acknowledged,
/// dropped, lost, or vanished with its inbox, has expired, or is still there ([`Tally::accounts_for`]).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    /// Frames that came in, by [`crate::experiment::message::Way`].
    pub published: [Flow; 5],
    /// Messages that went out to replicas, those that went out again included, likewise.
    pub delivered: [Flow; 5],
    /// Of these, those that went to who had sent them.
    pub delivered_own: Flow,
    /// Frames that were confirmed.
    pub confirmed: u64,
    /// Frames whose inbox there was not, or that nobody was there to take.
    pub unroutable: u64,
    /// Frames that were refused, or said to be.
    pub failed: u64,
    /// Frames that were under way when their link broke.
    pub lost_on_links: u64,
    /// Copies that came into being, the lost ones included.
    pub copies: u64,
    /// Copies that a replica acknowledged.
    pub acknowledged: u64,
    /// Copies too many.
    pub duplicated: u64,
    /// Copies that were lost by accident.
    pub lost: u64,
    /// Copies that outlived their time in a queue.
    pub expired: u64,
    /// Copies that full inboxes dropped.
    pub dropped: u64,
    /// Copies in inboxes that expired.
    pub vanished: u64,
    /// Inboxes that did.
    pub expired_inboxes: u64,
    /// Bytes of the log that were read.
    pub log_read_bytes: u64,
}

impl Tally {
    /// A message that was counted as delivered to that replica has not left: its link broke before.
    pub fn take_back(&mut self, message: &Message, to: NodeId) {
        self.delivered[message.way as usize].take_back(&message.body);
        if message.from == to {
            self.delivered_own.take_back(&message.body);
        }
    }

    /// What was counted since an earlier time.
    pub fn since(&self, earlier: &Self) -> Self {
        let flows = |now: &[Flow; 5], before: &[Flow; 5]| std::array::from_fn(|way| now[way].since(before[way]));
        Self {
            published: flows(&self.published, &earlier.published),
            delivered: flows(&self.delivered, &earlier.delivered),
            delivered_own: self.delivered_own.since(earlier.delivered_own),
            confirmed: self.confirmed - earlier.confirmed,
            unroutable: self.unroutable - earlier.unroutable,
            failed: self.failed - earlier.failed,
            lost_on_links: self.lost_on_links - earlier.lost_on_links,
            copies: self.copies - earlier.copies,
            acknowledged: self.acknowledged - earlier.acknowledged,
            duplicated: self.duplicated - earlier.duplicated,
            lost: self.lost - earlier.lost,
            expired: self.expired - earlier.expired,
            dropped: self.dropped - earlier.dropped,
            vanished: self.vanished - earlier.vanished,
            expired_inboxes: self.expired_inboxes - earlier.expired_inboxes,
            log_read_bytes: self.log_read_bytes - earlier.log_read_bytes,
        }
    }

    /// Whether all copies are accounted for, if so many wait in queues or with consumers.
    pub fn accounts_for(&self, waiting: u64) -> bool {
        self.copies == self.acknowledged + self.lost + self.expired + self.dropped + self.vanished + waiting
    }
}
