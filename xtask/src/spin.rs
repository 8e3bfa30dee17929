//! The applications for Fermyon Spin: folders that `spin up` runs and `spin registry push` publishes. In each are a guest,
//! which is the host of the replica there, and the replica component itself.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use sha2::{Digest, Sha256};

use crate::command;
use crate::component::{self, Component};
use crate::toolchain::{TARGET, Toolchain};
use crate::workspace::Workspace;

/// Tells tests the folder of the application for the newer Spin.
const PACKAGE_VARIABLE: &str = "DAYFLY_SPIN_PACKAGE";

/// The guest's package.
const GUEST: &str = "dayfly-spin";

/// Where the templates stand in the checkout.
const TEMPLATES: &str = "hosts/spin/templates";

/// What is filled in from a template.
const TEMPLATE_FILES: [&str; 2] = ["spin.toml", "spinapp.yaml"];

/// All that a guest may import: the replica, what Spin gives a component, and of HTTP the serving side only.
pub const GUEST_IMPORTS: [&str; 8] = [
    "dayfly:replica",
    "spin:key-value",
    "spin:variables",
    // The standard error, for whoever runs it; the bindings bring its neighbours.
    "wasi:cli",
    "wasi:clocks",
    "wasi:http/types",
    "wasi:random",
    "wasi:sockets",
];

/// Releases of Spin that differ in the WASI that they have. The guest is built for each from one source.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Release {
    /// 4.1, with WASI 0.3.0.
    Newer,
    /// 4.0, with a release candidate of it.
    Older,
}

impl Release {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Newer, Self::Older];

    /// The guest's feature.
    fn feature(self) -> &'static str {
        match self {
            Self::Newer => "sdk-7",
            Self::Older => "sdk-6",
        }
    }

    /// The name of the application's folder.
    fn folder(self) -> &'static str {
        match self {
            Self::Newer => "dayfly-spin",
            Self::Older => "dayfly-spin-4.0",
        }
    }

    /// The golden file of the guest's own WIT, in the checkout.
    pub fn golden(self) -> &'static str {
        match self {
            Self::Newer => "tests/golden/spin.wit",
            Self::Older => "tests/golden/spin-4.0.wit",
        }
    }

    /// What tests of its guest are called after.
    pub fn name(self) -> &'static str {
        match self {
            Self::Newer => "spin_guest",
            Self::Older => "spin_4_0_guest",
        }
    }

    /// For people.
    fn shown(self) -> &'static str {
        match self {
            Self::Newer => "4.1",
            Self::Older => "4.0",
        }
    }
}

/// An application that was laid out.
pub struct Application {
    /// For which release.
    pub release: Release,
    /// Its folder. Absolute.
    pub folder: PathBuf,
    /// What stands in the file of its guest.
    pub guest: Vec<u8>,
}

impl Application {
    /// Builds the guests, lays out their applications, and tells sizes.
    ///
    /// # Errors
    /// A guest does not build, a template names something that nobody fills in, or the folders cannot be written.
    pub fn package_all(workspace: &Workspace, toolchain: &Toolchain, replica: &Component) -> Result<Vec<Self>> {
        Release::ALL.into_iter().map(|release| Self::package(workspace, toolchain, replica, release)).collect()
    }

    fn package(workspace: &Workspace, toolchain: &Toolchain, replica: &Component, release: Release) -> Result<Self> {
        let guest =
            component::build(workspace, toolchain, GUEST, &["--no-default-features", "--features", release.feature()])?;
        let folder = workspace.target.join("spin").join(release.folder());
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let values = [
            ("@COMPONENT_HASH@", hash_hex(&replica.bytes)),
            ("@SPIN@", release.shown().to_owned()),
            ("@VERSION@", env!("CARGO_PKG_VERSION").to_owned()),
        ];
        for name in TEMPLATE_FILES {
            let template = workspace.root.join(TEMPLATES).join(name);
            let text = fs::read_to_string(&template).with_context(|| format!("cannot read {}", template.display()))?;
            let text = filled(&text, &values).with_context(|| format!("{TEMPLATES}/{name}"))?;
            component::write_if_new(&folder.join(name), text.as_bytes())?;
        }
        for (name, bytes) in [("guest.wasm", &guest), ("replica.wasm", &replica.bytes)] {
            component::write_if_new(&folder.join(name), bytes)?;
            eprintln!("xtask: {:>8} kB  {}", bytes.len().div_ceil(1000), workspace.shown(&folder.join(name)));
        }
        eprintln!("xtask: {} is for Spin {}", workspace.shown(&folder), release.shown());
        Ok(Self { release, folder, guest })
    }

    /// Tells a command's tests where this application is.
    pub fn announce_to(&self, command: &mut Command) {
        command.env(PACKAGE_VARIABLE, &self.folder);
    }
}

/// Lints the part of the guest that is compiled for the platform alone. Debian's toolchain has no clippy.
///
/// # Errors
/// Clippy has something to say.
pub fn lint_guest(workspace: &Workspace, toolchain: &Toolchain) -> Result<()> {
    if !matches!(toolchain, Toolchain::Rustup { .. }) {
        eprintln!("xtask: the guest for Spin is not linted, for {} has no clippy", toolchain.shown());
        return Ok(());
    }
    let mut clippy = workspace.cargo();
    clippy.args(["clippy", "--package", GUEST, "--lib", "--target", TARGET, "--profile", component::PROFILE]);
    command::run(clippy.args(["--", "-D", "warnings"]))
}

/// A template with its placeholders filled in. It need not name all of them.
///
/// # Errors
/// It names one that there is not.
fn filled(template: &str, values: &[(&str, String)]) -> Result<String> {
    let text = values.iter().fold(template.to_owned(), |text, (name, value)| text.replace(name, value));
    let is_placeholder =
        |word: &&str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_');
    let pieces: Vec<&str> = text.split('@').collect();
    // What is before the first sign and after the last one stands between no two.
    let left = pieces[1..].iter().rev().skip(1).copied().find(is_placeholder);
    ensure!(left.is_none(), "nothing is filled in for @{}@", left.unwrap_or_default());
    Ok(text)
}

/// A hash as hosts write it: that of the component's bytes is shown in `/v1/status`.
fn hash_hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_filled_in_and_none_is_forgotten() {
        let values = [("@A@", "1".to_owned()), ("@B_C@", "2".to_owned())];
        assert_eq!(filled("x@A@ @B_C@ user@host @0.1.0@ @", &values).expect("filled"), "x1 2 user@host @0.1.0@ @");
        let error = filled("user@host @A@ @MISSING@", &values).expect_err("nobody fills it in");
        assert!(format!("{error}").contains("@MISSING@"), "{error}");
    }

    #[test]
    fn hashes_are_written_as_hosts_do() {
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(hash_hex(b""), empty);
    }
}
