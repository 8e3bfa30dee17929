//! What an experiment is: a file in TOML, read and checked. `check` knows the bounds.

mod check;
mod clients;
mod overlay;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use self::clients::{Ask, At, Clients, Does, Retwis, Rhythm};
pub use self::overlay::{Overlay, Topology};
use super::published;
use crate::client::Failure;

/// An experiment. Every part but `title`, `seconds` and `places` has defaults; what a file says beyond is refused.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// What it is, in a line.
    pub title: String,
    /// What it is for, and what in it is a choice of ours.
    #[serde(default)]
    pub about: String,
    /// What all chance is drawn from.
    #[serde(default = "one")]
    pub seed: u64,
    /// How long replicas have to find together before anything is counted, in seconds.
    #[serde(default)]
    pub warmup_s: f64,
    /// How long clients are active, in seconds. Figures count from here.
    pub seconds: f64,
    /// How long the cluster is left to itself at the end, in seconds. It counts too.
    #[serde(default)]
    pub settle_s: f64,
    /// Where replicas are.
    pub places: Vec<Place>,
    /// How each is configured.
    #[serde(default)]
    pub replica: ReplicaPart,
    /// The overlay of `overlays` in which replicas speak to their neighbours; none: they speak to everyone.
    #[serde(default)]
    pub overlay: Option<String>,
    /// The overlays that there are to choose from, by name.
    #[serde(default)]
    pub overlays: BTreeMap<String, Overlay>,
    /// How far things are from each other.
    #[serde(default)]
    pub network: Network,
    /// The broker's bounds and accidents.
    #[serde(default)]
    pub broker: BrokerPart,
    /// Who starts replicas, freezes and ends them.
    #[serde(default)]
    pub platform: Platform,
    /// Who asks for something.
    #[serde(default)]
    pub clients: Vec<Clients>,
    /// What fails for a time.
    #[serde(default)]
    pub outages: Vec<Outage>,
    /// What is measured beyond what costs nothing.
    #[serde(default)]
    pub measure: Measure,
    /// Figures that others published and that come with the program, to stand beside: `TABLE: WORKLOAD`,
    /// `TABLE: WORKLOAD OVERLAY` or `TABLE: WORKLOAD OVERLAY ALGORITHM`, of `experiments/published`.
    #[serde(default)]
    pub published_from: Vec<String>,
    /// Further ones, of whichever source.
    #[serde(default)]
    pub published: Vec<Published>,
}

/// Where some replicas are.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Place {
    /// The region, 1 to 32 characters of `a-z`, `0-9`, `-`.
    pub region: String,
    /// The zone in it; likewise.
    #[serde(default = "zone_a")]
    pub zone: String,
    /// How many are kept here.
    pub replicas: u32,
    /// The line of each replica here, each way, in megabits a second; none: `network.replica_mbit`.
    #[serde(default)]
    pub mbit: Option<f64>,
    /// When they are started, in seconds since the beginning of the run.
    #[serde(default)]
    pub start_s: f64,
    /// Over how many seconds their starts are spread evenly.
    #[serde(default)]
    pub spread_s: f64,
}

/// How each replica is configured (`wit/lifecycle.wit`), and how fast its processor is.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct ReplicaPart {
    /// Up to which size a frame is filled, in KiB.
    pub frame_kib: u32,
    /// How long a sleeper is kept, in seconds; inboxes too.
    pub retention_s: f64,
    /// By how much clocks may disagree, in milliseconds. (They agree.)
    pub skew_ms: u64,
    /// Writes within this time share a frame, in milliseconds.
    pub burst_ms: u32,
    /// How much a repair brings, in KiB.
    pub repair_kib: u32,
    /// How long a newcomer waits for an answer, in milliseconds. The first replica of all does not ask.
    pub bootstrap_ms: u32,
    /// The bound of the store, in MiB.
    pub store_mib: u64,
    /// How many may be awake before there is a combiner.
    pub combine_above: u32,
    /// How long the combiner gathers, in milliseconds.
    pub combine_ms: u32,
    /// How much the broker keeps of the log, in MiB; 0: nothing.
    pub log_mib: u64,
    /// For how long a standing replica announces to be awake, in seconds; it renews at half.
    pub lease_s: f64,
    /// The most memory an instance may have, in MiB; none: three times the store's bound.
    pub memory_mib: Option<u64>,
    /// What a call costs of virtual time, in microseconds.
    pub call_us: u64,
    /// What a KiB of frames, in or out, costs besides, in microseconds. By default what it took on the machine where
    /// this was written, with counters of a thousand writers; fewer, larger entries take less.
    pub kib_us: u64,
}

impl Default for ReplicaPart {
    fn default() -> Self {
        Self {
            frame_kib: 64,
            retention_s: 7_200.0,
            skew_ms: 2_000,
            burst_ms: 5,
            repair_kib: 256,
            bootstrap_ms: 1_000,
            store_mib: 64,
            combine_above: 32,
            combine_ms: 100,
            log_mib: 0,
            lease_s: 60.0,
            memory_mib: None,
            call_us: 5,
            kib_us: 70,
        }
    }
}

/// How far things are from each other. A message takes its latency, its jitter, and its turn on the lines between.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct Network {
    /// One way within a zone, in milliseconds.
    pub same_zone_ms: f64,
    /// One way between zones of a region, in milliseconds.
    pub same_region_ms: f64,
    /// One way between regions that `pairs` does not name, in milliseconds.
    pub other_region_ms: f64,
    /// Between regions that are named.
    pub pairs: Vec<Pair>,
    /// What chance adds to a latency at most, as a share of it. Messages of one link keep their order.
    pub jitter: f64,
    /// The line of each replica, each way, in megabits a second.
    pub replica_mbit: f64,
    /// The line of the broker, each way, in megabits a second.
    pub broker_mbit: f64,
}

impl Default for Network {
    fn default() -> Self {
        Self {
            same_zone_ms: 0.25,
            same_region_ms: 0.75,
            other_region_ms: 40.0,
            pairs: Vec::new(),
            jitter: 0.1,
            replica_mbit: 600.0,
            broker_mbit: 10_000.0,
        }
    }
}

/// The distance of two regions.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Pair {
    /// The regions.
    pub between: [String; 2],
    /// One way, in milliseconds.
    pub ms: f64,
}

/// The broker: where it is, its bounds, and what it does wrong.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct BrokerPart {
    /// Its region; none: that of the first place.
    pub region: Option<String>,
    /// Its zone; none: that of the first place.
    pub zone: Option<String>,
    /// What an inbox holds, in KiB; at it, the oldest is dropped.
    pub inbox_kib: u64,
    /// What the queue `anyone` holds, in KiB; at it, publishing fails.
    pub anyone_kib: u64,
    /// What the queue `combiner` holds, in KiB; at it, publishing fails.
    pub combiner_kib: u64,
    /// How many messages a consumer holds unacknowledged.
    pub prefetch: u32,
    /// How many of the queue `anyone`.
    pub anyone_prefetch: u32,
    /// The share of copies, one for each queue that a message goes to, that are lost.
    pub loss: f64,
    /// The share of copies that come twice.
    pub duplication: f64,
    /// The share of publishes that fail: half of them arrive all the same.
    pub failure: f64,
    /// How long a connection takes to come about beyond its two ways, in milliseconds.
    pub connect_ms: f64,
    /// What a message costs it, in microseconds; it handles them one by one.
    pub message_us: f64,
}

impl Default for BrokerPart {
    fn default() -> Self {
        Self {
            region: None,
            zone: None,
            inbox_kib: 16 << 10,
            anyone_kib: 4 << 10,
            combiner_kib: 64 << 10,
            prefetch: 4_096,
            anyone_prefetch: 16,
            loss: 0.0,
            duplication: 0.0,
            failure: 0.0,
            connect_ms: 2.0,
            message_us: 2.0,
        }
    }
}

/// What kind of platform it is.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum PlatformKind {
    /// Replicas run until they are killed, awake throughout; each client has one of its own.
    #[default]
    Standing,
    /// Functions: woken by invocations, frozen between them, reclaimed when idle. Requests go to any of the region.
    Functions,
}

/// The processor that is paid for.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
pub enum Processor {
    /// 64-bit ARM.
    #[default]
    #[serde(rename = "arm64")]
    Arm64,
    /// 64-bit x86.
    #[serde(rename = "x86-64")]
    X86,
}

/// The platform.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct Platform {
    /// Which kind.
    pub kind: PlatformKind,
    /// From its invocation until a new environment's replica is called, in milliseconds.
    pub cold_start_ms: f64,
    /// From its invocation until a frozen environment goes on, in milliseconds.
    pub thaw_ms: f64,
    /// For how long an invocation keeps a replica awake, in seconds.
    pub awake_s: f64,
    /// After how long of quiet it is frozen before that, in milliseconds; none: it stays awake.
    pub quiet_ms: Option<f64>,
    /// Whether one that is awake takes further requests (`dayfly up` and Spin), or only once it is frozen (Lambda).
    pub shares: bool,
    /// After how long of being frozen an environment is reclaimed, in seconds.
    pub idle_s: f64,
    /// How long a replica lives on average, in seconds: it is killed at a random time, after three times that at most.
    pub mean_life_s: Option<f64>,
    /// How long each lives, in seconds.
    pub life_s: Option<f64>,
    /// The keeper wakes each that has been frozen for so long, in seconds; none: nobody does.
    pub wake_every_s: Option<f64>,
    /// Whether the keeper starts new ones for those that are gone.
    pub replaces: bool,
    /// The most environments at once.
    pub environments: u32,
    /// By how many they may grow in ten seconds, beyond those that are kept.
    pub ramp: u32,
    /// The memory that is paid for, in MiB.
    pub memory_mib: u32,
    /// The processor that is paid for.
    pub processor: Processor,
}

impl Default for Platform {
    fn default() -> Self {
        Self {
            kind: PlatformKind::Standing,
            cold_start_ms: 60.0,
            thaw_ms: 2.0,
            awake_s: 30.0,
            quiet_ms: None,
            shares: false,
            idle_s: 420.0,
            mean_life_s: None,
            life_s: None,
            wake_every_s: None,
            replaces: true,
            environments: 1_000,
            ramp: 1_000,
            memory_mib: 128,
            processor: Processor::Arm64,
        }
    }
}

/// What of a region fails.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum OutageKind {
    /// Its links to the broker break, and none comes about. Its clients reach its replicas.
    Network,
    /// Its replicas are killed, and none is started.
    Power,
}

/// A region fails for a time.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Outage {
    /// Which.
    pub region: String,
    /// How.
    pub kind: OutageKind,
    /// From when on, in seconds after the warm-up.
    pub from_s: f64,
    /// Until when.
    pub to_s: f64,
}

/// What is measured beyond what costs nothing.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
pub struct Measure {
    /// Of which writes it is followed when each replica sees them: at most one in so many milliseconds; 0: of all.
    /// None: of none.
    pub follow_every_ms: Option<f64>,
    /// Whether the elements in frames are counted. Each frame is given to a fresh instance, which tells how many it
    /// had.
    pub elements: bool,
    /// How long an interval of the series is, in seconds.
    pub series_s: f64,
}

impl Default for Measure {
    fn default() -> Self {
        Self { follow_every_ms: Some(1_000.0), elements: true, series_s: 10.0 }
    }
}

/// A figure that others published.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Published {
    /// Of what, by its name in the report: `delivered_bytes`, ….
    pub figure: String,
    /// What it is of.
    pub of: String,
    /// Of how many replicas; none: of as many as ours.
    #[serde(default)]
    pub replicas: Option<u32>,
    /// Its value, in the unit of the report.
    pub value: f64,
    /// Who published it, where.
    pub source: String,
}

impl Published {
    /// What it is of, with the number of replicas if that is given.
    pub fn told(&self) -> String {
        self.replicas.map_or_else(|| self.of.clone(), |replicas| format!("{}, {replicas} replicas", self.of))
    }
}

fn one() -> u64 {
    1
}

fn zone_a() -> String {
    "a".to_owned()
}

impl Scenario {
    /// Reads and checks a file's text. An error tells what is wrong, and where.
    pub fn read(text: &str) -> Result<Self, Failure> {
        let scenario: Self = toml::from_str(text).map_err(|error| Failure::Usage(error.to_string()))?;
        scenario.checked()
    }

    /// The same, if all that it says is within its bounds; else an error that tells what is not.
    pub fn checked(self) -> Result<Self, Failure> {
        self.check().map_err(Failure::Usage)?;
        Ok(self)
    }

    /// How many replicas there are to be.
    pub fn replicas(&self) -> u32 {
        self.places.iter().map(|place| place.replicas).sum()
    }

    /// The same with so many replicas: places keep their shares, as far as numbers are whole. Each keeps one at least.
    pub fn with_replicas(mut self, replicas: u32) -> Self {
        let before = f64::from(self.replicas());
        let mut left = replicas;
        let places = self.places.len() as u32;
        for (index, place) in self.places.iter_mut().enumerate() {
            let others = places - 1 - index as u32;
            let share = (f64::from(place.replicas) / before * f64::from(replicas)).round() as u32;
            place.replicas = if others == 0 { left } else { share.clamp(1, left.saturating_sub(others).max(1)) };
            left = left.saturating_sub(place.replicas);
        }
        self
    }

    /// The same in one of its overlays, beside what was published of that.
    ///
    /// # Errors
    /// It has none of that name: tells which it has.
    pub fn in_overlay(mut self, name: &str) -> Result<Self, Failure> {
        let Some(overlay) = self.overlays.get(name) else {
            let names: Vec<&str> = self.overlays.keys().map(String::as_str).collect();
            let known = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
            return Err(Failure::Usage(format!("the scenario has no overlay {name:?}; it has {known}")));
        };
        self.title = overlay.title.clone();
        self.published_from = overlay.published_from.clone();
        self.overlay = Some(name.to_owned());
        Ok(self)
    }

    /// The overlay that it is run in.
    pub fn active_overlay(&self) -> Option<&Overlay> {
        self.overlays.get(self.overlay.as_deref()?)
    }

    /// How often an advertisement is to be shown in all.
    pub fn shown(&self, shown_per_replica: f64) -> u64 {
        (shown_per_replica * f64::from(self.replicas())).round() as u64
    }

    /// All figures to stand beside, those of tables first.
    ///
    /// # Errors
    /// No such table, or nothing in it of that name.
    pub fn all_published(&self) -> Result<Vec<Published>, String> {
        let mut all = Vec::new();
        for reference in &self.published_from {
            all.append(&mut published::named(reference)?);
        }
        all.extend_from_slice(&self.published);
        Ok(all)
    }

    /// How long the whole run is, in seconds.
    pub fn total_s(&self) -> f64 {
        self.warmup_s + self.seconds + self.settle_s
    }
}
