//! Between the engine's bus and its replicas: it decides what becomes of single deliveries, as [`crate::broker`] does
//! in virtual time, and remembers what was published. So a scenario's partitions and faults reach driven replicas too.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use dayfly_conformance::act::{Mood, Partition, RouteKind};
use dayfly_core::frame::Frame;
use dayfly_engine::broker::BoxFuture;
use dayfly_engine::contract::{self, Receipt, Verdict};
use dayfly_engine::{Attachment, Broker, BrokerError, Bus, BusConfig, Delivery, Event, Link, LogReader, Source};
use tokio::sync::Notify;

use crate::broker::{self, ActorId, Fate, Message, Queue};

/// A frame that a replica has published.
#[derive(Clone, Debug)]
pub struct Published {
    /// The publisher's name.
    pub name: String,
    /// The publisher's incarnation.
    pub incarnation: u64,
    /// By which route.
    pub route: RouteKind,
    /// The frame's body.
    pub body: Vec<u8>,
}

/// A bus with a gate before each inbox. Clones are the same one.
#[derive(Clone)]
pub struct Gate {
    bus: Bus,
    shared: Arc<Shared>,
}

struct Shared {
    cluster: String,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    rules: broker::Broker,
    /// What the scenario calls the replicas, by their names.
    labels: BTreeMap<String, String>,
    published: Vec<Published>,
    /// What is to be handed to a replica beside what the bus brings, each with its time.
    extra: BTreeMap<String, VecDeque<(Instant, Delivery)>>,
    wakes: BTreeMap<String, Arc<Notify>>,
}

/// A message's route is looked for among so many frames that were published last; what is not found was for everyone.
const FRAMES_LOOKED_AT: usize = 1_000;

/// No tag of the bus: acknowledging it is ignored.
const NO_TAG: u64 = u64::MAX;

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Hands something to a replica, now or later.
    fn hand(&mut self, name: &str, delivery: Delivery, after: Duration) {
        let waiting = self.extra.entry(name.to_owned()).or_default();
        waiting.push_back((Instant::now() + after, Delivery { tag: NO_TAG, redelivered: true, ..delivery }));
        if let Some(wake) = self.wakes.get(name) {
            wake.notify_one();
        }
    }

    fn hand_held(&mut self, held: Vec<Message>) {
        for message in held {
            let Queue::Inbox(name) = &message.queue else { continue };
            if self.rules.hears(&message.sender, &self.label(name)) {
                let body = message.body.to_vec().into();
                let delivery = Delivery { tag: NO_TAG, source: Source::Inbox, body, redelivered: true };
                self.hand(name, delivery, Duration::ZERO);
            } else {
                self.rules.hold(message);
            }
        }
    }

    fn take_due(&mut self, name: &str) -> Vec<Delivery> {
        let Some(waiting) = self.extra.get_mut(name) else { return Vec::new() };
        let now = Instant::now();
        let (due, later) = std::mem::take(waiting).into_iter().partition(|(at, _)| *at <= now);
        *waiting = later;
        let due: VecDeque<(Instant, Delivery)> = due;
        due.into_iter().map(|(_, delivery)| delivery).collect()
    }

    fn label(&self, name: &str) -> String {
        self.labels.get(name).map_or(name, String::as_str).to_owned()
    }
}

impl Gate {
    /// A bus for this cluster, whose inboxes hold so many bytes, and its log so many.
    pub fn new(cluster: &str, inbox_bytes: usize, log_bytes: usize) -> Self {
        let shared = Shared { cluster: cluster.to_owned(), state: Mutex::default() };
        let bus = Bus::new(BusConfig { inbox_bytes, log_bytes, ..BusConfig::default() });
        Self { bus, shared: Arc::new(shared) }
    }

    /// Whether nothing waits in the inbox of the replica of this name.
    pub fn is_drained(&self, name: &str) -> bool {
        self.bus.inbox_load(name).is_none_or(|(messages, _)| messages == 0)
    }

    /// Tells what the scenario calls a replica.
    pub fn name(&self, name: &str, label: &str) {
        self.shared.lock().labels.insert(name.to_owned(), label.to_owned());
    }

    /// Changes the rules: partitions, faults, moods.
    pub fn with_rules<T>(&self, change: impl FnOnce(&mut broker::Broker) -> T) -> T {
        change(&mut self.shared.lock().rules)
    }

    /// Ends partitions and faults; what was held is handed over.
    pub fn heal(&self) {
        let mut state = self.shared.lock();
        let held = state.rules.heal();
        state.hand_held(held);
    }

    /// Begins a partition; what an earlier one held is handed over where this one does not hold it.
    pub fn part(&self, partition: &Partition) {
        let mut state = self.shared.lock();
        let held = state.rules.part(partition.clone());
        state.hand_held(held);
    }

    /// Hands bytes to a replica as a frame.
    pub fn inject(&self, name: &str, body: Vec<u8>) {
        let delivery = Delivery { tag: NO_TAG, source: Source::Inbox, body: body.into(), redelivered: true };
        self.shared.lock().hand(name, delivery, Duration::ZERO);
    }

    /// Whether a replica has taken all that was handed to it.
    pub fn is_taken(&self, name: &str) -> bool {
        self.shared.lock().extra.get(name).is_none_or(VecDeque::is_empty)
    }

    /// What this life of a replica has published, oldest first.
    pub fn published(&self, name: &str, incarnation: u64) -> Vec<Published> {
        let state = self.shared.lock();
        let own = |frame: &&Published| frame.name == name && frame.incarnation == incarnation;
        state.published.iter().filter(own).cloned().collect()
    }
}

impl Broker for Gate {
    fn attach(&self, attachment: Attachment) -> BoxFuture<'_, Result<Box<dyn Link>, BrokerError>> {
        Box::pin(async move {
            let name = attachment.name.clone();
            let inner = self.bus.attach(attachment).await?;
            let wake = Arc::new(Notify::new());
            self.shared.lock().wakes.insert(name.clone(), Arc::clone(&wake));
            let link = GatedLink { inner, shared: Arc::clone(&self.shared), name, wake, failed: Vec::new() };
            Ok(Box::new(link) as Box<dyn Link>)
        })
    }

    fn read_log(&self) -> BoxFuture<'_, Result<Box<dyn LogReader>, BrokerError>> {
        self.bus.read_log()
    }
}

struct GatedLink {
    inner: Box<dyn Link>,
    shared: Arc<Shared>,
    name: String,
    wake: Arc<Notify>,
    /// Frames that were refused, and not yet reported.
    failed: Vec<u64>,
}

impl GatedLink {
    /// What is to be handed over beside what the bus brings.
    fn own_event(&mut self) -> Option<Event> {
        if !self.failed.is_empty() {
            let failed = self.failed.drain(..).map(|id| Receipt { id, verdict: Verdict::Failed });
            return Some(Event::Settled(failed.collect()));
        }
        let due = self.shared.lock().take_due(&self.name);
        (!due.is_empty()).then_some(Event::Delivered(due))
    }

    /// Lets through what may pass. None if nothing is left of the event.
    fn pass(&mut self, event: Event) -> Option<Event> {
        let Event::Delivered(deliveries) = event else { return Some(event) };
        let mut passed = Vec::new();
        let mut kept = Vec::new();
        let mut state = self.shared.lock();
        let receiver = state.label(&self.name);
        for delivery in deliveries {
            let Ok(frame) = Frame::decode(&delivery.body, &self.shared.cluster) else {
                passed.push(delivery);
                continue;
            };
            let message = Message {
                from: ActorId(0),
                sender: state.label(&frame.sender.name),
                cluster: self.shared.cluster.clone(),
                queue: Queue::Inbox(self.name.clone()),
                route: route_of(&state.published, &delivery),
                body: delivery.body.as_ref().into(),
                expires: None,
            };
            match state.rules.fate(&message, &receiver) {
                Fate::Arrives => passed.push(delivery),
                Fate::Lost => kept.push(delivery.tag),
                Fate::Twice(later_ms) => {
                    state.hand(&self.name, delivery.clone(), Duration::from_millis(later_ms));
                    passed.push(delivery);
                }
                Fate::Late(late_ms) => {
                    kept.push(delivery.tag);
                    state.hand(&self.name, delivery, Duration::from_millis(late_ms));
                }
                Fate::Held => {
                    kept.push(delivery.tag);
                    state.rules.hold(message);
                }
            }
        }
        drop(state);
        self.inner.acknowledge(&kept);
        (!passed.is_empty()).then_some(Event::Delivered(passed))
    }

    fn next_due(&self) -> Option<Instant> {
        let state = self.shared.lock();
        state.extra.get(&self.name)?.iter().map(|(at, _)| *at).min()
    }
}

/// By which route a message came: what the bus tells of its queue, and what its publisher said.
fn route_of(published: &[Published], delivery: &Delivery) -> RouteKind {
    match delivery.source {
        Source::Anyone => RouteKind::Anyone,
        Source::Combiner => RouteKind::Combiner,
        Source::Inbox => {
            let found = published.iter().rev().take(FRAMES_LOOKED_AT).find(|frame| frame.body == delivery.body);
            found.map_or(RouteKind::Everyone, |frame| frame.route)
        }
    }
}

impl Link for GatedLink {
    fn publish(&mut self, frames: Vec<contract::Frame>) {
        let mut state = self.shared.lock();
        for frame in &frames {
            let Ok(decoded) = Frame::decode(&frame.body, &self.shared.cluster) else { continue };
            let route = match &frame.route {
                contract::Route::Everyone => RouteKind::Everyone,
                contract::Route::One(_) => RouteKind::One,
                contract::Route::Anyone => RouteKind::Anyone,
                contract::Route::Combiner => RouteKind::Combiner,
                contract::Route::Log => RouteKind::Log,
            };
            let (name, incarnation) = (decoded.sender.name, decoded.sender.incarnation);
            state.published.push(Published { name, incarnation, route, body: frame.body.to_vec() });
        }
        let takes = state.rules.mood == Mood::Fine;
        drop(state);
        if takes {
            self.inner.publish(frames);
        } else {
            self.failed.extend(frames.iter().map(|frame| frame.id));
            self.wake.notify_one();
        }
    }

    fn serve_anyone(&mut self, serve: bool) {
        self.inner.serve_anyone(serve);
    }

    fn next(&mut self) -> BoxFuture<'_, Event> {
        Box::pin(async move {
            loop {
                if let Some(event) = self.own_event() {
                    return event;
                }
                let due = self.next_due().map_or(Duration::from_secs(3600), |due| due - Instant::now().min(due));
                let wake = Arc::clone(&self.wake);
                let event = tokio::select! {
                    event = self.inner.next() => Some(event),
                    () = wake.notified() => None,
                    () = tokio::time::sleep(due) => None,
                };
                if let Some(event) = event.and_then(|event| self.pass(event)) {
                    return event;
                }
            }
        })
    }

    fn try_next(&mut self) -> Option<Event> {
        if let Some(event) = self.own_event() {
            return Some(event);
        }
        loop {
            let event = self.inner.try_next()?;
            if let Some(event) = self.pass(event) {
                return Some(event);
            }
        }
    }

    fn backlog(&self) -> usize {
        self.inner.backlog()
    }

    fn acknowledge(&mut self, tags: &[u64]) {
        self.inner.acknowledge(tags);
    }

    fn detach(self: Box<Self>) -> BoxFuture<'static, ()> {
        self.inner.detach()
    }

    fn retire(self: Box<Self>) -> BoxFuture<'static, ()> {
        self.inner.retire()
    }
}
