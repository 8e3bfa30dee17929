//! Replicas whose broker goes away, falls silent, is read from its beginning, or loses its combiner; and whose process
//! is stopped.

mod guest;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use bytes::Bytes;
use dayfly_engine::broker::BoxFuture;
use dayfly_engine::contract::{Config, Frame, Receipt, Request, Response, Route, Verdict};
use dayfly_engine::{
    Attachment, Broker, BrokerError, Bus, BusConfig, BusLink, Ended, Event, Lease, Limits, Link, LogReader, Phase,
    Replica, ReplicaOptions, Report, Runtime, Source, SystemWorld,
};

/// Long enough for anything that is awaited, on a machine that does other things too.
const PATIENCE: Duration = Duration::from_secs(30);
const VISITS: &str = "/v1/data/pncounter/visits";

fn runtime() -> Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    let limits = Limits { instances: 100, ..Limits::default() };
    RUNTIME.get_or_init(|| Runtime::new(&guest::replica_component(), limits).expect("it compiles")).clone()
}

/// What ails a broker.
#[derive(Default)]
struct Mood {
    /// It cannot be reached.
    away: AtomicBool,
    /// It takes everything and never says so.
    mute: AtomicBool,
    /// A link that is asked for a sign of life gives none.
    lifeless: AtomicBool,
    /// How often it was asked for one.
    probes: AtomicUsize,
    /// How often its log was opened.
    opened: AtomicUsize,
}

impl Mood {
    fn set(flag: &AtomicBool, value: bool) {
        flag.store(value, Ordering::SeqCst);
    }
}

/// A bus that has moods.
#[derive(Clone)]
struct Moody {
    bus: Bus,
    mood: Arc<Mood>,
}

struct MoodyLink {
    inner: Box<dyn Link>,
    mood: Arc<Mood>,
    lifeless: bool,
}

fn unreachable_broker() -> BrokerError {
    BrokerError::Unreachable("it is moody".to_owned())
}

impl Broker for Moody {
    fn attach(&self, attachment: Attachment) -> BoxFuture<'_, Result<Box<dyn Link>, BrokerError>> {
        Box::pin(async move {
            if self.mood.away.load(Ordering::SeqCst) {
                return Err(unreachable_broker());
            }
            let inner = self.bus.attach(attachment).await?;
            Ok(Box::new(MoodyLink { inner, mood: Arc::clone(&self.mood), lifeless: false }) as Box<dyn Link>)
        })
    }

    /// The first two times something goes wrong: at once, and after the first messages.
    fn read_log(&self) -> BoxFuture<'_, Result<Box<dyn LogReader>, BrokerError>> {
        Box::pin(async move {
            match self.mood.opened.fetch_add(1, Ordering::SeqCst) {
                0 => Err(unreachable_broker()),
                1 => Ok(Box::new(CutShort(Some(self.bus.read_log().await?))) as Box<dyn LogReader>),
                _ => self.bus.read_log().await,
            }
        })
    }
}

/// A log of which only the first batch can be read.
struct CutShort(Option<Box<dyn LogReader>>);

impl LogReader for CutShort {
    fn next(&mut self) -> BoxFuture<'_, Result<Option<Vec<Bytes>>, BrokerError>> {
        Box::pin(async move {
            match self.0.take() {
                Some(mut reader) => reader.next().await,
                None => Err(unreachable_broker()),
            }
        })
    }
}

impl Link for MoodyLink {
    fn publish(&mut self, frames: Vec<Frame>) {
        self.inner.publish(frames);
    }

    fn serve_anyone(&mut self, serve: bool) {
        self.inner.serve_anyone(serve);
    }

    fn next(&mut self) -> BoxFuture<'_, Event> {
        Box::pin(async move {
            if std::mem::take(&mut self.lifeless) {
                return Event::Broken(unreachable_broker());
            }
            loop {
                match self.inner.next().await {
                    Event::Settled(_) if self.mood.mute.load(Ordering::SeqCst) => {}
                    event => return event,
                }
            }
        })
    }

    fn try_next(&mut self) -> Option<Event> {
        let mute = self.mood.mute.load(Ordering::SeqCst);
        self.inner.try_next().filter(|event| !(mute && matches!(event, Event::Settled(_))))
    }

    fn backlog(&self) -> usize {
        self.inner.backlog()
    }

    fn probe(&mut self) -> BoxFuture<'_, ()> {
        self.mood.probes.fetch_add(1, Ordering::SeqCst);
        self.lifeless = self.mood.lifeless.load(Ordering::SeqCst);
        Box::pin(std::future::ready(()))
    }

    fn acknowledge(&mut self, tags: &[u64]) {
        self.inner.acknowledge(tags);
    }

    fn detach(self: Box<Self>) -> BoxFuture<'static, ()> {
        self.inner.detach()
    }

    fn retire(self: Box<Self>) -> BoxFuture<'static, ()> {
        self.inner.retire()
    }
}

/// A bus with moods, and the options of the replicas on it.
struct Cluster {
    broker: Moody,
    options: ReplicaOptions,
}

impl Cluster {
    fn new() -> Self {
        let bus = Bus::new(BusConfig { log_bytes: 1 << 20, ..BusConfig::default() });
        let config = Config { bootstrap_ms: 0, ..guest::config("c", "a") };
        Self { broker: Moody { bus, mood: Arc::default() }, options: ReplicaOptions::standing(config) }
    }

    fn mood(&self) -> &Mood {
        &self.broker.mood
    }

    /// A replica whose broker has moods.
    async fn start(&self, name: &str) -> Replica {
        self.start_on(Arc::new(self.broker.clone()), name).await
    }

    /// A replica on the same bus that nothing ails.
    async fn start_well(&self, name: &str) -> Replica {
        self.start_on(Arc::new(self.broker.bus.clone()), name).await
    }

    async fn start_on(&self, broker: Arc<dyn Broker>, name: &str) -> Replica {
        let mut options = self.options.clone();
        options.config.name = Some(name.to_owned());
        // The first is the founder.
        options.config.bootstrap_ms = if name == "a" { 0 } else { 1_000 };
        Replica::start(&runtime(), broker, SystemWorld, options).await.expect("it starts")
    }

    /// A connection of nobody, to publish by hand.
    fn stranger(&self) -> BusLink {
        self.broker.bus.connect(&Attachment { name: "stranger".to_owned(), retention_ms: 60_000 })
    }

    /// Breaks a replica's link, and lets it make no other.
    fn go_away(&self, name: &str) {
        Mood::set(&self.mood().away, true);
        assert!(self.broker.bus.cut(name));
    }
}

fn frame(id: u64, route: Route, body: &[u8]) -> Frame {
    Frame { id, route, body: body.to_vec(), ttl_ms: None }
}

fn request(method: &str, path: &str, body: &str) -> Request {
    Request {
        method: method.to_owned(),
        path: path.to_owned(),
        query: String::new(),
        headers: Vec::new(),
        body: body.as_bytes().to_vec(),
    }
}

async fn call(replica: &Replica, method: &str, path: &str, body: &str) -> Response {
    let answer = tokio::time::timeout(PATIENCE, replica.invoke(request(method, path, body))).await;
    answer.expect("it answers in time").expect("it answers")
}

async fn increment(replica: &Replica) -> Response {
    call(replica, "POST", VISITS, r#"{"increment":1}"#).await
}

fn text(response: &Response) -> String {
    String::from_utf8_lossy(&response.body).into_owned()
}

async fn shows(replica: &Replica, path: &str, wanted: &str) {
    let began = Instant::now();
    loop {
        let response = call(replica, "GET", path, "").await;
        if text(&response).contains(wanted) {
            return;
        }
        assert!(began.elapsed() < PATIENCE, "{}: {path} has no {wanted}: {}", replica.name(), text(&response));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn report(replica: &Replica, wanted: impl FnMut(&Report) -> bool) -> Report {
    let mut report = replica.watch();
    let found = tokio::time::timeout(PATIENCE, report.wait_for(wanted)).await;
    found.expect("it comes in time").expect("the replica tells").clone()
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < PATIENCE, "in vain: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_awake_replica_lives_on_while_the_broker_is_away() {
    let mut cluster = Cluster::new();
    cluster.options.confirm_ms = 300;
    cluster.options.lease = Lease::Standing { lease_ms: 1_000 };
    let (a, b) = (cluster.start("a").await, cluster.start_well("b").await);
    shows(&b, "/v1/status", r#""complete":true"#).await;
    assert_eq!(increment(&a).await.status, 200);
    assert!(report(&a, |report| report.complete).await.connected);

    cluster.go_away("a");
    let parted = report(&a, |report| !report.connected).await;
    let response = call(&a, "GET", VISITS, "").await;
    assert!(response.status == 200 && text(&response).contains(r#""value":1"#), "{}", text(&response));
    let began = Instant::now();
    let response = increment(&a).await;
    assert!(response.status == 503 && text(&response).contains("unconfirmed"), "{}", text(&response));
    assert!(began.elapsed() >= Duration::from_millis(300), "{:?}", began.elapsed());
    shows(&a, VISITS, r#""value":2"#).await;
    // Its times come: the lease is renewed, twice.
    let mut phase = parted.phase;
    for _ in 0..2 {
        phase = report(&a, |report| report.phase != phase).await.phase;
        assert!(matches!(phase, Phase::Awake { .. }), "{phase:?}");
    }
    assert!(text(&call(&b, "GET", VISITS, "").await).contains(r#""value":1"#));

    Mood::set(&cluster.mood().away, false);
    report(&a, |report| report.connected).await;
    shows(&b, VISITS, r#""value":2"#).await;
    assert!(a.quiet(PATIENCE).await);
    let traffic = a.traffic();
    assert!(traffic.reconnections == 1 && traffic.failed >= 1, "{traffic:?}");
    assert!(traffic.sent.everyone.frames >= 3 && traffic.received.inbox.bytes > 0, "{traffic:?}");
    assert!(traffic.confirmed.count() >= 3 && traffic.confirmed.sum_us > 0, "{traffic:?}");
    assert_eq!(increment(&a).await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_are_obeyed_while_the_broker_is_away() {
    let cluster = Cluster::new();
    let a = cluster.start("a").await;
    cluster.go_away("a");
    report(&a, |report| !report.connected).await;
    assert!(tokio::time::timeout(PATIENCE, a.suspend()).await.expect("in time"));
    assert_eq!(a.report().phase, Phase::Frozen);
    // Thawed, it answers from what it knows.
    assert_eq!(call(&a, "GET", "/v1/status", "").await.status, 200);
    assert!(matches!(a.report(), Report { phase: Phase::Awake { .. }, connected: false, .. }));
    assert!(tokio::time::timeout(PATIENCE, a.leave()).await.expect("in time"));
    assert_eq!(a.ended().await, Ended::Left);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_replica_is_woken_without_a_broker_and_finds_it_later() {
    let mut cluster = Cluster::new();
    cluster.options.confirm_ms = 100;
    cluster.options.lease = Lease::Invoked { awake_ms: 20_000, quiet_ms: None };
    let (a, b) = (cluster.start("a").await, cluster.start_well("b").await);
    assert_eq!(increment(&a).await.status, 200);
    shows(&b, VISITS, r#""value":1"#).await;
    assert!(a.suspend().await);
    // Longer than a process may stand still: a frozen replica does so by right.
    tokio::time::sleep(Duration::from_millis(2_500)).await;

    Mood::set(&cluster.mood().away, true);
    assert!(text(&call(&a, "GET", VISITS, "").await).contains(r#""value":1"#));
    assert_eq!(increment(&a).await.status, 503);
    assert!(!a.report().connected && a.report().freeze_gaps == 0, "{:?}", a.report());
    Mood::set(&cluster.mood().away, false);
    shows(&b, VISITS, r#""value":2"#).await;
    // It has announced that it is awake, although nobody heard so when it woke.
    let began = Instant::now();
    loop {
        let members = text(&call(&b, "GET", "/v1/members", "").await);
        if !members.contains("dormant") && members.contains(r#""name":"a""#) {
            break;
        }
        assert!(began.elapsed() < PATIENCE, "{members}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// One thread: what blocks the test blocks the replica, as a stopped process does.
#[tokio::test(flavor = "current_thread")]
async fn a_process_that_was_stopped_does_not_trust_its_link() {
    const STOP: Duration = Duration::from_secs(5);
    let cluster = Cluster::new();
    let a = cluster.start("a").await;
    assert_eq!(increment(&a).await.status, 200);
    assert_eq!((a.report().freeze_gaps, cluster.mood().probes.load(Ordering::SeqCst)), (0, 0));

    std::thread::sleep(STOP);
    let stopped = report(&a, |report| report.freeze_gaps == 1).await;
    assert!(stopped.freeze_gap_ms_max >= 2_000, "{stopped:?}");
    assert_eq!(cluster.mood().probes.load(Ordering::SeqCst), 1);
    assert_eq!(a.traffic().reconnections, 0);

    Mood::set(&cluster.mood().lifeless, true);
    std::thread::sleep(STOP);
    report(&a, |report| report.freeze_gaps == 2).await;
    Mood::set(&cluster.mood().lifeless, false);
    until("it makes another link", || a.traffic().reconnections == 1).await;
    assert_eq!(increment(&a).await.status, 200);
}

fn scribe() -> Runtime {
    let limits = Limits { instances: 4, memory_bytes: 16 << 20, call_ms: 1_000 };
    Runtime::new(&guest::scribe_component(), limits).expect("it compiles")
}

/// Waits until the scribe has been told the end of the log; gives how many bodies it has been given.
async fn told(replica: &Replica) -> u16 {
    let began = Instant::now();
    loop {
        let status = call(replica, "GET", "/v1/status", "").await.status;
        if status >= 2_200 {
            return status - 2_200;
        }
        assert!(began.elapsed() < PATIENCE, "{status}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_is_handed_in_from_its_beginning_to_its_end() {
    let cluster = Cluster::new();
    let mut stranger = cluster.stranger();
    stranger.publish((0..600).map(|id| frame(id, Route::Log, b"entry")).collect());
    let broker = Arc::new(cluster.broker.clone());
    let replica = Replica::start(&scribe(), broker, SystemWorld, cluster.options.clone()).await.expect("it starts");
    // Not reached at first; then a batch of 256 before it broke; then all.
    assert_eq!(told(&replica).await, 256 + 600);
    assert_eq!(cluster.mood().opened.load(Ordering::SeqCst), 3);
    let replayed = replica.traffic().replayed;
    assert_eq!((replayed.frames, replayed.bytes), (856, 5 * 856));
    // Once is enough.
    assert!(replica.wake(dayfly_engine::world::system_now_ms() + 10_000).await);
    assert_eq!(told(&replica).await, 256 + 600);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_there_is_not_holds_nothing() {
    let cluster = Cluster::new();
    let bus = Arc::new(Bus::new(BusConfig::default()));
    let replica = Replica::start(&scribe(), bus, SystemWorld, cluster.options.clone()).await.expect("it starts");
    assert_eq!(told(&replica).await, 0);
}

#[tokio::test]
async fn a_bus_keeps_of_its_log_what_fits() {
    let bus = Bus::new(BusConfig { log_bytes: 10 * (1_000 + 64), ..BusConfig::default() });
    let mut link = bus.connect(&Attachment { name: "a".to_owned(), retention_ms: 60_000 });
    for id in 0..20 {
        let route = if id % 2 == 0 { Route::Everyone } else { Route::Log };
        link.publish(vec![frame(id, route, &[id as u8; 1_000])]);
    }
    link.publish(vec![frame(20, Route::One("a".to_owned()), b"private")]);
    let Event::Settled(receipts) = link.next().await else { panic!("outcomes come first") };
    assert!(receipts.len() == 21 && receipts.iter().all(|receipt| receipt.verdict == Verdict::Confirmed));
    assert_eq!((bus.stats().log_messages, bus.stats().log_bytes), (10, 10_000));
    let mut reader = bus.read_log().await.expect("there is a log");
    // What comes after it was opened is not its concern.
    link.publish(vec![frame(21, Route::Log, b"late")]);
    let bodies = reader.next().await.expect("a bus does not fail").expect("there are messages");
    assert!(bodies.iter().map(|body| body[0]).eq(10..20), "{bodies:?}");
    assert_eq!((reader.next().await, reader.next().await), (Ok(None), Ok(None)));

    let without = Bus::new(BusConfig::default());
    let mut link = without.connect(&Attachment { name: "a".to_owned(), retention_ms: 60_000 });
    link.publish(vec![frame(1, Route::Log, b"entry")]);
    assert_eq!(link.next().await, Event::Settled(vec![Receipt { id: 1, verdict: Verdict::Unroutable }]));
    assert!(matches!(without.read_log().await, Err(BrokerError::Refused(_))));
}

/// Two replicas of which the first, which has moods, combines what the second has written.
async fn combine(cluster: &mut Cluster) -> (Replica, Replica) {
    cluster.options.config.combine_above = 0;
    cluster.options.config.combine_ms = 100;
    // The first to come is the active one.
    let a = cluster.start("a").await;
    let b = cluster.start_well("b").await;
    shows(&b, "/v1/status", r#""complete":true"#).await;
    let before = a.traffic().received.combiner.frames;
    assert_eq!(increment(&b).await.status, 200);
    until("the combiner takes the message", || a.traffic().received.combiner.frames > before).await;
    shows(&a, VISITS, r#""value":1"#).await;
    tokio::time::sleep(Duration::from_millis(1_000)).await;
    (a, b)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_combiner_took_and_did_not_pass_on_comes_to_the_next() {
    let mut cluster = Cluster::new();
    Mood::set(&cluster.mood().mute, true);
    let (a, b) = combine(&mut cluster).await;
    assert_eq!(b.traffic().received.combiner.frames, 0);
    a.kill();
    until("the next combiner is given it", || b.traffic().received.combiner.frames > 0).await;
    assert!(b.traffic().received.redelivered > 0, "{:?}", b.traffic());
    let c = cluster.start_well("c").await;
    shows(&c, VISITS, r#""value":1"#).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_combiner_passed_on_is_forgotten() {
    let mut cluster = Cluster::new();
    let (a, b) = combine(&mut cluster).await;
    b.kill();
    a.kill();
    a.ended().await;
    // Whoever is left would be given it.
    let mut stranger = cluster.stranger();
    let quiet = Instant::now();
    while quiet.elapsed() < Duration::from_millis(500) {
        if let Some(Event::Delivered(deliveries)) = stranger.try_next() {
            assert!(deliveries.iter().all(|delivery| delivery.source != Source::Combiner), "{deliveries:?}");
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
