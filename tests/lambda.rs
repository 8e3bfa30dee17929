//! Functions on a simulated platform that really stops their processes, over a real RabbitMQ.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, ToSocketAddrs};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use dayfly_conformance::http::Request;
use dayfly_engine::world::system_now_ms;
use dayfly_engine::{AmqpBroker, AmqpConfig, Attachment, Broker, Event};
use dayfly_tests::control::control;
use dayfly_tests::function::{Function, Outcome, read_answer, tokio};
use dayfly_tests::node::{broker_url, fresh_cluster};
use dayfly_tests::patience::await_that;
use dayfly_tests::throttle::hand_on_from;
use serde_json::{Value, json};

/// How long anything that is awaited may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

fn get(path: &str) -> Request {
    Request { method: "GET".into(), path: path.into(), ..Request::default() }
}

/// The connections of a cluster that the broker has open, by their ports.
fn connections(cluster: &str) -> Result<Vec<String>> {
    let told = control(&["-q", "list_connections", "peer_port", "client_properties", "--no-table-headers"])?;
    let ours = told.lines().filter(|line| line.contains(&format!("\"dayfly {cluster}\"")));
    Ok(ours.filter_map(|line| line.split('\t').next()).map(str::to_owned).collect())
}

/// The queues of a cluster that somebody consumes.
fn consumed(cluster: &str) -> Result<Vec<String>> {
    let told = control(&["-q", "list_queues", "name", "consumers", "--no-table-headers"])?;
    let ours = told.lines().filter(|line| line.starts_with(&format!("dayfly.{cluster}.")) && !line.ends_with("\t0"));
    Ok(ours.map(str::to_owned).collect())
}

/// Wakes it until it has the whole database.
fn fill(function: &Function) -> Result<Value> {
    let until = Instant::now() + PATIENCE;
    loop {
        let woken = function.wake(3.0)?;
        if woken["complete"] == true {
            return Ok(woken);
        }
        ensure!(Instant::now() < until, "it is not filled: {woken}");
    }
}

#[test]
fn a_function_reads_and_writes_and_says_where_it_is() -> Result<()> {
    let function = Function::start(&fresh_cluster("lambda"), &[("DAYFLY_ZONE", "z1")])?;
    ensure!(function.get("/v1/data/gset/k")?.status == 404);
    ensure!(function.post("/v1/data/gset/a%2Fb", &json!({"add": ["x"]}))?.value()? == json!(["x"]));
    ensure!(function.get("/v1/data/gset/a%2Fb")?.value()? == json!(["x"]));
    let answer = function.get("/v1/members")?;
    let body: Value = serde_json::from_slice(&answer.body)?;
    let member = &body["members"][0];
    ensure!(
        (&member["host"], &member["region"], &member["zone"]) == (&json!("lambda"), &json!("eu-north-1"), &json!("z1"))
    );
    ensure!(Some(member["name"].as_str().context("no name")?) == answer.header("dayfly-replica"), "{body}");

    // As a REST API asks.
    let event = json!({"httpMethod": "GET", "path": "/v1/keys", "multiValueQueryStringParameters": {"prefix": ["a/"]}});
    let Outcome::Answer(answer) = function.invoke(event)? else { anyhow::bail!("an error") };
    let keys: Value = serde_json::from_slice(&read_answer(&answer)?.body)?;
    ensure!(keys["keys"] == json!([{"key": "a/b", "type": "gset"}]), "{keys}");
    function.kill()
}

#[test]
fn an_answer_does_not_wait_for_the_lingering() -> Result<()> {
    // Longer than all waits of this test: had the answer waited for it, the platform would have stopped the process.
    let function = Function::start(&fresh_cluster("lambda"), &[("DAYFLY_LINGER", "100")])?;
    ensure!(function.post("/v1/data/gset/k", &json!({"add": ["x"]}))?.value()? == json!(["x"]));
    ensure!(!function.is_frozen());
    let answer = function.ask_meanwhile(&get("/v1/members"))?;
    let body: Value = serde_json::from_slice(&answer.body)?;
    let awake_until = body["members"][0]["awake_until"].as_u64().context("no time")?;
    ensure!(awake_until > system_now_ms(), "{body}");
    ensure!(!function.is_frozen());
    function.kill()
}

#[test]
fn a_quiet_function_is_frozen_long_before_its_deadline_and_holds_nothing_then() -> Result<()> {
    let cluster = fresh_cluster("lambda");
    let function = Function::start(&cluster, &[("DAYFLY_LINGER", "quiet:0.2")])?;
    fill(&function)?;
    ensure!(function.post("/v1/data/gset/k", &json!({"add": ["x"]}))?.value()? == json!(["x"]));
    // What waits for this gives up before the invocation's time is over.
    function.await_frozen()?;
    ensure!(consumed(&cluster)? == Vec::<String>::new());

    // A short freeze leaves the connection as it was, and it is used again.
    let before = connections(&cluster)?;
    ensure!(before.len() == 1, "{before:?}");
    ensure!(function.get("/v1/data/gset/k")?.value()? == json!(["x"]));
    function.await_frozen()?;
    ensure!(connections(&cluster)? == before);
    function.kill()
}

#[test]
fn lingering_for_no_time_freezes_after_the_answer() -> Result<()> {
    let function = Function::start(&fresh_cluster("lambda"), &[("LINGER", "0")])?;
    ensure!(function.post("/v1/data/gset/k", &json!({"add": ["x"]}))?.value()? == json!(["x"]));
    function.await_frozen()?;
    ensure!(function.get("/v1/data/gset/k")?.value()? == json!(["x"]));
    function.kill()
}

#[test]
fn a_value_survives_freeze_thaw_and_kill() -> Result<()> {
    let cluster = fresh_cluster("lambda");
    let first = Function::start(&cluster, &[])?;
    fill(&first)?;
    first.post("/v1/data/pncounter/k", &json!({"increment": 3}))?.value()?;
    first.await_frozen()?;
    let second = Function::start(&cluster, &[])?;
    // Both are awake for a while, as a keeper would have it.
    let id = first.begin(json!({"wake": {"seconds": 10}}))?;
    let woken = fill(&second)?;
    ensure!(woken["filled_ms"].is_u64(), "{woken}");
    first.outcome(&id)?;
    ensure!(second.get("/v1/data/pncounter/k")?.value()? == json!(3));

    // What one writes while the other is frozen it reads with its next invocation.
    second.await_frozen()?;
    first.post("/v1/data/pncounter/k", &json!({"increment": 2}))?.value()?;
    first.await_frozen()?;
    ensure!(second.get("/v1/data/pncounter/k")?.value()? == json!(5));
    first.kill()?;
    second.await_frozen()?;
    ensure!(second.post("/v1/data/pncounter/k", &json!({"increment": 1}))?.value()? == json!(6));
    second.kill()
}

#[test]
fn a_function_that_was_frozen_until_the_broker_gave_it_up_connects_anew() -> Result<()> {
    let cluster = fresh_cluster("lambda");
    let broker = format!("{}?heartbeat=1", broker_url()?);
    // It stays awake while it is looked for its connections, which takes seconds on a busy machine.
    let function = Function::start(&cluster, &[("DAYFLY_BROKER", &broker), ("DAYFLY_LINGER", "6")])?;
    fill(&function)?;
    function.post("/v1/data/gset/k", &json!({"add": ["x"]}))?.value()?;
    function.await_frozen()?;
    await_that("the broker closes the connection", || Ok(connections(&cluster)?.is_empty()))?;
    ensure!(function.is_frozen());
    ensure!(function.post("/v1/data/gset/k", &json!({"add": ["y"]}))?.value()? == json!(["x", "y"]));
    ensure!(connections(&cluster)?.len() == 1);
    function.kill()
}

#[test]
fn a_wake_is_cut_to_the_deadline_and_said_as_it_is() -> Result<()> {
    let cluster = fresh_cluster("lambda");
    let broker = broker_url()?;
    let variables = [("DAYFLY_BROKER", broker.as_str()), ("DAYFLY_CLUSTER", &cluster)];
    let limit = Duration::from_secs(8);
    let function = Function::spawn(&variables, limit)?;
    let before_ms = system_now_ms();
    let woken = function.wake(60.0)?;
    ensure!(woken["complete"] == true && woken["root"].is_string(), "{woken}");
    let awake_until = woken["awake_until"].as_u64().context("no time")?;
    let deadline_ms = system_now_ms() + limit.as_millis() as u64;
    ensure!((before_ms + 1..deadline_ms).contains(&awake_until), "{woken} of {before_ms} to {deadline_ms}");
    // Its own record says the same, so everyone is told so.
    let answer = function.ask_meanwhile(&get("/v1/members"))?;
    let members: Value = serde_json::from_slice(&answer.body)?;
    let told = members["members"][0]["awake_until"].as_u64().context("no time")?;
    ensure!(told >= awake_until, "{members}");
    // It says itself that it has lingered: the platform's patience is as long as an invocation.
    function.await_frozen()?;

    let request = |method: &str, body: &str| Request {
        method: method.into(),
        path: "/v1/wake".into(),
        body: body.into(),
        ..Request::default()
    };
    let answer = function.ask(&request("POST", r#"{"seconds":1}"#))?;
    let body: Value = serde_json::from_slice(&answer.body)?;
    ensure!(answer.status == 200 && body["replica"] == woken["replica"] && body["complete"] == true, "{body}");
    ensure!(function.ask(&request("GET", ""))?.status == 405);
    ensure!(function.ask(&request("POST", r#"{"seconds":0}"#))?.status == 400);
    function.kill()
}

#[test]
fn an_unknown_event_is_told_what_is_accepted() -> Result<()> {
    let function = Function::start(&fresh_cluster("lambda"), &[])?;
    let Outcome::Error(kind, message) = function.invoke(json!({"hello": 1}))? else { anyhow::bail!("an answer") };
    ensure!(kind == "Dayfly.UnknownEvent" && message.contains("[hello]"), "{kind}: {message}");
    ensure!(message.contains("rmqMessagesByQueue") && message.contains("wake"), "{message}");
    // It was none of the replica's, and the function goes on.
    ensure!(function.get("/v1/status")?.status == 200);
    function.kill()
}

#[test]
fn a_bad_environment_is_reported_before_the_first_event() -> Result<()> {
    let limit = Duration::from_secs(10);
    for (variables, name, bound) in [
        (vec![("DAYFLY_BROKER", "")], "DAYFLY_BROKER", "is missing"),
        (vec![("DAYFLY_BROKER", "amqp://h"), ("DAYFLY_STORE_MIB", "0")], "DAYFLY_STORE_MIB", "from 1 to 1024"),
        (vec![("DAYFLY_BROKER", "amqp://h"), ("DAYFLY_COMPONENT_DIR", "no-such")], "no-such", "replica.sha256"),
    ] {
        let mut function = Function::spawn(&variables, limit)?;
        let told = function.init_error()?;
        ensure!(told.contains(name) && told.contains(bound), "{told}");
        ensure!(function.exit_code()? == Some(1));
    }
    Ok(())
}

#[test]
fn without_a_broker_requests_are_refused_until_there_is_one() -> Result<()> {
    let held = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let away: SocketAddr = held.local_addr()?;
    drop(held);
    let url = broker_url()?;
    let (user, host) = url.split_once('@').context("a user in the URL")?;
    let (host, vhost) = host.split_once('/').unwrap_or((host, ""));
    let real = host.to_socket_addrs()?.next().context("an address")?;
    let broker = format!("{user}@{away}/{vhost}");
    let function = Function::start(&fresh_cluster("lambda"), &[("DAYFLY_BROKER", &broker)])?;
    for _ in 0..2 {
        for answer in [function.get("/v1/status")?, function.post("/v1/data/gset/k", &json!({"add": ["x"]}))?] {
            ensure!(answer.status == 503 && answer.code()? == "no_replica", "{answer:?}");
            ensure!(answer.header("retry-after") == Some("1"));
            ensure!(String::from_utf8_lossy(&answer.body).contains("broker cannot be reached"), "{answer:?}");
        }
        function.await_frozen()?;
    }
    let Outcome::Error(kind, _) = function.invoke(json!({"wake": {"seconds": 1}}))? else { anyhow::bail!("an answer") };
    ensure!(kind == "Dayfly.NoReplica");
    hand_on_from(TcpListener::bind(away)?, real, u64::MAX);
    ensure!(function.post("/v1/data/gset/k", &json!({"add": ["x"]}))?.value()? == json!(["x"]));
    function.kill()
}

#[test]
fn what_an_event_source_took_from_a_queue_is_taken_in() -> Result<()> {
    let cluster = fresh_cluster("lambda");
    // Hears what everyone is told, as a queue would that is bound to the exchange for an event source.
    let bodies = tokio().block_on(async {
        let broker = AmqpBroker::new(AmqpConfig::new(broker_url()?, cluster.as_str()))?;
        let attachment = Attachment { name: "tap".to_owned(), retention_ms: 7_200_000 };
        let mut link = broker.attach(attachment).await?;
        let writer = tokio().spawn_blocking({
            let cluster = cluster.clone();
            move || {
                let function = Function::start(&cluster, &[])?;
                function.post("/v1/data/gset/k", &json!({"add": ["x"]}))?.value()?;
                function.await_frozen()?;
                function.kill()
            }
        });
        writer.await??;
        let mut bodies = Vec::new();
        while let Ok(event) = tokio::time::timeout(Duration::from_secs(1), link.next()).await {
            if let Event::Delivered(deliveries) = event {
                link.acknowledge(&deliveries.iter().map(|delivery| delivery.tag).collect::<Vec<_>>());
                bodies.extend(deliveries.into_iter().map(|delivery| delivery.body));
            }
        }
        link.retire().await;
        anyhow::Ok(bodies)
    })?;
    ensure!(!bodies.is_empty());
    // The writer is dead, and nobody else has what it wrote.
    let function = Function::start(&cluster, &[])?;
    fill(&function)?;
    ensure!(function.get("/v1/data/gset/k")?.status == 404);
    let mut messages: Vec<Value> = bodies
        .iter()
        .map(|body| json!({"basicProperties": {}, "redelivered": false, "data": STANDARD.encode(body)}))
        .collect();
    messages.push(json!({"basicProperties": {}, "redelivered": false, "data": "!"}));
    messages.push(json!({"basicProperties": {}, "redelivered": false, "data": STANDARD.encode("no frame")}));
    let event = json!({"eventSource": "aws:rmq", "rmqMessagesByQueue": {"tap::/": messages}});
    let Outcome::Answer(answer) = function.invoke(event)? else { anyhow::bail!("an error") };
    ensure!(answer == json!({"received": bodies.len() + 1, "broken": 1}), "{answer}");
    ensure!(function.get("/v1/data/gset/k")?.value()? == json!(["x"]));
    function.kill()
}

#[test]
fn functions_that_are_frozen_most_of_the_time_converge() -> Result<()> {
    const FUNCTIONS: usize = 10;
    let cluster = fresh_cluster("lambda");
    let functions: Vec<Function> =
        (0..FUNCTIONS).map(|_| Function::start(&cluster, &[("DAYFLY_LINGER", "quiet:0.1")])).collect::<Result<_>>()?;
    let (count, rounds) = (FUNCTIONS as u64, 3);
    for round in 0..rounds {
        for (number, function) in functions.iter().enumerate() {
            let element = format!("{round}-{number}");
            ensure!(function.post("/v1/data/gset/k", &json!({"add": [element]}))?.status == 200);
            function.post("/v1/data/pncounter/n", &json!({"increment": 1}))?.value()?;
        }
    }
    // Each is woken by itself, as by requests now and then, and is frozen again.
    await_that("they agree", || {
        let read = |function: &Function| {
            let set = function.get("/v1/data/gset/k")?.value()?;
            let elements = set.as_array().map_or(0, Vec::len) as u64;
            Ok(elements == rounds * count && function.get("/v1/data/pncounter/n")?.value()? == json!(rounds * count))
        };
        let agree = functions.iter().map(read).collect::<Result<Vec<bool>>>()?;
        Ok(agree.into_iter().all(|agrees| agrees))
    })?;
    functions.into_iter().try_for_each(Function::kill)
}
