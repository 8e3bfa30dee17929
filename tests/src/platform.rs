//! A platform of functions on this machine, as AWS Lambda is one: any number of execution environments of one function,
//! each the real program `bootstrap`, which is really stopped between its invocations and killed when it is old.
//!
//! An invocation takes an environment that is frozen, else it starts another: a cold start. An environment has one
//! invocation at a time, from the event until it is frozen again, so that it is busy while it lingers. What that would
//! cost is counted as AWS bills it, see [`Bill`].

mod bill;
mod environment;
mod front;
mod pid;

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, ensure};
use dayfly_conformance::http::{Answer, Request};
use serde::Serialize;
use serde_json::{Value, json};

pub use self::bill::Bill;
use self::environment::Environment;
pub use self::front::Front;
pub use self::pid::{Memory, Pid};
use crate::function::{Outcome, read_answer, url_event};

/// How often it is looked whether an environment has reached its age.
const REAP: Duration = Duration::from_millis(100);
/// How long the end of all invocations is waited for: longer than any may take.
const PATIENCE: Duration = Duration::from_secs(180);
/// For how long an event that nobody waits for is tried again while there is no room. AWS does so for six hours.
const LATER: Duration = Duration::from_secs(300);
/// The pause between two such tries.
const LATER_PAUSE: Duration = Duration::from_secs(1);

/// What a platform goes by.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The function's name.
    pub function: String,
    /// The cluster of its replicas.
    pub cluster: String,
    /// Further variables of the function; they stand above the usual ones.
    pub variables: Vec<(String, String)>,
    /// Its memory in MiB: told to it, and billed. It is not a limit here.
    pub memory_mib: u32,
    /// How many invocations there may be at a time.
    pub concurrency: usize,
    /// At which age an environment is reclaimed, as soon as it is frozen; none: never.
    pub reclaim_after: Option<Duration>,
}

impl Settings {
    /// Those of a function `dayfly` of 256 MiB in this cluster, with a hundred invocations at a time and no reclaim.
    pub fn of(cluster: &str) -> Self {
        Self {
            function: "dayfly".to_owned(),
            cluster: cluster.to_owned(),
            variables: Vec::new(),
            memory_mib: 256,
            concurrency: 100,
            reclaim_after: None,
        }
    }
}

/// Why an invocation did not come about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refused {
    /// There were as many as there may be.
    Throttled,
    /// A new environment did not come to events, for this reason.
    NotStarted(String),
    /// The environment ended before it answered, for this reason.
    Died(String),
    /// The platform ends.
    Closed,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Throttled => write!(f, "there are as many invocations as there may be: ask again later"),
            Self::NotStarted(reason) => write!(f, "a new environment does not come to events: {reason}"),
            Self::Died(reason) => write!(f, "the environment ended before it answered: {reason}"),
            Self::Closed => write!(f, "the platform ends"),
        }
    }
}

impl std::error::Error for Refused {}

/// An environment, as it is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Shown {
    /// The name of its log stream, which no other environment ever has.
    pub name: String,
    /// Its process.
    pub pid: Pid,
    /// How long ago it was started, in milliseconds.
    pub age_ms: u64,
    /// Whether it has an invocation, or lingers after one.
    pub busy: bool,
    /// How many invocations it has begun.
    pub invocations: u64,
}

/// All that there is and was.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Standing {
    /// The function's name.
    pub function: String,
    /// Its memory in MiB.
    pub memory_mib: u32,
    /// The environments that live, oldest first.
    pub environments: Vec<Shown>,
    /// What has been counted.
    #[serde(flatten)]
    pub bill: Bill,
    /// What is billed: GiB times seconds.
    pub gb_s: f64,
}

/// A platform. Dropping it kills its environments.
pub struct Platform {
    shared: Arc<Shared>,
}

/// What invocations and the front have in common.
struct Shared {
    settings: Settings,
    state: Mutex<State>,
    /// Told when an invocation is over.
    over: Condvar,
    closed: AtomicBool,
}

#[derive(Default)]
struct State {
    /// Those that are frozen, the longest first.
    idle: VecDeque<Environment>,
    /// All that live, by their numbers.
    known: BTreeMap<u64, Known>,
    /// How many have an invocation, or are being started for one.
    busy: usize,
    started: u64,
    bill: Bill,
}

/// What is told of an environment, wherever it is now.
struct Known {
    name: String,
    pid: Pid,
    born: Instant,
    busy: bool,
    invocations: u64,
}

impl Platform {
    /// A platform without environments. The broker is the tests' (see [`crate::node::broker_url`]).
    pub fn start(settings: Settings) -> Self {
        let shared = Shared { settings, state: Mutex::default(), over: Condvar::new(), closed: AtomicBool::new(false) };
        let shared = Arc::new(shared);
        let reaped = Arc::downgrade(&shared);
        thread::spawn(move || reap(&reaped));
        Self { shared }
    }

    /// Invokes the function with this event and waits for its answer, not for what follows that.
    ///
    /// # Errors
    /// There is no answer.
    pub fn invoke(&self, event: Value) -> Result<Outcome, Refused> {
        self.shared.invoke(event)
    }

    /// Asks it as its URL does.
    ///
    /// # Errors
    /// There is no answer, or it is an error or none of HTTP.
    pub fn ask(&self, request: &Request) -> Result<Answer> {
        read_answer(&self.invoke(url_event(request))?.answer()?)
    }

    /// Invokes the function so many times at once, so that each takes an environment of its own, to be awake for so many
    /// seconds. Gives what they answer.
    ///
    /// # Errors
    /// One has no answer, or answers with an error.
    pub fn wake_at_once(&self, count: usize, seconds: u64) -> Result<Vec<Value>> {
        thread::scope(|scope| {
            let wake = || self.invoke(json!({"wake": {"seconds": seconds}}))?.answer();
            let wakes: Vec<_> = (0..count).map(|_| scope.spawn(wake)).collect();
            wakes.into_iter().map(|wake| wake.join().map_err(|_| anyhow!("a wake panicked"))?).collect()
        })
    }

    /// All that there is and was.
    pub fn standing(&self) -> Standing {
        self.shared.standing()
    }

    /// Waits until no invocation is left, lingering included: all that was begun is counted then.
    ///
    /// # Errors
    /// It takes longer than an invocation may.
    pub fn await_idle(&self) -> Result<()> {
        let state = self.shared.lock();
        let waited = self.shared.over.wait_timeout_while(state, PATIENCE, |state| state.busy > 0);
        let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        ensure!(state.busy == 0, "there are invocations that do not end");
        Ok(())
    }
}

impl Drop for Platform {
    fn drop(&mut self) {
        self.shared.closed.store(true, Ordering::SeqCst);
        let idle = std::mem::take(&mut self.shared.lock().idle);
        idle.into_iter().for_each(Environment::kill);
        // Those with an invocation notice it by themselves. Who ends now has nobody to tell that one did not.
        let _ = self.await_idle();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }

    fn invoke(self: &Arc<Self>, event: Value) -> Result<Outcome, Refused> {
        let (environment, init) = self.take()?;
        let (tell, told) = mpsc::channel();
        let shared = Arc::clone(self);
        thread::spawn(move || shared.run(environment, init, event, &tell));
        told.recv().unwrap_or_else(|_| Err(Refused::Died("its invocation was given up".to_owned())))
    }

    /// Invokes it when there is room, and has nobody wait for the answer. What fails is not tried again, as AWS would
    /// do twice: none of our events is meant for that.
    fn invoke_later(self: &Arc<Self>, event: Value) {
        let shared = Arc::clone(self);
        thread::spawn(move || {
            let until = Instant::now() + LATER;
            while shared.invoke(event.clone()) == Err(Refused::Throttled) && Instant::now() < until {
                thread::sleep(LATER_PAUSE);
            }
        });
    }

    /// An environment for an invocation, and how long its initialisation took if it is a new one.
    ///
    /// The one that has been frozen for longest is taken. AWS does not say which one it takes; so all are used alike.
    fn take(&self) -> Result<(Environment, Duration), Refused> {
        let mut gone = Vec::new();
        let taken = self.take_idle(&mut gone);
        gone.into_iter().for_each(Environment::kill);
        let Some(number) = taken? else {
            return Err(Refused::Closed);
        };
        let number = match number {
            Taken::Idle(environment) => return Ok((environment, Duration::ZERO)),
            Taken::Number(number) => number,
        };
        match Environment::start(&self.settings, number) {
            Ok((environment, init)) => {
                let mut state = self.lock();
                state.bill.cold_starts += 1;
                let (name, pid) = (environment.name().to_owned(), environment.pid());
                let known = Known { name, pid, born: environment.born(), busy: true, invocations: 1 };
                state.known.insert(number, known);
                Ok((environment, init))
            }
            Err(error) => {
                let mut state = self.lock();
                state.busy -= 1;
                state.bill.died += 1;
                state.bill.errors += 1;
                state.bill.requests += 1;
                self.over.notify_all();
                Err(Refused::NotStarted(format!("{error:#}")))
            }
        }
    }

    /// Takes a frozen one, or a number for a new one; none: the platform ends. Those that are not to be used go to
    /// `gone`.
    fn take_idle(&self, gone: &mut Vec<Environment>) -> Result<Option<Taken>, Refused> {
        let mut state = self.lock();
        if self.is_closed() {
            return Ok(None);
        }
        if state.busy >= self.settings.concurrency {
            state.bill.throttled += 1;
            return Err(Refused::Throttled);
        }
        state.busy += 1;
        while let Some(environment) = state.idle.pop_front() {
            if let Some(end) = self.end_of(&environment) {
                state.forget(&environment, end);
                gone.push(environment);
                continue;
            }
            if let Some(known) = state.known.get_mut(&environment.number()) {
                known.busy = true;
                known.invocations += 1;
            }
            return Ok(Some(Taken::Idle(environment)));
        }
        state.started += 1;
        Ok(Some(Taken::Number(state.started)))
    }

    /// Why a frozen environment is not to be used any more, if it is not.
    fn end_of(&self, environment: &Environment) -> Option<End> {
        if !environment.is_alive() {
            return Some(End::Died);
        }
        let is_old = self.settings.reclaim_after.is_some_and(|age| environment.born().elapsed() >= age);
        is_old.then_some(End::Reclaimed)
    }

    /// An invocation from its event to the freeze.
    fn run(&self, environment: Environment, init: Duration, event: Value, tell: &Sender<Result<Outcome, Refused>>) {
        let begun = Instant::now();
        let outcome = environment.answer(event, || self.is_closed());
        let is_error = !matches!(outcome, Ok(Outcome::Answer(_)));
        let has_answered = outcome.is_ok();
        // Who asked may have gone.
        let _ = tell.send(outcome);
        let frozen = has_answered && environment.await_frozen(|| self.is_closed());
        let billed = init + begun.elapsed();

        let mut state = self.lock();
        state.bill.add(init, billed);
        state.bill.errors += u64::from(is_error);
        let end = match frozen {
            true if self.is_closed() => Some(End::Reclaimed),
            true => self.end_of(&environment),
            false => Some(End::Died),
        };
        let gone = match end {
            Some(end) => {
                state.forget(&environment, end);
                Some(environment)
            }
            None => {
                if let Some(known) = state.known.get_mut(&environment.number()) {
                    known.busy = false;
                }
                state.idle.push_back(environment);
                None
            }
        };
        drop(state);
        if let Some(environment) = gone {
            environment.kill();
        }
        // Only now, so that who waits for this finds no process either.
        self.lock().busy -= 1;
        self.over.notify_all();
    }

    fn standing(&self) -> Standing {
        let state = self.lock();
        let shown = state.known.values().map(|known| Shown {
            name: known.name.clone(),
            pid: known.pid,
            age_ms: u64::try_from(known.born.elapsed().as_millis()).unwrap_or(u64::MAX),
            busy: known.busy,
            invocations: known.invocations,
        });
        Standing {
            function: self.settings.function.clone(),
            memory_mib: self.settings.memory_mib,
            environments: shown.collect(),
            bill: state.bill,
            gb_s: state.bill.gb_s(self.settings.memory_mib),
        }
    }
}

impl State {
    fn forget(&mut self, environment: &Environment, end: End) {
        self.known.remove(&environment.number());
        match end {
            End::Reclaimed => self.bill.reclaimed += 1,
            End::Died => self.bill.died += 1,
        }
    }
}

/// How an environment ended.
enum End {
    /// The platform took it.
    Reclaimed,
    /// By itself.
    Died,
}

/// What an invocation gets.
enum Taken {
    /// An environment that was frozen.
    Idle(Environment),
    /// The number for a new one.
    Number(u64),
}

/// Reclaims environments that reach their age while they are frozen, until the platform is gone.
fn reap(platform: &Weak<Shared>) {
    while let Some(shared) = platform.upgrade() {
        if shared.is_closed() {
            return;
        }
        let mut gone = Vec::new();
        {
            let mut state = shared.lock();
            for environment in std::mem::take(&mut state.idle) {
                match shared.end_of(&environment) {
                    Some(end) => {
                        state.forget(&environment, end);
                        gone.push(environment);
                    }
                    None => state.idle.push_back(environment),
                }
            }
        }
        gone.into_iter().for_each(Environment::kill);
        drop(shared);
        thread::sleep(REAP);
    }
}
