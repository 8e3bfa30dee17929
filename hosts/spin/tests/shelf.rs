//! What several instances store at once, in any interleaving, with crashes and a store that fails.
//!
//! The component is a model: dots of writers that are live or dead, where dead wins, as in a chunk. Its parts are cut where
//! each instance likes, as those of the real one are.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use dayfly_spin::shelf::{BUNDLE_BYTES_MAX, Part, Saved, Shelf, Values, WRITES_MAX};
use proptest::prelude::*;

type Dots = BTreeMap<(u8, u32), bool>;

fn join(into: &mut Dots, from: &Dots) -> BTreeSet<u8> {
    let mut changed = BTreeSet::new();
    for (dot, live) in from {
        let known = into.get(dot).copied();
        if known.is_none() || (known == Some(true) && !live) {
            into.insert(*dot, *live);
            changed.insert(dot.0);
        }
    }
    changed
}

fn encode(dots: &Dots) -> Vec<u8> {
    dots.iter()
        .flat_map(|((writer, seq), live)| [vec![*writer, u8::from(*live)], seq.to_le_bytes().into()].concat())
        .collect()
}

fn decode(bytes: &[u8]) -> Dots {
    let dot = |bytes: &[u8]| ((bytes[0], u32::from_le_bytes(bytes[2..].try_into().expect("4 bytes"))), bytes[1] == 1);
    bytes.chunks(6).map(dot).collect()
}

/// A component's state, as far as it is stored.
#[derive(Default)]
struct Component {
    dots: Dots,
    changed: BTreeMap<u8, u64>,
    version: u64,
    cut: u32,
}

impl Component {
    fn join(&mut self, dots: &Dots) {
        for writer in join(&mut self.dots, dots) {
            self.changed.insert(writer, self.version);
        }
    }

    fn save(&mut self, since: u64) -> Saved {
        let mut parts = Vec::new();
        for writer in self.changed.iter().filter(|(_, at)| since == 0 || **at > since).map(|(writer, _)| *writer) {
            let (mut low, mut high) = (Dots::new(), Dots::new());
            for (dot, live) in self.dots.range((writer, 0)..=(writer, u32::MAX)) {
                if dot.1 < self.cut { &mut low } else { &mut high }.insert(*dot, *live);
            }
            for (name, dots) in [("0", low), ("1", high)] {
                if !dots.is_empty() {
                    parts.push(Part { key: format!("{writer:02x}-{name}"), chunk: encode(&dots) });
                }
            }
        }
        self.version += 1;
        Saved { version: self.version - 1, parts }
    }
}

/// A store that all share. Each operation takes two turns of others, and some fail.
#[derive(Clone)]
struct Stored {
    values: Rc<RefCell<BTreeMap<String, Vec<u8>>>>,
    chance: Rc<RefCell<Chance>>,
    fails: bool,
}

struct Chance(u64);

impl Chance {
    /// splitmix64.
    fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.draw() % bound
    }
}

/// Lets others have a turn.
struct Turn(bool);

impl Future for Turn {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        if std::mem::replace(&mut self.0, true) { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl Stored {
    async fn operate<T>(&self, operate: impl FnOnce(&mut BTreeMap<String, Vec<u8>>) -> T) -> Result<T, String> {
        Turn(false).await;
        let fate = if self.fails { self.chance.borrow_mut().below(40) } else { 2 };
        if fate == 0 {
            return Err("not done".to_owned());
        }
        let done = operate(&mut self.values.borrow_mut());
        Turn(false).await;
        if fate == 1 { Err("done, and not known".to_owned()) } else { Ok(done) }
    }
}

impl Values for Stored {
    async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, String> {
        self.operate(|values| values.get(key).cloned()).await
    }

    async fn set(&self, key: &str, value: Vec<u8>) -> Result<(), String> {
        self.operate(|values| assert!(values.insert(key.to_owned(), value).is_none(), "{key} is overwritten")).await
    }

    async fn delete(&self, key: &str) -> Result<(), String> {
        self.operate(|values| drop(values.remove(key))).await
    }

    async fn keys(&self) -> Result<Vec<String>, String> {
        self.operate(|values| values.keys().cloned().collect()).await
    }
}

/// Runs what never waits for others.
fn at_once<T>(future: impl Future<Output = T>) -> T {
    let mut future = Box::pin(future);
    loop {
        if let Poll::Ready(done) = future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            return done;
        }
    }
}

/// The state that a new instance would have now.
fn state_of(stored: &Stored) -> Dots {
    let whole = Stored { fails: false, ..stored.clone() };
    let loaded = at_once(Shelf::new(whole, "c", "reader").load()).expect("this store works");
    assert_eq!(loaded.broken, Vec::<String>::new());
    let mut dots = Dots::new();
    for chunk in loaded.parts.iter().chain(&loaded.writes) {
        join(&mut dots, &decode(chunk));
    }
    dots
}

/// Lives of an instance: it loads, and then writes and bundles, all of it interleaved with others.
async fn live(stored: Stored, acknowledged: Rc<RefCell<Dots>>, number: u8) {
    let draw = |bound| stored.chance.borrow_mut().below(bound);
    let shelf = Shelf::new(stored.clone(), "c", &format!("i{number}"));
    let cut = u32::try_from(draw(12)).expect("it is small");
    let mut component = Component { version: 1, cut, ..Component::default() };
    let (before, loaded) = loop {
        let before = acknowledged.borrow().clone();
        if let Ok(loaded) = shelf.load().await {
            break (before, loaded);
        }
    };
    loaded.parts.iter().for_each(|part| component.join(&decode(part)));
    shelf.note_version(component.save(u64::MAX).version);
    loaded.writes.iter().for_each(|write| component.join(&decode(write)));
    assert_eq!(lacks(&component.dots, &before), vec![], "others bundled while it loaded");
    let mut seq = 0;
    for _ in 0..draw(60) {
        match draw(10) {
            // A write: a dot of its own, perhaps in place of others that it has seen.
            0..7 => {
                seq += 1;
                let mut write = Dots::from([((number, seq), true)]);
                let live: Vec<_> = component.dots.iter().filter(|(_, live)| **live).map(|(dot, _)| *dot).collect();
                for _ in 0..draw(3).min(live.len() as u64) {
                    write.insert(live[draw(live.len() as u64) as usize], false);
                }
                component.join(&write);
                if shelf.store_write(&encode(&write)).await.is_ok() {
                    join(&mut acknowledged.borrow_mut(), &write);
                }
            }
            // Something from others that is nowhere stored.
            7 => component
                .join(&Dots::from([((200 + number % 8, u32::try_from(draw(40)).expect("small")), draw(2) == 0)])),
            _ => drop(shelf.bundle(|since| component.save(since)).await),
        }
    }
}

fn lacks(state: &Dots, acknowledged: &Dots) -> Vec<(u8, u32)> {
    let has = |(dot, live): (&(u8, u32), &bool)| state.get(dot).is_some_and(|known| *live || !known);
    acknowledged.iter().filter(|(dot, live)| !has((dot, live))).map(|(dot, _)| *dot).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    /// At any moment a new instance finds all that was acknowledged.
    #[test]
    fn nothing_that_was_acknowledged_is_ever_missing(seed in any::<u64>(), fails in any::<bool>()) {
        let chance = Rc::new(RefCell::new(Chance(seed)));
        let stored = Stored { values: Rc::default(), chance: Rc::clone(&chance), fails };
        let acknowledged = Rc::new(RefCell::new(Dots::new()));
        let mut tasks: Vec<Pin<Box<dyn Future<Output = ()>>>> = Vec::new();
        let mut born = 0;
        while born < 20 || !tasks.is_empty() {
            let draw = |bound| chance.borrow_mut().below(bound);
            if born < 20 && (tasks.is_empty() || (tasks.len() < 4 && draw(20) == 0)) {
                born += 1;
                tasks.push(Box::pin(live(stored.clone(), Rc::clone(&acknowledged), born)));
            }
            let index = draw(tasks.len() as u64) as usize;
            let ended = tasks[index].as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready();
            // Or it is killed wherever it is.
            if ended || draw(400) == 0 {
                drop(tasks.swap_remove(index));
            }
            prop_assert_eq!(lacks(&state_of(&stored), &acknowledged.borrow()), vec![]);
        }
    }
}

#[test]
fn a_long_life_leaves_few_values_and_little_waste() {
    let chance = Rc::new(RefCell::new(Chance(1)));
    let stored = Stored { values: Rc::default(), chance, fails: false };
    let shelf = Shelf::new(stored.clone(), "c", "i");
    let mut component = Component { version: 1, cut: 100, ..Component::default() };
    let mut bundled = 0;
    for seq in 1..=20_000_u32 {
        // Of each hundred one stays.
        let mut write = Dots::from([((1, seq), true)]);
        if seq % 100 != 1 {
            write.insert((1, seq - 1), false);
        }
        component.join(&write);
        at_once(shelf.store_write(&encode(&write))).expect("it is stored");
        if shelf.has_many_writes() {
            bundled += at_once(shelf.bundle(|since| component.save(since))).expect("it is bundled");
        }
    }
    let state: usize = component.dots.len() * 6;
    let values = stored.values.borrow().clone();
    let bytes: usize = values.values().map(Vec::len).sum();
    assert!(values.len() <= WRITES_MAX + 8, "{} values", values.len());
    assert!(bytes <= 3 * state + BUNDLE_BYTES_MAX, "{bytes} bytes for a state of {state}");
    assert!(bundled > state);
    assert_eq!(state_of(&stored), component.dots);
}

#[test]
fn what_is_of_others_in_the_same_store_is_left_alone() {
    let stored = Stored { values: Rc::default(), chance: Rc::new(RefCell::new(Chance(1))), fails: false };
    let foreign = [("dayfly/c", "x"), ("dayfly/c/other/1", "x"), ("dayfly/cc/state/1", "x"), ("app", "x")];
    for (key, value) in foreign {
        stored.values.borrow_mut().insert(key.to_owned(), value.as_bytes().to_vec());
    }
    stored.values.borrow_mut().insert("dayfly/c/state/odd".to_owned(), vec![9]);
    let shelf = Shelf::new(stored.clone(), "c", "i");
    let loaded = at_once(shelf.load()).expect("the store works");
    assert_eq!((loaded.parts.len(), loaded.writes.len(), loaded.broken), (0, 0, vec!["dayfly/c/state/odd".to_owned()]));
    let mut component = Component { version: 1, cut: 5, ..Component::default() };
    component.join(&Dots::from([((1, 1), true)]));
    at_once(shelf.bundle(|since| component.save(since))).expect("it is bundled");
    assert_eq!(stored.values.borrow().len(), foreign.len() + 2, "what is broken may be of a newer version");
}
