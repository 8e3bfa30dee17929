//! The settings of the application, as Spin's variables give them (`spin.toml`).

use std::str::FromStr;

/// When a write is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Confirm {
    /// When both have it: the key-value store and the broker.
    Both,
    /// When the key-value store has it. It outlives all replicas of Spin, and comes to the others when one is awake.
    Store,
    /// When the broker has confirmed it. It is stored soon after.
    Broker,
    /// When this replica has applied it. Lost if the instance dies within milliseconds.
    Local,
}

impl Confirm {
    /// Whether the key-value store has to have it.
    pub fn by_store(self) -> bool {
        matches!(self, Self::Both | Self::Store)
    }

    /// Whether the broker has to have it.
    pub fn by_broker(self) -> bool {
        matches!(self, Self::Both | Self::Broker)
    }
}

/// All settings. Times are in milliseconds, sizes in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "those that are not explained are as in wit/lifecycle.wit")]
pub struct Settings {
    /// `amqp://USER:PASSWORD@HOST:PORT/VHOST`.
    pub broker: String,
    pub cluster: String,
    pub region: String,
    pub zone: String,
    pub component_hash: String,
    pub confirm: Confirm,
    pub retention_ms: u64,
    pub frame_bytes: u32,
    pub repair_bytes: u32,
    pub burst_ms: u32,
    pub store_bytes: u64,
    pub combine_above: u32,
    pub combine_ms: u32,
    pub log_bytes: u64,
    /// How much this replica's inbox holds on the broker.
    pub inbox_bytes: u64,
    /// How long a new instance waits to be filled by peers before its first answer.
    pub fill_ms: u64,
    /// After so long without a request an instance gives up its link to the broker, since Spin is about to drop it.
    pub idle_ms: u64,
}

/// Seven days: no replica may be away for longer.
const RETENTION_MAX_S: u64 = 604_800;

impl Settings {
    /// Reads them; `variable` gives the value of a variable, if it is set. An empty value is none.
    ///
    /// # Errors
    /// Names the variable and what it must be.
    pub fn read(variable: impl Fn(&str) -> Option<String>) -> Result<Self, String> {
        const KIB: u64 = 1 << 10;
        const MIB: u64 = 1 << 20;
        let variables = Variables(variable);
        let confirm = match variables.text("confirm").as_deref().unwrap_or("both") {
            "both" => Confirm::Both,
            "store" => Confirm::Store,
            "broker" => Confirm::Broker,
            "local" => Confirm::Local,
            _ => return Err("the variable confirm must be one of both, store, broker, local".to_owned()),
        };
        let missing = "the variable broker is missing: give it as amqp://USER:PASSWORD@HOST:PORT/VHOST";
        Ok(Self {
            broker: variables.text("broker").ok_or(missing)?,
            cluster: variables.text("cluster").unwrap_or_else(|| "local".to_owned()),
            region: variables.text("region").unwrap_or_default(),
            zone: variables.text("zone").unwrap_or_default(),
            component_hash: variables.text("component_hash").unwrap_or_default(),
            confirm,
            retention_ms: variables.number("retention", 1, RETENTION_MAX_S, 7_200)? * 1_000,
            frame_bytes: variables.small("frame_kib", 4, 1_024, 64, KIB)?,
            repair_bytes: variables.small("repair_kib", 4, 16_384, 256, KIB)?,
            burst_ms: variables.small("burst_ms", 0, 1_000, 5, 1)?,
            store_bytes: variables.number("store_mib", 1, 1_024, 64)? * MIB,
            combine_above: variables.small("combine_above", 0, 1_000_000, 32, 1)?,
            combine_ms: variables.small("combine_ms", 1, 60_000, 100, 1)?,
            log_bytes: variables.number("log_mib", 0, 1_048_576, 0)? * MIB,
            inbox_bytes: variables.number("inbox_mib", 1, 1_024, 16)? * MIB,
            fill_ms: variables.number("fill_ms", 0, 60_000, 1_000)?,
            idle_ms: variables.number("idle_ms", 50, 3_600_000, 800)?,
        })
    }
}

struct Variables<F>(F);

impl<F: Fn(&str) -> Option<String>> Variables<F> {
    fn text(&self, name: &str) -> Option<String> {
        (self.0)(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
    }

    fn number(&self, name: &str, min: u64, max: u64, usual: u64) -> Result<u64, String> {
        let Some(text) = self.text(name) else { return Ok(usual) };
        let number = u64::from_str(&text).ok().filter(|number| (min..=max).contains(number));
        number.ok_or_else(|| format!("the variable {name} must be a number from {min} to {max}"))
    }

    /// A number that fits 32 bits, in this unit.
    fn small(&self, name: &str, min: u64, max: u64, usual: u64, unit: u64) -> Result<u32, String> {
        let number = self.number(name, min, max, usual)? * unit;
        Ok(u32::try_from(number).expect("the bound is within it"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(given: &[(&str, &str)]) -> Result<Settings, String> {
        Settings::read(|name| given.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned()))
    }

    #[test]
    fn only_the_broker_has_to_be_given() {
        let settings = read(&[("broker", "amqp://h")]).expect("the usual settings");
        assert_eq!((settings.cluster.as_str(), settings.confirm), ("local", Confirm::Both));
        assert_eq!((settings.frame_bytes, settings.retention_ms, settings.log_bytes), (65_536, 7_200_000, 0));
        let given = [("broker", " amqp://h "), ("confirm", "store"), ("repair_kib", "16384"), ("zone", "")];
        let settings = read(&given).expect("settings");
        assert_eq!((settings.broker.as_str(), settings.repair_bytes), ("amqp://h", 16 << 20));
    }

    #[test]
    fn what_is_wrong_is_told_by_the_name_of_its_variable() {
        let cases = [
            (&[][..], "broker is missing"),
            (&[("broker", "")], "broker is missing"),
            (&[("broker", "amqp://h"), ("confirm", "never")], "confirm must be one of"),
            (&[("broker", "amqp://h"), ("frame_kib", "3")], "frame_kib must be a number from 4 to 1024"),
            (&[("broker", "amqp://h"), ("retention", "-1")], "retention must be a number from 1"),
            (&[("broker", "amqp://h"), ("log_mib", "many")], "log_mib must be a number"),
        ];
        for (given, part) in cases {
            let error = read(given).expect_err(part);
            assert!(error.contains(part), "{error}");
        }
    }
}
