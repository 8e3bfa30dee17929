//! Publishing, and what became of it.

use std::collections::{BTreeSet, VecDeque};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use dayfly_amqp::{Names, Publication};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use lapin::message::BasicReturnMessage;
use lapin::options::BasicPublishOptions;
use lapin::{BasicProperties, Channel, Confirmation};

use crate::contract::{Frame, FrameId, Receipt, Route, Verdict};

/// The frames of a link that are under way, in the order in which they were published.
///
/// Outcomes are told in that order too, because of how returned messages are found. The broker returns a message before
/// it confirms it, and lapin hands a returned message to *whichever* confirmation comes next. So each that may be
/// returned carries its number. When a frame and all before it are confirmed, what was returned of them has been handed
/// to some confirmation that was resolved by then; all of those have been looked at before a frame is settled.
pub(super) struct Outcomes {
    /// The number of the oldest frame in `frames`; numbers are given one by one.
    first: u64,
    frames: VecDeque<(FrameId, Option<Verdict>)>,
    pending: FuturesUnordered<Pin<Box<dyn Future<Output = Outcome> + Send>>>,
    /// Numbers of frames that came back and are not settled.
    returned: BTreeSet<u64>,
}

struct Outcome {
    number: u64,
    result: Result<Confirmation, lapin::Error>,
}

impl Outcomes {
    pub(super) fn new() -> Self {
        Self { first: 0, frames: VecDeque::new(), pending: FuturesUnordered::new(), returned: BTreeSet::new() }
    }

    /// Hands a frame to the connection, which sends it in its own time.
    pub(super) fn publish(&mut self, channel: &Channel, names: &Names, logged: bool, retention_ms: u64, frame: Frame) {
        let number = self.first + self.frames.len() as u64;
        let route = match &frame.route {
            Route::Everyone => dayfly_amqp::Route::Everyone,
            Route::One(name) => dayfly_amqp::Route::One(name),
            Route::Anyone => dayfly_amqp::Route::Anyone,
            Route::Combiner => dayfly_amqp::Route::Combiner,
            Route::Log => dayfly_amqp::Route::Log,
        };
        let Some(publication) = Publication::new(route, frame.ttl_ms, names, logged, retention_ms) else {
            self.frames.push_back((frame.id, Some(Verdict::Unroutable)));
            return;
        };
        self.frames.push_back((frame.id, None));
        let mut properties = BasicProperties::default()
            .with_delivery_mode(publication.delivery_mode())
            .with_expiration(publication.expiration_ms.to_string().into());
        let Publication { exchange, key, mandatory, .. } = publication;
        if mandatory {
            properties = properties.with_message_id(number.to_string().into());
        }
        let channel = channel.clone();
        let mut sending: Pin<Box<dyn Future<Output = Outcome> + Send>> = Box::pin(async move {
            let options = BasicPublishOptions { mandatory, immediate: false };
            let published = channel.basic_publish(exchange.into(), key.into(), options, &frame.body, properties).await;
            let result = match published {
                Ok(confirm) => confirm.await,
                Err(error) => Err(error),
            };
            Outcome { number, result }
        });
        // The first look puts it into the connection's queue: here, so that the order is that of the calls.
        match sending.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Pending => self.pending.push(sending),
            Poll::Ready(outcome) => self.pending.push(Box::pin(std::future::ready(outcome))),
        }
    }

    /// Whether nothing is under way.
    pub(super) fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// Outcomes that have come, in order; or why the channel is dead.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Result<Vec<Receipt>, lapin::Error> {
        while let Poll::Ready(Some(outcome)) = self.pending.poll_next_unpin(cx) {
            let (verdict, returned) = match outcome.result? {
                Confirmation::Ack(returned) => (Verdict::Confirmed, returned),
                Confirmation::Nack(returned) => (Verdict::Failed, returned),
                Confirmation::NotRequested => unreachable!("the channel confirms"),
            };
            self.returned.extend(returned.as_ref().and_then(number_of));
            let index = usize::try_from(outcome.number - self.first).expect("a frame under way is in the list");
            self.frames[index].1 = Some(verdict);
        }
        let mut receipts = Vec::new();
        while let Some((id, Some(verdict))) = self.frames.front().copied() {
            self.frames.pop_front();
            let verdict = if self.returned.remove(&self.first) { Verdict::Unroutable } else { verdict };
            self.first += 1;
            receipts.push(Receipt { id, verdict });
        }
        Ok(receipts)
    }
}

fn number_of(returned: &BasicReturnMessage) -> Option<u64> {
    returned.delivery.properties.message_id().as_ref()?.as_str().parse().ok()
}
