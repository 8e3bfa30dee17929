//! What the broker delivers of the inbox, of `combiner` and of `anyone`.

use amq_protocol::protocol::{AMQPClass, basic};
use amq_protocol::types::FieldTable;
use dayfly_amqp::{ANYONE_PREFETCH, Ack, Refusal, Source, TAKE_OVER};

use super::header::Header;
use super::opening::Phase;
use super::reader::Fault;
use super::request::{ANYONE_TAG, COMBINER_TAG, INBOX_TAG, Request, queue_of};
use super::{CONSUME, Delivery, Event, Session};

/// How far the queue `anyone` is consumed, and whether it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Anyone {
    Idle { wanted: bool },
    Starting { wanted: bool },
    Serving,
    Ending { wanted: bool },
}

impl Session {
    pub(super) fn want_anyone(&mut self, serve: bool) {
        match &mut self.anyone {
            Anyone::Idle { wanted } | Anyone::Starting { wanted } | Anyone::Ending { wanted } => *wanted = serve,
            Anyone::Serving if serve => {}
            Anyone::Serving => self.end_anyone(),
        }
    }

    pub(super) fn go_on_with_anyone(&mut self) {
        if matches!(self.anyone, Anyone::Idle { wanted: true }) {
            self.anyone = Anyone::Starting { wanted: true };
            let queue = self.opening.names.anyone.clone();
            self.ask_to_consume(CONSUME, ANYONE_TAG, &queue, ANYONE_PREFETCH, FieldTable::default());
        }
    }

    fn end_anyone(&mut self) {
        self.anyone = Anyone::Ending { wanted: false };
        if !matches!(self.phase, Phase::Ready) {
            return;
        }
        let cancel = basic::Cancel { consumer_tag: ANYONE_TAG.into(), nowait: false };
        self.ask(CONSUME, Request::Cancel(ANYONE_TAG), AMQPClass::Basic(basic::AMQPMethod::Cancel(cancel)));
        // What has not been passed on goes to others.
        let mut tags = Vec::new();
        self.events.retain(|event| match event {
            Event::Delivered(delivery) if delivery.source == Source::Anyone => {
                tags.push(delivery.tag);
                false
            }
            _ => true,
        });
        for tag in tags {
            self.give_back(tag);
        }
    }

    pub(super) fn on_consuming(&mut self, tag: &str) {
        if tag != ANYONE_TAG {
            return;
        }
        match self.anyone {
            Anyone::Starting { wanted: true } => self.anyone = Anyone::Serving,
            Anyone::Starting { wanted: false } => self.end_anyone(),
            Anyone::Idle { .. } | Anyone::Serving | Anyone::Ending { .. } => {}
        }
    }

    pub(super) fn on_cancel_ok(&mut self, tag: &str) {
        if let (ANYONE_TAG, Anyone::Ending { wanted }) = (tag, self.anyone) {
            self.anyone = Anyone::Idle { wanted };
        }
    }

    /// The broker ended a consumer.
    pub(super) fn on_cancelled(&mut self, tag: &str) {
        let expected = match tag {
            INBOX_TAG => self.retiring,
            // We have ended it ourselves, and hear of that too.
            ANYONE_TAG => matches!(self.anyone, Anyone::Ending { .. }),
            _ => false,
        };
        if !expected && !matches!(self.phase, Phase::Closing) {
            let queue = queue_of(tag, &self.opening.names, &self.inbox);
            self.fail(Refusal::deleted(queue));
        }
    }

    pub(super) fn on_delivered(
        &mut self,
        deliver: &basic::Deliver,
        header: Header,
        body: Vec<u8>,
    ) -> Result<(), Fault> {
        let tag = deliver.delivery_tag;
        if tag != self.last_tag + 1 {
            return Err(Fault("deliveries are not numbered one by one"));
        }
        self.last_tag = tag;
        if matches!(self.phase, Phase::Closing) {
            return Ok(());
        }
        let source = match deliver.consumer_tag.as_str() {
            INBOX_TAG => Source::Inbox,
            COMBINER_TAG => Source::Combiner,
            ANYONE_TAG => Source::Anyone,
            _ => return Err(Fault("a delivery is for no consumer")),
        };
        if source == Source::Inbox && header.kind.as_deref() == Some(TAKE_OVER) {
            self.acknowledge(&[tag]);
            if self.opening.birth.must_yield_to(header.id.as_deref()) {
                self.say_goodbye();
                self.end(Event::TakenOver);
            }
            return Ok(());
        }
        // The broker sends nothing after it has confirmed the end.
        if source == Source::Anyone && matches!(self.anyone, Anyone::Ending { .. }) {
            self.give_back(tag);
            return Ok(());
        }
        self.events.push_back(Event::Delivered(Delivery { tag, source, body, redelivered: deliver.redelivered }));
        Ok(())
    }

    pub(super) fn send_ack(&mut self, number: u16, ack: Ack) {
        let ack = basic::Ack { delivery_tag: ack.tag, multiple: ack.multiple };
        self.writer.method(number, AMQPClass::Basic(basic::AMQPMethod::Ack(ack)));
    }

    /// Lets the broker deliver this to another.
    fn give_back(&mut self, tag: u64) {
        // It is answered for by what follows.
        let _ = self.ledger.answer([tag]);
        let nack = basic::Nack { delivery_tag: tag, multiple: false, requeue: true };
        self.writer.method(CONSUME, AMQPClass::Basic(basic::AMQPMethod::Nack(nack)));
    }
}
