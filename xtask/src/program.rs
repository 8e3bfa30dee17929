//! The program `dayfly`, which carries the component inside, and cargo for all that contains wasmtime.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Error, Result};

use crate::command;
use crate::component::{self, Component};
use crate::workspace::Workspace;

/// The built program.
pub struct Program {
    /// Its file. Absolute.
    path: PathBuf,
}

impl Program {
    /// Builds the program.
    pub fn build(workspace: &Workspace, component: &Component) -> Result<Self> {
        command::run(cargo_on_hosts(workspace, component, "build").args(["--release", "--bin", "dayfly"]))?;
        let program = Self::built(workspace);
        eprintln!("xtask: {} is ready", workspace.shown(&program.path));
        Ok(program)
    }

    /// The program that was built already.
    pub fn built(workspace: &Workspace) -> Self {
        Self { path: workspace.target.join("release").join("dayfly") }
    }

    /// The program, ready for arguments.
    pub fn command(&self) -> Command {
        Command::new(&self.path)
    }

    /// Becomes the program: the same process, so that Ctrl-C reaches it and its exit code is ours. Returns only an error.
    pub fn become_it(self, arguments: &[OsString]) -> Error {
        let error = self.command().args(arguments).exec();
        Err::<(), _>(error).with_context(|| format!("cannot run {}", self.path.display())).unwrap_err()
    }
}

/// A cargo that works on all packages that contain wasmtime, in the release profile or one like it.
///
/// Always on all of them, even where one would do: cargo gives dependencies the features that all selected packages ask
/// for together, and builds wasmtime, which takes minutes, once more for each selection that differs in them.
pub fn cargo_on_hosts(workspace: &Workspace, component: &Component, subcommand: &str) -> Command {
    let mut cargo = workspace.cargo();
    cargo.arg(subcommand).env(component::VARIABLE, &component.path);
    for package in ["dayfly-engine", "dayfly", "dayfly-lambda", "dayfly-spin-platform", "dayfly-tests"] {
        cargo.args(["--package", package]);
    }
    cargo
}
