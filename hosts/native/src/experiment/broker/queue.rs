//! A bounded queue of messages.

use std::collections::VecDeque;

use crate::experiment::message::Message;
use crate::experiment::moment::Moment;

/// What a message counts against a bound beyond its body, as the in-process broker counts it.
const OVERHEAD_BYTES: usize = 64;

/// What a message counts against a queue's bound.
pub fn size(message: &Message) -> usize {
    message.body.bytes.len() + OVERHEAD_BYTES
}

/// First in, first out. `bytes` is always the sum of the sizes.
#[derive(Debug, Default)]
pub struct Queue {
    messages: VecDeque<Message>,
    bytes: usize,
}

impl Queue {
    /// How many wait.
    pub fn len(&self) -> usize {
        self.messages.len()
    }

    /// Adds at the end.
    pub fn push(&mut self, message: Message) {
        self.bytes += size(&message);
        self.messages.push_back(message);
    }

    /// Puts back at the head.
    pub fn push_front(&mut self, message: Message) {
        self.bytes += size(&message);
        self.messages.push_front(message);
    }

    /// Whether one more of this size stays within the bound.
    pub fn has_room(&self, more: usize, bound_bytes: usize) -> bool {
        self.bytes + more <= bound_bytes
    }

    /// Drops from the head until the bound holds; gives how many.
    pub fn trim(&mut self, bound_bytes: usize) -> u64 {
        let mut dropped = 0;
        while self.bytes > bound_bytes && self.take().is_some() {
            dropped += 1;
        }
        dropped
    }

    /// Takes the first message that is still worth something; adds to `expired` how many were not.
    pub fn pop(&mut self, now: Moment, expired: &mut u64) -> Option<Message> {
        loop {
            let message = self.take()?;
            if now < message.expires {
                return Some(message);
            }
            *expired += 1;
        }
    }

    /// Drops those that are worth nothing; gives how many.
    pub fn drop_expired(&mut self, now: Moment) -> u64 {
        let before = self.messages.len();
        self.messages.retain(|message| now < message.expires);
        self.bytes = self.messages.iter().map(size).sum();
        (before - self.messages.len()) as u64
    }

    /// All messages, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &Message> {
        self.messages.iter()
    }

    fn take(&mut self) -> Option<Message> {
        let message = self.messages.pop_front()?;
        self.bytes -= size(&message);
        Some(message)
    }
}
