//! A replica's link: two channels, and what comes over them.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use dayfly_amqp::{
    ANYONE_PREFETCH, Ack, Birth, Ledger, PREFETCH, Queue, Refusal, TAKE_OVER, TAKE_OVER_BODY, TAKE_OVER_MAX,
    TAKE_OVER_TTL_MS,
};
use futures_util::StreamExt;
use lapin::options::{
    BasicAckOptions, BasicCancelOptions, BasicConsumeOptions, BasicNackOptions, BasicPublishOptions,
    ConfirmSelectOptions, QueueDeleteOptions,
};
use lapin::protocol::constants::REPLY_SUCCESS;
use lapin::types::FieldTable;
use lapin::{BasicProperties, Channel, Consumer};
use tokio::time::{Instant, sleep, timeout};

use super::Shared;
use super::outcomes::Outcomes;
use super::pool::Seat;
use super::refusal::{Refused, of_request};
use super::topology::{self, declare_and_bind, declare_shared, look_at, table};
use crate::broker::{
    Attachment, BATCH_BYTES_MAX, BATCH_MESSAGES_MAX, BoxFuture, BrokerError, Delivery, Event, Link, PROBE_MAX, Source,
};
use crate::contract::Frame;
use crate::world::system_now_ms;

/// How long a new link waits for what its inbox held, so that it is there when the replica drains it.
const BACKLOG_MAX: Duration = Duration::from_millis(300);
/// How long the end of a link waits for what was handed over to be sent.
const FLUSH_MAX: Duration = Duration::from_secs(1);
/// Between two looks at whether the earlier one has gone.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

type Pending<T> = Pin<Box<dyn Future<Output = Result<T, lapin::Error>> + Send>>;

/// A replica's link.
pub(super) struct AmqpLink {
    shared: Arc<Shared>,
    queue: String,
    retention_ms: u64,
    backlog: usize,
    /// Orders the links of a name.
    birth: Birth,
    /// None once it is dead.
    wires: Option<Wires>,
    outcomes: Outcomes,
    ledger: Ledger,
    /// Delivered to this link, not yet by it.
    held: VecDeque<(Source, lapin::message::Delivery)>,
    broken: Option<BrokerError>,
    told: bool,
}

struct Wires {
    seat: Seat,
    publish: Channel,
    consume: Channel,
    inbox: Consumer,
    combiner: Consumer,
    anyone: Anyone,
    serves_anyone: bool,
}

/// How far the queue `anyone` is consumed.
enum Anyone {
    Idle,
    Starting(Pending<Consumer>),
    Serving(Consumer),
    Ending(Pending<()>, Consumer),
}

/// Makes a link.
pub(super) async fn open(shared: &Arc<Shared>, seat: Seat, attachment: &Attachment) -> Result<AmqpLink, BrokerError> {
    let (names, config) = (&shared.names, &shared.config);
    let consume = seat.channel().await?;
    if seat.needs_declaring() {
        declare_shared(&consume, names, config).await?;
        seat.note_declared(true);
    }
    let publish = seat.channel().await?;
    let confirms = ConfirmSelectOptions { nowait: false };
    publish.confirm_select(confirms).await.refused(|| "asking for confirms".to_owned())?;

    let random = getrandom::u64().map_err(|error| BrokerError::Refused(format!("no randomness: {error}")))?;
    let birth = Birth { ms: system_now_ms(), random };
    let inbox = Queue::inbox(names, &attachment.name, &config.bounds(), attachment.retention_ms);
    let found = declare_and_bind(&consume, &inbox, names).await.inspect_err(|_| seat.note_declared(false))?;
    let queue = inbox.name;
    let mut messages = found.messages;
    if found.consumers > 0 {
        messages = take_over(&publish, &consume, &queue, &birth).await?;
    }
    let doing = || format!("consuming {queue}");
    topology::prefetch(&consume, PREFETCH).await.refused(doing)?;
    let priority = table(&Queue::inbox_consumer(&birth));
    let options = BasicConsumeOptions::default();
    let inbox = consume.basic_consume(queue.as_str().into(), "".into(), options, priority).await.refused(doing)?;
    let combiner = names.combiner.as_str();
    let combiner = consume
        .basic_consume(combiner.into(), "".into(), options, FieldTable::default())
        .await
        .refused(|| format!("consuming {combiner}"))?;

    let (anyone, serves_anyone) = (Anyone::Idle, false);
    let mut link = AmqpLink {
        shared: Arc::clone(shared),
        queue,
        retention_ms: attachment.retention_ms,
        backlog: messages as usize,
        birth,
        wires: Some(Wires { seat, publish, consume, inbox, combiner, anyone, serves_anyone }),
        outcomes: Outcomes::new(),
        ledger: Ledger::default(),
        held: VecDeque::new(),
        broken: None,
        told: false,
    };
    link.await_backlog().await;
    Ok(link)
}

/// Tells an earlier link of this inbox to go, and waits for it within reason. Returns how many messages wait then.
async fn take_over(publish: &Channel, consume: &Channel, queue: &str, birth: &Birth) -> Result<u32, BrokerError> {
    let doing = || format!("taking over {queue}");
    let properties = BasicProperties::default()
        .with_type(TAKE_OVER.into())
        .with_message_id(birth.to_string().into())
        .with_expiration(TAKE_OVER_TTL_MS.to_string().into());
    let options = BasicPublishOptions::default();
    let sent =
        publish.basic_publish("".into(), queue.into(), options, TAKE_OVER_BODY, properties).await.refused(doing)?;
    sent.await.refused(doing)?;
    let until = Instant::now() + TAKE_OVER_MAX;
    loop {
        let found = look_at(consume, queue).await.refused(doing)?;
        if found.consumers == 0 || Instant::now() >= until {
            return Ok(found.messages);
        }
        sleep(LOOK_AGAIN).await;
    }
}

impl AmqpLink {
    /// Waits for as much of the backlog as the broker sends unasked, within reason.
    async fn await_backlog(&mut self) {
        let awaited = self.backlog.min(PREFETCH.into());
        if awaited == 0 {
            return;
        }
        let arrived = poll_fn(|cx| {
            self.take_in(cx);
            let all = self.held.len() >= awaited || self.wires.is_none();
            if all { Poll::Ready(()) } else { Poll::Pending }
        });
        // Some may be of the kind that is not passed on, or have expired meanwhile: late is not wrong.
        let _ = timeout(BACKLOG_MAX, arrived).await;
    }

    fn break_with(&mut self, error: BrokerError) {
        if self.broken.is_none() {
            self.broken = Some(error);
        }
        // Closes the channels, so what is held goes back at once.
        self.wires = None;
        self.held.clear();
        self.outcomes = Outcomes::new();
    }

    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Event> {
        if self.wires.is_some() {
            match self.outcomes.poll(cx) {
                Ok(receipts) if !receipts.is_empty() => return Poll::Ready(Event::Settled(receipts)),
                Ok(_) => self.take_in(cx),
                Err(error) => self.break_by(&error, "publishing"),
            }
        }
        if let Some(error) = self.broken.clone() {
            let told = std::mem::replace(&mut self.told, true);
            return if told { Poll::Pending } else { Poll::Ready(Event::Broken(error)) };
        }
        if self.held.is_empty() { Poll::Pending } else { Poll::Ready(Event::Delivered(self.batch())) }
    }

    fn break_by(&mut self, error: &lapin::Error, doing: &str) {
        if let Some(wires) = &self.wires {
            // What was there may be gone: the next link declares it again.
            wires.seat.note_declared(false);
        }
        self.break_with(of_request(error, doing));
    }

    /// Takes in what has come over the consuming channel.
    fn take_in(&mut self, cx: &mut Context<'_>) {
        let Some(wires) = &mut self.wires else { return };
        let mut taken_over = false;
        let failed = 'failed: {
            for source in [Source::Inbox, Source::Combiner] {
                let consumer = if source == Source::Inbox { &mut wires.inbox } else { &mut wires.combiner };
                while let Poll::Ready(item) = consumer.poll_next_unpin(cx) {
                    match item {
                        Some(Ok(delivery)) if is_take_over(&delivery) => {
                            let id = delivery.properties.message_id().as_ref().map(|id| id.as_str());
                            taken_over |= self.birth.must_yield_to(id);
                            acknowledge(&wires.consume, self.ledger.answer([delivery.delivery_tag]));
                        }
                        Some(Ok(delivery)) => self.held.push_back((source, delivery)),
                        Some(Err(error)) => break 'failed Some(Err(error)),
                        None => break 'failed Some(Ok(source)),
                    }
                }
            }
            match wires.serve(cx, &self.shared.names.anyone, &mut self.held, &mut self.ledger) {
                Ok(()) => None,
                Err(failed) => Some(failed.map_or(Ok(Source::Anyone), Err)),
            }
        };
        if taken_over {
            return self.break_with(BrokerError::TakenOver);
        }
        match failed {
            None => {}
            Some(Err(error)) => self.break_by(&error, "consuming"),
            Some(Ok(source)) => {
                wires.seat.note_declared(false);
                let queue = match source {
                    Source::Inbox => &self.queue,
                    Source::Anyone => &self.shared.names.anyone,
                    Source::Combiner => &self.shared.names.combiner,
                };
                let error = Refusal::deleted(queue).into();
                self.break_with(error);
            }
        }
    }

    fn batch(&mut self) -> Vec<Delivery> {
        let mut batch = Vec::new();
        let mut bytes = 0;
        while batch.len() < BATCH_MESSAGES_MAX {
            let Some((_, next)) = self.held.front() else { break };
            if !batch.is_empty() && bytes + next.data.len() > BATCH_BYTES_MAX {
                break;
            }
            bytes += next.data.len();
            let Some((source, delivery)) = self.held.pop_front() else { break };
            let (tag, redelivered) = (delivery.delivery_tag, delivery.redelivered);
            batch.push(Delivery { tag, source, body: Bytes::from(delivery.data), redelivered });
        }
        batch
    }

    /// Waits until what was handed over is sent, within reason.
    async fn flush(&mut self) {
        let sent = poll_fn(|cx| match self.outcomes.poll(cx) {
            Ok(_) if !self.outcomes.is_empty() => Poll::Pending,
            Ok(_) | Err(_) => Poll::Ready(()),
        });
        let _ = timeout(FLUSH_MAX, sent).await;
    }
}

impl Wires {
    /// Begins or ends to consume `anyone`, and takes in what it brings. The error is none if the broker ended it.
    fn serve(
        &mut self,
        cx: &mut Context<'_>,
        queue: &str,
        held: &mut VecDeque<(Source, lapin::message::Delivery)>,
        ledger: &mut Ledger,
    ) -> Result<(), Option<lapin::Error>> {
        loop {
            match &mut self.anyone {
                Anyone::Idle if !self.serves_anyone => return Ok(()),
                Anyone::Idle => self.anyone = Anyone::Starting(start(self.consume.clone(), queue.to_owned())),
                Anyone::Starting(starting) => match starting.as_mut().poll(cx) {
                    Poll::Pending => return Ok(()),
                    Poll::Ready(started) => self.anyone = Anyone::Serving(started?),
                },
                Anyone::Serving(consumer) if !self.serves_anyone => {
                    // What has not been passed on goes to others.
                    held.retain(|(source, delivery)| {
                        if *source == Source::Anyone {
                            give_back(&self.consume, ledger, delivery.delivery_tag);
                        }
                        *source != Source::Anyone
                    });
                    let ending = end(self.consume.clone(), consumer.tag());
                    self.anyone = Anyone::Ending(ending, consumer.clone());
                }
                Anyone::Serving(consumer) => match consumer.poll_next_unpin(cx) {
                    Poll::Pending => return Ok(()),
                    Poll::Ready(Some(delivery)) => held.push_back((Source::Anyone, delivery?)),
                    Poll::Ready(None) => return Err(None),
                },
                Anyone::Ending(ending, consumer) => {
                    let ended = match ending.as_mut().poll(cx) {
                        Poll::Pending => false,
                        Poll::Ready(outcome) => outcome.map(|()| true)?,
                    };
                    // The broker sends nothing after it has confirmed the end.
                    while let Poll::Ready(Some(delivery)) = consumer.poll_next_unpin(cx) {
                        give_back(&self.consume, ledger, delivery?.delivery_tag);
                    }
                    if !ended {
                        return Ok(());
                    }
                    self.anyone = Anyone::Idle;
                }
            }
        }
    }
}

fn is_take_over(delivery: &lapin::message::Delivery) -> bool {
    delivery.properties.kind().as_ref().is_some_and(|kind| kind.as_str() == TAKE_OVER)
}

fn start(channel: Channel, queue: String) -> Pending<Consumer> {
    Box::pin(async move {
        topology::prefetch(&channel, ANYONE_PREFETCH).await?;
        let options = BasicConsumeOptions::default();
        channel.basic_consume(queue.into(), "".into(), options, FieldTable::default()).await
    })
}

fn end(channel: Channel, tag: lapin::types::ShortString) -> Pending<()> {
    Box::pin(async move { channel.basic_cancel(tag, BasicCancelOptions::default()).await })
}

/// Sends acknowledgements. If the channel is dead, its consumers tell.
fn acknowledge(channel: &Channel, acks: Vec<Ack>) {
    for ack in acks {
        begin(channel.basic_ack(ack.tag, BasicAckOptions { multiple: ack.multiple }));
    }
}

/// Lets the broker deliver this to another.
fn give_back(channel: &Channel, ledger: &mut Ledger, tag: u64) {
    let _ = ledger.answer([tag]);
    begin(channel.basic_nack(tag, BasicNackOptions { multiple: false, requeue: true }));
}

/// Hands a request without an answer to the connection, which sends it in its own time.
fn begin<T>(request: impl Future<Output = T>) {
    let mut request = std::pin::pin!(request);
    let _ = request.as_mut().poll(&mut Context::from_waker(Waker::noop()));
}

impl Link for AmqpLink {
    fn publish(&mut self, frames: Vec<Frame>) {
        let Some(wires) = &self.wires else { return };
        let logged = self.shared.config.log_bytes > 0;
        for frame in frames {
            self.outcomes.publish(&wires.publish, &self.shared.names, logged, self.retention_ms, frame);
        }
    }

    fn serve_anyone(&mut self, serve: bool) {
        if let Some(wires) = &mut self.wires {
            wires.serves_anyone = serve;
        }
        // Begins it; the next look goes on with it.
        self.take_in(&mut Context::from_waker(Waker::noop()));
    }

    fn next(&mut self) -> BoxFuture<'_, Event> {
        Box::pin(poll_fn(|cx| self.poll_event(cx)))
    }

    fn try_next(&mut self) -> Option<Event> {
        match self.poll_event(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(event) => Some(event),
            Poll::Pending => None,
        }
    }

    fn backlog(&self) -> usize {
        self.backlog
    }

    fn probe(&mut self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            let Some(wires) = &self.wires else { return };
            let (channel, seat) = (wires.consume.clone(), wires.seat.clone());
            match timeout(PROBE_MAX, look_at(&channel, &self.queue)).await {
                Ok(Ok(_)) => {}
                Ok(Err(error)) => self.break_by(&error, "looking at the inbox"),
                Err(_) => {
                    seat.distrust();
                    let limit = PROBE_MAX.as_millis();
                    let reason = format!("{} gave no sign of life within {limit} ms", self.shared.pool.address());
                    self.break_with(BrokerError::Unreachable(reason));
                }
            }
        })
    }

    fn acknowledge(&mut self, tags: &[u64]) {
        if let Some(wires) = &self.wires {
            acknowledge(&wires.consume, self.ledger.answer(tags.iter().copied()));
        }
    }

    fn detach(mut self: Box<Self>) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            self.flush().await;
            if let Some(wires) = self.wires.take() {
                // Either may be closed already, which is as good.
                let _ = wires.consume.close(REPLY_SUCCESS, "detached".into()).await;
                let _ = wires.publish.close(REPLY_SUCCESS, "detached".into()).await;
            }
        })
    }

    fn retire(mut self: Box<Self>) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            self.flush().await;
            if let Some(wires) = self.wires.take() {
                let queue = self.queue.as_str().into();
                // A broker that does not delete it lets it expire.
                let _ = wires.publish.queue_delete(queue, QueueDeleteOptions::default()).await;
                let _ = wires.consume.close(REPLY_SUCCESS, "retired".into()).await;
                let _ = wires.publish.close(REPLY_SUCCESS, "retired".into()).await;
            }
        })
    }
}
