//! The keeper at work: the plan, fed with the real time, real answers and what its user asks for.

use std::collections::BTreeMap;
use std::io::{self, BufRead};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::{Duration, Instant};

use dayfly_engine::world::system_now_ms;
use serde_json::json;

use super::bill::Bill;
use super::call::{Answer, Caller, Kind, Outcome, Trouble};
use super::planner::{Awake, Planner, Policy, Wake};
use super::price::{MONTH_S, Prices};
use super::reporter::Reporter;
use super::standing::{Row, Standing};
use super::target::{REPLICAS_MAX, Target, Wish};
use crate::client::Failure;

/// The stack of a thread that waits for an answer. There may be many.
const STACK_BYTES: usize = 512 * 1_024;
/// The longest sleep when nothing is planned.
const SLEEP_MAX: Duration = Duration::from_secs(3_600);
/// While nobody holds the database, that is said again so often.
const NOBODY_EVERY: Duration = Duration::from_secs(10);

/// What the keeper hears.
pub enum Event {
    /// Something came of a wake.
    Outcome {
        /// Which.
        id: u64,
        /// What.
        outcome: Outcome,
    },
    /// A line of standard input.
    Line(String),
    /// A signal to end.
    Signal,
}

/// What a keeper goes by.
pub struct Orders {
    /// How long replicas are woken for, and how long they overlap at least.
    pub policy: Policy,
    /// The memory of the functions, in MiB.
    pub memory_mib: u32,
    /// What is paid.
    pub prices: Prices,
    /// When it ends by itself.
    pub lasts: Option<Duration>,
    /// For the random parts of pauses.
    pub seed: u64,
}

/// A target, and what is known of it.
struct Held {
    target: Target,
    lingers: Arc<AtomicBool>,
    bill: Bill,
    /// Whether it has ever answered.
    answered: bool,
    /// Why its last wake failed.
    trouble: Option<Trouble>,
}

/// Keeps replicas.
pub struct Keeper {
    orders: Orders,
    caller: Caller,
    planner: Planner,
    held: Vec<Held>,
    /// Wakes whose outcome is open, or whose replica is awake by a linger request: their target, and when they were
    /// begun.
    calls: BTreeMap<u64, (usize, Duration)>,
    reporter: Reporter,
    began: Instant,
    ending: bool,
    /// When it was last said that nobody holds the database; none: somebody does.
    nobody_since: Option<Duration>,
    /// Whether anybody ever held it.
    ever_held: bool,
    /// Whether a clock was found to differ.
    clock_told: bool,
}

impl Keeper {
    /// A keeper of these targets.
    pub fn new(orders: Orders, caller: Caller, wishes: Vec<Wish>, reporter: Reporter) -> Self {
        let planner = Planner::new(orders.policy, orders.seed);
        let mut keeper = Self {
            orders,
            caller,
            planner,
            held: Vec::new(),
            calls: BTreeMap::new(),
            reporter,
            began: Instant::now(),
            ending: false,
            nobody_since: None,
            ever_held: false,
            clock_told: false,
        };
        for wish in wishes {
            keeper.want(wish);
        }
        keeper
    }

    fn want(&mut self, wish: Wish) {
        match self.held.iter().position(|held| held.target == wish.target) {
            Some(place) => self.planner.want(place, wish.wanted),
            None => {
                self.planner.add(wish.wanted);
                self.held.push(Held {
                    target: wish.target,
                    lingers: Arc::default(),
                    bill: Bill::default(),
                    answered: false,
                    trouble: None,
                });
            }
        }
    }

    /// Keeps until it is told to end, or its time is over; an error means that it never came to anything.
    pub fn keep(mut self, tell: &Sender<Event>, told: &Receiver<Event>) -> anyhow::Result<()> {
        loop {
            let now = self.began.elapsed();
            if !self.ending && self.orders.lasts.is_some_and(|lasts| now >= lasts) {
                self.begin_end("its time is over")?;
            }
            for held in &mut self.held {
                held.bill.settle(now);
            }
            if !self.ending {
                for wake in self.planner.due(now) {
                    self.begin(wake, now, tell)?;
                }
            } else if self.planner.waking() == 0 {
                break;
            }
            self.watch(now)?;
            if now >= self.reporter.next() {
                let standing = self.standing(now);
                self.reporter.show(now, &standing)?;
            }
            match told.recv_timeout(self.pause(now)) {
                Ok(event) => self.hear(event)?,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => unreachable!("this function has a sender"),
            }
        }
        self.end()
    }

    /// How long nothing is to be done, if nothing happens.
    fn pause(&self, now: Duration) -> Duration {
        let plan = if self.ending { None } else { self.planner.next(now) };
        let lasts = self.orders.lasts.filter(|_| !self.ending);
        let nobody = self.nobody_since.map(|since| since + NOBODY_EVERY);
        let next = [plan, lasts, nobody, Some(self.reporter.next())].into_iter().flatten().min();
        next.map_or(SLEEP_MAX, |next| next.saturating_sub(now)).min(SLEEP_MAX)
    }

    fn begin(&mut self, wake: Wake, now: Duration, tell: &Sender<Event>) -> io::Result<()> {
        let held = &mut self.held[wake.target];
        held.bill.begun(wake.id, now);
        self.calls.insert(wake.id, (wake.target, now));
        let (caller, target, lingers) = (self.caller.clone(), held.target.clone(), Arc::clone(&held.lingers));
        let tell = tell.clone();
        thread::Builder::new().name("wake".to_owned()).stack_size(STACK_BYTES).spawn(move || {
            caller.wake(&target, &lingers, |outcome| {
                // Nobody hears it once the keeper has ended.
                let _ = tell.send(Event::Outcome { id: wake.id, outcome });
            });
        })?;
        Ok(())
    }

    fn hear(&mut self, event: Event) -> anyhow::Result<()> {
        let now = self.began.elapsed();
        match event {
            Event::Outcome { id, outcome } => {
                let Some((target, begun)) = self.calls.get(&id).copied() else { return Ok(()) };
                match outcome {
                    Outcome::Answered(answer) => self.answered(id, target, begun, now, &answer)?,
                    Outcome::Failed(trouble) => self.failed(id, target, now, trouble)?,
                    Outcome::Ended => {
                        self.planner.ended(id, now);
                        self.held[target].bill.ended(id, now);
                        self.calls.remove(&id);
                    }
                }
            }
            Event::Line(line) => self.obey(&line)?,
            // Whoever asks again while it ends, does not want to wait.
            Event::Signal if self.ending => std::process::exit(130),
            Event::Signal => self.begin_end("told to end")?,
        }
        Ok(())
    }

    fn answered(&mut self, id: u64, target: usize, begun: Duration, now: Duration, answer: &Answer) -> io::Result<()> {
        let until = self.until(begun, now, answer)?;
        // Not what it says of its filling: a replica that was thawed still tells of that at its start.
        let handed_on = self.planner.answered(id, now, Awake { until, complete: answer.complete, filled: None });
        let held = &mut self.held[target];
        held.bill.answered(id, until);
        held.answered = true;
        held.trouble = None;
        if !held.lingers.load(std::sync::atomic::Ordering::Relaxed) && self.calls.contains_key(&id) {
            // A linger request tells its end; others have told all.
            self.calls.remove(&id);
        }
        let took_ms = (now - begun).as_millis() as u64;
        let object = json!({
            "event": "woken",
            "target": self.held[target].target.to_string(),
            "replica": answer.replica,
            "complete": answer.complete,
            "answered_ms": took_ms,
            "filled_ms": answer.filled_ms,
            "awake_ms": until.saturating_sub(now).as_millis() as u64,
            "handed_on": handed_on,
            "root": answer.root,
        });
        if answer.complete {
            return self.reporter.say(false, None, &object);
        }
        let text = format!(
            "{} of {} was not complete after {:.1} s; if that goes on, choose more --seconds",
            crate::client::text::printable(&answer.replica),
            self.held[target].target,
            took_ms as f64 / 1_000.0
        );
        self.reporter.say(true, Some(&text), &object)
    }

    /// Until when a replica is awake, by our own clock: not longer than was asked for. What it says itself is by its
    /// own clock, so that only the earlier counts, and nothing that lies in the past.
    fn until(&mut self, begun: Duration, now: Duration, answer: &Answer) -> io::Result<Duration> {
        let asked = begun + self.orders.policy.awake;
        let Some(told_ms) = answer.awake_until else { return Ok(asked) };
        let now_ms = system_now_ms();
        if told_ms > now_ms {
            return Ok(asked.min(now + Duration::from_millis(told_ms - now_ms)));
        }
        if !self.clock_told {
            self.clock_told = true;
            let text = format!(
                "{} says that it was awake until {:.1} s ago: its clock differs from this machine's",
                crate::client::text::printable(&answer.replica),
                (now_ms - told_ms) as f64 / 1_000.0
            );
            self.reporter.say(true, Some(&text), &json!({ "event": "note", "message": text }))?;
        }
        Ok(asked)
    }

    fn failed(&mut self, id: u64, target: usize, now: Duration, trouble: Trouble) -> anyhow::Result<()> {
        let again = self.planner.failed(id, now, trouble.retry_after);
        self.calls.remove(&id);
        let held = &mut self.held[target];
        if trouble.kind == Kind::Throttled {
            held.bill.throttled += 1;
        } else {
            held.bill.failed += 1;
        }
        if trouble.kind.is_billed() {
            held.bill.ended(id, now)
        } else {
            held.bill.refused(id)
        }
        let retry_ms = again.saturating_sub(now).as_millis() as u64;
        let object = json!({
            "event": "failed",
            "target": held.target.to_string(),
            "kind": trouble.kind.to_string(),
            "message": trouble.message,
            "retry_ms": retry_ms,
        });
        let retry =
            if self.ending { String::new() } else { format!("; tried again in {:.1} s", retry_ms as f64 / 1e3) };
        let message = trouble.message.clone();
        let text = format!("{}: {message}{retry}", held.target);
        held.trouble = Some(trouble);
        // What nobody has ever seen work, and what will not work by itself, is not tried for ever.
        let hopeless = |held: &Held| !held.answered && held.trouble.as_ref().is_some_and(|t| t.kind == Kind::Refused);
        if self.held.iter().all(hopeless) {
            self.reporter.say(true, None, &object)?;
            return Err(Failure::Denied(message).into());
        }
        self.reporter.say(true, Some(&text), &object)?;
        Ok(())
    }

    /// A line of standard input: `TARGET=N`.
    fn obey(&mut self, line: &str) -> io::Result<()> {
        if line.trim().is_empty() {
            return Ok(());
        }
        let wish = line.trim().parse::<Wish>().and_then(|wish| {
            let place = self.held.iter().position(|held| held.target == wish.target);
            let before = place.map_or(0, |place| self.planner.view(place, Duration::ZERO).wanted);
            if self.planner.wanted() - before + wish.wanted > REPLICAS_MAX {
                return Err(format!("all targets together have at most {REPLICAS_MAX} replicas"));
            }
            Ok(wish)
        });
        match wish {
            Ok(wish) => {
                let text = format!("{} is to have {}", wish.target, wish.wanted);
                let object = json!({ "event": "wanted", "target": wish.target.to_string(), "wanted": wish.wanted });
                self.want(wish);
                self.reporter.say(false, Some(&text), &object)
            }
            Err(reason) => {
                let text = format!("{}: {reason}", crate::client::text::excerpt(line, 100));
                self.reporter.say(true, Some(&text), &json!({ "event": "note", "message": text }))
            }
        }
    }

    /// Says it loudly when nobody holds the database, and when somebody does again.
    fn watch(&mut self, now: Duration) -> io::Result<()> {
        let holds = self.planner.holds(now);
        if holds {
            self.ever_held = true;
            if self.nobody_since.take().is_some() {
                let text = "somebody holds the database again; what nobody had stored or logged in between is lost";
                self.reporter.say(true, Some(text), &json!({ "event": "held" }))?;
            }
        } else if self.ever_held && !self.ending && self.nobody_since.is_none_or(|since| now >= since + NOBODY_EVERY) {
            self.nobody_since = Some(now);
            let text = "NOBODY HOLDS THE DATABASE: no complete replica is awake. A frozen one that is thawed in time, \
                        or the broker's log, may still bring it back";
            self.reporter.say(true, Some(text), &json!({ "event": "nobody_holds" }))?;
        }
        Ok(())
    }

    fn begin_end(&mut self, why: &str) -> io::Result<()> {
        self.ending = true;
        let waking = self.planner.waking();
        let wait = if waking == 0 {
            String::new()
        } else {
            format!("; waiting for the answers to {waking} wakes, Ctrl-C does not")
        };
        let text =
            format!("{why}: nothing is renewed any more, and who is awake stays so until its time is over{wait}");
        self.reporter.say(true, Some(&text), &json!({ "event": "ending", "waking": waking }))
    }

    fn end(mut self) -> anyhow::Result<()> {
        let now = self.began.elapsed();
        let standing = self.standing(now);
        self.reporter.end(&standing)?;
        let awake: usize = standing.rows.iter().map(|row| row.view.awake).sum();
        let text =
            format!("dayfly: ended; {awake} replicas are awake for up to {} s", self.orders.policy.awake.as_secs());
        self.reporter.say(false, Some(&text), &json!({ "event": "ended", "awake": awake }))?;
        match self.held.iter().find_map(|held| Some((held, held.trouble.as_ref()?))) {
            Some((held, trouble)) if !self.held.iter().any(|held| held.answered) => {
                Err(Failure::NoAnswer { url: held.target.to_string(), reason: trouble.message.clone() }.into())
            }
            _ => Ok(()),
        }
    }

    /// How all fare now. The rate of a month is that of the time so far; before a first round is over, invocations are
    /// counted as those of a round.
    fn standing(&self, now: Duration) -> Standing {
        let overlap = self.planner.overlap();
        let round_s = (self.orders.policy.awake - overlap).as_secs_f64();
        let elapsed_s = now.as_secs_f64();
        let row = |(place, held): (usize, &Held)| {
            let used = held.bill.used(now, self.orders.memory_mib);
            let mut month = used.times(MONTH_S / elapsed_s.max(1.0));
            month.requests = used.requests * MONTH_S / elapsed_s.max(round_s);
            Row {
                target: held.target.to_string(),
                view: self.planner.view(place, now),
                invocations: held.bill.invocations,
                throttled: held.bill.throttled,
                failed: held.bill.failed,
                used,
                month,
                billed: held.target.is_billed(),
            }
        };
        Standing {
            second: now.as_secs(),
            rows: self.held.iter().enumerate().map(row).collect(),
            overlap_ms: overlap.as_millis() as u64,
            holds: self.planner.holds(now),
            ever_held: self.ever_held,
            prices: self.orders.prices,
        }
    }
}

/// Reads lines of standard input to its end.
pub fn listen(tell: Sender<Event>) -> io::Result<()> {
    thread::Builder::new().name("input".to_owned()).spawn(move || {
        for line in io::stdin().lock().lines().map_while(Result::ok) {
            if tell.send(Event::Line(line)).is_err() {
                return;
            }
        }
    })?;
    Ok(())
}
