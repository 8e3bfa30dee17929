//! Where frames go, and what is said of them.

use dayfly_engine::Source;
use dayfly_engine::contract::{Route, Verdict};

use crate::rig::{Cluster, one, sources};

#[tokio::test(flavor = "multi_thread")]
async fn everyone_reaches_each_inbox_the_senders_own_included() {
    let cluster = Cluster::new("everyone").await;
    let (mut a, mut b, mut c) = (cluster.attach("a").await, cluster.attach("b").await, cluster.attach("c").await);
    assert_eq!(a.publish(Route::Everyone, b"hello").await, Verdict::Confirmed);
    for peer in [&mut a, &mut b, &mut c] {
        let deliveries = peer.take(1).await;
        assert_eq!((&deliveries[0].body[..], deliveries[0].source), (&b"hello"[..], Source::Inbox));
        assert!(!deliveries[0].redelivered);
    }
    cluster.purge(&["a", "b", "c"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_reaches_that_inbox_in_order_however_large() {
    let cluster = Cluster::new("one").await;
    let (mut a, mut b) = (cluster.attach("a").await, cluster.attach("b").await);
    // The last is longer than a frame of AMQP.
    let bodies = [vec![], vec![1], vec![2; 64 << 10], vec![3; 1 << 20]];
    let frames = bodies.iter().map(|body| (one("b"), body.clone(), None)).collect();
    assert_eq!(a.publish_all(frames).await, [Verdict::Confirmed; 4]);
    assert!(b.bodies(4).await == bodies);
    assert!(a.rest().await.is_empty());
    cluster.purge(&["a", "b"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_frame_has_its_own_outcome_among_many() {
    let cluster = Cluster::new("outcomes").await;
    let (mut a, mut b) = (cluster.attach("a").await, cluster.attach("b").await);
    let to_nobody = |number: u32| number % 3 == 1 || number % 7 == 2;
    // Those with a time to live are confirmed at once, the others when they are on disk: out of order.
    let frames = (0..1_000).map(|number: u32| {
        let route = if to_nobody(number) { one("nobody") } else { one("b") };
        (route, number.to_be_bytes().to_vec(), number.is_multiple_of(2).then_some(60_000))
    });
    let verdicts = a.publish_all(frames.collect()).await;
    for (number, verdict) in (0..).zip(&verdicts) {
        let wanted = if to_nobody(number) { Verdict::Unroutable } else { Verdict::Confirmed };
        assert_eq!(*verdict, wanted, "frame {number}");
    }
    let wanted: Vec<Vec<u8>> = (0..1_000).filter(|n| !to_nobody(*n)).map(|n: u32| n.to_be_bytes().to_vec()).collect();
    let mut found = Vec::new();
    while found.len() < wanted.len() {
        found.extend(b.bodies((wanted.len() - found.len()).min(100)).await);
    }
    assert!(found == wanted);
    cluster.purge(&["a", "b"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_frames_are_confirmed() {
    let cluster = Cluster::new("throughput").await;
    let (mut a, mut b) = (cluster.attach("a").await, cluster.attach("b").await);
    for (kind, ttl_ms) in [("to disk", None), ("in memory", Some(60_000))] {
        let began = std::time::Instant::now();
        let frames = vec![(one("b"), vec![7; 200], ttl_ms); 10_000];
        assert_eq!(a.publish_all(frames).await, vec![Verdict::Confirmed; 10_000]);
        let confirmed = began.elapsed();
        for _ in 0..100 {
            b.bodies(100).await;
        }
        println!("10,000 frames of 200 bytes, {kind}: confirmed in {confirmed:?}, received in {:?}", began.elapsed());
    }
    cluster.purge(&["a", "b"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn anyone_reaches_one_of_those_that_serve_it() {
    let cluster = Cluster::new("anyone").await;
    let (mut a, mut b, mut c) = (cluster.attach("a").await, cluster.attach("b").await, cluster.attach("c").await);
    a.link.serve_anyone(true);
    b.link.serve_anyone(true);
    for _ in 0..2 {
        a.rest().await;
        b.rest().await;
    }
    assert_eq!(c.publish_all(vec![(Route::Anyone, vec![1], None); 40]).await, vec![Verdict::Confirmed; 40]);
    // No more than it may hold unacknowledged, so the other has its share.
    let at_a = a.rest().await;
    assert!(!at_a.is_empty() && at_a.len() <= 16 && sources(&at_a).iter().all(|s| *s == Source::Anyone), "{at_a:?}");
    a.acknowledge(&at_a);
    let mut all = at_a.len();
    while all < 40 {
        for peer in [&mut a, &mut b] {
            let deliveries = peer.rest().await;
            peer.acknowledge(&deliveries);
            all += deliveries.len();
        }
    }
    assert!(c.rest().await.is_empty());
    cluster.purge(&["a", "b", "c"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_no_longer_serves_anyone_gives_back_what_it_was_not_given() {
    let cluster = Cluster::new("anyone-back").await;
    let (mut a, mut b) = (cluster.attach("a").await, cluster.attach("b").await);
    a.link.serve_anyone(true);
    a.rest().await;
    assert_eq!(b.publish_all(vec![(Route::Anyone, vec![1], None); 10]).await, vec![Verdict::Confirmed; 10]);
    a.link.serve_anyone(false);
    assert!(a.rest().await.is_empty());
    b.link.serve_anyone(true);
    assert_eq!(b.bodies(10).await.len(), 10);
    b.link.serve_anyone(false);
    b.link.serve_anyone(true);
    assert_eq!(a.publish(Route::Anyone, b"again").await, Verdict::Confirmed);
    assert_eq!(b.bodies(1).await, [b"again"]);
    cluster.purge(&["a", "b"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn anyone_is_bounded_and_forgets_what_has_expired() {
    let cluster = Cluster::with("anyone-full", |config| config.anyone_bytes = 1_000).await;
    let mut a = cluster.attach("a").await;
    let frames = vec![(Route::Anyone, vec![1; 400], Some(1_500)); 8];
    let verdicts = a.publish_all(frames).await;
    assert_eq!(verdicts[..2], [Verdict::Confirmed; 2]);
    assert_eq!(*verdicts.last().expect("there are eight"), Verdict::Failed);
    tokio::time::sleep(std::time::Duration::from_millis(2_000)).await;
    assert_eq!(a.publish(Route::Anyone, b"room again").await, Verdict::Confirmed);
    a.link.serve_anyone(true);
    assert_eq!(a.bodies(1).await, [b"room again"]);
    cluster.purge(&["a"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_combiner_is_one_and_its_successor_gets_what_it_had_not_acknowledged() {
    let cluster = Cluster::new("combiner").await;
    let (mut a, mut b) = (cluster.attach("a").await, cluster.attach("b").await);
    let frames = (1..=5).map(|number| (Route::Combiner, vec![number], None)).collect();
    assert_eq!(b.publish_all(frames).await, [Verdict::Confirmed; 5]);
    let at_a = a.take(5).await;
    assert_eq!(sources(&at_a), [Source::Combiner; 5]);
    assert!(b.rest().await.is_empty());
    // Not in order, and with mail between.
    assert_eq!(b.publish(one("a"), b"mail").await, Verdict::Confirmed);
    assert_eq!(a.bodies(1).await, [b"mail"]);
    a.acknowledge(&[at_a[0].clone(), at_a[3].clone()]);
    a.rest().await;
    drop(a);
    let at_b = b.take(3).await;
    assert_eq!(at_b.iter().map(|delivery| delivery.body[0]).collect::<Vec<_>>(), [2, 3, 5]);
    assert!(at_b.iter().all(|delivery| delivery.redelivered && delivery.source == Source::Combiner));
    cluster.purge(&["a", "b"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_combiner_is_bounded() {
    let cluster = Cluster::with("combiner-full", |config| config.combiner_bytes = 1_000).await;
    let mut a = cluster.attach("a").await;
    // It holds 512 unacknowledged, and what waits beyond them is bounded.
    let verdicts = a.publish_all(vec![(Route::Combiner, vec![1; 400], None); 600]).await;
    assert_eq!(verdicts[0], Verdict::Confirmed);
    // Which of the later ones is the broker's affair: once, on a busy machine, the last was taken.
    assert!(verdicts.contains(&Verdict::Failed), "{verdicts:?}");
    cluster.purge(&["a"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_log_nothing_can_be_sent_to_it() {
    let cluster = Cluster::new("no-log").await;
    let mut a = cluster.attach("a").await;
    let frames = vec![(one("a"), vec![1], None), (Route::Log, vec![2], None), (one("a"), vec![3], None)];
    let verdicts = a.publish_all(frames).await;
    assert_eq!(verdicts, [Verdict::Confirmed, Verdict::Unroutable, Verdict::Confirmed]);
    cluster.purge(&["a"]).await;
}
