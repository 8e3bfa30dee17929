//! Known differences: scenarios that fail on a host because it behaves otherwise than the others, with the reason. They are
//! run all the same, and must fail as it was noted, so that a mend is noticed.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;

/// A scenario that one runner fails.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Difference {
    /// The runner.
    pub runner: String,
    /// The scenario.
    pub scenario: String,
    /// What the error that it fails with contains.
    pub error: String,
    /// Why it is so, and why it may stay so.
    pub reason: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DifferencesFile {
    #[serde(default)]
    difference: Vec<Difference>,
}

/// Reads the known differences from a file. Fails where one names a runner or a scenario that is not there, stands twice,
/// or leaves out why or how.
pub fn read_differences(file: &Path, runners: &[&str], scenarios: &[&str]) -> Result<Vec<Difference>> {
    let text = fs::read_to_string(file).with_context(|| file.display().to_string())?;
    parse(&text, runners, scenarios).with_context(|| format!("in {}", file.display()))
}

fn parse(text: &str, runners: &[&str], scenarios: &[&str]) -> Result<Vec<Difference>> {
    let differences = toml::from_str::<DifferencesFile>(text)?.difference;
    for (at, difference) in differences.iter().enumerate() {
        let Difference { runner, scenario, error, reason } = difference;
        ensure!(runners.contains(&runner.as_str()), "no runner is called {runner:?}: {}", runners.join(", "));
        ensure!(scenarios.contains(&scenario.as_str()), "no scenario is called {scenario:?}");
        ensure!(!error.trim().is_empty(), "{runner}::{scenario}: say with what `error` it fails");
        ensure!(!reason.trim().is_empty(), "{runner}::{scenario}: say the `reason`");
        let is_twin = |other: &Difference| other.runner == *runner && other.scenario == *scenario;
        ensure!(!differences[..at].iter().any(is_twin), "{runner}::{scenario} stands twice");
    }
    Ok(differences)
}

impl Difference {
    /// Whether a run went as it was noted: an error if it passed, or failed otherwise.
    pub fn judge(&self, played: Result<()>) -> Result<()> {
        match played {
            Ok(()) => bail!("mended: it passes, so remove it from tests/known-differences.toml ({})", self.reason),
            Err(error) => {
                let told = format!("{error:#}");
                ensure!(told.contains(&self.error), "it fails otherwise than known, without {:?}: {told}", self.error);
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::*;

    const ONE: &str =
        "[[difference]]\nrunner = 'node'\nscenario = 's'\nerror = 'status 431'\nreason = 'heads are bounded'\n";

    fn read(text: &str) -> Result<Vec<Difference>> {
        parse(text, &["core", "node"], &["s", "t"])
    }

    #[test]
    fn a_known_difference_must_fail_as_it_is_known() {
        let difference = &read(ONE).expect("proper")[0];
        let context = |error: anyhow::Error| Err(error.context("step 3"));
        assert!(difference.judge(context(anyhow!("status 431 in place of 400"))).is_ok());
        let mended = difference.judge(Ok(())).expect_err("it passed").to_string();
        assert!(mended.starts_with("mended: it passes, so remove it"), "{mended}");
        let other = difference.judge(context(anyhow!("status 500 in place of 400"))).expect_err("another failure");
        assert!(other.to_string().contains("otherwise than known"), "{other}");
    }

    #[test]
    fn an_empty_file_knows_none() {
        assert_eq!(read("# none\n").expect("proper"), []);
    }

    #[test]
    fn what_names_nothing_or_says_too_little_is_refused() {
        for (from, to) in [
            ("'node'", "'mode'"),
            ("'s'", "'u'"),
            ("'status 431'", "''"),
            ("'heads are bounded'", "' '"),
            ("reason =", "because ="),
            ("error = 'status 431'\n", ""),
        ] {
            assert!(ONE.contains(from), "{from}");
            assert!(read(&ONE.replacen(from, to, 1)).is_err(), "{from} became {to}");
        }
        assert!(read(&format!("{ONE}{ONE}")).is_err(), "twice");
    }
}
