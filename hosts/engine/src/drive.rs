//! The drive loop: everything that a host does for one replica, and nothing that a replica decides.
//!
//! While the replica is awake the loop waits for whichever comes first: a command, an event of the link, or a time (the
//! tick that was asked for, the renewal of the lease, the end of the awake period). Each calls the component once, and
//! the effects are carried out before the next call. While it is frozen only commands are looked at: no tick, no
//! delivery, no acknowledgement.

mod freeze;
mod traffic;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep_until, timeout};

use crate::broker::{Attachment, Broker, Event, Link};
use crate::contract::{Effects, FrameId, Receipt, Request, Response, Timestamp, Verdict};
use crate::instance::{CallError, Instance, Lost};
use crate::replica::{Confirm, Ended, Lease, Phase, ReplicaOptions, Report};
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
    Suspend(oneshot::Sender<()>),
    Leave(oneshot::Sender<()>),
}

/// How long a replica takes in what waited in its inbox before it answers its first invocation after a freeze.
const DRAIN_MAX: Duration = Duration::from_millis(500);
/// How long a freeze or a farewell waits for the broker to settle what was sent.
const SETTLE_MAX: Duration = Duration::from_secs(2);
/// Between two attempts to reach a broker that is away, at first and at most.
const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// A guest that asks to be called at once, always, gets a tick this often.
const TICK_MIN: Duration = Duration::from_millis(1);
/// No wait is longer: the wall clock, which the component's times refer to, may jump.
const WAIT_MAX: Duration = Duration::from_secs(5);

/// A reason to leave the loop. A broken link is mended within it.
#[derive(Debug)]
struct End(Ended);

impl From<Lost> for End {
    fn from(lost: Lost) -> Self {
        Self(Ended::Lost(lost))
    }
}

/// An answer that waits for its frame.
struct Waiting {
    answer: oneshot::Sender<Response>,
    response: Response,
    until: Instant,
}

/// One replica and all that its host knows of it.
pub(crate) struct Drive {
    instance: Instance,
    broker: Arc<dyn Broker>,
    attachment: Attachment,
    /// None while it is frozen.
    link: Option<Box<dyn Link>>,
    /// Counts the links, since tags mean nothing to another.
    links: u64,
    options: ReplicaOptions,
    report: watch::Sender<Report>,
    obituary: Obituary,
    /// Until when it has announced to be awake; none while it is frozen.
    awake_until_ms: Option<Timestamp>,
    next_tick_ms: Option<Timestamp>,
    last_tick: Instant,
    serves_anyone: bool,
    quiet: bool,
    /// Since when it has had nothing to do and nobody asked it anything.
    idle_since: Instant,
    unsettled: BTreeSet<FrameId>,
    waiting: BTreeMap<FrameId, Vec<Waiting>>,
    /// Messages of `combiner` that what was made of them is still to be sent or confirmed for.
    combined: Vec<Combined>,
    /// What its vault has.
    saved_version: u64,
    loaded: bool,
    wakes: u64,
}

/// A message of `combiner` that has been taken in.
struct Combined {
    tag: u64,
    /// Whether a tick came since: from then on what was made of it has been handed to the broker.
    ticked: bool,
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
        let report = Report { phase: Phase::Frozen, quiet: false, unsettled: 0, invocations: 0, wakes: 0 };
        let report = watch::Sender::new(report);
        let mut drive = Self {
            instance,
            broker,
            attachment,
            link: Some(link),
            links: 1,
            options,
            obituary: Obituary { report: report.clone(), ended: Ended::Killed },
            report,
            awake_until_ms: None,
            next_tick_ms: None,
            last_tick: Instant::now(),
            serves_anyone: false,
            quiet: false,
            idle_since: Instant::now(),
            unsettled: BTreeSet::new(),
            waiting: BTreeMap::new(),
            combined: Vec::new(),
            saved_version: 0,
            loaded: false,
            wakes: 0,
        };
        drive.carry_out(started);
        drive
    }

    pub(crate) fn report(&self) -> watch::Receiver<Report> {
        self.report.subscribe()
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
        }
        loop {
            self.tell();
            if self.awake_until_ms.is_none() {
                match commands.recv().await {
                    Some(command) => self.obey(command).await?,
                    None => return Err(End(Ended::Killed)),
                }
                continue;
            }
            let wait_until = self.wait_until();
            let link = self.link.as_mut();
            tokio::select! {
                command = commands.recv() => match command {
                    Some(command) => self.obey(command).await?,
                    None => return Err(End(Ended::Killed)),
                },
                event = next_event(link) => self.hear(event).await?,
                () = sleep_until(wait_until) => self.do_what_is_due().await?,
            }
        }
    }

    async fn obey(&mut self, command: Command) -> Result<(), End> {
        match command {
            Command::Invoke { request, answer, taken } => self.invoke(request, answer, &taken).await,
            Command::Peek { request, answer } => self.peek(&request, answer).await,
            Command::Wake { until_ms, done } => {
                self.wake(until_ms).await?;
                self.tell();
                // Who asked may be gone; the command was carried out all the same. So below.
                let _ = done.send(());
                Ok(())
            }
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
        self.perform(effects).await
    }

    /// Answers without being kept awake by it. What the answer would wait for is not waited for.
    async fn peek(&mut self, request: &Request, answer: oneshot::Sender<Response>) -> Result<(), End> {
        if self.awake_until_ms.is_none() {
            return Ok(());
        }
        let mut response = self.instance.invoke(request)?;
        let effects = std::mem::replace(&mut response.effects, nothing());
        let _ = answer.send(response);
        self.perform(effects).await
    }

    /// Makes sure that it is awake for an invocation, and for as long after it as it is to linger.
    async fn stay_awake(&mut self) -> Result<(), End> {
        let span_ms = match self.options.lease {
            Lease::Standing { lease_ms } => lease_ms,
            Lease::Invoked { awake_ms, .. } => awake_ms,
        };
        let now_ms = system_now_ms();
        match self.awake_until_ms {
            // Each prolongation is announced to everyone, so not every invocation makes one.
            Some(until_ms) if until_ms >= now_ms + span_ms / 2 => Ok(()),
            Some(_) | None => self.wake(now_ms + span_ms).await,
        }
    }

    /// Does what has become due; several things may have.
    async fn do_what_is_due(&mut self) -> Result<(), End> {
        let now_ms = system_now_ms();
        if self.next_tick_ms.is_some_and(|at_ms| at_ms <= now_ms) {
            self.last_tick = Instant::now();
            // The tick that was asked for is this one; what the call asks for comes after it.
            self.next_tick_ms = None;
            let effects = self.instance.tick()?;
            self.perform(effects).await?;
            for message in &mut self.combined {
                message.ticked = true;
            }
            self.acknowledge_combined();
        }
        self.give_up_waiting();
        let Some(until_ms) = self.awake_until_ms else { return Ok(()) };
        match self.options.lease {
            Lease::Standing { lease_ms } => {
                if now_ms + lease_ms / 2 >= until_ms {
                    self.wake(now_ms + lease_ms).await?;
                }
            }
            Lease::Invoked { quiet_ms, .. } => {
                let quiet = quiet_ms.is_some_and(|quiet_ms| {
                    self.is_idle() && self.idle_since.elapsed() >= Duration::from_millis(quiet_ms)
                });
                if now_ms + FREEZE_MARGIN_MS >= until_ms || quiet {
                    self.suspend().await?;
                }
            }
        }
        Ok(())
    }

    fn is_idle(&self) -> bool {
        self.quiet && self.unsettled.is_empty() && self.waiting.is_empty()
    }

    /// When something will be due at the earliest.
    fn wait_until(&self) -> Instant {
        let (now, now_ms) = (Instant::now(), system_now_ms());
        let at = |at_ms: Timestamp| now + Duration::from_millis(at_ms.saturating_sub(now_ms));
        let mut earliest = now + WAIT_MAX;
        if let Some(tick_ms) = self.next_tick_ms {
            earliest = earliest.min(at(tick_ms).max(self.last_tick + TICK_MIN));
        }
        if let Some(until_ms) = self.awake_until_ms {
            earliest = earliest.min(match self.options.lease {
                Lease::Standing { lease_ms } => at(until_ms.saturating_sub(lease_ms / 2)),
                Lease::Invoked { .. } => at(until_ms.saturating_sub(FREEZE_MARGIN_MS)),
            });
        }
        if let Lease::Invoked { quiet_ms: Some(quiet_ms), .. } = self.options.lease
            && self.is_idle()
        {
            earliest = earliest.min(self.idle_since + Duration::from_millis(quiet_ms));
        }
        let confirms = self.waiting.values().flatten().map(|waiting| waiting.until).min();
        confirms.map_or(earliest, |until| earliest.min(until))
    }

    fn give_up_waiting(&mut self) {
        let now = Instant::now();
        for list in self.waiting.values_mut() {
            for late in list.extract_if(.., |waiting| waiting.until <= now) {
                let _ = late.answer.send(unconfirmed(&self.attachment.name));
            }
        }
        self.waiting.retain(|_, list| !list.is_empty());
    }

    fn answer_all_unconfirmed(&mut self) {
        for waiting in std::mem::take(&mut self.waiting).into_values().flatten() {
            let _ = waiting.answer.send(unconfirmed(&self.attachment.name));
        }
    }

    // Effects.

    /// Carries out what a call asked for.
    async fn perform(&mut self, effects: Effects) -> Result<(), End> {
        let anew = effects.started_anew;
        self.carry_out(effects);
        if anew {
            // The inbox may be gone, and what was sent over the link belongs to a former life.
            if let Some(link) = self.link.take() {
                let _ = timeout(SETTLE_MAX, link.detach()).await;
            }
            self.combined.clear();
            self.attach().await?;
            self.loaded = false;
            self.load().await?;
        }
        Ok(())
    }

    fn carry_out(&mut self, effects: Effects) {
        self.next_tick_ms = effects.next_tick;
        self.quiet = effects.quiet;
        self.unsettled.extend(effects.frames.iter().map(|frame| frame.id));
        // Without a link the frames stay unsettled, and are failed when there is one again.
        let Some(link) = &mut self.link else { return };
        if effects.serve_anyone != self.serves_anyone {
            self.serves_anyone = effects.serve_anyone;
            link.serve_anyone(effects.serve_anyone);
        }
        if !effects.frames.is_empty() {
            link.publish(effects.frames);
        }
    }

    // Stored state.

    /// Hands in stored state. A vault that fails or a part that is broken costs only what repair will bring.
    async fn load(&mut self) -> Result<(), End> {
        let Some(vault) = self.options.vault.clone().filter(|_| !self.loaded) else { return Ok(()) };
        self.loaded = true;
        let Ok(parts) = vault.load().await else { return Ok(()) };
        for part in &parts {
            match self.instance.load(part) {
                Ok(effects) => self.carry_out(effects),
                Err(CallError::Refused(_)) => {}
                Err(CallError::Lost(lost)) => return Err(lost.into()),
            }
        }
        Ok(())
    }

    async fn save(&mut self) -> Result<(), End> {
        let Some(vault) = self.options.vault.clone() else { return Ok(()) };
        let saved = self.instance.save(self.saved_version)?;
        if saved.parts.is_empty() || vault.store(saved.parts).await.is_ok() {
            self.saved_version = saved.version;
        }
        Ok(())
    }

    fn tell(&self) {
        let report = Report {
            phase: match self.awake_until_ms {
                Some(until_ms) => Phase::Awake { until_ms },
                None => Phase::Frozen,
            },
            quiet: self.quiet,
            unsettled: self.unsettled.len(),
            invocations: self.waiting.values().map(Vec::len).sum(),
            wakes: self.wakes,
        };
        self.report.send_if_modified(|told| {
            let modified = *told != report;
            *told = report;
            modified
        });
    }
}

const HOUR_MS: u64 = 3_600_000;
/// An awake period ends this long before what was announced: the promise is to be frozen by then.
const FREEZE_MARGIN_MS: u64 = 50;

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

/// The answer to a write that the broker did not confirm.
fn unconfirmed(replica: &str) -> Response {
    let body = concat!(
        r#"{"error":{"code":"unconfirmed","message":"the broker did not confirm the write; it is applied here "#,
        r#"and will be sent again: do not repeat it unless it may count twice"}}"#
    );
    Response {
        status: 503,
        headers: vec![
            ("content-type".to_owned(), "application/json".to_owned()),
            ("dayfly-replica".to_owned(), replica.to_owned()),
        ],
        body: body.as_bytes().to_vec(),
        after: None,
        effects: nothing(),
    }
}
