//! How long instances live, and which of them answers: the rules of Spin, which has them from wasmtime's own handler.

use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::time::{Sleep, sleep};
use wasmtime::component::GuestTaskId;
use wasmtime::{Store, StoreContextMut};
use wasmtime_wasi_http::WasiHttpView;
use wasmtime_wasi_http::handler::{
    HandlerState, Instance, Proxy, ShouldAccept, WorkerExpiration, WorkerState, WorkerStatus,
};
use wasmtime_wasi_http::p3::bindings::ServicePre;

use super::guest::{Guest, Template};
use super::tally::{Tally, count};

/// Which instances answer, and when they are dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keeping {
    /// How long an instance may be without a request.
    pub idle: Duration,
    /// How many requests one instance answers, at least one.
    pub max_requests: usize,
    /// How many of them at a time, at least one.
    pub max_concurrent: usize,
    /// Whether an instance is dropped at its idle time even though it still works in the background, as by Spin 4.0; a
    /// request whose answer is still being sent keeps it. Spin 4.1 waits until nothing runs.
    pub drop_idle: bool,
}

impl Default for Keeping {
    /// What `spin up` has without flags.
    fn default() -> Self {
        Self { idle: Duration::from_secs(1), max_requests: 128, max_concurrent: 16, drop_idle: false }
    }
}

/// All instances of an application.
pub struct Instances {
    template: Template,
    service: ServicePre<Guest>,
    keeping: Keeping,
    tally: Arc<Tally>,
    live: Arc<watch::Sender<BTreeSet<u64>>>,
    next: AtomicU64,
    evictions: watch::Sender<u64>,
}

impl Instances {
    /// None yet; they are made as requests come.
    ///
    /// # Errors
    /// The component does not answer HTTP of WASI 0.3.
    pub fn new(template: Template, keeping: Keeping, tally: Arc<Tally>) -> wasmtime::Result<Self> {
        Ok(Self {
            service: ServicePre::new(template.pre().clone())?,
            template,
            keeping,
            tally,
            live: Arc::new(watch::Sender::default()),
            next: AtomicU64::new(0),
            evictions: watch::Sender::default(),
        })
    }

    /// How many there are.
    pub fn live(&self) -> usize {
        self.live.borrow().len()
    }

    /// Drops all that there are, in the midst of whatever they do, and returns how many once they are gone. Requests
    /// that they have not answered fail, answers that they stream break off.
    pub async fn evict(&self) -> usize {
        let meant = self.live.borrow().clone();
        self.evictions.send_modify(|number| *number += 1);
        // The sender is here, so it does not fail.
        let _ = self.live.subscribe().wait_for(|live| live.is_disjoint(&meant)).await;
        meant.len()
    }
}

impl HandlerState for Instances {
    type StoreData = Guest;
    type WorkerExpiration = Expiration;
    type WorkerState = Life;

    async fn instantiate(&self) -> wasmtime::Result<Instance<Guest, Expiration, Life>> {
        let mut store = self.template.store();
        let proxy = Proxy::P3(self.service.instantiate_async(&mut store).await?);
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let answers = Arc::new(Answers::default());
        let mut evictions = self.evictions.subscribe();
        count(&self.tally.started);
        self.live.send_modify(|live| {
            live.insert(id);
        });
        let evicted = async move {
            // An end of the sender is an end of the platform.
            let _ = evictions.changed().await;
        };
        Ok(Instance {
            store,
            proxy,
            view: Guest::http,
            expiration: Expiration {
                keeping: self.keeping,
                answers: Arc::clone(&answers),
                evicted: Box::pin(evicted),
                sleep: Box::pin(sleep(self.keeping.idle)),
            },
            state: Life {
                id,
                keeping: self.keeping,
                answers,
                tally: Arc::clone(&self.tally),
                live: Arc::clone(&self.live),
            },
        })
    }
}

/// The answers that an instance owes or sends.
#[derive(Debug)]
struct Answers {
    open: Mutex<Open>,
    /// The instance was dropped because it was idle; it did not fail.
    was_idle: AtomicBool,
    /// The instance was dropped because all were.
    was_evicted: AtomicBool,
    /// The instance is gone, and was not idle.
    broken: AtomicBool,
}

#[derive(Clone, Copy, Debug)]
struct Open {
    number: usize,
    /// When the last one ended.
    since: Instant,
}

impl Default for Answers {
    fn default() -> Self {
        let open = Open { number: 0, since: Instant::now() };
        Self {
            open: Mutex::new(open),
            was_idle: AtomicBool::new(false),
            was_evicted: AtomicBool::new(false),
            broken: AtomicBool::new(false),
        }
    }
}

/// One answer, from the moment that an instance takes its request until this is dropped.
#[derive(Debug)]
pub struct Answering(Arc<Answers>);

impl Answering {
    fn begin(answers: &Arc<Answers>) -> Self {
        answers.open.lock().unwrap().number += 1;
        Self(Arc::clone(answers))
    }

    /// Whether the instance failed or was evicted, so that what it had not sent is missing.
    pub fn is_broken(&self) -> bool {
        self.0.broken.load(Ordering::Acquire)
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        let mut open = self.0.open.lock().unwrap();
        *open = Open { number: open.number - 1, since: Instant::now() };
    }
}

/// Goes with a request to the instance that takes it, which leaves there what is to be kept while the answer is sent.
pub type Lease = Arc<Mutex<Option<Answering>>>;

/// Tells when an instance is to be dropped.
pub struct Expiration {
    keeping: Keeping,
    answers: Arc<Answers>,
    evicted: Pin<Box<dyn Future<Output = ()> + Send + Sync>>,
    sleep: Pin<Box<Sleep>>,
}

impl Expiration {
    /// Since when the instance has been idle; none if it is not.
    fn idle_since(&self, status: WorkerStatus, start: Instant) -> Option<Instant> {
        match status {
            WorkerStatus::Requests => None,
            WorkerStatus::Idle | WorkerStatus::PostReturn if self.keeping.drop_idle => {
                let open = *self.answers.open.lock().unwrap();
                // While an answer is sent it is looked again in time: nobody wakes this when it has been.
                Some(if open.number > 0 { Instant::now() } else { open.since })
            }
            WorkerStatus::Idle => Some(start),
            WorkerStatus::PostReturn => None,
        }
    }
}

impl WorkerExpiration for Expiration {
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>, status: WorkerStatus, start: Instant) -> Poll<()> {
        if self.evicted.as_mut().poll(cx).is_ready() {
            self.answers.was_evicted.store(true, Ordering::Relaxed);
            return Poll::Ready(());
        }
        let Some(since) = self.idle_since(status, start) else { return Poll::Pending };
        let until = tokio::time::Instant::from_std(since + self.keeping.idle);
        if until != self.sleep.deadline() {
            self.sleep.as_mut().reset(until);
        }
        let ended = self.sleep.as_mut().poll(cx);
        if ended.is_ready() {
            self.answers.was_idle.store(true, Ordering::Relaxed);
        }
        ended
    }
}

/// What an instance goes by.
pub struct Life {
    id: u64,
    keeping: Keeping,
    answers: Arc<Answers>,
    tally: Arc<Tally>,
    live: Arc<watch::Sender<BTreeSet<u64>>>,
}

impl WorkerState for Life {
    type StoreData = Guest;
    type RequestData = Lease;

    fn should_accept_request(&self, concurrent: usize, total: usize) -> ShouldAccept {
        if total >= self.keeping.max_requests {
            ShouldAccept::Never
        } else if concurrent >= self.keeping.max_concurrent {
            ShouldAccept::No
        } else {
            ShouldAccept::Yes
        }
    }

    fn on_request_start(
        &self,
        _store: StoreContextMut<'_, Guest>,
        lease: Lease,
        _task: GuestTaskId,
    ) -> Pin<Box<dyn Future<Output = ()> + 'static + Send + Sync>> {
        count(&self.tally.requests);
        *lease.lock().unwrap() = Some(Answering::begin(&self.answers));
        // A request may take as long as it likes, as by `spin up` without flags.
        Box::pin(std::future::pending())
    }

    fn drop(&self, store: Store<Guest>, result: Result<(), wasmtime::Error>) {
        let was_idle = self.answers.was_idle.load(Ordering::Relaxed);
        let was_evicted = self.answers.was_evicted.load(Ordering::Relaxed);
        // Before the store is dropped, since answers end with it.
        let is_broken = was_evicted || (result.is_err() && !was_idle);
        self.answers.broken.store(is_broken, Ordering::Release);
        if let Err(error) = result
            && !was_evicted
            && !was_idle
        {
            eprintln!("instance {} failed: {error:?}", self.id);
        }
        // What it holds is let go before it is told to be gone: its connections, above all.
        drop(store);
        count(&self.tally.ended);
        self.live.send_modify(|live| {
            live.remove(&self.id);
        });
    }
}
