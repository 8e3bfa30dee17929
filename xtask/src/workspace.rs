//! Where things stand.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

/// How the variables begin that cargo sets for what it runs.
const OF_A_PACKAGE: [&str; 4] = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_CRATE_", "CARGO_BIN_"];

/// The folders of this checkout.
pub struct Workspace {
    /// The folder of the workspace's `Cargo.toml`. Absolute.
    pub root: PathBuf,
    /// Where cargo builds: `target`, or `CARGO_TARGET_DIR` if that is set. Absolute.
    pub target: PathBuf,
}

impl Workspace {
    /// Finds the checkout that xtask was started from.
    pub fn find() -> Result<Self> {
        // Cargo sets the variable for what it runs; it is right even when the folder was moved after the build.
        let manifest = env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
        let root = Path::new(&manifest).parent().context("xtask stands in no workspace")?.to_owned();
        let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), |folder| root.join(folder));
        Ok(Self { root, target })
    }

    /// The cargo that runs xtask, ready for more arguments.
    pub fn cargo(&self) -> Command {
        let mut command = Command::new(cargo_in_use());
        // What cargo tells of xtask itself: build scripts that look at such variables, like that of `ring`, would be run
        // again, with all that is built on them, whenever cargo is run by hand in between.
        for (name, _) in env::vars_os() {
            if name.to_str().is_some_and(|name| OF_A_PACKAGE.iter().any(|begin| name.starts_with(begin))) {
                command.env_remove(name);
            }
        }
        command.current_dir(&self.root).env("CARGO_TARGET_DIR", &self.target);
        command
    }

    /// A path as people read it: within the checkout, if it is in it.
    pub fn shown<'a>(&self, path: &'a Path) -> std::path::Display<'a> {
        path.strip_prefix(&self.root).unwrap_or(path).display()
    }
}

/// Where cargo keeps the sources of dependencies and much else.
pub fn cargo_home() -> Result<PathBuf> {
    match env::var_os("CARGO_HOME") {
        Some(folder) => Ok(folder.into()),
        None => Ok(env::home_dir().context("neither CARGO_HOME nor a home folder is known")?.join(".cargo")),
    }
}

/// The cargo that runs xtask.
fn cargo_in_use() -> OsString {
    env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}
