//! All that a replica can learn from outside its calls: the wall clock and randomness. A simulation gives it both.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use wasmtime::Result;
use wasmtime::component::{ComponentType, Lift, Linker, Lower};

use crate::instance::Guest;

/// What an instance sees of the world. One instance has one world of its own: two that share the state of a random
/// generator would make the same names and writers.
pub trait World: Send {
    /// Wall-clock time in milliseconds since 1970-01-01 UTC. It may jump, in both directions.
    fn now_ms(&mut self) -> u64;
    /// 64 fresh random bits.
    fn random_u64(&mut self) -> u64;
}

/// The real clock and the system's randomness.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemWorld;

impl World for SystemWorld {
    fn now_ms(&mut self) -> u64 {
        system_now_ms()
    }

    fn random_u64(&mut self) -> u64 {
        // There is no going on without randomness: names and writers would collide.
        getrandom::u64().expect("the system gives random bytes")
    }
}

/// The system's wall-clock time in milliseconds since 1970-01-01 UTC; 0 before that.
pub fn system_now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// A clock that stands still until it is moved. Copies share the time.
#[derive(Clone, Debug, Default)]
pub struct VirtualClock(Arc<AtomicU64>);

impl VirtualClock {
    /// A clock that shows this time, in milliseconds since 1970-01-01 UTC.
    pub fn at_ms(now_ms: u64) -> Self {
        Self(Arc::new(AtomicU64::new(now_ms)))
    }

    /// The time it shows, in milliseconds.
    pub fn now_ms(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }

    /// Makes it show another time, in milliseconds, earlier or later.
    pub fn set_ms(&self, now_ms: u64) {
        self.0.store(now_ms, Ordering::SeqCst);
    }

    /// Moves it on by so many milliseconds.
    pub fn advance_ms(&self, by_ms: u64) {
        self.0.fetch_add(by_ms, Ordering::SeqCst);
    }
}

/// A virtual clock and randomness from a seed: all that a replica in it does follows from the calls it gets.
#[derive(Clone, Debug)]
pub struct VirtualWorld {
    clock: VirtualClock,
    chance: Chance,
}

impl VirtualWorld {
    /// A world with this clock. Instances of one simulation share the clock and differ in the seed.
    pub fn new(clock: VirtualClock, seed: u64) -> Self {
        Self { clock, chance: Chance::new(seed) }
    }
}

impl World for VirtualWorld {
    fn now_ms(&mut self) -> u64 {
        self.clock.now_ms()
    }

    fn random_u64(&mut self) -> u64 {
        self.chance.next_u64()
    }
}

/// A small random generator (splitmix64) for simulations: the same seed gives the same numbers. Not for secrets.
#[derive(Clone, Debug)]
pub struct Chance(u64);

impl Chance {
    /// A generator with this seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    /// A number from 0 to below 1.
    pub fn next_f64(&mut self) -> f64 {
        // 53 bits: as many as an f64 holds exactly.
        (self.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// A number below the bound, which must not be 0. The bias is below bound / 2^64.
    pub fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next_u64()) * u128::from(bound)) >> 64) as u64
    }

    /// Whether something of this probability happens now.
    pub fn happens(&mut self, probability: f64) -> bool {
        probability > 0.0 && self.next_f64() < probability
    }
}

/// At most this many random bytes a call: the guest asks for 8 or 16.
const RANDOM_BYTES_MAX: u64 = 64 * 1024;

/// `wasi:clocks/wall-clock.datetime`.
#[derive(Clone, Copy, Debug, ComponentType, Lift, Lower)]
#[component(record)]
struct Datetime {
    seconds: u64,
    nanoseconds: u32,
}

/// Gives the component its two imports. A component that imports anything else cannot be instantiated.
pub(crate) fn add_to_linker(linker: &mut Linker<Guest>) -> Result<()> {
    // Any 0.2.x that the component was built with is satisfied by 0.2.0: none changed since.
    let mut clock = linker.instance("wasi:clocks/wall-clock@0.2.0")?;
    clock.func_wrap("now", |mut store, ()| {
        let now_ms = store.data_mut().world.now_ms();
        Ok((Datetime { seconds: now_ms / 1000, nanoseconds: (now_ms % 1000) as u32 * 1_000_000 },))
    })?;
    clock.func_wrap("resolution", |_, ()| Ok((Datetime { seconds: 0, nanoseconds: 1_000_000 },)))?;

    let mut random = linker.instance("wasi:random/random@0.2.0")?;
    random.func_wrap("get-random-u64", |mut store, ()| Ok((store.data_mut().world.random_u64(),)))?;
    random.func_wrap("get-random-bytes", |mut store, (len,): (u64,)| {
        if len > RANDOM_BYTES_MAX {
            return Err(wasmtime::Error::msg(format!("{len} random bytes asked for; {RANDOM_BYTES_MAX} are the most")));
        }
        let world = &mut store.data_mut().world;
        let mut bytes = Vec::with_capacity(len as usize);
        while (bytes.len() as u64) < len {
            let word = world.random_u64().to_le_bytes();
            let wanted = word.len().min(len as usize - bytes.len());
            bytes.extend_from_slice(&word[..wanted]);
        }
        Ok((bytes,))
    })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chance_repeats_with_its_seed_and_spreads() {
        let draw = |seed| -> Vec<u64> {
            let mut chance = Chance::new(seed);
            (0..100).map(|_| chance.below(10)).collect()
        };
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
        assert!((0..10).all(|number| draw(3).contains(&number)));
    }

    #[test]
    fn virtual_clocks_are_shared_and_may_go_back() {
        let clock = VirtualClock::at_ms(5_000);
        let mut world = VirtualWorld::new(clock.clone(), 1);
        clock.advance_ms(1);
        assert_eq!(world.now_ms(), 5_001);
        clock.set_ms(10);
        assert_eq!(world.now_ms(), 10);
    }
}
