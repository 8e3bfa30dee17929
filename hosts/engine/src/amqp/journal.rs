//! Reading the log: a stream, from its first message to a mark that is put at its end when it is opened.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use dayfly_amqp::{LOG_MARK, LOG_MARK_BODY, LOG_PREFETCH, LOG_START, LogMark, Logged};
use futures_util::{FutureExt, StreamExt};
use lapin::options::{BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, ConfirmSelectOptions};
use lapin::{BasicProperties, Channel, Confirmation, Consumer};
use tokio::time::timeout;

use super::Shared;
use super::pool::Seat;
use super::refusal::{Refused, of_request};
use super::topology::{self, declare_shared, table};
use crate::broker::{BATCH_BYTES_MAX, BATCH_MESSAGES_MAX, BoxFuture, BrokerError, LogReader};

/// A reader of the log.
pub(super) struct Journal {
    /// None at the end.
    open: Option<Open>,
    limit: Duration,
}

struct Open {
    consumer: Consumer,
    channel: Channel,
    /// This reader's.
    mark: LogMark,
    /// What comes next did not fit the last batch.
    next: Option<lapin::message::Delivery>,
    _seat: Seat,
}

/// Puts the mark at the end and begins to read at the beginning.
pub(super) async fn open(shared: &Arc<Shared>, seat: Seat) -> Result<Journal, BrokerError> {
    let names = &shared.names;
    let channel = seat.channel().await?;
    if seat.needs_declaring() {
        declare_shared(&channel, names, &shared.config).await?;
        seat.note_declared(true);
    }
    let log = names.log.as_str();
    let doing = || format!("reading {log}");
    channel.confirm_select(ConfirmSelectOptions::default()).await.refused(doing)?;
    let random = getrandom::u64().map_err(|error| BrokerError::Refused(format!("no randomness: {error}")))?;
    let mark = LogMark { random };
    let properties = BasicProperties::default().with_type(LOG_MARK.into()).with_message_id(mark.to_string().into());
    let options = BasicPublishOptions { mandatory: true, immediate: false };
    let sent = channel.basic_publish("".into(), log.into(), options, LOG_MARK_BODY, properties).await.refused(doing)?;
    match sent.await.refused(doing)? {
        Confirmation::Ack(None) => {}
        Confirmation::Ack(Some(_)) | Confirmation::Nack(_) | Confirmation::NotRequested => {
            // It was declared once over this connection, and is gone.
            seat.note_declared(false);
            return Err(BrokerError::Unreachable(format!("the log {log} does not take its mark")));
        }
    }
    topology::prefetch(&channel, LOG_PREFETCH).await.refused(doing)?;
    let options = BasicConsumeOptions::default();
    let consumer = channel.basic_consume(log.into(), "".into(), options, table(&LOG_START)).await.refused(doing)?;
    let open = Open { consumer, channel, mark, next: None, _seat: seat };
    Ok(Journal { open: Some(open), limit: Duration::from_millis(shared.config.connect_ms) })
}

impl Journal {
    /// A batch, and whether the end has come.
    async fn batch(open: &mut Open, limit: Duration) -> Result<(Vec<Bytes>, bool), BrokerError> {
        let mut batch = Vec::new();
        let (mut bytes, mut last_tag, mut ended) = (0, None, false);
        while batch.len() < BATCH_MESSAGES_MAX {
            let delivery = match open.next.take() {
                Some(delivery) => delivery,
                None => {
                    // The first one is waited for, and then whatever has come.
                    let item = if batch.is_empty() {
                        let silent = |_| BrokerError::Unreachable("the log stopped before its end".to_owned());
                        timeout(limit, open.consumer.next()).await.map_err(silent)?
                    } else {
                        let Some(item) = open.consumer.next().now_or_never() else { break };
                        item
                    };
                    match item {
                        Some(Ok(delivery)) => delivery,
                        Some(Err(error)) => return Err(of_request(&error, "reading the log")),
                        None => return Err(BrokerError::Unreachable("the log was deleted".to_owned())),
                    }
                }
            };
            let properties = &delivery.properties;
            let kind = properties.kind().as_ref().map(|kind| kind.as_str());
            let id = properties.message_id().as_ref().map(|id| id.as_str());
            match open.mark.tell(kind, id) {
                Logged::OwnMark => {
                    ended = true;
                    break;
                }
                Logged::ForeignMark => last_tag = Some(delivery.delivery_tag),
                Logged::Message => {
                    if !batch.is_empty() && bytes + delivery.data.len() > BATCH_BYTES_MAX {
                        open.next = Some(delivery);
                        break;
                    }
                    bytes += delivery.data.len();
                    last_tag = Some(delivery.delivery_tag);
                    batch.push(Bytes::from(delivery.data));
                }
            }
        }
        if let Some(tag) = last_tag.filter(|_| !ended) {
            // Gives the broker leave to send as many more; the stream keeps all.
            let acknowledged = open.channel.basic_ack(tag, BasicAckOptions { multiple: true }).await;
            acknowledged.refused(|| "reading the log".to_owned())?;
        }
        Ok((batch, ended))
    }
}

impl LogReader for Journal {
    fn next(&mut self) -> BoxFuture<'_, Result<Option<Vec<Bytes>>, BrokerError>> {
        Box::pin(async move {
            let Some(open) = &mut self.open else { return Ok(None) };
            let (batch, ended) = Self::batch(open, self.limit).await?;
            if ended {
                self.open = None;
            }
            Ok(Some(batch).filter(|batch| !batch.is_empty()))
        })
    }
}
