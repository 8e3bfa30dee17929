//! Running replicas on a bus: written to, frozen, cut off, killed.

mod guest;

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use dayfly_engine::broker::BoxFuture;
use dayfly_engine::contract::{Config, Frame, Request, Response};
use dayfly_engine::world::system_now_ms;
use dayfly_engine::{
    Attachment, Broker, BrokerError, Bus, BusConfig, Cause, Confirm, Ended, Event, Faults, InvokeError, Lease, Limits,
    Link, LogReader, MemoryVault, Phase, Replica, ReplicaOptions, Runtime, StartError, SystemWorld,
};

/// Long enough for anything that is awaited, on a machine that does other things too.
const PATIENCE: Duration = Duration::from_secs(20);

fn runtime() -> Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    let limits = Limits { instances: 100, ..Limits::default() };
    RUNTIME.get_or_init(|| Runtime::new(&guest::replica_component(), limits).expect("it compiles")).clone()
}

/// A bus, and the options of the replicas on it.
struct Cluster {
    bus: Bus,
    options: ReplicaOptions,
}

impl Cluster {
    fn new() -> Self {
        let config = Config { bootstrap_ms: 0, ..guest::config("c", "a") };
        Self { bus: Bus::new(BusConfig::default()), options: ReplicaOptions::standing(config) }
    }

    fn invoked(awake_ms: u64, quiet_ms: Option<u64>) -> Self {
        let mut cluster = Self::new();
        cluster.options.lease = Lease::Invoked { awake_ms, quiet_ms };
        cluster
    }

    async fn start(&self, name: &str) -> Replica {
        self.try_start(name).await.expect("it starts")
    }

    async fn try_start(&self, name: &str) -> Result<Replica, StartError> {
        self.start_on(Arc::new(self.bus.clone()), name).await
    }

    async fn start_on(&self, broker: Arc<dyn Broker>, name: &str) -> Result<Replica, StartError> {
        let mut options = self.options.clone();
        options.config.name = Some(name.to_owned());
        // The first is the founder.
        options.config.bootstrap_ms = if name == "a" { 0 } else { 1_000 };
        Replica::start(&runtime(), broker, SystemWorld, options).await
    }
}

/// A broker that takes everything and never says so.
struct Silent(Bus);

struct SilentLink(Box<dyn Link>);

impl Broker for Silent {
    fn attach(&self, attachment: Attachment) -> BoxFuture<'_, Result<Box<dyn Link>, BrokerError>> {
        Box::pin(async move { Ok(Box::new(SilentLink(self.0.attach(attachment).await?)) as Box<dyn Link>) })
    }

    fn read_log(&self) -> BoxFuture<'_, Result<Box<dyn LogReader>, BrokerError>> {
        self.0.read_log()
    }
}

impl Link for SilentLink {
    fn publish(&mut self, frames: Vec<Frame>) {
        self.0.publish(frames);
    }

    fn serve_anyone(&mut self, serve: bool) {
        self.0.serve_anyone(serve);
    }

    fn next(&mut self) -> BoxFuture<'_, Event> {
        Box::pin(async move {
            loop {
                match self.0.next().await {
                    Event::Settled(_) => {}
                    event => return event,
                }
            }
        })
    }

    fn try_next(&mut self) -> Option<Event> {
        self.0.try_next().filter(|event| !matches!(event, Event::Settled(_)))
    }

    fn backlog(&self) -> usize {
        self.0.backlog()
    }

    fn acknowledge(&mut self, tags: &[u64]) {
        self.0.acknowledge(tags);
    }

    fn detach(self: Box<Self>) -> BoxFuture<'static, ()> {
        self.0.detach()
    }

    fn retire(self: Box<Self>) -> BoxFuture<'static, ()> {
        self.0.retire()
    }
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
    replica.invoke(request(method, path, body)).await.expect("it answers")
}

async fn increment(replica: &Replica) -> Response {
    call(replica, "POST", "/v1/data/pncounter/visits", r#"{"increment":1}"#).await
}

fn text(response: &Response) -> String {
    String::from_utf8_lossy(&response.body).into_owned()
}

/// Waits until a replica answers with this text somewhere in the body.
async fn shows(replica: &Replica, path: &str, wanted: &str) {
    let began = Instant::now();
    loop {
        let response = call(replica, "GET", path, "").await;
        if text(&response).contains(wanted) {
            return;
        }
        let name = replica.name();
        assert!(began.elapsed() < PATIENCE, "{name}: {path} has no {wanted}: {} {}", response.status, text(&response));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn phase(replica: &Replica, wanted: impl Fn(&Phase) -> bool) -> Phase {
    let mut report = replica.watch();
    let found = tokio::time::timeout(PATIENCE, report.wait_for(|report| wanted(&report.phase))).await;
    found.expect("it comes in time").expect("the replica tells").phase.clone()
}

const VISITS: &str = "/v1/data/pncounter/visits";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_confirmed_write_reaches_every_replica() {
    let cluster = Cluster::new();
    let (a, b, c) = (cluster.start("a").await, cluster.start("b").await, cluster.start("c").await);
    let response = increment(&a).await;
    assert_eq!(response.status, 200, "{}", text(&response));
    for replica in [&a, &b, &c] {
        shows(replica, VISITS, r#""value":1"#).await;
        assert!(replica.quiet(PATIENCE).await);
    }
    assert!(a.report().unsettled == 0 && matches!(a.report().phase, Phase::Awake { .. }));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_newcomer_is_handed_what_was_written_before_it_came() {
    let cluster = Cluster::new();
    let a = cluster.start("a").await;
    for _ in 0..10 {
        assert_eq!(increment(&a).await.status, 200);
    }
    let b = cluster.start("b").await;
    shows(&b, VISITS, r#""value":10"#).await;
    shows(&b, "/v1/status", r#""complete":true"#).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_that_the_broker_does_not_confirm_is_answered_so() {
    let mut cluster = Cluster::new();
    let a = cluster.start("a").await;
    assert_eq!(increment(&a).await.status, 200);
    cluster.bus.set_faults(Faults { fail: 1.0, ..Faults::default() });
    let response = increment(&a).await;
    assert_eq!(response.status, 503);
    assert!(text(&response).contains(r#""code":"unconfirmed""#), "{}", text(&response));
    assert!(response.headers.contains(&("dayfly-replica".to_owned(), "a".to_owned())));
    // It is applied all the same, and reads need no broker.
    shows(&a, VISITS, r#""value":2"#).await;

    cluster.options.confirm = Confirm::Local;
    let b = cluster.start("b").await;
    assert_eq!(increment(&b).await.status, 200);
    cluster.bus.set_faults(Faults::default());
    shows(&a, VISITS, r#""value":3"#).await;
    shows(&b, VISITS, r#""value":3"#).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_says_nothing_is_waited_for_no_longer_than_told() {
    let mut cluster = Cluster::new();
    cluster.options.confirm_ms = 300;
    let a = cluster.start_on(Arc::new(Silent(cluster.bus.clone())), "a").await.expect("it starts");
    let began = Instant::now();
    let response = increment(&a).await;
    assert!(response.status == 503 && text(&response).contains("unconfirmed"), "{}", text(&response));
    assert!(began.elapsed() >= Duration::from_millis(300), "{:?}", began.elapsed());
    // It freezes all the same.
    assert!(a.suspend().await);
    assert_eq!(a.report().phase, Phase::Frozen);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_replica_does_nothing_and_catches_up_when_it_wakes() {
    let cluster = Cluster::new();
    let (a, b) = (cluster.start("a").await, cluster.start("b").await);
    shows(&b, "/v1/status", r#""complete":true"#).await;
    assert!(b.suspend().await);
    assert_eq!(b.report().phase, Phase::Frozen);
    let wakes = b.report().wakes;
    for _ in 0..5 {
        assert_eq!(increment(&a).await.status, 200);
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    let waiting = cluster.bus.inbox_load("b").expect("its inbox is there").0;
    assert!(waiting >= 5, "{waiting} messages wait");
    assert_eq!(b.report().phase, Phase::Frozen);
    // The first answer after the thaw knows what waited.
    let response = call(&b, "GET", VISITS, "").await;
    assert!(text(&response).contains(r#""value":5"#), "{}", text(&response));
    assert_eq!(b.report().wakes, wakes + 1);
    assert!(matches!(b.report().phase, Phase::Awake { .. }));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_invoked_replica_is_awake_for_its_time_or_until_it_is_quiet() {
    let cluster = Cluster::invoked(1_000, None);
    let a = cluster.start("a").await;
    phase(&a, |phase| *phase == Phase::Frozen).await;
    let began = Instant::now();
    assert_eq!(increment(&a).await.status, 200);
    let Phase::Awake { until_ms } = phase(&a, |phase| matches!(phase, Phase::Awake { .. })).await else {
        unreachable!("it is what was waited for")
    };
    // Looking at it does not keep it awake.
    assert_eq!(a.peek(request("GET", VISITS, "")).await.expect("it is awake").status, 200);
    phase(&a, |phase| *phase == Phase::Frozen).await;
    assert!(system_now_ms() <= until_ms, "it keeps what it announced");
    assert!(began.elapsed() >= Duration::from_millis(900), "{:?}", began.elapsed());
    assert_eq!(a.peek(request("GET", VISITS, "")).await, None);
    assert_eq!(a.report().phase, Phase::Frozen);

    let cluster = Cluster::invoked(60_000, Some(100));
    let a = cluster.start("a").await;
    assert_eq!(increment(&a).await.status, 200);
    phase(&a, |phase| *phase == Phase::Frozen).await;
    assert_eq!(a.report().wakes, 1);
    assert!(a.wake(system_now_ms() + 5_000).await);
    assert_eq!(a.report().wakes, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_standing_replica_renews_its_lease() {
    let mut cluster = Cluster::new();
    cluster.options.lease = Lease::Standing { lease_ms: 1_000 };
    let a = cluster.start("a").await;
    let first = phase(&a, |phase| matches!(phase, Phase::Awake { .. })).await;
    let second = phase(&a, |phase| matches!(phase, Phase::Awake { .. }) && *phase != first).await;
    assert_ne!(first, second);
    assert_eq!(a.report().wakes, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_replica_ends_at_once_and_its_callers_are_told() {
    let cluster = Cluster::new();
    let (a, b) = (cluster.start("a").await, cluster.start("b").await);
    shows(&b, "/v1/status", r#""complete":true"#).await;
    assert_eq!(increment(&a).await.status, 200);
    // Its broker answers nothing, so the write below is in doubt when the replica dies.
    let slow = cluster.start_on(Arc::new(Silent(cluster.bus.clone())), "slow").await.expect("it starts");
    let in_doubt = {
        let slow = slow.clone();
        tokio::spawn(async move { slow.invoke(request("POST", VISITS, r#"{"increment":1}"#)).await })
    };
    let mut report = slow.watch();
    let taken = tokio::time::timeout(PATIENCE, report.wait_for(|report| report.invocations == 1)).await;
    drop(taken.expect("it takes the request in time").expect("it lives"));
    slow.kill();
    assert_eq!(in_doubt.await.expect("it ends"), Err(InvokeError::InDoubt));
    assert_eq!(slow.ended().await, Ended::Killed);
    assert_eq!(slow.invoke(request("GET", VISITS, "")).await, Err(InvokeError::NotTaken));
    assert!(!slow.wake(system_now_ms() + 1_000).await);
    assert!(!slow.leave().await);
    // The database lives, and the frame had been sent.
    assert_eq!(increment(&b).await.status, 200);
    shows(&a, VISITS, r#""value":3"#).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_leaves_is_gone_for_the_others() {
    let cluster = Cluster::new();
    let (a, b) = (cluster.start("a").await, cluster.start("b").await);
    shows(&a, "/v1/members", r#""name":"b""#).await;
    assert!(b.leave().await);
    assert_eq!(b.ended().await, Ended::Left);
    assert_eq!(cluster.bus.inbox_load("b"), None);
    let began = Instant::now();
    loop {
        let members = text(&call(&a, "GET", "/v1/members", "").await);
        let b_is_there =
            members.split("},{").any(|member| member.contains(r#""name":"b""#) && !member.contains(r#""gone""#));
        if !b_is_there {
            break;
        }
        assert!(began.elapsed() < PATIENCE, "{members}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_link_is_mended_and_nothing_is_lost() {
    let cluster = Cluster::new();
    let (a, b) = (cluster.start("a").await, cluster.start("b").await);
    shows(&b, "/v1/status", r#""complete":true"#).await;
    for round in 1..=20 {
        assert!(cluster.bus.cut("a"));
        assert!(cluster.bus.cut("b"));
        let response = increment(&a).await;
        assert!(response.status == 200 || response.status == 503, "{}", text(&response));
        shows(&b, VISITS, &format!(r#""value":{round}"#)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_replicas_with_one_name_the_earlier_ends() {
    let cluster = Cluster::new();
    let earlier = cluster.start("a").await;
    let later = cluster.start("a").await;
    assert_eq!(earlier.ended().await, Ended::Refused(BrokerError::TakenOver));
    assert_eq!(increment(&later).await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stored_state_is_handed_in_at_the_start_and_after_too_long_a_freeze() {
    let mut cluster = Cluster::new();
    cluster.options.config.retention_ms = 1_000;
    cluster.options.config.skew_ms = 0;
    cluster.options.vault = Some(Arc::new(MemoryVault::default()));
    cluster.options.lease = Lease::Invoked { awake_ms: 500, quiet_ms: Some(50) };
    let a = cluster.start("a").await;
    assert_eq!(increment(&a).await.status, 200);
    phase(&a, |phase| *phase == Phase::Frozen).await;
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    assert_eq!(cluster.bus.inbox_load("a"), None);
    // It starts anew: its memory is forgotten, its vault is not, and its inbox is there again.
    let response = call(&a, "GET", VISITS, "").await;
    assert!(text(&response).contains(r#""value":1"#), "{}", text(&response));
    assert!(cluster.bus.inbox_load("a").is_some());
    phase(&a, |phase| *phase == Phase::Frozen).await;
    a.kill();

    let again = cluster.start("again").await;
    shows(&again, VISITS, r#""value":1"#).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn faults_of_the_broker_are_healed() {
    let cluster = Cluster::new();
    let replicas = [cluster.start("a").await, cluster.start("b").await, cluster.start("c").await];
    for replica in &replicas {
        shows(replica, "/v1/status", r#""complete":true"#).await;
    }
    cluster.bus.set_faults(Faults { seed: 1, drop: 0.3, duplicate: 0.3, delay: 0.3, delay_ms_max: 50, fail: 0.2 });
    let mut written = 0;
    for round in 0..60 {
        let response = increment(&replicas[round % 3]).await;
        // An unconfirmed write is applied too.
        assert!(response.status == 200 || text(&response).contains("unconfirmed"), "{}", text(&response));
        written += 1;
    }
    cluster.bus.set_faults(Faults::default());
    // One more write tells everyone that something is amiss.
    assert_eq!(increment(&replicas[0]).await.status, 200);
    written += 1;
    for replica in &replicas {
        shows(replica, VISITS, &format!(r#""value":{written}"#)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_configuration_is_refused() {
    let mut cluster = Cluster::new();
    cluster.options.config.frame_bytes = 1;
    let error = cluster.try_start("a").await.expect_err("it is out of bounds");
    assert!(matches!(&error, StartError::Config(reason) if reason.starts_with("frame-bytes")), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_guest_that_hangs_or_traps_ends_its_replica_and_nothing_else() {
    let limits = Limits { instances: 4, memory_bytes: 16 << 20, call_ms: 200 };
    let hostile = Runtime::new(&guest::hostile_component(), limits).expect("it compiles");
    let cluster = Cluster::new();
    let good = cluster.start("a").await;
    let start = |lease| {
        let broker: Arc<dyn Broker> = Arc::new(cluster.bus.clone());
        let options = ReplicaOptions { lease, ..cluster.options.clone() };
        Replica::start(&hostile, broker, SystemWorld, options)
    };
    // It swells as soon as it is woken.
    let swelling = start(Lease::Standing { lease_ms: 1_000 }).await.expect("it starts");
    let Ended::Lost(lost) = swelling.ended().await else { panic!("{swelling:?}") };
    assert_eq!(lost.cause, Cause::OutOfMemory);
    let swelling = start(Lease::Invoked { awake_ms: 1_000, quiet_ms: None }).await.expect("it starts");
    assert!(swelling.invoke(request("GET", VISITS, "")).await.is_err());
    assert!(matches!(swelling.ended().await, Ended::Lost(_)));
    assert_eq!(increment(&good).await.status, 200);
}
