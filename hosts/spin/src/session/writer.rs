//! What is to be written to the socket.

use amq_protocol::frame::{AMQPContentHeader, AMQPFrame, ProtocolVersion, WriteContext, gen_frame};
use amq_protocol::protocol::AMQPClass;
use amq_protocol::protocol::basic::{self, AMQPProperties};
use amq_protocol::types::{AMQPValue, FieldTable};
use dayfly_amqp::Argument;

use super::reader::{AROUND, END};

/// The class of messages.
const BASIC: u16 = 60;
const BODY: u8 = 3;

/// Frames as bytes, in order.
#[derive(Debug)]
pub(super) struct Writer {
    bytes: Vec<u8>,
    /// The largest frame, in bytes with what is around it.
    frame_max: usize,
}

impl Writer {
    pub(super) fn new(frame_max: usize) -> Self {
        Self { bytes: Vec::new(), frame_max }
    }

    pub(super) fn set_frame_max(&mut self, frame_max: usize) {
        self.frame_max = frame_max;
    }

    /// What has not been taken yet.
    pub(super) fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.bytes)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Begins a conversation.
    pub(super) fn greet(&mut self) {
        self.frame(&AMQPFrame::ProtocolHeader(ProtocolVersion::amqp_0_9_1()));
    }

    pub(super) fn method(&mut self, channel: u16, class: AMQPClass) {
        self.frame(&AMQPFrame::Method(channel, class));
    }

    pub(super) fn heartbeat(&mut self) {
        self.frame(&AMQPFrame::Heartbeat(0));
    }

    /// A message, its body in as many pieces as needed.
    pub(super) fn message(&mut self, channel: u16, publish: basic::Publish, properties: AMQPProperties, body: &[u8]) {
        self.method(channel, AMQPClass::Basic(basic::AMQPMethod::Publish(publish)));
        let header = AMQPContentHeader { class_id: BASIC, body_size: body.len() as u64, properties };
        self.frame(&AMQPFrame::Header(channel, BASIC, Box::new(header)));
        self.bytes.reserve(body.len() + AROUND);
        // By hand, since the codec would have each piece copied first.
        for piece in body.chunks(self.frame_max - AROUND) {
            let size = u32::try_from(piece.len()).expect("a frame's size has 32 bits");
            self.bytes.push(BODY);
            self.bytes.extend(channel.to_be_bytes());
            self.bytes.extend(size.to_be_bytes());
            self.bytes.extend_from_slice(piece);
            self.bytes.push(END);
        }
    }

    fn frame(&mut self, frame: &AMQPFrame) {
        let so_far = std::mem::take(&mut self.bytes);
        let written = gen_frame(frame)(WriteContext::from(so_far)).expect("memory takes all that is written");
        self.bytes = written.into_inner().0;
    }
}

/// Arguments as the codec has them.
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
