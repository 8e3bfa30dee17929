//! Replicas that are awake as long as a platform grants, and what a host hands in to them.

mod guest;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use dayfly_engine::contract::{Config, Request, Response};
use dayfly_engine::world::system_now_ms;
use dayfly_engine::{
    Attachment, Broker, Bus, BusConfig, Event, Faults, Grant, InvokeError, Lease, Limits, Phase, Replica,
    ReplicaOptions, Runtime, SystemWorld,
};

/// Long enough for anything that is awaited, on a machine that does other things too.
const PATIENCE: Duration = Duration::from_secs(20);
/// Longer than any test takes.
const LONG_MS: u64 = 600_000;
const PATH: &str = "/v1/data/pncounter/visits";

async fn start(bus: &Bus, name: &str, first: Grant) -> Replica {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    let limits = Limits { instances: 10, ..Limits::default() };
    let runtime = RUNTIME.get_or_init(|| Runtime::new(&guest::replica_component(), limits).expect("it compiles"));
    let config = Config { bootstrap_ms: 0, name: Some(name.to_owned()), ..guest::config("c", name) };
    let lease = Lease::Granted { first, margin_ms: 100 };
    let options = ReplicaOptions { lease, ..ReplicaOptions::standing(config) };
    let replica = Replica::start(runtime, Arc::new(bus.clone()), SystemWorld, options).await.expect("it starts");
    // The first period has begun once this is carried out.
    assert!(replica.grant(first).await);
    replica
}

fn quiet(ms: u64) -> Grant {
    Grant { until_ms: system_now_ms() + LONG_MS, quiet_ms: Some(ms) }
}

fn lasting(ms: u64) -> Grant {
    Grant { until_ms: system_now_ms() + ms, quiet_ms: None }
}

async fn ask(replica: &Replica, method: &str, body: &str) -> Result<Response, InvokeError> {
    let (query, headers) = (String::new(), Vec::new());
    let request = Request { method: method.into(), path: PATH.into(), query, headers, body: body.into() };
    replica.invoke(request).await
}

async fn phase(replica: &Replica, wanted: impl Fn(&Phase) -> bool) -> Phase {
    let mut report = replica.watch();
    let found = tokio::time::timeout(PATIENCE, report.wait_for(|report| wanted(&report.phase))).await;
    found.expect("it comes in time").expect("the replica tells").phase.clone()
}

fn until(replica: &Replica) -> Option<u64> {
    match replica.report().phase {
        Phase::Awake { until_ms } => Some(until_ms),
        Phase::Frozen | Phase::Ended(_) => None,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_invocation_neither_prolongs_a_granted_period_nor_begins_one() {
    let bus = Bus::new(BusConfig::default());
    let first = lasting(LONG_MS);
    let a = start(&bus, "a", first).await;
    assert_eq!(until(&a), Some(first.until_ms));
    assert_eq!(ask(&a, "POST", r#"{"increment":1}"#).await.map(|response| response.status), Ok(200));
    assert_eq!(until(&a), Some(first.until_ms));
    assert!(a.suspend().await);
    assert_eq!(ask(&a, "GET", "").await.map(|response| response.status), Err(InvokeError::NotTaken));
    assert_eq!((a.report().phase, a.report().wakes), (Phase::Frozen, 1));

    assert!(a.grant(lasting(LONG_MS)).await);
    assert_eq!(ask(&a, "GET", "").await.map(|response| response.status), Ok(200));
    assert_eq!(a.report().wakes, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_period_ends_by_itself() {
    let bus = Bus::new(BusConfig::default());
    let a = start(&bus, "a", lasting(300)).await;
    phase(&a, |phase| *phase == Phase::Frozen).await;
    assert!(a.grant(lasting(LONG_MS)).await);
    assert!(until(&a).is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn quiet_ends_a_period_early_and_a_lasting_one_is_held() {
    let bus = Bus::new(BusConfig::default());
    let a = start(&bus, "a", quiet(50)).await;
    assert_eq!(ask(&a, "POST", r#"{"increment":1}"#).await.map(|response| response.status), Ok(200));
    phase(&a, |phase| *phase == Phase::Frozen).await;
    assert_eq!(a.report().unsettled, 0);

    // What was granted without regard to quiet is kept, also if a shorter and quiet one follows.
    let held = lasting(LONG_MS);
    assert!(a.grant(held).await);
    assert!(a.grant(Grant { until_ms: system_now_ms() + 1, quiet_ms: Some(1) }).await);
    assert!(a.quiet(PATIENCE).await);
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(until(&a), Some(held.until_ms));
    // The host may end it all the same.
    assert!(a.suspend().await);
    assert_eq!(a.report().phase, Phase::Frozen);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_host_hands_in_is_taken_in_and_answered_for() {
    // What one replica told everyone, as another queue would hold it.
    let bus = Bus::new(BusConfig::default());
    let tap = Attachment { name: "tap".to_owned(), retention_ms: LONG_MS };
    let mut link = bus.attach(tap).await.expect("it attaches");
    let a = start(&bus, "a", quiet(50)).await;
    assert_eq!(ask(&a, "POST", r#"{"increment":3}"#).await.map(|response| response.status), Ok(200));
    phase(&a, |phase| *phase == Phase::Frozen).await;
    let mut bodies: Vec<Bytes> = Vec::new();
    while let Some(event) = link.try_next() {
        if let Event::Delivered(deliveries) = event {
            bodies.extend(deliveries.into_iter().map(|delivery| delivery.body));
        }
    }
    assert!(!bodies.is_empty());

    let apart = Bus::new(BusConfig::default());
    let b = start(&apart, "b", lasting(LONG_MS)).await;
    bodies.push(Bytes::from_static(b"no frame"));
    assert!(b.deliver(bodies.clone()).await);
    assert!(b.deliver(Vec::new()).await);
    let read = ask(&b, "GET", "").await.expect("it answers");
    assert!(String::from_utf8_lossy(&read.body).contains(r#""value":3"#));
    // Frozen, it takes nothing.
    assert!(b.suspend().await);
    assert!(!b.deliver(bodies).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_that_is_not_confirmed_by_the_end_of_the_period_goes_out_in_the_next() {
    let bus = Bus::new(BusConfig::default());
    let a = start(&bus, "a", lasting(LONG_MS)).await;
    bus.set_faults(Faults { fail: 1.0, ..Faults::default() });
    let answer = ask(&a, "POST", r#"{"increment":1}"#).await.expect("it answers");
    assert_eq!(answer.status, 503);
    assert!(a.suspend().await);
    bus.set_faults(Faults::default());
    assert!(a.grant(quiet(50)).await);
    phase(&a, |phase| *phase == Phase::Frozen).await;
    assert_eq!(a.report().unsettled, 0);
}
