//! The store alone: no request, no frame.

use std::hint::black_box;
use std::time::{Duration, Instant};

use dayfly_core::cell::DataType;
use dayfly_core::clock::Stamp;
use dayfly_core::store::{Store, Write};
use dayfly_core::types;
use dayfly_core::types::operation::Operation;

use crate::Subject;
use crate::database::{ADDITIONS, Additions, COUNTER_KEY, LARGE_KEY, SMALL_KEY, database, own_writer};

pub struct NativeStore {
    store: Store,
    additions: Additions,
}

impl NativeStore {
    fn write(&mut self, key: &str, data_type: DataType, operation: &Operation) {
        let mut write = Write::begin(&mut self.store, own_writer(), usize::MAX / 2);
        types::apply(&mut write, key, data_type, operation, Stamp(0)).expect("there is room");
        black_box(write.commit());
    }

    fn read(&self, key: &str, data_type: DataType, times: u64) -> Duration {
        let begun = Instant::now();
        for _ in 0..times {
            let mut json = String::new();
            assert!(types::read(&self.store, black_box(key), data_type, &mut json));
            black_box(json);
        }
        begun.elapsed()
    }
}

impl Subject for NativeStore {
    const NAME: &'static str = "store";

    fn new(writers: u64) -> Self {
        let store = database(writers);
        Self { additions: Additions::new(writers, &store), store }
    }

    fn add(&mut self, elements: &[String]) -> Duration {
        let before = self.store.entry_count();
        let operations: Vec<Operation> = elements.iter().map(|element| Operation::Add(vec![element.clone()])).collect();
        let begun = Instant::now();
        operations.iter().for_each(|operation| self.write(LARGE_KEY, DataType::OrSet, operation));
        let time = begun.elapsed();
        assert_eq!(self.store.entry_count(), before + elements.len());
        self.write(LARGE_KEY, DataType::OrSet, &Operation::Remove(elements.to_vec()));
        time
    }

    fn increment(&mut self, times: u64) -> Duration {
        let begun = Instant::now();
        (0..times).for_each(|_| self.write(COUNTER_KEY, DataType::GCounter, &Operation::Increment(1)));
        begun.elapsed()
    }

    fn merge(&mut self) -> Duration {
        let (_, chunk, gone) = self.additions.next();
        let begun = Instant::now();
        let joined = self.store.join(&chunk);
        let time = begun.elapsed();
        assert_eq!(joined.added as u64, ADDITIONS);
        self.store.join(&gone);
        time
    }

    fn read_counter(&mut self, times: u64) -> Duration {
        self.read(COUNTER_KEY, DataType::GCounter, times)
    }

    fn read_set(&mut self, times: u64) -> Duration {
        self.read(SMALL_KEY, DataType::OrSet, times)
    }
}
