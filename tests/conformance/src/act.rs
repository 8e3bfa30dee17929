//! What the platform and the network do in a scenario. `scenarios/README.md` explains each to those who write them.

use anyhow::{Result, ensure};
use serde::Deserialize;

use crate::text::Text;

/// What the platform or the network does.
#[derive(Clone, Debug)]
pub enum Act {
    /// Starts a replica.
    Start(Box<Start>),
    /// Ends an awake period.
    Freeze(Freeze),
    /// Begins an awake period.
    Thaw(Thaw),
    /// Kills a replica without notice.
    Kill(Kill),
    /// Lets a replica say farewell, and ends it.
    Leave(Leave),
    /// Lets time pass.
    Advance(Advance),
    /// Lets time pass until so many frames have reached a replica.
    Deliver(Deliver),
    /// Cuts the cluster in groups that do not hear each other.
    Partition(Partition),
    /// Ends partitions and faults.
    Heal(Heal),
    /// What becomes of the next deliveries.
    Fault(Fault),
    /// Turns the order of what is under way to a replica round.
    Reorder(Reorder),
    /// How the broker treats publishers.
    Broker(Broker),
    /// Hands bytes to a replica as a frame.
    Inject(Inject),
    /// Hands every truncation and every single-bit change of a frame to a replica.
    Mangle(Mangle),
    /// Stores what changed since the last save into the same store.
    Save(Save),
    /// Breaks a stored part.
    Spoil(Spoil),
    /// Sets a replica's clock forward or back.
    Clock(Clock),
    /// Deletes a replica's inbox at the broker.
    Unbind(Unbind),
    /// Sets the counters of [`Traffic`] to zero.
    Mark(Mark),
}

/// See [`Act::Start`].
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Start {
    /// The label that later steps call it by, and its name if nothing else is said.
    #[serde(rename = "start")]
    pub label: String,
    /// Its name, where that is not the label.
    pub name: Option<Text>,
    /// Lets it make its own name.
    #[serde(default)]
    pub unnamed: bool,
    /// Its cluster, if not the usual one.
    pub cluster: Option<String>,
    /// Its region.
    #[serde(default)]
    pub region: String,
    /// Its zone.
    #[serde(default)]
    pub zone: String,
    /// Whether it is the founder, who asks nobody; if absent, the first of its cluster is.
    pub founder: Option<bool>,
    /// By how much its clock is ahead of the true time, in milliseconds.
    #[serde(default)]
    pub clock_ms: i64,
    /// How long it says that it is awake; if absent, an hour, and prolonged as long as it is awake.
    pub lease_ms: Option<u64>,
    /// The store whose parts it loads before it wakes.
    pub load: Option<String>,
    /// How many of them it must refuse.
    #[serde(default)]
    pub load_errors: usize,
    /// Settings.
    #[serde(default)]
    pub config: Settings,
    /// The field for which the start must be refused.
    pub refused: Option<String>,
}

impl Start {
    /// Whether nothing is said of the replica but its label.
    pub fn is_plain(&self) -> bool {
        self.name.is_none()
            && !self.unnamed
            && self.cluster.is_none()
            && self.region.is_empty()
            && self.zone.is_empty()
            && self.founder.is_none()
            && self.clock_ms == 0
            && self.lease_ms.is_none()
            && self.load.is_none()
            && self.refused.is_none()
            && self.config == Settings::default()
    }
}

/// Settings of a replica; what is absent has the usual value of `wit/lifecycle.wit`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, reason = "each is a field of `config` in wit/lifecycle.wit, except the last, which is explained")]
pub struct Settings {
    pub host: Option<String>,
    pub component_hash: Option<String>,
    pub frame_bytes: Option<u32>,
    pub retention_ms: Option<u64>,
    pub skew_ms: Option<u64>,
    pub burst_ms: Option<u32>,
    pub repair_bytes: Option<u32>,
    pub bootstrap_ms: Option<u32>,
    pub store_bytes: Option<u64>,
    /// See `wit/lifecycle.wit`.
    pub combine_above: Option<u32>,
    /// See `wit/lifecycle.wit`.
    pub combine_ms: Option<u32>,
    /// See `wit/lifecycle.wit`.
    pub log_bytes: Option<u64>,
    /// How many bytes its inbox holds before the broker drops the oldest frames; 16 MiB if absent.
    pub inbox_bytes: Option<usize>,
}

/// See [`Act::Freeze`].
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Freeze {
    /// The replica.
    #[serde(rename = "freeze")]
    pub label: String,
    /// Without `suspend`, and without the outcome of what it has published.
    #[serde(default)]
    pub abruptly: bool,
}

/// See [`Act::Thaw`].
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Thaw {
    /// The replica.
    #[serde(rename = "thaw")]
    pub label: String,
    /// How long it says that it is awake; if absent, as at its start.
    pub lease_ms: Option<u64>,
    /// Whether it must start anew.
    #[serde(default)]
    pub anew: bool,
    /// The store whose parts it loads if it starts anew.
    pub load: Option<String>,
}

/// See [`Act::Kill`].
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Kill {
    /// The replica.
    #[serde(rename = "kill")]
    pub label: String,
}

/// See [`Act::Leave`].
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Leave {
    /// The replica.
    #[serde(rename = "leave")]
    pub label: String,
}

/// See [`Act::Advance`].
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Advance {
    /// Milliseconds.
    #[serde(rename = "advance")]
    pub ms: u64,
}

/// See [`Act::Deliver`].
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Deliver {
    /// How many frames.
    #[serde(rename = "deliver")]
    pub frames: u64,
    /// The replica.
    pub to: String,
    /// From whom, if it matters.
    pub from: Option<String>,
    /// For how long at most; a minute if absent.
    #[serde(default = "minute")]
    pub within_ms: u64,
}

/// See [`Act::Partition`].
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Partition {
    /// The groups, by labels; who is in none hears nobody.
    #[serde(rename = "partition")]
    pub groups: Vec<Vec<String>>,
    /// Whether frames between groups are lost; else they arrive once the partition is healed.
    #[serde(default)]
    pub lose: bool,
}

/// See [`Act::Heal`].
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Heal {
    /// Always true.
    pub heal: bool,
}

/// See [`Act::Fault`]. Exactly one of the first three is given.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// So many deliveries are lost.
    pub drop: Option<u64>,
    /// So many deliveries are made twice, the second time 50 ms later.
    pub duplicate: Option<u64>,
    /// So many deliveries are late.
    pub delay: Option<u64>,
    /// By how much, in milliseconds.
    #[serde(default)]
    pub by_ms: u64,
    /// Only those of this sender.
    pub from: Option<String>,
    /// Only those to this receiver.
    pub to: Option<String>,
    /// Only those by this route.
    pub route: Option<RouteKind>,
}

/// The routes of `wit/types.wit`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "explained in wit/types.wit")]
pub enum RouteKind {
    Everyone,
    One,
    Anyone,
    Combiner,
    Log,
}

/// See [`Act::Reorder`].
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reorder {
    /// The receiver.
    #[serde(rename = "reorder")]
    pub label: String,
}

/// See [`Act::Broker`].
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Broker {
    /// How it behaves from now on.
    #[serde(rename = "broker")]
    pub mood: Mood,
}

/// How the broker treats publishers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mood {
    /// Takes and confirms.
    Fine,
    /// Takes nothing and says so.
    Refusing,
    /// Takes frames and never says so.
    Silent,
    /// Neither takes nor answers.
    Hanging,
}

/// See [`Act::Inject`].
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Inject {
    /// The receiver.
    #[serde(rename = "inject")]
    pub to: String,
    /// These bytes.
    pub bytes: Option<Text>,
    /// Or a frame that this replica published.
    pub from: Option<String>,
    /// By this route only.
    pub route: Option<RouteKind>,
    /// How many frames before its last; with `first`, after its first.
    #[serde(default)]
    pub skip: usize,
    /// Counts from its first frame on.
    #[serde(default)]
    pub first: bool,
    /// In place of one frame: all of them, newest first.
    #[serde(default)]
    pub all: bool,
    /// Only its first bytes.
    pub cut: Option<usize>,
    /// The byte at this place (from the end, if negative)…
    pub at: Option<isize>,
    /// …becomes its exclusive or with this.
    #[serde(default)]
    pub xor: u8,
    /// How many times.
    #[serde(default = "one")]
    pub times: usize,
}

/// See [`Act::Mangle`].
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mangle {
    /// The receiver.
    #[serde(rename = "mangle")]
    pub to: String,
    /// Whose last frame.
    pub from: String,
    /// By this route only.
    pub route: Option<RouteKind>,
}

/// See [`Act::Save`].
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Save {
    /// The replica.
    #[serde(rename = "save")]
    pub label: String,
    /// The store.
    #[serde(rename = "as")]
    pub store: String,
    /// How many parts at most may have changed.
    pub parts_at_most: Option<usize>,
    /// How many parts at least must have changed.
    pub parts_at_least: Option<usize>,
}

/// See [`Act::Spoil`].
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spoil {
    /// The store, of which the first part in the order of keys is cut in half.
    #[serde(rename = "spoil")]
    pub store: String,
}

/// See [`Act::Clock`].
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Clock {
    /// The replica.
    #[serde(rename = "clock")]
    pub label: String,
    /// By how much, in milliseconds; negative: back.
    pub by_ms: i64,
}

/// See [`Act::Unbind`].
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Unbind {
    /// The replica.
    #[serde(rename = "unbind")]
    pub label: String,
}

/// See [`Act::Mark`].
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mark {
    /// Always true.
    pub mark: bool,
}

fn minute() -> u64 {
    60_000
}

fn one() -> usize {
    1
}

impl Act {
    /// Refuses what the fields' types cannot: fields that contradict each other.
    pub fn check(&self) -> Result<()> {
        match self {
            Self::Fault(fault) => {
                let given = [fault.drop, fault.duplicate, fault.delay].iter().flatten().count();
                ensure!(given == 1, "one fault a step");
                ensure!(fault.delay.is_some() == (fault.by_ms > 0), "`by_ms` belongs to `delay`");
            }
            Self::Inject(inject) => {
                ensure!(inject.bytes.is_some() != inject.from.is_some(), "either `bytes` or `from`");
                ensure!(
                    !inject.all || (inject.from.is_some() && inject.skip == 0 && !inject.first),
                    "`all` stands alone"
                );
                ensure!(inject.at.is_some() == (inject.xor != 0), "`at` and `xor` belong together");
            }
            Self::Heal(Heal { heal }) => ensure!(*heal, "`heal` is true"),
            Self::Mark(Mark { mark }) => ensure!(*mark, "`mark` is true"),
            Self::Start(start) => {
                ensure!(!(start.unnamed && start.name.is_some()), "either `name` or `unnamed`");
                ensure!(start.load_errors == 0 || start.load.is_some(), "`load_errors` belongs to `load`");
            }
            Self::Freeze(_)
            | Self::Thaw(_)
            | Self::Kill(_)
            | Self::Leave(_)
            | Self::Advance(_)
            | Self::Deliver(_)
            | Self::Partition(_)
            | Self::Reorder(_)
            | Self::Broker(_)
            | Self::Mangle(_)
            | Self::Save(_)
            | Self::Spoil(_)
            | Self::Clock(_)
            | Self::Unbind(_) => {}
        }
        Ok(())
    }
}
