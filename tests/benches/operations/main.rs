//! What operations cost: natively at the level of the store and at that of the replica, through the component in
//! wasmtime, and in the crate `crdts` where it has the same operation.
//!
//! `cargo xtask bench [FILTER]` runs them. A name is *operation/subject/writers*. The database is of the same size however
//! many writers wrote it, so that what the number of writers costs can be told from what the number of entries costs.

mod component;
mod database;
mod native;
mod requests;
mod rival;
mod store;

use std::time::Duration;

use criterion::Criterion;

use crate::component::ThroughComponent;
use crate::database::element;
use crate::native::NativeReplica;
use crate::rival::Crdts;
use crate::store::NativeStore;

/// By how many writers the database was written.
const WRITERS: [u64; 3] = [1, 100, 1_024];
/// How many operations are timed in one go; before and after it, what is not to be timed.
const STRETCH: u64 = 1_000;

/// Something that has the operations, with a database in it. Each method gives the time that the operations alone took,
/// and leaves the state as large as it was.
trait Subject: Sized {
    const NAME: &'static str;
    fn new(writers: u64) -> Self;
    /// Adds these elements to the large set, one a write.
    fn add(&mut self, elements: &[String]) -> Duration;
    fn increment(&mut self, times: u64) -> Duration;
    /// Takes in 1,000 elements that other replicas added to the large set.
    fn merge(&mut self) -> Duration;
    /// Reads the counter.
    fn read_counter(&mut self, times: u64) -> Duration;
    /// Reads the set of 1,000 elements.
    fn read_set(&mut self, times: u64) -> Duration;
}

fn main() {
    let mut criterion = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .configure_from_args();
    bench::<NativeStore>(&mut criterion);
    bench::<NativeReplica>(&mut criterion);
    bench::<ThroughComponent>(&mut criterion);
    bench::<Crdts>(&mut criterion);
    criterion.final_summary();
}

fn bench<S: Subject>(criterion: &mut Criterion) {
    for writers in WRITERS {
        // Made when a benchmark of it runs, since a filter may name none.
        let mut subject = None;
        let mut run = |name: &str, operation: fn(&mut S, u64, u64) -> Duration, stretch: u64| {
            criterion.bench_function(&format!("{name}/{}/{writers}", S::NAME), |bencher| {
                let subject = subject.get_or_insert_with(|| S::new(writers));
                let mut round = 0;
                bencher.iter_custom(|iterations| {
                    let mut time = Duration::ZERO;
                    let mut left = iterations;
                    while left > 0 {
                        let times = left.min(stretch);
                        time += operation(subject, times, round);
                        round += 1;
                        left -= times;
                    }
                    time
                });
            });
        };
        let add = |subject: &mut S, times, round| {
            let elements: Vec<String> = (0..times).map(|at| element(1_000_000 + round * STRETCH + at)).collect();
            subject.add(&elements)
        };
        run("orset-add", add, STRETCH);
        run("counter-increment", |subject, times, _| subject.increment(times), STRETCH);
        run("read-counter", |subject, times, _| subject.read_counter(times), STRETCH);
        run("read-orset-of-1000", |subject, times, _| subject.read_set(times), STRETCH);
        run("merge-1000", |subject, _, _| subject.merge(), 1);
    }
}
