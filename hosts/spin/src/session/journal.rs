//! Reading the log: a stream, from its first message to a mark that is put at its end when it is opened.

use amq_protocol::protocol::basic::{self, AMQPProperties};
use amq_protocol::protocol::{AMQPClass, channel};
use dayfly_amqp::{Ack, LOG_MARK, LOG_MARK_BODY, LOG_PREFETCH, LOG_START, LogMark, Logged, Refusal};

use super::header::Header;
use super::opening::Phase;
use super::request::{LOG_TAG, Request};
use super::writer::table;
use super::{Event, LOG, LOG_BATCH_BYTES_MAX, LOG_BATCH_MESSAGES_MAX, SUCCESS, Session, Verdict};

/// How far the log is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Journal {
    Closed,
    /// The mark is under way.
    Marking(LogMark),
    /// `upto` is the last message that came.
    Reading {
        mark: LogMark,
        upto: u64,
    },
    /// The end was found, and the channel is being closed; with the mark of who wants to read once more.
    Closing {
        next: Option<LogMark>,
    },
}

impl Session {
    pub(super) fn open_log(&mut self, random: u64) {
        if self.opening.bounds.log_bytes == 0 {
            self.events.push_back(Event::LogEnd);
            return;
        }
        let mark = LogMark { random };
        match &mut self.journal {
            Journal::Closed => self.put_mark(mark),
            Journal::Closing { next } => *next = Some(mark),
            Journal::Marking(_) | Journal::Reading { .. } => {}
        }
    }

    fn put_mark(&mut self, mark: LogMark) {
        self.journal = Journal::Marking(mark);
        self.ask_for_channel(LOG);
        self.ask_for_confirms(LOG);
        let properties = AMQPProperties::default().with_type(LOG_MARK.into()).with_message_id(mark.to_string().into());
        let routing_key = self.opening.names.log.as_str().into();
        let publish = basic::Publish { routing_key, mandatory: true, ..basic::Publish::default() };
        self.writer.message(LOG, publish, properties, LOG_MARK_BODY);
    }

    pub(super) fn on_mark_confirmed(&mut self, verdict: Verdict) {
        match (self.journal, verdict) {
            (Journal::Marking(mark), Verdict::Confirmed) => {
                self.journal = Journal::Reading { mark, upto: 0 };
                let log = self.opening.names.log.clone();
                self.ask_to_consume(LOG, LOG_TAG, &log, LOG_PREFETCH, table(&LOG_START));
            }
            (Journal::Marking(_), Verdict::Failed | Verdict::Unroutable) => self.on_mark_returned(),
            (Journal::Closed | Journal::Reading { .. } | Journal::Closing { .. }, _) => {}
        }
    }

    /// The log was declared, and is gone.
    pub(super) fn on_mark_returned(&mut self) {
        let reason = format!("the log {} does not take its mark", self.opening.names.log);
        self.fail(Refusal::Unreachable(reason));
    }

    pub(super) fn on_logged(&mut self, tag: u64, header: &Header, body: Vec<u8>) {
        // What comes in while the channel is closed has been asked for in vain.
        let Journal::Reading { mark, .. } = self.journal else { return };
        if matches!(self.phase, Phase::Closing) {
            return;
        }
        self.journal = Journal::Reading { mark, upto: tag };
        match mark.tell(header.kind.as_deref(), header.id.as_deref()) {
            Logged::Message => self.add_logged(body),
            Logged::ForeignMark => {
                // Nothing is passed on by which it would be acknowledged.
                if !self.events.iter().any(|event| matches!(event, Event::LogBatch(_))) {
                    self.acknowledge_log();
                }
            }
            Logged::OwnMark => {
                self.events.push_back(Event::LogEnd);
                self.journal = Journal::Closing { next: None };
                let close =
                    channel::Close { reply_code: SUCCESS, reply_text: "read".into(), class_id: 0, method_id: 0 };
                let class = AMQPClass::Channel(channel::AMQPMethod::Close(close));
                self.ask(LOG, Request::CloseChannel, class);
            }
        }
    }

    fn add_logged(&mut self, body: Vec<u8>) {
        let last = self.events.iter_mut().rev().find_map(|event| match event {
            Event::LogBatch(batch) => Some(batch),
            _ => None,
        });
        if let Some(batch) = last
            && batch.len() < LOG_BATCH_MESSAGES_MAX
            && batch.iter().map(Vec::len).sum::<usize>() + body.len() <= LOG_BATCH_BYTES_MAX
        {
            batch.push(body);
        } else {
            self.events.push_back(Event::LogBatch(vec![body]));
        }
    }

    /// Gives the broker leave to send more, once what it sent has been taken; the stream keeps all.
    pub(super) fn acknowledge_log(&mut self) {
        let Journal::Reading { upto, .. } = self.journal else { return };
        if upto > 0 && !self.events.iter().any(|event| matches!(event, Event::LogBatch(_))) {
            self.send_ack(LOG, Ack { tag: upto, multiple: true });
        }
    }

    pub(super) fn on_log_closed(&mut self) {
        if let Journal::Closing { next } = std::mem::replace(&mut self.journal, Journal::Closed)
            && let Some(mark) = next
        {
            self.put_mark(mark);
        }
    }
}
