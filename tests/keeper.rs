//! The real `dayfly keep` over a platform of functions that reclaims their environments, and functions in one cluster
//! with native replicas; both over a real RabbitMQ.

use std::collections::BTreeSet;
use std::env;
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use dayfly_conformance::http::{Answer, Request};
use dayfly_tests::client::Client;
use dayfly_tests::node::{Node, fresh_cluster, settle};
use dayfly_tests::patience::await_that;
use dayfly_tests::platform::{Front, Platform, Settings};
use dayfly_tests::process::program_file;
use serde_json::{Value, json};

/// How long anything that is awaited may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(100);
/// How many replicas are kept.
const KEPT: usize = 4;

/// Any free port of this machine alone.
const ANYWHERE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// A whole number from the environment, in seconds.
fn seconds(variable: &str, usual: u64) -> Result<u64> {
    match env::var(variable) {
        Ok(text) => text.parse().with_context(|| format!("{variable}: {text:?} is no number of seconds")),
        Err(_) => Ok(usual),
    }
}

fn json_of(answer: &Answer) -> Result<Value> {
    ensure!(answer.status == 200, "{} {}", answer.status, String::from_utf8_lossy(&answer.body));
    Ok(serde_json::from_slice(&answer.body)?)
}

fn request(method: &str, path: &str, body: &Value) -> Request {
    let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
    Request { method: method.into(), path: path.into(), body, ..Request::default() }
}

/// A running `dayfly keep --json`. Dropping it kills it.
struct Keeper {
    child: Child,
    told: Arc<Mutex<Vec<Value>>>,
}

impl Keeper {
    fn start(arguments: &[&str]) -> Result<Self> {
        let mut command = Command::new(program_file()?);
        command.args(["keep", "--json"]).args(arguments).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn()?;
        let out = child.stdout.take().context("its output is piped")?;
        let told = Arc::new(Mutex::new(Vec::new()));
        let keep = Arc::clone(&told);
        thread::spawn(move || {
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                let value = serde_json::from_str(&line).unwrap_or(Value::String(line));
                keep.lock().unwrap_or_else(PoisonError::into_inner).push(value);
            }
        });
        Ok(Self { child, told })
    }

    /// What it has told of this kind.
    fn told(&self, event: &str) -> Vec<Value> {
        let told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.iter().filter(|line| line["event"] == event).cloned().collect()
    }

    /// Ends it as Ctrl-C does, and gives the last standing that it told.
    fn end(mut self) -> Result<Value> {
        let sent = Command::new("kill").args(["-INT", &self.child.id().to_string()]).status()?;
        ensure!(sent.success(), "it cannot be told to end");
        let mut ended = None;
        await_that("the keeper ends", || {
            ended = self.child.try_wait()?;
            Ok(ended.is_some())
        })?;
        ensure!(ended.is_some_and(|ended| ended.success()), "the keeper ended with {ended:?}");
        // What it wrote last may still be on its way.
        await_that("it tells its end", || Ok(!self.told("ended").is_empty()))?;
        self.told("status").pop().context("it told no standing")
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn names(platform: &Platform) -> BTreeSet<String> {
    platform.standing().environments.into_iter().map(|environment| environment.name).collect()
}

/// Of what is kept on a platform that takes every environment at an age, nothing is lost; see `tests/README.md` for the
/// variables that make it longer.
#[test]
fn a_value_outlives_every_environment_that_ever_held_it() -> Result<()> {
    let lasts = Duration::from_secs(seconds("DAYFLY_KEEPER_LASTS", 60)?);
    let woken = seconds("DAYFLY_KEEPER_SECONDS", 5)?;
    let reclaim = seconds("DAYFLY_KEEPER_RECLAIM", 12)?;
    let cluster = fresh_cluster("keeper");
    let reclaim_after = Some(Duration::from_secs(reclaim));
    let platform = Platform::start(Settings { reclaim_after, ..Settings::of(&cluster) });
    let front = Front::listen(&platform, ANYWHERE)?;
    let (url, seconds) = (front.url(), woken.to_string());
    let target = format!("lambda:dayfly@local={KEPT}");
    let flags = ["--endpoint-url", &url, "--seconds", &seconds, "--memory-mb", "256", "--every", "1"];
    let keeper = Keeper::start(&[&[target.as_str()][..], &flags].concat())?;
    let complete = |line: &&Value| line["complete"] == true;
    await_that("four replicas are complete", || Ok(keeper.told("woken").iter().filter(complete).count() >= KEPT))?;

    let mut client = Client::new(&url)?;
    let body = br#"{"increment":7}"#;
    let headers = [("content-type".to_owned(), b"application/json".to_vec())];
    let written = client.send("POST", "/v1/data/pncounter/start", &headers, body)?;
    ensure!(json_of(&written)?["value"] == 7, "{written:?}");
    let first = names(&platform);
    let until = Instant::now() + lasts;
    while Instant::now() < until {
        let lost = keeper.told("nobody_holds");
        ensure!(lost.is_empty(), "{lost:?} {:?}", platform.standing());
        thread::sleep(POLL);
    }

    // One that is thawed for this, or a new one that the others fill.
    let mut read = Value::Null;
    await_that("a complete replica reads", || {
        let answer = client.get("/v1/data/pncounter/start")?;
        if answer.header("dayfly-complete") == Some("false") {
            return Ok(false);
        }
        read = json_of(&answer)?["value"].clone();
        Ok(true)
    })?;
    ensure!(read == 7, "{read} of 7 is left");
    let last = names(&platform);
    ensure!(last.is_disjoint(&first), "{last:?} are still those of the start: {first:?}");
    let awake = |status: &Value| status["targets"][0]["awake"].as_u64().unwrap_or_default();
    await_that("four replicas are awake", || Ok(keeper.told("status").last().map(awake) >= Some(KEPT as u64)))?;
    ensure!(keeper.told("nobody_holds").is_empty());
    // From the first that had all on.
    let least = keeper.told("status").iter().map(awake).skip_while(|awake| *awake < KEPT as u64).min();
    let least = least.unwrap_or_default();
    let told = keeper.end()?;
    platform.await_idle()?;
    let standing = platform.standing();
    let kept = &told["targets"][0];
    eprintln!(
        "kept {KEPT} replicas for {} s, each woken for {seconds} s and reclaimed at {reclaim} s, \
         at least {least} awake: {} environments started, {} reclaimed, {} ended by themselves; \
         {} requests, {} throttled, {} errors, {:.1} GB-s billed. The keeper: {kept}",
        lasts.as_secs(),
        standing.bill.cold_starts,
        standing.bill.reclaimed,
        standing.bill.died,
        standing.bill.requests,
        standing.bill.throttled,
        standing.bill.errors,
        standing.gb_s,
    );
    ensure!(told["held"] == true && kept["wanted"] == KEPT, "{told}");
    ensure!(kept["handed_on"].as_u64() > Some(0), "{told}");
    ensure!(standing.bill.reclaimed >= first.len() as u64 && standing.bill.died == 0, "{standing:?}");
    Ok(())
}

#[test]
fn functions_and_native_replicas_are_one_cluster() -> Result<()> {
    const FUNCTIONS: usize = 3;
    let cluster = fresh_cluster("mixed");
    let nodes = ["one", "two"].map(|name| Node::start(&cluster, name, &[]));
    let nodes: Vec<Node> = nodes.into_iter().collect::<Result<_>>()?;
    for node in &nodes {
        node.await_ready()?;
    }
    let platform = Platform::start(Settings::of(&cluster));
    let wake_all = || platform.wake_at_once(FUNCTIONS, 4);
    let woken = wake_all()?;
    let replicas: BTreeSet<&str> = woken.iter().filter_map(|answer| answer["replica"].as_str()).collect();
    ensure!(replicas.len() == FUNCTIONS, "{woken:?}");

    // Who lingers takes no other event: then another environment would.
    platform.await_idle()?;
    // What functions write natives read, and the other way round.
    json_of(&platform.ask(&request("POST", "/v1/data/orset/tags", &json!({"add": ["lambda"]})))?)?;
    for node in &nodes {
        let operation = request("POST", "/v1/data/orset/tags", &json!({"add": [node.name()]}));
        json_of(&node.client()?.ask(&operation)?)?;
    }
    let all = json!(["lambda", "one", "two"]);
    let has_all = |answer: &Answer| Ok(answer.status == 200 && json_of(answer)?["value"] == all);
    for node in &nodes {
        await_that("a native replica has all", || has_all(&node.client()?.get("/v1/data/orset/tags")?))?;
    }
    // Each request takes the environment that has been frozen for longest, so that all are asked.
    platform.await_idle()?;
    let mut asked = BTreeSet::new();
    for _ in 0..FUNCTIONS {
        await_that("a function has all", || {
            let answer = platform.ask(&request("GET", "/v1/data/orset/tags", &Value::Null))?;
            asked.extend(answer.header("dayfly-replica").map(str::to_owned));
            has_all(&answer)
        })?;
        platform.await_idle()?;
    }
    ensure!(asked.iter().map(String::as_str).collect::<BTreeSet<_>>() == replicas, "{asked:?} of {replicas:?}");

    await_that("all agree", || {
        let root = json!(settle(&nodes.iter().collect::<Vec<_>>(), PATIENCE)?);
        let woken = wake_all()?;
        platform.await_idle()?;
        Ok(woken.iter().all(|answer| answer["complete"] == true && answer["root"] == root))
    })?;
    let standing = platform.standing();
    ensure!(standing.bill.cold_starts == FUNCTIONS as u64 && standing.bill.errors == 0, "{standing:?}");
    Ok(())
}
