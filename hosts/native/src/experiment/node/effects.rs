//! How a host calls the component, and carries out what the component asks for.

use std::sync::Arc;

use dayfly_engine::contract::Effects;
use dayfly_engine::{Cause, Instance, Lost};

use super::{Counter, Link, Node};
use crate::experiment::message::{Body, Deed, Output};
use crate::experiment::moment::Moment;
use crate::experiment::trace::digest;

/// What calls are, in traces.
#[derive(Clone, Copy)]
pub(super) enum Call {
    Start = 1,
    Wake,
    Tick,
    Suspend,
    Receive,
    Settle,
    Invoke,
    Replay,
    SetNeighbours,
}

impl Node {
    pub(super) fn call<T>(
        &mut self,
        call: Call,
        argument: u64,
        with: impl FnOnce(&mut Instance) -> Result<T, Lost>,
    ) -> Result<T, Lost> {
        self.clock.set_ms(self.busy_until.wall_ms());
        self.note(call, argument);
        let instance = self.instance.as_mut().expect("only what is born and not dead has turns");
        let outcome = with(instance);
        self.busy_until = self.busy_until + self.habits.call;
        outcome
    }

    pub(super) fn note(&mut self, call: Call, argument: u64) {
        self.calls += 1;
        self.trace.number(self.busy_until.0);
        self.trace.number((call as u64) << 56 ^ argument);
    }

    /// What so many bytes of frames take.
    pub(super) fn spend_on(&mut self, bytes: usize) {
        self.busy_until = self.busy_until + Moment(bytes as u64 * self.habits.kib_us / 1_024);
    }

    pub(super) fn carry_out(&mut self, effects: Effects, counter: &Counter) -> Result<(), Lost> {
        self.next_tick = effects.next_tick.map(Moment::of_wall_ms);
        self.quiet = effects.quiet;
        self.wants_replay = effects.replay;
        if effects.started_anew {
            self.anew = true;
            self.taken.clear();
        }
        while self.taken.front().is_some_and(|number| *number <= effects.done_with) {
            self.taken.pop_front();
            self.unacknowledged[2] += 1;
        }
        self.acknowledge();
        let is_up = matches!(self.link, Link::Up(_));
        if is_up && effects.serve_anyone != self.serves_anyone {
            self.serves_anyone = effects.serve_anyone;
            self.put(self.busy_until, Deed::Serve(effects.serve_anyone));
        }
        if is_up && effects.serve_anyone && !self.has_been_complete {
            self.has_been_complete = true;
            self.put(self.busy_until, Deed::Complete { periods: self.periods });
        }
        self.spend_on(effects.frames.iter().map(|frame| frame.body.len()).sum());
        for frame in effects.frames {
            let elements = match self.habits.counts_elements {
                true => counter.count(&frame.body).map_err(|detail| Lost { cause: Cause::NotStarted, detail })?,
                false => 0,
            };
            let body = Arc::new(Body { digest: digest(&frame.body), elements, bytes: frame.body });
            self.trace.number(body.digest);
            let Link::Up(link) = self.link else {
                self.stale.insert(frame.id);
                continue;
            };
            self.unsettled.insert(frame.id);
            let (id, route, ttl_ms) = (frame.id, frame.route, frame.ttl_ms);
            self.put(self.busy_until, Deed::Publish { link, id, route, body, ttl_ms });
        }
        Ok(())
    }

    /// Acknowledges what may be.
    pub(super) fn acknowledge(&mut self) {
        let [inbox, anyone, combiner] = std::mem::take(&mut self.unacknowledged);
        if inbox + anyone + combiner > 0 {
            self.put(self.busy_until, Deed::Acknowledge { inbox, anyone, combiner });
        }
    }

    pub(super) fn put(&mut self, at: Moment, what: Deed) {
        self.outputs.push(Output { at, what });
    }
}
