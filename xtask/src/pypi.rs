//! Programs from PyPI, each set in a folder of its own under `target`: nothing of the machine's Python is changed.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::command;
use crate::debian;
use crate::workspace::Workspace;

/// How to get what makes such folders on Debian.
const INSTALL: &str = "apt-get install -y --no-install-recommends --no-remove python3-venv";

/// How long the download of one set may take; the largest is some 110 MB.
const DOWNLOAD_LIMIT: Duration = Duration::from_secs(480);

/// A set of programs, and the Python that they are written in or came with.
pub struct Programs {
    folder: PathBuf,
}

impl Programs {
    /// Finds the set of this name, or installs it: exactly these versions, as `NAME==VERSION`.
    ///
    /// # Errors
    /// Says what to install, or what pip said.
    pub fn find_or_install(workspace: &Workspace, name: &str, packages: &[&str]) -> Result<Self> {
        let folder = workspace.target.join("tools").join(name);
        // Written last, so that what was interrupted is begun anew, as is what has other versions.
        let (installed, list) = (folder.join("installed"), packages.join("\n"));
        let programs = Self { folder };
        if fs::read_to_string(&installed).is_ok_and(|installed| installed == list) {
            return Ok(programs);
        }
        eprintln!("xtask: installing {} from PyPI", packages.join(", "));
        programs.make_folder()?;
        let mut pip = programs.command("python")?;
        pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--only-binary", ":all:"]);
        command::run_within(pip.args(packages), DOWNLOAD_LIMIT)
            .with_context(|| format!("{} cannot be had from PyPI", packages.join(", ")))?;
        fs::write(installed, list)?;
        Ok(programs)
    }

    /// A program of the set. It finds the others of the set first.
    ///
    /// # Errors
    /// The search path of this process cannot be added to.
    pub fn command(&self, program: &str) -> Result<Command> {
        let mut command = Command::new(self.path(program));
        command.env("PATH", self.search_path()?);
        Ok(command)
    }

    /// The file of a program of the set. Absolute.
    pub fn path(&self, program: &str) -> PathBuf {
        self.folder.join("bin").join(program)
    }

    fn search_path(&self) -> Result<OsString> {
        let path = env::var_os("PATH").unwrap_or_default();
        Ok(env::join_paths(std::iter::once(self.folder.join("bin")).chain(env::split_paths(&path)))?)
    }

    /// A Python with pip, and nothing else.
    fn make_folder(&self) -> Result<()> {
        let make = || command::run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&self.folder));
        // Debian's Python comes without pip, and says so by failing.
        let Err(reason) = make() else { return Ok(()) };
        let told = format!("there is no Python 3 with venv; on Debian, as root, run `apt-get update && {INSTALL}`");
        debian::install("Python's venv", INSTALL).context(format!("{reason:#}")).context(told.clone())?;
        make().context(told)
    }
}
