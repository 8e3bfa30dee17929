//! What a cluster has on its broker, whether it may do there what it has to, and how to remove it.

use dayfly_amqp::{Argument, Names};
use futures_util::StreamExt;
use lapin::options::{
    BasicConsumeOptions, BasicPublishOptions, ConfirmSelectOptions, ExchangeDeclareOptions, ExchangeDeleteOptions,
    QueueDeleteOptions,
};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Channel, Connection, ExchangeKind};
use tokio::time::timeout;

use super::AmqpConfig;
use super::greeting;
use super::pool::Endpoint;
use super::refusal::Refused;
use super::topology::{bind, declare, look_at, table};
use crate::broker::BrokerError;

/// What [`inspect`] found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inspection {
    /// What the broker calls itself.
    pub product: String,
    /// Its version.
    pub version: String,
    /// The largest AMQP frame, in bytes. Longer bodies are cut, so it bounds nothing.
    pub frame_max: u32,
    /// How many channels a connection may have; 0: no bound. A link takes two.
    pub channel_max: u16,
    /// The heartbeat agreed on, in seconds; 0: none.
    pub heartbeat_s: u16,
    /// What the cluster has there: its exchange, `anyone`, `combiner`, the log. Absent ones are made by the first replica.
    pub found: Vec<Found>,
    /// What a replica does, and whether this user may.
    pub permissions: Vec<Permission>,
}

/// A thing of the cluster on the broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its name there.
    pub name: String,
    /// Whether it exists.
    pub exists: bool,
    /// How many messages wait in it; none for an exchange, or if it does not exist.
    pub messages: Option<u32>,
    /// How many consume it; as before.
    pub consumers: Option<u32>,
}

/// Something that a replica has to be able to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Permission {
    /// What, as in "declare a queue".
    pub what: &'static str,
    /// Why it does not work; none if it does.
    pub refused: Option<String>,
}

/// What [`purge`] removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Purged {
    /// What there was, with the messages that went with it. What was not there is left out.
    pub removed: Vec<Found>,
}

/// Looks at the broker, and tries with a temporary queue and a temporary stream what replicas do.
///
/// # Errors
/// There is no connection. What does not work over one stands in the [`Inspection`].
pub async fn inspect(config: &AmqpConfig) -> Result<Inspection, BrokerError> {
    let endpoint = Endpoint::new(config)?;
    let greeting = greeting::read(&endpoint).await?;
    let connection = endpoint.connect().await?;
    let names = endpoint.names();
    let look = async {
        let mut found = vec![exchange(&connection, &names.everyone).await?];
        for queue in [&names.anyone, &names.combiner, &names.log] {
            found.push(queue_as_found(&connection, queue).await?);
        }
        Ok((found, permissions(&connection, names).await?))
    };
    let outcome = timeout(endpoint.limit(), look).await;
    let (found, permissions) = outcome.unwrap_or_else(|_| Err(endpoint.too_slow()))?;
    let agreed = connection.configuration();
    let inspection = Inspection {
        product: greeting.product,
        version: greeting.version,
        frame_max: agreed.frame_max(),
        channel_max: agreed.channel_max(),
        heartbeat_s: agreed.heartbeat(),
        found,
        permissions,
    };
    close(connection).await;
    Ok(inspection)
}

/// Removes all that the cluster has on the broker, and the inboxes of the replicas named. Replicas that run make
/// again what they need.
///
/// # Errors
/// There is no connection, or the user may not. What was removed before that stays removed.
pub async fn purge(config: &AmqpConfig, inboxes: &[String]) -> Result<Purged, BrokerError> {
    let endpoint = Endpoint::new(config)?;
    let connection = endpoint.connect().await?;
    let names = endpoint.names();
    let mut purged = Purged::default();
    // The exchange first: nothing more comes into the queues.
    let everyone = exchange(&connection, &names.everyone).await?;
    if everyone.exists {
        let channel = open(&connection).await?;
        let options = ExchangeDeleteOptions::default();
        let deleted = channel.exchange_delete(names.everyone.as_str().into(), options).await;
        deleted.refused(|| format!("deleting {}", names.everyone))?;
        purged.removed.push(everyone);
    }
    let inboxes = inboxes.iter().map(|name| names.inbox(name));
    for queue in inboxes.chain([names.anyone.clone(), names.combiner.clone(), names.log.clone()]) {
        let found = queue_as_found(&connection, &queue).await?;
        if found.exists {
            let channel = open(&connection).await?;
            let deleted = channel.queue_delete(queue.as_str().into(), QueueDeleteOptions::default()).await;
            deleted.refused(|| format!("deleting {queue}"))?;
            purged.removed.push(found);
        }
    }
    close(connection).await;
    Ok(purged)
}

async fn open(connection: &Connection) -> Result<Channel, BrokerError> {
    connection.create_channel().await.refused(|| "opening a channel".to_owned())
}

async fn close(connection: Connection) {
    // It ends with its last handle anyway.
    let _ = connection.close(lapin::protocol::constants::REPLY_SUCCESS, "done".into()).await;
}

/// Looks at an exchange, over a channel that the look may close.
async fn exchange(connection: &Connection, name: &str) -> Result<Found, BrokerError> {
    let channel = open(connection).await?;
    let passive = ExchangeDeclareOptions { passive: true, durable: true, ..ExchangeDeclareOptions::default() };
    let looked = channel.exchange_declare(name.into(), ExchangeKind::Fanout, passive, FieldTable::default()).await;
    let exists = or_absent(looked, name)?.is_some();
    Ok(Found { name: name.to_owned(), exists, messages: None, consumers: None })
}

async fn queue_as_found(connection: &Connection, name: &str) -> Result<Found, BrokerError> {
    let channel = open(connection).await?;
    let queue = or_absent(look_at(&channel, name).await, name)?;
    Ok(Found {
        name: name.to_owned(),
        exists: queue.is_some(),
        messages: queue.as_ref().map(|queue| queue.messages),
        consumers: queue.as_ref().map(|queue| queue.consumers),
    })
}

fn or_absent<T>(looked: Result<T, lapin::Error>, name: &str) -> Result<Option<T>, BrokerError> {
    use lapin::protocol::{AMQPErrorKind, AMQPSoftError};
    match looked {
        Ok(there) => Ok(Some(there)),
        Err(error) => match error.kind() {
            lapin::ErrorKind::ProtocolError(said) if *said.kind() == AMQPErrorKind::Soft(AMQPSoftError::NOTFOUND) => {
                Ok(None)
            }
            _ => Err(error).refused(|| format!("looking at {name}")),
        },
    }
}

/// How long a temporary thing lives if it cannot be deleted.
const TEMPORARY_MS: u64 = 60_000;

/// Does what replicas do, with things of its own.
async fn permissions(connection: &Connection, names: &Names) -> Result<Vec<Permission>, BrokerError> {
    let random = getrandom::u64().map_err(|error| BrokerError::Refused(format!("no randomness: {error}")))?;
    let name = names.doctor(random);
    let mut tried = Vec::new();
    let mut note = |what, outcome: Result<(), BrokerError>| {
        let refused = match outcome {
            Ok(()) => None,
            Err(BrokerError::Refused(reason) | BrokerError::Unreachable(reason)) => Some(reason),
            Err(BrokerError::TakenOver) => unreachable!("it has no inbox"),
        };
        tried.push(Permission { what, refused });
    };
    // Each over a channel of its own: a refusal closes it.
    let channel = open(connection).await?;
    note(
        "declare a queue",
        declare(&channel, &name, table(&[("x-expires", Argument::Number(TEMPORARY_MS))])).await.map(drop),
    );
    let channel = open(connection).await?;
    note("declare an exchange, bind a queue to it", fan_out(&channel, &name).await);
    let channel = open(connection).await?;
    note("publish to everyone, confirmed, and consume", round_trip(&channel, &name).await);
    let channel = open(connection).await?;
    note("publish to a queue", publish(&channel, "", &name).await);
    let channel = open(connection).await?;
    let stream = format!("{name}.stream");
    let options = [("x-queue-type", Argument::Word("stream")), ("x-max-age", Argument::Word("1m"))];
    note("keep a log (a stream)", declare(&channel, &stream, table(&options)).await.map(drop));
    for queue in [&stream, &name] {
        let channel = open(connection).await?;
        let deleted = channel.queue_delete(queue.as_str().into(), QueueDeleteOptions::default()).await;
        note("delete a queue", deleted.map(drop).refused(|| format!("deleting {queue}")));
    }
    let channel = open(connection).await?;
    let deleted = channel.exchange_delete(name.as_str().into(), ExchangeDeleteOptions::default()).await;
    note("delete an exchange", deleted.refused(|| format!("deleting {name}")));
    tried.dedup();
    Ok(tried)
}

async fn fan_out(channel: &Channel, name: &str) -> Result<(), BrokerError> {
    let options = ExchangeDeclareOptions { auto_delete: true, ..ExchangeDeclareOptions::default() };
    let declared = channel.exchange_declare(name.into(), ExchangeKind::Fanout, options, FieldTable::default()).await;
    declared.refused(|| format!("declaring the exchange {name}"))?;
    bind(channel, name, name).await
}

async fn publish(channel: &Channel, exchange: &str, key: &str) -> Result<(), BrokerError> {
    let doing =
        || if exchange.is_empty() { format!("publishing to {key}") } else { format!("publishing to {exchange}") };
    channel.confirm_select(ConfirmSelectOptions::default()).await.refused(doing)?;
    let (options, properties) = (BasicPublishOptions::default(), BasicProperties::default());
    let sent = channel.basic_publish(exchange.into(), key.into(), options, b"doctor", properties).await;
    sent.refused(doing)?.await.refused(doing).map(drop)
}

async fn round_trip(channel: &Channel, name: &str) -> Result<(), BrokerError> {
    publish(channel, name, "").await?;
    let doing = || format!("consuming {name}");
    let options = BasicConsumeOptions { no_ack: true, ..BasicConsumeOptions::default() };
    let consumer = channel.basic_consume(name.into(), "".into(), options, FieldTable::default()).await;
    match consumer.refused(doing)?.next().await {
        Some(delivery) => delivery.refused(doing).map(drop),
        None => Err(BrokerError::Unreachable(format!("{}: the broker ended it", doing()))),
    }
}
