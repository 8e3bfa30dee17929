//! The in-process broker: the routes, bounds and failure modes of RabbitMQ, without a server. It is the default.
//!
//! Everything happens at once and under one lock; what a link has to hear is put where [`Link::next`] finds it. With a
//! virtual clock and a seed for the faults, what it does follows from the calls made.

mod faults;
mod log;
mod queue;
mod state;

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::Notify;

use crate::broker::{
    Attachment, BATCH_BYTES_MAX, BATCH_MESSAGES_MAX, BoxFuture, Broker, BrokerError, Event, Link, LogReader,
};
use crate::contract::Frame;
use crate::world::VirtualClock;

pub use faults::Faults;
use state::{LinkId, State};

/// The bounds of a bus.
#[derive(Clone, Debug, PartialEq)]
pub struct BusConfig {
    /// How much an inbox holds, in bytes; at it, the oldest is dropped. A message counts its body and 64 bytes. What is
    /// dropped is healed by repair, which costs more than a larger inbox.
    pub inbox_bytes: usize,
    /// How much the queue `anyone` holds, in bytes; at it, publishing fails, or is unroutable while nobody serves it.
    pub anyone_bytes: usize,
    /// How much the queue `combiner` holds, in bytes; at it, publishing fails.
    pub combiner_bytes: usize,
    /// How many messages of `anyone` a consumer holds unacknowledged: few, so that a busy one does not keep them from
    /// others.
    pub anyone_prefetch: usize,
    /// How many messages of its inbox, and of `combiner`, a replica holds unacknowledged.
    pub prefetch: usize,
    /// How much of what was sent to `everyone`, and to the log itself, is kept to be read again, in bytes; at it, the
    /// oldest goes. A message counts its body and 64 bytes. 0, the default: there is no log, and what is sent to it is
    /// unroutable.
    pub log_bytes: usize,
    /// What goes wrong, by chance. Nothing by default.
    pub faults: Faults,
}

impl Default for BusConfig {
    fn default() -> Self {
        Self {
            inbox_bytes: 16 << 20,
            anyone_bytes: 4 << 20,
            combiner_bytes: 64 << 20,
            anyone_prefetch: 16,
            prefetch: 4_096,
            log_bytes: 0,
            faults: Faults::default(),
        }
    }
}

/// What a bus has done since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BusStats {
    /// Inboxes that there are now.
    pub inboxes: usize,
    /// Frames that were published.
    pub published: u64,
    /// Bytes of them.
    pub published_bytes: u64,
    /// Messages that were delivered, repetitions included.
    pub delivered: u64,
    /// Bytes of them.
    pub delivered_bytes: u64,
    /// Messages that full inboxes dropped.
    pub dropped: u64,
    /// Inboxes that vanished because nobody used them for the retention.
    pub expired_inboxes: u64,
    /// Frames that were reported unroutable.
    pub unroutable: u64,
    /// Frames that were reported failed.
    pub failed: u64,
    /// Messages that the log holds now.
    pub log_messages: usize,
    /// Bytes of their bodies.
    pub log_bytes: usize,
}

/// The in-process broker of one cluster. Clones are the same bus.
#[derive(Clone)]
pub struct Bus {
    shared: Arc<Shared>,
}

struct Shared {
    clock: Clock,
    state: Mutex<State>,
}

enum Clock {
    /// Milliseconds since the bus was made: a wall clock that jumps must not expire inboxes.
    Monotonic(Instant),
    Virtual(VirtualClock),
}

impl Shared {
    fn now_ms(&self) -> u64 {
        match &self.clock {
            Clock::Monotonic(since) => u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX),
            Clock::Virtual(clock) => clock.now_ms(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No call leaves the state half changed where it could panic, so a poisoned lock guards a sound state.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Bus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bus").field("stats", &self.stats()).finish_non_exhaustive()
    }
}

impl Bus {
    /// A bus with these bounds, on the real clock.
    pub fn new(config: BusConfig) -> Self {
        Self::on(Clock::Monotonic(Instant::now()), config)
    }

    /// A bus on a virtual clock. After the clock has moved, [`Bus::poll`] lets delayed messages arrive; times to live
    /// and expiries are looked at by whatever call comes next.
    pub fn with_clock(config: BusConfig, clock: VirtualClock) -> Self {
        Self::on(Clock::Virtual(clock), config)
    }

    fn on(clock: Clock, config: BusConfig) -> Self {
        Self { shared: Arc::new(Shared { clock, state: Mutex::new(State::new(config)) }) }
    }

    /// Connects a replica, as [`Broker::attach`] does, without waiting.
    pub fn connect(&self, attachment: &Attachment) -> BusLink {
        let wake = Arc::new(Notify::new());
        let now_ms = self.shared.now_ms();
        let (id, backlog) = self.shared.lock().connect(attachment, Arc::clone(&wake), now_ms);
        BusLink { shared: Arc::clone(&self.shared), id, wake, backlog, name: attachment.name.clone() }
    }

    /// Lets everything arrive that is due. Needed with a virtual clock only.
    pub fn poll(&self) {
        let now_ms = self.shared.now_ms();
        self.shared.lock().release_delayed(now_ms);
    }

    /// When the next delayed message is due, in the clock's milliseconds.
    pub fn next_due_ms(&self) -> Option<u64> {
        self.shared.lock().next_due_ms()
    }

    /// Breaks the link of the replica of this name, as a network does; whether there was one.
    pub fn cut(&self, name: &str) -> bool {
        let now_ms = self.shared.now_ms();
        self.shared.lock().cut(name, now_ms)
    }

    /// Changes what goes wrong from now on; the seed begins anew.
    pub fn set_faults(&self, faults: Faults) {
        self.shared.lock().set_faults(faults);
    }

    /// What the bus has done.
    pub fn stats(&self) -> BusStats {
        self.shared.lock().stats()
    }

    /// How many messages and bytes wait in this inbox; `None` if there is no such inbox.
    pub fn inbox_load(&self, name: &str) -> Option<(usize, usize)> {
        let now_ms = self.shared.now_ms();
        self.shared.lock().inbox_load(name, now_ms)
    }
}

impl Broker for Bus {
    fn attach(&self, attachment: Attachment) -> BoxFuture<'_, Result<Box<dyn Link>, BrokerError>> {
        Box::pin(async move { Ok(Box::new(self.connect(&attachment)) as Box<dyn Link>) })
    }

    fn read_log(&self) -> BoxFuture<'_, Result<Box<dyn LogReader>, BrokerError>> {
        Box::pin(async move {
            let read = self.shared.lock().read_log();
            match read {
                Some(rest) => Ok(Box::new(BusLogReader { rest: rest.into() }) as Box<dyn LogReader>),
                None => Err(BrokerError::Refused("this bus keeps no log".to_owned())),
            }
        })
    }
}

/// Reads the log as it stood when it was opened; bodies are shared with it.
struct BusLogReader {
    rest: VecDeque<Bytes>,
}

impl LogReader for BusLogReader {
    fn next(&mut self) -> BoxFuture<'_, Result<Option<Vec<Bytes>>, BrokerError>> {
        Box::pin(async move {
            let mut batch = Vec::new();
            let mut bytes = 0;
            while let Some(body) = self.rest.front() {
                bytes += body.len();
                let full = batch.len() == BATCH_MESSAGES_MAX || bytes > BATCH_BYTES_MAX;
                if full && !batch.is_empty() {
                    break;
                }
                batch.extend(self.rest.pop_front());
            }
            Ok((!batch.is_empty()).then_some(batch))
        })
    }
}

/// A replica's connection to a [`Bus`].
pub struct BusLink {
    shared: Arc<Shared>,
    id: LinkId,
    wake: Arc<Notify>,
    backlog: usize,
    name: String,
}

impl fmt::Debug for BusLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BusLink").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Link for BusLink {
    fn publish(&mut self, frames: Vec<Frame>) {
        let now_ms = self.shared.now_ms();
        self.shared.lock().publish(self.id, frames, now_ms);
    }

    fn serve_anyone(&mut self, serve: bool) {
        let now_ms = self.shared.now_ms();
        self.shared.lock().serve_anyone(self.id, serve, now_ms);
    }

    fn next(&mut self) -> BoxFuture<'_, Event> {
        Box::pin(async move {
            loop {
                if let Some(event) = self.try_next() {
                    return event;
                }
                // Whoever has something for this link leaves a permit, so nothing is missed between the look and the
                // wait.
                let due_ms = match &self.shared.clock {
                    Clock::Monotonic(_) => self.shared.lock().next_due_ms(),
                    Clock::Virtual(_) => None,
                };
                match due_ms {
                    None => self.wake.notified().await,
                    Some(due_ms) => {
                        let wait = Duration::from_millis(due_ms.saturating_sub(self.shared.now_ms()) + 1);
                        tokio::select! {
                            () = self.wake.notified() => {}
                            () = tokio::time::sleep(wait) => {}
                        }
                    }
                }
            }
        })
    }

    fn try_next(&mut self) -> Option<Event> {
        let now_ms = self.shared.now_ms();
        self.shared.lock().next_event(self.id, now_ms)
    }

    fn backlog(&self) -> usize {
        self.backlog
    }

    fn acknowledge(&mut self, tags: &[u64]) {
        let now_ms = self.shared.now_ms();
        self.shared.lock().acknowledge(self.id, tags, now_ms);
    }

    fn detach(self: Box<Self>) -> BoxFuture<'static, ()> {
        // What was published has arrived, and dropping the link does the rest.
        Box::pin(async move { drop(self) })
    }

    fn retire(self: Box<Self>) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            let now_ms = self.shared.now_ms();
            self.shared.lock().retire(self.id, now_ms);
        })
    }
}

impl Drop for BusLink {
    fn drop(&mut self) {
        let now_ms = self.shared.now_ms();
        self.shared.lock().disconnect(self.id, now_ms);
    }
}
