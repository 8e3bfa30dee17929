//! What proves a promise: scenarios, which say so beside `checks`, and named tests, which `tests/promises.toml` lists.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use dayfly_conformance::scenario::read_folder;
use serde::Deserialize;

/// Something that proves a promise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    /// The scenario's name, or the test function's.
    pub name: String,
    /// The file that it stands in, from the workspace's root.
    pub path: String,
    /// Whether it is a scenario.
    pub is_scenario: bool,
}

/// Proofs by the identifier of what they prove.
pub type Proofs = BTreeMap<String, Vec<Proof>>;

/// `tests/promises.toml`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PromisesFile {
    proven: Vec<Proven>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Proven {
    promises: Vec<String>,
    tests: Vec<String>,
}

/// All proofs of the workspace at this root: scenarios first, each kind in the order in which it is found.
pub fn read(root: &Path) -> Result<Proofs> {
    let mut proofs = Proofs::new();
    for scenario in read_folder(&root.join("tests/scenarios"))? {
        ensure!(!scenario.proves.is_empty(), "the scenario {} proves nothing that a document promises", scenario.name);
        for id in scenario.proves {
            let path = format!("tests/scenarios/{}", scenario.file);
            add(&mut proofs, id, Proof { name: scenario.name.clone(), path, is_scenario: true })?;
        }
    }
    let file = fs::read_to_string(root.join("tests/promises.toml")).context("tests/promises.toml")?;
    let file: PromisesFile = toml::from_str(&file).context("in tests/promises.toml")?;
    for proven in file.proven {
        for test in &proven.tests {
            let (path, name) = test.split_once("::").with_context(|| format!("{test:?} is not like FILE::FUNCTION"))?;
            let text = fs::read_to_string(root.join(path)).with_context(|| path.to_owned())?;
            ensure!(has_test(&text, name), "{path} has no test {name}");
            for id in &proven.promises {
                add(
                    &mut proofs,
                    id.clone(),
                    Proof { name: name.to_owned(), path: path.to_owned(), is_scenario: false },
                )?;
            }
        }
    }
    Ok(proofs)
}

fn add(proofs: &mut Proofs, id: String, proof: Proof) -> Result<()> {
    let of_id = proofs.entry(id.clone()).or_default();
    ensure!(!of_id.contains(&proof), "{} says twice that it proves {id:?}", proof.name);
    of_id.push(proof);
    Ok(())
}

/// Whether a file of Rust has a test function of this name that is run.
fn has_test(text: &str, name: &str) -> bool {
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let begins = [format!("fn {name}("), format!("async fn {name}(")];
    let Some(at) = lines.iter().position(|line| begins.iter().any(|begin| line.starts_with(begin.as_str()))) else {
        return false;
    };
    let above = lines[..at].iter().rev();
    let attributes: Vec<_> = above.take_while(|line| line.starts_with("#[") || line.starts_with("//")).collect();
    let is_test = attributes.iter().any(|line| line.starts_with("#[test]") || line.starts_with("#[tokio::test"));
    is_test && !attributes.iter().any(|line| line.starts_with("#[ignore"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_tests_that_are_run_prove_anything() {
        let text = "#[test]\n/// Why.\nfn one() {}\n\nfn two() {}\n\n#[test]\n#[ignore]\nfn three() {}\n\
            \n    #[tokio::test(flavor = \"x\")]\n    async fn four() {}\n// fn five() {}\n";
        assert!(has_test(text, "one"));
        assert!(has_test(text, "four"));
        for name in ["two", "three", "five", "on", "none"] {
            assert!(!has_test(text, name), "{name}");
        }
    }

    #[test]
    fn nothing_is_proven_twice_by_the_same() {
        let proof = |name: &str| Proof { name: name.to_owned(), path: "p".to_owned(), is_scenario: true };
        let mut proofs = Proofs::new();
        add(&mut proofs, "x".to_owned(), proof("a")).expect("the first");
        add(&mut proofs, "x".to_owned(), proof("b")).expect("another");
        assert!(add(&mut proofs, "x".to_owned(), proof("a")).is_err());
    }
}
