//! The replica of this execution environment: started by the first event, since what is initialised before it may be
//! cloned; awake as long as invocations grant; started anew when it has ended.

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use dayfly_engine::contract::{Request, Response};
use dayfly_engine::{
    AmqpBroker, Broker, BrokerError, Ended, Grant, InvokeError, Lease, Phase, Replica, ReplicaOptions, Runtime,
    SystemWorld,
};
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout, timeout_at};
use tracing::{info, warn};

use crate::environment::Environment;

/// How long before the platform's deadline a replica has to be frozen: the link is given up, and the platform told.
pub const DEADLINE_MARGIN_MS: u64 = 500;
/// How long before the end of its awake period it begins to freeze: its last frames go to the broker and are confirmed,
/// across an ocean if need be.
const FREEZE_MARGIN_MS: u64 = 250;
/// How long the broker has to confirm a write.
const CONFIRM_MS: u64 = 10_000;

/// Makes the replica, and keeps it.
pub struct Life {
    runtime: Runtime,
    broker: Arc<dyn Broker>,
    environment: Environment,
    /// Held while one is started, so that there is one.
    present: Mutex<Option<Present>>,
}

/// A replica, and since when.
#[derive(Clone)]
pub struct Present {
    /// The replica.
    pub replica: Replica,
    started: Instant,
    filled_ms: Arc<OnceLock<u64>>,
}

impl Present {
    /// How long it took from its start until it was complete, in milliseconds; none: it never was.
    pub fn filled_ms(&self) -> Option<u64> {
        self.filled_ms.get().copied()
    }

    /// It is complete; the first time counts.
    fn note_filled(&self) {
        self.filled_ms.get_or_init(|| u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX));
    }

    /// Waits until it is frozen or has ended, at most until then; whether it is.
    pub async fn frozen(&self, until: Instant) -> bool {
        let mut report = self.replica.watch();
        let frozen = report.wait_for(|report| !matches!(report.phase, Phase::Awake { .. }));
        // A report that is no longer written is that of a replica that has ended.
        timeout_at(until, frozen).await.is_ok()
    }

    /// Waits until it is complete, at most so long; whether it is.
    pub async fn complete(&self, within: Duration) -> bool {
        let mut report = self.replica.watch();
        let complete = matches!(timeout(within, report.wait_for(|report| report.complete)).await, Ok(Ok(_)));
        if complete {
            // Who waits for the same beside this may come to it later.
            self.note_filled();
        }
        complete
    }
}

/// Why there is no answer of a replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoAnswer {
    /// There is no replica: nothing was applied.
    NoReplica(String),
    /// It ended, or the time was over, after it had taken the request.
    InDoubt,
}

impl fmt::Display for NoAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoReplica(reason) => write!(f, "{reason}; nothing was applied: send it again"),
            Self::InDoubt => write!(f, "the replica did not answer: a write may or may not have been applied"),
        }
    }
}

impl std::error::Error for NoAnswer {}

impl Life {
    /// A life without a replica yet.
    ///
    /// # Errors
    /// The broker's configuration cannot be right.
    pub fn new(runtime: Runtime, environment: Environment) -> Result<Self, BrokerError> {
        let broker = Arc::new(AmqpBroker::new(environment.broker.clone())?);
        Ok(Self { runtime, broker, environment, present: Mutex::new(None) })
    }

    /// The replica, if there is one.
    pub async fn present(&self) -> Option<Present> {
        self.present.lock().await.clone()
    }

    /// The replica, awake as granted. A new one is started if there is none, or it has ended.
    ///
    /// # Errors
    /// [`NoAnswer::NoReplica`]: there is none by `deadline`, since the broker cannot be reached, say. The next event
    /// tries again.
    pub async fn awake(&self, grant: Grant, deadline: Instant) -> Result<Present, NoAnswer> {
        let too_late = |_| NoAnswer::NoReplica("there was no broker and no replica within the time".to_owned());
        let mut present = timeout_at(deadline, self.present.lock()).await.map_err(too_late)?;
        if let Some(known) = present.clone() {
            // It waits a bounded time for the broker; what does not fit before the deadline goes on after the thaw.
            if timeout_at(deadline, known.replica.grant(grant)).await.map_err(too_late)? {
                return Ok(known);
            }
            match known.replica.ended().await {
                Ended::Lost(lost) => warn!(replica = known.replica.name(), "{lost}"),
                ended => warn!(replica = known.replica.name(), "{ended}"),
            }
            *present = None;
        }
        let started = timeout_at(deadline, self.start(grant)).await.map_err(too_late)??;
        *present = Some(started.clone());
        Ok(started)
    }

    async fn start(&self, grant: Grant) -> Result<Present, NoAnswer> {
        let options = ReplicaOptions {
            confirm: self.environment.confirm,
            confirm_ms: CONFIRM_MS,
            lease: Lease::Granted { first: grant, margin_ms: FREEZE_MARGIN_MS },
            ..ReplicaOptions::standing(self.environment.config.clone())
        };
        let started = Instant::now();
        let broker = Arc::clone(&self.broker);
        let replica = Replica::start(&self.runtime, broker, SystemWorld, options)
            .await
            .map_err(|error| NoAnswer::NoReplica(format!("no replica could be started: {error}")))?;
        info!(replica = replica.name(), "started");
        let present = Present { replica, started, filled_ms: Arc::new(OnceLock::new()) };
        let (mut report, filled) = (present.replica.watch(), Arc::downgrade(&present.filled_ms));
        tokio::spawn(async move {
            // It ends with the replica, which it does not keep.
            if report.wait_for(|report| report.complete).await.is_ok()
                && let Some(filled) = filled.upgrade()
            {
                filled.get_or_init(|| u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX));
            }
        });
        // Its first period begins with it; once this returns, it has begun.
        present.replica.grant(grant).await;
        Ok(present)
    }

    /// Has the replica answer, awake as granted. A new one is given some time to be filled before.
    ///
    /// # Errors
    /// There is no answer by `deadline`.
    pub async fn invoke(&self, request: &Request, grant: Grant, deadline: Instant) -> Result<Response, NoAnswer> {
        // It may end, or fall quiet, between the grant and the request; twice in a row it does not.
        for _ in 0..2 {
            let present = self.awake(grant, deadline).await?;
            // Else what the others have might be missed. Who is not complete by then answers from what it has, and says so.
            let rest = deadline.saturating_duration_since(Instant::now());
            present.complete(self.environment.fill.min(rest / 2)).await;
            match timeout_at(deadline, present.replica.invoke(request.clone())).await {
                Ok(Ok(response)) => return Ok(response),
                Ok(Err(InvokeError::NotTaken)) => {}
                Ok(Err(InvokeError::InDoubt)) | Err(_) => return Err(NoAnswer::InDoubt),
            }
        }
        Err(NoAnswer::NoReplica("the replica did not take the request".to_owned()))
    }

    /// Freezes the replica, if there is one that is awake.
    pub async fn freeze(&self) {
        if let Some(present) = self.present().await {
            present.replica.suspend().await;
        }
    }
}

impl fmt::Debug for Present {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Present").field("replica", &self.replica).field("started", &self.started).finish()
    }
}

/// Wall-clock time in milliseconds since 1970.
pub fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// When a time of the wall clock is, as far as is known now.
pub fn instant(at_ms: u64) -> Instant {
    Instant::now() + Duration::from_millis(at_ms.saturating_sub(now_ms()))
}
