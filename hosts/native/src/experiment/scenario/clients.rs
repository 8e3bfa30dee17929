//! Who asks for something, when, and for what.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Which replicas have clients of their own.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum At {
    /// Each.
    #[default]
    Every,
    /// The first of the first place: a server, where there is one.
    First,
    /// Each but the first.
    Others,
}

/// When a client asks.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum Rhythm {
    /// At even times, from a random one on.
    #[default]
    Steady,
    /// At random times, independent of each other.
    Poisson,
}

/// Clients that do alike.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Clients {
    /// What they are called in the report.
    pub name: String,
    /// Which replicas have one each. With functions, so many clients in that place, whose requests go to any there.
    #[serde(default)]
    pub at: At,
    /// Only those of this region; none: of all.
    #[serde(default)]
    pub region: Option<String>,
    /// The time between two deeds of one, in milliseconds.
    pub every_ms: f64,
    /// When within it.
    #[serde(default)]
    pub rhythm: Rhythm,
    /// From when on, in seconds after the warm-up; before it, if negative.
    #[serde(default)]
    pub start_s: f64,
    /// For how long, in seconds; none: to the end of `seconds`.
    #[serde(default)]
    pub for_s: Option<f64>,
    /// The most deeds of one.
    #[serde(default)]
    pub deeds: Option<u64>,
    /// What they do.
    pub does: Does,
}

/// What a client does each time.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Does {
    /// One of these requests, by weight.
    Requests(Vec<Ask>),
    /// Shows one of the advertisements that are left (an `orset`), and counts that (a `gcounter` each).
    Advertise {
        /// How many there are: the set `advertisements` holds the numbers below as texts.
        advertisements: u32,
    },
    /// Looks at the counters of the advertisements that are left, and takes down those that were shown often enough.
    TakeDown {
        /// How many there are.
        advertisements: u32,
        /// How often each is to be shown, for each replica that there is to be.
        shown_per_replica: f64,
    },
    /// Changes so many of the client's own keys of a map (each a `maxregister`): in all as many keys, split evenly.
    ChangeMap {
        /// How many keys all clients have together.
        keys: u32,
        /// How many of its own a client changes each time, of a hundred.
        percent: f64,
    },
    /// Follows, posts and reads, as Retwis does.
    Retwis(Retwis),
    /// Writes registers, a batch each time: a working set for others to take over.
    Fill {
        /// How many in all.
        entries: u32,
        /// How long each value is, in bytes.
        bytes: u32,
        /// How many a batch.
        batch: u32,
    },
}

/// A request of data: what HTTP would carry.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Ask {
    /// How often, against the others.
    #[serde(default = "one_f64")]
    pub weight: f64,
    /// The type of the key.
    #[serde(rename = "type")]
    pub kind: String,
    /// The key. In it and in the texts of `operation`, `{client}` is the client's number, `{n}` counts its deeds, and
    /// `{below:N}` is a random number below N.
    pub key: String,
    /// The operation; none: the key is read. What would need an empty JSON table is not possible in it.
    #[serde(default)]
    pub operation: Option<BTreeMap<String, toml::Value>>,
}

/// The mix of Retwis. What is not followed or posted reads a timeline.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Retwis {
    /// How many users there are.
    pub users: u32,
    /// How much the first are preferred: Zipf's exponent.
    pub zipf: f64,
    /// Of a hundred deeds, how many follow somebody.
    pub follow: f64,
    /// Of a hundred deeds, how many post.
    pub post: f64,
    /// How long a post is, in bytes.
    pub post_bytes: u32,
    /// How long its id is, in bytes.
    pub id_bytes: u32,
}

fn one_f64() -> f64 {
    1.0
}
