//! Sequences of what clients, the broker and the platform do to three replicas. Whatever the order, nothing panics and
//! every state is sound; and once the faults stop, all are equal.

#![no_main]

use std::collections::VecDeque;

use dayfly_core::config::Config;
use dayfly_core::effect::{Effects, FrameId, Receipt, Route, Verdict};
use dayfly_core::http::Request;
use dayfly_core::replica::Replica;
use dayfly_core::time::{Timestamp, Turn};
use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;

const REPLICAS: usize = 3;
const NAMES: [&str; REPLICAS] = ["r0", "r1", "r2"];
const KEYS: [&str; 3] = ["k", "l", "%6d"];
/// Operations of each type, right and wrong.
const OPERATIONS: [(&str, &str); 18] = [
    ("gcounter", r#"{"increment":1}"#),
    ("gcounter", r#"{"increment":18446744073709551615}"#),
    ("pncounter", r#"{"increment":2}"#),
    ("pncounter", r#"{"decrement":9223372036854775807}"#),
    ("gset", r#"{"add":["a",1]}"#),
    ("orset", r#"{"add":["a","b"]}"#),
    ("orset", r#"{"remove":["a"]}"#),
    ("rwset", r#"{"add":["a",2]}"#),
    ("rwset", r#"{"remove":["a"]}"#),
    ("lwwregister", r#"{"set":{"b":1,"a":[]}}"#),
    ("mvregister", r#"{"set":"x"}"#),
    ("maxregister", r#"{"set":1.5}"#),
    ("minregister", r#"{"set":-3}"#),
    ("ewflag", r#"{"enable":true}"#),
    ("dwflag", r#"{"disable":true}"#),
    ("map", r#"{"update":{"f":{"type":"map","update":{"g":{"type":"orset","add":[1]}}}}}"#),
    ("map", r#"{"remove":["f"]}"#),
    ("map", r#"{"update":{"f":{"type":"gcounter","decrement":1}}}"#),
];

#[derive(Arbitrary, Clone, Debug)]
enum Act {
    Write {
        replica: u8,
        operation: u8,
        key: u8,
        minimal: bool,
    },
    Delete {
        replica: u8,
        operation: u8,
        key: u8,
    },
    Batch {
        replica: u8,
        operations: [(u8, u8); 2],
    },
    Deliver {
        replica: u8,
        count: u8,
    },
    Repeat {
        replica: u8,
        which: u8,
    },
    Lose {
        replica: u8,
        which: u8,
    },
    Swap {
        replica: u8,
        which: u8,
    },
    Settle {
        replica: u8,
        verdict: u8,
        which: u8,
    },
    Tick {
        replica: u8,
    },
    Pass {
        ms: u16,
    },
    Sleep {
        minutes: u8,
    },
    Suspend {
        replica: u8,
    },
    Wake {
        replica: u8,
        seconds: u8,
    },
    /// Killed, and started again under its name with what it had saved, or empty.
    Restart {
        replica: u8,
        saved: bool,
    },
}

struct Host {
    replica: Replica,
    seed: u64,
    inbox: VecDeque<Vec<u8>>,
    /// Frames whose outcome it has not heard.
    published: Vec<FrameId>,
    is_awake: bool,
}

struct Cluster {
    hosts: Vec<Host>,
    now: u64,
    incarnations: u64,
}

fuzz_target!(|acts: Vec<Act>| {
    let mut cluster = Cluster { hosts: Vec::new(), now: 1_700_000_000_000, incarnations: 0 };
    for index in 0..REPLICAS {
        let host = cluster.start(index, index == 0);
        cluster.hosts.push(host);
    }
    (0..REPLICAS).for_each(|index| cluster.wake(index, 60));
    for act in acts.iter().take(200) {
        cluster.act(act);
    }
    cluster.hosts.iter().for_each(|host| host.replica.store().assert_sound());
    cluster.heal();
});

impl Cluster {
    fn start(&mut self, index: usize, is_founder: bool) -> Host {
        self.incarnations += 1;
        let bootstrap_ms = if is_founder { 0 } else { 500 };
        let config = Config { name: Some(NAMES[index].into()), bootstrap_ms, frame_bytes: 4096, ..Config::usual("c") };
        let mut seed = self.incarnations << 32;
        let mut turn = Turn { now: Timestamp(self.now), chance: &mut || draw(&mut seed) };
        let (replica, _) = Replica::start(config, &mut turn).expect("the configuration is within bounds");
        Host { replica, seed, inbox: VecDeque::new(), published: Vec::new(), is_awake: false }
    }

    fn call(&mut self, index: usize, call: impl FnOnce(&mut Replica, &mut Turn<'_>) -> Effects) {
        let host = &mut self.hosts[index];
        let seed = &mut host.seed;
        let effects = call(&mut host.replica, &mut Turn { now: Timestamp(self.now), chance: &mut || draw(seed) });
        for frame in effects.frames {
            self.hosts[index].published.push(frame.id);
            let bounded = frame.body.len() <= 4096 + 8192 + 320;
            assert!(bounded, "a frame of {} bytes", frame.body.len());
            for to in 0..REPLICAS {
                let reaches = match &frame.route {
                    Route::Everyone => to != index,
                    Route::One(name) => NAMES[to] == name,
                    Route::Anyone | Route::Combiner => to == (index + 1) % REPLICAS,
                };
                if reaches {
                    self.hosts[to].inbox.push_back(frame.body.clone());
                }
            }
        }
    }

    fn wake(&mut self, index: usize, seconds: u64) {
        let until = Timestamp(self.now + 1000 * seconds);
        self.hosts[index].is_awake = true;
        self.call(index, |replica, turn| replica.wake(until, turn));
    }

    fn request(&mut self, index: usize, request: &Request) {
        // A platform wakes what it invokes.
        if !self.hosts[index].is_awake {
            self.wake(index, 60);
        }
        self.call(index, |replica, turn| {
            let response = replica.invoke(request, turn);
            assert!(matches!(response.status, 200 | 204 | 404 | 409 | 413 | 422 | 503), "{}", response.status);
            response.effects
        });
    }

    fn act(&mut self, act: &Act) {
        let at = |replica: u8| usize::from(replica) % REPLICAS;
        let operation = |which: u8| OPERATIONS[usize::from(which) % OPERATIONS.len()];
        let key = |which: u8| KEYS[usize::from(which) % KEYS.len()];
        match *act {
            Act::Write { replica, operation: which, key: name, minimal } => {
                let (data_type, body) = operation(which);
                let path = format!("/v1/data/{data_type}/{}", key(name));
                let headers = if minimal { vec![("prefer".into(), "return=minimal".into())] } else { vec![] };
                let request = Request { method: "POST".into(), path, headers, body: body.into(), ..Request::default() };
                self.request(at(replica), &request);
            }
            Act::Delete { replica, operation: which, key: name } => {
                let path = format!("/v1/data/{}/{}", operation(which).0, key(name));
                self.request(at(replica), &Request { method: "DELETE".into(), path, ..Request::default() });
            }
            Act::Batch { replica, operations } => {
                let parts = operations.map(|(which, name)| {
                    let (data_type, body) = operation(which);
                    format!(r#"{{"type":"{data_type}","key":"{}",{}"#, key(name).replace('%', ""), &body[1..])
                });
                let body = format!("[{}]", parts.join(",")).into_bytes();
                let request = Request { method: "POST".into(), path: "/v1/batch".into(), body, ..Request::default() };
                self.request(at(replica), &request);
            }
            Act::Deliver { replica, count } => self.deliver(at(replica), usize::from(count)),
            Act::Repeat { replica, which } => {
                let inbox = &mut self.hosts[at(replica)].inbox;
                if let Some(frame) = inbox.get(usize::from(which)).cloned() {
                    inbox.push_back(frame);
                }
            }
            Act::Lose { replica, which } => {
                self.hosts[at(replica)].inbox.remove(usize::from(which));
            }
            Act::Swap { replica, which } => {
                let inbox = &mut self.hosts[at(replica)].inbox;
                if usize::from(which) < inbox.len() {
                    inbox.swap(0, usize::from(which));
                }
            }
            Act::Settle { replica, verdict, which } => {
                let verdict = [Verdict::Confirmed, Verdict::Unroutable, Verdict::Failed][usize::from(verdict) % 3];
                self.settle(at(replica), verdict, 1 + usize::from(which) % 4);
            }
            Act::Tick { replica } => {
                if self.hosts[at(replica)].is_awake {
                    self.call(at(replica), |replica, turn| replica.tick(turn));
                }
            }
            Act::Pass { ms } => self.now += u64::from(ms),
            Act::Sleep { minutes } => self.now += 60_000 * u64::from(minutes),
            Act::Suspend { replica } => {
                self.hosts[at(replica)].is_awake = false;
                self.call(at(replica), |replica, turn| replica.suspend(turn));
            }
            Act::Wake { replica, seconds } => self.wake(at(replica), seconds.into()),
            Act::Restart { replica, saved } => self.restart(at(replica), saved),
        }
    }

    fn deliver(&mut self, index: usize, count: usize) {
        let host = &mut self.hosts[index];
        if host.is_awake {
            let count = count.min(host.inbox.len());
            let bodies: Vec<Vec<u8>> = host.inbox.drain(..count).collect();
            self.call(index, |replica, turn| replica.receive(&bodies, turn));
        }
    }

    fn settle(&mut self, index: usize, verdict: Verdict, count: usize) {
        let published = &mut self.hosts[index].published;
        let count = count.min(published.len());
        let receipts: Vec<Receipt> = published.drain(..count).map(|id| Receipt { id, verdict }).collect();
        self.call(index, |replica, turn| replica.settle(&receipts, turn));
    }

    fn restart(&mut self, index: usize, saved: bool) {
        let parts = match saved {
            true => self.hosts[index].replica.save(0).parts.into_iter().map(|part| part.chunk).collect(),
            false => Vec::new(),
        };
        // Time passes while a process starts, so that the new life is a later one.
        self.now += 1;
        let mut host = self.start(index, false);
        std::mem::swap(&mut host.inbox, &mut self.hosts[index].inbox);
        for part in &parts {
            let seed = &mut host.seed;
            let mut turn = Turn { now: Timestamp(self.now), chance: &mut || draw(seed) };
            host.replica.load(part, &mut turn).expect("what a replica saves can be loaded");
        }
        self.hosts[index] = host;
        self.wake(index, 60);
    }

    /// No more faults: frames arrive and are confirmed, and everybody is awake. Five minutes later all are equal.
    fn heal(&mut self) {
        for step in 0..3_000 {
            for index in 0..REPLICAS {
                if step % 300 == 0 {
                    self.wake(index, 60);
                }
                self.settle(index, Verdict::Confirmed, usize::MAX);
                self.deliver(index, usize::MAX);
                self.call(index, |replica, turn| replica.tick(turn));
            }
            let roots: Vec<_> = self.hosts.iter().map(|host| host.replica.store().root()).collect();
            let idle = self.hosts.iter().all(|host| host.inbox.is_empty() && host.published.is_empty());
            if idle && roots.windows(2).all(|pair| pair[0] == pair[1]) {
                self.hosts.iter().for_each(|host| host.replica.store().assert_sound());
                return;
            }
            self.now += 100;
        }
        panic!("the replicas are not equal five minutes after the last fault");
    }
}

fn draw(seed: &mut u64) -> u64 {
    *seed += 1;
    dayfly_core::digest::mix(*seed)
}
