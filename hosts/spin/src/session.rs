//! AMQP 0-9-1, as much of it as a replica needs, without I/O: bytes from the socket go in, bytes for the socket and events
//! come out. Time and chance are arguments.
//!
//! What it does on the broker is what `dayfly-amqp` says, as hosts with a client of their own do it.
//!
//! **What a host does**, for as long as the connection stands:
//! 1. It makes a [`Session`] and a socket to its [`Address`].
//! 2. It writes what [`Session::outgoing`] gives, after *each* call of any other method, and hands what the socket
//!    brings to [`Session::take_in`], cut as it comes.
//! 3. It then takes events from [`Session::next_event`] until there is none.
//! 4. It calls [`Session::tick`] at [`Session::next_tick_ms`]. Who has not read for a while reads first: what waits in the
//!    socket is a sign of the broker's life too.
//! 5. If the socket ends it calls [`Session::socket_ended`].
//!
//! After [`Event::Refused`], [`Event::Broken`], [`Event::TakenOver`] or [`Event::Closed`], of which one is the last event,
//! it writes what is left and drops the socket. What was delivered and not acknowledged is delivered again to somebody,
//! and what was published and not settled ([`Session::give_up`]) may or may not have arrived.

mod address;
mod consuming;
mod content;
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

use amq_protocol::protocol::{AMQPClass, basic, channel, connection};
use dayfly_amqp::{Birth, Bounds, Ledger, Names, Refusal, Route, Source};

pub use address::Address;
use consuming::Anyone;
use content::{Content, Message, Whence};
pub use hints::{HINTS, outbound_denied};
use journal::Journal;
use opening::Phase;
use outbox::Outbox;
use pulse::Pulse;
use reader::{Fault, Incoming, Reader};
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

/// The largest frame that we wish for, in bytes; it bounds what is held of a frame that has not come whole. Bodies that are
/// larger are cut.
const FRAME_BYTES_MAX: usize = 128 << 10;

/// The code of a connection that ends as intended.
const SUCCESS: u16 = 200;

/// What a session is made for.
#[derive(Clone, Debug)]
pub struct Opening {
    /// Where the broker is, and who connects.
    pub address: Address,
    /// What the cluster's things are called.
    pub names: Names,
    /// What they hold.
    pub bounds: Bounds,
    /// The replica's name, and so its inbox's.
    pub name: String,
    /// After how many milliseconds without a consumer the inbox vanishes; at least 1.
    pub inbox_expires_ms: u64,
    /// Nothing that is published outlives this, in milliseconds: `config.retention-ms`.
    pub retention_ms: u64,
    /// How often each side shows that it lives, in seconds, unless the URL tells; 0: never. The broker may want it more
    /// often.
    pub heartbeat_s: u16,
    /// How long it may take until the session is ready, in milliseconds.
    pub connect_ms: u64,
    /// When this session was made, with fresh randomness: of two for one inbox, the later has it.
    pub birth: Birth,
}

/// A frame to publish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Names it in [`Event::Settled`].
    pub id: u64,
    /// Where to.
    pub route: Route<'a>,
    /// What.
    pub body: Vec<u8>,
    /// After how many milliseconds it is worth nothing; none: keep it for the retention.
    pub ttl_ms: Option<u32>,
}

/// What became of a frame, as in the contract (`outbox.verdict`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The broker has taken responsibility for it.
    Confirmed,
    /// No such inbox exists, or no such queue.
    Unroutable,
    /// The broker refused it.
    Failed,
}

/// A message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// Names it in [`Session::acknowledge`]; within this session.
    pub tag: u64,
    /// Which queue it came from.
    pub source: Source,
    /// The frame's body.
    pub body: Vec<u8>,
    /// It may have been delivered before.
    pub redelivered: bool,
}

/// What happens in a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// All is declared and consumed. It comes once, before any other but the last.
    Ready {
        /// How many messages waited in the inbox.
        backlog: u32,
        /// How many consumed `anyone` before us: with none, nobody may be there to hand us the database.
        servers: u32,
    },
    /// Outcomes of frames, in the order in which they were published, each once.
    Settled(Vec<(u64, Verdict)>),
    /// A message.
    Delivered(Delivery),
    /// The next messages of the log, oldest first: at most [`LOG_BATCH_MESSAGES_MAX`] and, unless it is one,
    /// [`LOG_BATCH_BYTES_MAX`].
    LogBatch(Vec<Vec<u8>>),
    /// The log has no more, as of when [`Session::read_log`] was called.
    LogEnd,
    /// The last one: the broker refused. Trying again would not help until what the text names is mended.
    Refused(String),
    /// The last one: the connection broke, or could not be made. Try again after a while.
    Broken(String),
    /// The last one: another session took the inbox. Two replicas have one name, and this one has to end.
    TakenOver,
    /// The last one: [`Session::close`] is done.
    Closed,
}

/// How many messages an [`Event::LogBatch`] brings at most, so that one call into the component costs little a message.
pub const LOG_BATCH_MESSAGES_MAX: usize = 256;

/// How many bytes an [`Event::LogBatch`] brings at most, so that one call into the component stays short.
pub const LOG_BATCH_BYTES_MAX: usize = 1 << 20;

/// A connection to the broker, of one replica.
///
/// What it holds is bounded by what the host leaves in it: frames under way (the replica refuses writes beyond a number),
/// deliveries up to the prefetches of `dayfly-amqp`, one frame of AMQP that has not come whole, and two batches of the log.
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

    /// Publishes a frame, after those of earlier calls. It may be called before the session is ready, and after its end,
    /// when the frame is only to be had back from [`Session::give_up`].
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

    /// Begins or ends to consume `anyone`; at first it is not. What was delivered of it and is still among the events goes
    /// back to the queue when it ends.
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

    /// Reads the log from its beginning to its end as of now: [`Event::LogBatch`], any number, then [`Event::LogEnd`]. While
    /// it is being read, it does nothing. A cluster without a log has one that is empty. `random` tells this reader from
    /// others. To be called once the session is ready.
    pub fn read_log(&mut self, random: u64) {
        if matches!(self.phase, Phase::Ready) {
            self.open_log(random);
        }
    }

    /// Deletes the inbox: the replica leaves for good. To be called before [`Session::close`], once the session is ready.
    pub fn delete_inbox(&mut self) {
        if matches!(self.phase, Phase::Ready) && !self.retiring {
            self.retiring = true;
            self.ask_to_delete_inbox();
        }
    }

    /// Ends the connection in good order. Frames that are not settled by then may or may not arrive, so one waits for them
    /// first, within reason.
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

    fn on_frame(&mut self, incoming: Incoming) -> Result<(), Fault> {
        match incoming {
            Incoming::Start(start) => self.on_start(&start),
            Incoming::Heartbeat => Ok(()),
            Incoming::Method(CONNECTION, AMQPClass::Connection(method)) => self.on_connection(method),
            Incoming::Method(number @ (PUBLISH | CONSUME | LOG), method) if self.phase.has_channels() => {
                self.on_channel(number, method)
            }
            Incoming::Header(number @ (PUBLISH | CONSUME | LOG), header) if self.phase.has_channels() => {
                match self.contents[index(number)].take_header(header)? {
                    Some(message) => self.on_message(number, message),
                    None => Ok(()),
                }
            }
            Incoming::Body(number @ (PUBLISH | CONSUME | LOG), piece) if self.phase.has_channels() => {
                match self.contents[index(number)].take_piece(&piece)? {
                    Some(message) => self.on_message(number, message),
                    None => Ok(()),
                }
            }
            Incoming::Method(..) | Incoming::Header(..) | Incoming::Body(..) => {
                Err(Fault("a frame comes over a channel that is not open"))
            }
        }
    }

    fn on_connection(&mut self, method: connection::AMQPMethod) -> Result<(), Fault> {
        use connection::AMQPMethod as Method;
        match method {
            Method::Tune(tune) => return self.on_tune(&tune),
            Method::OpenOk(_) => return self.on_open_ok(),
            Method::Close(close) => {
                self.writer.method(CONNECTION, AMQPClass::Connection(Method::CloseOk(connection::CloseOk {})));
                self.on_close(close.reply_code, close.reply_text.as_str());
            }
            Method::CloseOk(_) if matches!(self.phase, Phase::Closing) => self.end(Event::Closed),
            Method::Blocked(blocked) => self.blocked = Some(blocked.reason.to_string()),
            Method::Unblocked(_) => {
                self.blocked = None;
                self.write_frames();
            }
            _ => return Err(UNASKED),
        }
        Ok(())
    }

    /// The broker ends the connection.
    fn on_close(&mut self, code: u16, said: &str) {
        match self.phase {
            Phase::Closing => self.end(Event::Closed),
            Phase::Greeting { .. } | Phase::Entering { .. } => {
                let address = &self.opening.address;
                let (place, user, vhost) = (address.to_string(), &address.user, &address.vhost);
                let refusal = HINTS.of_connecting(&place, user, vhost, code, said);
                self.fail(refusal);
            }
            _ => {
                let busy = (PUBLISH..=LOG).find(|number| !self.asked[index(*number)].is_empty());
                let refusal = HINTS.of_request(&self.doing(busy.unwrap_or(CONSUME)), code, said);
                self.fail(refusal);
            }
        }
    }

    fn on_channel(&mut self, number: u16, class: AMQPClass) -> Result<(), Fault> {
        if !self.contents[index(number)].is_none() {
            return Err(Fault("a method comes in the midst of a message"));
        }
        match class {
            AMQPClass::Channel(channel::AMQPMethod::Close(close)) => {
                let refusal = HINTS.of_request(&self.doing(number), close.reply_code, close.reply_text.as_str());
                if matches!(self.phase, Phase::Closing) {
                    // It goes anyway; but the broker waits for this before it confirms the end.
                    let ok = channel::AMQPMethod::CloseOk(channel::CloseOk {});
                    self.writer.method(number, AMQPClass::Channel(ok));
                } else {
                    self.fail(refusal);
                }
                Ok(())
            }
            AMQPClass::Channel(channel::AMQPMethod::Flow(flow)) => {
                let ok = channel::AMQPMethod::FlowOk(channel::FlowOk { active: flow.active });
                self.writer.method(number, AMQPClass::Channel(ok));
                self.blocked = (!flow.active).then(|| "the broker asked for a pause".to_owned());
                self.write_frames();
                Ok(())
            }
            AMQPClass::Basic(basic::AMQPMethod::Deliver(deliver)) => {
                self.contents[index(number)].begin(Whence::Delivered(deliver))
            }
            AMQPClass::Basic(basic::AMQPMethod::Return(_)) => self.contents[index(number)].begin(Whence::Returned),
            AMQPClass::Basic(basic::AMQPMethod::Ack(ack)) => {
                self.on_confirm(number, ack.delivery_tag, ack.multiple, Verdict::Confirmed)
            }
            AMQPClass::Basic(basic::AMQPMethod::Nack(nack)) => {
                self.on_confirm(number, nack.delivery_tag, nack.multiple, Verdict::Failed)
            }
            AMQPClass::Basic(basic::AMQPMethod::Cancel(cancel)) => {
                self.on_cancelled(cancel.consumer_tag.as_str());
                Ok(())
            }
            reply => {
                let asked = &mut self.asked[index(number)];
                let answered = asked.iter().position(|request| request.is_answered_by(&reply));
                let request = answered.and_then(|at| asked.remove(at)).ok_or(UNASKED)?;
                self.on_reply(&request, &reply);
                Ok(())
            }
        }
    }

    fn on_confirm(&mut self, number: u16, tag: u64, multiple: bool, verdict: Verdict) -> Result<(), Fault> {
        match number {
            PUBLISH => self.outbox.confirm(tag, multiple, verdict),
            LOG => self.on_mark_confirmed(verdict),
            _ => return Err(UNASKED),
        }
        Ok(())
    }

    fn on_message(&mut self, number: u16, message: Message) -> Result<(), Fault> {
        match (number, message.whence) {
            (PUBLISH, Whence::Returned) => self.outbox.note_returned(message.header.id.as_deref()),
            (LOG, Whence::Returned) => self.on_mark_returned(),
            (LOG, Whence::Delivered(deliver)) => self.on_logged(deliver.delivery_tag, &message.header, message.body),
            (CONSUME, Whence::Delivered(deliver)) => return self.on_delivered(&deliver, message.header, message.body),
            _ => return Err(UNASKED),
        }
        Ok(())
    }

    /// What the broker has been asked over this channel, or what the channel is for.
    fn doing(&self, number: u16) -> String {
        match self.asked[index(number)].front() {
            Some(request) => request.doing(&self.opening.names, &self.inbox),
            None if number == PUBLISH => "publishing".to_owned(),
            None if number == LOG => format!("reading {}", self.opening.names.log),
            None => "consuming".to_owned(),
        }
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

const UNASKED: Fault = Fault("a method comes that nobody asked for");

/// The place of a channel in the lists.
fn index(number: u16) -> usize {
    usize::from(number) - 1
}
