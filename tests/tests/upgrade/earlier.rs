//! The earlier components that the tests are told of.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use anyhow::{Context, Result, anyhow, ensure};
use dayfly_engine::{Limits, Runtime};
use serde::Deserialize;

use crate::cluster::Side;

/// Names their files, separated as in `PATH`; each stands in a folder named after its commit.
const VARIABLE: &str = "DAYFLY_TEST_EARLIER";

/// An earlier component, beside the present one.
pub struct Earlier {
    /// The full name of its commit.
    pub commit: String,
    file: PathBuf,
    runtime: OnceLock<Result<Runtime, String>>,
}

/// What `tests/upgrade.toml` says of a commit.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pin {
    commit: String,
    /// The first byte of its frames.
    pub wire: u8,
    why: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Pins {
    earlier: Vec<Pin>,
}

impl Earlier {
    /// All that the tests are told of.
    ///
    /// # Errors
    /// None, with what to run.
    pub fn told() -> Result<Vec<Self>> {
        let told = env::var_os(VARIABLE).with_context(|| {
            format!("{VARIABLE} names no earlier component: run `cargo xtask upgrade`, which builds some, or `cargo xtask test`")
        })?;
        let told: Vec<Self> = env::split_paths(&told).map(Self::at).collect::<Result<_>>()?;
        ensure!(!told.is_empty(), "{VARIABLE} is empty: run `cargo xtask upgrade`");
        Ok(told)
    }

    fn at(file: PathBuf) -> Result<Self> {
        let commit = file.parent().and_then(Path::file_name).and_then(|name| name.to_str());
        let commit = commit.with_context(|| format!("{} stands in no folder named after a commit", file.display()))?;
        ensure!(file.is_file(), "there is no {}: run `cargo xtask upgrade`", file.display());
        Ok(Self { commit: commit.to_owned(), runtime: OnceLock::new(), file })
    }

    /// What tests are called after.
    pub fn short_name(&self) -> &str {
        self.commit.get(..7).unwrap_or(&self.commit)
    }

    /// What is known of it, if it is one of those that are tested always.
    pub fn pin(&self) -> Result<Option<Pin>> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("upgrade.toml");
        let pins: Pins = toml::from_str(&fs::read_to_string(path)?)?;
        for pin in &pins.earlier {
            ensure!(!pin.why.trim().is_empty(), "upgrade.toml does not say why {} is pinned", pin.commit);
        }
        Ok(pins.earlier.into_iter().find(|pin| pin.commit == self.commit))
    }

    /// The compiled component of a side.
    pub fn runtime(&self, side: Side) -> Result<Runtime> {
        if side == Side::Present {
            return dayfly_tests::component::runtime();
        }
        let compile = || {
            let bytes = fs::read(&self.file).map_err(|error| format!("{}: {error}", self.file.display()))?;
            let runtime = Runtime::new(&bytes, Limits { instances: 200, call_ms: 30_000, ..Limits::default() });
            runtime.map_err(|error| format!("the present engine cannot host the component of {}: {error}", self.commit))
        };
        self.runtime.get_or_init(compile).clone().map_err(|error| anyhow!(error))
    }
}
