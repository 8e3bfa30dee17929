//! The replica as the component wraps it, compiled natively: requests in, answers and frames out.

use std::hint::black_box;
use std::time::{Duration, Instant};

use dayfly_core::config::Config;
use dayfly_core::effect::{Effects, FrameId, Receipt, Verdict};
use dayfly_core::http::Request;
use dayfly_core::replica::Replica;
use dayfly_core::store::Range;
use dayfly_core::time::{Timestamp, Turn};

use crate::Subject;
use crate::database::{ADDITIONS, Additions, CHANCE, NOW, database};
use crate::requests::{self, CLUSTER, PAUSE_MS};

pub struct NativeReplica {
    replica: Replica,
    now: Timestamp,
    additions: Additions,
    published: Vec<FrameId>,
}

impl NativeReplica {
    fn call<T>(&mut self, call: impl FnOnce(&mut Replica, &mut Turn<'_>) -> T) -> T {
        call(&mut self.replica, &mut Turn { now: self.now, chance: &mut || CHANCE })
    }

    fn note(&mut self, effects: &Effects) {
        self.published.extend(effects.frames.iter().map(|frame| frame.id));
    }

    /// Requests one after the other; writes must succeed.
    fn requests(&mut self, requests: &[Request]) -> Duration {
        let begun = Instant::now();
        for request in requests {
            let response = self.call(|replica, turn| replica.invoke(request, turn));
            assert!(matches!(response.status, 200 | 204), "{}", response.status);
            self.note(&response.effects);
            black_box(response);
        }
        let time = begun.elapsed();
        self.now = self.now.plus_ms(PAUSE_MS);
        let confirmed = |id| Receipt { id, verdict: Verdict::Confirmed };
        let receipts: Vec<Receipt> = std::mem::take(&mut self.published).into_iter().map(confirmed).collect();
        let effects = self.call(|replica, turn| replica.settle(&receipts, turn));
        self.note(&effects);
        time
    }

    fn receive(&mut self, frame: Vec<u8>) -> Duration {
        let bodies = [frame];
        let begun = Instant::now();
        let effects = self.call(|replica, turn| replica.receive(&bodies, turn));
        let time = begun.elapsed();
        self.note(&effects);
        time
    }
}

impl Subject for NativeReplica {
    const NAME: &'static str = "replica";

    fn new(writers: u64) -> Self {
        let store = database(writers);
        let additions = Additions::new(writers, &store);
        let config = Config { name: Some("own".to_owned()), bootstrap_ms: 0, ..Config::usual(CLUSTER) };
        let mut turn = Turn { now: NOW, chance: &mut || CHANCE };
        let (mut replica, _) = Replica::start(config, &mut turn).expect("the configuration is within bounds");
        for piece in store.walk_down(Range::ALL, None, usize::MAX) {
            replica.load(&piece.chunk.encode(), &mut turn).expect("a chunk of a store can be loaded");
        }
        replica.wake(NOW.plus_ms(3_600_000), &mut turn);
        Self { replica, now: NOW, additions, published: Vec::new() }
    }

    fn add(&mut self, elements: &[String]) -> Duration {
        let before = self.replica.store().entry_count();
        let adds: Vec<Request> = elements.iter().map(|element| requests::add(element)).collect();
        let time = self.requests(&adds);
        assert_eq!(self.replica.store().entry_count(), before + elements.len());
        self.requests(&[requests::remove(elements)]);
        time
    }

    fn increment(&mut self, times: u64) -> Duration {
        self.requests(&vec![requests::increment(); times as usize])
    }

    fn merge(&mut self) -> Duration {
        let before = self.replica.store().entry_count();
        let (_, chunk, gone) = self.additions.next();
        let time = self.receive(requests::frame(chunk));
        assert_eq!(self.replica.store().entry_count() as u64, before as u64 + ADDITIONS);
        self.receive(requests::frame(gone));
        time
    }

    fn read_counter(&mut self, times: u64) -> Duration {
        self.requests(&vec![requests::read_counter(); times as usize])
    }

    fn read_set(&mut self, times: u64) -> Duration {
        self.requests(&vec![requests::read_set(); times as usize])
    }
}
