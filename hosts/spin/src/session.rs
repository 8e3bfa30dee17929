//! AMQP 0-9-1, as much of it as a replica needs, without I/O: bytes from the socket go in, bytes for the socket and
//! events come out. Time and chance are arguments.
//!
//! What it does on the broker is what `dayfly-amqp` says, as hosts with a client of their own do it.
//!
//! **What a host does**, for as long as the connection stands:
//! 1. It makes a [`Session`] and a socket to its [`Address`].
//! 2. It writes what [`Session::outgoing`] gives, after *each* call of any other method, and hands what the socket
//!    brings to [`Session::take_in`], cut as it comes.
//! 3. It then takes events from [`Session::next_event`] until there is none.
//! 4. It calls [`Session::tick`] at [`Session::next_tick_ms`]. Who has not read for a while reads first: what waits in
//!    the socket is a sign of the broker's life too.
//! 5. If the socket ends it calls [`Session::socket_ended`].
//!
//! After [`Event::Refused`], [`Event::Broken`], [`Event::TakenOver`] or [`Event::Closed`], of which one is the last
//! event, it writes what is left and drops the socket. What was delivered and not acknowledged is delivered again to
//! somebody, and what was published and not settled ([`Session::give_up`]) may or may not have arrived.

mod address;
mod consuming;
mod content;
mod dispatch;
mod event;
mod header;
mod hints;
mod journal;
mod opening;
mod outbox;
mod pulse;
mod reader;
mod request;
mod writer;

#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use amq_protocol::protocol::{AMQPClass, connection};
use dayfly_amqp::{Ledger, Refusal};

pub use address::Address;
use consuming::Anyone;
use content::Content;
pub use event::{Delivery, Event, Frame, LOG_BATCH_BYTES_MAX, LOG_BATCH_MESSAGES_MAX, Opening, Verdict};
pub use hints::{HINTS, outbound_denied};
use journal::Journal;
use opening::Phase;
use outbox::Outbox;
use pulse::Pulse;
use reader::{Fault, Reader};
use request::Request;
use writer::Writer;

/// The channel of all connection's methods.
const CONNECTION: u16 = 0;
/// What is published goes over a channel of its own, since a channel confirms all or nothing.
const PUBLISH: u16 = 1;
/// Over this one the inbox, `combiner` and `anyone` are consumed.
const CONSUME: u16 = 2;
/// Over this one the log is read; it is open while that lasts.
const LOG: u16 = 3;
/// The channels of a session.
const CHANNELS: usize = 3;

/// The largest frame that we wish for, in bytes; it bounds what is held of a frame that has not come whole. Bodies that
/// are larger are cut.
const FRAME_BYTES_MAX: usize = 128 << 10;

/// The code of a connection that ends as intended.
const SUCCESS: u16 = 200;

/// A connection to the broker, of one replica.
///
/// What it holds is bounded by what the host leaves in it: frames under way (the replica refuses writes beyond a
/// number), deliveries up to the prefetches of `dayfly-amqp`, one frame of AMQP that has not come whole, and two
/// batches of the log.
#[derive(Debug)]
pub struct Session {
    opening: Opening,
    /// The inbox on the broker.
    inbox: String,
    now_ms: u64,
    phase: Phase,
    reader: Reader,
    writer: Writer,
    pulse: Pulse,
    /// Per channel, from the first: what was asked and is not answered.
    asked: [VecDeque<Request>; CHANNELS],
    /// Per channel, from the first: the message that is on its way.
    contents: [Content; CHANNELS],
    outbox: Outbox,
    ledger: Ledger,
    /// The latest tag over the consuming channel: tags beyond are not to be acknowledged.
    last_tag: u64,
    anyone: Anyone,
    journal: Journal,
    /// The inbox is being deleted, so its consumer ends.
    retiring: bool,
    /// The broker asked not to be published to, and why.
    blocked: Option<String>,
    backlog: u32,
    inbox_consumers: u32,
    servers: u32,
    events: VecDeque<Event>,
}

impl Session {
    /// Begins a conversation; its first bytes are there to be written. `now_ms` is the time since any fixed point.
    pub fn new(opening: Opening, now_ms: u64) -> Self {
        let mut writer = Writer::new(FRAME_BYTES_MAX);
        writer.greet();
        let give_up_ms = now_ms.saturating_add(opening.connect_ms);
        Self {
            inbox: opening.names.inbox(&opening.name),
            now_ms,
            phase: Phase::Greeting { give_up_ms },
            reader: Reader::new(FRAME_BYTES_MAX),
            writer,
            pulse: Pulse::new(now_ms),
            asked: Default::default(),
            contents: Default::default(),
            outbox: Outbox::new(),
            ledger: Ledger::default(),
            last_tag: 0,
            anyone: Anyone::Idle { wanted: false },
            journal: Journal::Closed,
            retiring: false,
            blocked: None,
            backlog: 0,
            inbox_consumers: 0,
            servers: 0,
            events: VecDeque::new(),
            opening,
        }
    }

    /// What is to be written to the socket, in order with what was taken before.
    pub fn outgoing(&mut self) -> Vec<u8> {
        if !self.writer.is_empty() {
            self.pulse.say(self.now_ms);
        }
        self.writer.take()
    }

    /// Takes in what the socket brought, cut anywhere.
    pub fn take_in(&mut self, bytes: &[u8], now_ms: u64) {
        if self.is_over() {
            return;
        }
        self.now_ms = now_ms;
        self.pulse.hear(now_ms);
        self.reader.take_in(bytes);
        while !self.is_over() {
            match self.reader.next().and_then(|incoming| incoming.map(|incoming| self.on_frame(incoming)).transpose()) {
                // At once, since what comes next may be an answer to it.
                Ok(Some(())) => self.go_on_opening(),
                Ok(None) => break,
                Err(Fault(reason)) => self.on_fault(reason),
            }
        }
        self.progress();
    }

    /// The socket has ended, or has failed as the system says.
    pub fn socket_ended(&mut self, said: &str) {
        let address = self.opening.address.to_string();
        match self.phase {
            Phase::Over => {}
            // The broker need not answer who goes.
            Phase::Closing => self.end(Event::Closed),
            Phase::Greeting { .. } => self.fail(HINTS.closed_in_handshake(&address, said)),
            Phase::Entering { .. } => self.fail(Refusal::broke(&format!("connecting to {address}"), said)),
            Phase::Declaring { .. } | Phase::TakingOver { .. } | Phase::Consuming { .. } | Phase::Ready => {
                let doing = self.doing(CONSUME);
                self.fail(Refusal::broke(&doing, said));
            }
        }
    }

    /// What comes next, if there is anything.
    pub fn next_event(&mut self) -> Option<Event> {
        if matches!(self.phase, Phase::Consuming { .. }) {
            return None;
        }
        let event = self.events.pop_front();
        if let Some(Event::LogBatch(_)) = &event {
            self.acknowledge_log();
        }
        event
    }

    /// Publishes a frame, after those of earlier calls. It may be called before the session is ready, and after its
    /// end, when the frame is only to be had back from [`Session::give_up`].
    pub fn publish(&mut self, frame: Frame<'_>) {
        let logged = self.opening.bounds.log_bytes > 0;
        self.outbox.push(frame, &self.opening.names, logged, self.opening.retention_ms);
        self.write_frames();
    }

    /// How many frames are not settled.
    pub fn in_flight(&self) -> usize {
        self.outbox.len()
    }

    /// After the end: the frames that were not settled, in order. They may or may not have arrived.
    pub fn give_up(&mut self) -> Vec<u64> {
        self.outbox.give_up()
    }

    /// Why the broker asked not to be published to, if it does now. Frames wait meanwhile.
    pub fn blocked(&self) -> Option<&str> {
        self.blocked.as_deref()
    }

    /// Begins or ends to consume `anyone`; at first it is not. What was delivered of it and is still among the events
    /// goes back to the queue when it ends.
    pub fn serve_anyone(&mut self, serve: bool) {
        self.want_anyone(serve);
        self.progress();
    }

    /// Lets the broker forget what was delivered under these tags. Unknown tags are ignored.
    pub fn acknowledge(&mut self, tags: &[u64]) {
        if !self.is_over() {
            let known = tags.iter().copied().filter(|tag| (1..=self.last_tag).contains(tag));
            for ack in self.ledger.answer(known) {
                self.send_ack(CONSUME, ack);
            }
        }
    }

    /// Reads the log from its beginning to its end as of now: [`Event::LogBatch`], any number, then [`Event::LogEnd`].
    /// While it is being read, it does nothing. A cluster without a log has one that is empty. `random` tells this
    /// reader from others. To be called once the session is ready.
    pub fn read_log(&mut self, random: u64) {
        if matches!(self.phase, Phase::Ready) {
            self.open_log(random);
        }
    }

    /// Deletes the inbox: the replica leaves for good. To be called before [`Session::close`], once the session is
    /// ready.
    pub fn delete_inbox(&mut self) {
        if matches!(self.phase, Phase::Ready) && !self.retiring {
            self.retiring = true;
            self.ask_to_delete_inbox();
        }
    }

    /// Ends the connection in good order. Frames that are not settled by then may or may not arrive, so one waits for
    /// them first, within reason.
    pub fn close(&mut self) {
        match self.phase {
            Phase::Over | Phase::Closing => {}
            // There is nothing to be closed yet.
            Phase::Greeting { .. } => self.end(Event::Closed),
            Phase::Entering { .. }
            | Phase::Declaring { .. }
            | Phase::TakingOver { .. }
            | Phase::Consuming { .. }
            | Phase::Ready => {
                self.phase = Phase::Closing;
                self.drop_deliveries();
                self.say_goodbye();
            }
        }
    }

    /// Does what is due: signs of life, and noticing that the broker gives none.
    pub fn tick(&mut self, now_ms: u64) {
        if self.is_over() {
            return;
        }
        self.now_ms = now_ms;
        let address = self.opening.address.to_string();
        if self.phase.give_up_ms().is_some_and(|give_up_ms| now_ms >= give_up_ms) {
            return self.fail(Refusal::too_slow(&address, self.opening.connect_ms.into()));
        }
        if self.pulse.is_lost(now_ms) {
            let reason = format!("{address} was silent for too long");
            return self.fail(Refusal::Unreachable(reason));
        }
        if self.pulse.is_due(now_ms) && self.writer.is_empty() {
            self.writer.heartbeat();
        }
        self.progress();
    }

    /// When to call [`Session::tick`] at latest, on the clock of its argument. None: it is of no use.
    pub fn next_tick_ms(&self) -> Option<u64> {
        if self.is_over() {
            return None;
        }
        [self.pulse.next_ms(), self.phase.next_ms()].into_iter().flatten().min()
    }

    /// Whether the last event has happened, be it taken or not.
    pub fn is_over(&self) -> bool {
        matches!(self.phase, Phase::Over)
    }

    fn ask(&mut self, number: u16, request: Request, class: AMQPClass) {
        self.writer.method(number, class);
        self.asked[index(number)].push_back(request);
    }

    /// Goes on with whatever has become possible.
    fn progress(&mut self) {
        if self.is_over() {
            return;
        }
        self.go_on_opening();
        if matches!(self.phase, Phase::Ready) {
            self.go_on_with_anyone();
        }
        let settled = self.outbox.settled();
        if settled.is_empty() {
            return;
        }
        match self.events.back_mut() {
            Some(Event::Settled(others)) => others.extend(settled),
            Some(_) | None => self.events.push_back(Event::Settled(settled)),
        }
    }

    fn write_frames(&mut self) {
        if matches!(self.phase, Phase::Ready) && self.blocked.is_none() {
            self.outbox.write(&mut self.writer);
            self.progress();
        }
    }

    fn say_goodbye(&mut self) {
        let close = connection::Close { reply_code: SUCCESS, reply_text: "done".into(), class_id: 0, method_id: 0 };
        self.writer.method(CONNECTION, AMQPClass::Connection(connection::AMQPMethod::Close(close)));
    }

    fn on_fault(&mut self, reason: &str) {
        let address = self.opening.address.to_string();
        match self.phase {
            Phase::Greeting { .. } => self.fail(HINTS.no_amqp(&address)),
            _ => self.fail(Refusal::Unreachable(format!("{address} does not keep to AMQP 0-9-1: {reason}"))),
        }
    }

    fn fail(&mut self, refusal: Refusal) {
        self.end(match refusal {
            Refusal::Refused(reason) => Event::Refused(reason),
            Refusal::Unreachable(reason) => Event::Broken(reason),
        });
    }

    fn end(&mut self, last: Event) {
        if self.is_over() {
            return;
        }
        self.drop_deliveries();
        let settled = self.outbox.settled();
        if !settled.is_empty() {
            self.events.push_back(Event::Settled(settled));
        }
        self.events.push_back(last);
        self.phase = Phase::Over;
        self.reader = Reader::new(FRAME_BYTES_MAX);
    }

    /// What was not taken could not be acknowledged any more.
    fn drop_deliveries(&mut self) {
        self.events.retain(|event| !matches!(event, Event::Delivered(_) | Event::LogBatch(_) | Event::LogEnd));
    }
}

/// The place of a channel in the lists.
fn index(number: u16) -> usize {
    usize::from(number) - 1
}
