//! The replica component: export glue only. Each export of `wit/` is one call of [`dayfly_core::replica::Replica`], with
//! the time and the chance that the host gives through WASI. What the calls mean is written in `wit/`; what they do, in
//! the core.
//!
//! A panic here is an error of the host (see `wit/lifecycle.wit`) or a bug. It traps. This target has nowhere to print
//! its message to: what a host sees is the backtrace, so the functions' names are kept, and those that panic here are
//! named for why.

mod bindings {
    wit_bindgen::generate!({ path: "../wit", world: "overlaid-replica" });
}
mod conversion;

use std::cell::RefCell;

use bindings::exports::dayfly::replica::types::Effects;
use bindings::exports::dayfly::replica::{api, checkpoint, inbox, lifecycle, outbox, overlay};
use dayfly_core::effect::Receipt;
use dayfly_core::replica::Replica;
use dayfly_core::time::{Timestamp, Turn};
use wasi::clocks::wall_clock;
use wasi::random::random::get_random_u64;

thread_local! {
    /// The one replica of this instance; none before a `start` that succeeded. A component has one thread, and calls
    /// are never concurrent, so borrows cannot overlap.
    static REPLICA: RefCell<Option<Replica>> = const { RefCell::new(None) };
}

/// What implements the exports. It holds nothing: exports are free functions, so their state is [`REPLICA`].
struct Component;

// Elsewhere linkers refuse the names of exports, and the crate is compiled for its lints alone.
#[cfg(target_family = "wasm")]
bindings::export!(Component with_types_in bindings);

impl lifecycle::Guest for Component {
    fn start(config: lifecycle::Config) -> Result<lifecycle::Started, String> {
        REPLICA.with_borrow_mut(|cell| {
            if cell.is_some() {
                panic_start_was_called_again();
            }
            let started = with_turn(|turn| Replica::start(config.into(), turn));
            let (replica, effects) = started.map_err(|error| error.to_string())?;
            let replica = cell.insert(replica);
            Ok(lifecycle::Started {
                name: replica.name().to_owned(),
                incarnation: replica.incarnation(),
                effects: effects.into(),
            })
        })
    }

    fn wake(awake_until: u64) -> Effects {
        with_replica(|replica, turn| replica.wake(Timestamp(awake_until), turn)).into()
    }

    fn tick() -> Effects {
        with_replica(Replica::tick).into()
    }

    fn suspend() -> Effects {
        with_replica(Replica::suspend).into()
    }

    fn leave() -> Effects {
        with_replica(Replica::leave).into()
    }
}

impl inbox::Guest for Component {
    fn receive(bodies: Vec<Vec<u8>>) -> Effects {
        with_replica(|replica, turn| replica.receive(&bodies, turn)).into()
    }
}

impl outbox::Guest for Component {
    fn settle(receipts: Vec<outbox::Receipt>) -> Effects {
        let receipts: Vec<Receipt> = receipts.into_iter().map(Receipt::from).collect();
        with_replica(|replica, turn| replica.settle(&receipts, turn)).into()
    }
}

impl api::Guest for Component {
    fn invoke(request: api::Request) -> api::Response {
        with_replica(|replica, turn| replica.invoke(&request.into(), turn)).into()
    }
}

impl checkpoint::Guest for Component {
    fn save(since: u64) -> checkpoint::Saved {
        with_replica(|replica, _| replica.save(since)).into()
    }

    fn load(chunk: Vec<u8>) -> Result<Effects, String> {
        match with_replica(|replica, turn| replica.load(&chunk, turn)) {
            Ok(effects) => Ok(effects.into()),
            Err(error) => Err(error.to_string()),
        }
    }

    fn replay(bodies: Vec<Vec<u8>>, end: bool) -> Effects {
        with_replica(|replica, turn| replica.replay(&bodies, end, turn)).into()
    }
}

impl overlay::Guest for Component {
    fn set_neighbours(neighbours: Vec<String>, interval_ms: u32) -> Result<Effects, String> {
        match with_replica(|replica, turn| replica.set_neighbours(&neighbours, interval_ms, turn)) {
            Ok(effects) => Ok(effects.into()),
            Err(error) => Err(error.to_string()),
        }
    }

    fn elements(body: Vec<u8>) -> Option<u64> {
        with_replica(|replica, _| replica.elements(&body))
    }
}

/// Runs a call on the started replica.
fn with_replica<T>(call: impl FnOnce(&mut Replica, &mut Turn<'_>) -> T) -> T {
    REPLICA.with_borrow_mut(|cell| match cell {
        Some(replica) => with_turn(|turn| call(replica, turn)),
        None => panic_called_before_start(),
    })
}

/// Runs a call with the time of now and fresh chance, both from the host.
fn with_turn<T>(call: impl FnOnce(&mut Turn<'_>) -> T) -> T {
    let now = wall_clock::now();
    let now_ms = now.seconds.saturating_mul(1000).saturating_add(u64::from(now.nanoseconds / 1_000_000));
    call(&mut Turn { now: Timestamp(now_ms), chance: &mut get_random_u64 })
}

#[cold]
#[inline(never)]
fn panic_called_before_start() -> ! {
    panic!("lifecycle.start must have succeeded before any other call")
}

#[cold]
#[inline(never)]
fn panic_start_was_called_again() -> ! {
    panic!("lifecycle.start was called again after it had succeeded")
}
