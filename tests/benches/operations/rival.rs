//! The crate `crdts`: its add-wins set without tombstones, and its counter. A set is a value of its own there, so the
//! database is three values. It reads to a `HashSet`, not to JSON.

use std::hint::black_box;
use std::time::{Duration, Instant};

use crdts::{CmRDT, CvRDT, GCounter, Orswot};

use crate::Subject;
use crate::database::{LARGE, SMALL, element};

pub struct Crdts {
    large: Orswot<String, u128>,
    small: Orswot<String, u128>,
    counter: GCounter<u128>,
    writers: u64,
    merged: u64,
}

fn writer(number: u64) -> u128 {
    u128::from(dayfly_core::digest::mix(number)) << 64 | u128::from(number)
}

fn set_of(elements: impl Iterator<Item = String>, writers: u64) -> Orswot<String, u128> {
    let mut set = Orswot::new();
    for (at, element) in elements.enumerate() {
        add(&mut set, element, writer(at as u64 % writers));
    }
    set
}

fn add(set: &mut Orswot<String, u128>, element: String, writer: u128) {
    let context = set.read_ctx().derive_add_ctx(writer);
    let operation = set.add(element, context);
    set.apply(operation);
}

impl Subject for Crdts {
    const NAME: &'static str = "crdts";

    fn new(writers: u64) -> Self {
        let mut counter = GCounter::new();
        (0..writers).for_each(|at| counter.apply(counter.inc(writer(at))));
        let (large, small) = (set_of((0..LARGE).map(element), writers), set_of((0..SMALL).map(element), writers));
        Self { large, small, counter, writers, merged: 0 }
    }

    fn add(&mut self, elements: &[String]) -> Duration {
        let taken = elements.to_vec();
        let begun = Instant::now();
        taken.into_iter().for_each(|element| add(&mut self.large, element, writer(0)));
        let time = begun.elapsed();
        for element in elements {
            let context = self.large.contains(element).derive_rm_ctx();
            let operation = self.large.rm(element.clone(), context);
            self.large.apply(operation);
        }
        time
    }

    fn increment(&mut self, times: u64) -> Duration {
        let begun = Instant::now();
        (0..times).for_each(|_| self.counter.apply(self.counter.inc(writer(0))));
        begun.elapsed()
    }

    fn merge(&mut self) -> Duration {
        let elements: Vec<String> = (0..1_000).map(|at| element(1_000_000_000 + self.merged + at)).collect();
        self.merged += 1_000;
        // What other writers made, that this set knows nothing of.
        let mut delta = Orswot::new();
        for (at, element) in elements.iter().enumerate() {
            let number = self.merged + at as u64 % self.writers;
            add(&mut delta, element.clone(), writer(1_000_000 + number));
        }
        let before = self.large.clone();
        let begun = Instant::now();
        self.large.merge(delta);
        let time = begun.elapsed();
        assert!(elements.iter().all(|element| self.large.contains(element).val));
        self.large = before;
        time
    }

    fn read_counter(&mut self, times: u64) -> Duration {
        let begun = Instant::now();
        (0..times).for_each(|_| drop(black_box(self.counter.read())));
        begun.elapsed()
    }

    fn read_set(&mut self, times: u64) -> Duration {
        let begun = Instant::now();
        (0..times).for_each(|_| drop(black_box(self.small.read())));
        begun.elapsed()
    }
}
