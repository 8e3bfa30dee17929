//! What a runner brings: a stage on which scenarios are played.

use anyhow::Result;

use crate::act::Act;
use crate::http::{Answer, Request};
use crate::scenario::Scenario;

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

    /// The name of the replica of this label, whether it is alive or not; none where whoever is behind the URL answers.
    fn name_of(&self, label: &str) -> Result<Option<String>>;

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
