//! Who is awake, dormant and gone, as everybody can tell from what was announced.

use dayfly_core::frame::{Body, Frame};
use dayfly_core::http::Request;
use dayfly_tests::simulation::cluster::Cluster;
use dayfly_tests::simulation::node::NodeId;
use dayfly_tests::simulation::plan::Plan;
use serde_json::Value;

use crate::{agree, cluster, config, get_request, join, shown, status};

const RETENTION_MS: u64 = 60_000;
const SKEW_MS: u64 = 2_000;
const LEASE_MS: u64 = 10_000;

/// Two replicas awake for long, and `sleeper`, which is frozen in the midst of an awake period of ten seconds.
fn sleeping() -> (Cluster<'static>, [NodeId; 2], NodeId) {
    let mut plan = Plan::calm();
    plan.config.retention_ms = RETENTION_MS;
    plan.config.skew_ms = SKEW_MS;
    let mut cluster = cluster(plan);
    let ids = [join(&mut cluster, "one", true), join(&mut cluster, "two", false)];
    let config = config(&cluster.plan, "sleeper", false);
    let sleeper = cluster.start(config, 0).expect("a start");
    cluster.tap();
    cluster.wake(sleeper, LEASE_MS).expect("a wake");
    agree(&mut cluster);
    (cluster, ids, sleeper)
}

/// All frames that one node has published.
fn published(cluster: &Cluster<'_>, id: NodeId) -> Vec<Vec<u8>> {
    let frames = cluster.published.iter().flatten();
    frames.filter(|frame| frame.from == id).map(|frame| frame.body.to_vec()).collect()
}

fn states(cluster: &mut Cluster<'_>, ids: [NodeId; 2], name: &str) -> Vec<Option<String>> {
    ids.into_iter().map(|id| shown(cluster, id, name)).collect()
}

fn all(state: Option<&str>) -> Vec<Option<String>> {
    vec![state.map(str::to_owned); 2]
}

#[test]
fn a_frozen_replica_is_awake_then_dormant_then_dropped_to_the_millisecond() {
    let (mut cluster, ids, sleeper) = sleeping();
    let until = cluster.announced[&("sleeper".into(), cluster.node(sleeper).life.incarnation())].last().copied();
    let until = until.expect("it announced when it woke");
    cluster.freeze(sleeper);
    let at = |cluster: &mut Cluster<'_>, time: u64| {
        cluster.run_for(time - cluster.now).expect("a run");
        states(cluster, ids, "sleeper")
    };
    assert_eq!(at(&mut cluster, until), all(Some("awake")));
    assert_eq!(at(&mut cluster, until + SKEW_MS), all(Some("awake")));
    assert_eq!(at(&mut cluster, until + SKEW_MS + 1), all(Some("dormant")));
    assert_eq!(at(&mut cluster, until + RETENTION_MS + SKEW_MS), all(Some("dormant")));
    assert_eq!(at(&mut cluster, until + RETENTION_MS + SKEW_MS + 1), all(None));
}

#[test]
fn old_gossip_does_not_bring_back_who_is_gone() {
    let (mut cluster, ids, sleeper) = sleeping();
    let mut gossip = published(&cluster, sleeper);
    // A newcomer asks for the members while the sleeper is one.
    join(&mut cluster, "three", false);
    agree(&mut cluster);
    let lists = cluster.tapped().into_iter().filter(|(_, frame)| matches!(frame.body, Body::Members(_)));
    gossip.extend(lists.map(|(published, _)| published.body.to_vec()).collect::<Vec<_>>());
    let mentions = |frame: &Frame| match &frame.body {
        Body::Members(records) => records.iter().any(|(record, _)| record.name == "sleeper"),
        _ => frame.sender.name == "sleeper",
    };
    let decoded = gossip.iter().map(|body| Frame::decode(body, "simulated").expect("frames decode"));
    assert!(decoded.filter(mentions).count() >= 2, "the gossip tells of the sleeper");
    cluster.kill(sleeper);
    cluster.run_for(LEASE_MS + RETENTION_MS + SKEW_MS + 1).expect("a run");
    assert_eq!(states(&mut cluster, ids, "sleeper"), all(None));
    for id in ids {
        cluster.receive(id, &gossip).expect("a receive");
    }
    assert_eq!(states(&mut cluster, ids, "sleeper"), all(None), "it was resurrected");
    // Nor once the table has been cleaned up.
    cluster.run_for(30_000).expect("a run");
    for id in ids {
        cluster.receive(id, &gossip).expect("a receive");
        assert_eq!(status(&mut cluster, id, "members"), 3, "it takes room again");
    }
    assert_eq!(states(&mut cluster, ids, "sleeper"), all(None), "it was resurrected");
}

#[test]
fn a_replica_that_left_stays_gone_whatever_old_gossip_says() {
    let (mut cluster, ids, sleeper) = sleeping();
    let gossip = published(&cluster, sleeper);
    cluster.leave(sleeper).expect("a farewell");
    cluster.run_for(100).expect("a run");
    assert_eq!(states(&mut cluster, ids, "sleeper"), all(Some("gone")));
    for id in ids {
        cluster.receive(id, &gossip).expect("a receive");
    }
    assert_eq!(states(&mut cluster, ids, "sleeper"), all(Some("gone")));
    cluster.kill(sleeper);
    cluster.run_for(LEASE_MS + RETENTION_MS + SKEW_MS + 1).expect("a run");
    assert_eq!(states(&mut cluster, ids, "sleeper"), all(None));
}

#[test]
fn a_replica_thawed_within_the_retention_was_never_dropped_and_is_awake_again() {
    let (mut cluster, ids, sleeper) = sleeping();
    let incarnation = cluster.node(sleeper).life.incarnation();
    cluster.freeze(sleeper);
    for _ in 0..5 {
        cluster.run_for(RETENTION_MS / 6).expect("a run");
        assert!(states(&mut cluster, ids, "sleeper").iter().all(Option::is_some), "it was taken for dead");
    }
    let effects = cluster.wake(sleeper, LEASE_MS).expect("a wake");
    assert!(!effects.started_anew);
    assert_eq!(cluster.node(sleeper).life.incarnation(), incarnation);
    cluster.run_for(100).expect("a run");
    assert_eq!(states(&mut cluster, ids, "sleeper"), all(Some("awake")));
}

#[test]
fn the_next_life_of_a_name_takes_the_place_of_the_last() {
    let (mut cluster, ids, sleeper) = sleeping();
    let gossip = published(&cluster, sleeper);
    cluster.leave(sleeper).expect("a farewell");
    cluster.run_for(100).expect("a run");
    cluster.kill(sleeper);
    let config = config(&cluster.plan, "sleeper", false);
    let next = cluster.start(config, 0).expect("a start");
    cluster.wake(next, LEASE_MS).expect("a wake");
    agree(&mut cluster);
    assert_eq!(states(&mut cluster, ids, "sleeper"), all(Some("awake")));
    for id in ids {
        cluster.receive(id, &gossip).expect("a receive");
    }
    assert_eq!(states(&mut cluster, ids, "sleeper"), all(Some("awake")));
}

#[test]
fn a_wrong_clock_makes_nobody_immortal() {
    let mut plan = Plan::calm();
    plan.config.retention_ms = RETENTION_MS;
    let mut cluster = cluster(plan);
    let one = join(&mut cluster, "one", true);
    let hours = 3_600_000;
    let config = config(&cluster.plan, "ahead", false);
    let ahead = cluster.start(config, 1_000 * hours).expect("a start");
    cluster.wake(ahead, LEASE_MS).expect("a wake");
    cluster.run_for(100).expect("a run");
    cluster.kill(ahead);
    assert_eq!(shown(&mut cluster, one, "ahead").as_deref(), Some("awake"));
    cluster.run_for(hours as u64 + RETENTION_MS + 3 * SKEW_MS).expect("a run");
    assert_eq!(shown(&mut cluster, one, "ahead"), None);
}

#[test]
fn without_a_limit_a_page_holds_a_thousand_members() {
    let (mut cluster, [one, _], sleeper) = sleeping();
    let announced = published(&cluster, sleeper);
    let frame = Frame::decode(announced.last().expect("it announced when it woke"), "simulated").expect("it decodes");
    let others = (0..998).map(|number| {
        let mut frame = frame.clone();
        frame.sender.name = format!("member-{number}");
        frame.encode("simulated")
    });
    let others: Vec<_> = others.collect();
    cluster.receive(one, &others).expect("a receive");
    let mut page = |query: &str| -> Value {
        let request = Request { query: query.to_owned(), ..get_request("/v1/members") };
        serde_json::from_slice(&cluster.ask(one, &request).expect("the members").body).expect("they are JSON")
    };
    let count = |page: &Value| page["members"].as_array().map(Vec::len);
    let first = page("");
    assert_eq!(count(&first), Some(1_000));
    let rest = page(&format!("after={}", first["next"].as_str().expect("there is more")));
    assert_eq!((count(&rest), rest.get("next")), (Some(1), None));
    assert_eq!(count(&page("limit=1001")), Some(1_001));
}
