//! Calls of the component, and what they ask for.

use dayfly_amqp::{Route, Source};

use super::bindings::dayfly::replica::outbox::{Receipt, Verdict};
use super::bindings::dayfly::replica::types::{self, Effects};
use super::bindings::dayfly::replica::{checkpoint, inbox, lifecycle, outbox};
use super::clock::now_ms;
use super::host::Host;
use crate::session;

/// No wait for a tick is longer, in milliseconds.
const TICK_MAX_MS: u64 = 50;

/// The effects of nothing.
pub fn nothing() -> Effects {
    Effects {
        frames: Vec::new(),
        next_tick: None,
        serve_anyone: false,
        quiet: false,
        started_anew: false,
        replay: false,
        done_with: 0,
    }
}

impl Host {
    /// Carries out what a call asked for, but for writing to the socket.
    pub fn carry_out(&self, effects: Effects) {
        let now_ms = now_ms();
        let mut guard = self.state.borrow_mut();
        let state = &mut *guard;
        state.next_tick_ms = effects.next_tick;
        if effects.started_anew {
            state.is_anew = true;
            // What its former life took in was not passed on, and goes back with the link.
            state.combining.clear();
        }
        let was_complete = std::mem::replace(&mut state.is_complete, effects.serve_anyone);
        if effects.serve_anyone
            && let Some(replica) = &state.replica
        {
            state.filled_ms.get_or_insert_with(|| now_ms.saturating_sub(replica.started_ms));
        }
        state.wants_log = effects.replay;
        let done = state.combining.done_with(effects.done_with);
        for frame in &effects.frames {
            state.unsettled.insert(frame.id);
            state.writes.note_frame(frame.id, &frame.body);
        }
        // Without a link the frames stay unsettled, and are failed when there is one again.
        let Some(link) = &mut state.link else { return };
        if effects.serve_anyone != was_complete {
            link.session.serve_anyone(effects.serve_anyone);
        }
        for frame in effects.frames {
            let route = match &frame.route {
                types::Route::Everyone => Route::Everyone,
                types::Route::One(name) => Route::One(name),
                types::Route::Anyone => Route::Anyone,
                types::Route::Combiner => Route::Combiner,
                types::Route::Log => Route::Log,
            };
            link.session.publish(session::Frame { id: frame.id, route, body: frame.body, ttl_ms: frame.ttl_ms });
        }
        if !done.is_empty() {
            link.session.acknowledge(&done);
        }
        state.tend_log();
    }

    /// In how many milliseconds the component is to be called.
    pub fn until_tick_ms(&self) -> u64 {
        let at_ms = self.state.borrow().next_tick_ms;
        at_ms.map_or(TICK_MAX_MS, |at_ms| at_ms.saturating_sub(now_ms())).min(TICK_MAX_MS)
    }

    /// Calls the component if it asked for it.
    pub fn tick_if_due(&self) {
        let due = self.state.borrow_mut().next_tick_ms.take_if(|at_ms| *at_ms <= now_ms());
        if due.is_some() {
            self.carry_out(lifecycle::tick());
        }
    }

    /// The broker has told what became of frames.
    pub fn settle(&self, receipts: &[(u64, Verdict)]) {
        if receipts.is_empty() {
            return;
        }
        let mut state = self.state.borrow_mut();
        for (id, verdict) in receipts {
            state.unsettled.remove(id);
            state.writes.note_verdict(*id, *verdict);
        }
        drop(state);
        let receipts: Vec<Receipt> =
            receipts.iter().map(|(id, verdict)| Receipt { id: *id, verdict: *verdict }).collect();
        self.carry_out(outbox::settle(&receipts));
    }

    /// Takes in messages.
    pub fn receive(&self, deliveries: Vec<session::Delivery>) {
        if deliveries.is_empty() {
            return;
        }
        let answers: Vec<(Source, u64)> = deliveries.iter().map(|delivery| (delivery.source, delivery.tag)).collect();
        let bodies: Vec<Vec<u8>> = deliveries.into_iter().map(|delivery| delivery.body).collect();
        let effects = inbox::receive(&bodies);
        let mut state = self.state.borrow_mut();
        state.has_heard = true;
        let others = state.combining.take(answers);
        drop(state);
        // Its frames go out first: an answer to a request is on its way before the request is forgotten.
        self.carry_out(effects);
        if let Some(link) = &mut self.state.borrow_mut().link {
            link.session.acknowledge(&others);
        }
    }

    /// Takes in messages of the log.
    pub fn replay(&self, bodies: &[Vec<u8>], end: bool) {
        if end {
            self.state.borrow_mut().is_reading_log = false;
        }
        self.carry_out(checkpoint::replay(bodies, end));
    }
}
