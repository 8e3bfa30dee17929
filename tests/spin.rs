//! The packaged application for Spin, over a real RabbitMQ: its instances come and go, several at a time, and what was
//! written stays.

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::net::ToSocketAddrs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use dayfly_conformance::http::Answer;
use dayfly_tests::application::{Application, Platform, StateFolder, broker_address};
use dayfly_tests::control::queues;
use dayfly_tests::node::{Node, broker_url, fresh_cluster};
use dayfly_tests::patience::await_that;
use dayfly_tests::throttle::Line;
use serde_json::{Value, json};

/// How long clusters may take to settle on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

fn start(cluster: &str, state: &StateFolder, variables: &[(&str, &str)]) -> Result<Application> {
    Application::start(Platform::Ours, cluster, state, variables)
}

/// The same where instances are kept otherwise than is usual.
fn start_kept(cluster: &str, state: &StateFolder, arguments: &[&str]) -> Result<Application> {
    let broker = broker_url()?;
    let address = broker_address(&broker)?;
    let variables = [("broker", &*broker), ("broker_address", &*address), ("cluster", cluster)];
    Application::start_with(Platform::Ours, state, &variables, arguments)
}

/// The variables of an application that reaches the broker by a line, to which they may be added.
fn by_line(line: &Line) -> Result<[(&'static str, String); 2]> {
    let url = broker_url()?;
    let broker = url.replace(&broker_address(&url)?, &line.address().to_string());
    ensure!(broker != url, "the tests' broker is named otherwise than by its address: {url}");
    Ok([("broker", broker), ("broker_address", line.address().to_string())])
}

fn line_to_broker() -> Result<Line> {
    Line::to(broker_address(&broker_url()?)?.to_socket_addrs()?.next().context("an address")?)
}

fn replica(answer: &Answer) -> Result<String> {
    Ok(answer.header("dayfly-replica").context("an answer without its replica")?.to_owned())
}

fn add(application: &Application, element: &str) -> Result<Answer> {
    application.post("/v1/data/orset/k", &json!({"add": [element]}))
}

/// The inboxes of a cluster's replicas.
fn inboxes(cluster: &str) -> Result<Vec<String>> {
    let prefix = format!("dayfly.{cluster}.node.");
    Ok(queues()?.into_iter().filter(|name| name.starts_with(&prefix)).collect())
}

/// Lingers with all until they and the nodes agree; gives the root.
fn settle(applications: &[&Application], nodes: &[&Node]) -> Result<String> {
    let until = Instant::now() + PATIENCE;
    loop {
        let lines: Vec<Value> = thread::scope(|scope| {
            let lingering: Vec<_> = applications.iter().map(|one| scope.spawn(|| one.linger(1))).collect();
            let last = |lines: Vec<Value>| lines.last().cloned().unwrap_or_default();
            let joined = lingering.into_iter().map(|one| one.join().expect("lingering does not panic").map(last));
            joined.collect::<Result<_>>()
        })?;
        let statuses: Vec<_> = nodes.iter().map(|node| node.status()).collect::<Result<_>>()?;
        let root = lines[0]["root"].as_str().unwrap_or_default();
        let agree = lines.iter().all(|line| line["complete"] == true && line["root"] == root)
            && statuses.iter().all(|status| status.is_done() && status.root == root);
        if agree {
            return Ok(root.to_owned());
        }
        ensure!(Instant::now() < until, "not settled: {lines:?} {statuses:?}");
    }
}

#[test]
fn applications_and_native_replicas_of_one_broker_are_one_cluster_of_the_same_component() -> Result<()> {
    let cluster = fresh_cluster("spin");
    let first_node = Node::start(&cluster, "first", &[])?;
    first_node.await_ready()?;
    let states = [StateFolder::new()?, StateFolder::new()?];
    let applications: Vec<Application> =
        states.iter().map(|state| start(&cluster, state, &[("region", "eu")])).collect::<Result<_>>()?;
    let second_node = Node::start(&cluster, "second", &[])?;
    second_node.await_ready()?;
    let (both, nodes) = ([&applications[0], &applications[1]], [&first_node, &second_node]);
    settle(&both, &nodes)?;

    let json_header = [("content-type".to_owned(), b"application/json".to_vec())];
    for round in 0..10 {
        for (number, application) in applications.iter().enumerate() {
            add(application, &format!("spin-{number}-{round}"))?.value()?;
            application.post("/v1/data/gcounter/n", &json!({"increment": 1}))?.value()?;
        }
        for node in nodes {
            let body = json!({"add": [format!("{}-{round}", node.name())]}).to_string();
            node.client()?.send("POST", "/v1/data/orset/k", &json_header, body.as_bytes())?.value()?;
        }
    }
    settle(&both, &nodes)?;
    let answers = |path: &str| -> Result<Vec<Answer>> {
        let of_spin = applications.iter().map(|application| application.get(path));
        of_spin.chain(nodes.iter().map(|node| node.client()?.get(path))).collect()
    };
    for answer in answers("/v1/data/orset/k")? {
        ensure!(answer.value()?.as_array().context("a set")?.len() == 40, "{answer:?}");
    }
    for answer in answers("/v1/data/gcounter/n")? {
        ensure!(answer.value()? == json!(20), "{answer:?}");
    }
    let statuses: Vec<Value> = answers("/v1/status")?.iter().map(Answer::json).collect::<Result<_>>()?;
    let hashes: BTreeSet<&str> = statuses.iter().filter_map(|status| status["component"].as_str()).collect();
    ensure!(hashes.len() == 1 && hashes.iter().all(|hash| hash.len() == 64), "{hashes:?}");
    let hosts: Vec<&str> = statuses.iter().filter_map(|status| status["host"].as_str()).collect();
    ensure!(hosts == ["spin", "spin", "native", "native"], "{hosts:?}");
    ensure!(statuses[0]["region"] == "eu", "{}", statuses[0]);
    applications.into_iter().try_for_each(Application::kill)?;
    [first_node, second_node].into_iter().try_for_each(Node::leave)
}

#[test]
fn what_was_written_survives_all_instances_and_the_platform() -> Result<()> {
    let cluster = fresh_cluster("spin");
    let state = StateFolder::new()?;
    let application = start(&cluster, &state, &[])?;
    for number in 0..30 {
        add(&application, &format!("a{number}"))?.value()?;
        application.post("/v1/data/pncounter/n", &json!({"increment": 2}))?.value()?;
    }
    application.post("/v1/data/orset/k", &json!({"remove": ["a0"]}))?.value()?;
    let before = replica(&application.get("/v1/status")?)?;

    application.evict()?;
    let read = application.get("/v1/data/orset/k")?;
    ensure!(replica(&read)? != before, "the instance was not dropped");
    ensure!(read.value()?.as_array().context("a set")?.len() == 29, "{read:?}");
    ensure!(application.get("/v1/data/pncounter/n")?.value()? == json!(60));

    application.post("/v1/data/pncounter/n", &json!({"decrement": 1}))?.value()?;
    application.post("/v1/data/orset/k", &json!({"remove": ["a1"]}))?.value()?;
    // Nothing can be stored any more after this, and no other replica is alive.
    application.kill()?;
    let application = start(&cluster, &state, &[])?;
    let read = application.get("/v1/data/orset/k")?;
    ensure!(read.value()?.as_array().context("a set")?.len() == 28, "{read:?}");
    ensure!(application.get("/v1/data/pncounter/n")?.value()? == json!(59));

    // Another application of the cluster has another key-value store: what it knows it has from a peer.
    let other_state = StateFolder::new()?;
    let other = start(&cluster, &other_state, &[])?;
    settle(&[&application, &other], &[])?;
    ensure!(other.get("/v1/data/pncounter/n")?.value()? == json!(59));
    other.kill()?;
    application.kill()
}

#[test]
fn many_requests_at_once_are_answered_by_several_replicas_and_none_is_lost() -> Result<()> {
    const CLIENTS: usize = 32;
    const REQUESTS: usize = 20;
    let cluster = fresh_cluster("spin");
    let state = StateFolder::new()?;
    // Few at a time and few in all, so that instances come and go meanwhile.
    let application = start_kept(&cluster, &state, &["--max-concurrent", "4", "--max-requests", "50"])?;
    let replicas: BTreeSet<String> = thread::scope(|scope| -> Result<_> {
        let increment = || -> Result<Vec<String>> {
            let answers = (0..REQUESTS).map(|_| {
                let answer = application.post("/v1/data/gcounter/n", &json!({"increment": 1}))?;
                answer.value()?;
                replica(&answer)
            });
            answers.collect()
        };
        let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(increment)).collect();
        let answered: Vec<Vec<String>> =
            clients.into_iter().map(|client| client.join().expect("no client panics")).collect::<Result<_>>()?;
        Ok(answered.into_iter().flatten().collect())
    })?;
    ensure!(replicas.len() >= 2, "one replica answered all: {replicas:?}");
    let all = json!(CLIENTS * REQUESTS);
    await_that("the replicas that live agree on the sum", || {
        Ok(application.get("/v1/data/gcounter/n")?.value()? == all)
    })?;
    application.evict()?;
    let sum = application.get("/v1/data/gcounter/n")?.value()?;
    ensure!(sum == all, "{sum} is stored in place of {all}");
    application.kill()
}

#[test]
fn a_linger_request_keeps_one_instance_and_without_it_each_ends() -> Result<()> {
    let cluster = fresh_cluster("spin");
    let state = StateFolder::new()?;
    let application = start(&cluster, &state, &[])?;
    let lines = application.linger(5)?;
    let replicas: BTreeSet<&str> = lines.iter().filter_map(|line| line["replica"].as_str()).collect();
    ensure!(replicas.len() == 1 && lines.len() >= 4, "{lines:?}");
    let last = lines.last().context("a line")?;
    ensure!(last["complete"] == true && last["connected"] == true && last["root"].is_string(), "{last}");
    // Five times as long as an instance without a request is kept.
    ensure!(application.stats()?["started"] == 1, "{}", application.stats()?);
    let answer = application.get("/v1/status")?;
    ensure!(replicas.contains(replica(&answer)?.as_str()), "another one than {replicas:?}: {answer:?}");

    await_that("the instance is dropped", || Ok(application.stats()?["instances"] == 0))?;
    let answer = application.get("/v1/status")?;
    ensure!(!replicas.contains(replica(&answer)?.as_str()), "it was not dropped: {answer:?}");
    for (path, status) in [("/v1/linger", 400), ("/v1/linger?seconds=0", 400), ("/v1/linger?seconds=x", 400)] {
        ensure!(application.get(path)?.status == status, "{path}");
    }
    ensure!(application.post("/v1/linger?seconds=1", &json!({}))?.status == 405);
    application.kill()
}

#[test]
fn without_the_broker_reads_are_answered_and_writes_as_far_as_was_asked_for() -> Result<()> {
    let cluster = fresh_cluster("spin");
    let line = line_to_broker()?;
    let line_variables = by_line(&line)?;
    let mut variables: Vec<(&str, &str)> = line_variables.iter().map(|(name, value)| (*name, &**value)).collect();
    variables.push(("cluster", cluster.as_str()));
    let node = Node::start(&cluster, "node", &[])?;
    node.await_ready()?;
    let states = [StateFolder::new()?, StateFolder::new()?];
    let with_confirm = |state: &StateFolder, confirm| {
        Application::start_with(Platform::Ours, state, &[&variables[..], &[("confirm", confirm)]].concat(), &[])
    };
    let (by_both, by_store) = (with_confirm(&states[0], "both")?, with_confirm(&states[1], "store")?);
    add(&by_both, "before")?.value()?;
    settle(&[&by_both, &by_store], &[&node])?;

    line.cut();
    for application in [&by_both, &by_store] {
        ensure!(application.get("/v1/data/orset/k")?.value()? == json!(["before"]));
    }
    add(&by_store, "stored")?.value()?;
    let answer = add(&by_both, "unconfirmed")?;
    ensure!(answer.status == 503 && answer.code()? == "unconfirmed", "{answer:?}");
    replica(&answer)?;
    // It is applied where it was made, as the answer says, and so it is after the end of all instances.
    for application in [&by_both, &by_store] {
        application.evict()?;
    }
    ensure!(by_both.get("/v1/data/orset/k")?.value()? == json!(["before", "unconfirmed"]));
    ensure!(by_store.get("/v1/data/orset/k")?.value()? == json!(["before", "stored"]));

    line.mend();
    settle(&[&by_both, &by_store], &[&node])?;
    let everything = json!(["before", "stored", "unconfirmed"]);
    ensure!(node.client()?.get("/v1/data/orset/k")?.value()? == everything);
    ensure!(by_both.get("/v1/data/orset/k")?.value()? == everything);
    ensure!(by_store.get("/v1/data/orset/k")?.value()? == everything);
    add(&by_both, "after")?.value()?;
    by_both.kill()?;
    by_store.kill()?;
    node.leave()
}

#[test]
fn a_wrong_setting_is_told_by_the_name_of_its_variable() -> Result<()> {
    let cluster = fresh_cluster("spin");
    let (url, address) = (broker_url()?, broker_address(&broker_url()?)?);
    let tls = url.replace("amqp://", "amqps://");
    let (scheme, host) = (url.split("//").next().context("a scheme")?, address.as_str());
    let (stranger, nowhere) =
        (format!("{scheme}//guest:wrong@{host}/"), format!("{scheme}//guest:guest@{host}/no-such"));
    let cases = [
        (vec![("broker", "")], vec!["broker is missing"]),
        (vec![("broker", tls.as_str())], vec!["`broker`", "TLS"]),
        (vec![("broker", "rabbit")], vec!["`broker`"]),
        (vec![("broker", stranger.as_str())], vec!["broker", "password"]),
        (vec![("broker", nowhere.as_str())], vec!["broker", "vhost"]),
        (vec![("broker_address", "127.0.0.1:1")], vec!["broker_address", "allowed_outbound_hosts"]),
        (vec![("confirm", "never")], vec!["confirm", "both, store, broker, local"]),
        (vec![("frame_kib", "3")], vec!["frame_kib", "from 4 to 1024"]),
        (vec![("log_mib", "many")], vec!["log_mib", "a number"]),
    ];
    for (wrong, parts) in cases {
        let state = StateFolder::new()?;
        let usual = [("broker", url.as_str()), ("broker_address", address.as_str()), ("cluster", cluster.as_str())];
        let mut variables = usual.to_vec();
        variables.retain(|(name, _)| wrong.iter().all(|(other, _)| other != name));
        let application = Application::start_with(Platform::Ours, &state, &[&variables[..], &wrong].concat(), &[])?;
        let answer = application.get("/v1/status")?;
        let told = String::from_utf8_lossy(&answer.body).into_owned();
        ensure!(answer.status == 503 && answer.code()? == "no_replica", "{wrong:?}: {} {told}", answer.status);
        ensure!(parts.iter().all(|part| told.contains(part)), "{wrong:?} is told as {told}, without one of {parts:?}");
        ensure!(!told.contains(":guest@") && !told.contains(":wrong@"), "a password is told: {told}");
        application.kill()?;
    }
    Ok(())
}

#[test]
fn no_inbox_of_an_instance_outlives_it_for_long() -> Result<()> {
    let cluster = fresh_cluster("spin");
    let states = [StateFolder::new()?, StateFolder::new()?];
    // An instance that is idle ends in good order, however the platform drops it.
    for (state, arguments) in states.iter().zip([&[][..], &["--drop-idle"]]) {
        let application = start_kept(&cluster, state, arguments)?;
        // Looking takes a while, in which it is not to become idle.
        application.begin_linger(15)?;
        add(&application, "x")?.value()?;
        // On a busy machine a second instance may have come for the write, and goes first.
        await_that("there is an inbox", || Ok(inboxes(&cluster)?.len() == 1))?;
        await_that("the inbox of an idle instance is gone", || Ok(inboxes(&cluster)?.is_empty()))?;
        application.kill()?;
    }
    // One that is dropped without notice leaves its inbox, for as long as the retention.
    let state = StateFolder::new()?;
    let application = start(&cluster, &state, &[("retention", "10")])?;
    add(&application, "y")?.value()?;
    application.evict()?;
    add(&application, "z")?.value()?;
    application.kill()?;
    await_that("the inboxes of killed instances are gone", || Ok(inboxes(&cluster)?.is_empty()))
}

#[test]
fn the_manifest_passes_on_what_it_declares_and_is_of_this_component() -> Result<()> {
    let folder = env::var("DAYFLY_SPIN_PACKAGE").context("run the tests by `cargo xtask test`")?;
    for folder in [Path::new(&folder).to_owned(), Path::new(&folder).with_file_name("dayfly-spin-4.0")] {
        let manifest: toml::Table = fs::read_to_string(folder.join("spin.toml"))?.parse()?;
        let component = &manifest["component"]["dayfly"];
        let passed_on = component["variables"].as_table().context("variables of the component")?;
        let declared = manifest["variables"].as_table().context("variables")?;
        for (name, variable) in declared {
            let required = variable.get("required").is_some_and(|required| required.as_bool() == Some(true));
            ensure!(required != variable.get("default").is_some_and(toml::Value::is_str), "{name}: {variable}");
            ensure!(variable["description"].as_str().is_some_and(|text| text.len() > 5), "{name}: {variable}");
            let template = format!("{{{{ {name} }}}}");
            let is_used = passed_on.get(name).is_some_and(|value| value.as_str() == Some(&*template))
                || component["allowed_outbound_hosts"][0].as_str().is_some_and(|host| host.contains(&template));
            ensure!(is_used, "nothing uses {name}");
        }
        ensure!(declared["broker"]["secret"].as_bool() == Some(true), "the broker's URL holds a password");
        ensure!(passed_on.keys().all(|name| name == "component_hash" || declared.contains_key(name)), "{passed_on:?}");
        let replica = component["dependencies"]["dayfly:replica@0.1.0"]["path"].as_str().context("a file")?;
        let own = fs::read(dayfly_tests::component::component_file())?;
        ensure!(fs::read(folder.join(replica))? == own, "{replica} is another component than the others run");

        let kubernetes = fs::read_to_string(folder.join("spinapp.yaml"))?;
        let variables = kubernetes.split("\n  variables:\n").nth(1).context("variables of the SpinApp")?;
        let names = variables
            .lines()
            .take_while(|line| line.starts_with("    "))
            .filter_map(|line| line.split_once("- name: "));
        let names: Vec<&str> = names.map(|(_, name)| name).collect();
        ensure!(names.contains(&"broker") && names.iter().all(|name| declared.contains_key(*name)), "{names:?}");
    }
    Ok(())
}
