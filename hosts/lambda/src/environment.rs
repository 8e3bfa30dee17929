//! What the function's environment variables say. They are called as the settings of the program `dayfly` and have the
//! same bounds; an empty one counts as none, since templates leave optional ones empty.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use dayfly_engine::contract::Config;
use dayfly_engine::{AmqpConfig, Confirm, usual_config};

/// The shortest and longest time that a replica lingers after an answer: Lambda ends no invocation later.
const LINGER_SECONDS: (f64, f64) = (0.0, 900.0);
/// The bounds of `quiet:SECONDS`.
const QUIET_SECONDS: (f64, f64) = (0.05, 60.0);
/// How long it has to be quiet by default, before it is frozen. By then it has told its root (`effects.quiet` waits for
/// that); whoever lacks something asks after a way to the broker and back, which takes less on one continent.
const QUIET_USUAL: Duration = Duration::from_millis(250);
/// For how long a request waits at most until a new replica has the whole database. In one region a small database takes
/// milliseconds.
const FILL_SECONDS: u64 = 2;
/// How long making a connection may take: a client waits for it.
const CONNECT_MS: u64 = 5_000;
/// The least of what `DAYFLY_LOG` alone sets aside, and how many stores a log should hold (wit/lifecycle.wit).
const LOG_MIB_MIN: u64 = 512;
const LOG_STORES: u64 = 8;

/// The function's settings.
#[derive(Clone, Debug)]
pub struct Environment {
    /// Which broker, and the bounds of the cluster there.
    pub broker: AmqpConfig,
    /// The replica's configuration.
    pub config: Config,
    /// When a write is answered.
    pub confirm: Confirm,
    /// For how long a request waits until the replica has the whole database, before it is answered from a part.
    pub fill: Duration,
    /// For how long the replica is awake after an answer.
    pub linger: Linger,
    /// Where the compiled component is; none: beside the program.
    pub component_dir: Option<PathBuf>,
}

/// For how long the replica is awake after an answer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Linger {
    /// So long, if the invocation's deadline permits.
    For(Duration),
    /// Until it has had nothing left to do for so long, at most until the invocation's deadline.
    Quiet(Duration),
}

/// A variable that is missing or out of bounds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadVariable {
    /// Its name.
    pub name: &'static str,
    /// What it must be, and what it is.
    pub reason: String,
}

impl fmt::Display for BadVariable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name, self.reason)
    }
}

impl std::error::Error for BadVariable {}

impl Environment {
    /// Reads the variables that `get` knows.
    ///
    /// # Errors
    /// The first that is missing or out of bounds.
    pub fn read(get: impl Fn(&str) -> Option<String>) -> Result<Self, BadVariable> {
        let variables = Variables { get };
        let cluster = variables.name("DAYFLY_CLUSTER", 64)?.unwrap_or_else(|| "local".to_owned());
        let mut config = usual_config(&cluster);
        config.host = "lambda".to_owned();
        config.region = match variables.text("DAYFLY_REGION", 32)? {
            Some(region) => region,
            None => variables.text("AWS_REGION", 32)?.unwrap_or_default(),
        };
        config.zone = variables.text("DAYFLY_ZONE", 32)?.unwrap_or_default();
        let frame_kib = variables.number("DAYFLY_FRAME_KIB", 4, 1_024)?;
        let repair_kib = variables.number("DAYFLY_REPAIR_KIB", 4, 16_384)?;
        // Each is far within 32 bits.
        config.frame_bytes = frame_kib.map_or(config.frame_bytes, |kib| kib as u32 * 1024);
        config.repair_bytes = repair_kib.map_or(config.repair_bytes, |kib| kib as u32 * 1024);
        if config.repair_bytes < config.frame_bytes {
            let reason = "must be at least DAYFLY_FRAME_KIB: a repair brings whole frames".to_owned();
            return Err(BadVariable { name: "DAYFLY_REPAIR_KIB", reason });
        }
        let number = |name, min, max, usual: u32| {
            variables.number(name, min, max).map(|given| given.map_or(usual, |number| number as u32))
        };
        config.burst_ms = number("DAYFLY_BURST_MS", 0, 1_000, config.burst_ms)?;
        config.combine_above = number("DAYFLY_COMBINE_ABOVE", 0, 1_000_000, config.combine_above)?;
        config.combine_ms = number("DAYFLY_COMBINE_MS", 1, 60_000, config.combine_ms)?;
        let store_mib = variables.number("DAYFLY_STORE_MIB", 1, 1_024)?.unwrap_or(64);
        config.store_bytes = store_mib << 20;
        if let Some(seconds) = variables.number("DAYFLY_RETENTION", 1, 604_800)? {
            config.retention_ms = 1_000 * seconds;
        }
        let log = variables.switch("DAYFLY_LOG")?.unwrap_or(false);
        let log_mib = match variables.number("DAYFLY_LOG_MIB", 16, 1_048_576)? {
            Some(mib) => mib,
            None if log => (LOG_STORES * store_mib).max(LOG_MIB_MIN),
            None => 0,
        };
        config.log_bytes = log_mib << 20;
        let inbox_mib = variables.number("DAYFLY_INBOX_MIB", 1, 1_024)?.unwrap_or(16);
        let broker = AmqpConfig {
            inbox_bytes: inbox_mib << 20,
            log_bytes: config.log_bytes,
            ca_file: variables.get("DAYFLY_CA_FILE").map(PathBuf::from),
            connect_ms: CONNECT_MS,
            ..AmqpConfig::new(variables.broker("DAYFLY_BROKER")?, cluster)
        };
        let confirm = match variables.choice("DAYFLY_CONFIRM", &["broker", "local"])?.as_deref() {
            Some("local") => Confirm::Local,
            _ => Confirm::Broker,
        };
        let fill = Duration::from_secs(variables.number("DAYFLY_FILL_SECONDS", 0, 60)?.unwrap_or(FILL_SECONDS));
        let linger = variables.linger()?;
        let component_dir = variables.get("DAYFLY_COMPONENT_DIR").map(PathBuf::from);
        Ok(Self { broker, config, confirm, fill, linger, component_dir })
    }
}

/// How it is logged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logging {
    /// The least level: `off` to `trace`.
    pub level: String,
    /// A JSON object a line, in place of text.
    pub json: bool,
}

impl Default for Logging {
    fn default() -> Self {
        Self { level: "info".to_owned(), json: false }
    }
}

impl Logging {
    /// Reads the variables that `get` knows. Lambda's own choice of a format counts where there is no other.
    ///
    /// # Errors
    /// As [`Environment::read`].
    pub fn read(get: impl Fn(&str) -> Option<String>) -> Result<Self, BadVariable> {
        let variables = Variables { get };
        let levels = ["off", "error", "warn", "info", "debug", "trace"];
        let level = variables.choice("DAYFLY_LOG_LEVEL", &levels)?.unwrap_or_else(|| "info".to_owned());
        let json = match variables.choice("DAYFLY_LOG_FORMAT", &["text", "json"])? {
            Some(format) => format == "json",
            None => variables.get("AWS_LAMBDA_LOG_FORMAT").is_some_and(|format| format.eq_ignore_ascii_case("json")),
        };
        Ok(Self { level, json })
    }
}

/// Variables, each read within its bounds.
struct Variables<F> {
    get: F,
}

impl<F: Fn(&str) -> Option<String>> Variables<F> {
    fn get(&self, name: &str) -> Option<String> {
        (self.get)(name).filter(|value| !value.is_empty())
    }

    /// Reads one; `read` gives none for what is out of bounds.
    fn read<T>(
        &self,
        name: &'static str,
        bound: impl FnOnce() -> String,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Result<Option<T>, BadVariable> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let refuse = || BadVariable { name, reason: format!("{}, and is {}", bound(), excerpt(&value)) };
        read(&value).map(Some).ok_or_else(refuse)
    }

    fn number(&self, name: &'static str, min: u64, max: u64) -> Result<Option<u64>, BadVariable> {
        let bound = || format!("must be a number from {min} to {max}");
        self.read(name, bound, |text| text.parse().ok().filter(|number| (min..=max).contains(number)))
    }

    fn text(&self, name: &'static str, max: usize) -> Result<Option<String>, BadVariable> {
        let bound = || format!("must be at most {max} bytes");
        self.read(name, bound, |text| (text.len() <= max).then(|| text.to_owned()))
    }

    fn name(&self, name: &'static str, max: usize) -> Result<Option<String>, BadVariable> {
        let is_letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_.".contains(&byte);
        let bound = || format!("must be 1 to {max} characters of a-z, 0-9, '-', '_', '.'");
        self.read(name, bound, |text| (text.len() <= max && text.bytes().all(is_letter)).then(|| text.to_owned()))
    }

    fn choice(&self, name: &'static str, words: &[&str]) -> Result<Option<String>, BadVariable> {
        let bound = || format!("must be one of {}", words.join(", "));
        self.read(name, bound, |text| words.contains(&text).then(|| text.to_owned()))
    }

    fn switch(&self, name: &'static str) -> Result<Option<bool>, BadVariable> {
        self.read(
            name,
            || "must be true or false".to_owned(),
            |text| match text {
                "true" | "1" | "yes" | "on" => Some(true),
                "false" | "0" | "no" | "off" => Some(false),
                _ => None,
            },
        )
    }

    /// The broker's URL. What it is instead is not told: it may hold a password.
    fn broker(&self, name: &'static str) -> Result<String, BadVariable> {
        let must = "must be amqp://USER:PASSWORD@HOST:PORT/VHOST, or amqps:// for TLS";
        let Some(url) = self.get(name) else {
            return Err(BadVariable { name, reason: format!("is missing: it {must}") });
        };
        let rest = url.strip_prefix("amqp://").or_else(|| url.strip_prefix("amqps://"));
        match rest {
            Some(rest) if !rest.is_empty() => Ok(url),
            _ => Err(BadVariable { name, reason: must.to_owned() }),
        }
    }

    fn linger(&self) -> Result<Linger, BadVariable> {
        let name = if self.get("DAYFLY_LINGER").is_some() { "DAYFLY_LINGER" } else { "LINGER" };
        let bound = || {
            format!(
                "must be a number of seconds from {} to {}, or quiet, or quiet:SECONDS with {} to {}",
                LINGER_SECONDS.0, LINGER_SECONDS.1, QUIET_SECONDS.0, QUIET_SECONDS.1
            )
        };
        let given = self.read(name, bound, |text| match text.strip_prefix("quiet") {
            Some("") => Some(Linger::Quiet(QUIET_USUAL)),
            Some(rest) => seconds(rest.strip_prefix(':')?, QUIET_SECONDS).map(Linger::Quiet),
            None => seconds(text, LINGER_SECONDS).map(Linger::For),
        })?;
        Ok(given.unwrap_or(Linger::Quiet(QUIET_USUAL)))
    }
}

fn seconds(text: &str, (min, max): (f64, f64)) -> Option<Duration> {
    text.parse().ok().filter(|seconds| (min..=max).contains(seconds)).map(Duration::from_secs_f64)
}

/// As much of a value as a message bears.
fn excerpt(value: &str) -> String {
    const CHARS_MAX: usize = 80;
    let mut excerpt: String = value.chars().take(CHARS_MAX).collect();
    if value.chars().count() > CHARS_MAX {
        excerpt.push('…');
    }
    format!("{excerpt:?}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(given: &[(&str, &str)]) -> Result<Environment, BadVariable> {
        Environment::read(|name| given.iter().find(|(other, _)| *other == name).map(|(_, value)| (*value).to_owned()))
    }

    const BROKER: (&str, &str) = ("DAYFLY_BROKER", "amqp://u:secret@h");

    #[test]
    fn a_broker_is_all_that_is_needed() {
        let environment = read(&[BROKER, ("AWS_REGION", "eu-north-1"), ("DAYFLY_ZONE", "")]).expect("it is well");
        assert_eq!((environment.config.host.as_str(), environment.config.region.as_str()), ("lambda", "eu-north-1"));
        assert_eq!((environment.config.zone.as_str(), environment.config.name), ("", None));
        assert_eq!((environment.broker.cluster.as_str(), environment.broker.log_bytes), ("local", 0));
        assert_eq!(environment.linger, Linger::Quiet(QUIET_USUAL));
        assert_eq!(environment.confirm, Confirm::Broker);
    }

    #[test]
    fn variables_say_otherwise() {
        let environment = read(&[
            BROKER,
            ("DAYFLY_CLUSTER", "c-1"),
            ("DAYFLY_REGION", "mine"),
            ("AWS_REGION", "eu-north-1"),
            ("DAYFLY_STORE_MIB", "128"),
            ("DAYFLY_LOG", "true"),
            ("DAYFLY_RETENTION", "60"),
            ("DAYFLY_CONFIRM", "local"),
            ("LINGER", "30"),
        ]);
        let environment = environment.expect("it is well");
        assert_eq!((environment.config.region.as_str(), environment.config.retention_ms), ("mine", 60_000));
        assert_eq!((environment.broker.cluster.as_str(), environment.config.cluster.as_str()), ("c-1", "c-1"));
        assert_eq!((environment.config.log_bytes, environment.broker.log_bytes), (1 << 30, 1 << 30));
        assert_eq!(environment.confirm, Confirm::Local);
        assert_eq!(environment.linger, Linger::For(Duration::from_secs(30)));
        let linger = |value| read(&[BROKER, ("DAYFLY_LINGER", value), ("LINGER", "1")]).expect("it is well").linger;
        assert_eq!(linger("quiet:0.5"), Linger::Quiet(Duration::from_millis(500)));
        assert_eq!(linger("0"), Linger::For(Duration::ZERO));
    }

    #[test]
    fn what_is_out_of_bounds_is_named_with_its_bound() {
        let reason = |given: &[(&str, &str)]| read(given).expect_err("it is not").to_string();
        assert!(reason(&[]).starts_with("DAYFLY_BROKER is missing"));
        for (name, value, bound) in [
            ("DAYFLY_STORE_MIB", "4000", "a number from 1 to 1024"),
            ("DAYFLY_CLUSTER", "No", "1 to 64 characters"),
            ("DAYFLY_LOG", "maybe", "true or false"),
            ("DAYFLY_LINGER", "quiet:NaN", "quiet:SECONDS"),
            ("LINGER", "901", "0 to 900"),
            ("DAYFLY_CONFIRM", "never", "broker, local"),
            ("DAYFLY_REPAIR_KIB", "32", "at least DAYFLY_FRAME_KIB"),
        ] {
            let reason = reason(&[BROKER, (name, value)]);
            assert!(reason.starts_with(name) && reason.contains(bound), "{reason}");
        }
        let reason = reason(&[("DAYFLY_BROKER", "http://u:secret@h")]);
        assert!(reason.starts_with("DAYFLY_BROKER must be amqp://") && !reason.contains("secret"), "{reason}");
        assert!(Logging::read(|_| Some("loud".to_owned())).is_err());
    }
}
