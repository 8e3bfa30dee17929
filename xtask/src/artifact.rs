//! What the built component must be, whatever it does: its contract, its imports, its bytes. The tests print what Rust's
//! test harness prints, and are counted as its tests are.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use wit_component::{DecodedWasm, WitPrinter};

use crate::component::Component;
use crate::diff;
use crate::tally::Tally;
use crate::workspace::Workspace;

/// The component's own WIT, as printed, in the checkout.
const GOLDEN: &str = "tests/golden/component.wit";

/// All that the component may import, without versions. A host that simulates has a virtual one of each.
const IMPORTS: [&str; 2] = ["wasi:clocks/wall-clock", "wasi:random/random"];

/// Runs the tests, and says whether all passed.
pub fn check(workspace: &Workspace, component: &Component, bless: bool, tally: &mut Tally) -> bool {
    type Test<'a> = (&'a str, &'a dyn Fn() -> Result<()>);
    let tests: [Test<'_>; 3] = [
        ("component_has_the_golden_wit", &|| matches_golden(&workspace.root.join(GOLDEN), component, bless)),
        ("component_imports_clock_and_chance_only", &|| imports_are_permitted(component)),
        ("component_names_no_path_of_this_machine", &|| names_no_path(component)),
    ];
    let mut all_passed = true;
    for (name, test) in tests {
        match test() {
            Ok(()) => {
                println!("test {name} ... ok");
                tally.passed += 1;
            }
            Err(error) => {
                println!("test {name} ... FAILED\n{error:#}");
                tally.failed += 1;
                all_passed = false;
            }
        }
    }
    all_passed
}

/// The component's WIT is the one of the golden file; or, to bless, becomes it.
fn matches_golden(golden: &Path, component: &Component, bless: bool) -> Result<()> {
    let printed = printed_wit(component)?;
    if bless {
        return fs::write(golden, printed).with_context(|| format!("cannot write {}", golden.display()));
    }
    let expected = fs::read_to_string(golden)
        .with_context(|| format!("cannot read {GOLDEN}; `cargo xtask test --bless` writes it"))?;
    match diff::lines(&expected, &printed) {
        None => Ok(()),
        Some(diff) => bail!(
            "The built component differs from {GOLDEN} (-: the file, +: the component):\n{diff}\
             If that is meant, `cargo xtask test --bless` writes the file anew."
        ),
    }
}

/// The component's own WIT.
fn printed_wit(component: &Component) -> Result<String> {
    let decoded = wit_component::decode(&component.bytes)?;
    let main = decoded.package();
    let others: Vec<_> = decoded.resolve().packages.iter().map(|(id, _)| id).filter(|id| *id != main).collect();
    let mut printer = WitPrinter::default();
    printer.print(decoded.resolve(), main, &others)?;
    Ok(printer.output.to_string())
}

/// The component imports [`IMPORTS`] and nothing else. The golden file says the same, but can be blessed in haste.
fn imports_are_permitted(component: &Component) -> Result<()> {
    let DecodedWasm::Component(resolve, world) = wit_component::decode(&component.bytes)? else {
        bail!("it is no component");
    };
    let names: Vec<String> = resolve.worlds[world].imports.keys().map(|key| resolve.name_world_key(key)).collect();
    let without_versions: Vec<&str> = names.iter().map(|name| name.split('@').next().unwrap_or(name)).collect();
    ensure!(without_versions == IMPORTS, "it imports {names:?}; expected {IMPORTS:?}");
    Ok(())
}

/// No path of this machine stands in the bytes.
fn names_no_path(component: &Component) -> Result<()> {
    let found = component
        .machine_paths
        .iter()
        .find(|path| component.bytes.windows(path.len()).any(|window| window == path.as_bytes()));
    match found {
        None => Ok(()),
        Some(path) => bail!("its bytes contain {path}"),
    }
}
