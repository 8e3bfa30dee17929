//! The broker's model, event by event.

use std::sync::Arc;

use dayfly_engine::contract::{Route, Verdict};

use super::{Broker, Outgoing, Publish};
use crate::experiment::message::{Body, Input, NodeId, Source, Way};
use crate::experiment::moment::Moment;
use crate::experiment::network::Distances;
use crate::experiment::scenario::Scenario;

const A: NodeId = NodeId(0);
const B: NodeId = NodeId(1);
const C: NodeId = NodeId(2);

/// A broker with three replicas that are attached, and such a part `[broker]`. No message takes it any time.
fn broker(part: &str) -> Broker {
    let text = format!(
        "title = 'x'\nseconds = 1\nplaces = [{{ region = 'eu', replicas = 3 }}]\nreplica.retention_s = 10\n\
         replica.log_mib = 16\n\
         network = {{ same_zone_ms = 1, jitter = 0, replica_mbit = 8, broker_mbit = 1000000 }}\n\
         [broker]\nmessage_us = 0\nconnect_ms = 0\n{part}"
    );
    let scenario = Scenario::read(&text).expect("it is well");
    let mut broker = Broker::new(&scenario, Distances::of(&scenario), 7);
    for (name, id) in [("a", A), ("b", B), ("c", C)] {
        broker.expect(name, 0);
        broker.attach(id, 1, Moment::ZERO);
    }
    broker.take_outgoing();
    broker
}

fn body(bytes: usize) -> Arc<Body> {
    Arc::new(Body { bytes: vec![0; bytes], digest: 0, elements: 2 })
}

fn publish(broker: &mut Broker, from: NodeId, route: Route, bytes: usize, ttl_ms: Option<u32>, at_ms: u64) {
    let publish = Publish { link: 1, id: 5, route, body: body(bytes), ttl_ms };
    broker.publish(from, publish, Moment(at_ms * 1_000));
}

/// Who was delivered something, out of which queue, when; and the verdicts.
fn told(broker: &mut Broker) -> (Vec<(NodeId, Source, Moment)>, Vec<Verdict>) {
    let mut deliveries = Vec::new();
    let mut verdicts = Vec::new();
    for Outgoing { at, to, input } in broker.take_outgoing() {
        match input {
            Input::Deliver { source, .. } => deliveries.push((to, source, at)),
            Input::Settled { receipt, .. } => verdicts.push(receipt.verdict),
            Input::Attached { .. } | Input::Log { .. } => {}
            other => panic!("a broker does not send {other:?}"),
        }
    }
    (deliveries, verdicts)
}

/// Each copy is accounted for.
#[track_caller]
fn accounted(broker: &Broker) {
    let (queued, held) = broker.waiting();
    assert!(broker.tally().accounts_for(queued + held), "{:?}, and {queued} and {held} wait", broker.tally());
}

#[test]
fn everyone_gets_a_copy_after_line_and_latency() {
    let mut broker = broker("");
    // 936 bytes and the overhead take a millisecond at 8 megabits a second.
    publish(&mut broker, A, Route::Everyone, 936, None, 10);
    publish(&mut broker, A, Route::Everyone, 936, None, 10);
    let (deliveries, verdicts) = told(&mut broker);
    assert_eq!(verdicts, [Verdict::Confirmed; 2]);
    let to_b: Vec<u64> = deliveries.iter().filter(|(to, ..)| *to == B).map(|(.., at)| at.0 / 100).collect();
    assert_eq!(to_b, [120, 130], "the second waits for its turn on the line");
    let tally = broker.tally();
    assert_eq!((tally.copies, tally.delivered[Way::Everyone as usize].messages), (6, 6));
    assert_eq!((tally.delivered_own.messages, tally.delivered_own.elements), (2, 4));
    broker.acknowledge(B, 2, 0, 0, Moment(20_000));
    assert_eq!((broker.tally().acknowledged, broker.waiting()), (2, (0, 4)));
    accounted(&broker);
}

#[test]
fn what_is_not_acknowledged_comes_again_over_the_next_link() {
    let mut broker = broker("");
    publish(&mut broker, A, Route::One("b".to_owned()), 100, None, 1);
    publish(&mut broker, A, Route::One("b".to_owned()), 100, None, 1);
    assert_eq!(told(&mut broker).0.len(), 2);
    broker.acknowledge(B, 1, 0, 0, Moment(5_000));
    broker.detach(B, Moment(6_000));
    publish(&mut broker, C, Route::One("b".to_owned()), 100, None, 7);
    assert_eq!(told(&mut broker).0, [], "nobody is there");
    broker.attach(B, 2, Moment(8_000));
    let backlog = broker.take_outgoing();
    assert!(matches!(backlog[0].input, Input::Attached { link: 2, backlog: 2 }), "{backlog:?}");
    assert_eq!(backlog.len(), 3);
    accounted(&broker);
}

#[test]
fn an_inbox_that_nobody_consumes_vanishes_and_is_unroutable_then() {
    let mut broker = broker("");
    broker.detach(B, Moment(1_000_000));
    publish(&mut broker, A, Route::One("b".to_owned()), 100, None, 1_001);
    let at = broker.expiry(B).expect("it is not consumed");
    assert_eq!(at, Moment(11_000_000));
    broker.expire(B, Moment(10_999_999));
    publish(&mut broker, A, Route::One("b".to_owned()), 100, None, 11_000);
    broker.expire(B, at);
    publish(&mut broker, A, Route::One("b".to_owned()), 100, None, 11_001);
    publish(&mut broker, A, Route::One("nobody".to_owned()), 100, None, 11_002);
    let verdicts = told(&mut broker).1;
    use Verdict::{Confirmed, Unroutable};
    assert_eq!(verdicts, [Confirmed, Confirmed, Unroutable, Unroutable]);
    assert_eq!((broker.tally().vanished, broker.tally().expired_inboxes, broker.expiry(B)), (2, 1, None));
    accounted(&broker);
}

#[test]
fn a_full_inbox_drops_its_oldest_and_what_outlived_its_time_is_not_delivered() {
    let mut broker = broker("inbox_kib = 1");
    broker.detach(B, Moment::ZERO);
    publish(&mut broker, A, Route::One("b".to_owned()), 400, None, 1);
    publish(&mut broker, A, Route::One("b".to_owned()), 400, Some(50), 2);
    publish(&mut broker, A, Route::One("b".to_owned()), 300, None, 3);
    assert_eq!(broker.tally().dropped, 1, "464 and 464 and 364 are more than 1,024");
    told(&mut broker);
    broker.attach(B, 2, Moment(60_000));
    assert_eq!(told(&mut broker).0.len(), 1);
    assert_eq!(broker.tally().expired, 1);
    accounted(&broker);
}

#[test]
fn anyone_goes_to_those_that_serve_in_turn_and_to_the_next_if_they_go() {
    let mut broker = broker("anyone_prefetch = 1\nanyone_kib = 1");
    publish(&mut broker, A, Route::Anyone, 400, None, 1);
    publish(&mut broker, A, Route::Anyone, 400, None, 1);
    publish(&mut broker, A, Route::Anyone, 400, None, 1);
    use Verdict::{Confirmed, Failed, Unroutable};
    assert_eq!(told(&mut broker), (vec![], vec![Confirmed, Confirmed, Unroutable]));
    broker.serve_anyone(B, true, Moment(2_000));
    broker.serve_anyone(C, true, Moment(2_000));
    let deliveries: Vec<_> = told(&mut broker).0.into_iter().map(|(to, source, _)| (to, source)).collect();
    assert_eq!(deliveries, [(B, Source::Anyone), (C, Source::Anyone)]);
    publish(&mut broker, A, Route::Anyone, 400, None, 3);
    publish(&mut broker, A, Route::Anyone, 400, None, 3);
    publish(&mut broker, A, Route::Anyone, 400, None, 3);
    assert_eq!(told(&mut broker), (vec![], vec![Confirmed, Confirmed, Failed]), "both hold one");
    broker.detach(C, Moment(4_000));
    broker.acknowledge(B, 0, 1, 0, Moment(5_000));
    assert_eq!(told(&mut broker).0.len(), 1);
    assert_eq!(broker.waiting(), (2, 1));
    accounted(&broker);
}

#[test]
fn the_combiner_is_one_and_its_successor_gets_what_it_was_not_done_with() {
    let mut broker = broker("loss = 1.0");
    (1..=3).for_each(|at_ms| publish(&mut broker, B, Route::Combiner, 100, None, at_ms));
    let deliveries: Vec<_> = told(&mut broker).0.into_iter().map(|(to, source, _)| (to, source)).collect();
    assert_eq!(deliveries, [(A, Source::Combiner); 3], "this queue loses nothing");
    broker.acknowledge(A, 0, 0, 1, Moment(5_000));
    broker.detach(A, Moment(6_000));
    let deliveries: Vec<_> = told(&mut broker).0.into_iter().map(|(to, source, _)| (to, source)).collect();
    assert_eq!(deliveries, [(B, Source::Combiner); 2]);
    accounted(&broker);
}

#[test]
fn the_log_keeps_what_was_for_everyone_or_for_it() {
    let mut broker = broker("");
    publish(&mut broker, A, Route::Everyone, 100, None, 1);
    publish(&mut broker, A, Route::Log, 2 << 20, None, 2);
    publish(&mut broker, A, Route::One("b".to_owned()), 100, None, 3);
    publish(&mut broker, A, Route::Log, 100, None, 4);
    broker.take_outgoing();
    broker.read_log(C, 1, Moment(9_000));
    let pieces: Vec<(usize, bool)> = broker
        .take_outgoing()
        .into_iter()
        .map(|outgoing| match outgoing.input {
            Input::Log { bodies, end, .. } => (bodies.len(), end),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(pieces, [(2, false), (1, true)]);
    accounted(&broker);
}

#[test]
fn accidents_happen_as_often_as_they_are_to_and_all_copies_are_accounted_for() {
    let mut broker = broker("loss = 0.2\nduplication = 0.3\nfailure = 0.1\ninbox_kib = 1");
    for at_ms in 0..2_000 {
        let from = [A, B, C][at_ms as usize % 3];
        publish(&mut broker, from, Route::Everyone, 50, Some(20), at_ms);
        if at_ms % 7 == 0 {
            broker.acknowledge(B, 5, 0, 0, Moment(at_ms * 1_000));
        }
        if at_ms % 50 == 0 {
            broker.detach(C, Moment(at_ms * 1_000));
        }
        if at_ms % 50 == 30 {
            broker.attach(C, 1, Moment(at_ms * 1_000));
        }
    }
    let tally = broker.tally().clone();
    let near = |count: u64, of: f64, share: f64| {
        let found = count as f64 / of;
        assert!((found / share - 1.0).abs() < 0.15, "{found} in place of {share}: {tally:?}");
    };
    let published = tally.published[Way::Everyone as usize].messages as f64;
    near(tally.failed, published, 0.1);
    // Of what fails half arrives.
    let wanted = (tally.copies - tally.duplicated) as f64;
    near(wanted as u64, published * 3.0, 0.95);
    near(tally.lost, wanted, 0.2);
    near(tally.duplicated, wanted, 0.8 * 0.3);
    assert!(tally.dropped > 0 && tally.expired > 0, "{tally:?}");
    accounted(&broker);
}

#[test]
fn what_comes_over_a_broken_link_is_lost() {
    let mut broker = broker("");
    broker.detach(A, Moment(1_000));
    publish(&mut broker, A, Route::Everyone, 100, None, 2);
    assert_eq!(told(&mut broker), (vec![], vec![]));
    assert_eq!((broker.tally().lost_on_links, broker.tally().copies), (1, 0));
}

#[test]
fn what_had_not_left_when_a_link_broke_was_not_delivered() {
    let mut broker = broker("");
    // Each takes a millisecond on the line of the replica.
    (0..10).for_each(|_| publish(&mut broker, A, Route::One("b".to_owned()), 936, None, 1));
    assert_eq!(broker.tally().delivered[Way::One as usize].messages, 10);
    broker.detach(B, Moment(4_500));
    assert_eq!(broker.tally().delivered[Way::One as usize].messages, 3);
    told(&mut broker);
    broker.attach(B, 2, Moment(5_000));
    let deliveries = told(&mut broker).0;
    assert_eq!(deliveries.first().map(|(.., at)| at.0 / 1_000), Some(7), "the line is free again");
    assert_eq!((deliveries.len(), broker.tally().delivered[Way::One as usize].messages), (10, 13));
    accounted(&broker);
}
