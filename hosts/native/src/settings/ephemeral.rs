//! The settings of ephemeral replicas, which `up` plays the platform for. They stand in the [`super::table`] too.

use super::kind::Kind;
use super::table::{Default, Setting, UP, setting};

/// Under which title the help shows them.
const EPHEMERAL_HEADING: &str = "Ephemeral replicas";

/// Whether replicas come and go.
pub static EPHEMERAL: Setting = setting(
    "ephemeral",
    "true|false",
    Kind::Switch,
    Default::Is("false"),
    UP,
    EPHEMERAL_HEADING,
    "Play the serverless platform: replicas are frozen between requests, reclaimed when idle, killed at random; a \
     keeper starts their successors and wakes the frozen, so that each region keeps its number",
);

/// A setting of ephemeral replicas.
const fn ephemeral(
    key: &'static str,
    value_name: &'static str,
    kind: Kind,
    default: Default,
    help: &'static str,
) -> Setting {
    Setting { needs: Some(&EPHEMERAL), ..setting(key, value_name, kind, default, UP, EPHEMERAL_HEADING, help) }
}

/// When the idle are reclaimed.
pub static IDLE: Setting = ephemeral(
    "idle",
    "SECONDS",
    Kind::Seconds(0.1, 86_400.0),
    Default::Is("8"),
    "After how many seconds without being woken a replica is reclaimed",
);

/// When replicas are killed.
pub static MEAN_LIFE: Setting = ephemeral(
    "mean-life",
    "SECONDS",
    Kind::Seconds(0.0, 86_400.0),
    Default::Is("20"),
    "After how many seconds on average a replica is killed, wherever it is; three times that at most. 0: none is",
);

/// When replicas are no longer woken.
pub static RENEW: Setting = ephemeral(
    "renew",
    "SECONDS",
    Kind::Seconds(1.0, 86_400.0),
    Default::Is("15"),
    "From which age in seconds on the keeper no longer wakes a replica, so that it is reclaimed once nobody else does",
);

/// How often the frozen are woken.
pub static WAKE_WITHIN: Setting = ephemeral(
    "wake-within",
    "SECONDS",
    Kind::Seconds(0.1, 86_400.0),
    Default::Told("half of --idle"),
    "In about how many seconds the keeper wakes each frozen replica again",
);

/// How many replicas at most.
pub static MAX_REPLICAS: Setting = ephemeral(
    "max-replicas",
    "N",
    Kind::Number(1, 20_000),
    Default::Told("twice --replicas"),
    "How many replicas there may be while all are busy",
);

/// What chance begins with.
pub static SEED: Setting = ephemeral(
    "seed",
    "NUMBER",
    Kind::Number(0, u64::MAX),
    Default::Told("a new one, which is shown"),
    "From which seed the moments of random deaths are drawn",
);
