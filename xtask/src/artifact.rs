//! What built components must be, whatever they do: their contract, their imports, their bytes. The tests print what
//! Rust's test harness prints, and are counted as its tests are.

use std::fs;

use anyhow::{Context, Result, bail, ensure};
use wit_component::{DecodedWasm, WitPrinter};

use crate::diff;
use crate::tally::Tally;
use crate::workspace::Workspace;

/// The replica component's own WIT, as printed, in the checkout.
pub const REPLICA_GOLDEN: &str = "tests/golden/component.wit";

/// All that the replica component may import. A host that simulates has a virtual one of each.
pub const REPLICA_IMPORTS: [&str; 2] = ["wasi:clocks/wall-clock", "wasi:random/random"];

/// A component that was built, and what it must be.
pub struct Artifact<'a> {
    /// What its tests are called after.
    pub name: &'static str,
    /// Its bytes.
    pub bytes: &'a [u8],
    /// Its own WIT, as printed, in the checkout.
    pub golden: &'static str,
    /// All that it may import, without versions: interfaces, and packages of which it may import each interface.
    pub imports: &'a [&'a str],
    /// Beginnings of paths of this machine, none of which may stand in the bytes.
    pub machine_paths: &'a [String],
}

/// Runs the tests, and says whether all passed.
pub fn check(workspace: &Workspace, artifact: &Artifact<'_>, bless: bool, tally: &mut Tally) -> bool {
    type Test<'a> = (&'a str, &'a dyn Fn() -> Result<()>);
    let tests: [Test<'_>; 3] = [
        ("has_the_golden_wit", &|| matches_golden(workspace, artifact, bless)),
        ("imports_what_it_may_and_nothing_else", &|| imports_are_permitted(artifact)),
        ("names_no_path_of_this_machine", &|| names_no_path(artifact)),
    ];
    let mut all_passed = true;
    for (name, test) in tests {
        match test() {
            Ok(()) => {
                println!("test {}_{name} ... ok", artifact.name);
                tally.passed += 1;
            }
            Err(error) => {
                println!("test {}_{name} ... FAILED\n{error:#}", artifact.name);
                tally.failed += 1;
                all_passed = false;
            }
        }
    }
    all_passed
}

/// The component's WIT is the one of the golden file; or, to bless, becomes it.
fn matches_golden(workspace: &Workspace, artifact: &Artifact<'_>, bless: bool) -> Result<()> {
    let (printed, golden) = (printed_wit(artifact.bytes)?, artifact.golden);
    let path = workspace.root.join(golden);
    if bless {
        return fs::write(&path, printed).with_context(|| format!("cannot write {golden}"));
    }
    let expected = fs::read_to_string(&path)
        .with_context(|| format!("cannot read {golden}; `cargo xtask test --bless` writes it"))?;
    match diff::lines(&expected, &printed) {
        None => Ok(()),
        Some(diff) => bail!(
            "The built component differs from {golden} (-: the file, +: the component):\n{diff}\
             If that is meant, `cargo xtask test --bless` writes the file anew."
        ),
    }
}

/// A component's own WIT.
fn printed_wit(bytes: &[u8]) -> Result<String> {
    let decoded = wit_component::decode(bytes)?;
    let main = decoded.package();
    let others: Vec<_> = decoded.resolve().packages.iter().map(|(id, _)| id).filter(|id| *id != main).collect();
    let mut printer = WitPrinter::default();
    printer.print(decoded.resolve(), main, &others)?;
    Ok(printer.output.to_string())
}

/// The component imports what it may and nothing else. The golden file says the same, but can be blessed in haste.
fn imports_are_permitted(artifact: &Artifact<'_>) -> Result<()> {
    let DecodedWasm::Component(resolve, world) = wit_component::decode(artifact.bytes)? else {
        bail!("it is no component");
    };
    let is_permitted = |name: &String| {
        let interface = name.split('@').next().unwrap_or(name);
        let package = interface.split('/').next().unwrap_or(interface);
        artifact.imports.iter().any(|permitted| *permitted == interface || *permitted == package)
    };
    let imports = resolve.worlds[world].imports.keys().map(|key| resolve.name_world_key(key));
    let others: Vec<String> = imports.filter(|name| !is_permitted(name)).collect();
    ensure!(others.is_empty(), "it imports {others:?}; all that it may import: {:?}", artifact.imports);
    Ok(())
}

/// No path of this machine stands in the bytes.
fn names_no_path(artifact: &Artifact<'_>) -> Result<()> {
    let stands = |path: &&String| artifact.bytes.windows(path.len()).any(|window| window == path.as_bytes());
    match artifact.machine_paths.iter().find(stands) {
        None => Ok(()),
        Some(path) => bail!("its bytes contain {path}"),
    }
}
