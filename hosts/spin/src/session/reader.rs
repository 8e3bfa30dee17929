//! Cutting what comes from the socket into AMQP's frames. Any bytes give frames or a fault, whichever way they are cut.

use amq_protocol::protocol::{AMQPClass, parse_class};

use super::header::{Header, Start};

/// A frame from the broker, of those that a client may get.
#[derive(Debug, PartialEq)]
pub(super) enum Incoming {
    /// The broker's greeting.
    Start(Start),
    /// Any other method.
    Method(u16, AMQPClass),
    /// What a message is.
    Header(u16, Header),
    /// A piece of it.
    Body(u16, Vec<u8>),
    Heartbeat,
}

/// What is no AMQP, or none that we know. Nothing can be read after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fault(pub(super) &'static str);

/// Type, channel and size before the payload, and a mark after it.
const BEFORE: usize = 7;
pub(super) const AROUND: usize = BEFORE + 1;
pub(super) const END: u8 = 0xCE;

const METHOD: u8 = 1;
const HEADER: u8 = 2;
const BODY: u8 = 3;
const HEARTBEAT: u8 = 8;

/// Connection.start, which holds a table: it is not read by the codec, whose parser calls itself for each table in a
/// table, and so would be led past the end of the stack.
const START: (u16, u16) = (10, 10);

/// The methods that a broker sends to who behaves like us. None of them holds a table.
const METHODS: [(u16, u16); 23] = [
    (10, 30),  // connection.tune
    (10, 41),  // connection.open-ok
    (10, 50),  // connection.close
    (10, 51),  // connection.close-ok
    (10, 60),  // connection.blocked
    (10, 61),  // connection.unblocked
    (20, 11),  // channel.open-ok
    (20, 20),  // channel.flow
    (20, 40),  // channel.close
    (20, 41),  // channel.close-ok
    (40, 11),  // exchange.declare-ok
    (50, 11),  // queue.declare-ok
    (50, 21),  // queue.bind-ok
    (50, 41),  // queue.delete-ok
    (60, 11),  // basic.qos-ok
    (60, 21),  // basic.consume-ok
    (60, 30),  // basic.cancel
    (60, 31),  // basic.cancel-ok
    (60, 50),  // basic.return
    (60, 60),  // basic.deliver
    (60, 80),  // basic.ack
    (60, 120), // basic.nack
    (85, 11),  // confirm.select-ok
];

/// Cuts bytes into frames.
#[derive(Debug)]
pub(super) struct Reader {
    /// What has come and is not read; less than a frame after each [`Reader::next`] that gave none.
    heard: Vec<u8>,
    /// Where in `heard` the next frame begins.
    at: usize,
    frame_max: usize,
}

impl Reader {
    /// Frames larger than this, in bytes with what is around them, are faults.
    pub(super) fn new(frame_max: usize) -> Self {
        Self { heard: Vec::new(), at: 0, frame_max }
    }

    pub(super) fn set_frame_max(&mut self, frame_max: usize) {
        self.frame_max = frame_max;
    }

    /// Takes in bytes. [`Reader::next`] is to be called until it gives none.
    pub(super) fn take_in(&mut self, bytes: &[u8]) {
        self.heard.drain(..self.at);
        self.at = 0;
        self.heard.extend_from_slice(bytes);
    }

    /// The next frame; none if more bytes are needed for it.
    pub(super) fn next(&mut self) -> Result<Option<Incoming>, Fault> {
        let rest = &self.heard[self.at..];
        let [kind, channel @ .., s0, s1, s2, s3] = match rest.first_chunk::<BEFORE>() {
            Some(before) => *before,
            // Whoever sends something else need not send as much.
            None => match rest.first() {
                Some(&kind) if !matches!(kind, METHOD | HEADER | BODY | HEARTBEAT) => return Err(NO_FRAME),
                Some(_) | None => return Ok(None),
            },
        };
        if !matches!(kind, METHOD | HEADER | BODY | HEARTBEAT) {
            return Err(NO_FRAME);
        }
        let size = u32::from_be_bytes([s0, s1, s2, s3]) as usize;
        if size > self.frame_max - AROUND {
            return Err(Fault("a frame is larger than was agreed on"));
        }
        let Some(frame) = rest.get(..size + AROUND) else { return Ok(None) };
        if frame[size + BEFORE] != END {
            return Err(Fault("a frame does not end where it should"));
        }
        let payload = &frame[BEFORE..size + BEFORE];
        let channel = u16::from_be_bytes(channel);
        let incoming = match kind {
            METHOD => method(channel, payload)?,
            HEADER => Incoming::Header(channel, Header::read(payload).ok_or(Fault("a message's header is broken"))?),
            BODY => Incoming::Body(channel, payload.to_vec()),
            _ => Incoming::Heartbeat,
        };
        self.at += size + AROUND;
        Ok(Some(incoming))
    }
}

const NO_FRAME: Fault = Fault("what comes is no frame of AMQP");

fn method(channel: u16, payload: &[u8]) -> Result<Incoming, Fault> {
    let Some(&[c0, c1, m0, m1]) = payload.first_chunk::<4>() else { return Err(Fault("a method is cut short")) };
    let id = (u16::from_be_bytes([c0, c1]), u16::from_be_bytes([m0, m1]));
    if id == START {
        return Start::read(&payload[4..]).map(Incoming::Start).ok_or(Fault("the greeting is broken"));
    }
    if !METHODS.contains(&id) {
        return Err(Fault("a method is none that a broker sends to us"));
    }
    match parse_class(payload) {
        Ok(([], class)) => Ok(Incoming::Method(channel, class)),
        Ok(_) | Err(_) => Err(Fault("a method is broken")),
    }
}
