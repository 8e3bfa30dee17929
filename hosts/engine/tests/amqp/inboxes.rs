//! The life of an inbox: it outlives links, has a bound, expires, and belongs to the latest link.

use std::time::{Duration, Instant};

use dayfly_engine::BrokerError;
use dayfly_engine::contract::{Route, Verdict};
use tokio::time::sleep;

use crate::rig::{Cluster, PATIENCE, one};

#[tokio::test(flavor = "multi_thread")]
async fn an_inbox_keeps_what_comes_while_nobody_is_attached() {
    let cluster = Cluster::new("detach").await;
    let (mut a, b) = (cluster.attach("a").await, cluster.attach("b").await);
    b.link.detach().await;
    assert_eq!(a.publish(Route::Everyone, b"1").await, Verdict::Confirmed);
    assert_eq!(a.publish(one("b"), b"2").await, Verdict::Confirmed);
    let mut b = cluster.attach("b").await;
    assert_eq!(b.link.backlog(), 2);
    // What waited is there at once: a replica that wakes drains its inbox without waiting.
    assert!(b.link.try_next().is_some());
    cluster.purge(&["a", "b"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_handed_over_before_the_end_of_a_link_is_sent() {
    let cluster = Cluster::new("flush").await;
    let (mut a, b) = (cluster.attach("a").await, cluster.attach("b").await);
    let mut b = b.link;
    let frame = |id| dayfly_engine::contract::Frame { id, route: one("a"), body: vec![id as u8], ttl_ms: None };
    b.publish((1..=100).map(frame).collect());
    b.detach().await;
    assert_eq!(a.bodies(100).await.len(), 100);
    cluster.purge(&["a", "b"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_dropped_link_had_not_acknowledged_comes_again() {
    let cluster = Cluster::new("drop").await;
    let (mut a, mut b) = (cluster.attach("a").await, cluster.attach("b").await);
    for body in [b"1", b"2", b"3"] {
        assert_eq!(a.publish(one("b"), body).await, Verdict::Confirmed);
    }
    let deliveries = b.take(3).await;
    b.acknowledge(&deliveries[..1]);
    b.rest().await;
    drop(b);
    let mut b = cluster.attach("b").await;
    let again = b.take(2).await;
    assert_eq!(again.iter().map(|delivery| delivery.body.to_vec()).collect::<Vec<_>>(), [b"2", b"3"]);
    assert!(again.iter().all(|delivery| delivery.redelivered));
    cluster.purge(&["a", "b"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_retires_takes_its_inbox_with_it() {
    let cluster = Cluster::new("retire").await;
    let (mut a, b) = (cluster.attach("a").await, cluster.attach("b").await);
    assert_eq!(a.publish(one("b"), b"here").await, Verdict::Confirmed);
    b.link.retire().await;
    assert_eq!(a.publish(one("b"), b"gone").await, Verdict::Unroutable);
    cluster.purge(&["a"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_inbox_drops_its_oldest_and_confirms() {
    let cluster = Cluster::with("overflow", |config| config.inbox_bytes = 1_000).await;
    let (mut a, b) = (cluster.attach("a").await, cluster.attach("b").await);
    b.link.detach().await;
    for number in 0..5 {
        assert_eq!(a.publish(one("b"), &[number; 300]).await, Verdict::Confirmed);
    }
    let mut b = cluster.attach("b").await;
    assert_eq!(b.link.backlog(), 3);
    assert_eq!(b.bodies(3).await, [vec![2; 300], vec![3; 300], vec![4; 300]]);
    cluster.purge(&["a", "b"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_inbox_vanishes_when_unused_for_the_retention() {
    let cluster = Cluster::new("expiry").await;
    let mut a = cluster.attach("a").await;
    let b = cluster.attach_for("b", 1_000).await;
    // As long as it is consumed it stays.
    sleep(Duration::from_millis(2_000)).await;
    assert_eq!(a.publish(one("b"), b"here").await, Verdict::Confirmed);
    b.link.detach().await;
    let began = Instant::now();
    while a.publish(one("b"), b"?").await != Verdict::Unroutable {
        assert!(began.elapsed() < PATIENCE, "it does not vanish");
        sleep(Duration::from_millis(100)).await;
    }
    assert!(began.elapsed() >= Duration::from_millis(900), "{:?}", began.elapsed());
    let b = cluster.attach_for("b", 1_000).await;
    assert_eq!(b.link.backlog(), 0);
    cluster.purge(&["a", "b"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_later_of_two_links_has_the_inbox() {
    let cluster = Cluster::new("take-over").await;
    let mut a = cluster.attach("a").await;
    let mut earlier = cluster.attach("b").await;
    // It holds something, which the later one gets.
    assert_eq!(a.publish(one("b"), b"held").await, Verdict::Confirmed);
    assert_eq!(earlier.take(1).await.len(), 1);
    let taking = tokio::spawn({
        let other = dayfly_engine::AmqpBroker::new(cluster.config.clone()).expect("it holds");
        async move {
            let attachment = dayfly_engine::Attachment { name: "b".to_owned(), retention_ms: crate::rig::RETENTION_MS };
            dayfly_engine::Broker::attach(&other, attachment).await
        }
    });
    assert_eq!(earlier.broken().await, BrokerError::TakenOver);
    let mut later = crate::rig::Peer::new(taking.await.expect("it ends").expect("it attaches"));
    assert_eq!(later.bodies(1).await, [b"held"]);
    assert_eq!(a.publish(one("b"), b"for the later").await, Verdict::Confirmed);
    assert_eq!(later.bodies(1).await, [b"for the later"]);
    assert!(earlier.rest().await.is_empty());
    cluster.purge(&["a", "b"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_earlier_link_that_does_not_listen_gets_nothing_more() {
    let cluster = Cluster::new("deaf").await;
    let mut a = cluster.attach("a").await;
    let mut frozen = cluster.attach("b").await;
    let mut later = cluster.attach("b").await;
    for number in 0..20 {
        assert_eq!(a.publish(one("b"), &[number]).await, Verdict::Confirmed);
    }
    assert_eq!(later.bodies(20).await, (0..20).map(|number| vec![number]).collect::<Vec<_>>());
    // It thaws, and reads what it was told.
    assert_eq!(frozen.broken().await, BrokerError::TakenOver);
    cluster.purge(&["a", "b"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_links_share_few_connections() {
    let cluster = Cluster::new("many").await;
    let mut peers = Vec::new();
    for number in 0..250 {
        peers.push(cluster.attach(&format!("n{number}")).await);
    }
    assert_eq!(peers[0].publish(Route::Everyone, b"to all").await, Verdict::Confirmed);
    for peer in &mut peers {
        assert_eq!(peer.bodies(1).await, [b"to all"]);
    }
    let names: Vec<String> = (0..250).map(|number| format!("n{number}")).collect();
    drop(peers);
    cluster.purge(&names.iter().map(String::as_str).collect::<Vec<_>>()).await;
}
