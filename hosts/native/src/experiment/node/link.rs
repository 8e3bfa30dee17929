//! How a host's link comes and goes, and with it awake periods and lives.

use super::{Link, Node, Phase};
use crate::experiment::message::{Answer, Deed, End};
use crate::experiment::moment::Moment;

impl Node {
    pub(super) fn ask_for_link(&mut self) {
        self.links += 1;
        self.link = Link::Asked(self.links);
        self.put(self.busy_until, Deed::Attach { link: self.links });
    }

    /// The link is gone, and with it whatever came over it and was not taken in.
    pub(super) fn lose_link(&mut self) {
        self.link = Link::Down;
        let unsettled = std::mem::take(&mut self.unsettled);
        self.stale.extend(unsettled);
        self.arrived.clear();
        self.log_pieces.clear();
        self.taken.clear();
        self.unacknowledged = [0; 3];
        self.serves_anyone = false;
        self.is_reading = false;
        self.backlog = 0;
    }

    /// The component has started anew: its inbox may be gone, and what was sent belongs to a former life.
    pub(super) fn begin_anew(&mut self) {
        self.anew = false;
        self.put(self.busy_until, Deed::Detach);
        self.lose_link();
        self.ask_for_link();
    }

    pub(super) fn freeze(&mut self) {
        self.put(self.busy_until, Deed::Detach);
        self.lose_link();
        self.phase = Phase::Frozen;
        self.wants_replay = false;
        self.next_tick = None;
        self.leave_watches();
        for waiting in std::mem::take(&mut self.waiting).into_values().flatten() {
            let answer = Answer { status: 503, ..waiting.answer };
            self.put(self.busy_until, Deed::Answer(Box::new(answer)));
        }
        self.put(self.busy_until, Deed::Frozen);
    }

    pub(super) fn end(&mut self, now: Moment, end: End) {
        self.leave_watches();
        self.put(now, Deed::Detach);
        self.put(now, Deed::Ended(end));
        self.phase = Phase::Dead;
        self.link = Link::Down;
        self.instance = None;
        // Whoever waits for an answer hears from the platform that there will be none.
        self.waiting.clear();
        self.requests.clear();
        self.arrived.clear();
        self.inputs.clear();
        self.unsettled.clear();
        self.stale.clear();
    }

    pub(super) fn leave_watches(&mut self) {
        let now = self.busy_until;
        for (write, _) in std::mem::take(&mut self.watches) {
            self.put(now, Deed::Gone { write });
        }
        self.watches_stale = false;
    }
}
