//! What a broker says, as bytes.

use amq_protocol::frame::{AMQPContentHeader, AMQPFrame, WriteContext, gen_frame};
use amq_protocol::protocol::basic::{AMQPMethod as Basic, AMQPProperties};
use amq_protocol::protocol::connection::AMQPMethod as Connecting;
use amq_protocol::protocol::{AMQPClass, basic, channel, confirm, connection, exchange, queue};

use crate::session::{CONSUME, PUBLISH};

pub fn written(frame: &AMQPFrame) -> Vec<u8> {
    gen_frame(frame)(WriteContext::from(Vec::new())).expect("it is written").into_inner().0
}

pub fn method(channel: u16, class: AMQPClass) -> Vec<u8> {
    written(&AMQPFrame::Method(channel, class))
}

pub fn connecting(method_: Connecting) -> Vec<u8> {
    method(0, AMQPClass::Connection(method_))
}

pub fn start() -> Vec<u8> {
    let mut start = connection::Start { version_minor: 9, mechanisms: "AMQPLAIN PLAIN".into(), ..Default::default() };
    start.server_properties.insert("product".into(), amq_protocol::types::AMQPValue::LongString("Broker".into()));
    connecting(Connecting::Start(start))
}

pub fn tune(frame_max: u32, heartbeat: u16) -> Vec<u8> {
    connecting(Connecting::Tune(connection::Tune { channel_max: 2_047, frame_max, heartbeat }))
}

pub fn open_ok() -> Vec<u8> {
    connecting(Connecting::OpenOk(connection::OpenOk {}))
}

pub fn channel_open_ok(number: u16) -> Vec<u8> {
    method(number, AMQPClass::Channel(channel::AMQPMethod::OpenOk(channel::OpenOk {})))
}

pub fn select_ok(number: u16) -> Vec<u8> {
    method(number, AMQPClass::Confirm(confirm::AMQPMethod::SelectOk(confirm::SelectOk {})))
}

pub fn declare_ok(queue: &str, message_count: u32, consumer_count: u32) -> Vec<u8> {
    let ok = queue::DeclareOk { queue: queue.into(), message_count, consumer_count };
    method(CONSUME, AMQPClass::Queue(queue::AMQPMethod::DeclareOk(ok)))
}

pub fn declared(backlog: u32, consumers: u32, servers: u32) -> Vec<u8> {
    let bind_ok = || method(CONSUME, AMQPClass::Queue(queue::AMQPMethod::BindOk(queue::BindOk {})));
    [
        channel_open_ok(PUBLISH),
        channel_open_ok(CONSUME),
        select_ok(PUBLISH),
        method(CONSUME, AMQPClass::Exchange(exchange::AMQPMethod::DeclareOk(exchange::DeclareOk {}))),
        declare_ok("dayfly.c.anyone", 9, servers),
        declare_ok("dayfly.c.combiner", 9, 9),
        declare_ok("dayfly.c.log", 0, 0),
        bind_ok(),
        declare_ok("dayfly.c.node.a", backlog, consumers),
        bind_ok(),
    ]
    .concat()
}

pub fn consuming(number: u16, tag: &str) -> Vec<u8> {
    let ok = basic::ConsumeOk { consumer_tag: tag.into() };
    let qos = method(number, AMQPClass::Basic(Basic::QosOk(basic::QosOk {})));
    [qos, method(number, AMQPClass::Basic(Basic::ConsumeOk(ok)))].concat()
}

pub fn both_consuming() -> Vec<u8> {
    [consuming(CONSUME, "inbox"), consuming(CONSUME, "combiner")].concat()
}

pub fn until_ready() -> Vec<u8> {
    [start(), tune(4_096, 60), open_ok(), declared(3, 0, 2), both_consuming()].concat()
}

pub fn content(number: u16, properties: AMQPProperties, body: &[u8]) -> Vec<u8> {
    let header = AMQPContentHeader { class_id: 60, body_size: body.len() as u64, properties };
    let mut bytes = written(&AMQPFrame::Header(number, 60, Box::new(header)));
    for piece in body.chunks(1_000) {
        bytes.extend(written(&AMQPFrame::Body(number, piece.to_vec())));
    }
    bytes
}

pub fn delivery(number: u16, consumer: &str, tag: u64, properties: AMQPProperties, body: &[u8]) -> Vec<u8> {
    let deliver = basic::Deliver {
        consumer_tag: consumer.into(),
        delivery_tag: tag,
        redelivered: tag.is_multiple_of(2),
        exchange: "e".into(),
        routing_key: "k".into(),
    };
    [method(number, AMQPClass::Basic(Basic::Deliver(deliver))), content(number, properties, body)].concat()
}

pub fn plain(consumer: &str, tag: u64, body: &[u8]) -> Vec<u8> {
    delivery(CONSUME, consumer, tag, AMQPProperties::default(), body)
}

pub fn acked(number: u16, delivery_tag: u64, multiple: bool) -> Vec<u8> {
    method(number, AMQPClass::Basic(Basic::Ack(basic::Ack { delivery_tag, multiple })))
}

pub fn returned(id: &str) -> Vec<u8> {
    let returned = basic::Return { reply_code: 312, reply_text: "NO_ROUTE".into(), ..Default::default() };
    let properties = AMQPProperties::default().with_message_id(id.into());
    [method(PUBLISH, AMQPClass::Basic(Basic::Return(returned))), content(PUBLISH, properties, b"back")].concat()
}

pub fn channel_close(number: u16, reply_code: u16, text: &str) -> Vec<u8> {
    let close = channel::Close { reply_code, reply_text: text.into(), class_id: 0, method_id: 0 };
    method(number, AMQPClass::Channel(channel::AMQPMethod::Close(close)))
}

pub fn connection_close(reply_code: u16, text: &str) -> Vec<u8> {
    let close = connection::Close { reply_code, reply_text: text.into(), class_id: 0, method_id: 0 };
    connecting(Connecting::Close(close))
}
