//! The steps of a scenario: a request and what must be answered, something that the platform does, or a look at the
//! cluster. `scenarios/README.md` explains each to those who write scenarios.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;

use crate::act::Act;
use crate::text::Text;

/// One step.
#[derive(Clone, Debug)]
pub enum Step {
    /// A client asks, and the answer must be as expected.
    Ask(Box<Ask>),
    /// Something that the platform or the network does.
    Act(Box<Act>),
    /// Runs until all are quiet and agree; then compares everything that can be read.
    Settle(Settle),
    /// Looks at member states.
    Members(Members),
    /// Compares roots without waiting for anything.
    Roots(Roots),
    /// Looks at what the broker delivered since the last mark.
    Traffic(Traffic),
}

/// A request, and what must be answered.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ask {
    /// The HTTP method.
    pub method: String,
    /// Path and query.
    pub path: Text,
    /// The replica's label, or `*` for every replica that is awake: all of them must answer so, and alike.
    pub to: String,
    /// Headers to send.
    #[serde(default)]
    pub headers: BTreeMap<String, Text>,
    /// The body to send.
    pub body: Option<Text>,
    /// Has the host await the broker's confirmation first, as it usually does.
    #[serde(default)]
    pub confirmed: bool,
    /// The expected status.
    pub status: u16,
    /// The expected `value` of an answer `{"key","type","value"}`, as JSON; key and type are those of the path.
    pub value: Option<Text>,
    /// As `value`, but any of these.
    #[serde(default)]
    pub one_of: Vec<Text>,
    /// The expected body, as JSON.
    pub json: Option<Text>,
    /// Members that the body must have with these values, as JSON, at any depth.
    pub has: Option<Text>,
    /// JSON pointers, and the least that must stand there.
    #[serde(default)]
    pub at_least: BTreeMap<String, u64>,
    /// JSON pointers, and the most that may stand there.
    #[serde(default)]
    pub at_most: BTreeMap<String, u64>,
    /// The expected error code.
    pub error: Option<String>,
    /// How the error message must begin.
    pub message: Option<String>,
    /// Headers that the answer must carry; `*` for any value.
    #[serde(default)]
    pub shows: BTreeMap<String, Text>,
    /// Headers that the answer must not carry.
    #[serde(default)]
    pub lacks: Vec<String>,
    /// What to keep for later steps: variable, and a header's name or a JSON pointer (`/next`).
    #[serde(default)]
    pub keep: BTreeMap<String, String>,
}

/// See [`Step::Settle`].
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settle {
    /// For how long at most, in milliseconds.
    #[serde(rename = "settle")]
    pub within_ms: u64,
    /// Whether each replica that is awake must say as well that it is quiet, so that its host may freeze it.
    #[serde(default)]
    pub quiet: bool,
}

/// See [`Step::Members`].
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Members {
    /// State by label: `awake`, `dormant` or `gone`; who is not listed at all counts as gone.
    #[serde(rename = "members")]
    pub states: BTreeMap<String, String>,
    /// Who is asked; `*` for every replica that is awake.
    pub on: String,
    /// How many may be listed as awake or dormant, if it matters.
    pub count: Option<usize>,
}

/// See [`Step::Roots`].
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Roots {
    /// The replicas.
    #[serde(rename = "roots")]
    pub labels: Vec<String>,
    /// Whether all are equal; if not, at least two must differ.
    pub equal: bool,
}

/// See [`Step::Traffic`]. Bytes are those of frame bodies.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Traffic {
    /// Deliveries to this replica; `*` for those to all.
    #[serde(rename = "traffic")]
    pub to: String,
    /// The most bytes.
    pub bytes_at_most: Option<u64>,
    /// The fewest bytes.
    pub bytes_at_least: Option<u64>,
    /// The most frames.
    pub frames_at_most: Option<u64>,
    /// The fewest frames.
    pub frames_at_least: Option<u64>,
}

type Read = fn(toml::Table) -> Result<Step>;

/// Each verb with how its step is read. A step has exactly one of them.
const VERBS: [(&str, Read); 29] = [
    ("get", |table| asks(table, "get")),
    ("post", |table| asks(table, "post")),
    ("delete", |table| asks(table, "delete")),
    ("request", |table| asks(table, "request")),
    ("start", |table| Ok(act(Act::Start(Box::new(table.try_into()?))))),
    ("freeze", |table| Ok(act(Act::Freeze(table.try_into()?)))),
    ("thaw", |table| Ok(act(Act::Thaw(table.try_into()?)))),
    ("kill", |table| Ok(act(Act::Kill(table.try_into()?)))),
    ("leave", |table| Ok(act(Act::Leave(table.try_into()?)))),
    ("advance", |table| Ok(act(Act::Advance(table.try_into()?)))),
    ("deliver", |table| Ok(act(Act::Deliver(table.try_into()?)))),
    ("partition", |table| Ok(act(Act::Partition(table.try_into()?)))),
    ("heal", |table| Ok(act(Act::Heal(table.try_into()?)))),
    ("drop", |table| Ok(act(Act::Fault(table.try_into()?)))),
    ("duplicate", |table| Ok(act(Act::Fault(table.try_into()?)))),
    ("delay", |table| Ok(act(Act::Fault(table.try_into()?)))),
    ("reorder", |table| Ok(act(Act::Reorder(table.try_into()?)))),
    ("broker", |table| Ok(act(Act::Broker(table.try_into()?)))),
    ("inject", |table| Ok(act(Act::Inject(table.try_into()?)))),
    ("mangle", |table| Ok(act(Act::Mangle(table.try_into()?)))),
    ("save", |table| Ok(act(Act::Save(table.try_into()?)))),
    ("spoil", |table| Ok(act(Act::Spoil(table.try_into()?)))),
    ("clock", |table| Ok(act(Act::Clock(table.try_into()?)))),
    ("unbind", |table| Ok(act(Act::Unbind(table.try_into()?)))),
    ("mark", |table| Ok(act(Act::Mark(table.try_into()?)))),
    ("settle", |table| Ok(Step::Settle(table.try_into()?))),
    ("members", |table| Ok(Step::Members(table.try_into()?))),
    ("roots", |table| Ok(Step::Roots(table.try_into()?))),
    ("traffic", |table| Ok(Step::Traffic(table.try_into()?))),
];

fn act(act: Act) -> Step {
    Step::Act(Box::new(act))
}

fn asks(mut table: toml::Table, verb: &str) -> Result<Step> {
    ensure!(!table.contains_key("method"), "the method is the verb, or the value of `request`");
    let target = table.remove(verb).context("the verb was found before")?;
    if verb == "request" {
        table.insert("method".to_owned(), target);
    } else {
        ensure!(!table.contains_key("path"), "the path is the value of `{verb}`");
        table.insert("method".to_owned(), verb.to_uppercase().into());
        table.insert("path".to_owned(), target);
    }
    let ask: Ask = table.try_into()?;
    let looks_at_body = ask.value.is_some()
        || !ask.one_of.is_empty()
        || ask.json.is_some()
        || ask.has.is_some()
        || !ask.at_least.is_empty()
        || !ask.at_most.is_empty();
    ensure!((ask.status >= 400) == ask.error.is_some(), "an expected `error` belongs to a status of 400 or more");
    ensure!(ask.status < 400 || !looks_at_body, "a refused request is expected by `error` and `message`");
    ensure!(ask.status >= 400 || ask.message.is_none(), "`message` belongs to `error`");
    ensure!(ask.method != "GET" || ask.status >= 400 || looks_at_body, "say what the answer to a GET must hold");
    Ok(Step::Ask(Box::new(ask)))
}

impl Step {
    /// Reads one step.
    pub fn parse(table: toml::Table) -> Result<Self> {
        let verbs: Vec<_> = VERBS.iter().filter(|(verb, _)| table.contains_key(*verb)).collect();
        let [(_, read)] = verbs[..] else {
            let known: Vec<_> = VERBS.iter().map(|(verb, _)| *verb).collect();
            bail!("a step has exactly one verb of {}", known.join(", "));
        };
        let step = read(table)?;
        if let Self::Act(act) = &step {
            act.check()?;
        }
        Ok(step)
    }

    /// Whether the step can fail because of what is seen.
    pub fn looks(&self) -> bool {
        match self {
            Self::Ask(_) | Self::Settle(_) | Self::Members(_) | Self::Roots(_) | Self::Traffic(_) => true,
            Self::Act(act) => matches!(&**act, Act::Start(start) if start.refused.is_some()),
        }
    }
}
