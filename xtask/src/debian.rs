//! Debian's newer Rust, for machines where rustup may not load the WebAssembly target: packages that stand beside
//! rustup's Rust, in `/usr/bin`. They bring the standard library as source; the linker is the one that every rustup
//! toolchain has.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::command;
use crate::workspace::Workspace;

/// How long each `apt-get` may take; the packages are some 130 MB.
const APT_LIMIT: Duration = Duration::from_secs(600);

/// Debian's toolchain, ready to use.
pub struct Debian {
    /// `rust-lld` of the Rust in use.
    linker: PathBuf,
    /// The folder with the source of the standard library, by each path that the compiler may know it by.
    pub sources: Vec<PathBuf>,
}

impl Debian {
    /// Installs the packages. `--no-remove`: another Rust from Debian's packages would have to go for them; that is for
    /// people to decide.
    pub const INSTALL: &str = "apt-get install -y --no-install-recommends --no-remove rustc-web cargo-web rust-web-src";

    const CARGO: &str = "/usr/bin/cargo";
    const RUSTC: &str = "/usr/bin/rustc";

    /// Finds the packages, or installs them if the user is root. `sysroot` is the folder of the Rust in use.
    ///
    /// # Errors
    /// Why they cannot be had or used.
    pub fn find_or_install(sysroot: &Path) -> Result<Self> {
        let reason = match Self::find(sysroot) {
            Ok(found) => return Ok(found),
            Err(reason) => reason,
        };
        let reason = format!("{reason:#}");
        install("Debian's Rust", Self::INSTALL).context(reason)?;
        Self::find(sysroot).context("Debian's Rust cannot be used, even after it was installed")
    }

    /// Finds the packages.
    ///
    /// # Errors
    /// What is missing.
    pub fn find(sysroot: &Path) -> Result<Self> {
        for program in [Self::CARGO, Self::RUSTC] {
            if !Path::new(program).exists() {
                bail!("there is no {program}");
            }
        }
        let verbose = command::capture(&mut Self::isolated(Self::RUSTC, &["-vV"]))?;
        let field = |name: &str| {
            let value = verbose.lines().find_map(|line| line.strip_prefix(name));
            value.with_context(|| format!("{} -vV tells no {name}", Self::RUSTC))
        };
        let (release, needed) = (field("release: ")?, env!("CARGO_PKG_RUST_VERSION"));
        if version(release) < version(needed) {
            bail!("{} is {release}, and Dayfly needs {needed}", Self::RUSTC);
        }
        let folder = command::capture(&mut Self::isolated(Self::RUSTC, &["--print", "sysroot"]))?;
        let source = Path::new(folder.trim_end()).join("lib/rustlib/src/rust");
        if !source.join("library/std/Cargo.toml").exists() {
            bail!("there is no source of the standard library beside {}", Self::RUSTC);
        }
        let linker = sysroot.join("lib/rustlib").join(field("host: ")?).join("bin/rust-lld");
        if !linker.exists() {
            bail!("the Rust in use has no rust-lld, which links for Debian's");
        }
        Ok(Self { linker, sources: vec![source.canonicalize()?, source] })
    }

    /// Debian's cargo, told to build the standard library too. It builds in a folder of its own, so that the two
    /// toolchains do not undo each other's work.
    pub fn cargo_build(&self, workspace: &Workspace) -> Command {
        let mut command = Self::isolated(Self::CARGO, &["build", "-Zbuild-std=std,panic_abort"]);
        command
            .current_dir(&workspace.root)
            .env("CARGO_TARGET_DIR", Self::target(workspace))
            .env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", &self.linker)
            // Debian's release compiler may then use the two unstable features that build-std needs.
            .env("RUSTC_BOOTSTRAP", "1")
            .env("RUSTC", Self::RUSTC);
        command
    }

    /// The folder that it builds in.
    pub fn target(workspace: &Workspace) -> PathBuf {
        workspace.target.join("component-debian")
    }

    /// A program of Debian's toolchain, without what rustup's cargo left in the environment for its own.
    fn isolated(program: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.args(arguments);
        for variable in ["CARGO", "LD_LIBRARY_PATH", "RUSTDOC", "RUSTUP_HOME", "RUSTUP_TOOLCHAIN"] {
            command.env_remove(variable);
        }
        command
    }
}

/// Installs packages by this `apt-get` line.
///
/// # Errors
/// There is no apt-get, the user is not root, or it failed.
pub fn install(what: &str, line: &str) -> Result<()> {
    if !Path::new("/usr/bin/apt-get").exists() {
        bail!("there is no apt-get to install {what}");
    }
    if command::capture(Command::new("id").arg("-u"))?.trim_end() != "0" {
        bail!("only root may install {what}");
    }
    eprintln!("xtask: installing {what}");
    for line in ["apt-get update", line] {
        let mut words = line.split(' ');
        let mut apt = Command::new(words.next().context("a command has a name")?);
        apt.args(words).env("DEBIAN_FRONTEND", "noninteractive");
        command::run_within(&mut apt, APT_LIMIT)?;
    }
    Ok(())
}

/// Major and minor number of a version.
fn version(text: &str) -> (u32, u32) {
    let mut numbers = text.split('.').map(|number| number.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::version;

    #[test]
    fn versions_compare_by_number() {
        assert!(version("1.96.0") > version("1.95"));
        assert!(version("1.95.1") >= version("1.95"));
        assert!(version("1.100.0") > version("1.95"));
        assert!(version("1.85.0") < version("1.95"));
    }
}
