//! Sees when replicas take frames in, without asking them: between a replica and its link stands a broker's link that
//! looks at what passes.
//!
//! A delivery is handed to the component in one call, and the host's next act on the link comes after that call. So the
//! time of that act is a time at which the replica shows what was delivered: later than the truth by what the host does
//! in between, which is microseconds. Which delivery brings a write is told by its value, which stands in the frame as
//! it was written. That the write is shown then is checked with requests, after it has been timed.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use dayfly_engine::broker::BoxFuture;
use dayfly_engine::contract::{Frame, Route};
use dayfly_engine::{AmqpBroker, Attachment, Broker, BrokerError, Event, Link, LogReader};
use tokio::sync::Notify;

/// What all links of a cluster have seen.
#[derive(Default)]
pub struct Sight {
    sought: Mutex<Option<Sought>>,
    all_have_it: Notify,
    pauses: Mutex<Option<Pauses>>,
}

/// A write that is looked for.
struct Sought {
    value: Vec<u8>,
    /// When each replica had it.
    had: Vec<Option<Instant>>,
}

/// The pauses between frames for everyone.
struct Pauses {
    last: Instant,
    longest: Duration,
}

impl Sight {
    /// Begins to look for a value, which the writer will have by itself.
    pub fn seek(&self, value: &str, writer: usize, replicas: usize) {
        let mut had = vec![None; replicas];
        had[writer] = Some(Instant::now());
        *lock(&self.sought) = Some(Sought { value: value.as_bytes().to_vec(), had });
    }

    /// Waits until all replicas have it. Gives when the last one had it.
    pub async fn found_by_all(&self) -> Instant {
        loop {
            // Before the look, so that what happens between the two is not missed.
            let notified = self.all_have_it.notified();
            let last = lock(&self.sought).as_ref().and_then(Sought::had_by_all);
            if let Some(last) = last {
                *lock(&self.sought) = None;
                return last;
            }
            notified.await;
        }
    }

    /// How many have it, for people who wait in vain.
    pub fn found_by(&self) -> usize {
        lock(&self.sought).as_ref().map_or(0, |sought| sought.had.iter().flatten().count())
    }

    /// Begins to measure the pauses between frames for everyone.
    pub fn time_pauses(&self) {
        *lock(&self.pauses) = Some(Pauses { last: Instant::now(), longest: Duration::ZERO });
    }

    /// The longest since then, the one that lasts included.
    pub fn longest_pause(&self) -> Duration {
        lock(&self.pauses).take().map_or(Duration::ZERO, |pauses| pauses.longest.max(pauses.last.elapsed()))
    }

    fn carries_sought(&self, event: &Event) -> bool {
        let Event::Delivered(deliveries) = event else { return false };
        let sought = lock(&self.sought);
        let Some(Sought { value, .. }) = sought.as_ref() else { return false };
        deliveries.iter().any(|delivery| delivery.body.windows(value.len()).any(|window| window == value))
    }

    fn taken_in_by(&self, replica: usize) {
        let mut sought = lock(&self.sought);
        let Some(sought) = sought.as_mut() else { return };
        sought.had[replica].get_or_insert_with(Instant::now);
        if sought.had_by_all().is_some() {
            self.all_have_it.notify_one();
        }
    }

    fn published(&self, frames: &[Frame]) {
        if frames.iter().any(|frame| frame.route == Route::Everyone)
            && let Some(pauses) = lock(&self.pauses).as_mut()
        {
            pauses.longest = pauses.longest.max(pauses.last.elapsed());
            pauses.last = Instant::now();
        }
    }
}

impl Sought {
    fn had_by_all(&self) -> Option<Instant> {
        let all: Option<Vec<Instant>> = self.had.iter().copied().collect();
        all?.into_iter().max()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is in there is sound wherever a holder stopped.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The broker of one replica.
pub struct SeenBroker {
    /// What does the work.
    pub broker: AmqpBroker,
    /// Which replica's.
    pub replica: usize,
    /// What sees it.
    pub sight: Arc<Sight>,
}

struct SeenLink {
    link: Box<dyn Link>,
    replica: usize,
    sight: Arc<Sight>,
    /// What was sought has been delivered, and the component is being called with it.
    carries: bool,
}

impl Broker for SeenBroker {
    fn attach(&self, attachment: Attachment) -> BoxFuture<'_, Result<Box<dyn Link>, BrokerError>> {
        Box::pin(async move {
            let link = self.broker.attach(attachment).await?;
            let sight = Arc::clone(&self.sight);
            Ok(Box::new(SeenLink { link, replica: self.replica, sight, carries: false }) as Box<dyn Link>)
        })
    }

    fn read_log(&self) -> BoxFuture<'_, Result<Box<dyn LogReader>, BrokerError>> {
        self.broker.read_log()
    }
}

impl SeenLink {
    fn note_taken_in(&mut self) {
        if std::mem::take(&mut self.carries) {
            self.sight.taken_in_by(self.replica);
        }
    }
}

impl Link for SeenLink {
    fn publish(&mut self, frames: Vec<Frame>) {
        self.note_taken_in();
        self.sight.published(&frames);
        self.link.publish(frames);
    }

    fn serve_anyone(&mut self, serve: bool) {
        self.link.serve_anyone(serve);
    }

    fn next(&mut self) -> BoxFuture<'_, Event> {
        Box::pin(async {
            let event = self.link.next().await;
            self.carries = self.sight.carries_sought(&event);
            event
        })
    }

    fn try_next(&mut self) -> Option<Event> {
        let event = self.link.try_next()?;
        self.carries = self.sight.carries_sought(&event);
        Some(event)
    }

    fn backlog(&self) -> usize {
        self.link.backlog()
    }

    fn probe(&mut self) -> BoxFuture<'_, ()> {
        self.link.probe()
    }

    fn acknowledge(&mut self, tags: &[u64]) {
        self.note_taken_in();
        self.link.acknowledge(tags);
    }

    fn detach(self: Box<Self>) -> BoxFuture<'static, ()> {
        self.link.detach()
    }

    fn retire(self: Box<Self>) -> BoxFuture<'static, ()> {
        self.link.retire()
    }
}
