//! Finds the replica component, which the program carries within it.

use std::env;
use std::path::PathBuf;

fn main() {
    println!("cargo:rerun-if-env-changed=DAYFLY_COMPONENT");
    let manifest = env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it");
    let path = env::var_os("DAYFLY_COMPONENT")
        .map_or_else(|| PathBuf::from(manifest).join("../../target/component/dayfly-replica.wasm"), PathBuf::from);
    // Named before it is looked for, so that it is looked for again when it has come into being.
    println!("cargo:rerun-if-changed={}", path.display());
    let component = path.canonicalize().unwrap_or_else(|error| {
        panic!(
            "the replica component is missing ({}: {error}): run `cargo xtask build`, or name one in DAYFLY_COMPONENT",
            path.display()
        )
    });
    println!("cargo:rustc-env=DAYFLY_COMPONENT_PATH={}", component.display());
}
