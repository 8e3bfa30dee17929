//! EXPERIMENTS.md: the runs that it shows, and its tables. The program does both; here it is built, and told of which commit
//! the runs are.

use std::ffi::OsString;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use crate::command;
use crate::workspace::Workspace;

/// The document, and the list of its tables and runs. Both within the checkout.
const DOCUMENT: &str = "EXPERIMENTS.md";
const LIST: &str = "hosts/native/experiments/tables.toml";

/// What to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// Only tables, scenarios or runs of these names, unless there is none.
    pub only: Vec<String>,
    /// Those of large sizes, too.
    pub large: bool,
    /// Where reports are kept, if not in `target/experiments`.
    pub out: Option<OsString>,
}

/// The arguments for `dayfly` that do it.
pub fn arguments(workspace: &Workspace, choice: &Choice) -> Result<Vec<OsString>> {
    let reports = choice.out.clone().unwrap_or_else(|| workspace.target.join("experiments").into());
    let mut arguments: Vec<OsString> = vec!["experiment".into(), "tables".into(), workspace.root.join(LIST).into()];
    arguments.extend(["--document".into(), workspace.root.join(DOCUMENT).into(), "--reports".into(), reports]);
    if let Some(commit) = commit(&workspace.root)? {
        arguments.extend(["--note".into(), commit.into()]);
    }
    if choice.large {
        arguments.push("--large".into());
    }
    arguments.extend(choice.only.iter().flat_map(|name| ["--only".into(), name.into()]));
    Ok(arguments)
}

/// The commit that is checked out, and whether what git knows has been changed since, but for the document itself. None
/// where the sources are in no repository.
fn commit(root: &Path) -> Result<Option<String>> {
    if !root.join(".git").exists() {
        return Ok(None);
    }
    let git = |arguments: &[&str]| {
        command::capture(Command::new("git").current_dir(root).args(arguments)).context("git cannot tell the commit")
    };
    let commit = git(&["rev-parse", "--short=12", "HEAD"])?;
    let changed = git(&["status", "--porcelain", "--untracked-files=no"])?;
    let is_changed = changed.lines().any(|line| !line.ends_with(DOCUMENT));
    Ok(Some(format!("{}{}", commit.trim(), if is_changed { ", changed" } else { "" })))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_chosen_is_handed_on() {
        let workspace = Workspace { root: "/nowhere".into(), target: "/target".into() };
        let choice = Choice { only: vec!["gset".to_owned(), "churn".to_owned()], large: true, out: None };
        let told = arguments(&workspace, &choice).expect("no repository is needed");
        let told: Vec<_> = told.iter().map(|argument| argument.to_string_lossy()).collect();
        assert_eq!(told[..3], ["experiment", "tables", "/nowhere/hosts/native/experiments/tables.toml"]);
        assert_eq!(told[3..7], ["--document", "/nowhere/EXPERIMENTS.md", "--reports", "/target/experiments"]);
        assert_eq!(told[7..], ["--large", "--only", "gset", "--only", "churn"]);
    }
}
