//! Overlays: replicas speak to their neighbours along a spanning tree, which mends itself.

use std::collections::{BTreeMap, BTreeSet};

use dayfly_core::cell::DataType;
use dayfly_core::effect::Route;
use dayfly_core::frame::{Body, Frame};
use dayfly_tests::simulation::cluster::Cluster;
use dayfly_tests::simulation::node::NodeId;
use dayfly_tests::simulation::plan::Plan;
use dayfly_tests::simulation::types::Deed;

use crate::{agree, cluster, config, join, operate, shown, value};

const INTERVAL_MS: u32 = 100;
/// Longer than it takes to notice that a neighbour is silent (20 intervals), and to mend the tree.
const MENDED_MS: u64 = 60 * INTERVAL_MS as u64;

/// A ring of so many that agree, each linked to so many next to it on either side.
fn ring(count: usize, reach: usize) -> (Cluster<'static>, Vec<NodeId>) {
    let mut plan = Plan::calm();
    plan.overlay_ms = Some(INTERVAL_MS);
    let mut cluster = cluster(plan);
    let ids: Vec<NodeId> = (0..count).map(|nth| join(&mut cluster, &name(nth), nth == 0)).collect();
    link(&mut cluster, &ids, reach);
    cluster.run_for(20 * u64::from(INTERVAL_MS)).expect("a run");
    agree(&mut cluster);
    (cluster, ids)
}

fn name(nth: usize) -> String {
    format!("member-{nth:02}")
}

fn link(cluster: &mut Cluster<'_>, ids: &[NodeId], reach: usize) {
    let count = ids.len();
    for (at, id) in ids.iter().enumerate() {
        let near = (1..=reach).flat_map(|step| [(at + step) % count, (at + count - step) % count]);
        let near: BTreeSet<String> = near.map(|at| cluster.node(ids[at]).name.clone()).collect();
        let near: Vec<String> = near.into_iter().filter(|name| *name != cluster.node(*id).name).collect();
        cluster.set_neighbours(*id, &near, INTERVAL_MS).expect("neighbours");
    }
}

/// Each writes; elements differ.
fn all_write(cluster: &mut Cluster<'_>, ids: &[NodeId], round: usize) {
    for id in ids {
        let element = format!("\"{}-{round}\"", id.0);
        operate(cluster, *id, "set", DataType::GSet, Deed::Add(vec![element]));
    }
}

fn elements(cluster: &mut Cluster<'_>, id: NodeId) -> usize {
    value(cluster, id, "set", DataType::GSet).as_array().map_or(0, Vec::len)
}

/// How often each live dot was published along links, and how many requests for repair there were. All goes to neighbours.
fn told(cluster: &Cluster<'_>) -> (usize, usize) {
    let (mut elements, mut asks) = (0, 0);
    for (published, frame) in cluster.tapped() {
        match frame.body {
            Body::Link(link) => elements += link.chunk.entry_count(),
            Body::Ask(_) => asks += 1,
            Body::Answer(_) | Body::Members(_) => {}
            other => panic!("{other:?} goes to {:?}", published.route),
        }
        assert!(matches!(published.route, Route::One(_)), "{:?}", published.route);
    }
    (elements, asks)
}

#[test]
fn nobody_is_told_anything_twice() {
    const COUNT: usize = 15;
    let (mut cluster, ids) = ring(COUNT, 2);
    cluster.tap();
    for round in 0..20 {
        all_write(&mut cluster, &ids, round);
        cluster.run_for(INTERVAL_MS.into()).expect("a run");
    }
    agree(&mut cluster);
    cluster.run_for(MENDED_MS).expect("a run");
    assert_eq!(elements(&mut cluster, ids[7]), 20 * COUNT);
    // Each element once along each of the tree's links, of which there is one fewer than there are replicas.
    assert_eq!(told(&cluster), (20 * COUNT * (COUNT - 1), 0), "elements and requests for repair");
    let silent_ms = cluster.tapped().iter().map(|(published, _)| published.at).max().expect("something was said");
    assert!(cluster.now - silent_ms < 1_000, "signs of life go on");
}

#[test]
fn a_write_is_confirmed_within_an_interval_and_seen_by_all_within_one_for_each_link() {
    let (mut cluster, ids) = ring(7, 1);
    operate(&mut cluster, ids[3], "k", DataType::GCounter, Deed::Count(1));
    cluster.run_for(u64::from(INTERVAL_MS) + 10).expect("a run");
    let witness = cluster.witness.as_ref().expect("it is watched");
    assert!(witness.history.writes.last().is_some_and(|write| write.confirmed), "an interval is over");
    cluster.run_for(6 * u64::from(INTERVAL_MS)).expect("a run");
    for id in ids {
        assert_eq!(value(&mut cluster, id, "k", DataType::GCounter), 1);
    }
}

#[test]
fn without_a_neighbour_that_lives_a_write_is_confirmed_all_the_same() {
    let mut plan = Plan::calm();
    plan.overlay_ms = Some(INTERVAL_MS);
    let mut cluster = cluster(plan);
    let first = join(&mut cluster, "first", true);
    cluster.set_neighbours(first, &["second".to_owned()], INTERVAL_MS).expect("neighbours");
    operate(&mut cluster, first, "k", DataType::GCounter, Deed::Count(1));
    cluster.run_for(500).expect("a run");
    assert!(cluster.witness.as_ref().is_some_and(|witness| witness.history.writes[0].confirmed));
    let second = join(&mut cluster, "second", false);
    cluster.set_neighbours(second, &["first".to_owned()], INTERVAL_MS).expect("neighbours");
    agree(&mut cluster);
    assert_eq!(value(&mut cluster, second, "k", DataType::GCounter), 1);
}

/// Kills or freezes one, the root or another, while all write; the others agree and are linked again without repair in the end.
fn without_one(victim: usize, is_killed: bool) {
    const COUNT: usize = 9;
    let (mut cluster, ids) = ring(COUNT, 2);
    all_write(&mut cluster, &ids, 0);
    if is_killed {
        cluster.kill(ids[victim]);
    } else {
        cluster.freeze(ids[victim]);
    }
    let others: Vec<NodeId> = ids.iter().copied().filter(|id| *id != ids[victim]).collect();
    for round in 1..=3 {
        all_write(&mut cluster, &others, round);
        cluster.run_for(MENDED_MS / 3).expect("a run");
    }
    cluster.run_for(MENDED_MS).expect("a run");
    let count = elements(&mut cluster, others[0]);
    assert!(count >= 3 * (COUNT - 1), "{count}");
    for id in &others {
        assert_eq!(elements(&mut cluster, *id), count, "{}", cluster.node(*id).name);
    }
    cluster.tap();
    all_write(&mut cluster, &others, 4);
    cluster.run_for(MENDED_MS).expect("a run");
    assert_eq!(told(&cluster), ((COUNT - 1) * (COUNT - 2), 0), "the tree is whole again");
    if !is_killed {
        cluster.thaw(ids[victim]).expect("a thaw");
        agree(&mut cluster);
        let all = elements(&mut cluster, others[0]);
        assert_eq!(elements(&mut cluster, ids[victim]), all);
    }
}

#[test]
fn the_tree_is_mended_when_its_root_is_killed() {
    without_one(0, true);
}

#[test]
fn the_tree_is_mended_when_another_is_killed() {
    without_one(2, true);
}

#[test]
fn the_tree_is_mended_when_its_root_is_frozen() {
    without_one(0, false);
}

#[test]
fn the_tree_is_mended_when_another_is_frozen() {
    without_one(1, false);
}

#[test]
fn a_lost_frame_is_asked_for_and_nothing_else() {
    let (mut cluster, ids) = ring(5, 1);
    let name = cluster.plan.config.cluster.clone();
    let mut left = 1;
    cluster.filter = Some(Box::new(move |passing| {
        let is_write = matches!(Frame::decode(passing.body, &name).expect("frames decode").body,
            Body::Link(link) if !link.chunk.is_empty());
        if is_write && left > 0 {
            left -= 1;
            return false;
        }
        true
    }));
    all_write(&mut cluster, &ids[2..3], 0);
    cluster.run_for(MENDED_MS).expect("a run");
    cluster.filter = None;
    agree(&mut cluster);
    for id in &ids {
        assert_eq!(elements(&mut cluster, *id), 1, "{}", cluster.node(*id).name);
    }
    cluster.tap();
    all_write(&mut cluster, &ids, 1);
    cluster.run_for(MENDED_MS).expect("a run");
    assert_eq!(told(&cluster), (5 * 4, 0));
}

#[test]
fn two_halves_that_were_parted_come_together() {
    const COUNT: usize = 8;
    let (mut cluster, ids) = ring(COUNT, 2);
    let half: BTreeSet<String> = (0..COUNT / 2).map(name).collect();
    let names: BTreeMap<NodeId, String> = ids.iter().map(|id| (*id, cluster.node(*id).name.clone())).collect();
    cluster.filter = Some(Box::new(move |passing| {
        passing.to.is_none_or(|to| half.contains(to) == half.contains(&names[&passing.from]))
    }));
    for round in 0..4 {
        all_write(&mut cluster, &ids, round);
        cluster.run_for(MENDED_MS / 2).expect("a run");
    }
    assert_eq!(elements(&mut cluster, ids[1]), 4 * COUNT / 2, "the other half was not heard");
    cluster.filter = None;
    cluster.run_for(MENDED_MS).expect("a run");
    agree(&mut cluster);
    for id in &ids {
        assert_eq!(elements(&mut cluster, *id), 4 * COUNT, "{}", cluster.node(*id).name);
    }
    cluster.tap();
    all_write(&mut cluster, &ids, 9);
    cluster.run_for(MENDED_MS).expect("a run");
    assert_eq!(told(&cluster), (COUNT * (COUNT - 1), 0));
}

#[test]
fn members_are_known_beyond_the_neighbours_and_farewells_are_heard() {
    let (mut cluster, ids) = ring(7, 1);
    assert_eq!(shown(&mut cluster, ids[0], &name(3)).as_deref(), Some("awake"));
    cluster.leave(ids[3]).expect("a farewell");
    cluster.run_for(MENDED_MS).expect("a run");
    assert_eq!(shown(&mut cluster, ids[0], &name(3)).as_deref(), Some("gone"));
}

#[test]
fn an_overlay_ends_when_nobody_has_neighbours() {
    let (mut cluster, ids) = ring(4, 1);
    all_write(&mut cluster, &ids, 0);
    for id in &ids {
        cluster.set_neighbours(*id, &[], 0).expect("no neighbours");
    }
    cluster.plan.overlay_ms = None;
    agree(&mut cluster);
    cluster.tap();
    all_write(&mut cluster, &ids, 1);
    agree(&mut cluster);
    assert_eq!(elements(&mut cluster, ids[0]), 8);
    let is_everyone = |(published, frame): &(_, Frame)| {
        let published: &&dayfly_tests::simulation::cluster::Published = published;
        matches!((&frame.body, &published.route), (Body::Delta(_), Route::Everyone))
    };
    assert_eq!(cluster.tapped().iter().filter(|told| is_everyone(told)).count(), 4);
}

#[test]
fn an_overlay_that_is_begun_anew_is_heard() {
    let (mut cluster, ids) = ring(3, 1);
    all_write(&mut cluster, &ids, 0);
    cluster.run_for(MENDED_MS).expect("a run");
    cluster.set_neighbours(ids[2], &[], 0).expect("no neighbours");
    link(&mut cluster, &ids, 1);
    cluster.run_for(MENDED_MS).expect("a run");
    cluster.tap();
    all_write(&mut cluster, &ids, 1);
    cluster.run_for(MENDED_MS).expect("a run");
    agree(&mut cluster);
    assert_eq!(told(&cluster), (3 * 2, 0), "nothing that it says is taken for something late");
}

#[test]
fn neighbours_out_of_bounds_are_refused_and_change_nothing() {
    let (mut cluster, ids) = ring(3, 1);
    let many: Vec<String> = (0..65).map(|nth| format!("m{nth}")).collect();
    let own = cluster.node(ids[0]).name.clone();
    let bad: [(&[String], u32, &str); 6] = [
        (&many, 100, "at most 64, not 65"),
        (&["Upper".to_owned()], 100, "\"Upper\""),
        (&[own], 100, "the replica itself"),
        (&["a".to_owned(), "b".to_owned(), "a".to_owned()], 100, "\"a\" stands again at place 2"),
        (&["a".to_owned()], 9, "10 to 60000, not 9"),
        (&["a".to_owned()], 60_001, "not 60001"),
    ];
    for (names, interval_ms, part) in bad {
        let refused = cluster.set_neighbours(ids[0], names, interval_ms).expect_err("it is out of bounds");
        assert!(format!("{refused:#}").contains(part), "{part:?} is missing in: {refused:#}");
    }
    cluster.tap();
    all_write(&mut cluster, &ids, 0);
    cluster.run_for(MENDED_MS).expect("a run");
    assert_eq!(told(&cluster), (3 * 2, 0), "its neighbours are those of before");

    let mut plan = Plan::calm();
    plan.config.log_bytes = 16 << 20;
    let mut logged = crate::cluster(plan);
    let config = config(&logged.plan, "logged", true);
    let id = logged.start(config, 0).expect("a start");
    let refused = logged.set_neighbours(id, &["a".to_owned()], 100).expect_err("it has a log");
    assert!(format!("{refused:#}").contains("log-bytes must be 0"), "{refused:#}");
}
