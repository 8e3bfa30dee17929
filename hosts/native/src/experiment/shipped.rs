//! The scenarios that the program carries within it.

use std::fs;
use std::path::Path;

use super::scenario::Scenario;
use crate::client::Failure;

/// Their names and texts, by name.
pub const SHIPPED: &[(&str, &str)] = &[
    ("advertisement-10000", include_str!("../../experiments/advertisement-10000.toml")),
    ("advertisement-heavy", include_str!("../../experiments/advertisement-heavy.toml")),
    ("advertisement-server", include_str!("../../experiments/advertisement-server.toml")),
    ("bootstrap", include_str!("../../experiments/bootstrap.toml")),
    ("churn", include_str!("../../experiments/churn.toml")),
    ("cost", include_str!("../../experiments/cost.toml")),
    ("gcounter", include_str!("../../experiments/gcounter.toml")),
    ("gmap-10", include_str!("../../experiments/gmap-10.toml")),
    ("gmap-100", include_str!("../../experiments/gmap-100.toml")),
    ("gmap-30", include_str!("../../experiments/gmap-30.toml")),
    ("gmap-60", include_str!("../../experiments/gmap-60.toml")),
    ("gset", include_str!("../../experiments/gset.toml")),
    ("outage", include_str!("../../experiments/outage.toml")),
    ("retwis", include_str!("../../experiments/retwis.toml")),
    ("retwis-0.25", include_str!("../../experiments/retwis-0.25.toml")),
    ("retwis-0.5", include_str!("../../experiments/retwis-0.5.toml")),
    ("retwis-0.75", include_str!("../../experiments/retwis-0.75.toml")),
    ("retwis-1.25", include_str!("../../experiments/retwis-1.25.toml")),
    ("retwis-1.5", include_str!("../../experiments/retwis-1.5.toml")),
];

/// The text of a scenario: a shipped one by its name, or a file.
pub fn text_of(name: &str) -> Result<String, Failure> {
    if let Some((_, text)) = SHIPPED.iter().find(|(shipped, _)| *shipped == name) {
        return Ok((*text).to_owned());
    }
    fs::read_to_string(Path::new(name)).map_err(|error| {
        let names: Vec<&str> = SHIPPED.iter().map(|(name, _)| *name).collect();
        Failure::Usage(format!(
            "{name}: {error} (nor is it one of those that come with the program: {})",
            names.join(", ")
        ))
    })
}

/// A scenario, read and checked.
pub fn scenario(name: &str) -> Result<Scenario, Failure> {
    Scenario::read(&text_of(name)?).map_err(|error| match error {
        Failure::Usage(what) => Failure::Usage(format!("{name}: {what}")),
        other => other,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_come_with_the_program_are_sound() {
        assert!(SHIPPED.is_sorted());
        for (name, _) in SHIPPED {
            let scenario = scenario(name).unwrap_or_else(|error| panic!("{error}"));
            assert!(!scenario.clients.is_empty(), "{name}: nobody asks for anything");
            let twice = scenario.clone().with_replicas(2 * scenario.replicas());
            assert_eq!(twice.replicas(), 2 * scenario.replicas(), "{name}");
        }
        let error = scenario("no-such").expect_err("there is none").to_string();
        assert!(error.contains("no-such") && error.contains("advertisement-server"), "{error}");
    }
}
