//! Who a replica is and what its bounds are. Field by field the `config` of `wit/lifecycle.wit`.

use std::fmt;

/// A replica's configuration. [`Config::check`] refuses what is out of bounds; nothing else does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The cluster's name, 1 to 64 characters of `a-z`, `0-9`, `-`, `_`, `.`.
    pub cluster: String,
    /// The replica's name, of the same form; `None`: one is made from chance.
    pub name: Option<String>,
    /// Kind of host, at most 32 bytes.
    pub host: String,
    /// Region, at most 32 bytes.
    pub region: String,
    /// Zone, at most 32 bytes.
    pub zone: String,
    /// Hash of the component's bytes, at most 64 bytes; shown in the status.
    pub component_hash: String,
    /// Up to which size a frame is filled: 4 KiB to 1 MiB. An entry is never cut in two, so a frame with one large entry
    /// may be [`FRAME_SLACK_BYTES`] longer.
    pub frame_bytes: u32,
    /// How long a member that is not awake is kept: 1 s to 7 days. The same in the whole cluster.
    pub retention_ms: u64,
    /// By how much clocks may disagree: up to 1 min.
    pub skew_ms: u64,
    /// Writes within this time share a frame: up to 1 s. Longer saves frames and delays confirmations.
    pub burst_ms: u32,
    /// How much one repair request may bring: one frame to 16 MiB. More saves round trips; what an awake period cannot
    /// take in is asked for again.
    pub repair_bytes: u32,
    /// How long a newcomer waits to be handed the database; 0: it is the founder. Longer than a round trip through the
    /// broker, or a newcomer serves an empty database until the next repair.
    pub bootstrap_ms: u32,
    /// At which size of the store writes are refused: 1 MiB to 2 GiB.
    pub store_bytes: u64,
    /// How many replicas may be awake before frames for everyone go through the combiner; 0: always.
    pub combine_above: u32,
    /// How long the combiner gathers before it sends: 1 ms to 1 min.
    pub combine_ms: u32,
    /// How much the broker keeps of the log: 16 MiB to 1 TiB; 0: there is no log.
    pub log_bytes: u64,
}

/// By how much a frame may exceed [`Config::frame_bytes`], so that the largest permitted entry (a 64 KiB payload, a
/// 1 KiB key, a 2 KiB path) fits a frame of 64 KiB.
pub const FRAME_SLACK_BYTES: u32 = 8 * 1024;

/// Why a configuration was refused; nothing was started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// The field, as `wit/lifecycle.wit` spells it.
    pub field: &'static str,
    /// What it has to be.
    pub bound: &'static str,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} must be {}", self.field, self.bound)
    }
}

impl std::error::Error for ConfigError {}

/// Whether a text can be the name of a cluster or of a replica.
pub fn is_name(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_.".contains(&b))
}

impl Config {
    /// Refuses what is out of bounds, naming the field.
    pub fn check(&self) -> Result<(), ConfigError> {
        let name_form = "1 to 64 characters of a-z, 0-9, '-', '_', '.'";
        let checks = [
            ("cluster", name_form, is_name(&self.cluster)),
            ("name", name_form, self.name.as_deref().is_none_or(is_name)),
            ("host", "at most 32 bytes", self.host.len() <= 32),
            ("region", "at most 32 bytes", self.region.len() <= 32),
            ("zone", "at most 32 bytes", self.zone.len() <= 32),
            ("component-hash", "at most 64 bytes", self.component_hash.len() <= 64),
            ("frame-bytes", "4096 to 1048576", (4096..=1 << 20).contains(&self.frame_bytes)),
            ("retention-ms", "1000 to 604800000", (1000..=604_800_000).contains(&self.retention_ms)),
            ("skew-ms", "0 to 60000", self.skew_ms <= 60_000),
            ("burst-ms", "0 to 1000", self.burst_ms <= 1000),
            ("repair-bytes", "frame-bytes to 16777216", (self.frame_bytes..=16 << 20).contains(&self.repair_bytes)),
            ("bootstrap-ms", "0 to 3600000", self.bootstrap_ms <= 3_600_000),
            ("store-bytes", "1048576 to 2147483648", (1 << 20..=2 << 30).contains(&self.store_bytes)),
            ("combine-ms", "1 to 60000", (1..=60_000).contains(&self.combine_ms)),
            (
                "log-bytes",
                "0, or 16777216 to 1099511627776",
                self.log_bytes == 0 || (16 << 20..=1 << 40).contains(&self.log_bytes),
            ),
        ];
        match checks.into_iter().find(|(_, _, holds)| !holds) {
            Some((field, bound, _)) => Err(ConfigError { field, bound }),
            None => Ok(()),
        }
    }

    /// The usual values of `wit/lifecycle.wit` for a cluster of this name.
    pub fn usual(cluster: &str) -> Self {
        Self {
            cluster: cluster.to_owned(),
            name: None,
            host: "native".to_owned(),
            region: String::new(),
            zone: String::new(),
            component_hash: String::new(),
            frame_bytes: 64 * 1024,
            retention_ms: 2 * 3600 * 1000,
            skew_ms: 2000,
            burst_ms: 5,
            repair_bytes: 256 * 1024,
            bootstrap_ms: 1000,
            store_bytes: 64 << 20,
            combine_above: 32,
            combine_ms: 100,
            log_bytes: 0,
        }
    }
}
