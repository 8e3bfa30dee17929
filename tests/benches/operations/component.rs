//! The component in wasmtime, called as hosts call it.

use std::hint::black_box;
use std::time::{Duration, Instant};

use dayfly_core::config::Config;
use dayfly_core::store::Range;
use dayfly_engine::contract::{Effects, FrameId, Part, Receipt, Request, Verdict};
use dayfly_engine::{Instance, VirtualClock, World};
use dayfly_tests::component::{from_config, from_request, runtime};

use crate::Subject;
use crate::database::{Additions, CHANCE, LARGE, NOW, database};
use crate::requests::{self, CLUSTER, PAUSE_MS};

pub struct ThroughComponent {
    instance: Instance,
    clock: VirtualClock,
    additions: Additions,
    published: Vec<FrameId>,
}

struct BenchWorld(VirtualClock);

impl World for BenchWorld {
    fn now_ms(&mut self) -> u64 {
        self.0.now_ms()
    }

    fn random_u64(&mut self) -> u64 {
        CHANCE
    }
}

impl ThroughComponent {
    fn note(&mut self, effects: &Effects) {
        self.published.extend(effects.frames.iter().map(|frame| frame.id));
    }

    /// Requests one after the other; they must succeed.
    fn requests(&mut self, requests: &[Request]) -> Duration {
        let begun = Instant::now();
        for request in requests {
            let response = self.instance.invoke(request).expect("the instance lives");
            assert!(matches!(response.status, 200 | 204), "{}", response.status);
            self.note(&response.effects);
            black_box(response);
        }
        let time = begun.elapsed();
        self.clock.advance_ms(PAUSE_MS);
        let confirmed = |id| Receipt { id, verdict: Verdict::Confirmed };
        let receipts: Vec<Receipt> = std::mem::take(&mut self.published).into_iter().map(confirmed).collect();
        let effects = self.instance.settle(&receipts).expect("the instance lives");
        self.note(&effects);
        time
    }

    fn receive(&mut self, frame: &[u8]) -> Duration {
        let begun = Instant::now();
        let effects = self.instance.receive(&[frame]).expect("the instance lives");
        let time = begun.elapsed();
        self.note(&effects);
        time
    }
}

impl Subject for ThroughComponent {
    const NAME: &'static str = "component";

    fn new(writers: u64) -> Self {
        let store = database(writers);
        let additions = Additions::new(writers, &store);
        let clock = VirtualClock::at_ms(NOW.0);
        let runtime = runtime().expect("the component is built");
        let mut instance = runtime.instantiate(BenchWorld(clock.clone())).expect("there is room for an instance");
        let config = Config { name: Some("own".to_owned()), bootstrap_ms: 0, ..Config::usual(CLUSTER) };
        instance.start(&from_config(&config)).expect("the configuration is within bounds");
        for piece in store.walk_down(Range::ALL, None, usize::MAX) {
            let part = Part { key: "any".to_owned(), chunk: piece.chunk.encode() };
            instance.load(&part).expect("a chunk of a store can be loaded");
        }
        instance.wake(NOW.0 + 3_600_000).expect("the instance lives");
        let request = from_request(&requests::read_set());
        let small = instance.invoke(&request).expect("the instance lives");
        assert!(small.status == 200 && small.body.len() > 16_000, "the database is in the instance, {LARGE} and more");
        Self { instance, clock, additions, published: Vec::new() }
    }

    fn add(&mut self, elements: &[String]) -> Duration {
        let adds: Vec<Request> = elements.iter().map(|element| from_request(&requests::add(element))).collect();
        let time = self.requests(&adds);
        self.requests(&[from_request(&requests::remove(elements))]);
        time
    }

    fn increment(&mut self, times: u64) -> Duration {
        self.requests(&vec![from_request(&requests::increment()); times as usize])
    }

    fn merge(&mut self) -> Duration {
        let (_, chunk, gone) = self.additions.next();
        let time = self.receive(&requests::frame(chunk));
        self.receive(&requests::frame(gone));
        time
    }

    fn read_counter(&mut self, times: u64) -> Duration {
        self.requests(&vec![from_request(&requests::read_counter()); times as usize])
    }

    fn read_set(&mut self, times: u64) -> Duration {
        self.requests(&vec![from_request(&requests::read_set()); times as usize])
    }
}
