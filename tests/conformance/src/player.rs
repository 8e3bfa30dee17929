//! Plays a scenario on a stage, and holds each answer against what every answer must satisfy and what the step expects.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::act::Act;
use crate::expectation::{check, check_form, json_body, percent_encode};
use crate::http::{Answer, Request};
use crate::scenario::Scenario;
use crate::stage::{Runner, Stage};
use crate::step::{Ask, Members, Roots, Settle, Step, Traffic};
use crate::text::Variables;

/// After a settle, everything that can be read is compared where there are at most so many keys.
const KEYS_COMPARED_MAX: usize = 2_000;

/// Pages of a listing that are read at most; one more means that paging does not end.
const PAGES_MAX: usize = 1_000;

/// Plays the scenario with every seed of the runner, or with that of `DAYFLY_TEST_SEED` alone. The error says which
/// seed and step it was.
pub fn play(runner: &dyn Runner, scenario: &Scenario) -> Result<()> {
    let only: Option<u64> = std::env::var("DAYFLY_TEST_SEED").ok().and_then(|text| text.parse().ok());
    let seeds = only.map_or(0..runner.seeds(scenario), |seed| seed..seed + 1);
    for seed in seeds {
        let stage = runner.open(scenario, seed)?;
        let mut player = Player { stage, variables: Variables::new() };
        let played = scenario.steps.iter().enumerate().try_for_each(|(number, line)| {
            let place = || format!("seed {seed}, step {}: {{ {} }}\n", number + 1, line.text);
            player.step(&line.step).with_context(place)
        });
        // A stage on which a scenario failed is not to be used again.
        let closed = if played.is_ok() { player.stage.close() } else { Ok(()) };
        played.with_context(|| format!("{}: {}\n", scenario.file, scenario.checks))?;
        closed.with_context(|| format!("{}: seed {seed}: at the end", scenario.file))?;
    }
    Ok(())
}

struct Player {
    stage: Box<dyn Stage>,
    variables: Variables,
}

impl Player {
    fn step(&mut self, step: &Step) -> Result<()> {
        match step {
            Step::Ask(ask) => self.ask(ask),
            Step::Act(act) => self.act(act),
            Step::Settle(settle) => self.settle(settle),
            Step::Members(members) => self.members(members),
            Step::Roots(roots) => self.roots(roots),
            Step::Traffic(traffic) => self.traffic(traffic),
        }
    }

    fn act(&mut self, act: &Act) -> Result<()> {
        self.stage.act(act)?;
        for label in self.stage.labels() {
            if let Some(name) = self.stage.name_of(&label)? {
                self.variables.insert(label, name);
            }
        }
        Ok(())
    }

    /// One replica, or all that are awake.
    fn asked(&self, to: &str) -> Result<Vec<String>> {
        let labels = if to == "*" { self.stage.awake() } else { vec![to.to_owned()] };
        ensure!(!labels.is_empty(), "nobody is awake");
        Ok(labels)
    }

    fn ask(&mut self, ask: &Ask) -> Result<()> {
        let path = ask.path.string(&self.variables)?;
        let (before, query) = path.split_once('?').unwrap_or((&path, ""));
        let mut request = Request {
            method: ask.method.clone(),
            path: before.to_owned(),
            query: query.to_owned(),
            headers: Vec::new(),
            body: Vec::new(),
        };
        for (name, value) in &ask.headers {
            request.headers.push((name.clone(), value.string(&self.variables)?));
        }
        if let Some(body) = &ask.body {
            request.body = body.bytes(&self.variables)?;
        }
        let mut earlier: Option<(String, Vec<u8>)> = None;
        for label in self.asked(&ask.to)? {
            let answer = self.exchange(&label, &request, ask.confirmed)?;
            check(ask, &path, &answer, &self.variables).with_context(|| outline(&label, &answer))?;
            if ask.to == "*" && ask.status == 200 && ask.has.is_none() {
                let (first, body) = earlier.get_or_insert_with(|| (label.clone(), answer.body.clone()));
                ensure!(*body == answer.body, "{first} and {label} answer differently: {}", outline(&label, &answer));
            }
            self.keep(ask, &answer)?;
        }
        Ok(())
    }

    /// Asks, and checks what must hold for every answer. Where nothing else happens meanwhile, a request that reads or
    /// is refused must leave the root as it was.
    fn exchange(&mut self, label: &str, request: &Request, confirmed: bool) -> Result<Answer> {
        // Who waits for the broker lets time pass, and others write meanwhile.
        let before = if self.stage.is_still() && !confirmed { Some(self.root(label)?) } else { None };
        let answer = self.stage.request(label, request, confirmed)?;
        check_form(&answer, self.stage.name_of(label)?.as_deref()).with_context(|| outline(label, &answer))?;
        let writes = matches!(request.method.as_str(), "POST" | "DELETE") && answer.status < 400;
        if writes {
            ensure!(answer.header("dayfly-context").is_some(), "a write without context: {}", outline(label, &answer));
        } else if let Some(before) = before {
            let after = self.root(label)?;
            ensure!(before == after, "the state has changed, root {before} to {after}: {}", outline(label, &answer));
        }
        Ok(answer)
    }

    fn keep(&mut self, ask: &Ask, answer: &Answer) -> Result<()> {
        for (variable, source) in &ask.keep {
            let value = if source.starts_with('/') {
                let body = json_body(answer)?;
                match body.pointer(source) {
                    Some(Value::String(text)) => text.clone(),
                    Some(other) => other.to_string(),
                    None => bail!("nothing at {source} in {body}"),
                }
            } else {
                answer.header(source).with_context(|| format!("no header {source} to keep"))?.to_owned()
            };
            self.variables.insert(variable.clone(), value);
        }
        Ok(())
    }

    /// Reads from a replica. The answer must be 200.
    fn read(&mut self, label: &str, path: &str, query: &str) -> Result<Value> {
        let request =
            Request { method: "GET".to_owned(), path: path.to_owned(), query: query.to_owned(), ..Request::default() };
        let answer = self.stage.request(label, &request, false)?;
        ensure!(answer.status == 200, "GET {path}?{query}: {}", outline(label, &answer));
        check_form(&answer, self.stage.name_of(label)?.as_deref()).with_context(|| outline(label, &answer))?;
        json_body(&answer)
    }

    fn root(&mut self, label: &str) -> Result<String> {
        let status = self.read(label, "/v1/status", "")?;
        Ok(status["root"].as_str().context("the status tells no root")?.to_owned())
    }

    /// Every page of a listing.
    fn list(&mut self, label: &str, path: &str, member: &str) -> Result<Vec<Value>> {
        let mut all = Vec::new();
        let mut query = String::new();
        for _ in 0..PAGES_MAX {
            let page = self.read(label, path, &query)?;
            all.extend_from_slice(page[member].as_array().with_context(|| format!("no {member} in {page}"))?);
            match page.get("next") {
                None => return Ok(all),
                Some(next) => {
                    let next = next.as_str().context("next is no text")?;
                    query = format!("after={}", percent_encode(next));
                }
            }
        }
        bail!("the pages of {path} do not end")
    }

    fn settle(&mut self, settle: &Settle) -> Result<()> {
        for group in self.stage.settle(settle.within_ms, settle.quiet)? {
            let mut contents: Option<(String, BTreeMap<String, Value>)> = None;
            for label in group {
                let Some(here) = self.contents(&label)? else { break };
                let (first, there) = contents.get_or_insert_with(|| (label.clone(), here.clone()));
                if *there != here {
                    let differs = |key: &&String| there.get(*key) != here.get(*key);
                    let key = there.keys().chain(here.keys()).find(differs);
                    bail!("{first} and {label} have equal roots and differ at {key:?}");
                }
            }
        }
        Ok(())
    }

    /// Everything that can be read from a replica, by path; none if that is more than is compared.
    fn contents(&mut self, label: &str) -> Result<Option<BTreeMap<String, Value>>> {
        let keys = self.list(label, "/v1/keys", "keys")?;
        if keys.len() > KEYS_COMPARED_MAX {
            return Ok(None);
        }
        let mut contents = BTreeMap::new();
        for key in keys {
            let kind = key["type"].as_str().context("a key without type")?;
            let name = key["key"].as_str().context("a key without name")?;
            let path = format!("/v1/data/{kind}/{}", percent_encode(name));
            let value = self.read(label, &path, "")?;
            ensure!(contents.insert(path, value).is_none(), "{label} lists {key} twice");
        }
        Ok(Some(contents))
    }

    fn members(&mut self, expected: &Members) -> Result<()> {
        for label in self.asked(&expected.on)? {
            let members = self.list(&label, "/v1/members", "members")?;
            let names: Vec<_> = members.iter().map(|member| member["name"].as_str().unwrap_or_default()).collect();
            ensure!(names.is_sorted_by(|a, b| a < b), "the members are not in the order of names: {names:?}");
            let states: BTreeMap<_, _> =
                members.iter().map(|member| (member["name"].as_str().unwrap_or_default(), &member["state"])).collect();
            for (whom, state) in &expected.states {
                let name = self.stage.name_of(whom)?.context("this stage knows no names")?;
                let found = states.get(name.as_str()).map_or("gone", |state| state.as_str().unwrap_or("no text"));
                ensure!(found == state, "{label} holds {whom} for {found} in place of {state}");
            }
            let present = states.values().filter(|state| **state != "gone").count();
            if let Some(count) = expected.count {
                ensure!(present == count, "{label} lists {present} awake or dormant members in place of {count}");
            }
        }
        Ok(())
    }

    fn roots(&mut self, expected: &Roots) -> Result<()> {
        let roots: Vec<_> = expected.labels.iter().map(|label| self.root(label)).collect::<Result<_>>()?;
        let distinct: BTreeSet<_> = roots.iter().collect();
        ensure!((distinct.len() == 1) == expected.equal, "the roots are {roots:?}");
        Ok(())
    }

    fn traffic(&mut self, expected: &Traffic) -> Result<()> {
        let to = (expected.to != "*").then_some(expected.to.as_str());
        let (frames, bytes) = self.stage.traffic(to).context("this stage counts no traffic")?;
        let checks = [
            (bytes, expected.bytes_at_least, expected.bytes_at_most, "bytes"),
            (frames, expected.frames_at_least, expected.frames_at_most, "frames"),
        ];
        for (found, least, most, what) in checks {
            let (least, most) = (least.unwrap_or(0), most.unwrap_or(u64::MAX));
            ensure!((least..=most).contains(&found), "{found} {what} were delivered, not {least} to {most}");
        }
        Ok(())
    }
}

fn outline(label: &str, answer: &Answer) -> String {
    let body = String::from_utf8_lossy(&answer.body);
    let body: String = body.chars().take(600).collect();
    format!("{label} answered {} {:?} {body}", answer.status, answer.headers)
}
