//! Who has to know of what has come.

use amq_protocol::protocol::{AMQPClass, basic, channel, connection};

use super::content::{Message, Whence};
use super::opening::Phase;
use super::reader::{Fault, Incoming};
use super::{CONNECTION, CONSUME, Event, HINTS, LOG, PUBLISH, Session, Verdict, index};

pub(super) const UNASKED: Fault = Fault("a method comes that nobody asked for");

impl Session {
    pub(super) fn on_frame(&mut self, incoming: Incoming) -> Result<(), Fault> {
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
    pub(super) fn doing(&self, number: u16) -> String {
        match self.asked[index(number)].front() {
            Some(request) => request.doing(&self.opening.names, &self.inbox),
            None if number == PUBLISH => "publishing".to_owned(),
            None if number == LOG => format!("reading {}", self.opening.names.log),
            None => "consuming".to_owned(),
        }
    }
}
