//! One live replica as a runner with virtual time drives it: the calls of wit/, with the time as an argument.

use anyhow::Result;
use dayfly_core::config::Config;
use dayfly_core::effect::{Effects, Receipt};
use dayfly_core::http::{Request, Response};
use dayfly_core::replica::{Replica, Saved};
use dayfly_core::store::Store;
use dayfly_core::time::{Timestamp, Turn};

use crate::chance::Chance;

/// The calls of wit/ on one instance, after its `start`. An error means that the instance trapped, which no call may do.
pub trait Life {
    /// The replica's name.
    fn name(&self) -> String;
    /// Its incarnation.
    fn incarnation(&self) -> u64;
    /// `lifecycle.wake`.
    fn wake(&mut self, now: Timestamp, awake_until: Timestamp) -> Result<Effects>;
    /// `lifecycle.tick`.
    fn tick(&mut self, now: Timestamp) -> Result<Effects>;
    /// `lifecycle.suspend`.
    fn suspend(&mut self, now: Timestamp) -> Result<Effects>;
    /// `lifecycle.leave`.
    fn leave(&mut self, now: Timestamp) -> Result<Effects>;
    /// `inbox.receive`.
    fn receive(&mut self, now: Timestamp, bodies: &[Vec<u8>]) -> Result<Effects>;
    /// `outbox.settle`.
    fn settle(&mut self, now: Timestamp, receipts: &[Receipt]) -> Result<Effects>;
    /// `api.invoke`.
    fn invoke(&mut self, now: Timestamp, request: &Request) -> Result<Response>;
    /// `checkpoint.save`.
    fn save(&mut self, now: Timestamp, since: u64) -> Result<Saved>;
    /// `checkpoint.load`; the inner error is the part's refusal.
    fn load(&mut self, now: Timestamp, chunk: &[u8]) -> Result<Result<Effects, String>>;
    /// `checkpoint.replay`.
    fn replay(&mut self, now: Timestamp, bodies: &[Vec<u8>], end: bool) -> Result<Effects>;

    /// `overlay.set-neighbours`; the inner error is the refusal.
    fn set_neighbours(
        &mut self,
        now: Timestamp,
        neighbours: &[String],
        interval_ms: u32,
    ) -> Result<Result<Effects, String>>;

    /// The replica's state, where there is a way to look into it.
    fn store(&self) -> Option<&Store> {
        None
    }
}

/// What `start` gives: an instance with its first effects, or the refusal.
pub type Started = Result<(Box<dyn Life>, Effects), String>;

/// Makes instances of one kind.
pub trait Maker: Send + Sync {
    /// `lifecycle.start` on a new instance, whose randomness all comes of `chance`. The outer error means that there is
    /// no instance to be had.
    fn start(&self, config: &Config, now: Timestamp, chance: Chance) -> Result<Started>;
}

/// Makes instances of the core alone.
pub struct CoreMaker;

struct CoreLife {
    replica: Replica,
    chance: Chance,
}

impl Maker for CoreMaker {
    fn start(&self, config: &Config, now: Timestamp, mut chance: Chance) -> Result<Started> {
        let started = Replica::start(config.clone(), &mut Turn { now, chance: &mut || chance.number() });
        Ok(match started {
            Ok((replica, effects)) => Ok((Box::new(CoreLife { replica, chance }), effects)),
            Err(refusal) => Err(refusal.to_string()),
        })
    }
}

impl CoreLife {
    fn call<T>(&mut self, now: Timestamp, call: impl FnOnce(&mut Replica, &mut Turn<'_>) -> T) -> T {
        let chance = &mut self.chance;
        call(&mut self.replica, &mut Turn { now, chance: &mut || chance.number() })
    }
}

impl Life for CoreLife {
    fn name(&self) -> String {
        self.replica.name().to_owned()
    }

    fn store(&self) -> Option<&Store> {
        Some(self.replica.store())
    }

    fn incarnation(&self) -> u64 {
        self.replica.incarnation()
    }

    fn wake(&mut self, now: Timestamp, awake_until: Timestamp) -> Result<Effects> {
        Ok(self.call(now, |replica, turn| replica.wake(awake_until, turn)))
    }

    fn tick(&mut self, now: Timestamp) -> Result<Effects> {
        Ok(self.call(now, Replica::tick))
    }

    fn suspend(&mut self, now: Timestamp) -> Result<Effects> {
        Ok(self.call(now, Replica::suspend))
    }

    fn leave(&mut self, now: Timestamp) -> Result<Effects> {
        Ok(self.call(now, Replica::leave))
    }

    fn receive(&mut self, now: Timestamp, bodies: &[Vec<u8>]) -> Result<Effects> {
        Ok(self.call(now, |replica, turn| replica.receive(bodies, turn)))
    }

    fn settle(&mut self, now: Timestamp, receipts: &[Receipt]) -> Result<Effects> {
        Ok(self.call(now, |replica, turn| replica.settle(receipts, turn)))
    }

    fn invoke(&mut self, now: Timestamp, request: &Request) -> Result<Response> {
        Ok(self.call(now, |replica, turn| replica.invoke(request, turn)))
    }

    fn save(&mut self, _now: Timestamp, since: u64) -> Result<Saved> {
        Ok(self.replica.save(since))
    }

    fn load(&mut self, now: Timestamp, chunk: &[u8]) -> Result<Result<Effects, String>> {
        Ok(self.call(now, |replica, turn| replica.load(chunk, turn)).map_err(|refusal| refusal.to_string()))
    }

    fn replay(&mut self, now: Timestamp, bodies: &[Vec<u8>], end: bool) -> Result<Effects> {
        Ok(self.call(now, |replica, turn| replica.replay(bodies, end, turn)))
    }

    fn set_neighbours(
        &mut self,
        now: Timestamp,
        neighbours: &[String],
        interval_ms: u32,
    ) -> Result<Result<Effects, String>> {
        let set = self.call(now, |replica, turn| replica.set_neighbours(neighbours, interval_ms, turn));
        Ok(set.map_err(|refusal| refusal.to_string()))
    }
}
