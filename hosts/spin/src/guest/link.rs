//! The one connection of an instance to the broker.

use std::rc::Rc;

use dayfly_amqp::{Birth, Bounds, Refusal};
use spin_sdk::wit_bindgen::{StreamResult, StreamWriter, spawn};

use super::bindings::dayfly::replica::lifecycle;
use super::bindings::dayfly::replica::outbox::Verdict;
use super::clock::{now_ms, pause, random, within};
use super::host::{Host, State};
use super::life::tell;
use super::socket::{self, Reader};
use crate::session::{self, Event, Opening, Session};

/// How long an attempt to connect may take, in milliseconds, and how long the handshake after it.
const CONNECT_MS: u64 = 2_000;
/// Between two attempts to reach a broker that is away, at first and at most, in milliseconds.
const RETRY_MS: (u64, u64) = (100, 5_000);
/// How much is read at once.
const READ_BYTES: usize = 64 << 10;
/// For how long an inbox is kept without an instance, in milliseconds. Spin's instances are dropped and not frozen, so it
/// outlasts a broken connection, and what was missed for longer is repaired.
const INBOX_MS: u64 = 60_000;
/// How often each side shows that it lives, in seconds.
const HEARTBEAT_S: u16 = 20;
/// How many messages the component takes in at once.
const BATCH_MAX: usize = 256;

/// A connection to the broker.
pub struct Link {
    number: u64,
    pub session: Session,
    /// None while a task writes.
    writer: Option<StreamWriter<u8>>,
    pub is_ready: bool,
    /// How many replicas served the queue `anyone` when it was made.
    pub servers: u32,
}

impl Host {
    /// Connects, unless there is a link, or another task is about to make one: then that is waited for.
    pub async fn reach_broker(self: &Rc<Self>) -> Result<(), Refusal> {
        if self.state.borrow().is_connecting {
            self.until(|state| !state.is_connecting).await;
        }
        if self.state.borrow().link.as_ref().is_some_and(|link| link.is_ready) {
            return Ok(());
        }
        let connecting = Connecting::new(self);
        let connected = self.connect().await;
        drop(connecting);
        {
            let mut state = self.state.borrow_mut();
            match &connected {
                Ok(()) => (state.retry_at_ms, state.retry_pause_ms) = (0, RETRY_MS.0),
                Err(trouble) => {
                    state.forget_link();
                    // By chance, so that not all instances come back at once.
                    let pause_ms = state.retry_pause_ms.clamp(RETRY_MS.0, RETRY_MS.1);
                    state.retry_at_ms = now_ms() + pause_ms / 2 + random() % (pause_ms / 2);
                    state.retry_pause_ms = pause_ms * 2;
                    tell(&trouble.to_string());
                }
            }
        }
        if connected.is_ok() {
            self.flush().await;
        }
        connected
    }

    async fn connect(self: &Rc<Self>) -> Result<(), Refusal> {
        let replica = self.replica();
        let (address, settings) = (&replica.address, &replica.settings);
        let Some(connected) = within(CONNECT_MS, socket::connect(address)).await else {
            return Err(Refusal::too_slow(&address.to_string(), CONNECT_MS.into()));
        };
        let (reader, writer) = connected?;
        let opening = Opening {
            address: address.clone(),
            names: replica.names.clone(),
            bounds: Bounds { inbox_bytes: settings.inbox_bytes, log_bytes: settings.log_bytes, ..Bounds::default() },
            name: replica.name.clone(),
            inbox_expires_ms: settings.retention_ms.min(INBOX_MS),
            retention_ms: settings.retention_ms,
            heartbeat_s: HEARTBEAT_S,
            connect_ms: CONNECT_MS,
            birth: Birth { ms: now_ms(), random: random() },
        };
        let number = {
            let mut state = self.state.borrow_mut();
            state.links += 1;
            let number = state.links;
            let session = Session::new(opening, now_ms());
            // What was under way over the former link, or had none, may or may not have arrived.
            let former = std::mem::take(&mut state.unsettled);
            state.stale.extend(former);
            state.link = Some(Link { number, session, writer: Some(writer), is_ready: false, servers: 0 });
            number
        };
        spawn(read(Reading { host: Rc::clone(self), number }, reader));
        self.flush().await;
        loop {
            {
                let mut state = self.state.borrow_mut();
                match state.link.as_mut().filter(|link| link.number == number) {
                    Some(link) if link.is_ready => break,
                    Some(link) => link.session.tick(now_ms()),
                    None => {
                        let closed = || Refusal::Unreachable("the broker closed the connection".to_owned());
                        return Err(state.trouble.clone().unwrap_or_else(closed));
                    }
                }
            }
            self.hear();
            self.flush().await;
            pause(1).await;
        }
        let stale = std::mem::take(&mut self.state.borrow_mut().stale);
        self.settle(&stale.into_iter().map(|id| (id, Verdict::Failed)).collect::<Vec<_>>());
        let unannounced = {
            let mut state = self.state.borrow_mut();
            let is_unannounced = std::mem::take(&mut state.is_unannounced);
            state.awake_until_ms.filter(|_| is_unannounced)
        };
        if let Some(until_ms) = unannounced {
            self.carry_out(lifecycle::wake(until_ms));
        }
        Ok(())
    }

    /// Writes what the session has for the broker. If another task writes, that one writes all.
    pub async fn flush(&self) {
        loop {
            let (number, writer, bytes) = {
                let mut state = self.state.borrow_mut();
                let Some(link) = &mut state.link else { return };
                if link.writer.is_none() {
                    return;
                }
                let bytes = link.session.outgoing();
                if bytes.is_empty() {
                    return;
                }
                (link.number, link.writer.take(), bytes)
            };
            let mut writing = Writing { host: self, number, writer };
            let rest = writing.writer.as_mut().expect("it was there").write_all(bytes).await;
            if !rest.is_empty() {
                // The reading half tells why.
                return;
            }
            writing.give_back();
        }
    }

    /// Gives the link up: what came over it and is not acknowledged comes again.
    pub fn drop_link(&self) {
        let mut state = self.state.borrow_mut();
        state.forget_link();
    }

    /// Hands on what has come over the link. What comes before the component has been started waits.
    pub fn hear(&self) {
        let number = self.state.borrow().links;
        loop {
            let mut deliveries = Vec::new();
            let mut other = None;
            {
                let mut state = self.state.borrow_mut();
                let has_begun = state.has_begun;
                let Some(link) = state.link.as_mut().filter(|link| link.number == number) else { return };
                if link.is_ready && !has_begun {
                    return;
                }
                while deliveries.len() < BATCH_MAX && other.is_none() {
                    match link.session.next_event() {
                        Some(Event::Delivered(delivery)) => deliveries.push(delivery),
                        Some(event) => other = Some(event),
                        None => break,
                    }
                }
            }
            if deliveries.is_empty() && other.is_none() {
                return;
            }
            self.receive(deliveries);
            let ended = match other {
                None | Some(Event::Delivered(_)) => None,
                Some(Event::Ready { servers, .. }) => {
                    let mut state = self.state.borrow_mut();
                    let serves = state.is_complete;
                    if let Some(link) = &mut state.link {
                        (link.is_ready, link.servers) = (true, servers);
                        link.session.serve_anyone(serves);
                    }
                    state.tend_log();
                    None
                }
                Some(Event::Settled(receipts)) => {
                    self.settle(&receipts.into_iter().map(|(id, verdict)| (id, verdict.into())).collect::<Vec<_>>());
                    None
                }
                Some(Event::LogBatch(bodies)) => {
                    self.replay(&bodies, false);
                    None
                }
                Some(Event::LogEnd) => {
                    self.replay(&[], true);
                    None
                }
                Some(Event::Closed) => Some(None),
                Some(Event::Broken(text)) => Some(Some(Refusal::Unreachable(text))),
                Some(Event::Refused(text)) => Some(Some(Refusal::Refused(text))),
                Some(Event::TakenOver) => {
                    Some(Some(Refusal::Refused("another replica of the same name took the inbox".to_owned())))
                }
            };
            if let Some(trouble) = ended {
                let mut state = self.state.borrow_mut();
                state.forget_link();
                state.trouble = trouble;
                return;
            }
        }
    }
}

impl From<session::Verdict> for Verdict {
    fn from(verdict: session::Verdict) -> Self {
        match verdict {
            session::Verdict::Confirmed => Self::Confirmed,
            session::Verdict::Unroutable => Self::Unroutable,
            session::Verdict::Failed => Self::Failed,
        }
    }
}

impl State {
    fn forget_link(&mut self) {
        self.link = None;
        self.combining.clear();
        self.is_reading_log = false;
    }

    /// Begins to read the log if the component asks for it.
    pub fn tend_log(&mut self) {
        if !self.wants_log {
            self.is_reading_log = false;
        } else if !self.is_reading_log
            && let Some(link) = self.link.as_mut().filter(|link| link.is_ready)
        {
            self.is_reading_log = true;
            link.session.read_log(random());
        }
    }
}

/// A task makes a link.
struct Connecting(Rc<Host>);

impl Connecting {
    fn new(host: &Rc<Host>) -> Self {
        let mut state = host.state.borrow_mut();
        state.is_connecting = true;
        state.trouble = None;
        drop(state);
        Self(Rc::clone(host))
    }
}

impl Drop for Connecting {
    fn drop(&mut self) {
        self.0.state.borrow_mut().is_connecting = false;
    }
}

/// A task has the writer of a link. If it is cancelled, an AMQP frame may have been cut, so the link is lost.
struct Writing<'a> {
    host: &'a Host,
    number: u64,
    writer: Option<StreamWriter<u8>>,
}

impl Writing<'_> {
    fn give_back(mut self) {
        let mut state = self.host.state.borrow_mut();
        if let Some(link) = state.link.as_mut().filter(|link| link.number == self.number) {
            link.writer = self.writer.take();
        }
        // Of a link that is gone it may go as well.
        self.writer = None;
    }
}

impl Drop for Writing<'_> {
    fn drop(&mut self) {
        if self.writer.is_some() {
            let mut state = self.host.state.borrow_mut();
            if state.link.as_ref().is_some_and(|link| link.number == self.number) {
                state.forget_link();
            }
        }
    }
}

/// A task reads what comes over a link. Without it the link is of no use.
struct Reading {
    host: Rc<Host>,
    number: u64,
}

impl Reading {
    fn is_of_present_link(&self) -> bool {
        self.host.state.borrow().link.as_ref().is_some_and(|link| link.number == self.number)
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        if self.is_of_present_link() {
            self.host.state.borrow_mut().forget_link();
        }
    }
}

async fn read(reading: Reading, mut reader: Reader) {
    // Until the link is another, or none: also a broker that does not close the socket is not read from then.
    while reading.is_of_present_link() {
        let (read, bytes) = reader.bytes.read(Vec::with_capacity(READ_BYTES)).await;
        {
            let mut state = reading.host.state.borrow_mut();
            let Some(link) = state.link.as_mut().filter(|link| link.number == reading.number) else { return };
            match read {
                StreamResult::Complete(_) => link.session.take_in(&bytes, now_ms()),
                StreamResult::Dropped | StreamResult::Cancelled => link.session.socket_ended("the socket was closed"),
            }
        }
        reading.host.hear();
        reading.host.flush().await;
    }
}
