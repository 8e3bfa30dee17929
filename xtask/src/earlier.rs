//! Components of earlier commits, for the tests of rolling upgrades: built from what git has of them, by the present toolchain,
//! and kept.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::command;
use crate::component::{self, Component};
use crate::program;
use crate::toolchain::Toolchain;
use crate::workspace::Workspace;

/// Tells tests the files of the earlier components, separated as in `PATH`. Each stands in a folder named after its commit.
const VARIABLE: &str = "DAYFLY_TEST_EARLIER";

/// Which commits are tested always.
const PINS: &str = "tests/upgrade.toml";

/// A component of an earlier commit.
#[derive(Debug)]
pub struct Earlier {
    /// Its file. Absolute.
    path: PathBuf,
}

impl Earlier {
    /// Builds those that [`PINS`] names.
    ///
    /// # Errors
    /// The file is not of its form, or as [`Self::build`].
    pub fn build_pinned(workspace: &Workspace, toolchain: &Toolchain) -> Result<Vec<Self>> {
        let text = fs::read_to_string(workspace.root.join(PINS)).with_context(|| format!("cannot read {PINS}"))?;
        let commits = commits(&text).with_context(|| format!("in {PINS}"))?;
        commits.iter().map(|commit| Self::build(workspace, toolchain, commit)).collect()
    }

    /// Builds the component of a commit, unless it was built before.
    ///
    /// # Errors
    /// The commit is not here, or does not compile.
    pub fn build(workspace: &Workspace, toolchain: &Toolchain, revision: &str) -> Result<Self> {
        let path_of = |commit: &str| workspace.target.join("earlier").join(commit).join("dayfly-replica.wasm");
        // One that is named in full and was built needs no history.
        let commit = if path_of(revision).exists() { revision.to_owned() } else { resolve(workspace, revision)? };
        let path = path_of(&commit);
        if !path.exists() {
            let earlier = check_out(workspace, &commit)?;
            let bytes = component::build(&earlier, toolchain, "dayfly-replica", &[])
                .with_context(|| format!("the component of {revision} does not compile"))?;
            component::write_if_new(&path, &bytes)?;
        }
        eprintln!("xtask: {} is the component of {revision}", workspace.shown(&path));
        Ok(Self { path })
    }
}

/// Tells a command's tests where these are.
pub fn announce_to(earlier: &[Earlier], command: &mut Command) -> Result<()> {
    let paths = env::join_paths(earlier.iter().map(|earlier| &earlier.path));
    command.env(VARIABLE, paths.context("no list can name the folder `target`")?);
    Ok(())
}

/// Plays the rolling upgrades of these commits; without any, from those that [`PINS`] names.
///
/// # Errors
/// A component does not build, or a test fails.
pub fn test(workspace: &Workspace, toolchain: &Toolchain, revisions: &[String]) -> Result<()> {
    let earlier = match revisions {
        [] => Earlier::build_pinned(workspace, toolchain)?,
        revisions => {
            let build = |revision: &String| Earlier::build(workspace, toolchain, revision);
            revisions.iter().map(build).collect::<Result<_>>()?
        }
    };
    let component = Component::build(workspace, toolchain)?;
    let mut test = program::cargo_on_hosts(workspace, &component, "test");
    announce_to(&earlier, &mut test)?;
    command::run(test.args(["--release", "--test", "upgrade"]))
}

/// The commits that a file of pins names.
fn commits(text: &str) -> Result<Vec<String>> {
    let pins: toml::Table = text.parse()?;
    let pins = pins.get("earlier").and_then(toml::Value::as_array).context("it has no list `earlier`")?;
    let commit = |pin: &toml::Value| pin.get("commit").and_then(toml::Value::as_str).map(str::to_owned);
    let commits: Vec<String> =
        pins.iter().map(|pin| commit(pin).context("a pin has no commit")).collect::<Result<_>>()?;
    ensure!(!commits.is_empty(), "it names no commit");
    Ok(commits)
}

fn git(workspace: &Workspace) -> Command {
    let mut git = Command::new("git");
    // The checkout may belong to someone else, as in containers that have it from outside.
    git.current_dir(&workspace.root).arg("-c").arg(format!("safe.directory={}", workspace.root.display()));
    git
}

/// The full name of a commit. What a shallow clone lacks is fetched.
fn resolve(workspace: &Workspace, revision: &str) -> Result<String> {
    if let Some(commit) = find(workspace, revision)? {
        return Ok(commit);
    }
    let shallow = command::capture(git(workspace).args(["rev-parse", "--is-shallow-repository"]))
        .context("this is no clone of git, and only its history has the sources of earlier components")?;
    if shallow.trim_end() == "true" {
        command::run(git(workspace).args(["fetch", "--quiet", "--unshallow"])).with_context(|| {
            format!("this clone is shallow and has no commit {revision}: run `git fetch --unshallow`")
        })?;
    }
    find(workspace, revision)?.with_context(|| format!("there is no commit {revision} here: run `git fetch`"))
}

/// The full name of a commit, if it is here.
fn find(workspace: &Workspace, revision: &str) -> Result<Option<String>> {
    let asked = format!("{revision}^{{commit}}");
    let found = git(workspace)
        .args(["rev-parse", "--verify", "--quiet", "--end-of-options", &asked])
        .output()
        .context("cannot run git, which has the sources of earlier components")?;
    let name = String::from_utf8(found.stdout)?.trim_end().to_owned();
    Ok(found.status.success().then_some(name))
}

/// Lays the sources of a commit out, in place of those of another one: one folder for all, so that their dependencies are
/// compiled once. Its files are new, or cargo would take what it made of other ones for up to date.
fn check_out(workspace: &Workspace, commit: &str) -> Result<Workspace> {
    let folder = workspace.target.join("earlier");
    let (root, index) = (folder.join("source"), folder.join("index"));
    if root.exists() {
        fs::remove_dir_all(&root).with_context(|| format!("cannot remove {}", root.display()))?;
    }
    fs::create_dir_all(&root).with_context(|| format!("cannot make {}", root.display()))?;
    // An index of its own leaves that of the checkout alone.
    let with_index = |arguments: &[&str]| {
        let mut git = git(workspace);
        command::run(git.args(arguments).env("GIT_INDEX_FILE", &index))
    };
    with_index(&["read-tree", commit])?;
    with_index(&["checkout-index", "--all", "--force", &format!("--prefix={}/", shown(&root)?)])?;
    Ok(Workspace { root, target: folder.join("build") })
}

fn shown(path: &Path) -> Result<&str> {
    path.to_str().with_context(|| format!("{} is not UTF-8", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pins_are_read_and_none_is_no_mistake_that_passes() {
        let text = "[[earlier]]\ncommit = \"a\"\nwire = 1\nwhy = \"b\"\n[[earlier]]\ncommit = \"c\"\n";
        assert_eq!(commits(text).expect("two pins"), ["a", "c"]);
        for text in ["", "earlier = []", "[[earlier]]\nwire = 1", "[[earlier]"] {
            assert!(commits(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn the_pinned_commits_are_named_in_full() {
        let workspace = Workspace::find().expect("a checkout");
        let text = fs::read_to_string(workspace.root.join(PINS)).expect("the pins can be read");
        for commit in commits(&text).expect("pins") {
            assert!(commit.len() == 40 && commit.bytes().all(|byte| byte.is_ascii_hexdigit()), "{commit}");
        }
    }
}
