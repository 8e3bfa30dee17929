//! Any deployment as clients see it: one URL, and behind it replicas that answer as they come.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use dayfly_conformance::act::{Act, Settings};
use dayfly_conformance::expectation::percent_encode;
use dayfly_conformance::http::{Answer, Request};
use dayfly_conformance::scenario::Scenario;
use dayfly_conformance::stage::{Runner, Stage};
use dayfly_conformance::step::{Ask, Step};
use dayfly_conformance::text::{Text, Variables};
use serde_json::{Value, json};

use super::own_keys::OwnKeys;
use crate::client::Failure;
use crate::client::agents::Agents;
use crate::client::server::Silence;

/// The longest answer that is read, in bytes.
const ANSWER_BYTES_MAX: u64 = 64 << 20;
/// The longest time for a connection to come about.
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// The pause before a request is sent once more that nobody could serve yet.
const PAUSE: Duration = Duration::from_millis(100);
/// How long writes of more writers than a context holds are given to reach everyone.
const SPREAD: Duration = Duration::from_secs(1);
/// Scenarios that let more time pass are not played.
const ADVANCE_MS_MAX: u64 = 6_000;
/// A header of more bytes is refused by servers, which bound heads.
const HEADER_BYTES_MAX: usize = 8 << 10;
/// A body of so many bytes every server reads before it answers.
const READ_BYTES: usize = 1 << 20;
/// Scenarios of more replicas are about their number.
const REPLICAS_MAX: usize = 8;
/// What is listed at once while keys are deleted.
const LISTED: usize = 1_000;
/// How often it is listed at most.
const LISTINGS_MAX: usize = 100;
/// What is deleted by one request.
const DELETED: usize = 100;
/// Answers of whom nobody could serve yet, of which nothing was applied.
const PASSING: [&str; 3] = ["not_yet", "busy", "no_replica"];

/// A deployment.
pub struct Deployment {
    agents: Agents,
    base: String,
    headers: Vec<(String, String)>,
    patience: Duration,
    /// The prefix of all keys of this run.
    run: String,
}

/// Where it is, and how it is asked.
pub struct Place {
    /// The URL below which `/v1/` answers.
    pub url: String,
    /// Headers of each request.
    pub headers: Vec<(String, String)>,
    /// How long an answer may take, and how long it may take until somebody is able to serve a request.
    pub patience: Duration,
}

impl Deployment {
    /// A deployment, of which nothing is asked yet. `run` tells this run's keys from all others; it is of unreserved
    /// characters.
    pub fn at(place: Place, run: String) -> Self {
        let agents = Agents::patient(place.patience, CONNECT_MAX.min(place.patience));
        let base = place.url.trim_end_matches('/').to_owned();
        Self { agents, base, headers: place.headers, patience: place.patience, run }
    }

    /// What silence at the beginning means.
    pub fn failure(&self, silence: Silence) -> Failure {
        match silence {
            Silence::NotSent(reason) => Failure::Unreachable { url: self.base.clone(), reason },
            Silence::NoAnswer(reason) => Failure::NoAnswer { url: self.base.clone(), reason },
        }
    }

    /// The prefix of all keys of this run.
    pub fn run(&self) -> &str {
        &self.run
    }

    /// Asks once.
    ///
    /// # Errors
    /// [`Silence`].
    pub fn ask(&self, request: &Request) -> Result<Answer, Silence> {
        let agent = self.agents.of(&self.base);
        let url = format!("{}{}", self.base, request.target());
        let silence = |error: ureq::Error| Silence::of(&error, self.patience);
        macro_rules! with_headers {
            ($builder:expr) => {
                self.headers
                    .iter()
                    .chain(&request.headers)
                    .fold($builder, |builder, (name, value)| builder.header(name.as_str(), value.as_str()))
            };
        }
        let body = request.body.as_slice();
        let sent = match (request.method.as_str(), body.is_empty()) {
            ("GET", true) => with_headers!(agent.get(url)).call(),
            ("GET", false) => with_headers!(agent.get(url)).force_send_body().send(body),
            ("DELETE", true) => with_headers!(agent.delete(url)).call(),
            ("DELETE", false) => with_headers!(agent.delete(url)).force_send_body().send(body),
            ("POST", _) => with_headers!(agent.post(url)).send(body),
            ("PUT", _) => with_headers!(agent.put(url)).send(body),
            ("PATCH", _) => with_headers!(agent.patch(url)).send(body),
            (method, _) => return Err(Silence::NotSent(format!("this client has no method {method}"))),
        };
        let mut response = sent.map_err(silence)?;
        let body = response.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_vec();
        let text = |value: &ureq::http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        let headers = response.headers().iter().map(|(name, value)| (name.as_str().to_owned(), text(value))).collect();
        Ok(Answer { status: response.status().as_u16(), headers, body: body.map_err(silence)? })
    }

    /// Asks until a replica answers that is able to serve it.
    fn ask_patiently(&self, request: &Request) -> Result<Answer, Silence> {
        let until = Instant::now() + self.patience;
        loop {
            let answer = self.ask(request)?;
            // The platform's own word for too many requests at once.
            let is_throttled = answer.status == 429;
            let passes =
                is_throttled || (answer.status == 503 && answer.code().is_ok_and(|code| PASSING.contains(&&*code)));
            if !passes || Instant::now() >= until {
                return Ok(answer);
            }
            thread::sleep(PAUSE);
        }
    }

    /// Deletes every key that begins with this and gives their number. `after` is what has been written to them, as far as
    /// is known. Whether the deployment has any left is asked twice, of whoever answers.
    ///
    /// # Errors
    /// Some may be left.
    pub fn delete_keys(&self, prefix: &str, after: Option<&str>) -> Result<u64> {
        let mut token = after.map(str::to_owned);
        let (mut deleted, mut empty) = (0, 0);
        for _ in 0..LISTINGS_MAX {
            let query = format!("prefix={}&limit={LISTED}", percent_encode(prefix));
            let listing = Request { method: "GET".into(), path: "/v1/keys".into(), query, ..Request::default() };
            let listing = self.ask_patiently(&with_token(&listing, token.as_deref()))?;
            ensure!(
                listing.status == 200,
                "GET /v1/keys: {} {}",
                listing.status,
                String::from_utf8_lossy(&listing.body)
            );
            let body = listing.json()?;
            let keys = body["keys"].as_array().filter(|keys| !keys.is_empty());
            let Some(keys) = keys else {
                empty += 1;
                if empty == 2 {
                    return Ok(deleted);
                }
                continue;
            };
            empty = 0;
            for keys in keys.chunks(DELETED) {
                let delete = deletion(keys, prefix)?;
                let answer = self.ask_patiently(&with_token(&delete, token.as_deref()))?;
                if is_full(&answer) {
                    token = None;
                    continue;
                }
                // Applied is enough.
                ensure!(
                    matches!(answer.status, 200 | 503),
                    "{}: {}",
                    delete.path,
                    String::from_utf8_lossy(&answer.body)
                );
                token = answer.header("dayfly-context").map(str::to_owned).or(token);
                deleted += keys.len() as u64;
            }
        }
        bail!("after {LISTINGS_MAX} listings and {deleted} deletions there still are keys")
    }
}

/// The batch that deletes these of a listing's keys, all of which begin with this.
fn deletion(keys: &[Value], prefix: &str) -> Result<Request> {
    let mut operations = Vec::with_capacity(keys.len());
    for key in keys {
        // Never anything that is not this run's own.
        let is_own = key["key"].as_str().is_some_and(|name| name.starts_with(prefix));
        ensure!(is_own, "asked for keys below {prefix:?}, it lists {key}");
        operations.push(json!({ "type": key["type"], "key": key["key"], "delete": true }));
    }
    let body = Value::from(operations).to_string().into_bytes();
    Ok(Request { method: "POST".into(), path: "/v1/batch".into(), body, ..Request::default() })
}

/// Plays scenarios on a deployment. One after another, since it counts them.
pub struct DeploymentRunner {
    deployment: Arc<Deployment>,
    opened: AtomicU64,
    /// The context of what the last stage has written, which outlives it.
    token: Arc<Mutex<Option<String>>>,
}

impl DeploymentRunner {
    /// A runner on this deployment.
    pub fn on(deployment: Arc<Deployment>) -> Self {
        Self { deployment, opened: AtomicU64::new(0), token: Arc::default() }
    }

    /// Deletes what the scenario that was opened last has left.
    ///
    /// # Errors
    /// Something may be left.
    pub fn clear(&self) -> Result<u64> {
        self.deployment.delete_keys(&self.prefix(), get(&self.token).as_deref())
    }

    fn prefix(&self) -> String {
        format!("{}{}-", self.deployment.run(), self.opened.load(Ordering::Relaxed))
    }
}

impl Runner for DeploymentRunner {
    fn name(&self) -> &'static str {
        "deployment"
    }

    fn refuses(&self, scenario: &Scenario) -> Option<String> {
        if scenario.config != Settings::default() {
            return Some("the deployment's settings are its own".to_owned());
        }
        if scenario.one_writer {
            return Some("whoever answers may be another writer each time".to_owned());
        }
        let starts = |step: &Step| matches!(step, Step::Act(act) if matches!(&**act, Act::Start(_)));
        if scenario.steps.iter().filter(|line| starts(&line.step)).count() > REPLICAS_MAX {
            return Some("the deployment need not have so many replicas".to_owned());
        }
        scenario.steps.iter().find_map(|line| refuses(&line.step)).map(str::to_owned)
    }

    fn seeds(&self, _scenario: &Scenario) -> u64 {
        1
    }

    fn open(&self, _scenario: &Scenario, _seed: u64) -> Result<Box<dyn Stage>> {
        self.opened.fetch_add(1, Ordering::Relaxed);
        set(&self.token, None);
        Ok(Box::new(DeploymentStage {
            deployment: Arc::clone(&self.deployment),
            keys: OwnKeys::below(self.prefix()),
            labels: Vec::new(),
            token: Arc::clone(&self.token),
        }))
    }
}

/// Why a client cannot do a step.
fn refuses(step: &Step) -> Option<&'static str> {
    let act = match step {
        Step::Ask(ask) if has_header(ask, |value| value.len() > HEADER_BYTES_MAX) => {
            return Some("HTTP servers bound headers");
        }
        // Lambda's events, for one, are JSON, and have no place for other bytes.
        Step::Ask(ask) if has_header(ask, |value| !value.is_ascii()) => {
            return Some("gateways pass on only headers of ASCII");
        }
        Step::Ask(ask) if has_large_body(ask) => {
            return Some("a server may refuse a large body before it has read it, and clients then lose the answer");
        }
        Step::Ask(ask) if ask.status == 503 => return Some("a client does not bring about that nobody can serve it"),
        Step::Ask(ask) if tells_of_itself(ask) => {
            return Some("what a replica tells of itself depends on what else it serves");
        }
        Step::Settle(settle) if settle.quiet => return Some("clients cannot tell who is quiet"),
        Step::Ask(_) | Step::Settle(_) => return None,
        Step::Members(_) => return Some("which replicas there are is up to the deployment"),
        Step::Roots(_) => return Some("clients do not choose which replica answers"),
        Step::Traffic(_) => return Some("clients see no traffic between replicas"),
        Step::Act(act) => act,
    };
    match &**act {
        Act::Start(start) if !start.is_plain() => Some("the deployment starts its replicas as it likes"),
        Act::Advance(advance) if advance.ms > ADVANCE_MS_MAX => Some("it would wait too long"),
        Act::Start(_) | Act::Advance(_) => None,
        _ => Some("clients have no hold over replicas and broker"),
    }
}

/// Whether the value of a header is such a one.
fn has_header(ask: &Ask, is_such: fn(&[u8]) -> bool) -> bool {
    ask.headers.values().any(|value| value.bytes(&Variables::new()).is_ok_and(|value| is_such(&value)))
}

/// Whether a server may not want to read all of its body.
fn has_large_body(ask: &Ask) -> bool {
    let body = ask.body.as_ref().and_then(|body| body.bytes(&Variables::new()).ok());
    body.is_some_and(|body| body.len() > READ_BYTES)
}

/// Whether a step looks at what a replica tells of itself, other than that it has the whole database.
fn tells_of_itself(ask: &Ask) -> bool {
    let text = |text: &Text| text.string(&Variables::new()).unwrap_or_default();
    let path = text(&ask.path);
    let expects_little = ask.json.is_none()
        && ask.at_least.is_empty()
        && ask.at_most.is_empty()
        && ask.has.as_ref().is_none_or(|has| ["{}", r#"{"complete":true}"#].contains(&&*text(has)));
    ask.status < 400 && !expects_little && ["/v1/status", "/v1/members"].iter().any(|own| path.starts_with(own))
}

/// A request with this token: to be answered after those writes, and to be joined with them. What it has of its own stays.
fn with_token(request: &Request, token: Option<&str>) -> Request {
    let mut request = request.clone();
    let names = if request.method == "GET" { &["dayfly-after"][..] } else { &["dayfly-after", "dayfly-context"] };
    let Some(token) = token else { return request };
    for name in names {
        if !request.headers.iter().any(|(other, _)| other.eq_ignore_ascii_case(name)) {
            request.headers.push(((*name).to_owned(), token.to_owned()));
        }
    }
    request
}

fn get(token: &Mutex<Option<String>>) -> Option<String> {
    token.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

fn set(token: &Mutex<Option<String>>, to: Option<String>) {
    *token.lock().unwrap_or_else(PoisonError::into_inner) = to;
}

/// Whether a write was refused because the token that was added to it would become one of too many writers.
fn is_full(answer: &Answer) -> bool {
    answer.status == 400 && answer.code().is_ok_and(|code| code == "bad_context")
}

/// All replicas of a scenario are whoever answers at the URL. Each request is answered after the writes before it, since it
/// carries their context, unless the scenario gives it another.
struct DeploymentStage {
    deployment: Arc<Deployment>,
    keys: OwnKeys,
    labels: Vec<String>,
    token: Arc<Mutex<Option<String>>>,
}

impl Stage for DeploymentStage {
    fn act(&mut self, act: &Act) -> Result<()> {
        match act {
            Act::Start(start) => self.labels.push(start.label.clone()),
            Act::Advance(advance) => thread::sleep(Duration::from_millis(advance.ms)),
            _ => bail!("a client cannot do it: {act:?}"),
        }
        Ok(())
    }

    fn request(&mut self, _label: &str, request: &Request, _confirmed: bool) -> Result<Answer> {
        let outward = self.keys.outward(request);
        let token = get(&self.token);
        let asked = with_token(&outward, token.as_deref());
        let mut answer = self.deployment.ask_patiently(&asked)?;
        if asked != outward && is_full(&answer) {
            thread::sleep(SPREAD);
            answer = self.deployment.ask_patiently(&outward)?;
        }
        if let Some(token) = answer.header("dayfly-context") {
            set(&self.token, Some(token.to_owned()));
        }
        Ok(self.keys.inward(answer))
    }

    fn settle(&mut self, _within_ms: u64, _quiet: bool) -> Result<Vec<Vec<String>>> {
        Ok(vec![self.labels.clone()])
    }

    fn awake(&self) -> Vec<String> {
        self.labels.clone()
    }

    fn name_of(&self, _label: &str) -> Result<Option<String>> {
        Ok(None)
    }

    fn labels(&self) -> Vec<String> {
        self.labels.clone()
    }

    fn is_still(&self) -> bool {
        false
    }

    fn traffic(&self, _to: Option<&str>) -> Option<(u64, u64)> {
        None
    }

    fn close(self: Box<Self>) -> Result<()> {
        Ok(())
    }
}
