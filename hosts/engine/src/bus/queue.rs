//! A bounded queue of messages, as a broker keeps it.

use std::collections::VecDeque;

use bytes::Bytes;

/// A message that waits. Copies share the bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) body: Bytes,
    /// From when on it is worth nothing, in the bus's milliseconds.
    pub(super) expires_at_ms: Option<u64>,
    pub(super) redelivered: bool,
}

/// What a message counts beyond its body: a flood of empty ones must meet the bound too.
pub(super) const MESSAGE_OVERHEAD_BYTES: usize = 64;

impl Message {
    pub(super) fn size(&self) -> usize {
        self.body.len() + MESSAGE_OVERHEAD_BYTES
    }

    pub(super) fn is_expired(&self, now_ms: u64) -> bool {
        self.expires_at_ms.is_some_and(|at| at <= now_ms)
    }
}

/// First in, first out. `bytes` is always the sum of the messages' sizes, and at most `bound_bytes` after each push.
#[derive(Debug)]
pub(super) struct Queue {
    messages: VecDeque<Message>,
    bytes: usize,
    bound_bytes: usize,
}

impl Queue {
    pub(super) fn new(bound_bytes: usize) -> Self {
        Self { messages: VecDeque::new(), bytes: 0, bound_bytes }
    }

    pub(super) fn len(&self) -> usize {
        self.messages.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Adds at the end, and drops from the head until the bound holds. Returns how many were dropped; a message that is
    /// larger than the bound is dropped itself, after all others.
    pub(super) fn push_dropping_head(&mut self, message: Message) -> usize {
        self.bytes += message.size();
        self.messages.push_back(message);
        self.trim()
    }

    /// Adds at the end if the bound allows; else gives it back.
    pub(super) fn push_within(&mut self, message: Message, now_ms: u64) -> Result<(), Message> {
        if self.bytes + message.size() > self.bound_bytes {
            self.drop_expired(now_ms);
        }
        if self.bytes + message.size() > self.bound_bytes {
            return Err(message);
        }
        self.bytes += message.size();
        self.messages.push_back(message);
        Ok(())
    }

    /// Puts a message back at the head. The caller trims.
    pub(super) fn push_front(&mut self, message: Message) {
        self.bytes += message.size();
        self.messages.push_front(message);
    }

    /// Drops from the head until the bound holds; returns how many.
    pub(super) fn trim(&mut self) -> usize {
        let mut dropped = 0;
        while self.bytes > self.bound_bytes && self.take_head().is_some() {
            dropped += 1;
        }
        dropped
    }

    /// Takes the first message that is still worth something.
    pub(super) fn pop(&mut self, now_ms: u64) -> Option<Message> {
        loop {
            let message = self.take_head()?;
            if !message.is_expired(now_ms) {
                return Some(message);
            }
        }
    }

    /// The size of what [`Queue::pop`] would return.
    pub(super) fn peek_size(&mut self, now_ms: u64) -> Option<usize> {
        while self.messages.front()?.is_expired(now_ms) {
            self.take_head();
        }
        self.messages.front().map(Message::size)
    }

    fn drop_expired(&mut self, now_ms: u64) {
        self.messages.retain(|message| !message.is_expired(now_ms));
        self.bytes = self.messages.iter().map(Message::size).sum();
    }

    fn take_head(&mut self) -> Option<Message> {
        let message = self.messages.pop_front()?;
        self.bytes -= message.size();
        Some(message)
    }
}
