//! From the greeting to ready: who we are, what has to be there, and whose the inbox is.
//!
//! Requests are sent without waiting for each answer, since the way to the broker and back is most of a cold start.

use amq_protocol::protocol::{AMQPClass, basic, channel, confirm, connection, exchange, queue};
use amq_protocol::types::{AMQPValue, FieldTable};
use dayfly_amqp::{PREFETCH, Queue, Refusal, TAKE_OVER_MAX};

use super::dispatch::UNASKED;
use super::header::Start;
use super::reader::Fault;
use super::request::{COMBINER_TAG, INBOX_TAG, Request};
use super::writer::table;
use super::{CHANNELS, CONNECTION, CONSUME, Event, FRAME_BYTES_MAX, PUBLISH, Session};

/// How far a session is. Times are on the host's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Nothing has come yet.
    Greeting {
        give_up_ms: u64,
    },
    /// Logging in, and into the vhost.
    Entering {
        give_up_ms: u64,
    },
    /// Declaring what has to be there.
    Declaring {
        give_up_ms: u64,
    },
    /// An earlier session has been told to go; waiting for it until then, and looking at this time whether it has gone,
    /// or now.
    TakingOver {
        give_up_ms: u64,
        until_ms: u64,
        look_ms: u64,
    },
    /// Beginning to consume.
    Consuming {
        give_up_ms: u64,
    },
    Ready,
    /// We have said that we go.
    Closing,
    /// The last event has happened.
    Over,
}

/// Between two looks at whether an earlier session has gone, in milliseconds.
const LOOK_AGAIN_MS: u64 = 20;
/// The smallest largest frame that AMQP allows, in bytes.
const FRAME_BYTES_MIN: usize = 4_096;

impl Phase {
    /// When the session has to be ready.
    pub(super) fn give_up_ms(&self) -> Option<u64> {
        match *self {
            Self::Greeting { give_up_ms }
            | Self::Entering { give_up_ms }
            | Self::Declaring { give_up_ms }
            | Self::TakingOver { give_up_ms, .. }
            | Self::Consuming { give_up_ms } => Some(give_up_ms),
            Self::Ready | Self::Closing | Self::Over => None,
        }
    }

    /// When something is due.
    pub(super) fn next_ms(&self) -> Option<u64> {
        match *self {
            Self::TakingOver { give_up_ms, look_ms, .. } => Some(give_up_ms.min(look_ms)),
            _ => self.give_up_ms(),
        }
    }

    /// Whether channels are open, or being opened.
    pub(super) fn has_channels(&self) -> bool {
        !matches!(self, Self::Greeting { .. } | Self::Entering { .. } | Self::Over)
    }
}

impl Session {
    pub(super) fn on_start(&mut self, start: &Start) -> Result<(), Fault> {
        let Phase::Greeting { give_up_ms } = self.phase else { return Err(UNASKED) };
        if start.version != (0, 9) {
            return Err(Fault("another version"));
        }
        if !start.takes_plain {
            let address = &self.opening.address;
            let reason = format!("{address} does not take user and password (PLAIN); permit that in its configuration");
            self.fail(Refusal::Refused(reason));
            return Ok(());
        }
        let address = &self.opening.address;
        let response = format!("\0{}\0{}", address.user, address.password);
        let start_ok = connection::StartOk {
            client_properties: about_us(&self.opening.names.everyone),
            mechanism: "PLAIN".into(),
            response: response.as_str().into(),
            locale: "en_US".into(),
        };
        self.writer.method(CONNECTION, AMQPClass::Connection(connection::AMQPMethod::StartOk(start_ok)));
        self.phase = Phase::Entering { give_up_ms };
        Ok(())
    }

    pub(super) fn on_tune(&mut self, tune: &connection::Tune) -> Result<(), Fault> {
        if !matches!(self.phase, Phase::Entering { .. }) {
            return Err(UNASKED);
        }
        // 0: the broker sets no bound.
        let theirs = if tune.frame_max == 0 { FRAME_BYTES_MAX } else { tune.frame_max as usize };
        let frame_max = theirs.min(FRAME_BYTES_MAX);
        if frame_max < FRAME_BYTES_MIN {
            return Err(Fault("its frames are smaller than AMQP allows"));
        }
        if tune.channel_max != 0 && usize::from(tune.channel_max) < CHANNELS {
            let reason = format!(
                "{} permits {} channels a connection, and {CHANNELS} are needed; raise its `channel_max`",
                self.opening.address, tune.channel_max
            );
            self.fail(Refusal::Refused(reason));
            return Ok(());
        }
        self.reader.set_frame_max(frame_max);
        self.writer.set_frame_max(frame_max);
        let ours_s = self.opening.address.heartbeat_s.unwrap_or(self.opening.heartbeat_s);
        let heartbeat = self.pulse.agree(ours_s, tune.heartbeat);
        let tune_ok = connection::TuneOk {
            channel_max: u16::try_from(CHANNELS).expect("they are few"),
            frame_max: u32::try_from(frame_max).expect("it is at most ours"),
            heartbeat,
        };
        self.writer.method(CONNECTION, AMQPClass::Connection(connection::AMQPMethod::TuneOk(tune_ok)));
        let open = connection::Open { virtual_host: self.opening.address.vhost.as_str().into() };
        self.writer.method(CONNECTION, AMQPClass::Connection(connection::AMQPMethod::Open(open)));
        Ok(())
    }

    pub(super) fn on_open_ok(&mut self) -> Result<(), Fault> {
        let Phase::Entering { give_up_ms } = self.phase else { return Err(UNASKED) };
        self.phase = Phase::Declaring { give_up_ms };
        for number in [PUBLISH, CONSUME] {
            self.ask_for_channel(number);
        }
        self.ask_for_confirms(PUBLISH);
        let declare = exchange::Declare {
            exchange: self.opening.names.everyone.as_str().into(),
            kind: "fanout".into(),
            durable: true,
            ..exchange::Declare::default()
        };
        let class = AMQPClass::Exchange(exchange::AMQPMethod::Declare(declare));
        self.ask(CONSUME, Request::DeclareExchange, class);
        let Self { opening, .. } = self;
        let inbox = Queue::inbox(&opening.names, &opening.name, &opening.bounds, opening.inbox_expires_ms);
        for queue in Queue::shared(&opening.names, &opening.bounds).into_iter().chain([inbox]) {
            self.ask_for_queue(queue);
        }
        Ok(())
    }

    pub(super) fn ask_for_channel(&mut self, number: u16) {
        let open = channel::AMQPMethod::Open(channel::Open {});
        self.ask(number, Request::OpenChannel, AMQPClass::Channel(open));
    }

    pub(super) fn ask_for_confirms(&mut self, number: u16) {
        let select = confirm::AMQPMethod::Select(confirm::Select { nowait: false });
        self.ask(number, Request::Confirms, AMQPClass::Confirm(select));
    }

    fn ask_for_queue(&mut self, queue: Queue) {
        let declare = queue::Declare {
            queue: queue.name.as_str().into(),
            durable: true,
            arguments: table(&queue.arguments),
            ..queue::Declare::default()
        };
        let class = AMQPClass::Queue(queue::AMQPMethod::Declare(declare));
        self.ask(CONSUME, Request::Declare(queue.name.clone()), class);
        if queue.hears_everyone {
            let bind = queue::Bind {
                queue: queue.name.as_str().into(),
                exchange: self.opening.names.everyone.as_str().into(),
                ..queue::Bind::default()
            };
            self.ask(CONSUME, Request::Bind(queue.name), AMQPClass::Queue(queue::AMQPMethod::Bind(bind)));
        }
    }

    pub(super) fn ask_to_delete_inbox(&mut self) {
        let delete = queue::Delete { queue: self.inbox.as_str().into(), ..queue::Delete::default() };
        self.ask(PUBLISH, Request::DeleteInbox, AMQPClass::Queue(queue::AMQPMethod::Delete(delete)));
    }

    fn look_at_inbox(&mut self) {
        let look = queue::Declare { queue: self.inbox.as_str().into(), passive: true, ..queue::Declare::default() };
        self.ask(CONSUME, Request::Look, AMQPClass::Queue(queue::AMQPMethod::Declare(look)));
    }

    pub(super) fn ask_to_consume(
        &mut self,
        number: u16,
        tag: &'static str,
        queue: &str,
        prefetch: u16,
        arguments: FieldTable,
    ) {
        // It holds for the consumers that are made from now on, each.
        let qos = basic::Qos { prefetch_count: prefetch, global: false };
        self.ask(number, Request::Prefetch, AMQPClass::Basic(basic::AMQPMethod::Qos(qos)));
        let consume =
            basic::Consume { queue: queue.into(), consumer_tag: tag.into(), arguments, ..basic::Consume::default() };
        self.ask(number, Request::Consume(tag), AMQPClass::Basic(basic::AMQPMethod::Consume(consume)));
    }

    /// The broker has answered a request.
    pub(super) fn on_reply(&mut self, request: &Request, reply: &AMQPClass) {
        match (request, reply) {
            (Request::Consume(tag), _) => self.on_consuming(tag),
            (Request::Cancel(tag), _) => self.on_cancel_ok(tag),
            (Request::CloseChannel, _) => self.on_log_closed(),
            (Request::Declare(queue), AMQPClass::Queue(queue::AMQPMethod::DeclareOk(ok))) => {
                if *queue == self.inbox {
                    (self.backlog, self.inbox_consumers) = (ok.message_count, ok.consumer_count);
                } else if *queue == self.opening.names.anyone {
                    self.servers = ok.consumer_count;
                }
            }
            (Request::Look, AMQPClass::Queue(queue::AMQPMethod::DeclareOk(ok))) => {
                (self.backlog, self.inbox_consumers) = (ok.message_count, ok.consumer_count);
            }
            _ => {}
        }
    }

    /// Takes the next step once all that was asked has been answered.
    pub(super) fn go_on_opening(&mut self) {
        if self.asked.iter().any(|asked| !asked.is_empty()) {
            return;
        }
        match self.phase {
            Phase::Declaring { give_up_ms } if self.inbox_consumers == 0 => self.begin_to_consume(give_up_ms),
            Phase::Declaring { give_up_ms } => {
                self.outbox.take_over(&self.inbox, &self.opening.birth, &mut self.writer);
                let wait_ms = u64::try_from(TAKE_OVER_MAX.as_millis()).expect("it is short");
                let until_ms = self.now_ms + wait_ms;
                self.phase = Phase::TakingOver { give_up_ms, until_ms, look_ms: self.now_ms + LOOK_AGAIN_MS };
            }
            Phase::TakingOver { give_up_ms, until_ms, .. } if self.inbox_consumers == 0 || self.now_ms >= until_ms => {
                self.begin_to_consume(give_up_ms);
            }
            Phase::TakingOver { give_up_ms, until_ms, look_ms } if self.now_ms >= look_ms => {
                self.look_at_inbox();
                self.phase = Phase::TakingOver { give_up_ms, until_ms, look_ms: self.now_ms + LOOK_AGAIN_MS };
            }
            Phase::Consuming { .. } => {
                self.phase = Phase::Ready;
                // Before what one consumer may have brought already while the other was still being made.
                self.events.push_front(Event::Ready { backlog: self.backlog, servers: self.servers });
                self.write_frames();
            }
            Phase::Greeting { .. }
            | Phase::Entering { .. }
            | Phase::TakingOver { .. }
            | Phase::Ready
            | Phase::Closing
            | Phase::Over => {}
        }
    }

    fn begin_to_consume(&mut self, give_up_ms: u64) {
        self.phase = Phase::Consuming { give_up_ms };
        let priority = table(&Queue::inbox_consumer(&self.opening.birth));
        let (inbox, combiner) = (self.inbox.clone(), self.opening.names.combiner.clone());
        self.ask_to_consume(CONSUME, INBOX_TAG, &inbox, PREFETCH, priority);
        self.ask_to_consume(CONSUME, COMBINER_TAG, &combiner, PREFETCH, FieldTable::default());
    }
}

/// What the broker shows of a connection to its operators, and what we know of its extensions.
fn about_us(cluster: &str) -> FieldTable {
    let mut capabilities = FieldTable::default();
    for capability in [
        // Otherwise a wrong password is told by an end of the socket.
        "authentication_failure_close",
        "basic.nack",
        "connection.blocked",
        "consumer_cancel_notify",
        "publisher_confirms",
    ] {
        capabilities.insert(capability.into(), AMQPValue::Boolean(true));
    }
    let mut properties = FieldTable::default();
    let word = |word: &str| AMQPValue::LongString(word.into());
    properties.insert("product".into(), word("Dayfly"));
    properties.insert("version".into(), word(env!("CARGO_PKG_VERSION")));
    properties.insert("connection_name".into(), word(&format!("dayfly {cluster}")));
    properties.insert("capabilities".into(), AMQPValue::FieldTable(capabilities));
    properties
}
