//! The platform's model by itself: what it orders.

use std::sync::{Arc, OnceLock};

use dayfly_engine::{Limits, Runtime, usual_config};

use super::{Orders, Platform, Refused, Target};
use crate::component::COMPONENT;
use crate::experiment::message::{Input, Invocation, NodeId};
use crate::experiment::moment::Moment;
use crate::experiment::scenario::Scenario;

/// From the platform to a replica.
const DISTANCE: Moment = Moment(750);

/// A platform of such a kind, for three replicas in two regions.
fn platform(part: &str) -> Platform {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    let limits = Limits { instances: 1, ..Limits::default() };
    let runtime = RUNTIME.get_or_init(|| Runtime::new(COMPONENT, limits).expect("it compiles"));
    let text = format!(
        "title = 'x'\nseconds = 1000\n\
         places = [{{ region = 'eu', replicas = 2, spread_s = 4 }}, {{ region = 'us', replicas = 1, start_s = 1 }}]\n\
         [platform]\ncold_start_ms = 100\nidle_s = 60\n{part}"
    );
    let scenario = Arc::new(Scenario::read(&text).unwrap_or_else(|error| panic!("{error}")));
    Platform::new(&scenario, usual_config("c"), runtime.clone(), 1, DISTANCE)
}

fn at(seconds: f64) -> Moment {
    Moment::from_s(seconds)
}

fn request() -> Invocation {
    Invocation { id: 0, request: None, wants_body: false, follow: false }
}

/// To whom an invocation went.
fn invoked(orders: &mut Orders) -> Vec<NodeId> {
    let reach = std::mem::take(&mut orders.reach).into_iter();
    reach.filter(|(.., input)| matches!(input, Input::Invoke(_))).map(|(_, id, _)| id).collect()
}

/// Who is killed, and when.
fn killed(orders: &mut Orders) -> Vec<(NodeId, Moment)> {
    let reach = std::mem::take(&mut orders.reach).into_iter();
    reach.filter(|(.., input)| matches!(input, Input::Kill)).map(|(at, id, _)| (id, at)).collect()
}

#[test]
fn slots_are_filled_in_their_time_and_a_standing_replica_is_replaced() {
    let mut platform = platform("life_s = 30");
    assert_eq!(platform.first_starts(), [at(0.0), at(2.0), at(1.0)]);
    let mut orders = Orders::default();
    platform.fill(0, at(0.0), &mut orders);
    platform.fill(0, at(0.5), &mut orders);
    assert_eq!((orders.born.len(), orders.born[0].node.name()), (1, "eu-a-0"));
    let born = at(0.1) + DISTANCE;
    assert_eq!(orders.born[0].at, born);
    assert_eq!(killed(&mut orders), [(NodeId(0), born + at(30.0))]);
    assert!(platform.request(Target::Slot(0), request(), at(1.0), &mut orders).is_ok());
    assert_eq!(platform.request(Target::Slot(1), request(), at(1.0), &mut orders), Err(Refused::NoReplica));
    let open = platform.ended(NodeId(0), at(30.1), true, at(30.2), &mut orders);
    assert_eq!((open.len(), orders.born.len(), platform.living()), (1, 2, 1));
    let census = platform.census();
    assert_eq!((census.started, census.killed, census.invocations, census.no_replica), (2, 1, 1, 1));
    assert_eq!(platform.cost(at(60.0)), None);
}

#[test]
fn functions_take_one_request_at_a_time_and_grow_within_bounds() {
    let mut platform = platform("kind = 'functions'\nenvironments = 4\nramp = 2");
    let mut orders = Orders::default();
    (0..2).for_each(|slot| platform.fill(slot, at(0.0), &mut orders));
    assert_eq!(invoked(&mut orders), [NodeId(0), NodeId(1)], "they begin with an invocation of the keeper's");
    // Both were frozen, the second later.
    for (id, second) in [(0, 1.0), (1, 2.0)] {
        platform.answered(NodeId(id), u64::from(id) + 1);
        platform.frozen(NodeId(id), at(second), &mut orders);
    }
    let ask =
        |platform: &mut Platform, orders: &mut Orders| platform.request(Target::Region(0), request(), at(3.0), orders);
    assert!((0..4).all(|_| ask(&mut platform, &mut orders).is_ok()), "there is room");
    let ids = invoked(&mut orders);
    assert_eq!(ids, [1, 0, 2, 3].map(NodeId), "those that are warm come first, and two were started");
    assert_eq!(ask(&mut platform, &mut orders), Err(Refused::Throttled));
    let census = platform.census();
    assert_eq!((census.cold_starts, census.throttled, census.invocations), (2, 1, 6));
    let cost = platform.cost(at(4.0)).expect("functions are billed");
    // 1 s and 2 s are over, and four run since a second: 7 s of 128 MiB.
    assert_eq!((cost.requests, cost.gb_s), (6.0, 7.0 / 8.0));
}

#[test]
fn a_busy_one_is_shared_where_platforms_do_that() {
    let mut platform = platform("kind = 'functions'\nshares = true");
    let mut orders = Orders::default();
    platform.fill(0, at(0.0), &mut orders);
    assert!(platform.request(Target::Region(0), request(), at(1.0), &mut orders).is_ok());
    assert_eq!(invoked(&mut orders), [NodeId(0); 2]);
    assert!(platform.request(Target::Region(1), request(), at(1.0), &mut orders).is_ok());
    assert_eq!(orders.born.len(), 2, "not across regions");
}

#[test]
fn the_idle_are_woken_by_the_keeper_or_reclaimed() {
    let mut platform = platform("kind = 'functions'\nwake_every_s = 20");
    let mut orders = Orders::default();
    platform.fill(0, at(0.0), &mut orders);
    platform.answered(NodeId(0), 1);
    platform.frozen(NodeId(0), at(10.0), &mut orders);
    assert_eq!(orders.reclaim, [(at(70.0), NodeId(0), at(10.0))]);
    invoked(&mut orders);
    platform.keep(at(29.0), &mut orders);
    assert_eq!(invoked(&mut orders), []);
    platform.keep(at(30.0), &mut orders);
    assert_eq!(invoked(&mut orders), [NodeId(0)]);
    // It is another sleep by then.
    platform.frozen(NodeId(0), at(40.0), &mut orders);
    platform.answered(NodeId(0), 2);
    platform.frozen(NodeId(0), at(41.0), &mut orders);
    platform.reclaim(NodeId(0), at(10.0), at(70.0), &mut orders);
    assert_eq!(killed(&mut orders), []);
    platform.reclaim(NodeId(0), at(41.0), at(101.0), &mut orders);
    assert_eq!(killed(&mut orders), [(NodeId(0), at(101.0) + DISTANCE)]);
    platform.ended(NodeId(0), at(101.1), true, at(101.2), &mut orders);
    platform.keep(at(102.0), &mut orders);
    assert_eq!((orders.born.len(), platform.census().reclaimed), (2, 1));
}

#[test]
fn a_region_without_power_has_nobody_until_it_is_back() {
    let mut platform = platform("");
    let mut orders = Orders::default();
    (0..3).for_each(|slot| platform.fill(slot, at(0.0), &mut orders));
    platform.power("eu", false, at(5.0), &mut orders);
    assert_eq!(killed(&mut orders).len(), 2);
    (0..2).for_each(|id| drop(platform.ended(NodeId(id), at(5.1), true, at(5.2), &mut orders)));
    assert_eq!(platform.living(), 1);
    platform.power("eu", true, at(9.0), &mut orders);
    assert_eq!(platform.living(), 3);
}

#[test]
fn random_lives_have_their_mean() {
    let mut platform = platform("mean_life_s = 100");
    let mut orders = Orders::default();
    for id in 0..1_000 {
        platform.fill(2, at(0.0), &mut orders);
        platform.slots[2].node = None;
        assert_eq!(orders.born.len(), id + 1);
    }
    let lives: Vec<f64> = killed(&mut orders).iter().map(|(_, at)| at.as_s()).collect();
    let mean = lives.iter().sum::<f64>() / 1_000.0;
    // What would be longer than three times the mean is cut: 95 % of it are left on average.
    assert!((88.0..102.0).contains(&mean) && lives.iter().all(|life| *life < 301.0), "{mean}");
}
