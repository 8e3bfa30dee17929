//! The in-process bus: each route, bound and failure mode that a broker has.

use dayfly_engine::broker::{BATCH_BYTES_MAX, BATCH_MESSAGES_MAX};
use dayfly_engine::contract::{Frame, Receipt, Route, Verdict};
use dayfly_engine::{
    Attachment, Broker, BrokerError, Bus, BusConfig, BusLink, Delivery, Event, Faults, Link, Source, VirtualClock,
};

const RETENTION_MS: u64 = 10_000;
/// What a message counts beyond its body.
const OVERHEAD: usize = 64;

struct Bench {
    bus: Bus,
    clock: VirtualClock,
    next_id: u64,
}

impl Bench {
    fn new(config: BusConfig) -> Self {
        let clock = VirtualClock::at_ms(1_000);
        Self { bus: Bus::with_clock(config, clock.clone()), clock, next_id: 0 }
    }

    fn usual() -> Self {
        Self::new(BusConfig::default())
    }

    fn connect(&self, name: &str) -> BusLink {
        self.bus.connect(&Attachment { name: name.to_owned(), retention_ms: RETENTION_MS })
    }

    /// Publishes one body and returns what the broker said.
    fn publish_with(&mut self, from: &mut BusLink, route: Route, body: &[u8], ttl_ms: Option<u32>) -> Verdict {
        self.next_id += 1;
        from.publish(vec![Frame { id: self.next_id, route, body: body.to_vec(), ttl_ms }]);
        match from.try_next() {
            Some(Event::Settled(receipts)) => {
                assert_eq!(receipts.len(), 1);
                assert_eq!(receipts[0].id, self.next_id);
                receipts[0].verdict
            }
            other => panic!("a receipt comes first, not {other:?}"),
        }
    }

    fn publish(&mut self, from: &mut BusLink, route: Route, body: &[u8]) -> Verdict {
        self.publish_with(from, route, body, None)
    }
}

/// All that a link has been delivered, without acknowledging.
fn take(link: &mut BusLink) -> Vec<Delivery> {
    let mut all = Vec::new();
    while let Some(event) = link.try_next() {
        match event {
            Event::Delivered(deliveries) => all.extend(deliveries),
            other => panic!("only deliveries are awaited, not {other:?}"),
        }
    }
    all
}

/// The bodies that a link has been delivered; all are acknowledged.
fn bodies(link: &mut BusLink) -> Vec<Vec<u8>> {
    let deliveries = take(link);
    link.acknowledge(&deliveries.iter().map(|delivery| delivery.tag).collect::<Vec<_>>());
    deliveries.into_iter().map(|delivery| delivery.body.to_vec()).collect()
}

fn one(name: &str) -> Route {
    Route::One(name.to_owned())
}

#[test]
fn everyone_reaches_each_inbox_the_senders_own_included() {
    let mut bench = Bench::usual();
    let (mut a, mut b, mut c) = (bench.connect("a"), bench.connect("b"), bench.connect("c"));
    assert_eq!(bench.publish(&mut a, Route::Everyone, b"hello"), Verdict::Confirmed);
    for link in [&mut a, &mut b, &mut c] {
        assert_eq!(bodies(link), [b"hello"]);
    }
}

#[test]
fn one_reaches_that_inbox_in_order() {
    let mut bench = Bench::usual();
    let (mut a, mut b) = (bench.connect("a"), bench.connect("b"));
    for body in [b"1", b"2", b"3"] {
        assert_eq!(bench.publish(&mut a, one("b"), body), Verdict::Confirmed);
    }
    assert_eq!(bodies(&mut b), [b"1", b"2", b"3"]);
    assert!(bodies(&mut a).is_empty());
}

#[test]
fn frames_of_one_publish_are_settled_each_in_order() {
    let bench = Bench::usual();
    let (mut a, mut b) = (bench.connect("a"), bench.connect("b"));
    let frame = |id, to| Frame { id, route: one(to), body: vec![id as u8], ttl_ms: None };
    a.publish(vec![frame(1, "b"), frame(2, "nobody"), frame(3, "b")]);
    let receipt = |id, verdict| Receipt { id, verdict };
    assert_eq!(
        a.try_next(),
        Some(Event::Settled(vec![
            receipt(1, Verdict::Confirmed),
            receipt(2, Verdict::Unroutable),
            receipt(3, Verdict::Confirmed)
        ]))
    );
    assert_eq!(bodies(&mut b), [[1], [3]]);
}

#[test]
fn an_inbox_keeps_what_comes_while_nobody_is_attached() {
    let mut bench = Bench::usual();
    let (mut a, b) = (bench.connect("a"), bench.connect("b"));
    drop(b);
    assert_eq!(bench.publish(&mut a, Route::Everyone, b"while b is frozen"), Verdict::Confirmed);
    bench.clock.advance_ms(RETENTION_MS - 1);
    let mut b = bench.connect("b");
    assert_eq!(b.backlog(), 1);
    assert_eq!(bodies(&mut b), [b"while b is frozen"]);
}

#[test]
fn an_inbox_vanishes_when_unused_for_the_retention_and_its_sender_is_told() {
    let mut bench = Bench::usual();
    let (mut a, b) = (bench.connect("a"), bench.connect("b"));
    drop(b);
    assert_eq!(bench.publish(&mut a, one("b"), b"lost"), Verdict::Confirmed);
    bench.clock.advance_ms(RETENTION_MS);
    assert_eq!(bench.publish(&mut a, one("b"), b"too late"), Verdict::Unroutable);
    assert_eq!(bench.bus.stats().expired_inboxes, 1);
    let mut b = bench.connect("b");
    assert_eq!(b.backlog(), 0);
    assert!(bodies(&mut b).is_empty());
    // It is used again, so it does not expire.
    bench.clock.advance_ms(2 * RETENTION_MS);
    assert_eq!(bench.publish(&mut a, one("b"), b"here"), Verdict::Confirmed);
}

#[test]
fn a_name_that_never_was_is_unroutable() {
    let mut bench = Bench::usual();
    let mut a = bench.connect("a");
    assert_eq!(bench.publish(&mut a, one("nobody"), b"?"), Verdict::Unroutable);
    assert_eq!(bench.bus.stats().unroutable, 1);
}

#[tokio::test]
async fn a_replica_that_leaves_takes_its_inbox_with_it() {
    let mut bench = Bench::usual();
    let (mut a, b) = (bench.connect("a"), bench.connect("b"));
    (Box::new(b) as Box<dyn Link>).retire().await;
    assert_eq!(bench.publish(&mut a, one("b"), b"?"), Verdict::Unroutable);
}

#[test]
fn a_full_inbox_drops_its_oldest_and_confirms() {
    let mut bench = Bench::new(BusConfig { inbox_bytes: 3 * (100 + OVERHEAD), ..BusConfig::default() });
    let (mut a, mut b) = (bench.connect("a"), bench.connect("b"));
    for number in 0..5 {
        assert_eq!(bench.publish(&mut a, one("b"), &[number; 100]), Verdict::Confirmed);
    }
    assert_eq!(bench.bus.inbox_load("b"), Some((3, 3 * (100 + OVERHEAD))));
    assert_eq!(bodies(&mut b), [[2; 100], [3; 100], [4; 100]]);
    assert_eq!(bench.bus.stats().dropped, 2);
}

#[test]
fn what_is_larger_than_an_inbox_is_dropped_and_the_bound_holds() {
    let mut bench = Bench::new(BusConfig { inbox_bytes: 1_000, ..BusConfig::default() });
    let (mut a, mut b) = (bench.connect("a"), bench.connect("b"));
    assert_eq!(bench.publish(&mut a, one("b"), &[0; 2_000]), Verdict::Confirmed);
    assert_eq!(bench.bus.inbox_load("b"), Some((0, 0)));
    assert!(bodies(&mut b).is_empty());
}

#[test]
fn empty_messages_meet_the_bound_too() {
    let mut bench = Bench::new(BusConfig { inbox_bytes: 1_000, ..BusConfig::default() });
    let (mut a, _b) = (bench.connect("a"), bench.connect("b"));
    for _ in 0..100 {
        bench.publish(&mut a, one("b"), b"");
    }
    assert_eq!(bench.bus.inbox_load("b"), Some((1_000 / OVERHEAD, 1_000 / OVERHEAD * OVERHEAD)));
}

#[test]
fn a_message_is_worth_nothing_after_its_time_to_live() {
    let mut bench = Bench::usual();
    let (mut a, mut b) = (bench.connect("a"), bench.connect("b"));
    b.serve_anyone(true);
    bench.publish_with(&mut a, one("b"), b"short", Some(50));
    bench.publish_with(&mut a, one("b"), b"long", Some(5_000));
    bench.publish_with(&mut a, one("b"), b"for good", None);
    bench.publish_with(&mut a, Route::Anyone, b"short, anyone", Some(50));
    bench.clock.advance_ms(50);
    assert_eq!(bodies(&mut b), [b"long".to_vec(), b"for good".to_vec()]);
    // The expired one does not count as held.
    for _ in 0..BusConfig::default().anyone_prefetch {
        bench.publish(&mut a, Route::Anyone, b"again");
    }
    assert_eq!(bodies(&mut b).len(), BusConfig::default().anyone_prefetch);
}

#[test]
fn what_was_not_acknowledged_comes_again_and_is_marked() {
    let mut bench = Bench::usual();
    let (mut a, mut b) = (bench.connect("a"), bench.connect("b"));
    for body in [b"1", b"2", b"3"] {
        bench.publish(&mut a, one("b"), body);
    }
    let first = take(&mut b);
    assert!(first.iter().all(|delivery| !delivery.redelivered && delivery.source == Source::Inbox));
    b.acknowledge(&[first[1].tag, 9_999]);
    // A kill.
    drop(b);
    bench.publish(&mut a, one("b"), b"4");
    let mut b = bench.connect("b");
    assert_eq!(b.backlog(), 3);
    let again: Vec<_> =
        take(&mut b).into_iter().map(|delivery| (delivery.body.to_vec(), delivery.redelivered)).collect();
    assert_eq!(again, [(b"1".to_vec(), true), (b"3".to_vec(), true), (b"4".to_vec(), false)]);
}

#[test]
fn what_was_acknowledged_does_not_come_again() {
    let mut bench = Bench::usual();
    let (mut a, mut b) = (bench.connect("a"), bench.connect("b"));
    bench.publish(&mut a, one("b"), b"1");
    assert_eq!(bodies(&mut b).len(), 1);
    drop(b);
    assert!(bodies(&mut bench.connect("b")).is_empty());
}

#[test]
fn anyone_goes_round_those_that_serve() {
    let mut bench = Bench::usual();
    let (mut a, mut b, mut c, mut d) = (bench.connect("a"), bench.connect("b"), bench.connect("c"), bench.connect("d"));
    for link in [&mut b, &mut c, &mut d] {
        link.serve_anyone(true);
        // Saying so twice changes nothing.
        link.serve_anyone(true);
    }
    for number in 0..6 {
        assert_eq!(bench.publish(&mut a, Route::Anyone, &[number]), Verdict::Confirmed);
    }
    assert!(bodies(&mut a).is_empty());
    assert_eq!(bodies(&mut b), [[0], [3]]);
    assert_eq!(bodies(&mut c), [[1], [4]]);
    let held = take(&mut d);
    assert!(held.iter().all(|delivery| delivery.source == Source::Anyone));
    assert_eq!(held.len(), 2);
}

#[test]
fn anyone_waits_for_somebody_to_serve_and_passes_on_what_the_dead_held() {
    let mut bench = Bench::usual();
    let (mut a, mut b, mut c) = (bench.connect("a"), bench.connect("b"), bench.connect("c"));
    assert_eq!(bench.publish(&mut a, Route::Anyone, b"1"), Verdict::Confirmed);
    assert_eq!(bench.publish(&mut a, Route::Anyone, b"2"), Verdict::Confirmed);
    assert!(take(&mut b).is_empty());
    b.serve_anyone(true);
    assert_eq!(take(&mut b).len(), 2);
    c.serve_anyone(true);
    assert!(take(&mut c).is_empty());
    drop(b);
    let passed_on: Vec<_> =
        take(&mut c).into_iter().map(|delivery| (delivery.body.to_vec(), delivery.redelivered)).collect();
    assert_eq!(passed_on, [(b"1".to_vec(), true), (b"2".to_vec(), true)]);
}

#[test]
fn who_no_longer_serves_gives_back_what_it_has_not_seen() {
    let mut bench = Bench::usual();
    let (mut a, mut b, mut c) = (bench.connect("a"), bench.connect("b"), bench.connect("c"));
    b.serve_anyone(true);
    bench.publish(&mut a, Route::Anyone, b"1");
    bench.publish(&mut a, Route::Anyone, b"2");
    b.serve_anyone(false);
    assert!(take(&mut b).is_empty());
    c.serve_anyone(true);
    let got: Vec<_> = take(&mut c).into_iter().map(|delivery| (delivery.body.to_vec(), delivery.redelivered)).collect();
    assert_eq!(got, [(b"1".to_vec(), false), (b"2".to_vec(), false)]);
}

#[test]
fn a_busy_server_of_anyone_is_passed_over() {
    let mut bench = Bench::new(BusConfig { anyone_prefetch: 1, ..BusConfig::default() });
    let (mut a, mut b, mut c) = (bench.connect("a"), bench.connect("b"), bench.connect("c"));
    b.serve_anyone(true);
    c.serve_anyone(true);
    bench.publish(&mut a, Route::Anyone, b"1");
    bench.publish(&mut a, Route::Anyone, b"2");
    let held = take(&mut b);
    assert_eq!(bodies(&mut c), [b"2"]);
    for body in [b"3", b"4"] {
        bench.publish(&mut a, Route::Anyone, body);
        assert!(take(&mut b).is_empty());
        assert_eq!(bodies(&mut c), [body]);
    }
    b.acknowledge(&[held[0].tag]);
    bench.publish(&mut a, Route::Anyone, b"5");
    assert_eq!(bodies(&mut b), [b"5"]);
}

#[test]
fn the_queue_anyone_is_bounded() {
    let bound = 2 * (10 + OVERHEAD);
    let mut bench = Bench::new(BusConfig { anyone_bytes: bound, anyone_prefetch: 1, ..BusConfig::default() });
    let (mut a, mut b) = (bench.connect("a"), bench.connect("b"));
    for _ in 0..2 {
        assert_eq!(bench.publish_with(&mut a, Route::Anyone, &[0; 10], Some(100)), Verdict::Confirmed);
    }
    // Nobody serves it and it is full.
    assert_eq!(bench.publish(&mut a, Route::Anyone, &[1; 10]), Verdict::Unroutable);
    // Expired messages make room.
    bench.clock.advance_ms(100);
    for _ in 0..2 {
        assert_eq!(bench.publish(&mut a, Route::Anyone, &[2; 10]), Verdict::Confirmed);
    }
    // Somebody serves it and holds one, so one more fits.
    b.serve_anyone(true);
    assert_eq!(bench.publish(&mut a, Route::Anyone, &[3; 10]), Verdict::Confirmed);
    assert_eq!(bench.publish(&mut a, Route::Anyone, &[4; 10]), Verdict::Failed);
}

#[test]
fn combiner_has_one_consumer_at_a_time_and_fails_over() {
    let mut bench = Bench::usual();
    let (mut a, mut b, mut c) = (bench.connect("a"), bench.connect("b"), bench.connect("c"));
    for body in [b"1", b"2"] {
        assert_eq!(bench.publish(&mut b, Route::Combiner, body), Verdict::Confirmed);
    }
    let held = take(&mut a);
    assert_eq!(held.len(), 2);
    assert!(held.iter().all(|delivery| delivery.source == Source::Combiner));
    assert!(take(&mut b).is_empty() && take(&mut c).is_empty());
    a.acknowledge(&[held[0].tag]);
    bench.publish(&mut b, Route::Combiner, b"3");
    drop(a);
    let passed_on: Vec<_> =
        take(&mut b).into_iter().map(|delivery| (delivery.body.to_vec(), delivery.redelivered)).collect();
    assert_eq!(passed_on, [(b"2".to_vec(), true), (b"3".to_vec(), false)]);
    assert!(take(&mut c).is_empty());
}

#[test]
fn combiner_waits_when_nobody_is_there_and_is_bounded() {
    let mut bench = Bench::new(BusConfig { combiner_bytes: 2 * (1 + OVERHEAD), prefetch: 1, ..BusConfig::default() });
    let mut a = bench.connect("a");
    let verdicts: Vec<_> = (0..4).map(|number| bench.publish(&mut a, Route::Combiner, &[number])).collect();
    // One is held, two wait.
    assert_eq!(verdicts, [Verdict::Confirmed, Verdict::Confirmed, Verdict::Confirmed, Verdict::Failed]);
    drop(a);
    let mut b = bench.connect("b");
    let mut got = Vec::new();
    loop {
        let batch = bodies(&mut b);
        if batch.is_empty() {
            break;
        }
        got.extend(batch);
    }
    assert_eq!(got, [[0], [1], [2]]);
}

#[test]
fn batches_are_bounded_in_number_and_bytes() {
    let mut bench = Bench::usual();
    let (mut a, mut b) = (bench.connect("a"), bench.connect("b"));
    for _ in 0..=BATCH_MESSAGES_MAX {
        bench.publish(&mut a, one("b"), b"small");
    }
    let Some(Event::Delivered(batch)) = b.try_next() else { panic!("messages wait") };
    assert_eq!(batch.len(), BATCH_MESSAGES_MAX);
    assert_eq!(take(&mut b).len(), 1);

    let large = vec![0; BATCH_BYTES_MAX * 2 / 5];
    for _ in 0..3 {
        bench.publish(&mut a, one("b"), &large);
    }
    let Some(Event::Delivered(batch)) = b.try_next() else { panic!("messages wait") };
    assert_eq!(batch.len(), 2);
    assert_eq!(take(&mut b).len(), 1);
    // One that is larger than a batch comes alone.
    bench.publish(&mut a, one("b"), &vec![0; BATCH_BYTES_MAX * 2]);
    bench.publish(&mut a, one("b"), b"small");
    let Some(Event::Delivered(batch)) = b.try_next() else { panic!("messages wait") };
    assert_eq!(batch.len(), 1);
    assert_eq!(take(&mut b).len(), 1);
}

#[test]
fn who_does_not_acknowledge_is_given_no_more_than_the_prefetch() {
    let mut bench = Bench::new(BusConfig { prefetch: 10, ..BusConfig::default() });
    let (mut a, mut b) = (bench.connect("a"), bench.connect("b"));
    for _ in 0..25 {
        bench.publish(&mut a, one("b"), b"x");
    }
    let held = take(&mut b);
    assert_eq!(held.len(), 10);
    b.acknowledge(&held.iter().map(|delivery| delivery.tag).collect::<Vec<_>>());
    assert_eq!(take(&mut b).len(), 10);
}

#[test]
fn of_two_links_to_one_inbox_the_later_has_it() {
    let mut bench = Bench::usual();
    let (mut a, mut earlier) = (bench.connect("a"), bench.connect("b"));
    bench.publish(&mut a, one("b"), b"1");
    assert_eq!(take(&mut earlier).len(), 1);
    let mut later = bench.connect("b");
    assert_eq!(earlier.try_next(), Some(Event::Broken(BrokerError::TakenOver)));
    assert_eq!(earlier.try_next(), None);
    earlier.publish(vec![Frame { id: 1, route: Route::Everyone, body: vec![1], ttl_ms: None }]);
    assert_eq!(bodies(&mut later), [b"1"]);
    // The end of the earlier one is not the end of the inbox's use.
    drop(earlier);
    bench.clock.advance_ms(RETENTION_MS);
    assert_eq!(bench.publish(&mut a, one("b"), b"2"), Verdict::Confirmed);
    assert_eq!(bodies(&mut later), [b"2"]);
}

#[test]
fn a_cut_link_hears_so_and_attaches_again() {
    let mut bench = Bench::usual();
    let (mut a, mut b) = (bench.connect("a"), bench.connect("b"));
    bench.publish(&mut a, one("b"), b"1");
    assert_eq!(take(&mut b).len(), 1);
    assert!(bench.bus.cut("b"));
    assert!(matches!(b.try_next(), Some(Event::Broken(BrokerError::Unreachable(_)))));
    drop(b);
    assert!(!bench.bus.cut("b"));
    assert_eq!(bodies(&mut bench.connect("b")), [b"1"]);
}

#[test]
fn faults_lose_double_delay_and_fail_as_the_seed_says() {
    const FRAMES: u64 = 1_000;
    let run = |seed: u64| {
        let faults = Faults { seed, drop: 0.1, duplicate: 0.1, delay: 0.2, delay_ms_max: 100, fail: 0.1 };
        let mut bench = Bench::new(BusConfig { faults, ..BusConfig::default() });
        let (mut a, mut b) = (bench.connect("a"), bench.connect("b"));
        let mut failed = Vec::new();
        let mut got: Vec<u64> = Vec::new();
        let number = |body: Vec<u8>| u64::from_le_bytes(body.try_into().expect("eight bytes"));
        for index in 0..FRAMES {
            if bench.publish(&mut a, one("b"), &index.to_le_bytes()) == Verdict::Failed {
                failed.push(index);
            }
            bench.clock.advance_ms(1);
            got.extend(bodies(&mut b).into_iter().map(number));
        }
        while let Some(due_ms) = bench.bus.next_due_ms() {
            bench.clock.set_ms(due_ms);
            bench.bus.poll();
            got.extend(bodies(&mut b).into_iter().map(number));
        }
        (failed, got)
    };
    let (failed, got) = run(7);
    assert_eq!(run(7), (failed.clone(), got.clone()));
    assert_ne!(run(8), (failed.clone(), got.clone()));
    let times = |index: u64| got.iter().filter(|other| **other == index).count();
    let (failed_arrived, failed_lost): (Vec<u64>, Vec<u64>) =
        failed.iter().copied().partition(|index| times(*index) > 0);
    assert!(failed_arrived.len() > 20 && failed_lost.len() > 20, "{} and {}", failed_arrived.len(), failed_lost.len());
    let lost = (0..FRAMES).filter(|index| times(*index) == 0 && !failed.contains(index)).count();
    let twice = (0..FRAMES).filter(|index| times(*index) == 2).count();
    let late = got.windows(2).filter(|pair| pair[1] < pair[0]).count();
    for (what, count) in [("lost", lost), ("twice", twice), ("late", late)] {
        assert!((40..=250).contains(&count), "{what}: {count}");
    }
}

#[tokio::test]
async fn a_link_that_waits_is_woken_by_what_comes() {
    let bus = Bus::new(BusConfig::default());
    let attachment = |name: &str| Attachment { name: name.to_owned(), retention_ms: RETENTION_MS };
    let mut a = bus.attach(attachment("a")).await.expect("the bus is there");
    let mut b = bus.attach(attachment("b")).await.expect("the bus is there");
    let waiting = tokio::spawn(async move { b.next().await });
    tokio::task::yield_now().await;
    a.publish(vec![Frame { id: 1, route: one("b"), body: vec![1], ttl_ms: None }]);
    let Event::Delivered(deliveries) = waiting.await.expect("it ends") else { panic!("a delivery") };
    assert_eq!(deliveries[0].body.as_ref(), [1]);
}

#[tokio::test]
async fn a_link_that_waits_is_woken_when_a_delayed_message_is_due() {
    let faults = Faults { delay: 1.0, delay_ms_max: 30, ..Faults::default() };
    let bus = Bus::new(BusConfig { faults, ..BusConfig::default() });
    let attachment = |name: &str| Attachment { name: name.to_owned(), retention_ms: RETENTION_MS };
    let mut a = bus.attach(attachment("a")).await.expect("the bus is there");
    let mut b = bus.attach(attachment("b")).await.expect("the bus is there");
    let waiting = tokio::spawn(async move { b.next().await });
    tokio::task::yield_now().await;
    a.publish(vec![Frame { id: 1, route: one("b"), body: vec![1], ttl_ms: None }]);
    drop(a);
    assert!(matches!(waiting.await.expect("it ends"), Event::Delivered(_)));
}
