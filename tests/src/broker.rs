//! A message broker in memory and in virtual time, with the routes of wit/types.wit and the faults of a scenario: the
//! inboxes, partitions, and what becomes of the next deliveries.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use dayfly_conformance::act::{Fault, Mood, Partition, RouteKind};
use dayfly_core::effect::{Frame, Route, Verdict};
use dayfly_core::time::Timestamp;

/// Identifies an actor (one life of a replica) in its world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ActorId(pub usize);

/// A queue of the broker.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Queue {
    /// The inbox of the replica of this name.
    Inbox(String),
    /// The queue of competing consumers.
    Anyone,
    /// The queue with a single active consumer.
    Combiner,
}

/// A message on its way to a queue, or in one.
#[derive(Clone, Debug)]
pub struct Message {
    /// Who published it.
    pub from: ActorId,
    /// The publisher's label.
    pub sender: String,
    /// The cluster whose queues it is for.
    pub cluster: String,
    /// Where it goes.
    pub queue: Queue,
    /// By which route it was sent.
    pub route: RouteKind,
    /// The frame's body.
    pub body: Arc<[u8]>,
    /// After this time it may be dropped.
    pub expires: Option<Timestamp>,
}

/// What a fault makes of one delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It arrives.
    Arrives,
    /// It is lost.
    Lost,
    /// It arrives, and once more after so many milliseconds.
    Twice(u64),
    /// It arrives so many milliseconds later.
    Late(u64),
    /// It waits for the end of the partition.
    Held,
}

struct Inbox {
    ready: VecDeque<Message>,
    bytes: usize,
    bytes_max: usize,
    expiry_ms: u64,
    unused_since: Option<Timestamp>,
}

/// The broker.
pub struct Broker {
    /// How it treats publishers.
    pub mood: Mood,
    inboxes: BTreeMap<(String, String), Inbox>,
    faults: Vec<(Fault, u64)>,
    partition: Option<Partition>,
    held: Vec<Message>,
    /// What the log of each cluster holds, oldest first.
    logs: BTreeMap<String, Vec<Vec<u8>>>,
}

/// The second delivery of a duplicate comes this much later.
const DUPLICATE_MS: u64 = 50;

impl Default for Broker {
    fn default() -> Self {
        Self {
            mood: Mood::Fine,
            inboxes: BTreeMap::new(),
            faults: Vec::new(),
            partition: None,
            held: Vec::new(),
            logs: BTreeMap::new(),
        }
    }
}

impl Broker {
    /// Declares an inbox, which does nothing where it stands, and marks it as used.
    pub fn declare(&mut self, cluster: &str, name: &str, bytes_max: usize, expiry_ms: u64) {
        let inbox = self.inboxes.entry((cluster.to_owned(), name.to_owned())).or_insert_with(|| Inbox {
            ready: VecDeque::new(),
            bytes: 0,
            bytes_max,
            expiry_ms,
            unused_since: None,
        });
        inbox.unused_since = None;
    }

    /// Nobody consumes this inbox from now on; it disappears after its expiry.
    pub fn abandon(&mut self, cluster: &str, name: &str, now: Timestamp) {
        if let Some(inbox) = self.inboxes.get_mut(&(cluster.to_owned(), name.to_owned())) {
            inbox.unused_since = Some(now);
        }
    }

    /// Deletes an inbox with what is in it.
    pub fn delete(&mut self, cluster: &str, name: &str) {
        self.inboxes.remove(&(cluster.to_owned(), name.to_owned()));
    }

    /// Drops the inboxes that nobody has used for their expiry.
    pub fn expire(&mut self, now: Timestamp) {
        self.inboxes.retain(|_, inbox| inbox.unused_since.is_none_or(|since| now.since_ms(since) < inbox.expiry_ms));
    }

    /// What a cluster's log holds, oldest first.
    pub fn log(&self, cluster: &str) -> &[Vec<u8>] {
        self.logs.get(cluster).map_or(&[], Vec::as_slice)
    }

    /// Takes a frame from its publisher: the messages that are under way from now on, and the verdict if there is one.
    pub fn publish(
        &mut self,
        from: ActorId,
        sender: &str,
        cluster: &str,
        frame: &Frame,
        now: Timestamp,
    ) -> (Vec<Message>, Option<Verdict>) {
        self.expire(now);
        let (takes, answer) = match self.mood {
            Mood::Fine => (true, Some(Verdict::Confirmed)),
            Mood::Refusing => (false, Some(Verdict::Failed)),
            Mood::Silent => (true, None),
            Mood::Hanging => (false, None),
        };
        let queues: Vec<Queue> = match &frame.route {
            Route::Everyone => {
                let here = self.inboxes.keys().filter(|(other, _)| other == cluster);
                here.map(|(_, name)| Queue::Inbox(name.clone())).collect()
            }
            Route::One(name) if self.inboxes.contains_key(&(cluster.to_owned(), name.clone())) => {
                vec![Queue::Inbox(name.clone())]
            }
            Route::One(_) => Vec::new(),
            Route::Anyone => vec![Queue::Anyone],
            Route::Combiner => vec![Queue::Combiner],
            Route::Log => Vec::new(),
        };
        if !takes {
            return (Vec::new(), answer);
        }
        if matches!(frame.route, Route::Everyone | Route::Log) {
            self.logs.entry(cluster.to_owned()).or_default().push(frame.body.clone());
        }
        if queues.is_empty() && frame.route != Route::Log {
            return (Vec::new(), answer.map(|_| Verdict::Unroutable));
        }
        let body: Arc<[u8]> = frame.body.as_slice().into();
        let message = |queue| Message {
            from,
            sender: sender.to_owned(),
            cluster: cluster.to_owned(),
            queue,
            route: kind(&frame.route),
            body: body.clone(),
            expires: frame.ttl_ms.map(|ttl_ms| now.plus_ms(u64::from(ttl_ms))),
        };
        (queues.into_iter().map(message).collect(), answer)
    }

    /// Decides what becomes of a message that is about to reach a receiver.
    pub fn fate(&mut self, message: &Message, receiver: &str) -> Fate {
        if !self.hears(&message.sender, receiver) {
            return if self.partition.as_ref().is_some_and(|partition| partition.lose) {
                Fate::Lost
            } else {
                Fate::Held
            };
        }
        let matches = |fault: &Fault| {
            fault.from.as_ref().is_none_or(|from| *from == message.sender)
                && fault.to.as_ref().is_none_or(|to| to == receiver)
                && fault.route.is_none_or(|route| route == message.route)
        };
        let Some((fault, left)) = self.faults.iter_mut().find(|(fault, left)| *left > 0 && matches(fault)) else {
            return Fate::Arrives;
        };
        *left -= 1;
        if fault.drop.is_some() {
            Fate::Lost
        } else if fault.duplicate.is_some() {
            Fate::Twice(DUPLICATE_MS)
        } else {
            Fate::Late(fault.by_ms)
        }
    }

    /// Whether one replica's frames reach another, by labels. A replica hears itself.
    pub fn hears(&self, from: &str, to: &str) -> bool {
        let Some(partition) = &self.partition else { return true };
        let has = |group: &Vec<String>, label: &str| group.iter().any(|other| other == label);
        from == to || partition.groups.iter().any(|group| has(group, from) && has(group, to))
    }

    /// Keeps a message until the partition is healed.
    pub fn hold(&mut self, message: Message) {
        self.held.push(message);
    }

    /// Begins a partition in place of the one that lasts, and gives what was held, to be looked at anew.
    #[must_use]
    pub fn part(&mut self, partition: Partition) -> Vec<Message> {
        self.partition = Some(partition);
        std::mem::take(&mut self.held)
    }

    /// Adds a fault for the next deliveries that it fits.
    pub fn add_fault(&mut self, fault: Fault) {
        let count = fault.drop.or(fault.duplicate).or(fault.delay).unwrap_or(0);
        self.faults.push((fault, count));
    }

    /// Ends the partition and all faults, and gives what was held.
    pub fn heal(&mut self) -> Vec<Message> {
        self.partition = None;
        self.faults.clear();
        std::mem::take(&mut self.held)
    }

    /// Puts a message into its inbox. Where that is full, the oldest are dropped; where there is none, this one.
    pub fn store(&mut self, message: Message) {
        let Queue::Inbox(name) = &message.queue else { return };
        let Some(inbox) = self.inboxes.get_mut(&(message.cluster.clone(), name.clone())) else { return };
        inbox.bytes += message.body.len();
        inbox.ready.push_back(message);
        while inbox.bytes > inbox.bytes_max {
            match inbox.ready.pop_front() {
                Some(oldest) => inbox.bytes -= oldest.body.len(),
                None => break,
            }
        }
    }

    /// Takes at most so many messages out of an inbox, without those that have expired.
    pub fn take(&mut self, cluster: &str, name: &str, most: usize, now: Timestamp) -> Vec<Message> {
        let mut taken = Vec::new();
        let Some(inbox) = self.inboxes.get_mut(&(cluster.to_owned(), name.to_owned())) else { return taken };
        while taken.len() < most {
            let Some(message) = inbox.ready.pop_front() else { break };
            inbox.bytes -= message.body.len();
            if message.expires.is_none_or(|expires| expires >= now) {
                taken.push(message);
            }
        }
        taken
    }

    /// Whether messages wait in an inbox.
    pub fn has_ready(&self, cluster: &str, name: &str) -> bool {
        self.inboxes.get(&(cluster.to_owned(), name.to_owned())).is_some_and(|inbox| !inbox.ready.is_empty())
    }

    /// Turns the order in which an inbox's messages wait.
    pub fn reverse(&mut self, cluster: &str, name: &str) {
        if let Some(inbox) = self.inboxes.get_mut(&(cluster.to_owned(), name.to_owned())) {
            inbox.ready.make_contiguous().reverse();
        }
    }

    /// Divides labels into those that hear each other.
    pub fn groups(&self, labels: &[String]) -> Vec<Vec<String>> {
        let mut left: BTreeSet<&String> = labels.iter().collect();
        let mut groups = Vec::new();
        for label in labels {
            if left.remove(label) {
                let mut group = vec![label.clone()];
                group.extend(left.iter().filter(|other| self.hears(label, other)).map(|other| (*other).clone()));
                left.retain(|other| !group.contains(other));
                groups.push(group);
            }
        }
        groups
    }
}

/// A route without its name.
pub fn kind(route: &Route) -> RouteKind {
    match route {
        Route::Everyone => RouteKind::Everyone,
        Route::One(_) => RouteKind::One,
        Route::Anyone => RouteKind::Anyone,
        Route::Combiner => RouteKind::Combiner,
        Route::Log => RouteKind::Log,
    }
}
