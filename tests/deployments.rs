//! The real `dayfly conformance` on deployments of every kind: what a good one is told, and that a bad one is found out.

use std::env;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Command, Output};
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use axum::Router;
use dayfly_conformance::http::{Answer, Request};
use dayfly_tests::application::{self, Application, StateFolder};
use dayfly_tests::client::Client;
use dayfly_tests::gateway::{self, Gateway};
use dayfly_tests::node::{Node, fresh_cluster};
use dayfly_tests::patience::await_that;
use dayfly_tests::platform::{Front, Platform, Settings};
use dayfly_tests::process::program_file;
use dayfly_tests::program::Program;
use serde_json::{Value, json};

/// Any free port of this machine alone.
const ANYWHERE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// At least so many scenarios clients can bring about.
const PLAYABLE: u64 = 45;

fn conformance(url: &str, arguments: &[&str]) -> Result<Output> {
    Ok(Command::new(program_file()?).args(["conformance", "--url", url]).args(arguments).output()?)
}

/// The report of a run that ends with this code.
fn report(url: &str, arguments: &[&str], code: i32) -> Result<Value> {
    let output = conformance(url, &[&["--json"][..], arguments].concat())?;
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(
        output.status.code() == Some(code),
        "{}: {text} {}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_str(&text).with_context(|| text.into_owned())
}

/// Plays all scenarios on a good deployment, which holds a key already.
fn passes(url: &str, arguments: &[&str]) -> Result<()> {
    at_least_pass(PLAYABLE, url, arguments)
}

/// The same, where at least so many are played.
fn at_least_pass(least: u64, url: &str, arguments: &[&str]) -> Result<()> {
    let mut client = Client::new(url)?;
    let body = json!({"add": ["kept"]}).to_string();
    ensure!(client.send("POST", "/v1/data/gset/theirs", &[], body.as_bytes())?.status == 200, "no key to begin with");
    let report = report(url, arguments, 0)?;
    let told = |name: &str| report[name].as_u64().with_context(|| format!("no {name} in {report}"));
    ensure!(told("passed")? >= least && told("failed")? == 0 && told("no_answer")? == 0, "{report}");
    ensure!(report["left"].is_null() && report["interrupted"] == false, "{report}");
    let left = json!([{"key": "theirs", "type": "gset"}]);
    // Whoever answers may yet have to hear of the last deletions.
    await_that("only the key that was there is left", || Ok(client.get("/v1/keys?limit=1000")?.json()?["keys"] == left))
}

#[test]
fn a_local_cluster_passes() -> Result<()> {
    let program = Program::up(&["--replicas", "3"])?;
    passes(program.url(), &[])?;
    program.end().map(|_| ())
}

#[test]
fn a_cluster_whose_replicas_come_and_go_passes() -> Result<()> {
    let program = Program::up(&["--replicas", "4", "--ephemeral", "--mean-life", "0"])?;
    let report = report(program.url(), &["--wake", program.url(), "--filter", "orset"], 0)?;
    ensure!(report["passed"].as_u64() > Some(0), "{report}");
    program.end().map(|_| ())
}

#[test]
fn nodes_over_rabbitmq_pass() -> Result<()> {
    let cluster = fresh_cluster("deployment");
    let nodes = ["one", "two"].map(|name| Node::start(&cluster, name, &[]));
    let nodes: Vec<Node> = nodes.into_iter().collect::<Result<_>>()?;
    nodes.iter().try_for_each(Node::await_ready)?;
    passes(nodes[0].url(), &[])?;
    nodes.into_iter().try_for_each(Node::leave)
}

#[test]
fn functions_pass() -> Result<()> {
    // A request to a function that is still awake after another takes one more environment; so few are enough.
    let variables = vec![("DAYFLY_LINGER".to_owned(), "0.2".to_owned())];
    let settings = Settings { concurrency: 4, variables, ..Settings::of(&fresh_cluster("deployment")) };
    let platform = Platform::start(settings);
    let front = Front::listen(&platform, ANYWHERE)?;
    // Not all: each write keeps an environment busy for a while.
    at_least_pass(5, &front.url(), &["--wake", &front.url(), "--filter", "set"])
}

#[test]
fn an_application_for_spin_passes() -> Result<()> {
    let state = StateFolder::new()?;
    let application = Application::start(application::Platform::Ours, &fresh_cluster("deployment"), &state, &[])?;
    passes(application.url(), &["--wake", application.url()])?;
    application.kill()
}

/// What stands between a client and a good deployment, and what it does to it.
type Meddler = fn(&mut Client, Request) -> Result<Answer>;

/// Counts each increment twice.
fn twice(client: &mut Client, request: Request) -> Result<Answer> {
    if request.method == "POST" && request.path.starts_with("/v1/data/gcounter/") {
        client.ask(&request)?;
    }
    client.ask(&request)
}

/// Answers that keys are deleted, and deletes none.
fn forgetful(client: &mut Client, request: Request) -> Result<Answer> {
    let in_a_batch = request.path == "/v1/batch" && String::from_utf8_lossy(&request.body).contains("\"delete\":true");
    if request.method != "DELETE" && !in_a_batch {
        return client.ask(&request);
    }
    let written = client.send("POST", "/v1/data/gcounter/none", &[], br#"{"increment":0}"#)?;
    let mut answer = Answer { status: 204, headers: written.headers, body: Vec::new() };
    answer.headers.retain(|(name, _)| name.starts_with("dayfly-"));
    if in_a_batch {
        answer.status = 200;
        answer.body = br#"{"applied":1}"#.to_vec();
    }
    Ok(answer)
}

/// Has a replica that names nobody.
fn nameless(client: &mut Client, request: Request) -> Result<Answer> {
    let mut answer = client.ask(&request)?;
    answer.headers.retain(|(name, _)| name != "dayfly-replica");
    Ok(answer)
}

fn meddled(url: &str, meddler: Meddler) -> Result<Gateway> {
    let url = Arc::new(url.to_owned());
    let handle = move |request: axum::extract::Request| {
        let url = Arc::clone(&url);
        async move {
            let request = gateway::read(request).await;
            let asked = tokio::task::spawn_blocking(move || {
                meddler(&mut Client::new(&url)?, request.context("a request that is too large")?)
            });
            match asked.await {
                Ok(Ok(answer)) => gateway::write(answer),
                other => gateway::respond(502, &[], format!("{other:?}")),
            }
        }
    };
    Gateway::listen(Router::new().fallback(handle), ANYWHERE)
}

#[test]
fn bad_deployments_are_found_out() -> Result<()> {
    let program = Program::up(&["--replicas", "1"])?;
    for (meddler, filter, failed) in [
        (twice as Meddler, "gcounter", "gcounter_counts"),
        (forgetful, "delete_drops_a_key", "delete_drops_a_key"),
        (nameless, "orset", "orset_adds_and_removes"),
    ] {
        let gateway = meddled(program.url(), meddler)?;
        let report = report(&gateway.url(), &["--filter", filter, "--timeout", "5"], 1)?;
        let cases = report["scenarios"].as_array().context("scenarios")?;
        let case =
            cases.iter().find(|case| case["name"] == failed).with_context(|| format!("no {failed}: {report}"))?;
        ensure!(case["outcome"] == "failed" && case["reason"].is_string(), "{case}");
        ensure!(report["left"].is_null() == (filter != failed), "{report}");
    }
    program.end().map(|_| ())
}

#[test]
fn the_report_is_written_as_junit_xml_too() -> Result<()> {
    let program = Program::up(&["--replicas", "1"])?;
    let file = env::temp_dir().join(format!("dayfly-junit-{}.xml", std::process::id()));
    let shown = file.to_str().context("a path that is UTF-8")?;
    let output = conformance(program.url(), &["--filter", "batch", "--junit", shown])?;
    let document = fs::read_to_string(&file)?;
    fs::remove_file(&file)?;
    let table = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success() && table.contains("passed") && table.contains("batch_applies_in_order"), "{table}");
    ensure!(
        document.contains(r#"<testcase name="batch_applies_in_order""#) && document.contains("<skipped"),
        "{document}"
    );
    program.end().map(|_| ())
}

#[test]
fn nobody_there_is_no_failure_of_a_scenario() -> Result<()> {
    for (url, arguments, code, said) in [
        ("http://127.0.0.1:1", &[][..], 3, "nothing listens"),
        ("http://127.0.0.1:1", &["--wake", "http://127.0.0.1:1"], 3, "no answer from http://127.0.0.1:1"),
        ("http://127.0.0.1:1", &["--filter", "no such scenario"], 2, "no scenario has such a name"),
        ("127.0.0.1", &[], 2, "expected"),
    ] {
        let output = conformance(url, arguments)?;
        let told = String::from_utf8_lossy(&output.stderr);
        ensure!(
            output.status.code() == Some(code) && told.contains(said),
            "{url} {arguments:?}: {} {told}",
            output.status
        );
    }
    Ok(())
}
