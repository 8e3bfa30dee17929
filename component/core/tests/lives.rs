//! What a replica's lives leave to its next one: a farewell that is taken back, and writes that its host stored.

use dayfly_core::config::Config;
use dayfly_core::effect::{Effects, Route};
use dayfly_core::http::{Request, Response};
use dayfly_core::replica::Replica;
use dayfly_core::time::{Timestamp, Turn};

const CLUSTER: &str = "lives";
/// A time within an era, and far from its ends.
const BEGIN: u64 = 1_800_000_000_000;

/// A replica with a virtual clock and chance of its own.
struct Life {
    replica: Replica,
    chance: u64,
}

impl Life {
    fn start(name: &str, combine_above: u32, mut chance: u64) -> Self {
        let name = Some(name.to_owned());
        let config = Config { name, bootstrap_ms: 0, burst_ms: 0, combine_above, ..Config::usual(CLUSTER) };
        let mut turn = Turn { now: Timestamp(BEGIN), chance: &mut || draw(&mut chance) };
        let (replica, _) = Replica::start(config, &mut turn).expect("the configuration is within bounds");
        Self { replica, chance }
    }

    fn call<T>(&mut self, at: u64, call: impl FnOnce(&mut Replica, &mut Turn<'_>) -> T) -> T {
        let chance = &mut self.chance;
        call(&mut self.replica, &mut Turn { now: Timestamp(BEGIN + at), chance: &mut || draw(chance) })
    }

    fn ask(&mut self, at: u64, method: &str, path: &str, body: &str) -> Response {
        let request = Request { method: method.into(), path: path.into(), body: body.into(), ..Request::default() };
        self.call(at, |replica, turn| replica.invoke(&request, turn))
    }

    /// How this replica shows another one.
    fn state_of(&mut self, at: u64, name: &str) -> Option<String> {
        let members: serde_json::Value =
            serde_json::from_slice(&self.ask(at, "GET", "/v1/members", "").body).expect("members are JSON");
        let found = members["members"].as_array()?.iter().find(|member| member["name"] == name)?.clone();
        Some(found["state"].as_str()?.to_owned())
    }
}

/// splitmix64.
fn draw(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut bits = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

fn bodies(effects: &Effects) -> Vec<Vec<u8>> {
    effects.frames.iter().map(|frame| frame.body.clone()).collect()
}

#[test]
fn a_replica_that_wakes_after_its_farewell_is_another_incarnation_with_the_same_state() {
    let mut peer = Life::start("peer", 32, 1);
    peer.call(0, |replica, turn| replica.wake(Timestamp(BEGIN + 60_000), turn));
    let mut it = Life::start("it", 32, 2);
    let woken = it.call(0, |replica, turn| replica.wake(Timestamp(BEGIN + 10_000), turn));
    let written = it.ask(1, "POST", "/v1/data/gcounter/k", r#"{"increment":2}"#);
    let left = it.call(2, Replica::leave);
    for effects in [&woken, &written.effects, &left] {
        peer.call(3, |replica, turn| replica.receive(&bodies(effects), turn));
    }
    assert_eq!(peer.state_of(4, "it").as_deref(), Some("gone"));
    let first = it.replica.incarnation();

    let woken = it.call(5, |replica, turn| replica.wake(Timestamp(BEGIN + 20_000), turn));
    assert!(it.replica.incarnation() > first, "the farewell still holds");
    assert!(!woken.started_anew, "its state is not lost");
    peer.call(6, |replica, turn| replica.receive(&bodies(&woken), turn));
    assert_eq!(peer.state_of(7, "it").as_deref(), Some("awake"));
    let written = it.ask(8, "POST", "/v1/data/gcounter/k", r#"{"increment":3}"#);
    peer.call(9, |replica, turn| replica.receive(&bodies(&written.effects), turn));
    for replica in [&mut it, &mut peer] {
        let read = replica.ask(10, "GET", "/v1/data/gcounter/k", "");
        assert_eq!(String::from_utf8_lossy(&read.body), r#"{"key":"k","type":"gcounter","value":5}"#);
    }
    assert_eq!(it.replica.store().root(), peer.replica.store().root());
}

#[test]
fn frames_of_writes_that_a_host_stored_make_the_state_again_also_those_for_the_combiner() {
    for (combine_above, route) in [(32, Route::Everyone), (0, Route::Combiner)] {
        let mut writer = Life::start("writer", combine_above, 3);
        writer.call(0, |replica, turn| replica.wake(Timestamp(BEGIN + 60_000), turn));
        let mut stored = Vec::new();
        for (at, body) in [r#"{"add":["a","b"]}"#, r#"{"remove":["a"]}"#].into_iter().enumerate() {
            let written = writer.ask(1 + at as u64, "POST", "/v1/data/orset/s", body);
            let after = written.after.expect("a write names its frame");
            let frame =
                written.effects.frames.iter().find(|frame| frame.id == after).expect("without a burst it is here");
            assert_eq!(frame.route, route);
            stored.push(frame.body.clone());
        }
        let mut heir = Life::start("heir", 32, 4);
        let effects = heir.call(5, |replica, turn| replica.replay(&stored, false, turn));
        assert!(effects.frames.is_empty(), "nobody is told before it wakes");
        assert_eq!(heir.replica.store().root(), writer.replica.store().root());
    }
}
