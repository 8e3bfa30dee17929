//! How a replica notices that it missed something.

use std::cell::RefCell;
use std::rc::Rc;

use dayfly_core::cell::DataType;
use dayfly_core::digest::Digest;
use dayfly_core::dot::Era;
use dayfly_core::effect::Route;
use dayfly_core::frame::{Ask, Body, Frame, Want};
use dayfly_core::member::Record;
use dayfly_core::snapshot::LogMark;
use dayfly_core::store::Ranges;
use dayfly_tests::simulation::client::write_request;
use dayfly_tests::simulation::cluster::Cluster;
use dayfly_tests::simulation::node::NodeId;
use dayfly_tests::simulation::plan::Plan;
use dayfly_tests::simulation::types::{Deed, Operation};

use crate::{agree, cluster, join, operate, status, value};

/// Two replicas that agree.
fn pair(plan: Plan) -> (Cluster<'static>, NodeId, NodeId) {
    let mut cluster = cluster(plan);
    let first = join(&mut cluster, "first", true);
    let second = join(&mut cluster, "second", false);
    agree(&mut cluster);
    cluster.tap();
    (cluster, first, second)
}

/// Loses the writes with these numbers on their way to an inbox.
fn lose_deltas(cluster: &mut Cluster<'_>, to: &'static str, numbers: &'static [usize]) {
    let name = cluster.plan.config.cluster.clone();
    let mut count = 0;
    cluster.filter = Some(Box::new(move |passing| {
        let is_delta = matches!(Frame::decode(passing.body, &name).expect("frames decode").body, Body::Delta(_));
        if !is_delta || passing.to != Some(to) {
            return true;
        }
        count += 1;
        !numbers.contains(&(count - 1))
    }));
}

fn count(cluster: &mut Cluster<'_>, id: NodeId) {
    operate(cluster, id, "k", DataType::GCounter, Deed::Count(1));
    cluster.run_for(50).expect("a run");
}

#[test]
fn a_lost_last_frame_is_noticed_by_the_closing_beat() {
    let (mut cluster, first, second) = pair(Plan::calm());
    lose_deltas(&mut cluster, "second", &[2]);
    (0..3).for_each(|_| count(&mut cluster, first));
    assert_eq!(value(&mut cluster, second, "k", DataType::GCounter), 2);
    let took_ms = agree(&mut cluster);
    assert_eq!(value(&mut cluster, second, "k", DataType::GCounter), 3);
    // Half a second until the beat, up to a second until it is looked into, half a second until the root of now is told.
    assert!((400..=2_100).contains(&took_ms), "it took {took_ms} ms");
    let repairs = cluster.repairs(None);
    assert_eq!((repairs.asks, repairs.answers), (1, 1));
}

#[test]
fn a_frame_lost_in_the_midst_is_one_request_and_one_answer() {
    let (mut cluster, first, second) = pair(Plan::calm());
    lose_deltas(&mut cluster, "second", &[1]);
    for name in ["a", "b", "c"] {
        operate(&mut cluster, first, name, DataType::OrSet, Deed::Add(vec!["1".into()]));
        cluster.run_for(50).expect("a run");
    }
    assert!(value(&mut cluster, second, "b", DataType::OrSet).is_null());
    agree(&mut cluster);
    assert_eq!(value(&mut cluster, second, "b", DataType::OrSet), serde_json::json!([1]));
    let repairs = cluster.repairs(None);
    assert_eq!((repairs.asks, repairs.answers, repairs.entries), (1, 1, 1));
}

#[test]
fn a_lost_removal_is_noticed_though_nothing_new_is_missing() {
    let (mut cluster, first, second) = pair(Plan::calm());
    operate(&mut cluster, first, "k", DataType::OrSet, Deed::Add(vec!["1".into(), "2".into()]));
    agree(&mut cluster);
    lose_deltas(&mut cluster, "second", &[0]);
    operate(&mut cluster, first, "k", DataType::OrSet, Deed::Remove(vec!["1".into()]));
    agree(&mut cluster);
    assert_eq!(value(&mut cluster, second, "k", DataType::OrSet), serde_json::json!([2]));
}

#[test]
fn one_that_lost_a_frame_asks_the_one_that_has_it_though_others_agree_with_it() {
    let (mut cluster, first, second) = pair(Plan::calm());
    let third = join(&mut cluster, "third", false);
    agree(&mut cluster);
    let name = cluster.plan.config.cluster.clone();
    cluster.filter = Some(Box::new(move |passing| {
        let is_delta = matches!(Frame::decode(passing.body, &name).expect("frames decode").body, Body::Delta(_));
        !is_delta || passing.to == Some("first")
    }));
    count(&mut cluster, first);
    cluster.filter = None;
    // Agreeing with each other, second and third hear each other after the closing beat of the first.
    cluster.run_for(480).expect("a run");
    for id in [second, third] {
        cluster.wake(id, crate::LEASE_MS).expect("a wake");
    }
    agree(&mut cluster);
    for id in [second, third] {
        assert_eq!(value(&mut cluster, id, "k", DataType::GCounter), 1);
    }
}

/// A founder, and a newcomer that nobody can fill in its first 800 ms; what it writes meanwhile does not get to the founder.
fn late_newcomer() -> (Cluster<'static>, NodeId, NodeId) {
    let mut cluster = cluster(Plan::calm());
    let founder = join(&mut cluster, "founder", true);
    agree(&mut cluster);
    let name = cluster.plan.config.cluster.clone();
    let end = cluster.now + 800;
    let now = Rc::new(RefCell::new(cluster.now));
    let clock = now.clone();
    cluster.filter = Some(Box::new(move |passing| {
        let body = Frame::decode(passing.body, &name).expect("frames decode").body;
        let is_delta = matches!(body, Body::Delta(_)) && passing.to == Some("founder");
        let is_early = matches!(body, Body::Answer(_)) && *clock.borrow() < end;
        !is_delta && !is_early
    }));
    let newcomer = join(&mut cluster, "newcomer", false);
    operate(&mut cluster, newcomer, "lost", DataType::GCounter, Deed::Count(1));
    while cluster.now < end {
        cluster.step(end).expect("a step");
        *now.borrow_mut() = cluster.now;
    }
    *now.borrow_mut() = end;
    assert!(!cluster.node(newcomer).serve_anyone, "it is not yet complete");
    (cluster, founder, newcomer)
}

#[test]
fn what_a_newcomer_wrote_before_it_was_complete_is_noticed_once_it_is() {
    let (mut cluster, founder, newcomer) = late_newcomer();
    let until = cluster.now + 2_000;
    while !cluster.node(newcomer).serve_anyone {
        assert!(cluster.step(until).expect("a step"), "it is filled");
    }
    agree(&mut cluster);
    assert_eq!(value(&mut cluster, founder, "lost", DataType::GCounter), 1);
}

#[test]
fn a_frame_sent_again_is_not_taken_for_the_present_state() {
    let (mut cluster, founder, newcomer) = late_newcomer();
    // This write fails as long as it is not let through.
    let is_open = Rc::new(RefCell::new(false));
    let (gate, name) = (is_open.clone(), cluster.plan.config.cluster.clone());
    cluster.gate = Some(Box::new(move |from, frame| {
        let body = Frame::decode(&frame.body, &name).expect("frames decode").body;
        from != newcomer || !matches!(body, Body::Delta(_)) || *gate.borrow()
    }));
    operate(&mut cluster, newcomer, "failed", DataType::GCounter, Deed::Count(1));
    let until = cluster.now + 2_000;
    while !cluster.node(newcomer).serve_anyone {
        assert!(cluster.step(until).expect("a step"), "it is filled");
    }
    // The founder hears that the newcomer, now complete, knows more, and then gets the frame, which is older than that.
    cluster.run_for(100).expect("a run");
    assert!(!cluster.node(founder).quiet, "it has noticed");
    cluster.filter = None;
    cluster.tap();
    *is_open.borrow_mut() = true;
    let until = cluster.now + 5_000;
    while status(&mut cluster, newcomer, "unsettled") != 0 {
        assert!(cluster.step(until).expect("a step"), "it is sent again");
    }
    cluster.run_for(600).expect("a run");
    let to_all = cluster.tapped().into_iter().filter(|(published, _)| published.route == Route::Everyone);
    let (_, last) = to_all.filter(|(published, _)| published.from == newcomer).last().expect("it was sent again");
    assert!(last.complete, "the last that everybody heard of the newcomer is older than its being complete");
    agree(&mut cluster);
    for (id, name) in [(founder, "lost"), (founder, "failed"), (newcomer, "failed")] {
        assert_eq!(value(&mut cluster, id, name, DataType::GCounter), 1, "{name}");
    }
}

#[test]
fn a_tick_that_comes_early_does_nothing() {
    let (mut cluster, first, second) = pair(Plan::calm());
    count(&mut cluster, first);
    let sent = Rc::new(RefCell::new(0));
    for _ in 0..2_000 {
        for id in [first, second] {
            let node = cluster.node(id);
            let (due, now) = (node.tick_at, node.clock(cluster.now));
            if due.is_none_or(|due| now < due) {
                let effects = cluster.tick(id).expect("a tick");
                assert!(effects.frames.is_empty(), "{:?} were sent before {due:?}", effects.frames);
                assert_eq!(effects.next_tick.is_none(), due.is_none(), "a tick changed what is due");
                *sent.borrow_mut() += 1;
            }
        }
        cluster.run_for(1).expect("a run");
    }
    assert!(*sent.borrow() > 2_000, "hardly any tick was early");
}

#[test]
fn a_confirmed_write_is_whole_though_the_frame_after_it_is_lost() {
    let mut plan = Plan::calm();
    plan.config.frame_bytes = 4096;
    plan.config.burst_ms = 1_000;
    let mut cluster = cluster(plan);
    let writer = join(&mut cluster, "writer", true);
    let reader = join(&mut cluster, "reader", false);
    agree(&mut cluster);
    // Goes out at once; what follows within a second shares a frame.
    operate(&mut cluster, writer, "other", DataType::GCounter, Deed::Count(1));
    operate(&mut cluster, writer, "k", DataType::GCounter, Deed::Count(2));
    let batch = [
        Operation { name: "k".into(), data_type: DataType::GCounter, deed: Deed::Count(9) },
        Operation {
            name: "long".into(),
            data_type: DataType::LwwRegister,
            deed: Deed::Set(format!("\"{}\"", "x".repeat(4_000))),
        },
    ];
    let (response, _) = cluster.operate(writer, &write_request(&batch), &batch).expect("a batch");
    assert_eq!(response.status, 200);
    // The frame that the first count waits for is out; the batch's own is not.
    cluster.run_for(100).expect("a run");
    cluster.kill(writer);
    agree(&mut cluster);
    assert_eq!(value(&mut cluster, reader, "k", DataType::GCounter), 2);
}

#[test]
fn a_write_goes_out_before_repair_tells_of_it() {
    let mut plan = Plan::calm();
    plan.config.burst_ms = 1_000;
    let (mut cluster, first, second) = pair(plan);
    count(&mut cluster, first);
    // This one waits for its burst.
    count(&mut cluster, first);
    cluster.tap();
    let want = Want::All { ranges: Ranges::all(), members: false };
    let ask = Ask { session: 1, budget_bytes: 65_536, until_ms: cluster.now + 1_000, want };
    let asker = cluster.node(second);
    let frame = Frame {
        era: Era(0),
        sender: Record {
            name: asker.name.clone(),
            incarnation: asker.life.incarnation(),
            left: false,
            awake_until: asker.clock(cluster.now),
            host: String::new(),
            region: String::new(),
            zone: String::new(),
        },
        complete: true,
        root: Digest::default(),
        log: LogMark::default(),
        body: Body::Ask(ask),
    };
    let body = frame.encode(&cluster.plan.config.cluster);
    cluster.receive(first, &[body]).expect("a request");
    cluster.run_for(10).expect("a run");
    let sent: Vec<Body> = cluster.tapped().into_iter().map(|(_, frame)| frame.body).collect();
    assert!(matches!(&sent[..], [Body::Delta(_), Body::Answer(_)]), "{sent:?}");
}

#[test]
fn those_who_missed_different_frames_are_soon_done() {
    let mut plan = Plan::calm();
    plan.publish_ms = 3;
    let mut cluster = cluster(plan);
    let ids: Vec<_> = (0..16).map(|nth| join(&mut cluster, &format!("member-{nth}"), nth == 0)).collect();
    agree(&mut cluster);
    cluster.plan.loss = 10;
    for round in 0..600 {
        for id in ids.iter().skip(round % 3).step_by(3) {
            operate(&mut cluster, *id, "k", DataType::GCounter, Deed::Count(1));
        }
        cluster.run_for(7).expect("a run");
    }
    cluster.plan.quieten();
    // Each has told a root that no other ever had. None asks all of them in turn.
    let took_ms = agree(&mut cluster);
    assert!(took_ms < 2_500, "it took {took_ms} ms");
}
