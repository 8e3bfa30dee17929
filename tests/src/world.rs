//! A cluster in virtual time: actors (replicas), the broker between them, and what is under way. Time jumps from one
//! event to the next. It is the host of its replicas, and holds each call's effects against the contract of wit/.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, ensure};
use dayfly_conformance::act::Mood;
use dayfly_core::config::{Config, FRAME_SLACK_BYTES};
use dayfly_core::effect::{Effects, Receipt, Verdict};
use dayfly_core::http::{Request, Response};
use dayfly_core::time::Timestamp;

use crate::actor::{Actor, LEASE_MS, Phase};
use crate::broker::{ActorId, Broker, Fate, Message, Queue, kind};
use crate::chance::Chance;
use crate::life::Life;
use crate::trace;

/// The true time at the begin of every scenario: 2026-01-01 00:00 UTC.
const BEGIN: Timestamp = Timestamp(1_767_225_600_000);

/// At most so many frames go into one `receive`.
const BATCH_MAX: usize = 256;

enum Event {
    Arrival(Message),
    Receipt(ActorId, Receipt),
}

/// A cluster, or several that share a broker, in virtual time.
pub struct World {
    /// The true time.
    pub now: Timestamp,
    /// The broker.
    pub broker: Broker,
    /// All lives, dead ones included, in the order of their start.
    pub actors: Vec<Actor>,
    /// Chance of the network, and of the order in which what has no order is done.
    pub chance: Chance,
    /// Whether deliveries take random times.
    jitter: bool,
    events: BTreeMap<(Timestamp, u64), Event>,
    waiting: Vec<Message>,
    events_made: u64,
    turns: usize,
    /// Frames and bytes delivered by label since the last mark.
    pub delivered: BTreeMap<String, (u64, u64)>,
    /// Frames delivered ever, by receiver and sender.
    pub delivered_ever: BTreeMap<(String, String), u64>,
}

impl World {
    /// A world without replicas. Seed 0 delivers everything after one millisecond; others after random times.
    pub fn new(seed: u64) -> Self {
        Self {
            now: BEGIN,
            broker: Broker::default(),
            actors: Vec::new(),
            chance: Chance::new(seed, "world"),
            jitter: seed > 0,
            events: BTreeMap::new(),
            waiting: Vec::new(),
            events_made: 0,
            turns: 0,
            delivered: BTreeMap::new(),
            delivered_ever: BTreeMap::new(),
        }
    }

    /// The time by a clock that is ahead of the true time by so much.
    pub fn clock(&self, ahead_ms: i64) -> Timestamp {
        Timestamp(self.now.0.saturating_add_signed(ahead_ms))
    }

    /// Takes a started instance in; it is frozen until it wakes. Its inbox is declared before its frames are published.
    pub fn enter(&mut self, label: &str, life: Box<dyn Life>, config: Config, inbox_bytes: usize) -> ActorId {
        let name = life.name();
        self.broker.declare(&config.cluster, &name, inbox_bytes, config.retention_ms);
        self.actors.push(Actor::new(label, life, config, inbox_bytes));
        ActorId(self.actors.len() - 1)
    }

    /// The latest life under a label.
    pub fn find(&self, label: &str) -> Result<ActorId> {
        let at = self.actors.iter().rposition(|actor| actor.label == label);
        at.map(ActorId).with_context(|| format!("no replica has been started as {label:?}"))
    }

    /// Makes one call of an instance, and does what it asks for. The time is that of the replica's own clock. Gives the
    /// effects as they were, for those who look at more than the frames.
    pub fn call(
        &mut self,
        id: ActorId,
        call: impl FnOnce(&mut dyn Life, Timestamp) -> Result<Effects>,
    ) -> Result<Effects> {
        let now = self.clock(self.actors[id.0].clock_ms);
        let effects = call(&mut *self.actors[id.0].life, now)?;
        self.absorb(id, &effects)?;
        Ok(effects)
    }

    /// Makes a request of an instance.
    pub fn invoke(&mut self, id: ActorId, request: &Request) -> Result<Response> {
        let now = self.clock(self.actors[id.0].clock_ms);
        let actor = &mut self.actors[id.0];
        let response = actor.life.invoke(now, request)?;
        if let Some(after) = response.after {
            ensure!(!actor.ids.contains(&after), "an answer waits for a frame that was returned before");
            actor.awaited.insert(after);
        }
        self.absorb(id, &response.effects)?;
        Ok(response)
    }

    /// Uses the instance without letting time or effects matter (`save`, `load` before `wake`).
    pub fn with_life<T>(&mut self, id: ActorId, call: impl FnOnce(&mut dyn Life, Timestamp) -> T) -> T {
        let now = self.clock(self.actors[id.0].clock_ms);
        call(&mut *self.actors[id.0].life, now)
    }

    /// Does what a call asked for, and checks what wit/ promises of it.
    pub fn absorb(&mut self, id: ActorId, effects: &Effects) -> Result<()> {
        for frame in &effects.frames {
            let actor = &mut self.actors[id.0];
            ensure!(actor.ids.insert(frame.id), "two frames have the id {}", frame.id.0);
            let most = actor.config.frame_bytes + FRAME_SLACK_BYTES;
            ensure!(frame.body.len() <= most as usize, "a frame of {} bytes, more than {most}", frame.body.len());
            if actor.awaited.remove(&frame.id) {
                actor.unconfirmed.insert(frame.id);
            }
            actor.outstanding.insert(frame.id);
            actor.published.push((kind(&frame.route), frame.body.clone()));
            let (label, cluster) = (actor.label.clone(), actor.config.cluster.clone());
            if trace::is_on() {
                let (at, outline) = (self.now.since_ms(BEGIN), trace::outline(&frame.body, &cluster));
                eprintln!("{at:>8} {label} sends {:?} to {:?}: {outline}", frame.id, frame.route);
            }
            let (messages, verdict) = self.broker.publish(id, &label, &cluster, frame, self.now);
            for message in messages {
                self.send(message, 0);
            }
            if let Some(verdict) = verdict {
                let due = self.now.plus_ms(self.latency_ms());
                self.push(due, Event::Receipt(id, Receipt { id: frame.id, verdict }));
            }
        }
        let actor = &mut self.actors[id.0];
        actor.next_tick = effects.next_tick;
        actor.quiet = effects.quiet;
        ensure!(
            !effects.quiet || (actor.awaited.is_empty() && actor.unconfirmed.is_empty()),
            "{} says that it is quiet while writes are unsettled",
            actor.label
        );
        let serves_now = effects.serve_anyone && !actor.serves_anyone;
        actor.serves_anyone = effects.serve_anyone;
        if effects.started_anew {
            self.requeue(id);
        }
        let taken = &mut self.actors[id.0].taken;
        while taken.pop_front_if(|(number, _)| *number <= effects.done_with).is_some() {}
        if serves_now {
            self.wake_waiting();
        }
        if effects.replay {
            let log = self.broker.log(&self.actors[id.0].config.cluster).to_vec();
            self.call(id, |life, now| life.replay(now, &log, true))?;
        }
        Ok(())
    }

    /// Lets an actor be awake from now on: it receives, ticks and serves.
    pub fn open(&mut self, id: ActorId, lease_ms: Option<u64>) -> Result<Effects> {
        let now = self.now;
        let actor = &mut self.actors[id.0];
        actor.phase = Phase::Awake;
        actor.lease_ms = lease_ms;
        actor.renew = if lease_ms.is_none() { now.plus_ms(LEASE_MS / 2) } else { Timestamp(u64::MAX) };
        self.broker.expire(now);
        let actor = &self.actors[id.0];
        self.broker.declare(&actor.config.cluster, &actor.name, actor.inbox_bytes, actor.config.retention_ms);
        // What waited for a combiner has one.
        self.wake_waiting();
        self.call(id, |life, now| life.wake(now, now.plus_ms(lease_ms.unwrap_or(LEASE_MS))))
    }

    /// Ends what keeps an actor awake: it neither receives nor ticks any more.
    pub fn shut(&mut self, id: ActorId, phase: Phase) {
        let now = self.now;
        let actor = &mut self.actors[id.0];
        actor.phase = phase;
        actor.serves_anyone = false;
        self.broker.abandon(&actor.config.cluster, &actor.name, now);
        self.requeue(id);
    }

    /// What an actor took of the queue `combiner` and is not done with goes to the next one.
    fn requeue(&mut self, id: ActorId) {
        for (_, message) in std::mem::take(&mut self.actors[id.0].taken) {
            self.send(message, 0);
        }
    }

    /// Tells an actor what became of frames.
    pub fn tell(&mut self, id: ActorId, receipts: &[Receipt]) -> Result<()> {
        for receipt in receipts {
            self.actors[id.0].outstanding.remove(&receipt.id);
            self.actors[id.0].unconfirmed.remove(&receipt.id);
            self.actors[id.0].verdicts.insert(receipt.id, receipt.verdict);
        }
        self.call(id, |life, now| life.settle(now, receipts)).map(|_| ())
    }

    /// The connection of an actor has broken: what the broker has not told it of has failed, or may have.
    pub fn fail_outstanding(&mut self, id: ActorId) -> Result<()> {
        self.events.retain(|_, event| !matches!(event, Event::Receipt(whom, _) if *whom == id));
        let failed: Vec<_> = self.actors[id.0].outstanding.iter().copied().collect();
        if failed.is_empty() {
            return Ok(());
        }
        let receipts: Vec<_> = failed.into_iter().map(|id| Receipt { id, verdict: Verdict::Failed }).collect();
        self.tell(id, &receipts)
    }

    /// Changes how the broker treats publishers. When it is fine again, those that it kept waiting get their answer.
    pub fn set_mood(&mut self, mood: Mood) {
        let earlier = std::mem::replace(&mut self.broker.mood, mood);
        if mood != Mood::Fine {
            return;
        }
        let verdict = match earlier {
            Mood::Fine | Mood::Refusing => return,
            Mood::Silent => Verdict::Confirmed,
            Mood::Hanging => Verdict::Failed,
        };
        let told: BTreeSet<_> = (self.events.values())
            .filter_map(|event| if let Event::Receipt(id, receipt) = event { Some((*id, receipt.id)) } else { None })
            .collect();
        for at in 0..self.actors.len() {
            for id in self.actors[at].outstanding.clone() {
                if !told.contains(&(ActorId(at), id)) {
                    self.push(self.now.plus_ms(1), Event::Receipt(ActorId(at), Receipt { id, verdict }));
                }
            }
        }
    }

    /// Puts a message under way.
    pub fn send(&mut self, message: Message, extra_ms: u64) {
        let due = self.now.plus_ms(self.latency_ms() + extra_ms);
        self.push(due, Event::Arrival(message));
    }

    /// Turns round the order of what is under way to an actor's inbox.
    pub fn reorder(&mut self, id: ActorId) {
        let actor = &self.actors[id.0];
        let (cluster, inbox) = (actor.config.cluster.clone(), Queue::Inbox(actor.name.clone()));
        self.broker.reverse(&cluster, &actor.name);
        let bound = |event: &Event| match event {
            Event::Arrival(message) => message.cluster == cluster && message.queue == inbox,
            Event::Receipt(..) => false,
        };
        let keys: Vec<_> = self.events.iter().filter(|(_, event)| bound(event)).map(|(key, _)| *key).collect();
        let mut events: Vec<_> = keys.iter().filter_map(|key| self.events.remove(key)).collect();
        events.reverse();
        self.events.extend(std::iter::zip(keys, events));
    }

    fn latency_ms(&mut self) -> u64 {
        if self.jitter { 1 + self.chance.below(20) } else { 1 }
    }

    fn push(&mut self, due: Timestamp, event: Event) {
        self.events_made += 1;
        self.events.insert((due, self.events_made), event);
    }

    fn wake_waiting(&mut self) {
        for message in std::mem::take(&mut self.waiting) {
            self.send(message, 0);
        }
    }

    /// Who takes a message out of its queue: for an inbox, whoever has that name.
    fn receiver(&mut self, message: &Message) -> Option<ActorId> {
        let here = |actor: &Actor| actor.config.cluster == message.cluster;
        let candidates: Vec<usize> = match &message.queue {
            Queue::Inbox(name) => {
                let last = self.actors.iter().rposition(|actor| here(actor) && actor.name == *name);
                return last.map(ActorId);
            }
            Queue::Anyone => {
                let serves = |at: &usize| {
                    let actor = &self.actors[*at];
                    let awake = actor.phase == Phase::Awake && actor.serves_anyone;
                    here(actor) && awake && self.broker.hears(&message.sender, &actor.label)
                };
                (0..self.actors.len()).filter(serves).collect()
            }
            Queue::Combiner => {
                let first = self.actors.iter().position(|actor| here(actor) && actor.phase == Phase::Awake);
                return first.map(ActorId);
            }
        };
        if candidates.is_empty() {
            return None;
        }
        let turn = if self.jitter {
            usize::try_from(self.chance.below(candidates.len() as u64)).unwrap_or(0)
        } else {
            self.turns += 1;
            self.turns % candidates.len()
        };
        Some(ActorId(candidates[turn]))
    }

    fn arrive(&mut self, message: Message) -> Result<()> {
        if message.expires.is_some_and(|expires| expires < self.now) {
            return Ok(());
        }
        let Some(id) = self.receiver(&message) else {
            if message.queue == Queue::Anyone || message.queue == Queue::Combiner {
                self.waiting.push(message);
            }
            return Ok(());
        };
        let label = self.actors[id.0].label.clone();
        match self.broker.fate(&message, &label) {
            Fate::Arrives => {}
            Fate::Lost => return Ok(()),
            Fate::Twice(later_ms) => self.send(message.clone(), later_ms),
            Fate::Late(late_ms) => {
                self.send(message, late_ms);
                return Ok(());
            }
            Fate::Held => {
                self.broker.hold(message);
                return Ok(());
            }
        }
        match message.queue {
            Queue::Inbox(_) => self.broker.store(message),
            Queue::Anyone | Queue::Combiner => self.receive(id, vec![message])?,
        }
        Ok(())
    }

    fn receive(&mut self, id: ActorId, messages: Vec<Message>) -> Result<()> {
        let label = self.actors[id.0].label.clone();
        let (frames, bytes) = self.delivered.entry(label.clone()).or_default();
        *frames += messages.len() as u64;
        *bytes += messages.iter().map(|message| message.body.len() as u64).sum::<u64>();
        for message in &messages {
            *self.delivered_ever.entry((label.clone(), message.sender.clone())).or_default() += 1;
        }
        if trace::is_on() {
            let at = self.now.since_ms(BEGIN);
            for message in &messages {
                let outline = trace::outline(&message.body, &message.cluster);
                eprintln!("{at:>8} {label} receives of {} by {:?}: {outline}", message.sender, message.route);
            }
        }
        let bodies: Vec<Vec<u8>> = messages.iter().map(|message| message.body.to_vec()).collect();
        let actor = &mut self.actors[id.0];
        for message in messages {
            actor.received += 1;
            if message.queue == Queue::Combiner {
                actor.taken.push_back((actor.received, message));
            }
        }
        self.call(id, |life, now| life.receive(now, &bodies)).map(|_| ())
    }

    /// Hands the inbox of whoever is awake to it, at most so many messages each. Gives whether there was any.
    fn drain(&mut self, most: usize) -> Result<bool> {
        let mut any = false;
        for at in 0..self.actors.len() {
            let actor = &self.actors[at];
            if actor.phase != Phase::Awake {
                continue;
            }
            let messages = self.broker.take(&actor.config.cluster, &actor.name, most, self.now);
            if !messages.is_empty() {
                any = true;
                self.receive(ActorId(at), messages)?;
            }
        }
        Ok(any)
    }

    /// When an actor's next call of its own is due, in true time: a tick, or a prolonged lease.
    fn due(&self, actor: &Actor) -> Option<Timestamp> {
        if actor.phase != Phase::Awake {
            return None;
        }
        let tick = actor.next_tick.map(|tick| {
            let tick = Timestamp(tick.0.saturating_add_signed(-actor.clock_ms)).max(self.now);
            // A tick that asks for another at once gets it a millisecond later: time goes on.
            actor.ticked.map_or(tick, |ticked| tick.max(ticked.plus_ms(1)))
        });
        Some(tick.unwrap_or(actor.renew).min(actor.renew)).filter(|due| *due < Timestamp(u64::MAX))
    }

    /// Does what is next, if it is due until then, and gives whether there was anything. `one_by_one`: a replica takes
    /// one message a call.
    pub fn step(&mut self, until: Timestamp, one_by_one: bool) -> Result<bool> {
        if self.drain(if one_by_one { 1 } else { BATCH_MAX })? {
            return Ok(true);
        }
        let event = self.events.keys().next().map(|(due, _)| *due);
        let calls = self.actors.iter().enumerate();
        let call = calls.filter_map(|(at, actor)| self.due(actor).map(|due| (due, ActorId(at)))).min();
        let Some(next) = event.into_iter().chain(call.map(|(due, _)| due)).min().filter(|next| *next <= until) else {
            return Ok(false);
        };
        self.now = self.now.max(next);
        if event == Some(next) {
            let (_, event) = self.events.pop_first().context("there is an event")?;
            match event {
                Event::Arrival(message) => self.arrive(message)?,
                Event::Receipt(id, receipt) => match self.actors[id.0].phase {
                    Phase::Awake | Phase::Suspending => self.tell(id, &[receipt])?,
                    Phase::Frozen | Phase::Dead => {}
                },
            }
        } else if let Some((_, id)) = call {
            if self.actors[id.0].renew <= self.now {
                self.open(id, None)?;
            } else {
                self.actors[id.0].ticked = Some(self.now);
                self.call(id, |life, now| life.tick(now))?;
            }
        }
        Ok(true)
    }

    /// Lets time pass until then.
    pub fn run_until(&mut self, until: Timestamp) -> Result<()> {
        while self.step(until, false)? {}
        self.now = self.now.max(until);
        Ok(())
    }

    /// Whether nothing is under way and no answer waits for a frame that has not been sent. `quiet`: and whether every
    /// replica that is awake says that it has nothing to do.
    pub fn is_still(&self, quiet: bool) -> bool {
        let mut awake = self.actors.iter().filter(|actor| actor.phase == Phase::Awake);
        let is_still = |actor: &Actor| {
            let waits = self.broker.has_ready(&actor.config.cluster, &actor.name);
            !waits && actor.awaited.is_empty() && (actor.quiet || !quiet)
        };
        self.events.is_empty() && awake.all(is_still)
    }

    /// What keeps the world from being still, for the message of a failure.
    pub fn unrest(&self) -> String {
        let awake = self.actors.iter().filter(|actor| actor.phase == Phase::Awake);
        let told = awake.map(|actor| {
            format!(
                "{}: quiet {}, unsettled {}, awaited but not sent {:?}, next tick in {:?} ms",
                actor.label,
                actor.quiet,
                actor.outstanding.len(),
                actor.awaited,
                actor.next_tick.map(|tick| tick.since_ms(self.clock(actor.clock_ms)))
            )
        });
        let told: Vec<_> = told.collect();
        format!("{} events under way; {}", self.events.len(), told.join("; "))
    }
}
