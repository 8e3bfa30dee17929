//! All settings, each once.

use super::kind::Kind;

pub use super::ephemeral::{EPHEMERAL, IDLE, MAX_REPLICAS, MEAN_LIFE, RENEW, SEED, WAKE_WITHIN};

/// A command that settings are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum User {
    /// `dayfly up`.
    Up,
    /// `dayfly node`.
    Node,
    /// `dayfly doctor`.
    Doctor,
    /// `dayfly purge`.
    Purge,
}

impl User {
    /// What the command is called.
    pub fn name(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Node => "node",
            Self::Doctor => "doctor",
            Self::Purge => "purge",
        }
    }
}

/// What holds when nobody says anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Default {
    /// This value, written as a flag's.
    Is(&'static str),
    /// What this text tells: nothing, or something that depends on other settings.
    Told(&'static str),
}

/// A setting.
#[derive(Debug, PartialEq)]
pub struct Setting {
    /// Its name as a flag (after `--`) and in the file; in capitals, after `DAYFLY_`, that of its variable.
    pub key: &'static str,
    /// Another name of the flag, which came before.
    pub alias: Option<&'static str>,
    /// What stands for the value in the help.
    pub value_name: &'static str,
    /// What its value may be.
    pub kind: Kind,
    /// What it is by default.
    pub default: Default,
    /// What it does: units, bounds, how to choose it.
    pub help: &'static str,
    /// Under which title the help shows it.
    pub heading: &'static str,
    /// Whose it is.
    pub users: &'static [User],
    /// The switch without which it means nothing.
    pub needs: Option<&'static Setting>,
}

impl Setting {
    /// The name of its environment variable.
    pub fn variable(&self) -> String {
        format!("DAYFLY_{}", self.key.to_ascii_uppercase().replace('-', "_"))
    }
}

/// The setting of this key.
pub fn find(key: &str) -> Option<&'static Setting> {
    ALL.iter().copied().find(|setting| setting.key == key)
}

/// What most settings have in common.
pub(super) const fn setting(
    key: &'static str,
    value_name: &'static str,
    kind: Kind,
    default: Default,
    users: &'static [User],
    heading: &'static str,
    help: &'static str,
) -> Setting {
    Setting { key, alias: None, value_name, kind, default, help, heading, users, needs: None }
}

const ALL_COMMANDS: &[User] = &[User::Up, User::Node, User::Doctor, User::Purge];
const REPLICAS: &[User] = &[User::Up, User::Node];
pub(super) const UP: &[User] = &[User::Up];
const NODE: &[User] = &[User::Node];

const CLUSTER_HEADING: &str = "Cluster and broker";
const SERVER_HEADING: &str = "HTTP server";
const BUDGET_HEADING: &str = "Budgets";
const STATE_HEADING: &str = "What outlives replicas";
const LOG_HEADING: &str = "Logs";

/// The broker's URL.
pub static BROKER: Setting = setting(
    "broker",
    "URL",
    Kind::BrokerUrl,
    Default::Told("none; `up` then has a broker of its own, in its process"),
    ALL_COMMANDS,
    CLUSTER_HEADING,
    "RabbitMQ: amqp://USER:PASSWORD@HOST:PORT/VHOST, or amqps:// for TLS. A flag shows in the list of processes: a \
     password is better given by the variable or the file",
);

/// A file of certificates.
pub static CA_FILE: Setting = setting(
    "ca-file",
    "FILE",
    Kind::Path,
    Default::Told("the usual certificate authorities"),
    ALL_COMMANDS,
    CLUSTER_HEADING,
    "Certificates (PEM) of the authorities that are trusted for amqps://",
);

/// The cluster's name.
pub static CLUSTER: Setting = setting(
    "cluster",
    "NAME",
    Kind::Name(64),
    Default::Is("local"),
    ALL_COMMANDS,
    CLUSTER_HEADING,
    "The cluster's name. Clusters of different names share nothing, even on one broker",
);

/// The replica's name.
pub static NAME: Setting = setting(
    "name",
    "NAME",
    Kind::Name(64),
    Default::Told("a new one, made by the replica"),
    NODE,
    CLUSTER_HEADING,
    "The replica's name, which is its inbox's. It must be unique in the cluster: of two replicas of one name the later \
     takes the inbox and the earlier ends",
);

/// The region.
pub static REGION: Setting = setting(
    "region",
    "NAME",
    Kind::Text(32),
    Default::Is(""),
    NODE,
    CLUSTER_HEADING,
    "Where the replica is; shown by `dayfly members`",
);

/// The zone.
pub static ZONE: Setting = setting(
    "zone",
    "NAME",
    Kind::Text(32),
    Default::Is(""),
    NODE,
    CLUSTER_HEADING,
    "The zone within the region; shown by `dayfly members`",
);

/// How many replicas.
pub static REPLICAS_NUMBER: Setting = setting(
    "replicas",
    "N",
    Kind::Number(1, 10_000),
    Default::Is("3"),
    UP,
    CLUSTER_HEADING,
    "How many replicas there are to be, in all regions together: 1 to 10,000",
);

/// The regions.
pub static REGIONS: Setting = setting(
    "regions",
    "NAME,…",
    Kind::Names(32),
    Default::Is("local"),
    UP,
    CLUSTER_HEADING,
    "The regions over which the replicas are spread",
);

/// Where to listen.
pub static LISTEN: Setting = setting(
    "listen",
    "ADDRESS:PORT",
    Kind::Address,
    Default::Is("127.0.0.1:8080"),
    REPLICAS,
    SERVER_HEADING,
    "Where to serve HTTP. Port 0 takes a free one. Whoever can connect can read and write everything, so the default \
     is only for this machine",
);

/// How many connections.
pub static CONNECTIONS: Setting = setting(
    "connections",
    "N",
    Kind::Number(1, 65_536),
    Default::Is("1024"),
    REPLICAS,
    SERVER_HEADING,
    "How many connections may be open: 1 to 65,536. More wait until one closes",
);

/// How many requests wait.
pub static QUEUE: Setting = setting(
    "queue",
    "N",
    Kind::Number(0, 65_536),
    Default::Is("1024"),
    REPLICAS,
    SERVER_HEADING,
    "How many requests may wait for a replica: 0 to 65,536. More get 503 no_replica at once. (`node` answers many at a \
     time: there it is how many may be under way)",
);

/// When a write is answered.
pub static CONFIRM: Setting = setting(
    "confirm",
    "WHEN",
    Kind::Choice(&["broker", "local"]),
    Default::Is("broker"),
    REPLICAS,
    CLUSTER_HEADING,
    "When a write is answered: `broker`, once the broker has confirmed it and it outlives its replica; `local`, once \
     it is applied",
);

/// How long replicas are awake.
pub static AWAKE_SECONDS: Setting = Setting {
    alias: Some("awake"),
    ..setting(
        "awake-seconds",
        "SECONDS",
        Kind::Seconds(0.1, 3_600.0),
        Default::Told("60; with more than 100 replicas longer; with --ephemeral 3"),
        REPLICAS,
        BUDGET_HEADING,
        "For how long a replica says that it is awake. With --ephemeral it is frozen then, unless a request came, or \
         earlier, when it has nothing left to do. Otherwise it says so anew at half that time (at least 1): a longer \
         one costs fewer announcements, and a replica that was killed is taken for awake as long",
    )
};

/// The size of frames.
pub static FRAME_KIB: Setting = setting(
    "frame-kib",
    "KIB",
    Kind::Number(4, 1_024),
    Default::Is("64"),
    REPLICAS,
    BUDGET_HEADING,
    "Up to which size a frame is filled, in KiB: 4 to 1,024. What is cut off in mid-repair is at most one frame",
);

/// How much a repair brings.
pub static REPAIR_KIB: Setting = setting(
    "repair-kib",
    "KIB",
    Kind::Number(4, 16_384),
    Default::Is("256"),
    REPLICAS,
    BUDGET_HEADING,
    "How much one repair request may bring, in KiB: a frame to 16,384. More saves round trips; less is lost when a \
     replica is frozen in the midst of it",
);

/// How long writes are gathered.
pub static BURST_MS: Setting = setting(
    "burst-ms",
    "MS",
    Kind::Number(0, 1_000),
    Default::Is("5"),
    REPLICAS,
    BUDGET_HEADING,
    "Writes within so many milliseconds share a frame: 0 to 1,000. Longer saves messages and delays confirmations",
);

/// From how many replicas on frames are combined.
pub static COMBINE_ABOVE: Setting = setting(
    "combine-above",
    "N",
    Kind::Number(0, 1_000_000),
    Default::Is("32"),
    REPLICAS,
    BUDGET_HEADING,
    "With more replicas awake than this, writes go to one of them, who joins them and tells everyone: 2N messages a \
     round instead of N². 0: always",
);

/// How long the combiner gathers.
pub static COMBINE_MS: Setting = setting(
    "combine-ms",
    "MS",
    Kind::Number(1, 60_000),
    Default::Is("100"),
    REPLICAS,
    BUDGET_HEADING,
    "How long that one gathers, in milliseconds: 1 to 60,000. Longer saves messages and delays the others' sight of \
     writes, not their confirmation",
);

/// The size of a store.
pub static STORE_MIB: Setting = setting(
    "store-mib",
    "MIB",
    Kind::Number(1, 1_024),
    Default::Is("64"),
    REPLICAS,
    BUDGET_HEADING,
    "At which size of a replica's store writes are refused with 507, in MiB: 1 to 1,024. A replica may use three times \
     as much memory",
);

/// The size of an inbox.
pub static INBOX_MIB: Setting = setting(
    "inbox-mib",
    "MIB",
    Kind::Number(1, 1_024),
    Default::Is("16"),
    REPLICAS,
    BUDGET_HEADING,
    "How much a replica's inbox holds on the broker, in MiB: 1 to 1,024. At it the oldest messages are dropped, and \
     repair heals that. The same in the whole cluster",
);

/// How long the absent are remembered.
pub static RETENTION: Setting = setting(
    "retention",
    "SECONDS",
    Kind::Number(1, 604_800),
    Default::Told("7200; with --ephemeral 60"),
    REPLICAS,
    STATE_HEADING,
    "How long a replica that is not awake is remembered and its inbox kept, in seconds: 1 to 604,800. One that is \
     frozen for longer starts anew. The same in the whole cluster",
);

/// Whether there is a log.
pub static LOG: Setting = setting(
    "log",
    "true|false",
    Kind::Switch,
    Default::Is("false"),
    REPLICAS,
    STATE_HEADING,
    "Let the broker keep a log of all writes, from which the database comes back when every replica is dead. The same \
     in the whole cluster",
);

/// How large the log is.
pub static LOG_MIB: Setting = setting(
    "log-mib",
    "MIB",
    Kind::Number(16, 1_048_576),
    Default::Told("with --log eight times --store-mib, at least 512"),
    REPLICAS,
    STATE_HEADING,
    "How much the log holds, in MiB: 16 to 1,048,576; implies --log. It should be at least eight times --store-mib: a \
     snapshot is written whenever a quarter of it is new",
);

/// Where checkpoints are.
pub static DATA: Setting = setting(
    "data",
    "FOLDER",
    Kind::Path,
    Default::Told("none: state is in the replicas alone, and in the log if there is one"),
    REPLICAS,
    STATE_HEADING,
    "Where state is stored and loaded from at the start. For `node` the folder is the replica's own; `up` keeps a \
     subfolder for each replica, and what a former run or a dead replica left is taken over by one that starts",
);

/// How often state is stored.
pub static SAVE_SECONDS: Setting = setting(
    "save-seconds",
    "SECONDS",
    Kind::Seconds(0.0, 86_400.0),
    Default::Is("10"),
    REPLICAS,
    STATE_HEADING,
    "How often --data is brought up to date while a replica is awake, in seconds. 0: only when it is frozen or leaves",
);

/// What of a stop remains.
pub static KEEP: Setting = setting(
    "keep",
    "true|false",
    Kind::Switch,
    Default::Is("false"),
    NODE,
    STATE_HEADING,
    "At the end, do not say farewell but freeze: within the retention the replica can come back under its --name and \
     finds what came into its inbox. Its state has to be in --data, or it is filled by its peers",
);

/// How much is logged.
pub static LOG_LEVEL: Setting = setting(
    "log-level",
    "LEVEL",
    Kind::Choice(&["off", "error", "warn", "info", "debug", "trace"]),
    Default::Told("info; for `up` warn"),
    REPLICAS,
    LOG_HEADING,
    "How much is logged to stderr: off, error, warn, info (the lives of replicas, requests that failed), debug (each \
     request), trace",
);

/// How it is logged.
pub static LOG_FORMAT: Setting = setting(
    "log-format",
    "FORMAT",
    Kind::Choice(&["text", "json"]),
    Default::Is("text"),
    REPLICAS,
    LOG_HEADING,
    "How it is logged: text, or a JSON object a line",
);

/// Every setting, in the order in which help and `dayfly config` show them.
pub static ALL: &[&Setting] = &[
    &BROKER,
    &CA_FILE,
    &CLUSTER,
    &NAME,
    &REGION,
    &ZONE,
    &REPLICAS_NUMBER,
    &REGIONS,
    &CONFIRM,
    &LISTEN,
    &CONNECTIONS,
    &QUEUE,
    &AWAKE_SECONDS,
    &FRAME_KIB,
    &REPAIR_KIB,
    &BURST_MS,
    &COMBINE_ABOVE,
    &COMBINE_MS,
    &STORE_MIB,
    &INBOX_MIB,
    &RETENTION,
    &LOG,
    &LOG_MIB,
    &DATA,
    &SAVE_SECONDS,
    &KEEP,
    &LOG_LEVEL,
    &LOG_FORMAT,
    &EPHEMERAL,
    &IDLE,
    &MEAN_LIFE,
    &RENEW,
    &WAKE_WITHIN,
    &MAX_REPLICAS,
    &SEED,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_within_bounds_and_keys_are_unique() {
        for (index, setting) in ALL.iter().enumerate() {
            if let Default::Is(text) = setting.default {
                assert!(setting.kind.read(text).is_ok(), "{}", setting.key);
            }
            assert!(ALL[..index].iter().all(|other| other.key != setting.key), "{}", setting.key);
        }
        assert_eq!(CA_FILE.variable(), "DAYFLY_CA_FILE");
    }
}
