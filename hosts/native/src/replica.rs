//! What the settings say of every replica, in a cluster of one process and in one of many.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use dayfly_engine::contract::Config;
use dayfly_engine::{
    AmqpBroker, AmqpConfig, Broker, BrokerError, Bus, BusConfig, Confirm, Limits, ReplicaOptions, StartError,
    usual_config,
};

use crate::client::Failure;
use crate::settings::Values;
use crate::settings::table::{
    AWAKE_SECONDS, BROKER, BURST_MS, CA_FILE, CLUSTER, COMBINE_ABOVE, COMBINE_MS, CONFIRM, FRAME_KIB, INBOX_MIB, LOG,
    LOG_MIB, REPAIR_KIB, RETENTION, STORE_MIB,
};

/// The least of what `--log` alone sets aside.
const LOG_MIB_MIN: u64 = 512;
/// How many stores a log should hold (wit/lifecycle.wit).
const LOG_STORES: u64 = 8;
/// A standing replica's lease is no shorter.
const LEASE_SECONDS_MIN: f64 = 1.0;

/// The component's configuration, but for what tells replicas apart.
pub fn config(values: &Values) -> Result<Config, Failure> {
    let mut config = usual_config(values.text(&CLUSTER));
    // The table bounds each of them far within 32 bits.
    config.frame_bytes = values.number(&FRAME_KIB) as u32 * 1024;
    config.repair_bytes = values.number(&REPAIR_KIB) as u32 * 1024;
    if config.repair_bytes < config.frame_bytes {
        return Err(values.refuse(&REPAIR_KIB, "must be at least frame-kib: a repair brings whole frames"));
    }
    config.burst_ms = values.number(&BURST_MS) as u32;
    config.combine_above = values.number(&COMBINE_ABOVE) as u32;
    config.combine_ms = values.number(&COMBINE_MS) as u32;
    config.store_bytes = values.number(&STORE_MIB) << 20;
    config.log_bytes = log_mib(values) << 20;
    if let Some(retention) = values.number_given(&RETENTION) {
        config.retention_ms = 1_000 * retention;
    }
    Ok(config)
}

/// How large the log is, in MiB; 0: there is none.
fn log_mib(values: &Values) -> u64 {
    match values.number_given(&LOG_MIB) {
        Some(mib) => mib,
        None if values.switch(&LOG) => (LOG_STORES * values.number(&STORE_MIB)).max(LOG_MIB_MIN),
        None => 0,
    }
}

/// What so many instances may use.
pub fn limits(config: &Config, instances: u32) -> Limits {
    // What wit/lifecycle.wit asks for: three times the store.
    Limits { instances, memory_bytes: 3 * config.store_bytes, ..Limits::default() }
}

/// How a standing replica is run, without a name and without stored state.
pub fn options(values: &Values, config: Config) -> ReplicaOptions {
    let mut options = ReplicaOptions::standing(config);
    options.confirm = confirm(values);
    options
}

/// When a write is answered.
pub fn confirm(values: &Values) -> Confirm {
    if values.text(&CONFIRM) == "local" { Confirm::Local } else { Confirm::Broker }
}

/// For how long a standing replica says that it is awake, if the settings say so.
pub fn lease(values: &Values) -> Result<Option<Duration>, Failure> {
    match values.seconds_given(&AWAKE_SECONDS) {
        Some(seconds) if seconds < LEASE_SECONDS_MIN => {
            Err(values.refuse(&AWAKE_SECONDS, "must be at least 1 for replicas that are always awake"))
        }
        seconds => Ok(seconds.map(Duration::from_secs_f64)),
    }
}

/// Which broker, and its bounds.
pub enum Brokerage {
    /// One within this process.
    Bus(BusConfig),
    /// RabbitMQ.
    Amqp(AmqpConfig),
}

impl Brokerage {
    /// What the settings say; none is the one within this process.
    pub fn of(values: &Values) -> Self {
        let inbox_bytes = values.number(&INBOX_MIB) << 20;
        match amqp(values) {
            Some(config) => Self::Amqp(AmqpConfig { inbox_bytes, log_bytes: log_mib(values) << 20, ..config }),
            None => {
                let (inbox_bytes, log_bytes) = (inbox_bytes as usize, (log_mib(values) << 20) as usize);
                Self::Bus(BusConfig { inbox_bytes, log_bytes, ..BusConfig::default() })
            }
        }
    }

    /// Makes it usable. Nothing is connected before a replica is.
    pub fn connect(self) -> Result<Arc<dyn Broker>, BrokerError> {
        match self {
            Self::Bus(config) => Ok(Arc::new(Bus::new(config))),
            Self::Amqp(config) => Ok(Arc::new(AmqpBroker::new(config)?)),
        }
    }

    /// Whether nobody outside this process can be there.
    pub fn is_private(&self) -> bool {
        matches!(self, Self::Bus(_))
    }
}

/// How RabbitMQ is reached, if the settings name one; its bounds are the usual ones.
pub fn amqp(values: &Values) -> Option<AmqpConfig> {
    let url = values.text_given(&BROKER)?;
    let ca_file = values.text_given(&CA_FILE).map(PathBuf::from);
    Some(AmqpConfig { ca_file, ..AmqpConfig::new(url, values.text(&CLUSTER)) })
}

/// As [`amqp`], for commands that are of no use without.
pub fn amqp_needed(values: &Values) -> Result<AmqpConfig, Failure> {
    let missing = "no broker: give --broker amqp://USER:PASSWORD@HOST, or DAYFLY_BROKER, or `broker` in dayfly.toml";
    amqp(values).ok_or_else(|| Failure::Usage(missing.to_owned()))
}

/// Why a replica could not be started, with the exit code of the reason.
pub fn start_failure(error: StartError) -> anyhow::Error {
    match error {
        StartError::Broker(error) => Failure::of_broker(&error).into(),
        StartError::Config(reason) => Failure::Usage(reason).into(),
        StartError::Instance(lost) => anyhow::anyhow!("the replica could not be started: {lost}"),
    }
}
