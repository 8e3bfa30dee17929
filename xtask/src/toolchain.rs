//! How to compile for `wasm32-unknown-unknown`. This target, and not one of WASI's, because a component made of it
//! imports exactly what its WIT says.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::ValueEnum;

use crate::command;
use crate::debian::Debian;
use crate::workspace::{Workspace, cargo_home};

/// The target that the component is compiled for.
pub const TARGET: &str = "wasm32-unknown-unknown";

/// The environment variable that forces a [`Kind`].
pub const VARIABLE: &str = "DAYFLY_WASM_TOOLCHAIN";

/// How long `rustup target add` may take. It loads some 20 MB, and may hang where it is cut off from the network.
const TARGET_ADD_LIMIT: Duration = Duration::from_secs(180);

/// The same where Debian's packages are installed already: nothing is lost if it gives up.
const TARGET_ADD_LIMIT_BESIDE_DEBIAN: Duration = Duration::from_secs(20);

/// Which toolchain.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// The Rust in use, with the target as rustup brings it.
    Rustup,
    /// Debian's packages rustc-web, cargo-web and rust-web-src.
    Debian,
}

/// A toolchain that can compile for [`TARGET`].
pub enum Toolchain {
    /// The Rust in use has the target's standard library.
    Rustup {
        /// The toolchain's folder.
        sysroot: PathBuf,
    },
    /// Debian's compiler, which has no such library but its source.
    Debian(Debian),
}

impl Toolchain {
    /// Finds a toolchain, or installs one where that is permitted.
    ///
    /// # Errors
    /// Says what to install.
    pub fn find(workspace: &Workspace, forced: Option<Kind>) -> Result<Self> {
        let sysroot = sysroot(workspace)?;
        if forced != Some(Kind::Debian) {
            if has_target(workspace, TARGET) {
                return Ok(Self::Rustup { sysroot });
            }
            eprintln!("xtask: adding the target {TARGET} to the Rust in use");
            let mut add = Command::new("rustup");
            add.current_dir(&workspace.root).args(["target", "add", TARGET]).env("RUST_BACKTRACE", "0");
            let is_beside_debian = forced.is_none() && Debian::find(&sysroot).is_ok();
            let limit = if is_beside_debian { TARGET_ADD_LIMIT_BESIDE_DEBIAN } else { TARGET_ADD_LIMIT };
            match command::run_within(&mut add, limit) {
                Ok(()) if has_target(workspace, TARGET) => return Ok(Self::Rustup { sysroot }),
                Ok(()) => eprintln!("xtask: rustup added the target to another toolchain than the one in use"),
                Err(error) => eprintln!("xtask: {error:#}"),
            }
        }
        if forced != Some(Kind::Rustup) {
            match Debian::find_or_install(&sysroot) {
                Ok(debian) => return Ok(Self::Debian(debian)),
                Err(error) => eprintln!("xtask: {error:#}"),
            }
        }
        let by_rustup = format!("run `rustup target add {TARGET}`");
        let by_debian = format!("on Debian, as root, run `apt-get update && {}`", Debian::INSTALL);
        match forced {
            Some(Kind::Rustup) => bail!("nothing here compiles for {TARGET}: {by_rustup}"),
            Some(Kind::Debian) => bail!("nothing here compiles for {TARGET}: {by_debian}"),
            None => bail!("nothing here compiles for {TARGET}: {by_rustup}, or {by_debian}"),
        }
    }

    /// Cargo of this toolchain, told to build for [`TARGET`], without paths of this machine in what it makes.
    pub fn cargo_build(&self, workspace: &Workspace) -> Result<Command> {
        let mut command = match self {
            Self::Rustup { .. } => {
                let mut command = workspace.cargo();
                command.arg("build");
                command
            }
            Self::Debian(debian) => debian.cargo_build(workspace),
        };
        let source = match self {
            Self::Rustup { sysroot } => vec![sysroot.join("lib/rustlib/src/rust")],
            Self::Debian(debian) => debian.sources.clone(),
        };
        remap_paths(&mut command, workspace, &source)?;
        command.args(["--target", TARGET]);
        Ok(command)
    }

    /// Where [`Self::cargo_build`] leaves what it makes of a profile.
    pub fn output(&self, workspace: &Workspace, profile: &str) -> PathBuf {
        let target = match self {
            Self::Rustup { .. } => workspace.target.clone(),
            Self::Debian(_) => Debian::target(workspace),
        };
        target.join(TARGET).join(profile)
    }

    /// For people.
    pub fn shown(&self) -> &'static str {
        match self {
            Self::Rustup { .. } => "the Rust in use",
            Self::Debian(_) => "Debian's Rust, standard library from source",
        }
    }
}

/// Has the compiler name no folder of this machine in what it makes, as it would in messages of panics. `source` is
/// where the standard library's source may be, as far as it was compiled here.
pub fn remap_paths(cargo: &mut Command, workspace: &Workspace, source: &[PathBuf]) -> Result<()> {
    let mut folders = vec![(workspace.root.clone(), "dayfly")];
    // One folder a registry. Its name tells which mirror was used, so it is left out too. They are there already:
    // xtask has dependencies itself.
    let registries = cargo_home()?.join("registry").join("src");
    for registry in registries.read_dir().into_iter().flatten() {
        folders.push((registry?.path(), "crates"));
    }
    folders.extend(source.iter().map(|source| (source.clone(), "rust")));
    let mut flags = Vec::new();
    for (from, to) in folders {
        let from = from.to_str().with_context(|| format!("{} is not UTF-8", from.display()))?;
        flags.push(format!("--remap-path-prefix={from}={to}"));
    }
    // Set even where the user has other flags: what is made must not depend on them.
    cargo.env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}"));
    Ok(())
}

/// The folder of the Rust in use.
fn sysroot(workspace: &Workspace) -> Result<PathBuf> {
    let printed = command::capture(rustc_in_use(workspace).args(["--print", "sysroot"]))?;
    Ok(Path::new(printed.trim_end()).to_owned())
}

/// Whether the Rust in use has a target's standard library. (`rustc` knows the target in any case.)
pub fn has_target(workspace: &Workspace, target: &str) -> bool {
    command::capture(rustc_in_use(workspace).args(["--target", target, "--print", "target-libdir"])).is_ok_and(
        |folder| {
            let files = Path::new(folder.trim_end()).read_dir().into_iter().flatten().flatten();
            files.into_iter().any(|file| file.file_name().to_string_lossy().starts_with("libstd-"))
        },
    )
}

/// The compiler of the cargo that runs xtask.
fn rustc_in_use(workspace: &Workspace) -> Command {
    let mut command = Command::new(env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
    command.current_dir(&workspace.root);
    command
}
