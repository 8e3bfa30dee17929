//! The log: what everyone was sent, and what was sent to it alone.

use dayfly_engine::broker::{BATCH_BYTES_MAX, BATCH_MESSAGES_MAX};
use dayfly_engine::contract::{Route, Verdict};
use dayfly_engine::{Broker, BrokerError};

use crate::rig::{Cluster, one};

const LOG_BYTES: u64 = 64 << 20;

/// The whole log. Each batch is within its bounds.
async fn read(cluster: &Cluster) -> Vec<Vec<u8>> {
    let mut reader = cluster.broker.read_log().await.expect("it opens");
    let mut all = Vec::new();
    while let Some(batch) = reader.next().await.expect("it reads on") {
        let bytes: usize = batch.iter().map(|body| body.len()).sum();
        assert!(!batch.is_empty() && batch.len() <= BATCH_MESSAGES_MAX);
        assert!(batch.len() == 1 || bytes <= BATCH_BYTES_MAX, "{bytes}");
        all.extend(batch.into_iter().map(|body| body.to_vec()));
    }
    assert_eq!(reader.next().await, Ok(None));
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_without_a_log_says_so() {
    let cluster = Cluster::new("log-none").await;
    let Err(BrokerError::Refused(reason)) = cluster.broker.read_log().await else { panic!("there is no log") };
    assert!(reason.contains("no log"), "{reason}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_is_read_in_order_to_its_end_and_again() {
    let cluster = Cluster::with("log", |config| config.log_bytes = LOG_BYTES).await;
    assert!(read(&cluster).await.is_empty());
    let mut a = cluster.attach("a").await;
    let mut wanted = Vec::new();
    let mut frames = Vec::new();
    for number in 0..1_500_u32 {
        let mut body = number.to_be_bytes().to_vec();
        body.resize(if number % 100 == 0 { 200_000 } else { 50 }, 0);
        let route = match number % 3 {
            0 => Route::Everyone,
            1 => Route::Log,
            _ => one("a"),
        };
        if route != one("a") {
            wanted.push(body.clone());
        }
        frames.push((route, body, None));
    }
    assert!(a.publish_all(frames).await.iter().all(|verdict| *verdict == Verdict::Confirmed));
    for _ in 0..2 {
        let found = read(&cluster).await;
        assert_eq!(found.len(), wanted.len());
        assert!(found == wanted, "the log is in the order of publishing");
    }
    // It outlives all replicas.
    a.link.retire().await;
    assert!(read(&cluster).await == wanted);
    cluster.purge(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_ends_at_what_was_there_when_it_was_opened() {
    let cluster = Cluster::with("log-end", |config| config.log_bytes = LOG_BYTES).await;
    let mut a = cluster.attach("a").await;
    assert_eq!(a.publish(Route::Log, b"before").await, Verdict::Confirmed);
    let mut reader = cluster.broker.read_log().await.expect("it opens");
    assert_eq!(a.publish(Route::Log, b"after").await, Verdict::Confirmed);
    let batch = reader.next().await.expect("it reads").expect("there is one");
    assert_eq!(batch, [&b"before"[..]]);
    assert_eq!(reader.next().await, Ok(None));
    assert_eq!(read(&cluster).await, [&b"before"[..], b"after"]);
    cluster.purge(&["a"]).await;
}
