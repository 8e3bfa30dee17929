//! What the tasks of an instance share, and how a request is answered.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;

use dayfly_amqp::{Combining, Names, Refusal};

use super::answer::{Answer, refusal};
use super::bindings::dayfly::replica::api;
use super::clock::{now_ms, pause};
use super::link::Link;
use super::values::SpinValues;
use super::writes::{Outcome, Writes};
use crate::session::Address;
use crate::settings::{Confirm, Settings};
use crate::shelf::Shelf;

/// How long the store and the broker have to take a write, in milliseconds.
const CONFIRM_MS: u64 = 10_000;

/// An instance: a replica of its own, which is started by the first request.
#[derive(Default)]
pub struct Host {
    pub state: RefCell<State>,
}

/// What does not change any more once the replica has been started.
pub struct Replica {
    pub name: String,
    pub settings: Settings,
    pub address: Address,
    pub names: Names,
    pub shelf: Shelf<SpinValues>,
    pub started_ms: u64,
}

/// What the tasks of an instance share.
#[derive(Default)]
pub struct State {
    pub replica: Option<Rc<Replica>>,
    /// The component has been started, and has what was stored.
    pub has_begun: bool,
    /// A task starts the replica.
    pub is_starting: bool,
    /// A task ends the awake period.
    pub is_ending: bool,
    /// A task does what is due by time.
    pub is_tended: bool,
    /// A task stores what has changed.
    pub is_bundling: bool,
    /// How many requests are being answered or linger.
    pub active: usize,
    /// When the last of them ended.
    pub idle_since_ms: u64,
    /// Until when the replica has announced to be awake.
    pub awake_until_ms: Option<u64>,
    /// That was announced without a link: nobody has heard of it.
    pub is_unannounced: bool,
    /// Until when requests asked it to linger.
    pub lingers_until_ms: u64,
    /// How long it took to be complete.
    pub filled_ms: Option<u64>,
    pub next_tick_ms: Option<u64>,
    /// It has all of the database that it heard of (`effects.serve-anyone`).
    pub is_complete: bool,
    /// The component asks for the log.
    pub wants_log: bool,
    pub is_reading_log: bool,
    /// The component has started anew, and the host has not done its part.
    pub is_anew: bool,
    pub combining: Combining,
    /// Frames whose outcome is not known.
    pub unsettled: BTreeSet<u64>,
    /// Those of them that no present link knows of. They are failed as soon as there is one.
    pub stale: BTreeSet<u64>,
    pub writes: Writes,
    pub link: Option<Link>,
    pub is_connecting: bool,
    /// How many links there were.
    pub links: u64,
    /// Why the last link ended.
    pub trouble: Option<Refusal>,
    /// When to try the broker again.
    pub retry_at_ms: u64,
    pub retry_pause_ms: u64,
    /// Something has come from other replicas since the state was last stored.
    pub has_heard: bool,
}

impl Host {
    /// The replica; only where it has been started.
    pub fn replica(&self) -> Rc<Replica> {
        Rc::clone(self.state.borrow().replica.as_ref().expect("it has been started"))
    }

    /// Waits until something holds that other tasks bring about.
    pub async fn until(&self, holds: impl Fn(&State) -> bool) {
        while !holds(&self.state.borrow()) {
            pause(1).await;
        }
    }

    /// The same, so many milliseconds at most; whether it holds.
    pub async fn until_within(&self, ms: u64, holds: impl Fn(&State) -> bool) -> bool {
        let until_ms = now_ms() + ms;
        loop {
            if holds(&self.state.borrow()) {
                return true;
            }
            if now_ms() >= until_ms {
                return false;
            }
            pause(1).await;
            self.tick_if_due();
            self.flush().await;
        }
    }

    /// Answers a request of the HTTP API.
    pub async fn answer(self: &Rc<Self>, request: &api::Request) -> Answer {
        let _busy = Busy::new(self);
        if let Err(refused) = self.begin().await {
            return refused;
        }
        let replica = self.replica();
        // Else what the others have might be missed. Who is not complete by then answers from what it has, and says so.
        let fill_ms = (replica.started_ms + replica.settings.fill_ms).saturating_sub(now_ms());
        self.until_within(fill_ms, |state| state.is_complete).await;
        let mut response = api::invoke(request);
        let after = response.after;
        if let Some(id) = after {
            self.state.borrow_mut().writes.expect(id);
        }
        let effects = std::mem::replace(&mut response.effects, super::drive::nothing());
        self.carry_out(effects);
        self.flush().await;
        match (after, replica.settings.confirm) {
            (None, _) | (_, Confirm::Local) => response.into(),
            (Some(id), confirm) => match self.await_write(id, confirm).await {
                Ok(()) => response.into(),
                Err(refused) => refused.with("dayfly-replica", &replica.name),
            },
        }
    }

    /// Waits until a frame of writes is as safe as was asked for.
    async fn await_write(&self, id: u64, confirm: Confirm) -> Result<(), Answer> {
        let until_ms = now_ms() + CONFIRM_MS;
        let write = self.state.borrow().writes.watch(id);
        loop {
            self.store_writes().await;
            match write.outcome(confirm) {
                Outcome::Safe => return Ok(()),
                Outcome::Open if now_ms() < until_ms => {}
                Outcome::Open | Outcome::Unconfirmed => {
                    let text = "the broker did not confirm the write; it is applied here and will be sent again: do not \
                                repeat it unless it may count twice";
                    return Err(refusal(503, "unconfirmed", text));
                }
                Outcome::Unstored(reason) => {
                    let text = format!(
                        "the write is applied here but not stored: {reason}; do not repeat it unless it may count twice"
                    );
                    return Err(refusal(503, "unconfirmed", &text));
                }
            }
            pause(self.until_tick_ms().clamp(1, 5)).await;
            self.tick_if_due();
            self.flush().await;
        }
    }
}

/// A request that is being answered: it keeps the replica awake. Also a task that Spin cancels ends it.
pub struct Busy(Rc<Host>);

impl Busy {
    pub fn new(host: &Rc<Host>) -> Self {
        host.state.borrow_mut().active += 1;
        Self(Rc::clone(host))
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        let mut state = self.0.state.borrow_mut();
        state.active -= 1;
        state.idle_since_ms = now_ms();
    }
}
