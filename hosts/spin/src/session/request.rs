//! What the broker was asked, and how it is told when it refuses.

use amq_protocol::protocol::{AMQPClass, basic, channel, confirm, exchange, queue};
use dayfly_amqp::Names;

/// What a consumer is called on its channel.
pub(super) const INBOX_TAG: &str = "inbox";
pub(super) const COMBINER_TAG: &str = "combiner";
pub(super) const ANYONE_TAG: &str = "anyone";
pub(super) const LOG_TAG: &str = "log";

/// A request that the broker answers. Over one channel it works them off in order; but what a queue has a part in, as a
/// consumer, is answered when the queue has done it, after other things perhaps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Request {
    OpenChannel,
    DeclareExchange,
    /// This queue.
    Declare(String),
    /// This queue to the exchange.
    Bind(String),
    Confirms,
    Prefetch,
    /// How many consume the inbox still.
    Look,
    /// For the consumer of this tag.
    Consume(&'static str),
    Cancel(&'static str),
    DeleteInbox,
    CloseChannel,
}

impl Request {
    /// As in "declaring the queue x".
    pub(super) fn doing(&self, names: &Names, inbox: &str) -> String {
        match self {
            Self::OpenChannel => "opening a channel".to_owned(),
            Self::DeclareExchange => format!("declaring the exchange {}", names.everyone),
            Self::Declare(queue) => format!("declaring the queue {queue}"),
            Self::Bind(queue) => format!("binding {queue} to {}", names.everyone),
            Self::Confirms => "asking for confirms".to_owned(),
            Self::Prefetch => "setting a prefetch".to_owned(),
            Self::Look => format!("taking over {inbox}"),
            Self::Consume(tag) | Self::Cancel(tag) => format!("consuming {}", queue_of(tag, names, inbox)),
            Self::DeleteInbox => format!("deleting {inbox}"),
            Self::CloseChannel => "closing a channel".to_owned(),
        }
    }

    /// Whether this is an answer to it.
    pub(super) fn is_answered_by(&self, reply: &AMQPClass) -> bool {
        match (self, reply) {
            (Self::OpenChannel, AMQPClass::Channel(channel::AMQPMethod::OpenOk(_)))
            | (Self::DeclareExchange, AMQPClass::Exchange(exchange::AMQPMethod::DeclareOk(_)))
            | (Self::Bind(_), AMQPClass::Queue(queue::AMQPMethod::BindOk(_)))
            | (Self::Confirms, AMQPClass::Confirm(confirm::AMQPMethod::SelectOk(_)))
            | (Self::Prefetch, AMQPClass::Basic(basic::AMQPMethod::QosOk(_)))
            | (Self::Look, AMQPClass::Queue(queue::AMQPMethod::DeclareOk(_)))
            | (Self::DeleteInbox, AMQPClass::Queue(queue::AMQPMethod::DeleteOk(_)))
            | (Self::CloseChannel, AMQPClass::Channel(channel::AMQPMethod::CloseOk(_))) => true,
            (Self::Declare(queue), AMQPClass::Queue(queue::AMQPMethod::DeclareOk(ok))) => ok.queue.as_str() == queue,
            (Self::Consume(tag), AMQPClass::Basic(basic::AMQPMethod::ConsumeOk(ok))) => {
                ok.consumer_tag.as_str() == *tag
            }
            (Self::Cancel(tag), AMQPClass::Basic(basic::AMQPMethod::CancelOk(ok))) => ok.consumer_tag.as_str() == *tag,
            _ => false,
        }
    }
}

/// Which queue the consumer of this tag consumes.
pub(super) fn queue_of<'a>(tag: &str, names: &'a Names, inbox: &'a str) -> &'a str {
    match tag {
        COMBINER_TAG => &names.combiner,
        ANYONE_TAG => &names.anyone,
        LOG_TAG => &names.log,
        _ => inbox,
    }
}
