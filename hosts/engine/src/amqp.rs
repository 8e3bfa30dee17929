//! The broker over AMQP 0-9-1: RabbitMQ from 3.10 on.
//!
//! What stands there, and how routes lead to it, is told by the crate `dayfly-amqp`, which hosts without this engine
//! share. It is declared whenever a link is made.
//!
//! **Links share connections**, [`LINKS_MAX`] to one at most, with two channels each: one to publish, one to consume.
//! Nothing here reconnects by itself: a link that breaks says so once, and its replica attaches again.
//!
//! **Of two links to one inbox the later has it**, as [`dayfly_amqp::Birth`] tells. An earlier one that is frozen hears
//! of it if it ever reads on.

mod config;
mod doctor;
mod greeting;
mod journal;
mod link;
mod outcomes;
mod pool;
mod refusal;
mod topology;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use dayfly_amqp::Names;
use tokio::time::timeout;

use crate::broker::{Attachment, BoxFuture, Broker, BrokerError, Link, LogReader, PROBE_MAX};

pub use config::AmqpConfig;
pub use doctor::{Found, Inspection, Permission, Purged, inspect, purge};
use pool::Pool;

/// How many links share a connection at most. The broker may permit fewer channels.
pub const LINKS_MAX: usize = 100;

/// A cluster's broker over AMQP. It connects when the first link is made.
pub struct AmqpBroker {
    shared: Arc<Shared>,
}

/// What links and log readers need of their broker.
struct Shared {
    config: AmqpConfig,
    names: Names,
    pool: Pool,
}

impl fmt::Debug for AmqpBroker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AmqpBroker").field("config", &self.shared.config).finish_non_exhaustive()
    }
}

impl AmqpBroker {
    /// A broker as configured. It does no I/O, but for reading the file of certificates.
    ///
    /// # Errors
    /// [`BrokerError::Refused`] names what is wrong with the configuration.
    pub fn new(config: AmqpConfig) -> Result<Self, BrokerError> {
        let pool = Pool::new(&config)?;
        let names = pool.names().clone();
        Ok(Self { shared: Arc::new(Shared { config, names, pool }) })
    }
}

impl Broker for AmqpBroker {
    fn attach(&self, attachment: Attachment) -> BoxFuture<'_, Result<Box<dyn Link>, BrokerError>> {
        Box::pin(async move {
            let link = self.shared.on_trusted_seat(|seat| link::open(&self.shared, seat, &attachment)).await?;
            Ok(Box::new(link) as Box<dyn Link>)
        })
    }

    fn read_log(&self) -> BoxFuture<'_, Result<Box<dyn LogReader>, BrokerError>> {
        Box::pin(async move {
            if self.shared.config.log_bytes == 0 {
                return Err(BrokerError::Refused("this cluster keeps no log".to_owned()));
            }
            let reader = self.shared.on_trusted_seat(|seat| journal::open(&self.shared, seat)).await?;
            Ok(Box::new(reader) as Box<dyn LogReader>)
        })
    }
}

impl Shared {
    /// Does something over a connection that has just shown that it lives. One that was made earlier may have died
    /// unnoticed, in a freeze; then a new one takes its place.
    async fn on_trusted_seat<T, F>(&self, mut begin: impl FnMut(pool::Seat) -> F) -> Result<T, BrokerError>
    where
        F: Future<Output = Result<T, BrokerError>>,
    {
        loop {
            let (seat, fresh) = self.pool.take().await?;
            if !fresh {
                match timeout(PROBE_MAX, seat.probe()).await {
                    Ok(Ok(())) => {}
                    Ok(Err(_)) | Err(_) => {
                        seat.distrust();
                        continue;
                    }
                }
            }
            let limit = Duration::from_millis(self.config.connect_ms);
            return match timeout(limit, begin(seat.clone())).await {
                Ok(outcome) => outcome,
                Err(_) => {
                    seat.distrust();
                    let ms = self.config.connect_ms;
                    Err(BrokerError::Unreachable(format!("{} took longer than {ms} ms to answer", self.pool.address())))
                }
            };
        }
    }
}
