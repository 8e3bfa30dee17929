//! The replica component: compiled to a core module, then made into a component.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use wit_component::ComponentEncoder;

use crate::command;
use crate::toolchain::Toolchain;
use crate::workspace::{Workspace, cargo_home};

/// The cargo profile that the component is compiled with.
const PROFILE: &str = "component";

/// The environment variable that tells cargo's build of the program, tests and benches where the component is.
pub const VARIABLE: &str = "DAYFLY_COMPONENT";

/// The built component.
pub struct Component {
    /// Its file. Absolute.
    pub path: PathBuf,
    /// What stands in the file.
    pub bytes: Vec<u8>,
    /// Beginnings of paths of this machine, none of which may stand in the bytes.
    pub machine_paths: Vec<String>,
}

impl Component {
    /// Builds the component, and writes its file if that changes it: what embeds it is then not built again in vain.
    pub fn build(workspace: &Workspace, toolchain: &Toolchain) -> Result<Self> {
        let mut build = toolchain.cargo_build(workspace)?;
        command::run(build.args(["--package", "dayfly-replica", "--profile", PROFILE]))?;
        let module = toolchain.output(workspace, PROFILE).join("dayfly_replica.wasm");
        let module = fs::read(&module).with_context(|| format!("cannot read {}", module.display()))?;
        // Validated: that what comes out is no component must be found here, not by a host.
        let bytes = ComponentEncoder::default().validate(true).module(&module)?.encode()?;

        let folder = workspace.target.join("component");
        let path = folder.join("dayfly-replica.wasm");
        let is_new = fs::read(&path).ok().as_ref() != Some(&bytes);
        if is_new {
            fs::create_dir_all(&folder)?;
            // Renamed into place, so that nobody ever reads half of it.
            let written = folder.join("dayfly-replica.wasm.new");
            fs::write(&written, &bytes).and_then(|()| fs::rename(&written, &path))?;
        }
        eprintln!(
            "xtask: {} {}, {} kB, by {}",
            workspace.shown(&path),
            if is_new { "is new" } else { "is unchanged" },
            bytes.len().div_ceil(1000),
            toolchain.shown(),
        );
        Ok(Self { path, bytes, machine_paths: machine_paths(workspace, toolchain)? })
    }
}

/// The beginnings of paths that tell the machine. Each names a folder well below the root, since `/src` alone would be
/// found in any component that was built there, as a part of other paths.
fn machine_paths(workspace: &Workspace, toolchain: &Toolchain) -> Result<Vec<String>> {
    let mut folders = vec![workspace.root.join("component"), workspace.target.clone(), cargo_home()?.join("registry")];
    if let Toolchain::Rustup { sysroot } = toolchain {
        folders.push(sysroot.join("lib"));
    }
    Ok(folders.into_iter().map(|folder| format!("{}/", folder.display())).collect())
}
