//! What a bus knows: queues, links, and which message is where.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::Notify;

use super::faults::{Dice, Faults, Publish};
use super::log::Log;
use super::queue::{Message, Queue};
use super::{BusConfig, BusStats};
use crate::broker::{Attachment, BATCH_BYTES_MAX, BATCH_MESSAGES_MAX, BrokerError, Delivery, Event, Source};
use crate::contract::{Frame, Receipt, Route, Verdict};

/// Names a link; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct LinkId(u64);

struct Inbox {
    queue: Queue,
    retention_ms: u64,
    /// The link that consumes it.
    link: Option<LinkId>,
    /// Since when no link does; it means nothing while one does.
    unused_since_ms: u64,
}

impl Inbox {
    /// When it vanishes if nobody comes; `None` while it is used.
    fn expires_at_ms(&self) -> Option<u64> {
        self.link.is_none().then(|| self.unused_since_ms.saturating_add(self.retention_ms))
    }

    fn is_expired(&self, now_ms: u64) -> bool {
        self.expires_at_ms().is_some_and(|at_ms| at_ms <= now_ms)
    }
}

struct LinkState {
    name: String,
    wake: Arc<Notify>,
    /// Outcomes that it has not heard of.
    receipts: Vec<Receipt>,
    /// Messages of `anyone` and `combiner` that are its own and that it has not been given.
    assigned: VecDeque<(Source, Message)>,
    /// What it was given and has not acknowledged, by tag.
    unacknowledged: BTreeMap<u64, (Source, Message)>,
    /// How many of `assigned` and `unacknowledged` are of the queue `anyone`, and of `combiner`.
    held: Held,
    next_tag: u64,
    /// Why it is dead.
    broken: Option<BrokerError>,
    /// It has heard so.
    told: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Held {
    anyone: usize,
    combiner: usize,
}

impl LinkState {
    fn assign(&mut self, source: Source, message: Message) {
        *self.held_of(source) += 1;
        self.assigned.push_back((source, message));
        self.wake.notify_one();
    }

    fn release(&mut self, source: Source) {
        *self.held_of(source) -= 1;
    }

    fn held_of(&mut self, source: Source) -> &mut usize {
        match source {
            Source::Anyone => &mut self.held.anyone,
            Source::Combiner => &mut self.held.combiner,
            Source::Inbox => unreachable!("an inbox has one consumer, and nothing of it is assigned"),
        }
    }
}

/// Where a copy goes.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Destination {
    Inbox(String),
    Anyone,
    Combiner,
}

pub(super) struct State {
    config: BusConfig,
    dice: Dice,
    inboxes: BTreeMap<String, Inbox>,
    anyone: Queue,
    /// Who serves `anyone`; the first gets the next message and becomes the last.
    anyone_servers: VecDeque<LinkId>,
    combiner: Queue,
    /// Who would serve `combiner`; the first does.
    combiner_servers: VecDeque<LinkId>,
    links: BTreeMap<LinkId, LinkState>,
    next_link: u64,
    /// Copies under way, by the time of their arrival and the order of their departure.
    delayed: BTreeMap<(u64, u64), (Destination, Message)>,
    next_departure: u64,
    /// None: there is none.
    log: Option<Log>,
    /// Before this time no inbox expires.
    next_expiry_ms: u64,
    stats: BusStats,
}

impl State {
    pub(super) fn new(config: BusConfig) -> Self {
        Self {
            dice: Dice::new(config.faults.clone()),
            inboxes: BTreeMap::new(),
            anyone: Queue::new(config.anyone_bytes),
            anyone_servers: VecDeque::new(),
            combiner: Queue::new(config.combiner_bytes),
            combiner_servers: VecDeque::new(),
            links: BTreeMap::new(),
            next_link: 0,
            delayed: BTreeMap::new(),
            next_departure: 0,
            log: (config.log_bytes > 0).then(|| Log::new(config.log_bytes)),
            next_expiry_ms: u64::MAX,
            stats: BusStats::default(),
            config,
        }
    }

    pub(super) fn stats(&self) -> BusStats {
        let (log_messages, log_bytes) = self.log.as_ref().map_or((0, 0), |log| (log.len(), log.body_bytes()));
        BusStats { inboxes: self.inboxes.len(), log_messages, log_bytes, ..self.stats }
    }

    pub(super) fn read_log(&self) -> Option<Vec<Bytes>> {
        self.log.as_ref().map(Log::read)
    }

    pub(super) fn set_faults(&mut self, faults: Faults) {
        self.dice = Dice::new(faults);
    }

    pub(super) fn inbox_load(&mut self, name: &str, now_ms: u64) -> Option<(usize, usize)> {
        self.expire_inboxes(now_ms);
        self.inboxes.get(name).map(|inbox| (inbox.queue.len(), inbox.queue.bytes()))
    }

    // Links.

    pub(super) fn connect(&mut self, attachment: &Attachment, wake: Arc<Notify>, now_ms: u64) -> (LinkId, usize) {
        self.expire_inboxes(now_ms);
        let former = self.inboxes.get(&attachment.name).and_then(|inbox| inbox.link);
        if let Some(former) = former {
            self.break_link(former, BrokerError::TakenOver, now_ms);
        }
        let id = LinkId(self.next_link);
        self.next_link += 1;
        let bound_bytes = self.config.inbox_bytes;
        let inbox = self.inboxes.entry(attachment.name.clone()).or_insert_with(|| Inbox {
            queue: Queue::new(bound_bytes),
            retention_ms: attachment.retention_ms,
            link: None,
            unused_since_ms: now_ms,
        });
        inbox.link = Some(id);
        let backlog = inbox.queue.len();
        let link = LinkState {
            name: attachment.name.clone(),
            wake,
            receipts: Vec::new(),
            assigned: VecDeque::new(),
            unacknowledged: BTreeMap::new(),
            held: Held::default(),
            next_tag: 0,
            broken: None,
            told: false,
        };
        self.links.insert(id, link);
        self.combiner_servers.push_back(id);
        self.assign_combiner(now_ms);
        (id, backlog)
    }

    /// Forgets a link, as if it had been cut.
    pub(super) fn disconnect(&mut self, id: LinkId, now_ms: u64) {
        self.break_link(id, BrokerError::Unreachable("the link was dropped".to_owned()), now_ms);
        self.links.remove(&id);
    }

    /// Forgets a link and deletes its inbox.
    pub(super) fn retire(&mut self, id: LinkId, now_ms: u64) {
        let name = self.links.get(&id).filter(|link| link.broken.is_none()).map(|link| link.name.clone());
        self.disconnect(id, now_ms);
        if let Some(name) = name {
            self.inboxes.remove(&name);
        }
    }

    pub(super) fn cut(&mut self, name: &str, now_ms: u64) -> bool {
        let link = self.inboxes.get(name).and_then(|inbox| inbox.link);
        if let Some(id) = link {
            self.break_link(id, BrokerError::Unreachable("the link was cut".to_owned()), now_ms);
        }
        link.is_some()
    }

    /// Ends a link: what it holds goes back to the heads of the queues, in order, to be delivered again.
    fn break_link(&mut self, id: LinkId, error: BrokerError, now_ms: u64) {
        let Some(link) = self.links.get_mut(&id).filter(|link| link.broken.is_none()) else { return };
        link.broken = Some(error);
        link.receipts.clear();
        link.held = Held::default();
        link.wake.notify_one();
        let assigned = std::mem::take(&mut link.assigned);
        let unacknowledged = std::mem::take(&mut link.unacknowledged);
        self.anyone_servers.retain(|server| *server != id);
        self.combiner_servers.retain(|server| *server != id);
        let mut inbox = self.inboxes.get_mut(&link.name).filter(|inbox| inbox.link == Some(id));
        let given =
            unacknowledged.into_values().map(|(source, message)| (source, Message { redelivered: true, ..message }));
        for (source, message) in given.chain(assigned).rev() {
            match source {
                Source::Anyone => self.anyone.push_front(message),
                Source::Combiner => self.combiner.push_front(message),
                Source::Inbox => {
                    if let Some(inbox) = &mut inbox {
                        inbox.queue.push_front(message);
                    }
                }
            }
        }
        if let Some(inbox) = inbox {
            inbox.link = None;
            inbox.unused_since_ms = now_ms;
            self.next_expiry_ms = self.next_expiry_ms.min(now_ms.saturating_add(inbox.retention_ms));
            self.stats.dropped += inbox.queue.trim() as u64;
        }
        self.assign_anyone(now_ms);
        self.assign_combiner(now_ms);
    }

    fn expire_inboxes(&mut self, now_ms: u64) {
        if now_ms < self.next_expiry_ms {
            return;
        }
        let before = self.inboxes.len();
        self.inboxes.retain(|_, inbox| !inbox.is_expired(now_ms));
        self.stats.expired_inboxes += (before - self.inboxes.len()) as u64;
        self.next_expiry_ms = self.inboxes.values().filter_map(Inbox::expires_at_ms).min().unwrap_or(u64::MAX);
    }

    // What links do.

    pub(super) fn publish(&mut self, id: LinkId, frames: Vec<Frame>, now_ms: u64) {
        // A broken link reports nothing: its replica counts what was under way as failed.
        if self.links.get(&id).is_none_or(|link| link.broken.is_some()) {
            return;
        }
        self.expire_inboxes(now_ms);
        self.release_delayed(now_ms);
        for frame in frames {
            self.stats.published += 1;
            self.stats.published_bytes += frame.body.len() as u64;
            let receipt = Receipt { id: frame.id, verdict: self.publish_one(frame, now_ms) };
            match receipt.verdict {
                Verdict::Confirmed => {}
                Verdict::Unroutable => self.stats.unroutable += 1,
                Verdict::Failed => self.stats.failed += 1,
            }
            if let Some(link) = self.links.get_mut(&id) {
                link.receipts.push(receipt);
                link.wake.notify_one();
            }
        }
    }

    fn publish_one(&mut self, frame: Frame, now_ms: u64) -> Verdict {
        let publish = self.dice.publish();
        if publish == Publish::FailsAndIsLost {
            return Verdict::Failed;
        }
        let message = Message {
            body: Bytes::from(frame.body),
            expires_at_ms: frame.ttl_ms.map(|ttl_ms| now_ms.saturating_add(ttl_ms.into())),
            redelivered: false,
        };
        let verdict = match frame.route {
            Route::Everyone => {
                if let Some(log) = &mut self.log {
                    log.push(message.body.clone());
                }
                self.fan_out(&message, now_ms);
                Verdict::Confirmed
            }
            Route::One(name) if !self.inboxes.contains_key(&name) => Verdict::Unroutable,
            Route::One(name) => self.send(Destination::Inbox(name), message, now_ms),
            Route::Anyone => self.send(Destination::Anyone, message, now_ms),
            Route::Combiner => self.send(Destination::Combiner, message, now_ms),
            Route::Log => match &mut self.log {
                Some(log) => {
                    log.push(message.body);
                    Verdict::Confirmed
                }
                None => Verdict::Unroutable,
            },
        };
        if publish == Publish::FailsAndArrives { Verdict::Failed } else { verdict }
    }

    /// Sends a copy to each inbox. It does by hand what [`State::send`] does, since ten thousand inboxes are not to be
    /// looked up by name.
    fn fan_out(&mut self, message: &Message, now_ms: u64) {
        for (name, inbox) in &mut self.inboxes {
            let fate = self.dice.copy();
            for _ in 0..fate.copies {
                if fate.delay_ms == 0 {
                    self.stats.dropped += inbox.queue.push_dropping_head(message.clone()) as u64;
                } else {
                    let due = (now_ms.saturating_add(fate.delay_ms), self.next_departure);
                    self.next_departure += 1;
                    self.delayed.insert(due, (Destination::Inbox(name.clone()), message.clone()));
                }
            }
            if let Some(link) = inbox.link.and_then(|id| self.links.get(&id)) {
                link.wake.notify_one();
            }
        }
    }

    /// Sends one copy to its fate.
    fn send(&mut self, to: Destination, message: Message, now_ms: u64) -> Verdict {
        let fate = self.dice.copy();
        let mut verdict = Verdict::Confirmed;
        for _ in 0..fate.copies {
            if fate.delay_ms == 0 {
                verdict = self.arrive(&to, message.clone(), now_ms);
            } else {
                let due = (now_ms.saturating_add(fate.delay_ms), self.next_departure);
                self.next_departure += 1;
                self.delayed.insert(due, (to.clone(), message.clone()));
                // Whoever waits for it has to know until when.
                self.notify_consumers(&to);
            }
        }
        verdict
    }

    fn arrive(&mut self, to: &Destination, message: Message, now_ms: u64) -> Verdict {
        match to {
            Destination::Inbox(name) => {
                // It may have vanished while a delayed copy was under way.
                let Some(inbox) = self.inboxes.get_mut(name) else { return Verdict::Unroutable };
                self.stats.dropped += inbox.queue.push_dropping_head(message) as u64;
                if let Some(link) = inbox.link.and_then(|id| self.links.get(&id)) {
                    link.wake.notify_one();
                }
                Verdict::Confirmed
            }
            Destination::Anyone => match self.anyone.push_within(message, now_ms) {
                Ok(()) => {
                    self.assign_anyone(now_ms);
                    Verdict::Confirmed
                }
                Err(_) if self.anyone_servers.is_empty() => Verdict::Unroutable,
                Err(_) => Verdict::Failed,
            },
            Destination::Combiner => match self.combiner.push_within(message, now_ms) {
                Ok(()) => {
                    self.assign_combiner(now_ms);
                    Verdict::Confirmed
                }
                Err(_) => Verdict::Failed,
            },
        }
    }

    fn notify_consumers(&self, to: &Destination) {
        let wake = |id: &LinkId| {
            if let Some(link) = self.links.get(id) {
                link.wake.notify_one();
            }
        };
        match to {
            Destination::Inbox(name) => self.inboxes.get(name).and_then(|inbox| inbox.link).iter().for_each(wake),
            // Whichever of them will be asked first releases it for all.
            Destination::Anyone => self.anyone_servers.iter().for_each(wake),
            Destination::Combiner => self.combiner_servers.iter().take(1).for_each(wake),
        }
    }

    pub(super) fn next_due_ms(&self) -> Option<u64> {
        self.delayed.keys().next().map(|(due_ms, _)| *due_ms)
    }

    /// Lets delayed copies arrive whose time has come.
    pub(super) fn release_delayed(&mut self, now_ms: u64) {
        while let Some(entry) = self.delayed.first_entry().filter(|entry| entry.key().0 <= now_ms) {
            let (to, message) = entry.remove();
            // Its frame was confirmed long ago; that a full queue refuses it now is one more way to lose it.
            let _ = self.arrive(&to, message, now_ms);
        }
    }

    pub(super) fn serve_anyone(&mut self, id: LinkId, serve: bool, now_ms: u64) {
        let Some(link) = self.links.get_mut(&id).filter(|link| link.broken.is_none()) else { return };
        let serves = self.anyone_servers.contains(&id);
        if serve && !serves {
            self.anyone_servers.push_back(id);
        }
        if !serve && serves {
            self.anyone_servers.retain(|server| *server != id);
            // What it has not been given goes to others.
            let (back, kept) = std::mem::take(&mut link.assigned)
                .into_iter()
                .partition::<VecDeque<_>, _>(|(source, _)| *source == Source::Anyone);
            link.assigned = kept;
            link.held.anyone -= back.len();
            for (_, message) in back.into_iter().rev() {
                self.anyone.push_front(message);
            }
        }
        self.assign_anyone(now_ms);
    }

    pub(super) fn acknowledge(&mut self, id: LinkId, tags: &[u64], now_ms: u64) {
        let Some(link) = self.links.get_mut(&id) else { return };
        for tag in tags {
            match link.unacknowledged.remove(tag) {
                Some((Source::Inbox, _)) | None => {}
                Some((source, _)) => link.release(source),
            }
        }
        self.assign_anyone(now_ms);
        self.assign_combiner(now_ms);
    }

    /// What a link hears next.
    pub(super) fn next_event(&mut self, id: LinkId, now_ms: u64) -> Option<Event> {
        self.release_delayed(now_ms);
        let link = self.links.get_mut(&id)?;
        if let Some(error) = &link.broken {
            return (!std::mem::replace(&mut link.told, true)).then(|| Event::Broken(error.clone()));
        }
        if !link.receipts.is_empty() {
            return Some(Event::Settled(std::mem::take(&mut link.receipts)));
        }
        let deliveries = self.deliver(id, now_ms);
        if deliveries.is_empty() { None } else { Some(Event::Delivered(deliveries)) }
    }

    fn deliver(&mut self, id: LinkId, now_ms: u64) -> Vec<Delivery> {
        let mut batch = Vec::new();
        let mut bytes = 0;
        let Some(link) = self.links.get_mut(&id) else { return batch };
        let mut give = |link: &mut LinkState, source: Source, message: Message| {
            let tag = link.next_tag;
            link.next_tag += 1;
            bytes += message.size();
            self.stats.delivered += 1;
            self.stats.delivered_bytes += message.body.len() as u64;
            batch.push(Delivery { tag, source, body: message.body.clone(), redelivered: message.redelivered });
            link.unacknowledged.insert(tag, (source, message));
            (batch.len(), bytes)
        };
        let (mut count, mut sum) = (0, 0);
        while count < BATCH_MESSAGES_MAX {
            let Some((_, next)) = link.assigned.front() else { break };
            if count > 0 && sum + next.size() > BATCH_BYTES_MAX {
                return batch;
            }
            let Some((source, message)) = link.assigned.pop_front() else { break };
            if message.is_expired(now_ms) {
                link.release(source);
            } else {
                (count, sum) = give(link, source, message);
            }
        }
        let inbox = self.inboxes.get_mut(&link.name).filter(|inbox| inbox.link == Some(id));
        if let Some(inbox) = inbox {
            while count < BATCH_MESSAGES_MAX && link.unacknowledged.len() < self.config.prefetch {
                let Some(size) = inbox.queue.peek_size(now_ms) else { break };
                if count > 0 && sum + size > BATCH_BYTES_MAX {
                    break;
                }
                let Some(message) = inbox.queue.pop(now_ms) else { break };
                (count, sum) = give(link, Source::Inbox, message);
            }
        }
        batch
    }

    // The queues with consumers that are chosen.

    /// Gives out `anyone`, in turn, to those that serve it and hold few.
    fn assign_anyone(&mut self, now_ms: u64) {
        let mut passed_over = 0;
        while passed_over < self.anyone_servers.len() && self.anyone.len() > 0 {
            let Some(id) = self.anyone_servers.pop_front() else { return };
            self.anyone_servers.push_back(id);
            let Some(link) = self.links.get_mut(&id) else { continue };
            if link.held.anyone >= self.config.anyone_prefetch {
                passed_over += 1;
                continue;
            }
            let Some(message) = self.anyone.pop(now_ms) else { return };
            link.assign(Source::Anyone, message);
            passed_over = 0;
        }
    }

    /// Gives out `combiner` to the one that serves it.
    fn assign_combiner(&mut self, now_ms: u64) {
        let Some(link) = self.combiner_servers.front().and_then(|id| self.links.get_mut(id)) else { return };
        while link.held.combiner < self.config.prefetch {
            let Some(message) = self.combiner.pop(now_ms) else { return };
            link.assign(Source::Combiner, message);
        }
    }
}
