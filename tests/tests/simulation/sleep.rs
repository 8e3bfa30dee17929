//! Replicas that sleep longer than the retention.

use dayfly_core::cell::DataType;
use dayfly_core::effect::{FrameId, Receipt, Verdict};
use dayfly_tests::simulation::cluster::Cluster;
use dayfly_tests::simulation::node::NodeId;
use dayfly_tests::simulation::plan::Plan;
use dayfly_tests::simulation::types::Deed;

use crate::{LEASE_MS, agree, cluster, join, operate, status, value};

const RETENTION_MS: u64 = 10_000;

fn pair() -> (Cluster<'static>, NodeId, NodeId) {
    let mut plan = Plan::calm();
    plan.config.retention_ms = RETENTION_MS;
    let mut cluster = cluster(plan);
    let stayer = join(&mut cluster, "stayer", true);
    let sleeper = join(&mut cluster, "sleeper", false);
    agree(&mut cluster);
    (cluster, stayer, sleeper)
}

fn oversleep(cluster: &mut Cluster<'_>, id: NodeId) {
    cluster.freeze(id);
    cluster.run_for(RETENTION_MS + 1).expect("a run");
    let before = cluster.node(id).life.incarnation();
    let effects = cluster.wake(id, LEASE_MS).expect("a wake");
    assert!(effects.started_anew);
    assert!(cluster.node(id).life.incarnation() > before);
}

#[test]
fn what_was_not_sent_is_done_again_once() {
    let (mut cluster, stayer, sleeper) = pair();
    operate(&mut cluster, sleeper, "k", DataType::GCounter, Deed::Count(5));
    cluster.run_for(100).expect("a run");
    // Frozen before the host has published anything of this.
    operate(&mut cluster, sleeper, "k", DataType::GCounter, Deed::Count(7));
    oversleep(&mut cluster, sleeper);
    agree(&mut cluster);
    for id in [stayer, sleeper] {
        assert_eq!(value(&mut cluster, id, "k", DataType::GCounter), 12);
    }
    assert_eq!(status(&mut cluster, sleeper, "redone"), 1);
}

#[test]
fn what_was_sent_after_all_is_not_done_again() {
    let mut plan = Plan::calm();
    plan.config.retention_ms = RETENTION_MS;
    // The broker takes everything and confirms nothing in time.
    plan.confirm_ms = 1;
    let mut cluster = cluster(plan);
    let stayer = join(&mut cluster, "stayer", true);
    let sleeper = join(&mut cluster, "sleeper", false);
    agree(&mut cluster);
    cluster.plan.confirm_ms = 5 * RETENTION_MS;
    operate(&mut cluster, sleeper, "k", DataType::GCounter, Deed::Count(7));
    cluster.run_for(50).expect("a run");
    assert_eq!(value(&mut cluster, stayer, "k", DataType::GCounter), 7);
    assert_eq!(status(&mut cluster, sleeper, "unsettled"), 1);
    cluster.plan.confirm_ms = 1;
    oversleep(&mut cluster, sleeper);
    agree(&mut cluster);
    for id in [stayer, sleeper] {
        assert_eq!(value(&mut cluster, id, "k", DataType::GCounter), 7);
    }
    assert_eq!(status(&mut cluster, sleeper, "redone"), 0);
}

#[test]
fn an_outcome_of_the_life_before_says_nothing_of_the_frames_of_this_one() {
    let (mut cluster, stayer, sleeper) = pair();
    for _ in 0..60 {
        operate(&mut cluster, sleeper, "k", DataType::GCounter, Deed::Count(1));
        cluster.run_for(10).expect("a run");
    }
    agree(&mut cluster);
    let last = operate(&mut cluster, sleeper, "k", DataType::GCounter, Deed::Count(1)).after.expect("it wrote");
    cluster.run_for(100).expect("a run");
    oversleep(&mut cluster, sleeper);
    agree(&mut cluster);
    // The broker takes nothing of this life's write, and then tells what became of all frames of the life before.
    cluster.gate = Some(Box::new(move |from, _| from != sleeper));
    operate(&mut cluster, sleeper, "k", DataType::GCounter, Deed::Count(1));
    let stale = (1..=last.0).map(|id| Receipt { id: FrameId(id), verdict: Verdict::Confirmed });
    cluster.settle(sleeper, &stale.collect::<Vec<_>>()).expect("a settle");
    assert_eq!(status(&mut cluster, sleeper, "unsettled"), 1, "an old outcome confirmed a new write");
    cluster.run_for(1_000).expect("a run");
    cluster.gate = None;
    agree(&mut cluster);
    assert_eq!(value(&mut cluster, stayer, "k", DataType::GCounter), 62);
}

#[test]
fn a_replica_that_is_awake_is_never_taken_for_one_that_slept() {
    let (mut cluster, stayer, sleeper) = pair();
    operate(&mut cluster, sleeper, "k", DataType::GCounter, Deed::Count(1));
    let (first, second) = (cluster.node(stayer).life.incarnation(), cluster.node(sleeper).life.incarnation());
    cluster.run_for(10 * RETENTION_MS).expect("a run");
    assert_eq!(cluster.node(stayer).life.incarnation(), first);
    assert_eq!(cluster.node(sleeper).life.incarnation(), second);
}

#[test]
fn a_writer_is_not_used_for_longer_than_an_hour() {
    let mut cluster = cluster(Plan::calm());
    let id = join(&mut cluster, "one", true);
    operate(&mut cluster, id, "k", DataType::GCounter, Deed::Count(1));
    for _ in 0..6 {
        cluster.run_for(1_000_000).expect("a run");
        cluster.wake(id, LEASE_MS).expect("a wake");
        operate(&mut cluster, id, "k", DataType::GCounter, Deed::Count(1));
    }
    assert_eq!(value(&mut cluster, id, "k", DataType::GCounter), 7);
    // 6,000 seconds are an hour and a bit.
    assert_eq!(status(&mut cluster, id, "writers"), 2);
}
