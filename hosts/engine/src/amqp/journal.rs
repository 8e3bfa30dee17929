//! Reading the log: a stream, from its first message to a mark that is put at its end when it is opened.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{FutureExt, StreamExt};
use lapin::options::{BasicAckOptions, BasicConsumeOptions, BasicPublishOptions, ConfirmSelectOptions};
use lapin::{BasicProperties, Channel, Confirmation, Consumer};
use tokio::time::timeout;

use super::Shared;
use super::pool::Seat;
use super::refusal::{Refusal, of_request};
use super::topology::{self, arguments, declare_shared, word};
use crate::broker::{BATCH_BYTES_MAX, BATCH_MESSAGES_MAX, BoxFuture, BrokerError, LogReader};

/// What the mark at the end is called. Those of other readers are passed over.
const MARK: &str = "dayfly.log-end";
/// How many messages the broker sends ahead: two batches.
const PREFETCH: u16 = 512;

/// A reader of the log.
pub(super) struct Journal {
    /// None at the end.
    open: Option<Open>,
    limit: Duration,
}

struct Open {
    consumer: Consumer,
    channel: Channel,
    /// The text that this reader's mark carries.
    mark: String,
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
    let mark = format!("{random:016x}");
    let properties = BasicProperties::default().with_type(MARK.into()).with_message_id(mark.as_str().into());
    let options = BasicPublishOptions { mandatory: true, immediate: false };
    let sent = channel.basic_publish("".into(), log.into(), options, b"end", properties).await.refused(doing)?;
    match sent.await.refused(doing)? {
        Confirmation::Ack(None) => {}
        Confirmation::Ack(Some(_)) | Confirmation::Nack(_) | Confirmation::NotRequested => {
            // It was declared once over this connection, and is gone.
            seat.note_declared(false);
            return Err(BrokerError::Unreachable(format!("the log {log} does not take its mark")));
        }
    }
    topology::prefetch(&channel, PREFETCH).await.refused(doing)?;
    let from = arguments([("x-stream-offset", word("first"))]);
    let options = BasicConsumeOptions::default();
    let consumer = channel.basic_consume(log.into(), "".into(), options, from).await.refused(doing)?;
    let open = Open { consumer, channel, mark, next: None, _seat: seat };
    Ok(Journal { open: Some(open), limit: Duration::from_millis(shared.config.connect_ms) })
}

/// What a message of the log is.
enum Kind {
    Message,
    /// Where another reader was opened.
    ForeignMark,
    OwnMark,
}

impl Open {
    fn kind_of(&self, delivery: &lapin::message::Delivery) -> Kind {
        if delivery.properties.kind().as_ref().is_none_or(|kind| kind.as_str() != MARK) {
            return Kind::Message;
        }
        let own = delivery.properties.message_id().as_ref().is_some_and(|id| id.as_str() == self.mark);
        if own { Kind::OwnMark } else { Kind::ForeignMark }
    }
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
            match open.kind_of(&delivery) {
                Kind::OwnMark => {
                    ended = true;
                    break;
                }
                Kind::ForeignMark => last_tag = Some(delivery.delivery_tag),
                Kind::Message => {
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
