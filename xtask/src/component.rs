//! The replica component: compiled to a core module, then made into a component, as other guests are.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use wit_component::ComponentEncoder;

use crate::command;
use crate::toolchain::Toolchain;
use crate::workspace::{Workspace, cargo_home};

/// The cargo profile that guests are compiled with.
pub const PROFILE: &str = "component";

/// The environment variable that tells cargo's build of the program, tests and benches where the component is.
pub const VARIABLE: &str = "DAYFLY_COMPONENT";

/// The built component.
pub struct Component {
    /// Its file. Absolute.
    pub path: PathBuf,
    /// What stands in the file.
    pub bytes: Vec<u8>,
}

impl Component {
    /// Builds the component, and writes its file if that changes it: what embeds it is then not built again in vain.
    pub fn build(workspace: &Workspace, toolchain: &Toolchain) -> Result<Self> {
        let bytes = build(workspace, toolchain, "dayfly-replica", &[])?;
        let path = workspace.target.join("component").join("dayfly-replica.wasm");
        let is_new = write_if_new(&path, &bytes)?;
        eprintln!(
            "xtask: {} {}, {} kB, by {}",
            workspace.shown(&path),
            if is_new { "is new" } else { "is unchanged" },
            bytes.len().div_ceil(1000),
            toolchain.shown(),
        );
        Ok(Self { path, bytes })
    }
}

/// Compiles a package to a core module, and makes that a component.
pub fn build(workspace: &Workspace, toolchain: &Toolchain, package: &str, features: &[&str]) -> Result<Vec<u8>> {
    let mut build = toolchain.cargo_build(workspace)?;
    command::run(build.args(["--package", package, "--profile", PROFILE]).args(features))?;
    let module = toolchain.output(workspace, PROFILE).join(package.replace('-', "_")).with_extension("wasm");
    let module = fs::read(&module).with_context(|| format!("cannot read {}", module.display()))?;
    // Validated: that what comes out is no component must be found here, not by a host.
    ComponentEncoder::default().validate(true).module(&module)?.encode()
}

/// Writes a file unless it holds this already, and says whether it was written.
pub fn write_if_new(path: &Path, bytes: &[u8]) -> Result<bool> {
    if fs::read(path).is_ok_and(|old| old == bytes) {
        return Ok(false);
    }
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    // Renamed into place, so that nobody ever reads half of it.
    let written = path.with_added_extension("new");
    let outcome = fs::write(&written, bytes).and_then(|()| fs::rename(&written, path));
    outcome.with_context(|| format!("cannot write {}", path.display()))?;
    Ok(true)
}

/// The beginnings of paths that tell the machine, none of which may stand in what is built. Each names a folder well below the root, since `/src` alone would be
/// found in any component that was built there, as a part of other paths.
pub fn machine_paths(workspace: &Workspace, toolchain: &Toolchain) -> Result<Vec<String>> {
    let sources = ["component", "hosts"].map(|folder| workspace.root.join(folder));
    let mut folders = sources.to_vec();
    folders.extend([workspace.target.clone(), cargo_home()?.join("registry")]);
    if let Toolchain::Rustup { sysroot } = toolchain {
        folders.push(sysroot.join("lib"));
    }
    Ok(folders.into_iter().map(|folder| format!("{}/", folder.display())).collect())
}
