//! Combining: what is for everyone goes through one replica, who may die at any point.

use std::collections::{BTreeMap, BTreeSet};

use dayfly_core::cell::DataType;
use dayfly_core::effect::Route;
use dayfly_core::frame::{Body, Frame};
use dayfly_tests::simulation::cluster::Cluster;
use dayfly_tests::simulation::node::NodeId;
use dayfly_tests::simulation::plan::Plan;
use dayfly_tests::simulation::stock::Stock;
use dayfly_tests::simulation::types::Deed;
use dayfly_tests::simulation::witness::spoken;

use crate::{agree, cluster, join, operate, status, stocked, value};

/// All is combined.
fn combining() -> Plan {
    let mut plan = Plan::calm();
    plan.config.combine_above = 0;
    plan.config.combine_ms = 50;
    plan
}

/// A cluster of so many that agree.
fn members(plan: Plan, count: usize) -> (Cluster<'static>, Vec<NodeId>) {
    let mut cluster = cluster(plan);
    let mut ids = Vec::new();
    for nth in 0..count {
        ids.push(join(&mut cluster, &format!("member-{nth}"), nth == 0));
        agree(&mut cluster);
    }
    (cluster, ids)
}

/// Each adds one to a counter of all, and one to its own.
fn all_write(cluster: &mut Cluster<'_>, ids: &[NodeId]) {
    for id in ids {
        operate(cluster, *id, "all", DataType::GCounter, Deed::Count(1));
    }
}

/// Shares with writes, combined frames with writes, and requests for repair, that were published.
fn counts(cluster: &Cluster<'_>) -> (usize, usize, usize) {
    let (mut shares, mut combined, mut asks) = (0, 0, 0);
    for (published, frame) in cluster.tapped() {
        match frame.body {
            Body::Share(chunk) if !chunk.is_empty() => shares += 1,
            Body::Combined(_, chunk) if !chunk.is_empty() => combined += 1,
            Body::Delta(_) => panic!("a write goes to {:?} by itself", published.route),
            Body::Ask(_) => asks += 1,
            _ => {}
        }
    }
    (shares, combined, asks)
}

#[test]
fn a_round_of_writes_takes_a_share_each_and_one_frame_for_all() {
    const COUNT: usize = 40;
    let (mut cluster, ids) = members(combining(), COUNT);
    cluster.run_for(10_000).expect("a run");
    cluster.tap();
    let received: Vec<u64> = ids.iter().map(|id| cluster.node(*id).received).collect();
    all_write(&mut cluster, &ids);
    cluster.run_for(200).expect("a run");
    let (shares, combined, asks) = counts(&cluster);
    assert_eq!((shares, combined, asks), (COUNT, 1, 0), "shares, combined frames and requests for repair");
    let got = |id: &NodeId| cluster.node(*id).received;
    let deliveries: Vec<u64> = ids.iter().zip(received).map(|(id, before)| got(id) - before).collect();
    assert_eq!(deliveries.iter().sum::<u64>(), 2 * COUNT as u64, "{deliveries:?}");
    for id in &ids {
        assert_eq!(value(&mut cluster, *id, "all", DataType::GCounter), COUNT);
    }
}

#[test]
fn combining_alone_starts_no_repair_in_a_large_cluster() {
    const COUNT: usize = 40;
    let (mut cluster, ids) = members(combining(), COUNT);
    cluster.run_for(10_000).expect("a run");
    cluster.tap();
    for round in 0..20 {
        // Some in each round, so that shares come while others are on their way back.
        for id in ids.iter().skip(round % 3).step_by(3) {
            operate(&mut cluster, *id, "all", DataType::GCounter, Deed::Count(1));
        }
        cluster.run_for(70).expect("a run");
    }
    agree(&mut cluster);
    cluster.run_for(60_000).expect("a run");
    let (shares, combined, asks) = counts(&cluster);
    assert!(shares > 200 && combined > 10, "{shares} shares in {combined} frames");
    assert_eq!(asks, 0, "requests for repair");
}

/// Whoever wrote while a frame was on its way to it differs from the root that the frame tells, until its own write comes back
/// seconds later.
#[test]
fn rounds_of_seconds_start_no_repair() {
    const ROUND_MS: u64 = 3_000;
    const COUNT: usize = 40;
    let mut plan = combining();
    plan.config.combine_ms = ROUND_MS as u32;
    let (mut cluster, ids) = members(plan, COUNT);
    cluster.run_for(30_000).expect("a run");
    cluster.tap();
    operate(&mut cluster, ids[1], "all", DataType::GCounter, Deed::Count(1));
    cluster.run_for(ROUND_MS - 40).expect("a run");
    for _ in 0..6 {
        // While the round ends and its frame is on its way, so that many have written what it does not tell. They do so in each
        // round: the first write after its end begins the next.
        for nth in 0..120 {
            operate(&mut cluster, ids[nth % COUNT], "all", DataType::GCounter, Deed::Count(1));
            cluster.run_for(1).expect("a run");
        }
        cluster.run_for(ROUND_MS - 120).expect("a run");
    }
    agree(&mut cluster);
    let (shares, combined, asks) = counts(&cluster);
    assert!(shares >= 6 * COUNT && combined >= 6, "{shares} shares in {combined} frames");
    assert_eq!(asks, 0, "requests for repair");
}

#[test]
fn a_share_that_the_broker_loses_is_noticed_though_nobody_writes_after_it() {
    let (mut cluster, ids) = members(combining(), 4);
    cluster.run_for(10_000).expect("a run");
    operate(&mut cluster, ids[1], "lost", DataType::GCounter, Deed::Count(1));
    let until = cluster.now + 1_000;
    while cluster.broker.take_for_combiner(1).is_empty() {
        assert!(cluster.step(until).expect("a step"), "the share comes into the queue");
    }
    operate(&mut cluster, ids[2], "other", DataType::GCounter, Deed::Count(1));
    cluster.run_for(1_000).expect("a run");
    assert!(value(&mut cluster, ids[3], "lost", DataType::GCounter).is_null(), "it is lost");
    agree(&mut cluster);
    for id in &ids {
        assert_eq!(value(&mut cluster, *id, "lost", DataType::GCounter), 1);
    }
}

/// Runs until the first member has taken so many shares of the others.
fn run_until_taken(cluster: &mut Cluster<'_>, combiner: NodeId, shares: usize) {
    let until = cluster.now + 1_000;
    while cluster.node(combiner).taken.len() < shares {
        assert!(cluster.step(until).expect("a step"), "it takes {shares} shares");
    }
}

/// How many times each dot was sent to everyone.
fn told(cluster: &Cluster<'_>) -> Vec<usize> {
    let mut told: BTreeMap<_, usize> = BTreeMap::new();
    for (_, frame) in cluster.tapped() {
        if let Body::Combined(_, chunk) = &frame.body {
            spoken(chunk).into_iter().for_each(|dot| *told.entry(dot).or_default() += 1);
        }
    }
    told.into_values().collect()
}

#[test]
fn a_combiner_killed_before_it_sends_loses_nothing() {
    let (mut cluster, ids) = members(combining(), 4);
    cluster.tap();
    all_write(&mut cluster, &ids[1..]);
    run_until_taken(&mut cluster, ids[0], 3);
    // Nobody has what the writers were told is safe, but the queue.
    ids.iter().for_each(|id| cluster.kill(*id));
    assert_eq!(cluster.mail_of_combiner().count(), 3);
    let successor = join(&mut cluster, "successor", false);
    agree(&mut cluster);
    assert_eq!(value(&mut cluster, successor, "all", DataType::GCounter), 3);
    assert_eq!(told(&cluster), [1, 1, 1]);
    assert_eq!(cluster.mail_of_combiner().count(), 0);
}

#[test]
fn a_combiner_killed_before_its_frame_is_confirmed_sends_an_interval_twice_and_no_more() {
    let mut plan = combining();
    plan.confirm_ms = 1_000;
    let (mut cluster, ids) = members(plan, 4);
    cluster.tap();
    all_write(&mut cluster, &ids[1..]);
    // An interval is sent, and the next one gathered.
    let until = cluster.now + 1_000;
    while told(&cluster).is_empty() {
        assert!(cluster.step(until).expect("a step"), "it sends");
    }
    all_write(&mut cluster, &ids[1..]);
    run_until_taken(&mut cluster, ids[0], 6);
    cluster.kill(ids[0]);
    agree(&mut cluster);
    for id in &ids[1..] {
        assert_eq!(value(&mut cluster, *id, "all", DataType::GCounter), 6);
    }
    // Each write of the first interval was told, told again by the successor, and told once more as what the second
    // write of the same counter dropped.
    let told = told(&cluster);
    assert_eq!(told.len(), 6);
    assert!(told.iter().all(|times| *times <= 3), "{told:?}");
    assert_eq!(cluster.mail_of_combiner().count(), 0);
}

#[test]
fn a_combiner_frozen_with_shares_hands_them_on_and_may_send_them_too_when_it_thaws() {
    let (mut cluster, ids) = members(combining(), 4);
    all_write(&mut cluster, &ids[1..]);
    run_until_taken(&mut cluster, ids[0], 3);
    cluster.freeze(ids[0]);
    cluster.run_for(1_000).expect("a run");
    for id in &ids[1..] {
        assert_eq!(value(&mut cluster, *id, "all", DataType::GCounter), 3, "the successor has sent it");
    }
    cluster.thaw(ids[0]).expect("a thaw");
    agree(&mut cluster);
    assert_eq!(value(&mut cluster, ids[0], "all", DataType::GCounter), 3);
}

#[test]
fn a_share_whose_content_the_combiner_knows_is_passed_on_all_the_same() {
    let (mut cluster, ids) = members(combining(), 3);
    all_write(&mut cluster, &ids[2..]);
    cluster.run_for(40).expect("a run");
    let share = cluster.node(ids[0]).taken.front().expect("it has the share").1.clone();
    let name = cluster.plan.config.cluster.clone();
    // What it makes of the share gets to nobody, and the combiner, who knows the share by now, gets it once more.
    cluster.filter = Some(Box::new(|_| false));
    cluster.run_for(1_000).expect("a run");
    cluster.filter = None;
    assert!(value(&mut cluster, ids[1], "all", DataType::GCounter).is_null());
    cluster.tap();
    cluster.broker.store_for_combiner(share);
    operate(&mut cluster, ids[0], "other", DataType::GSet, Deed::Add(vec!["1".into()]));
    cluster.run_for(100).expect("a run");
    assert_eq!(value(&mut cluster, ids[1], "all", DataType::GCounter), 1);
    let frames = cluster.tapped();
    let sent = |body: &Body| matches!(body, Body::Combined(_, chunk) if spoken(chunk).len() == 2);
    assert!(frames.iter().any(|(_, frame)| sent(&frame.body)), "both in one frame");
    assert!(frames.iter().all(|(published, _)| Frame::decode(&published.body, &name).is_ok()));
}

#[test]
fn what_a_replica_alone_had_gets_to_those_that_the_combiner_told_its_root_before_it_knew() {
    let (mut cluster, ids) = members(combining(), 4);
    // What one of them writes gets to nobody, and not into the queue either.
    let loner = ids[3];
    cluster.gate = Some(Box::new(move |id, _| id != loner));
    operate(&mut cluster, loner, "alone", DataType::GSet, Deed::Add(vec!["1".into()]));
    cluster.suspend(loner).expect("a suspension");
    cluster.freeze(loner);
    cluster.gate = Some(Box::new(move |id, frame| !(id == loner && is_share_of_writes(&frame.body, &frame.route))));
    cluster.thaw(loner).expect("a thaw");
    cluster.wake(loner, crate::LEASE_MS).expect("a wake");
    cluster.run_for(20_000).expect("a run");
    for id in &ids[..3] {
        let value = value(&mut cluster, *id, "alone", DataType::GSet);
        assert_eq!(value, serde_json::json!([1]), "{}", cluster.node(*id).name);
    }
    cluster.gate = None;
    agree(&mut cluster);
}

#[test]
fn what_the_combiner_learns_by_repair_gets_to_the_others() {
    let (mut cluster, ids) = members(combining(), 3);
    let stock = Stock { writers: 1, each: 10 };
    let loner = stocked(&mut cluster, "loner", stock, &BTreeSet::new(), &BTreeSet::new());
    cluster.wake(loner, crate::LEASE_MS).expect("a wake");
    agree(&mut cluster);
    for id in ids {
        assert_eq!(status(&mut cluster, id, "entries"), stock.len());
    }
}

fn is_share_of_writes(body: &[u8], route: &Route) -> bool {
    let frame = Frame::decode(body, "simulated").expect("frames decode");
    *route == Route::Combiner && matches!(frame.body, Body::Share(chunk) if !chunk.is_empty())
}

#[test]
fn writes_that_went_out_by_themselves_are_not_told_again_by_what_is_gathered_next() {
    let mut plan = combining();
    plan.config.combine_above = 2;
    let (mut cluster, ids) = members(plan, 3);
    // Alone again, the combiner sends its own burst by itself as it goes to sleep, with nothing gathered.
    cluster.leave(ids[1]).expect("a leave");
    cluster.run_for(1_000).expect("a run");
    cluster.kill(ids[1]);
    operate(&mut cluster, ids[0], "k", DataType::LwwRegister, Deed::Set("1".into()));
    operate(&mut cluster, ids[0], "k", DataType::LwwRegister, Deed::Set("2".into()));
    cluster.suspend(ids[0]).expect("a suspension");
    cluster.run_for(100).expect("a run");
    cluster.wake(ids[0], crate::LEASE_MS).expect("a wake");
    let third = join(&mut cluster, "third", false);
    agree(&mut cluster);
    // It is the combiner again once the other, who took its place, has been asleep.
    cluster.suspend(ids[2]).expect("a suspension");
    cluster.wake(ids[2], crate::LEASE_MS).expect("a wake");
    agree(&mut cluster);
    cluster.tap();
    operate(&mut cluster, third, "other", DataType::LwwRegister, Deed::Set("1".into()));
    agree(&mut cluster);
    assert_eq!(status(&mut cluster, ids[0], "combining")["active"], true);
    let spoken: Vec<usize> = cluster
        .tapped()
        .into_iter()
        .filter_map(|(_, frame)| match frame.body {
            Body::Combined(_, chunk) if !chunk.is_empty() => Some(spoken(&chunk).len()),
            _ => None,
        })
        .collect();
    assert_eq!(spoken, [1], "the third one's write, and nothing else");
}
