//! A turn of a host.

use std::sync::Arc;

use dayfly_engine::broker::{BATCH_BYTES_MAX, BATCH_MESSAGES_MAX};
use dayfly_engine::contract::{Receipt, Verdict};
use dayfly_engine::{CallError, Cause, Lost};

use super::effects::Call;
use super::{Counter, Link, Neighbours, Node, Phase, Waiting, get, world};
use crate::experiment::message::{Answer, Body, Deed, End, Input, Invocation, Output, Source};
use crate::experiment::moment::Moment;
use crate::experiment::trace::digest;

/// The same waits as those of `hosts/engine`: how long a wake waits for the broker, a freeze for what was sent, the
/// first request after a wake for what waited in the inbox, and a client for the broker's confirmation.
const BROKER_WAIT: Moment = Moment(2_000_000);
const SETTLE_MAX: Moment = Moment(2_000_000);
const DRAIN_MAX: Moment = Moment(500_000);
const CONFIRM_MAX: Moment = Moment(10_000_000);
/// A period ends this long before what was announced.
const FREEZE_MARGIN: Moment = Moment(50_000);
/// A component that asks to be called at once, always, gets a tick this often.
const TICK_MIN: Moment = Moment(1_000);

impl Node {
    /// Takes note of what has reached it.
    pub(super) fn absorb(&mut self, input: Input, now: Moment) {
        if self.phase == Phase::Dead {
            return;
        }
        match input {
            Input::Start => self.phase = Phase::Waking(now + BROKER_WAIT),
            Input::Attached { link, backlog } => {
                if self.link == Link::Asked(link) {
                    self.link = Link::Up(link);
                    self.backlog = backlog;
                    self.drain_until = now + DRAIN_MAX;
                }
            }
            // What an earlier link brought went back to its queue.
            Input::Deliver { link, source, body } => {
                if self.link == Link::Up(link) && matches!(self.phase, Phase::Awake(_) | Phase::Waking(_)) {
                    self.arrived.push_back((source, body));
                }
            }
            Input::Settled { link, receipt } => {
                if self.link == Link::Up(link) && self.unsettled.remove(&receipt.id) {
                    self.receipts.push(receipt);
                }
            }
            Input::Log { link, bodies, end } => {
                if self.link == Link::Up(link) && self.is_reading {
                    self.log_pieces.push_back((bodies, end));
                }
            }
            Input::Cut => self.lose_link(),
            Input::Invoke(invocation) => self.requests.push_back(*invocation),
            Input::Watch { write, token } => {
                if self.is_awake() {
                    self.watches.push((write, token));
                    self.watches_stale = true;
                } else {
                    self.put(now, Deed::Gone { write });
                }
            }
            Input::Kill => self.end(now, End::Killed),
        }
    }

    /// When something is due by time alone.
    pub(super) fn due(&self) -> Option<Moment> {
        match self.phase {
            Phase::Unborn | Phase::Dead => None,
            Phase::Frozen => (!self.requests.is_empty()).then_some(Moment::ZERO),
            Phase::Waking(until) => {
                let can_go_on = matches!(self.link, Link::Up(_)) || self.link == Link::Down;
                Some(if can_go_on { Moment::ZERO } else { until })
            }
            Phase::Ending(until) => {
                let is_over = self.unsettled.is_empty() || !matches!(self.link, Link::Up(_));
                Some(if is_over || !self.receipts.is_empty() { Moment::ZERO } else { until })
            }
            Phase::Awake(until) => {
                let pending = !self.receipts.is_empty()
                    || !self.arrived.is_empty()
                    || !self.log_pieces.is_empty()
                    || self.watches_stale
                    || self.anew
                    || self.link == Link::Down
                    || (!self.requests.is_empty() && self.backlog == 0);
                if pending {
                    return Some(Moment::ZERO);
                }
                let drained = (!self.requests.is_empty()).then_some(self.drain_until);
                let tick = self.next_tick;
                let confirm = self.waiting.values().flatten().map(|waiting| waiting.until).min();
                let period = if self.habits.stands {
                    until - Moment(self.habits.awake.0 / 2)
                } else {
                    (until - FREEZE_MARGIN).min(self.quiet_at().unwrap_or(Moment::NEVER))
                };
                [drained, tick, confirm, Some(period)].into_iter().flatten().min()
            }
        }
    }

    /// When it will have been quiet for so long that its period ends.
    fn quiet_at(&self) -> Option<Moment> {
        let quiet = self.habits.quiet?;
        let is_idle = self.quiet
            && self.unsettled.is_empty()
            && self.waiting.is_empty()
            && self.requests.is_empty()
            && !self.wants_replay;
        is_idle.then(|| self.idle_since + quiet)
    }

    /// Makes the calls that there is a reason for.
    pub(super) fn turn(&mut self, now: Moment, counter: &Counter) {
        self.busy_until = now;
        if let Err(lost) = self.try_turn(counter) {
            // How long a call may run in real time decides nothing in a run that is to be repeated.
            let what = if lost.cause == Cause::Overran { "overran" } else { "lost" };
            self.end(self.busy_until, End::Lost(format!("{what}: {lost}")));
        }
    }

    fn try_turn(&mut self, counter: &Counter) -> Result<(), Lost> {
        match self.phase {
            Phase::Unborn | Phase::Dead => Ok(()),
            Phase::Frozen => {
                if !self.requests.is_empty() {
                    self.busy_until = self.busy_until + self.habits.thaw;
                    self.phase = Phase::Waking(self.busy_until + BROKER_WAIT);
                    self.ask_for_link();
                }
                Ok(())
            }
            Phase::Waking(until) => {
                if self.instance.is_none() {
                    self.be_born(counter)?;
                }
                match self.link {
                    Link::Down => self.ask_for_link(),
                    Link::Asked(_) if self.busy_until < until => {}
                    // Without a link, if need be: reads are answered all the same.
                    Link::Asked(_) | Link::Up(_) => {
                        self.wake(counter)?;
                        self.do_awake(counter)?;
                    }
                }
                Ok(())
            }
            Phase::Awake(_) => self.do_awake(counter),
            Phase::Ending(until) => {
                self.settle(counter)?;
                let is_over = self.unsettled.is_empty() || !matches!(self.link, Link::Up(_));
                if is_over || self.busy_until >= until {
                    self.freeze();
                }
                Ok(())
            }
        }
    }

    fn be_born(&mut self, counter: &Counter) -> Result<(), Lost> {
        self.clock.set_ms(self.busy_until.wall_ms());
        let mut instance = self.runtime.instantiate(world(&self.clock, self.seed))?;
        let started = instance
            .start(&self.config)
            .map_err(|error| Lost { cause: Cause::NotStarted, detail: error.to_string() })?;
        self.instance = Some(instance);
        self.trace.number(digest(started.name.as_bytes()));
        self.note(Call::Start, 0);
        self.carry_out(started.effects, counter)?;
        let Some(overlay) = self.overlay.clone() else { return Ok(()) };
        let Neighbours { names, interval_ms } = &*overlay;
        let refused = |error: CallError| match error {
            CallError::Refused(detail) => Lost { cause: Cause::NotStarted, detail },
            CallError::Lost(lost) => lost,
        };
        let effects = self.call(Call::SetNeighbours, names.len() as u64, |instance| {
            instance.set_neighbours(names, *interval_ms).map_err(refused)
        })?;
        self.carry_out(effects, counter)
    }

    fn do_awake(&mut self, counter: &Counter) -> Result<(), Lost> {
        if self.anew {
            self.begin_anew();
            return Ok(());
        }
        if self.link == Link::Down {
            self.ask_for_link();
        }
        if matches!(self.link, Link::Up(_)) && !self.stale.is_empty() {
            let ids = std::mem::take(&mut self.stale).into_iter();
            self.receipts.extend(ids.map(|id| Receipt { id, verdict: Verdict::Failed }));
        }
        if matches!(self.link, Link::Up(_)) && self.unannounced {
            self.wake(counter)?;
        }
        self.settle(counter)?;
        self.receive(counter)?;
        self.replay(counter)?;
        if self.backlog == 0 || self.busy_until >= self.drain_until {
            self.backlog = 0;
            while let Some(invocation) = self.requests.pop_front() {
                self.answer(invocation, counter)?;
            }
        }
        if self.next_tick.is_some_and(|at| at <= self.busy_until) {
            // What the call asks for comes after it.
            self.next_tick = None;
            let effects = self.call(Call::Tick, 0, |instance| instance.tick())?;
            self.carry_out(effects, counter)?;
            self.next_tick = self.next_tick.map(|at| at.max(self.busy_until + TICK_MIN));
        }
        self.give_up_waiting();
        self.look_at_watches(counter)?;
        self.tend_replay();
        self.tend_period(counter)
    }

    /// Renews a lease, or ends a period.
    fn tend_period(&mut self, counter: &Counter) -> Result<(), Lost> {
        let Phase::Awake(until) = self.phase else { return Ok(()) };
        let now = self.busy_until;
        if self.habits.stands {
            if now + Moment(self.habits.awake.0 / 2) >= until {
                self.wake(counter)?;
            }
            return Ok(());
        }
        let is_quiet = self.quiet_at().is_some_and(|at| at <= now);
        if now + FREEZE_MARGIN >= until || is_quiet {
            let effects = self.call(Call::Suspend, 0, |instance| instance.suspend())?;
            self.carry_out(effects, counter)?;
            self.phase = Phase::Ending(self.busy_until + SETTLE_MAX);
            // What came and was not taken in comes again.
            self.arrived.clear();
        }
        Ok(())
    }

    /// Begins or prolongs an awake period.
    fn wake(&mut self, counter: &Counter) -> Result<(), Lost> {
        let is_new = !self.is_awake();
        let until = self.busy_until + self.habits.awake;
        self.periods += u32::from(is_new);
        if is_new {
            self.idle_since = self.busy_until;
        }
        self.unannounced = !matches!(self.link, Link::Up(_));
        let effects = self.call(Call::Wake, until.wall_ms(), |instance| instance.wake(until.wall_ms()))?;
        self.phase = Phase::Awake(until);
        self.carry_out(effects, counter)
    }

    fn settle(&mut self, counter: &Counter) -> Result<(), Lost> {
        if self.receipts.is_empty() {
            return Ok(());
        }
        let receipts = std::mem::take(&mut self.receipts);
        for receipt in &receipts {
            self.trace.number(receipt.id << 2 | receipt.verdict as u64);
        }
        let effects = self.call(Call::Settle, receipts.len() as u64, |instance| instance.settle(&receipts))?;
        for receipt in receipts.iter().filter(|receipt| receipt.verdict == Verdict::Confirmed) {
            for waiting in self.waiting.remove(&receipt.id).into_iter().flatten() {
                self.put(self.busy_until, Deed::Answer(Box::new(waiting.answer)));
            }
        }
        self.carry_out(effects, counter)
    }

    fn receive(&mut self, counter: &Counter) -> Result<(), Lost> {
        while !self.arrived.is_empty() {
            let mut bytes = 0;
            let mut batch: Vec<Arc<Body>> = Vec::new();
            while batch.len() < BATCH_MESSAGES_MAX
                && let Some((source, body)) = self
                    .arrived
                    .pop_front_if(|(_, body)| batch.is_empty() || bytes + body.bytes.len() <= BATCH_BYTES_MAX)
            {
                bytes += body.bytes.len();
                self.trace.number(body.digest);
                self.received += 1;
                match source {
                    Source::Inbox => {
                        self.unacknowledged[0] += 1;
                        self.backlog = self.backlog.saturating_sub(1);
                    }
                    Source::Anyone => self.unacknowledged[1] += 1,
                    Source::Combiner => self.taken.push_back(self.received),
                }
                batch.push(body);
            }
            let bodies: Vec<&[u8]> = batch.iter().map(|body| body.bytes.as_slice()).collect();
            self.spend_on(bytes);
            let effects = self.call(Call::Receive, bodies.len() as u64, |instance| instance.receive(&bodies))?;
            self.watches_stale = !self.watches.is_empty();
            self.carry_out(effects, counter)?;
        }
        Ok(())
    }

    fn replay(&mut self, counter: &Counter) -> Result<(), Lost> {
        while let Some((pieces, end)) = self.log_pieces.pop_front() {
            let bodies: Vec<&[u8]> = pieces.iter().map(|body| body.bytes.as_slice()).collect();
            pieces.iter().for_each(|body| self.trace.number(body.digest));
            self.spend_on(bodies.iter().map(|body| body.len()).sum());
            self.is_reading = !end;
            let effects = self.call(Call::Replay, end.into(), |instance| instance.replay(&bodies, end))?;
            self.watches_stale = !self.watches.is_empty();
            self.carry_out(effects, counter)?;
        }
        Ok(())
    }

    fn answer(&mut self, invocation: Invocation, counter: &Counter) -> Result<(), Lost> {
        let Phase::Awake(until) = self.phase else { return Ok(()) };
        // Each prolongation is announced to everyone, so not every invocation makes one.
        if !self.habits.stands && until < self.busy_until + Moment(self.habits.awake.0 / 2) {
            self.wake(counter)?;
        }
        self.idle_since = self.busy_until;
        let Invocation { id, request, wants_body, follow } = invocation;
        let Some(request) = request else {
            let answer = Answer { id, status: 0, body: Vec::new(), applied: self.busy_until, token: None };
            self.put(self.busy_until, Deed::Answer(Box::new(answer)));
            return Ok(());
        };
        self.trace.number(digest(request.path.as_bytes()) ^ digest(&request.body));
        let mut response = self.call(Call::Invoke, id, |instance| instance.invoke(&request))?;
        let is_token = |(name, _): &&(String, String)| name == "dayfly-context";
        let token = response.headers.iter().find(is_token).filter(|_| follow && response.status < 300);
        let answer = Answer {
            id,
            status: response.status,
            token: token.map(|(_, token)| token.as_str().into()),
            body: if wants_body { std::mem::take(&mut response.body) } else { Vec::new() },
            applied: self.busy_until,
        };
        match response.after {
            Some(frame) => {
                let until = self.busy_until + CONFIRM_MAX;
                self.waiting.entry(frame).or_default().push(Waiting { until, answer });
            }
            None => self.put(self.busy_until, Deed::Answer(Box::new(answer))),
        }
        self.carry_out(response.effects, counter)
    }

    fn give_up_waiting(&mut self) {
        let now = self.busy_until;
        for waiting in self.waiting.values_mut() {
            for late in waiting.extract_if(.., |waiting| waiting.until <= now) {
                let answer = Answer { status: 503, ..late.answer };
                self.outputs.push(Output { at: now, what: Deed::Answer(Box::new(answer)) });
            }
        }
        self.waiting.retain(|_, waiting| !waiting.is_empty());
    }

    /// Looks who of those that are followed has been seen: whoever would answer a reader that has seen it.
    fn look_at_watches(&mut self, counter: &Counter) -> Result<(), Lost> {
        if !std::mem::take(&mut self.watches_stale) {
            return Ok(());
        }
        for (write, token) in std::mem::take(&mut self.watches) {
            let mut request = get("/v1/data/gset/-");
            request.headers.push(("dayfly-after".to_owned(), token.to_string()));
            // An observer's look takes no time.
            let before = self.busy_until;
            let response = self.call(Call::Invoke, write, |instance| instance.invoke(&request))?;
            self.busy_until = before;
            if response.status == 503 {
                self.watches.push((write, token));
            } else {
                self.put(self.busy_until, Deed::Seen { write });
            }
            self.carry_out(response.effects, counter)?;
        }
        Ok(())
    }

    fn tend_replay(&mut self) {
        if let Link::Up(link) = self.link
            && self.wants_replay
            && !self.is_reading
        {
            self.is_reading = true;
            self.put(self.busy_until, Deed::ReadLog { link });
        }
    }
}
