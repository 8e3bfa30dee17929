//! Simulations of whole clusters in virtual time: random ones from a seed, and directed ones for each promise.

mod bootstrap;
mod combining;
mod costs;
mod log;
mod membership;
mod notice;
mod overlay;
mod random;
mod sleep;

use std::collections::BTreeSet;

use dayfly_core::cell::DataType;
use dayfly_core::config::Config;
use dayfly_core::http::Response;
use dayfly_tests::life::CoreMaker;
use dayfly_tests::simulation::client::{get_request, read_request, write_request};
use dayfly_tests::simulation::cluster::Cluster;
use dayfly_tests::simulation::node::NodeId;
use dayfly_tests::simulation::plan::Plan;
use dayfly_tests::simulation::stock::Stock;
use dayfly_tests::simulation::types::{Deed, Operation};
use serde_json::Value;

/// Longer than any test here lasts.
const LEASE_MS: u64 = 3_000_000;

/// A cluster without faults but those that a test makes.
fn cluster(plan: Plan) -> Cluster<'static> {
    Cluster::new(1, plan, &CoreMaker)
}

/// A configuration with this name, of a founder or a newcomer.
fn config(plan: &Plan, name: &str, founds: bool) -> Config {
    let mut config = plan.config.clone();
    config.name = Some(name.to_owned());
    if founds {
        config.bootstrap_ms = 0;
    }
    config
}

/// Starts and wakes a replica.
fn join(cluster: &mut Cluster<'_>, name: &str, founds: bool) -> NodeId {
    let config = config(&cluster.plan, name, founds);
    let id = cluster.start(config, 0).expect("a start");
    cluster.wake(id, LEASE_MS).expect("a wake");
    id
}

/// Starts a replica that founds the cluster with this state, and does not wake it. It is not watched: the model is not made
/// for so many entries.
fn stocked(
    cluster: &mut Cluster<'_>,
    name: &str,
    stock: Stock,
    unseen: &BTreeSet<u64>,
    gone: &BTreeSet<u64>,
) -> NodeId {
    cluster.witness = None;
    let config = config(&cluster.plan, name, true);
    let id = cluster.start(config, 0).expect("a start");
    for chunk in stock.chunks(unseen, gone) {
        cluster.load(id, &chunk).expect("a part");
    }
    id
}

/// Sends an operation; it must succeed.
fn operate(cluster: &mut Cluster<'_>, id: NodeId, name: &str, data_type: DataType, deed: Deed) -> Response {
    let operations = [Operation { name: name.into(), data_type, deed }];
    let (response, _) = cluster.operate(id, &write_request(&operations), &operations).expect("an operation");
    assert!(response.status < 300, "{name}: {}", String::from_utf8_lossy(&response.body));
    response
}

/// The value of a key, or null.
fn value(cluster: &mut Cluster<'_>, id: NodeId, name: &str, data_type: DataType) -> Value {
    let response = cluster.ask(id, &read_request(name, data_type)).expect("a read");
    let body: Value = serde_json::from_slice(&response.body).expect("an answer is JSON");
    body["value"].clone()
}

/// A member of `/v1/status`.
fn status(cluster: &mut Cluster<'_>, id: NodeId, member: &str) -> Value {
    let response = cluster.ask(id, &get_request("/v1/status")).expect("a status");
    let body: Value = serde_json::from_slice(&response.body).expect("the status is JSON");
    body[member].clone()
}

/// The state in which a replica shows a member; none: it does not show it.
fn shown(cluster: &mut Cluster<'_>, id: NodeId, name: &str) -> Option<String> {
    let response = cluster.ask(id, &get_request("/v1/members")).expect("the members");
    let body: Value = serde_json::from_slice(&response.body).expect("the members are JSON");
    let members = body["members"].as_array().expect("members are an array");
    let member = members.iter().find(|member| member["name"] == name)?;
    Some(member["state"].as_str().expect("a state is a text").to_owned())
}

/// Runs until all replicas agree and are quiet; gives how long that took, in milliseconds.
fn agree(cluster: &mut Cluster<'_>) -> u64 {
    cluster.calm_down().expect("all come to agree")
}
