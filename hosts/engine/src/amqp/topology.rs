//! What stands on the broker for a cluster: names, and how each is declared.

use lapin::options::{BasicQosOptions, ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, ExchangeKind};

use super::AmqpConfig;
use super::refusal::Refusal;
use crate::broker::BrokerError;

/// The names of a cluster's things.
#[derive(Clone, Debug)]
pub(super) struct Names {
    prefix: String,
    pub(super) everyone: String,
    pub(super) anyone: String,
    pub(super) combiner: String,
    pub(super) log: String,
}

impl Names {
    pub(super) fn new(cluster: &str) -> Self {
        let prefix = format!("dayfly.{cluster}");
        Self {
            everyone: format!("{prefix}.everyone"),
            anyone: format!("{prefix}.anyone"),
            combiner: format!("{prefix}.combiner"),
            log: format!("{prefix}.log"),
            prefix,
        }
    }

    pub(super) fn inbox(&self, name: &str) -> String {
        format!("{}.node.{name}", self.prefix)
    }

    pub(super) fn doctor(&self, random: u64) -> String {
        format!("{}.doctor.{random:016x}", self.prefix)
    }
}

/// A segment is what the broker drops of the log at once: a sixteenth, within what it can work with.
const SEGMENTS: u64 = 16;
const SEGMENT_BYTES: (u64, u64) = (1 << 20, 500 << 20);

pub(super) fn arguments<const N: usize>(pairs: [(&str, AMQPValue); N]) -> FieldTable {
    let mut table = FieldTable::default();
    for (key, value) in pairs {
        table.insert(key.into(), value);
    }
    table
}

pub(super) fn number(value: u64) -> AMQPValue {
    AMQPValue::LongLongInt(i64::try_from(value).unwrap_or(i64::MAX))
}

pub(super) fn word(value: &str) -> AMQPValue {
    AMQPValue::LongString(value.into())
}

/// Declares all that the cluster's replicas share.
pub(super) async fn declare_shared(channel: &Channel, names: &Names, config: &AmqpConfig) -> Result<(), BrokerError> {
    let durable = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
    let everyone = names.everyone.as_str();
    channel
        .exchange_declare(everyone.into(), ExchangeKind::Fanout, durable, FieldTable::default())
        .await
        .refused(|| format!("declaring the exchange {everyone}"))?;
    let bounded = |bytes| [("x-max-length-bytes", number(bytes)), ("x-overflow", word("reject-publish"))];
    declare(channel, &names.anyone, arguments(bounded(config.anyone_bytes))).await?;
    let mut combiner = arguments(bounded(config.combiner_bytes));
    combiner.insert("x-single-active-consumer".into(), AMQPValue::Boolean(true));
    declare(channel, &names.combiner, combiner).await?;
    if config.log_bytes > 0 {
        declare_log(channel, names, config).await?;
    }
    Ok(())
}

async fn declare_log(channel: &Channel, names: &Names, config: &AmqpConfig) -> Result<(), BrokerError> {
    let segment_bytes = (config.log_bytes / SEGMENTS).clamp(SEGMENT_BYTES.0, SEGMENT_BYTES.1);
    let log = arguments([
        ("x-queue-type", word("stream")),
        ("x-max-length-bytes", number(config.log_bytes)),
        ("x-stream-max-segment-size-bytes", number(segment_bytes)),
    ]);
    declare(channel, &names.log, log).await?;
    bind(channel, &names.log, &names.everyone).await
}

/// A replica's inbox as the broker has it now.
pub(super) struct Inbox {
    pub(super) messages: u32,
    pub(super) consumers: u32,
}

/// Declares a replica's inbox, or finds it, and binds it.
pub(super) async fn declare_inbox(
    channel: &Channel,
    queue: &str,
    names: &Names,
    config: &AmqpConfig,
    retention_ms: u64,
) -> Result<Inbox, BrokerError> {
    let inbox = arguments([
        ("x-expires", number(retention_ms)),
        ("x-max-length-bytes", number(config.inbox_bytes)),
        ("x-overflow", word("drop-head")),
    ]);
    let found = declare(channel, queue, inbox).await?;
    bind(channel, queue, &names.everyone).await?;
    Ok(found)
}

/// Looks at a queue that has to be there. If it is not, the channel is closed.
pub(super) async fn look_at(channel: &Channel, queue: &str) -> Result<Inbox, lapin::Error> {
    let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
    let found = channel.queue_declare(queue.into(), passive, FieldTable::default()).await?;
    Ok(Inbox { messages: found.message_count(), consumers: found.consumer_count() })
}

pub(super) async fn declare(channel: &Channel, queue: &str, arguments: FieldTable) -> Result<Inbox, BrokerError> {
    let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    let found = channel
        .queue_declare(queue.into(), durable, arguments)
        .await
        .refused(|| format!("declaring the queue {queue}"))?;
    Ok(Inbox { messages: found.message_count(), consumers: found.consumer_count() })
}

pub(super) async fn bind(channel: &Channel, queue: &str, exchange: &str) -> Result<(), BrokerError> {
    channel
        .queue_bind(queue.into(), exchange.into(), "".into(), QueueBindOptions::default(), FieldTable::default())
        .await
        .refused(|| format!("binding {queue} to {exchange}"))
}

/// How many unacknowledged messages the consumers made from now on hold at most, each.
pub(super) async fn prefetch(channel: &Channel, count: u16) -> Result<(), lapin::Error> {
    channel.basic_qos(count, BasicQosOptions { global: false }).await
}
