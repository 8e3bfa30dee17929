//! Reading the broker's log for a component that asks for it, beside everything else that the loop does.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::sleep;

use super::{Drive, End};
use crate::broker::{BoxFuture, Broker, BrokerError, LogReader};

/// A step of reading that is under way.
pub(super) type Reading = BoxFuture<'static, Read>;

/// What a step brought.
pub(super) enum Read {
    Batch(Box<dyn LogReader>, Vec<Bytes>),
    End,
    Failed(BrokerError),
}

/// Opens the log after a pause, and reads its first messages.
fn open(broker: Arc<dyn Broker>, pause: Duration) -> Reading {
    Box::pin(async move {
        sleep(pause).await;
        match broker.read_log().await {
            Ok(reader) => read(reader).await,
            Err(error) => Read::Failed(error),
        }
    })
}

async fn read(mut reader: Box<dyn LogReader>) -> Read {
    match reader.next().await {
        Ok(Some(bodies)) => Read::Batch(reader, bodies),
        Ok(None) => Read::End,
        Err(error) => Read::Failed(error),
    }
}

/// Waits for a step; forever, without one.
pub(super) async fn next_read(reading: Option<&mut Reading>) -> Read {
    match reading {
        Some(reading) => reading.await,
        None => std::future::pending().await,
    }
}

impl Drive {
    /// Begins to read the log if the component asks for it, and stops if it no longer does.
    pub(super) fn tend_replay(&mut self) {
        if !self.replay_wanted {
            self.reading = None;
        } else if self.reading.is_none() {
            self.reading = Some(open(Arc::clone(&self.broker), Duration::ZERO));
        }
    }

    /// Hands in what was read, and reads on. After an error it begins anew from the oldest message: replaying some
    /// twice does no harm, and leaving out some would.
    pub(super) fn replay(&mut self, read_just_now: Read) -> Result<(), End> {
        self.reading = None;
        match read_just_now {
            Read::Batch(reader, bodies) => {
                self.replay_backoff.reset();
                self.counters.replayed(&bodies);
                let bodies: Vec<&[u8]> = bodies.iter().map(AsRef::as_ref).collect();
                let effects = self.instance.replay(&bodies, false)?;
                self.carry_out(effects);
                if self.replay_wanted {
                    self.reading = Some(Box::pin(read(reader)));
                }
            }
            // A log that there is not holds nothing.
            Read::End | Read::Failed(BrokerError::Refused(_)) => {
                let effects = self.instance.replay(&[], true)?;
                self.carry_out(effects);
                if self.replay_wanted {
                    self.reopen();
                }
            }
            Read::Failed(BrokerError::Unreachable(_) | BrokerError::TakenOver) => self.reopen(),
        }
        Ok(())
    }

    fn reopen(&mut self) {
        let pause = self.replay_backoff.pause();
        self.reading = Some(open(Arc::clone(&self.broker), pause));
    }
}
