//! When nothing is asked any more and nobody is away: waits until all agree, reads everything, and begins anew.

use std::collections::{BTreeMap, BTreeSet};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use dayfly_conformance::http::Answer;
use dayfly_core::cell::DataType;
use dayfly_core::http::Request;
use serde_json::{Value, json};

use super::client::Session;
use super::crowd;
use super::finding::{Finding, Key, Kind, Reading};
use super::fleet::{Fleet, Target};
use super::lane::Lane;
use super::write::Host;
use crate::chance::Chance;
use crate::plain::list_keys;
use crate::simulation::client::read_request;
use crate::status::Status;

/// How long all may take to agree on a busy machine.
const PATIENCE: Duration = Duration::from_secs(180);
/// How long one request is repeated.
const REQUEST_PATIENCE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(100);
/// How many lanes are read from functions, each of which takes one request and is then busy for a while. That all others
/// are the same there follows from the equal roots.
const LANES_OF_FUNCTIONS: usize = 8;
/// For how many seconds functions are woken to tell their roots.
const WAKE_SECONDS: u64 = 3;
/// How many keys are deleted at once.
const DELETED_AT_ONCE: usize = 50;

/// What all have agreed on.
#[derive(Clone, Debug)]
pub struct Agreed {
    /// The root.
    pub root: String,
    /// How many replicas have it.
    pub replicas: usize,
}

/// Waits until all replicas are complete and have the same root.
///
/// # Errors
/// They do not come to agree, and what they say instead.
pub fn settle(fleet: &Fleet) -> Result<Agreed> {
    let until = Instant::now() + PATIENCE;
    loop {
        let told = roots(fleet);
        let reason = match &told {
            Ok(roots) => {
                let equal: BTreeSet<&str> = roots.values().map(|(root, _)| root.as_str()).collect();
                if equal.len() == 1 && roots.len() >= fleet.wanted() && roots.values().all(|(_, done)| *done) {
                    let root = equal.into_iter().next().unwrap_or_default().to_owned();
                    return Ok(Agreed { root, replicas: roots.len() });
                }
                format!("{} wanted: {roots:?}", fleet.wanted())
            }
            Err(error) => format!("{error:#}"),
        };
        ensure!(Instant::now() < until, "not within {PATIENCE:?}: {reason}");
        thread::sleep(POLL);
    }
}

/// The roots of all, and whether each has nothing left to do, by their names.
fn roots(fleet: &Fleet) -> Result<BTreeMap<String, (String, bool)>> {
    let mut roots = BTreeMap::new();
    let (natives, spins) = fleet.sizes();
    let lines: Vec<Value> = thread::scope(|scope| {
        let lingering: Vec<_> = (0..spins).map(|slot| scope.spawn(move || last_line(fleet, slot))).collect();
        lingering.into_iter().map(|one| one.join().expect("lingering does not panic")).collect::<Result<_>>()
    })?;
    fleet.functions.await_idle()?;
    let woken = fleet.functions.wake_at_once(fleet.wanted_functions(), WAKE_SECONDS)?;
    fleet.functions.await_idle()?;
    for line in lines.iter().chain(&woken) {
        let text = |name: &str| line[name].as_str().map(str::to_owned).with_context(|| format!("no {name}: {line}"));
        roots.insert(text("replica")?, (text("root")?, line["complete"] == true));
    }
    for slot in 0..natives {
        let status: Status = fleet.native(slot).node.as_ref().context("a node that is not there")?.status()?;
        roots.insert(status.name.clone(), (status.root.clone(), status.is_done()));
    }
    Ok(roots)
}

/// What an application's instance says last while it is kept awake for a second.
fn last_line(fleet: &Fleet, slot: usize) -> Result<Value> {
    let place = fleet.spin(slot);
    let application = place.application.as_ref().context("an application that is not there")?;
    application.linger(1)?.pop().context("it tells nothing")
}

/// Asks again until a replica that has the whole database answers.
fn ask(fleet: &Fleet, target: &Target, request: &Request) -> Result<Answer> {
    let until = Instant::now() + REQUEST_PATIENCE;
    loop {
        let answer = fleet.ask(target, request);
        match &answer {
            Ok(told) if told.status < 500 && told.header("dayfly-complete") != Some("false") => return answer,
            _ => ensure!(Instant::now() < until, "{} {}: {answer:?}", request.method, request.path),
        }
        thread::sleep(POLL);
    }
}

fn listed(fleet: &Fleet, target: &Target) -> Result<BTreeSet<Key>> {
    let keys = list_keys(|path| {
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        ask(
            fleet,
            target,
            &Request { method: "GET".into(), path: path.into(), query: query.into(), ..Request::default() },
        )
    })?;
    let key = |(data_type, name): (String, String)| {
        let data_type = DataType::from_name(&data_type).with_context(|| format!("no type: {data_type}"))?;
        Ok((name, data_type))
    };
    keys.into_iter().map(key).collect()
}

fn read(fleet: &Fleet, target: &Target, keys: impl IntoIterator<Item = Key>) -> Result<Reading> {
    let mut reading = Reading::new();
    for key in keys {
        let answer = ask(fleet, target, &read_request(&key.0, key.1))?;
        if answer.status != 404 {
            let value = answer.value()?;
            reading.insert(key, value);
        }
    }
    Ok(reading)
}

/// What was compared.
#[derive(Clone, Copy, Debug, Default)]
pub struct Compared {
    /// Keys that were read.
    pub keys: usize,
    /// Lanes whose state was compared.
    pub lanes: usize,
}

/// Compares what is there, at one replica of each host, with what may be. All must agree by then.
///
/// # Errors
/// A replica does not answer.
pub fn compare(
    fleet: &Fleet,
    sessions: &[&Session],
    chance: &mut Chance,
    second: u64,
) -> Result<(Compared, Vec<Finding>)> {
    let mut compared = Compared::default();
    let mut findings = Vec::new();
    let ledgers: Vec<_> = sessions.iter().map(|session| &session.ledger).collect();
    for host in Host::ALL {
        let target = fleet.pick(host, chance).with_context(|| format!("there is no {} to ask", host.name()))?;
        let mut lanes: Vec<&Lane> = sessions.iter().flat_map(|session| &session.lanes).collect();
        if host == Host::Lambda {
            chance.shuffle(&mut lanes);
            lanes.truncate(LANES_OF_FUNCTIONS);
        }
        let mut names: BTreeSet<String> = lanes.iter().map(|lane| lane.name().to_owned()).collect();
        names.extend(ledgers.iter().flat_map(|ledger| [ledger.marks_name(), ledger.common_name()]));
        let listed = listed(fleet, &target)?;
        let at = format!("{:?}", target.place());
        findings.extend(strangers(&listed, sessions).into_iter().map(|finding| finding.found(&at, second)));
        let reading = read(fleet, &target, listed.into_iter().filter(|(name, _)| names.contains(name)))?;
        let lives = |place: &_| fleet.lives(place);
        let found = lanes.iter().flat_map(|lane| lane.check(&reading, &lives));
        let found = found.chain(crowd::check(&ledgers, &reading, &lives));
        findings.extend(found.map(|finding| finding.found(&at, second)));
        compared.keys += reading.len();
        compared.lanes += lanes.len();
    }
    Ok((compared, merged(findings)))
}

/// What was found alike at several hosts, once.
fn merged(findings: Vec<Finding>) -> Vec<Finding> {
    let mut merged: Vec<Finding> = Vec::new();
    for finding in findings {
        let same = |other: &&mut Finding| {
            (other.kind, &other.about, &other.told) == (finding.kind, &finding.about, &finding.told)
        };
        match merged.iter_mut().find(same) {
            Some(other) => other.at = format!("{}, {}", other.at, finding.at),
            None => merged.push(finding),
        }
    }
    merged
}

/// Keys of which no client that is there now knows: what was deleted before, above all.
fn strangers(listed: &BTreeSet<Key>, sessions: &[&Session]) -> Vec<Finding> {
    let known: BTreeSet<String> = sessions
        .iter()
        .flat_map(|session| {
            let lanes = session.lanes.iter().map(|lane| lane.name().to_owned());
            lanes.chain([session.ledger.marks_name(), session.ledger.common_name()])
        })
        .collect();
    let strangers = listed.iter().filter(|(name, _)| !known.contains(name));
    let told = || "it is there, and nobody has written it since all was deleted".to_owned();
    strangers.map(|key| Finding::of_key(Kind::Resurrected, key, told())).collect()
}

/// Deletes all keys, waits until all know that, and demands that nothing is left anywhere.
///
/// # Errors
/// A replica does not answer, or they do not agree.
pub fn clear(fleet: &Fleet, chance: &mut Chance, second: u64) -> Result<Vec<Finding>> {
    let target = fleet.pick(Host::Native, chance).context("there is no node to ask")?;
    let keys: Vec<Key> = listed(fleet, &target)?.into_iter().collect();
    for keys in keys.chunks(DELETED_AT_ONCE) {
        delete(fleet, &target, keys)?;
    }
    settle(fleet)?;
    let mut findings = Vec::new();
    for host in Host::ALL {
        let target = fleet.pick(host, chance).with_context(|| format!("there is no {} to ask", host.name()))?;
        let left = listed(fleet, &target)?;
        let at = format!("{:?}", target.place());
        let told = || "it is there after it was deleted".to_owned();
        let left = left.iter().map(|key| Finding::of_key(Kind::Resurrected, key, told()));
        findings.extend(left.map(|finding| finding.found(&at, second)));
    }
    let (natives, _) = fleet.sizes();
    for slot in 0..natives {
        let status = fleet.native(slot).node.as_ref().context("a node that is not there")?.status()?;
        if status.entries > 0 {
            let told = format!("{} entries are live though no key is there", status.entries);
            let at = String::new();
            findings.push(Finding { kind: Kind::Resurrected, about: status.name, told, at, second });
        }
    }
    Ok(merged(findings))
}

fn delete(fleet: &Fleet, target: &Target, keys: &[Key]) -> Result<()> {
    let item = |(name, data_type): &Key| json!({"type": data_type.name(), "key": name, "delete": true});
    let body: Value = keys.iter().map(item).collect();
    let request = Request {
        method: "POST".into(),
        path: "/v1/batch".into(),
        body: body.to_string().into(),
        ..Request::default()
    };
    let answer = ask(fleet, target, &request)?;
    match answer.status {
        200 => Ok(()),
        // What they held does not fit one frame.
        413 if keys.len() > 1 => {
            let (left, right) = keys.split_at(keys.len() / 2);
            delete(fleet, target, left)?;
            delete(fleet, target, right)
        }
        status => bail!("a deletion is answered {status} {}", String::from_utf8_lossy(&answer.body)),
    }
}

/// The hashes of the component that each host tells, and how many replicas told them.
///
/// # Errors
/// A replica does not tell.
pub fn components(fleet: &Fleet) -> Result<BTreeMap<String, BTreeMap<String, usize>>> {
    let mut components: BTreeMap<String, BTreeMap<String, usize>> = BTreeMap::new();
    for status in fleet.statuses()? {
        let text =
            |name: &str| status[name].as_str().map(str::to_owned).with_context(|| format!("no {name}: {status}"));
        *components.entry(text("host")?).or_default().entry(text("component")?).or_default() += 1;
    }
    Ok(components)
}
