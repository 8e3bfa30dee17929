//! The drive loop: everything that a host does for one replica, and nothing that a replica decides.
//!
//! While the replica is awake the loop waits for whichever comes first: a command, an event of the link, a link where
//! there is none, a piece of the log, the vault, or a time (the tick that was asked for, the renewal of the lease, the
//! end of the awake period). Each calls the component once, and the effects are carried out before the next call. While
//! it is frozen only commands are looked at: no tick, no delivery, no acknowledgement.
//!
//! Without a link all goes on but what needs the broker: reads are answered, writes are applied and wait for their
//! confirmation as long as they may. The frames made meanwhile are failed when there is a link again, as if a link had
//! broken under them: the component sends again what still matters.

mod answer;
mod connection;
mod counters;
mod due;
mod freeze;
mod handed_in;
mod replay;
mod stored;
mod traffic;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use dayfly_amqp::Combining;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep_until};

use self::answer::Waiting;
use self::connection::{Attaching, Backoff, Watch, attached};
pub(crate) use self::counters::Counters;
pub use self::counters::{Latency, Received, Sent, Traffic, Volume};
use self::handed_in::HandedIn;
use self::replay::{Read, Reading, next_read};
use self::stored::{Saving, saved};
use crate::broker::{Attachment, Broker, BrokerError, Event, Link};
use crate::checkpoint::VaultError;
use crate::contract::{Effects, FrameId, Receipt, Request, Response, Timestamp, Verdict};
use crate::instance::{Instance, Lost};
use crate::replica::{Confirm, Ended, Grant, Lease, Phase, ReplicaOptions, Report};
use crate::world::system_now_ms;

/// What a replica is asked to do.
pub(crate) enum Command {
    Invoke {
        request: Request,
        answer: oneshot::Sender<Response>,
        taken: Arc<AtomicBool>,
    },
    /// Answers while it is awake; a frozen replica drops it.
    Peek {
        request: Request,
        answer: oneshot::Sender<Response>,
    },
    Wake {
        until_ms: Timestamp,
        done: oneshot::Sender<()>,
    },
    Grant {
        grant: Grant,
        done: oneshot::Sender<()>,
    },
    /// Answers when the component is done with them; dropped if it is frozen before.
    Deliver {
        bodies: Vec<Bytes>,
        done: oneshot::Sender<()>,
    },
    Suspend(oneshot::Sender<()>),
    Leave(oneshot::Sender<()>),
}

/// How long a replica takes in what waited in its inbox before it answers its first invocation after a freeze.
const DRAIN_MAX: Duration = Duration::from_millis(500);
/// How long it waits meanwhile for the broker to hand out more.
const DRAIN_PAUSE_MAX: Duration = Duration::from_millis(100);
/// How long a freeze or a farewell waits for the broker to settle what was sent.
const SETTLE_MAX: Duration = Duration::from_secs(2);
/// How long a replica that is woken waits for the broker: a read is answered without it then.
const BROKER_WAIT: Duration = Duration::from_secs(2);
/// A guest that asks to be called at once, always, gets a tick this often.
const TICK_MIN: Duration = Duration::from_millis(1);
/// No wait is longer: the wall clock, which the component's times refer to, may jump, and a process that was stopped
/// while it waited notices only what went beyond the wait.
const WAIT_MAX: Duration = Duration::from_secs(2);

/// A reason to leave the loop. A broken link is mended within it.
#[derive(Debug)]
struct End(Ended);

impl From<Lost> for End {
    fn from(lost: Lost) -> Self {
        Self(Ended::Lost(lost))
    }
}

/// One replica and all that its host knows of it.
pub(crate) struct Drive {
    instance: Instance,
    broker: Arc<dyn Broker>,
    attachment: Attachment,
    /// None while it is frozen, or while the broker cannot be reached.
    link: Option<Box<dyn Link>>,
    /// The attempt to get one. None while there is one, or while it is frozen.
    attaching: Option<Attaching>,
    backoff: Backoff,
    /// The last link broke, and did not just end with an awake period.
    broke: bool,
    /// The last `wake` was called without a link: nobody has heard of it.
    unannounced: bool,
    options: ReplicaOptions,
    report: watch::Sender<Report>,
    counters: Counters,
    obituary: Obituary,
    watch: Watch,
    /// How often the process was found to have been stopped, and for how many milliseconds at longest.
    gaps: (u64, u64),
    /// Until when it has announced to be awake; none while it is frozen.
    awake_until_ms: Option<Timestamp>,
    /// What ends a granted period early.
    quiet_ms: Option<u64>,
    /// Quiet ends no period before.
    held_until_ms: Timestamp,
    next_tick_ms: Option<Timestamp>,
    last_tick: Instant,
    serves_anyone: bool,
    quiet: bool,
    /// Since when it has had nothing to do and nobody asked it anything.
    idle_since: Instant,
    /// The frames whose outcome is not known, and when they were handed to the link; none: there was no link.
    unsettled: BTreeMap<FrameId, Option<Instant>>,
    /// Those of them that no present link knows of. They are failed as soon as the component may be told.
    stale: BTreeSet<FrameId>,
    waiting: BTreeMap<FrameId, Vec<Waiting>>,
    /// The messages that were taken in, and those of `combiner` that the component is not done with.
    combining: Combining,
    /// Messages that the host brought, with which the component is not done.
    handed_in: HandedIn,
    /// The component has started anew, and the host has not done its part.
    anew: bool,
    /// The component asks for the log.
    replay_wanted: bool,
    reading: Option<Reading>,
    replay_backoff: Backoff,
    saving: Option<Saving>,
    /// When it last began to save.
    saved_at: Instant,
    /// What its vault has.
    saved_version: u64,
    loaded: bool,
    /// How often the vault failed, or had a part that was broken.
    vault_errors: u64,
    /// What it said last.
    vault_error: Option<String>,
    wakes: u64,
}

/// What a turn of the loop is about.
enum Turn {
    /// None: nobody can give a command any more.
    Command(Option<Command>),
    Event(Event),
    Attached(Result<Box<dyn Link>, BrokerError>),
    Read(Read),
    Saved((u64, Result<(), VaultError>)),
    Due,
}

impl Drive {
    pub(crate) fn new(
        instance: Instance,
        broker: Arc<dyn Broker>,
        attachment: Attachment,
        link: Box<dyn Link>,
        started: Effects,
        options: ReplicaOptions,
    ) -> Self {
        let report = watch::Sender::new(Report::default());
        let counters = Counters::default();
        counters.attached(link.backlog(), false);
        let mut drive = Self {
            instance,
            broker,
            attachment,
            link: Some(link),
            attaching: None,
            backoff: Backoff::new(),
            broke: false,
            unannounced: false,
            options,
            obituary: Obituary { report: report.clone(), ended: Ended::Killed },
            report,
            counters,
            watch: Watch::new(),
            gaps: (0, 0),
            awake_until_ms: None,
            quiet_ms: None,
            held_until_ms: 0,
            next_tick_ms: None,
            last_tick: Instant::now(),
            serves_anyone: false,
            quiet: false,
            idle_since: Instant::now(),
            unsettled: BTreeMap::new(),
            stale: BTreeSet::new(),
            waiting: BTreeMap::new(),
            combining: Combining::default(),
            handed_in: HandedIn::default(),
            anew: false,
            replay_wanted: false,
            reading: None,
            replay_backoff: Backoff::new(),
            saving: None,
            saved_at: Instant::now(),
            saved_version: 0,
            loaded: false,
            vault_errors: 0,
            vault_error: None,
            wakes: 0,
        };
        drive.carry_out(started);
        drive
    }

    pub(crate) fn report(&self) -> watch::Receiver<Report> {
        self.report.subscribe()
    }

    pub(crate) fn counters(&self) -> Counters {
        self.counters.clone()
    }

    /// Runs until the replica ends. Cancelling it anywhere is a kill.
    pub(crate) async fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        let Err(End(ended)) = self.live(&mut commands).await;
        // Those who wait hear that it ended: their channels close with `self`.
        self.obituary.ended = ended;
    }

    async fn live(&mut self, commands: &mut mpsc::Receiver<Command>) -> Result<std::convert::Infallible, End> {
        self.load().await?;
        match self.options.lease {
            Lease::Standing { lease_ms } => self.wake(system_now_ms() + lease_ms).await?,
            Lease::Invoked { .. } => {
                self.settle_all().await?;
                self.let_go().await;
            }
            Lease::Granted { first, .. } => self.grant(first).await?,
        }
        self.watch.expect(Duration::ZERO);
        loop {
            if self.anew {
                self.begin_anew().await?;
                self.watch.expect(Duration::ZERO);
            }
            self.tell();
            if self.awake_until_ms.is_none() {
                match commands.recv().await {
                    Some(command) => self.obey(command).await?,
                    None => return Err(End(Ended::Killed)),
                }
                // Time that passes while it is frozen is not unnoticed.
                self.watch.expect(Duration::ZERO);
                continue;
            }
            if self.link.is_none() && self.attaching.is_none() {
                let pause = self.backoff.pause();
                self.begin_attaching(pause);
            }
            self.tend_replay();
            // Twice a turn: here for what the last turn took, below for what this one waits for.
            self.notice_gap().await;
            let wait_until = self.wait_until();
            self.watch.expect(wait_until.saturating_duration_since(Instant::now()));
            let turn = tokio::select! {
                command = commands.recv() => Turn::Command(command),
                event = next_event(self.link.as_mut()) => Turn::Event(event),
                outcome = attached(self.attaching.as_mut()) => Turn::Attached(outcome),
                read = next_read(self.reading.as_mut()) => Turn::Read(read),
                saved = saved(self.saving.as_mut()) => Turn::Saved(saved),
                () = sleep_until(wait_until) => Turn::Due,
            };
            self.notice_gap().await;
            match turn {
                Turn::Command(Some(command)) => {
                    self.obey(command).await?;
                    // Some commands take their time, and are bounded in it.
                    self.watch.expect(Duration::ZERO);
                }
                Turn::Command(None) => return Err(End(Ended::Killed)),
                Turn::Event(event) => self.hear(event)?,
                Turn::Attached(outcome) => self.reconnected(outcome)?,
                Turn::Read(read) => self.replay(read)?,
                Turn::Saved(saved) => self.note_saved(saved),
                Turn::Due => {
                    self.do_what_is_due().await?;
                    self.watch.expect(Duration::ZERO);
                }
            }
        }
    }

    async fn obey(&mut self, command: Command) -> Result<(), End> {
        match command {
            Command::Invoke { request, answer, taken } => self.invoke(request, answer, &taken).await,
            Command::Peek { request, answer } => self.peek(&request, answer),
            Command::Wake { until_ms, done } => {
                self.wake(until_ms).await?;
                self.tell();
                // Who asked may be gone; the command was carried out all the same. So below.
                let _ = done.send(());
                Ok(())
            }
            Command::Grant { grant, done } => {
                self.grant(grant).await?;
                self.tell();
                let _ = done.send(());
                Ok(())
            }
            Command::Deliver { bodies, done } => self.deliver(&bodies, done),
            Command::Suspend(done) => {
                self.suspend().await?;
                self.tell();
                let _ = done.send(());
                Ok(())
            }
            Command::Leave(done) => {
                self.leave().await?;
                let _ = done.send(());
                Err(End(Ended::Left))
            }
        }
    }

    // Calls.

    async fn invoke(
        &mut self,
        request: Request,
        answer: oneshot::Sender<Response>,
        taken: &AtomicBool,
    ) -> Result<(), End> {
        self.stay_awake().await?;
        // What is granted is the host's to say: the dropped answer tells it that nothing was taken.
        if self.awake_until_ms.is_none() {
            return Ok(());
        }
        self.idle_since = Instant::now();
        // Whoever asked has gone away meanwhile: nobody would hear the answer, so nothing is begun.
        if answer.is_closed() {
            return Ok(());
        }
        taken.store(true, Ordering::SeqCst);
        let mut response = self.instance.invoke(&request)?;
        let effects = std::mem::replace(&mut response.effects, nothing());
        let after = response.after.filter(|_| self.options.confirm == Confirm::Broker);
        match after {
            None => {
                let _ = answer.send(response);
            }
            Some(id) => {
                let until = Instant::now() + Duration::from_millis(self.options.confirm_ms);
                self.waiting.entry(id).or_default().push(Waiting { answer, response, until });
            }
        }
        self.carry_out(effects);
        Ok(())
    }

    /// Answers without being kept awake by it. What the answer would wait for is not waited for.
    fn peek(&mut self, request: &Request, answer: oneshot::Sender<Response>) -> Result<(), End> {
        if self.awake_until_ms.is_none() {
            return Ok(());
        }
        let mut response = self.instance.invoke(request)?;
        let effects = std::mem::replace(&mut response.effects, nothing());
        let _ = answer.send(response);
        self.carry_out(effects);
        Ok(())
    }

    /// Makes sure that it is awake for an invocation, and for as long after it as it is to linger.
    async fn stay_awake(&mut self) -> Result<(), End> {
        let span_ms = match self.options.lease {
            Lease::Standing { lease_ms } => lease_ms,
            Lease::Invoked { awake_ms, .. } => awake_ms,
            Lease::Granted { .. } => return Ok(()),
        };
        let now_ms = system_now_ms();
        match self.awake_until_ms {
            // Each prolongation is announced to everyone, so not every invocation makes one.
            Some(until_ms) if until_ms >= now_ms + span_ms / 2 => Ok(()),
            Some(_) | None => {
                self.wake(now_ms + span_ms).await?;
                // Whoever hears the answer may look whether it is awake.
                self.tell();
                Ok(())
            }
        }
    }

    // Effects.

    /// Carries out what a call asked for. That the component has started anew is left to [`Drive::begin_anew`].
    fn carry_out(&mut self, effects: Effects) {
        self.next_tick_ms = effects.next_tick;
        self.quiet = effects.quiet;
        if effects.started_anew {
            self.anew = true;
            // What its former life took in was not passed on, and goes back with the link.
            self.combining.clear();
            self.handed_in.clear();
        }
        self.handed_in.done_with(effects.done_with);
        self.replay_wanted = effects.replay;
        let serves_anyone = std::mem::replace(&mut self.serves_anyone, effects.serve_anyone);
        let handed_over = self.link.as_ref().map(|_| Instant::now());
        self.unsettled.extend(effects.frames.iter().map(|frame| (frame.id, handed_over)));
        // Without a link the frames stay unsettled, and are failed when there is one again.
        let Some(link) = &mut self.link else { return };
        if effects.serve_anyone != serves_anyone {
            link.serve_anyone(effects.serve_anyone);
        }
        if !effects.frames.is_empty() {
            self.counters.sent(&effects.frames);
            link.publish(effects.frames);
        }
        let done = self.combining.done_with(effects.done_with);
        if !done.is_empty() {
            link.acknowledge(&done);
        }
    }

    fn tell(&self) {
        let report = Report {
            phase: match self.awake_until_ms {
                Some(until_ms) => Phase::Awake { until_ms },
                None => Phase::Frozen,
            },
            quiet: self.quiet,
            unsettled: self.unsettled.len() + self.stale.len(),
            invocations: self.waiting.values().map(Vec::len).sum::<usize>() + self.handed_in.len(),
            wakes: self.wakes,
            connected: self.link.is_some(),
            complete: self.awake_until_ms.is_some() && self.serves_anyone,
            freeze_gaps: self.gaps.0,
            freeze_gap_ms_max: self.gaps.1,
            vault_errors: self.vault_errors,
            vault_error: self.vault_error.clone(),
        };
        self.report.send_if_modified(|told| {
            let modified = *told != report;
            *told = report;
            modified
        });
    }
}

const HOUR_MS: u64 = 3_600_000;

/// The next event of a link; never, without one.
async fn next_event(link: Option<&mut Box<dyn Link>>) -> Event {
    match link {
        Some(link) => link.next().await,
        None => std::future::pending().await,
    }
}

/// Tells how a replica ended, even where its task was cancelled.
struct Obituary {
    report: watch::Sender<Report>,
    ended: Ended,
}

impl Drop for Obituary {
    fn drop(&mut self) {
        self.report.send_modify(|report| report.phase = Phase::Ended(self.ended.clone()));
    }
}

/// Receipts that say of these frames that they may or may not have arrived.
fn failed(ids: BTreeSet<FrameId>) -> Vec<Receipt> {
    ids.into_iter().map(|id| Receipt { id, verdict: Verdict::Failed }).collect()
}

fn nothing() -> Effects {
    Effects {
        frames: Vec::new(),
        next_tick: None,
        serve_anyone: false,
        quiet: false,
        started_anew: false,
        replay: false,
        done_with: 0,
    }
}
