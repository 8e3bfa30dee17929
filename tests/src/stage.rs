//! What a runner brings: a stage on which scenarios are played.

use anyhow::{Context, Result, ensure};
use dayfly_core::http::Request;
use serde_json::Value;

use crate::act::Act;
use crate::scenario::Scenario;

/// An answer as the client sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The headers, names as they came.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Answer {
    /// The value of the header of this name (in lower case), if there is exactly one.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.iter().filter(|(other, _)| other.eq_ignore_ascii_case(name));
        let value = values.next()?;
        values.next().is_none().then_some(value.1.as_str())
    }

    /// The body, as JSON.
    pub fn json(&self) -> Result<Value> {
        serde_json::from_slice(&self.body).with_context(|| format!("no JSON: {}", String::from_utf8_lossy(&self.body)))
    }

    /// What it tells that a key holds; an error unless it is 200.
    pub fn value(&self) -> Result<Value> {
        ensure!(self.status == 200, "{} {}", self.status, String::from_utf8_lossy(&self.body));
        Ok(self.json()?["value"].take())
    }

    /// The code of a refusal.
    pub fn code(&self) -> Result<String> {
        Ok(self.json()?["error"]["code"].as_str().context("no code")?.to_owned())
    }
}

/// A cluster in the hands of a scenario. One stage serves one run of one scenario.
pub trait Stage {
    /// Does what the platform or the network does. An error says that it could not be done, or that the replica did not
    /// bear it; either fails the scenario.
    fn act(&mut self, act: &Act) -> Result<()>;

    /// Asks the replica of this label. `confirmed`: wait for the broker before the answer, even where this host can do
    /// without.
    fn request(&mut self, label: &str, request: &Request, confirmed: bool) -> Result<Answer>;

    /// Lets things run until every replica that is awake has the whole database, no unsettled write and no repair under
    /// way, and the roots of those that can hear each other are equal; for at most so many milliseconds. `quiet`: each
    /// must also say that it is quiet. Gives the groups of labels whose roots are equal.
    fn settle(&mut self, within_ms: u64, quiet: bool) -> Result<Vec<Vec<String>>>;

    /// The labels of the replicas that are awake, in the order of their start.
    fn awake(&self) -> Vec<String>;

    /// The name of the replica of this label, whether it is alive or not.
    fn name_of(&self, label: &str) -> Result<String>;

    /// The labels of all that were ever started.
    fn labels(&self) -> Vec<String>;

    /// Whether nothing happens between two calls, so that a change between two requests was made by the second.
    fn is_still(&self) -> bool;

    /// What the broker delivered to a replica (or to all) since the last mark: frames and bytes of their bodies. None
    /// where the stage cannot tell.
    fn traffic(&self, to: Option<&str>) -> Option<(u64, u64)>;

    /// Ends everything. An error fails the scenario.
    fn close(self: Box<Self>) -> Result<()>;
}

/// A way to run scenarios: a host, or the core alone.
pub trait Runner: Send + Sync {
    /// The name under which its tests are listed.
    fn name(&self) -> &'static str;

    /// Why it can play nothing at all on this machine, where that is so.
    fn absence(&self) -> Option<String> {
        None
    }

    /// Why it cannot play this scenario; the test then shows as ignored, with this reason.
    fn refuses(&self, scenario: &Scenario) -> Option<String>;

    /// With how many seeds it plays this scenario.
    fn seeds(&self, scenario: &Scenario) -> u64;

    /// Sets a stage. The seed decides all chance, as far as the host lets itself be told.
    fn open(&self, scenario: &Scenario, seed: u64) -> Result<Box<dyn Stage>>;
}
