//! A load of real operations: what a package index says, as counters, sets and registers. From apt, or made up.

use std::io::BufRead;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::chance::Chance;

/// A package.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The section that it is filed under.
    pub section: String,
    /// Who maintains it.
    pub maintainer: String,
}

/// Reads the stanzas of a package index, as `apt-cache dumpavail` prints them.
pub fn read(index: impl BufRead) -> Result<Vec<Package>> {
    let mut packages = Vec::new();
    let mut package = Package::default();
    for line in index.lines() {
        let line = line.context("the index cannot be read")?;
        if line.is_empty() {
            push(&mut packages, std::mem::take(&mut package));
            continue;
        }
        let Some((field, value)) = line.split_once(": ") else { continue };
        match field {
            "Package" => package.name = value.to_owned(),
            "Version" => package.version = value.to_owned(),
            "Section" => package.section = value.to_owned(),
            "Maintainer" => package.maintainer = value.to_owned(),
            _ => {}
        }
    }
    push(&mut packages, package);
    if packages.is_empty() {
        bail!("there is no package in this index");
    }
    Ok(packages)
}

fn push(packages: &mut Vec<Package>, package: Package) {
    let fields = [&package.name, &package.version, &package.section, &package.maintainer];
    if fields.iter().all(|field| !field.is_empty()) {
        packages.push(package);
    }
}

/// Makes up an index of so many packages; the same for the same seed.
pub fn generate(count: usize, seed: u64) -> Vec<Package> {
    let mut chance = Chance::new(seed, "package index");
    let sections = ["admin", "devel", "games", "libs", "net", "non-free/games", "python", "science", "utils", "web"];
    (0..count)
        .map(|number| Package {
            name: format!("package-{number}"),
            version: format!("{}.{}~rc1-{}", chance.below(10), chance.below(100), chance.below(9)),
            section: sections[pick(&mut chance, sections.len())].to_owned(),
            // A few maintain most packages, as in life.
            maintainer: {
                let bound = 1 + chance.below(40);
                format!("Máintainer {} <m@example.org>", chance.below(bound))
            },
        })
        .collect()
}

fn pick(chance: &mut Chance, count: usize) -> usize {
    usize::try_from(chance.below(count as u64)).unwrap_or(0)
}

/// What the index says: three operations a package.
pub fn operations(packages: &[Package]) -> Vec<Value> {
    let of_one = |package: &Package| {
        [
            json!({"type": "gcounter", "key": format!("section/{}", package.section), "increment": 1}),
            json!({"type": "orset", "key": format!("maintainer/{}", package.maintainer), "add": [package.name]}),
            json!({"type": "lwwregister", "key": format!("package/{}", package.name), "set": package.version}),
        ]
    };
    packages.iter().flat_map(of_one).collect()
}

/// What happens to made-up packages afterwards: new versions, new maintainers, removals. Later operations undo what
/// earlier ones did, so their order matters.
pub fn changes(packages: &[Package], seed: u64) -> Vec<Value> {
    let mut chance = Chance::new(seed, "package changes");
    let mut now = packages.to_vec();
    let mut operations = Vec::new();
    for round in 0..packages.len() / 4 {
        let chosen = pick(&mut chance, now.len());
        let package = &mut now[chosen];
        match chance.below(3) {
            0 => {
                package.version = format!("{}+update{round}", package.version);
                let key = format!("package/{}", package.name);
                operations.push(json!({"type": "lwwregister", "key": key, "set": package.version}));
            }
            1 => {
                let key = format!("maintainer/{}", package.maintainer);
                operations.push(json!({"type": "orset", "key": key, "remove": [package.name]}));
                package.maintainer = format!("Máintainer {} <m@example.org>", chance.below(40));
                let key = format!("maintainer/{}", package.maintainer);
                operations.push(json!({"type": "orset", "key": key, "add": [package.name]}));
            }
            _ => {
                let key = format!("maintainer/{}", package.maintainer);
                operations.push(json!({"type": "orset", "key": key, "remove": [package.name]}));
                let key = format!("package/{}", package.name);
                operations.push(json!({"type": "lwwregister", "key": key, "delete": true}));
                now.swap_remove(chosen);
            }
        }
    }
    operations
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stanzas_are_read() {
        let index = "Package: a\nVersion: 1\nSection: net\nMaintainer: M <m@x>\nTag: one,\n two\n\nPackage: half\n\n";
        let packages = read(index.as_bytes()).expect("an index");
        assert_eq!(packages.len(), 1);
        assert_eq!(packages[0].maintainer, "M <m@x>");
        assert!(read(b"".as_slice()).is_err());
    }

    #[test]
    fn made_up_indices_repeat() {
        assert_eq!(generate(100, 1), generate(100, 1));
        assert_ne!(generate(100, 1), generate(100, 2));
        assert_eq!(operations(&generate(100, 1)).len(), 300);
    }
}
