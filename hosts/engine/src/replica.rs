//! A replica that runs: an instance with its link to the broker, driven by a task of its own (see [`crate::drive`]).

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::AbortHandle;

use crate::broker::{Attachment, Broker, BrokerError};
use crate::checkpoint::Vault;
use crate::contract::{Config, Request, Response};
use crate::drive::{self, Command, Counters, Traffic};
use crate::instance::{CallError, Lost};
use crate::runtime::Runtime;
use crate::world::World;

/// When a write is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Confirm {
    /// When the broker has confirmed its frame: it survives this replica's death.
    Broker,
    /// When the replica has applied it: faster, and lost if the replica dies before its frame was sent.
    Local,
}

/// How long a replica is awake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lease {
    /// Always: the awake period is prolonged at half its length, in milliseconds (1 s to 1 h). A longer one costs fewer
    /// announcements, and lets a replica that was killed be taken for awake as long.
    Standing {
        /// The length of an awake period.
        lease_ms: u64,
    },
    /// As on a serverless platform: frozen at first; an invocation, or [`Replica::wake`], makes it awake for so many
    /// milliseconds (up to 1 h), and then it is frozen again.
    Invoked {
        /// The length of an awake period, from its last invocation on.
        awake_ms: u64,
        /// Freeze it earlier, once it has had nothing left to do for so many milliseconds.
        quiet_ms: Option<u64>,
    },
    /// As long as a platform grants, which freezes the process by itself: awake from the start, and later only by
    /// [`Replica::grant`]. An invocation does not prolong it, and a frozen replica takes none
    /// ([`InvokeError::NotTaken`]).
    Granted {
        /// The first awake period.
        first: Grant,
        /// So many milliseconds before the end of a period the replica begins to freeze, so that what it sends then is
        /// confirmed by the end: some round trips to the broker.
        margin_ms: u64,
    },
}

/// An awake period that a platform grants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant {
    /// Its end, in milliseconds since 1970, at most 1 h ahead. The replica announces it to everyone.
    pub until_ms: u64,
    /// End it earlier, once the replica has had nothing left to do for so many milliseconds; none: it lasts.
    pub quiet_ms: Option<u64>,
}

/// How a replica is run.
#[derive(Clone)]
pub struct ReplicaOptions {
    /// Its configuration; `component-hash` is filled in.
    pub config: Config,
    /// When a write is answered.
    pub confirm: Confirm,
    /// How long the broker has to confirm a write before the answer is 503 `unconfirmed`, in milliseconds.
    pub confirm_ms: u64,
    /// How long it is awake.
    pub lease: Lease,
    /// Where its state is stored: read before it first wakes, written now and then while it is awake, when it is frozen
    /// and when it leaves.
    pub vault: Option<Arc<dyn Vault>>,
    /// How often the vault is brought up to date while it is awake, in milliseconds: what a kill costs at most, if
    /// nobody else has it. 0: only when it is frozen or leaves.
    pub save_every_ms: u64,
}

impl ReplicaOptions {
    /// A standing replica with this configuration, confirmed by the broker within 10 s.
    pub fn standing(config: Config) -> Self {
        Self {
            config,
            confirm: Confirm::Broker,
            confirm_ms: 10_000,
            lease: Lease::Standing { lease_ms: 60_000 },
            vault: None,
            save_every_ms: 10_000,
        }
    }
}

/// Where a replica is in its life.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Phase {
    /// It receives, ticks and answers; it has announced to be awake until this time, in milliseconds since 1970.
    Awake {
        /// Until when.
        until_ms: u64,
    },
    /// Nothing of it runs.
    #[default]
    Frozen,
    /// It has ended.
    Ended(Ended),
}

/// How a replica ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// By [`Replica::kill`], or with the process's runtime.
    Killed,
    /// By [`Replica::leave`].
    Left,
    /// Its instance is lost.
    Lost(Lost),
    /// The broker refused it, or another replica took its name.
    Refused(BrokerError),
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Killed => write!(f, "it was killed"),
            Self::Left => write!(f, "it has left"),
            Self::Lost(lost) => write!(f, "{lost}"),
            Self::Refused(error) => write!(f, "{error}"),
        }
    }
}

/// What can be told of a replica without calling it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Where it is in its life.
    pub phase: Phase,
    /// Whether it said, when it was last called, that it has nothing left to do.
    pub quiet: bool,
    /// How many of its frames the broker has not settled.
    pub unsettled: usize,
    /// How many invocations and deliveries wait in it for their answers.
    pub invocations: usize,
    /// How often it has begun an awake period.
    pub wakes: u64,
    /// Whether it has a link to the broker. Without one it answers reads, and writes wait for their confirmation.
    pub connected: bool,
    /// Whether it is awake and has all of the database that it heard of: it serves others who lack some
    /// (`effects.serve-anyone`, which a component sets exactly then).
    pub complete: bool,
    /// How often it was found to have been stopped with its process for more than 2 s (SIGSTOP, a machine that slept).
    /// Stops of less than 4 s may go unnoticed.
    pub freeze_gaps: u64,
    /// The longest of them, in milliseconds.
    pub freeze_gap_ms_max: u64,
    /// How often its vault could not be read or written, or gave a part that is broken.
    pub vault_errors: u64,
    /// What was wrong the last time, for people; it names the path or the part.
    pub vault_error: Option<String>,
}

/// Why an invocation has no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InvokeError {
    /// The replica ended before it took the request, or is frozen and not to be woken by it: nothing was applied.
    NotTaken,
    /// The replica ended after it took the request: a write may or may not have been applied.
    InDoubt,
}

impl fmt::Display for InvokeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotTaken => write!(f, "the replica ended, or was frozen, before it took the request"),
            Self::InDoubt => write!(f, "the replica ended while it answered: a write may or may not have been applied"),
        }
    }
}

impl std::error::Error for InvokeError {}

/// Why a replica could not be started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StartError {
    /// There is no room for another instance, or it was lost at once.
    Instance(Lost),
    /// The configuration is out of bounds; the text names field and bound.
    Config(String),
    /// There is no broker, or it refused.
    Broker(BrokerError),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Instance(lost) => write!(f, "{lost}"),
            Self::Config(reason) => write!(f, "{reason}"),
            Self::Broker(error) => write!(f, "{error}"),
        }
    }
}

impl std::error::Error for StartError {}

/// How many commands wait for a replica at most; who sends one more waits.
const COMMANDS_MAX: usize = 256;

/// A running replica. Clones are the same one. When the last is dropped, it is killed.
#[derive(Clone)]
pub struct Replica {
    shared: Arc<Shared>,
}

struct Shared {
    name: String,
    incarnation: u64,
    commands: mpsc::Sender<Command>,
    report: watch::Receiver<Report>,
    counters: Counters,
    task: AbortHandle,
}

impl fmt::Debug for Replica {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Replica")
            .field("name", &self.shared.name)
            .field("report", &self.report())
            .finish_non_exhaustive()
    }
}

impl Replica {
    /// Makes an instance, starts it, declares its inbox, loads stored state, and drives it by a task of the calling
    /// tokio runtime. With [`Lease::Invoked`] it stays frozen until it is invoked; otherwise it wakes at once. The world
    /// has to show
    /// the real time; for a virtual one, step an [`crate::Instance`] by hand.
    pub async fn start(
        runtime: &Runtime,
        broker: Arc<dyn Broker>,
        world: impl World + 'static,
        mut options: ReplicaOptions,
    ) -> Result<Self, StartError> {
        options.config.component_hash = runtime.component_hash().to_owned();
        let mut instance = runtime.instantiate(world).map_err(StartError::Instance)?;
        let started = instance.start(&options.config).map_err(|error| match error {
            CallError::Refused(reason) => StartError::Config(reason),
            CallError::Lost(lost) => StartError::Instance(lost),
        })?;
        let attachment = Attachment { name: started.name.clone(), retention_ms: options.config.retention_ms };
        // Declared before the first frame is published, and consumed from then on: what comes while it is filled waits.
        let link = broker.attach(attachment.clone()).await.map_err(StartError::Broker)?;
        let (commands, receiver) = mpsc::channel(COMMANDS_MAX);
        let (name, incarnation) = (started.name, started.incarnation);
        let drive = drive::Drive::new(instance, broker, attachment, link, started.effects, options);
        let (report, counters) = (drive.report(), drive.counters());
        let task = tokio::spawn(drive.run(receiver)).abort_handle();
        Ok(Self { shared: Arc::new(Shared { name, incarnation, commands, report, counters, task }) })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// Its incarnation when it was started.
    pub fn incarnation(&self) -> u64 {
        self.shared.incarnation
    }

    /// What can be told of it now.
    pub fn report(&self) -> Report {
        self.shared.report.borrow().clone()
    }

    /// What it has sent and received up to now. Cheap: it does not call the replica.
    pub fn traffic(&self) -> Traffic {
        self.shared.counters.read()
    }

    /// To wait for changes of the report.
    pub fn watch(&self) -> watch::Receiver<Report> {
        self.shared.report.clone()
    }

    /// Has it answer a request; a frozen one is woken for it, unless its lease is [`Lease::Granted`]. A write is answered
    /// as [`ReplicaOptions::confirm`] says.
    pub async fn invoke(&self, request: Request) -> Result<Response, InvokeError> {
        let (answer, answered) = oneshot::channel();
        let taken = Arc::new(AtomicBool::new(false));
        let command = Command::Invoke { request, answer, taken: Arc::clone(&taken) };
        self.shared.commands.send(command).await.map_err(|_| InvokeError::NotTaken)?;
        answered.await.map_err(|_| match taken.load(Ordering::SeqCst) {
            true => InvokeError::InDoubt,
            false => InvokeError::NotTaken,
        })
    }

    /// Has it answer a reading request if it is awake, without keeping it awake: for those who watch. `None` if it is
    /// frozen or has ended.
    pub async fn peek(&self, request: Request) -> Option<Response> {
        let (answer, answered) = oneshot::channel();
        self.shared.commands.send(Command::Peek { request, answer }).await.ok()?;
        answered.await.ok()
    }

    /// Wakes it, or keeps it awake, until this time in milliseconds since 1970; it has been carried out when this
    /// returns. `false` if the replica has ended.
    pub async fn wake(&self, until_ms: u64) -> bool {
        self.command(|done| Command::Wake { until_ms, done }).await
    }

    /// Has a replica with [`Lease::Granted`] be awake for this period; it has been woken when this returns. A period that
    /// lasts is prolonged, never shortened, and not ended by quiet before the end of one that was granted without.
    /// `false` if the replica has ended.
    pub async fn grant(&self, grant: Grant) -> bool {
        self.command(|done| Command::Grant { grant, done }).await
    }

    /// Hands in bodies of frames that a host took from the broker by itself, in place of the replica's link. Returns when
    /// the replica is done with them (`effects.done-with`), so that the broker may forget them. `false` if it is frozen,
    /// or was before that, or has ended: they are to be handed in again, to whichever replica.
    pub async fn deliver(&self, bodies: Vec<Bytes>) -> bool {
        self.command(|done| Command::Deliver { bodies, done }).await
    }

    /// Freezes it: its frames are settled, its inbox stays. A standing replica wakes only with the next invocation or
    /// [`Replica::wake`]. `false` if the replica has ended.
    pub async fn suspend(&self) -> bool {
        self.command(Command::Suspend).await
    }

    /// Lets it say farewell and end, with its inbox. `false` if it had ended before.
    pub async fn leave(&self) -> bool {
        self.command(Command::Leave).await
    }

    /// Ends it without notice, wherever it is: what it was doing is not done. Its inbox stays until the retention.
    pub fn kill(&self) {
        self.shared.task.abort();
    }

    /// Waits until it has ended, and tells how.
    pub async fn ended(&self) -> Ended {
        let mut report = self.watch();
        loop {
            if let Phase::Ended(ended) = &report.borrow_and_update().phase {
                return ended.clone();
            }
            if report.changed().await.is_err() {
                // The task is gone; what it said last is what it leaves.
                return match &report.borrow().phase {
                    Phase::Ended(ended) => ended.clone(),
                    Phase::Awake { .. } | Phase::Frozen => Ended::Killed,
                };
            }
        }
    }

    async fn command(&self, command: impl FnOnce(oneshot::Sender<()>) -> Command) -> bool {
        let (done, carried_out) = oneshot::channel();
        self.shared.commands.send(command(done)).await.is_ok() && carried_out.await.is_ok()
    }

    /// Waits until it has nothing left to do, or this long; whether it had.
    pub async fn quiet(&self, within: Duration) -> bool {
        let mut report = self.watch();
        let quiet = report.wait_for(|report| report.quiet && report.unsettled == 0);
        matches!(tokio::time::timeout(within, quiet).await, Ok(Ok(_)))
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.task.abort();
    }
}
