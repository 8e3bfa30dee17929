//! The zip for AWS Lambda: the program `bootstrap`, and the component as machine code.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::command;
use crate::component::Component;
use crate::program::{self, Program};
use crate::pypi::Programs;
use crate::toolchain::{has_target, remap_paths};
use crate::workspace::Workspace;
use crate::zip::{self, Entry};

/// Tells tests the folder of the unpacked zip.
const FOLDER_VARIABLE: &str = "DAYFLY_TEST_LAMBDA";
/// Tells the tests under a simulator which program to run, in place of the one that stands beside them.
const BOOTSTRAP_VARIABLE: &str = "DAYFLY_BOOTSTRAP";
/// Tells tests the file of the program cargo-lambda, whose `lambda watch` plays Lambda.
const EMULATOR_VARIABLE: &str = "DAYFLY_TEST_CARGO_LAMBDA";

/// It brings zig, which links for an older glibc than the one of this machine.
const TOOLS: [&str; 2] = ["cargo-lambda==1.9.2", "ziglang==0.17.1"];

/// The glibc of provided.al2023, Lambda's newest bare system.
const GLIBC: (u32, u32) = (2, 34);

/// Lambda permits 50 MB for a zip that is uploaded as it is; this is what Dayfly permits itself.
const ZIP_BYTES_MAX: usize = 15_000_000;

/// What the zip holds: the names that `bootstrap` looks for beside itself (see `dayfly precompile`).
const FILES: [&str; 3] = ["bootstrap", "replica.cwasm", "replica.sha256"];

/// How long `rustup target add` may take.
const TARGET_ADD_LIMIT: Duration = Duration::from_secs(180);

/// Unpacks an archive, with the permissions that it holds.
const UNPACK: &str = "
import os, sys, zipfile
with zipfile.ZipFile(sys.argv[1]) as archive:
    for entry in archive.infolist():
        os.chmod(archive.extract(entry, sys.argv[2]), entry.external_attr >> 16)
";

/// Processors that Lambda has.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Architecture {
    /// Lambda's usual one.
    X86_64,
    /// AWS's own, a fifth cheaper.
    Arm64,
}

impl Architecture {
    /// As AWS calls it.
    fn name(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64",
            Self::Arm64 => "arm64",
        }
    }

    /// As Rust calls it.
    fn target(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64-unknown-linux-gnu",
            Self::Arm64 => "aarch64-unknown-linux-gnu",
        }
    }
}

/// What makes the zip.
pub struct Packager<'a> {
    workspace: &'a Workspace,
    tools: Programs,
}

/// The zip that was made.
pub struct Package {
    /// Its file. Absolute.
    pub zip: PathBuf,
}

impl<'a> Packager<'a> {
    /// Finds the tools, or installs them.
    ///
    /// # Errors
    /// Says what to install.
    pub fn find_or_install(workspace: &'a Workspace) -> Result<Self> {
        Ok(Self { workspace, tools: Programs::find_or_install(workspace, "cargo-lambda", &TOOLS)? })
    }

    /// Builds the program that compiles the component for this architecture.
    ///
    /// # Errors
    /// It does not build.
    pub fn build_compiler(&self, component: &Component, architecture: Architecture) -> Result<Program> {
        let mut build = program::cargo_on_hosts(self.workspace, component, "build");
        build.args(["--release", "--bins"]);
        if architecture == Architecture::Arm64 {
            build.args(["--features", "dayfly/compiler-arm64"]);
        }
        command::run(&mut build)?;
        Ok(Program::built(self.workspace))
    }

    /// Makes the zip, and tells its size.
    ///
    /// # Errors
    /// A part cannot be built, needs a newer system than Lambda's, or the zip is too large.
    pub fn package(&self, program: &Program, architecture: Architecture) -> Result<Package> {
        let folder = self.workspace.target.join("lambda").join(architecture.name());
        fs::create_dir_all(&folder)?;
        self.build_bootstrap(architecture, &folder)?;
        let mut precompile = program.command();
        precompile.args(["precompile", "--target", architecture.name()]).arg(&folder);
        // Our own output may be read by a program.
        command::run(precompile.stdout(std::io::stderr()))?;

        let mut parts = Vec::new();
        for name in FILES {
            let path = folder.join(name);
            parts.push((name, fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?));
        }
        let (_, bootstrap) = &parts[0];
        check_glibc(bootstrap)?;
        let entries: Vec<Entry<'_>> =
            parts.iter().map(|(name, bytes)| Entry { name, bytes, is_executable: *name == FILES[0] }).collect();
        let archive = zip::archive(&entries)?;

        let zip = folder.with_file_name(format!("dayfly-lambda-{}.zip", architecture.name()));
        fs::write(&zip, &archive).with_context(|| format!("cannot write {}", zip.display()))?;
        for (name, bytes) in &parts {
            eprintln!("xtask: {:>8} kB  {name}", bytes.len().div_ceil(1000));
        }
        eprintln!("xtask: {:>8} kB  {}", archive.len().div_ceil(1000), self.workspace.shown(&zip));
        ensure!(archive.len() <= ZIP_BYTES_MAX, "the zip is larger than {} MB", ZIP_BYTES_MAX / 1_000_000);
        Ok(Package { zip })
    }

    /// Tells a command's tests where a package and cargo-lambda are. What they run is unpacked from the zip, as Lambda
    /// does it, by another program than the one that packed it.
    ///
    /// # Errors
    /// It cannot be unpacked.
    pub fn announce_to(&self, package: &Package, command: &mut Command) -> Result<()> {
        let folder = package.zip.with_extension("unpacked");
        if folder.exists() {
            fs::remove_dir_all(&folder).with_context(|| format!("cannot clear {}", self.workspace.shown(&folder)))?;
        }
        command::run(self.tools.command("python")?.args(["-c", UNPACK]).arg(&package.zip).arg(&folder))?;
        command
            .env(BOOTSTRAP_VARIABLE, folder.join(FILES[0]))
            .env(EMULATOR_VARIABLE, self.tools.path("cargo-lambda"))
            .env(FOLDER_VARIABLE, folder);
        Ok(())
    }

    /// Builds `bootstrap` into this folder. In a target folder of its own: other features and another linker than the
    /// hosts that compile.
    fn build_bootstrap(&self, architecture: Architecture, folder: &Path) -> Result<()> {
        self.add_target(architecture)?;
        let target = self.workspace.target.join("lambda").join("cargo");
        let mut build = self.tools.command("cargo-lambda")?;
        build.current_dir(&self.workspace.root).args(["lambda", "build", "--profile", "lambda"]);
        build
            .args(["--package", "dayfly-lambda", "--bin", FILES[0], "--flatten", FILES[0], "--lambda-dir"])
            .arg(folder);
        build.arg("--target").arg(format!("{}.{}.{}", architecture.target(), GLIBC.0, GLIBC.1));
        // The standard library comes compiled.
        remap_paths(&mut build, self.workspace, &[])?;
        build
            .env("CARGO_TARGET_DIR", &target)
            // Would be put into the user's home.
            .env("CARGO_ZIGBUILD_CACHE_DIR", target.join("zigbuild"))
            .env("ZIG_GLOBAL_CACHE_DIR", target.join("zig"))
            .env("ZIG_LOCAL_CACHE_DIR", target.join("zig"));
        command::run(&mut build)
    }

    /// Has rustup add the standard library of an architecture that is not this machine's.
    fn add_target(&self, architecture: Architecture) -> Result<()> {
        let target = architecture.target();
        if has_target(self.workspace, target) {
            return Ok(());
        }
        let missing = format!("the Rust in use cannot build for {target}: run `rustup target add {target}`");
        let mut add = Command::new("rustup");
        add.current_dir(&self.workspace.root).args(["target", "add", target]);
        command::run_within(&mut add, TARGET_ADD_LIMIT).with_context(|| missing.clone())?;
        ensure!(has_target(self.workspace, target), missing);
        Ok(())
    }
}

/// Refuses a program that needs a newer glibc than [`GLIBC`]. It would start here, and not on Lambda.
fn check_glibc(program: &[u8]) -> Result<()> {
    match newest_glibc(program) {
        None => bail!("bootstrap names no version of glibc: it is no program for Lambda's system"),
        Some(newest) if newest > GLIBC => {
            bail!("bootstrap needs glibc {}.{}, and Lambda has {}.{}", newest.0, newest.1, GLIBC.0, GLIBC.1)
        }
        Some(_) => Ok(()),
    }
}

/// The newest version of glibc that a program names. The table of strings holds each version that a symbol needs as
/// `GLIBC_2.34`, ended by a zero; whatever else looks like that is counted as well, which can only refuse too much.
fn newest_glibc(program: &[u8]) -> Option<(u32, u32)> {
    const PREFIX: &[u8] = b"GLIBC_";
    let starts = (0..program.len()).filter(|at| program[*at..].starts_with(PREFIX));
    let version = |at: usize| {
        let rest = &program[at + PREFIX.len()..];
        let text = std::str::from_utf8(&rest[..rest.iter().position(|byte| *byte == 0)?]).ok()?;
        let mut numbers = text.split('.').map(str::parse);
        Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
    };
    starts.filter_map(version).max()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_glibc_that_a_program_names_is_found() {
        let program = b"\x7fELF\0GLIBC_2.2.5\0GLIBC_2.34\0GLIBC_2.9\0GLIBC_PRIVATE\0GLIBC_9.9";
        assert_eq!(newest_glibc(program), Some((2, 34)));
        assert!(check_glibc(program).is_ok());
        assert!(check_glibc(b"GLIBC_2.35\0").is_err());
        assert!(check_glibc(b"a static program").is_err());
    }
}
