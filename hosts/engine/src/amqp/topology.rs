//! Declaring what a cluster has on the broker.

use dayfly_amqp::{Argument, Names, Queue};
use lapin::options::{BasicQosOptions, ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, ExchangeKind};

use super::AmqpConfig;
use super::refusal::Refused;
use crate::broker::BrokerError;

/// Arguments as lapin has them.
pub(super) fn table(arguments: &[(&'static str, Argument)]) -> FieldTable {
    let mut table = FieldTable::default();
    for (key, argument) in arguments {
        let value = match argument {
            Argument::Number(number) => AMQPValue::LongLongInt(Argument::signed(*number)),
            Argument::Word(word) => AMQPValue::LongString((*word).into()),
            Argument::Flag(flag) => AMQPValue::Boolean(*flag),
        };
        table.insert((*key).into(), value);
    }
    table
}

/// Declares all that the cluster's replicas share.
pub(super) async fn declare_shared(channel: &Channel, names: &Names, config: &AmqpConfig) -> Result<(), BrokerError> {
    let durable = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
    let everyone = names.everyone.as_str();
    channel
        .exchange_declare(everyone.into(), ExchangeKind::Fanout, durable, FieldTable::default())
        .await
        .refused(|| format!("declaring the exchange {everyone}"))?;
    for queue in Queue::shared(names, &config.bounds()) {
        declare_and_bind(channel, &queue, names).await?;
    }
    Ok(())
}

/// A queue as the broker has it now.
pub(super) struct Standing {
    pub(super) messages: u32,
    pub(super) consumers: u32,
}

/// Declares a queue, or finds it, and binds it.
pub(super) async fn declare_and_bind(channel: &Channel, queue: &Queue, names: &Names) -> Result<Standing, BrokerError> {
    let found = declare(channel, &queue.name, table(&queue.arguments)).await?;
    if queue.hears_everyone {
        bind(channel, &queue.name, &names.everyone).await?;
    }
    Ok(found)
}

/// Looks at a queue that has to be there. If it is not, the channel is closed.
pub(super) async fn look_at(channel: &Channel, queue: &str) -> Result<Standing, lapin::Error> {
    let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::default() };
    let found = channel.queue_declare(queue.into(), passive, FieldTable::default()).await?;
    Ok(Standing { messages: found.message_count(), consumers: found.consumer_count() })
}

pub(super) async fn declare(channel: &Channel, queue: &str, arguments: FieldTable) -> Result<Standing, BrokerError> {
    let durable = QueueDeclareOptions { durable: true, ..QueueDeclareOptions::default() };
    let found = channel
        .queue_declare(queue.into(), durable, arguments)
        .await
        .refused(|| format!("declaring the queue {queue}"))?;
    Ok(Standing { messages: found.message_count(), consumers: found.consumer_count() })
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
