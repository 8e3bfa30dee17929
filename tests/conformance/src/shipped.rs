//! The scenarios as they come within a program.

use anyhow::{Context, Result};

use crate::scenario::{Scenario, parse};

/// The files of `tests/scenarios`, in the order of their names.
const FILES: [(&str, &str); 19] = [
    ("batch.toml", include_str!("../../scenarios/batch.toml")),
    ("bootstrap.toml", include_str!("../../scenarios/bootstrap.toml")),
    ("broker.toml", include_str!("../../scenarios/broker.toml")),
    ("checkpoint.toml", include_str!("../../scenarios/checkpoint.toml")),
    ("combining.toml", include_str!("../../scenarios/combining.toml")),
    ("context.toml", include_str!("../../scenarios/context.toml")),
    ("counters.toml", include_str!("../../scenarios/counters.toml")),
    ("deletion.toml", include_str!("../../scenarios/deletion.toml")),
    ("flags.toml", include_str!("../../scenarios/flags.toml")),
    ("frames.toml", include_str!("../../scenarios/frames.toml")),
    ("freeze.toml", include_str!("../../scenarios/freeze.toml")),
    ("keys.toml", include_str!("../../scenarios/keys.toml")),
    ("limits.toml", include_str!("../../scenarios/limits.toml")),
    ("maps.toml", include_str!("../../scenarios/maps.toml")),
    ("members.toml", include_str!("../../scenarios/members.toml")),
    ("registers.toml", include_str!("../../scenarios/registers.toml")),
    ("repair.toml", include_str!("../../scenarios/repair.toml")),
    ("requests.toml", include_str!("../../scenarios/requests.toml")),
    ("sets.toml", include_str!("../../scenarios/sets.toml")),
];

/// Every scenario.
///
/// # Errors
/// One is not a proper one; a test sees to it that all are.
pub fn scenarios() -> Result<Vec<Scenario>> {
    let mut all = Vec::new();
    for (name, text) in FILES {
        all.append(&mut parse(text, name).with_context(|| format!("in {name}"))?);
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::scenario::read_folder;

    #[test]
    fn all_of_the_folder_come_with_it() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scenarios");
        let names =
            |all: Vec<Scenario>| all.into_iter().map(|scenario| (scenario.file, scenario.name)).collect::<Vec<_>>();
        let there = names(read_folder(&folder).expect("proper scenarios"));
        assert_eq!(names(scenarios().expect("proper scenarios")), there);
    }
}
