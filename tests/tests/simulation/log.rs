//! The log: what brings the database back when all replicas are dead, and the snapshots that cover what it forgets.

use std::collections::BTreeSet;

use dayfly_core::cell::DataType;
use dayfly_core::effect::Route;
use dayfly_core::frame::{Body, Frame};
use dayfly_tests::simulation::cluster::Cluster;
use dayfly_tests::simulation::node::NodeId;
use dayfly_tests::simulation::plan::Plan;
use dayfly_tests::simulation::types::Deed;

use crate::{agree, cluster, join, operate, status, value};

const LOG_BYTES: u64 = 16 << 20;

fn logging() -> Plan {
    let mut plan = Plan::calm();
    plan.config.log_bytes = LOG_BYTES;
    plan.config.frame_bytes = 4096;
    plan.config.repair_bytes = 32 * 1024;
    plan
}

/// Adds so many elements, each in a frame of its own.
fn add(cluster: &mut Cluster<'_>, id: NodeId, elements: std::ops::Range<u64>) {
    for element in elements {
        operate(cluster, id, "set", DataType::OrSet, Deed::Add(vec![element.to_string()]));
        cluster.run_for(10).expect("a run");
    }
}

/// How many elements a replica has.
fn count(cluster: &mut Cluster<'_>, id: NodeId) -> usize {
    value(cluster, id, "set", DataType::OrSet).as_array().map_or(0, Vec::len)
}

/// Pieces of snapshots that were published.
fn pieces(cluster: &Cluster<'_>) -> usize {
    cluster.published.iter().flatten().filter(|published| published.route == Route::Log).count()
}

/// Lets the log grow by enough for a snapshot; the mark travels with the next write.
fn fill(cluster: &mut Cluster<'_>, id: NodeId, element: u64) {
    cluster.fill_log();
    add(cluster, id, element..element + 1);
}

#[test]
fn all_killed_are_brought_back_by_the_log() {
    let mut cluster = cluster(logging());
    let first = join(&mut cluster, "first", true);
    let second = join(&mut cluster, "second", false);
    agree(&mut cluster);
    add(&mut cluster, first, 0..20);
    add(&mut cluster, second, 20..40);
    operate(&mut cluster, first, "set", DataType::OrSet, Deed::Remove(vec!["3".into()]));
    operate(&mut cluster, second, "k", DataType::PnCounter, Deed::Count(-7));
    cluster.run_for(100).expect("a run");
    cluster.fall().expect("all is kept");
    let next = join(&mut cluster, "next", false);
    cluster.run_for(500).expect("a run");
    assert_eq!(status(&mut cluster, next, "complete"), false, "it looks for somebody first");
    agree(&mut cluster);
    assert_eq!(status(&mut cluster, next, "complete"), true);
    assert_eq!(count(&mut cluster, next), 39);
    assert_eq!(value(&mut cluster, next, "k", DataType::PnCounter), -7);
}

#[test]
fn one_that_was_served_a_part_before_the_last_was_killed_reads_the_log() {
    let mut plan = logging();
    plan.batch = 1;
    plan.config.repair_bytes = 4096;
    let mut cluster = cluster(plan);
    let server = join(&mut cluster, "server", true);
    agree(&mut cluster);
    add(&mut cluster, server, 0..600);
    cluster.run_for(1_000).expect("a run");
    let newcomer = join(&mut cluster, "newcomer", false);
    let until = cluster.now + 10_000;
    while count(&mut cluster, newcomer) == 0 {
        assert!(cluster.step(until).expect("a step"), "it is being filled");
    }
    assert!(count(&mut cluster, newcomer) < 600, "it has all already");
    cluster.kill(server);
    cluster.run_for(60_000).expect("a run");
    assert_eq!(status(&mut cluster, newcomer, "complete"), true);
    assert_eq!(count(&mut cluster, newcomer), 600);
}

#[test]
fn what_waited_for_the_combiner_is_brought_back_as_well() {
    let mut plan = logging();
    plan.config.combine_above = 0;
    plan.config.combine_ms = 1_000;
    let mut cluster = cluster(plan);
    let first = join(&mut cluster, "first", true);
    agree(&mut cluster);
    operate(&mut cluster, first, "k", DataType::GCounter, Deed::Count(1));
    agree(&mut cluster);
    operate(&mut cluster, first, "k", DataType::GCounter, Deed::Count(2));
    cluster.run_for(100).expect("a run");
    cluster.fall().expect("all is kept");
    assert!(cluster.mail_of_combiner().count() > 0, "it was confirmed, and not sent to everyone");
    let next = join(&mut cluster, "next", false);
    agree(&mut cluster);
    assert_eq!(value(&mut cluster, next, "k", DataType::GCounter), 3);
}

#[test]
fn a_snapshot_covers_what_the_log_forgot() {
    let mut cluster = cluster(logging());
    let first = join(&mut cluster, "first", true);
    let second = join(&mut cluster, "second", false);
    agree(&mut cluster);
    add(&mut cluster, first, 0..200);
    cluster.run_for(1_000).expect("a run");
    cluster.tap();
    for round in 0..4 {
        let before = pieces(&cluster);
        fill(&mut cluster, second, 200 + round);
        cluster.run_for(10_000).expect("a run");
        assert!(pieces(&cluster) > before, "round {round}: {} pieces, {before} before", pieces(&cluster));
        assert!(cluster.log_mark.bytes < LOG_BYTES / 4, "{:?}", cluster.log_mark);
    }
    assert!(cluster.broker.is_trimmed());
    assert_eq!(cluster.broker.waiting_for_combiner().count(), 0);
    cluster.fall().expect("all is kept");
    let next = join(&mut cluster, "next", false);
    agree(&mut cluster);
    assert_eq!(count(&mut cluster, next), 204);
}

#[test]
fn a_combiner_killed_in_the_midst_of_a_snapshot_has_a_successor_that_writes_it() {
    let mut cluster = cluster(logging());
    let ids = ["first", "second", "third"].map(|name| {
        let id = join(&mut cluster, name, name == "first");
        agree(&mut cluster);
        id
    });
    add(&mut cluster, ids[1], 0..600);
    cluster.run_for(1_000).expect("a run");
    // The broker is slow to confirm, so pieces wait for each other.
    cluster.plan.confirm_ms = 500;
    cluster.tap();
    fill(&mut cluster, ids[1], 600);
    let until = cluster.now + 20_000;
    while pieces(&cluster) == 0 {
        assert!(cluster.step(until).expect("a step"), "a snapshot is begun");
    }
    cluster.kill(ids[0]);
    let (begun, mark) = (pieces(&cluster), cluster.log_mark);
    cluster.run_for(20_000).expect("a run");
    assert!(cluster.log_mark.snapshot > mark.snapshot, "the snapshot is not complete");
    let writers: BTreeSet<NodeId> = cluster
        .tapped()
        .iter()
        .filter(|(published, _)| published.route == Route::Log)
        .map(|(published, _)| published.from)
        .collect();
    assert_eq!(writers, BTreeSet::from([ids[0], ids[1]]));
    let all = pieces(&cluster) - begun;
    assert!(begun < all, "{begun} pieces before it was killed, {all} after: it was not in the midst");
    assert_eq!(cluster.mail_of_combiner().count(), 0);
    // The snapshot of the successor alone is all that there was.
    let pieces = cluster.tapped().into_iter().filter(|(published, _)| published.from == ids[1]);
    let bodies: Vec<Vec<u8>> = pieces
        .filter(|(published, _)| published.route == Route::Log)
        .map(|(published, _)| published.body.to_vec())
        .collect();
    assert!(bodies.iter().all(|body| is_piece(body)));
    [ids[1], ids[2]].iter().for_each(|id| cluster.kill(*id));
    cluster.broker.log_bytes = 0;
    let mut plan = logging();
    plan.config.log_bytes = 0;
    cluster.plan = plan;
    let reader = join(&mut cluster, "reader", false);
    cluster.replay(reader, &bodies, true).expect("a replay");
    assert_eq!(count(&mut cluster, reader), 601);
}

fn is_piece(body: &[u8]) -> bool {
    matches!(Frame::decode(body, "simulated").expect("frames decode").body, Body::Delta(_))
}

#[test]
fn a_piece_that_the_broker_refused_is_written_again() {
    let mut cluster = cluster(logging());
    let first = join(&mut cluster, "first", true);
    agree(&mut cluster);
    add(&mut cluster, first, 0..300);
    cluster.run_for(1_000).expect("a run");
    let mut count_of_pieces = 0;
    cluster.gate = Some(Box::new(move |_, frame| {
        count_of_pieces += usize::from(frame.route == Route::Log);
        !(frame.route == Route::Log && count_of_pieces % 2 == 1)
    }));
    for round in 0..4 {
        fill(&mut cluster, first, 300 + round);
        cluster.run_for(30_000).expect("a run");
        assert!(cluster.log_mark.bytes < LOG_BYTES / 4, "round {round}: {:?}", cluster.log_mark);
    }
    assert!(cluster.broker.is_trimmed());
    cluster.fall().expect("all is kept");
    let next = join(&mut cluster, "next", false);
    agree(&mut cluster);
    assert_eq!(count(&mut cluster, next), 304);
}

#[test]
fn a_reader_frozen_in_the_midst_of_the_log_begins_it_anew() {
    let mut plan = logging();
    plan.batch = 1;
    let mut cluster = cluster(plan);
    let first = join(&mut cluster, "first", true);
    agree(&mut cluster);
    add(&mut cluster, first, 0..100);
    cluster.run_for(1_000).expect("a run");
    cluster.fall().expect("all is kept");
    let next = join(&mut cluster, "next", false);
    let until = cluster.now + 10_000;
    while count(&mut cluster, next) < 50 {
        assert!(cluster.step(until).expect("a step"), "it reads");
    }
    cluster.freeze(next);
    cluster.run_for(10_000).expect("a run");
    assert_eq!(status(&mut cluster, next, "complete"), false);
    cluster.thaw(next).expect("a thaw");
    agree(&mut cluster);
    assert_eq!(count(&mut cluster, next), 100);
}
