//! Whether the tests are worth something: each bug in `tests/mutations/` is planted alone into a copy of the core, and some
//! test must fail.
//!
//! A mutation is a file `NAME.mutation`: what is wrong with it, `file:` with a path in `component/core/src`, and the text to
//! search, which stands there exactly once, with the text to put in its place.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::workspace::Workspace;

/// How many random clusters are simulated for each mutation: enough to find each of them, and not so many as to take long.
const SEEDS: &str = "100";
/// A mutation that makes the tests run for longer than this has made them hang, and that is found out as well.
const LIMIT: Duration = Duration::from_secs(180);

/// A bug to be planted.
#[derive(Debug, PartialEq, Eq)]
struct Mutation {
    name: String,
    why: String,
    /// Where, in `component/core/src`.
    file: PathBuf,
    search: String,
    replace: String,
}

/// What became of a mutation.
enum Fate {
    /// These tests failed.
    Found(Vec<String>),
    /// The tests did not end.
    Hung,
    Survived,
}

/// Plants all mutations whose name contains `filter`, one by one.
///
/// # Errors
/// A mutation survives, does not compile or does not apply; or the tests fail without any.
pub fn check(workspace: &Workspace, filter: Option<&str>) -> Result<()> {
    let mut mutations = read_all(&workspace.root.join("tests/mutations"))?;
    mutations.retain(|mutation| filter.is_none_or(|filter| mutation.name.contains(filter)));
    ensure!(!mutations.is_empty(), "no mutation has this in its name");
    let bench = Bench::prepare(workspace)?;
    let begun = Instant::now();
    match bench.test()? {
        Fate::Survived => println!("without a mutation all tests pass ({:.0} s)", begun.elapsed().as_secs_f64()),
        Fate::Found(tests) => bail!("without a mutation these tests fail: {}", tests.join(", ")),
        Fate::Hung => bail!("without a mutation the tests do not end"),
    }
    let mut faults = Vec::new();
    for mutation in &mutations {
        let begun = Instant::now();
        let fate = bench.plant(mutation).and_then(|()| bench.test());
        bench.restore(mutation)?;
        let time = format!("{:.0} s", begun.elapsed().as_secs_f64());
        match fate {
            Ok(Fate::Found(tests)) => println!("{}: found by {} ({time})", mutation.name, shown(&tests)),
            Ok(Fate::Hung) => println!("{}: found, the tests do not end ({time})", mutation.name),
            Ok(Fate::Survived) => {
                println!("{}: SURVIVED ({time}): {}", mutation.name, mutation.why);
                faults.push(format!("{} survived", mutation.name));
            }
            Err(error) => {
                println!("{}: {error:#}", mutation.name);
                faults.push(mutation.name.clone());
            }
        }
    }
    println!("{} of {} mutations are found", mutations.len() - faults.len(), mutations.len());
    ensure!(faults.is_empty(), "{}", faults.join("; "));
    Ok(())
}

/// A few names, and how many more.
fn shown(tests: &[String]) -> String {
    let few = tests[..tests.len().min(3)].join(", ");
    if tests.len() > 3 { format!("{few} and {} more", tests.len() - 3) } else { few }
}

fn read_all(folder: &Path) -> Result<Vec<Mutation>> {
    let mut files: Vec<PathBuf> = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
        files.push(entry?.path());
    }
    files.sort();
    let read = |file: PathBuf| {
        ensure!(file.extension() == Some(OsStr::new("mutation")), "{} is no mutation", file.display());
        let name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        Mutation::parse(&name, &fs::read_to_string(&file)?).with_context(|| format!("in {}", file.display()))
    };
    files.into_iter().map(read).collect()
}

impl Mutation {
    fn parse(name: &str, text: &str) -> Result<Self> {
        let parts = text.split_once("\nfile: ").and_then(|(why, rest)| {
            let (file, rest) = rest.split_once("\n--- search\n")?;
            let (search, rest) = rest.split_once("\n--- replace\n")?;
            Some((why, file, search, rest.strip_suffix("\n---\n")?))
        });
        let (why, file, search, replace) =
            parts.context("not of the form: why, `file: …`, `--- search`, text, `--- replace`, text, `---`")?;
        ensure!(!search.trim().is_empty(), "it searches nothing");
        ensure!(search != replace, "it changes nothing");
        Ok(Self {
            name: name.into(),
            why: why.into(),
            file: file.into(),
            search: search.into(),
            replace: replace.into(),
        })
    }

    /// The source with the bug in it.
    fn apply(&self, source: &str) -> Result<String> {
        let found = source.matches(&self.search).count();
        ensure!(found == 1, "it does not apply: what it searches stands {found} times in {}", self.file.display());
        Ok(source.replacen(&self.search, &self.replace, 1))
    }
}

/// A workspace of the core and of the simulation alone, so that nothing large is built.
struct Bench {
    folder: PathBuf,
    /// The sources of the core that are copied.
    core: PathBuf,
    cargo: OsString,
}

/// The packages of the bench, in place of those of the workspace.
const MEMBERS: [&str; 2] = ["component/core", "tests"];
/// The tests without what needs a host.
const TESTS_MANIFEST: &str = r#"[package]
name = "dayfly-tests"
version.workspace = true
edition.workspace = true
publish.workspace = true

[dependencies]
anyhow.workspace = true
dayfly-core.workspace = true
serde_json = { workspace = true, features = ["std"] }
toml.workspace = true
"#;
const TESTS_ROOT: &str = "pub mod chance;\npub mod life;\npub mod simulation;\n";

impl Bench {
    fn prepare(workspace: &Workspace) -> Result<Self> {
        let folder = workspace.target.join("mutations");
        for old in ["component", "tests"] {
            let old = folder.join(old);
            if old.exists() {
                fs::remove_dir_all(&old)?;
            }
        }
        let tests = folder.join("tests");
        fs::create_dir_all(tests.join("src"))?;
        let manifest = fs::read_to_string(workspace.root.join("Cargo.toml"))?;
        fs::write(folder.join("Cargo.toml"), bench_manifest(&manifest)?)?;
        fs::copy(workspace.root.join("Cargo.lock"), folder.join("Cargo.lock"))?;
        let core = workspace.root.join("component/core");
        for part in ["Cargo.toml", "src", "tests"] {
            copy(&core.join(part), &folder.join("component/core").join(part))?;
        }
        fs::write(tests.join("Cargo.toml"), TESTS_MANIFEST)?;
        fs::write(tests.join("src/lib.rs"), TESTS_ROOT)?;
        for part in
            ["src/chance.rs", "src/life.rs", "src/simulation.rs", "src/simulation", "tests/simulation", "golden"]
        {
            copy(&workspace.root.join("tests").join(part), &tests.join(part))?;
        }
        let cargo = workspace.cargo().get_program().to_owned();
        Ok(Self { folder, core: core.join("src"), cargo })
    }

    fn plant(&self, mutation: &Mutation) -> Result<()> {
        let source = fs::read_to_string(self.core.join(&mutation.file))?;
        fs::write(self.copied(mutation), mutation.apply(&source)?)?;
        Ok(())
    }

    fn restore(&self, mutation: &Mutation) -> Result<()> {
        let source = fs::read_to_string(self.core.join(&mutation.file))?;
        Ok(fs::write(self.copied(mutation), source)?)
    }

    fn copied(&self, mutation: &Mutation) -> PathBuf {
        self.folder.join("component/core/src").join(&mutation.file)
    }

    /// Runs the simulation and, if that finds nothing, the tests of the core.
    fn test(&self) -> Result<Fate> {
        for package in ["dayfly-tests", "dayfly-core"] {
            for program in self.build(package)? {
                match run(&program, &self.folder.join("tests"))? {
                    Fate::Survived => {}
                    found => return Ok(found),
                }
            }
        }
        Ok(Fate::Survived)
    }

    /// Builds the test programs of a package; gives where they are.
    fn build(&self, package: &str) -> Result<Vec<PathBuf>> {
        let mut build = Command::new(&self.cargo);
        build.current_dir(&self.folder).env("CARGO_TARGET_DIR", self.folder.join("target"));
        build.args(["test", "--no-run", "--color", "never", "--package", package]);
        let output = build.stdin(Stdio::null()).output().context("cannot run cargo")?;
        let text = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "it does not compile:\n{text}");
        let named = |line: &str| {
            let (_, path) = line.trim().strip_prefix("Executable ")?.rsplit_once('(')?;
            path.strip_suffix(')').map(|path| self.folder.join(path))
        };
        let programs: Vec<PathBuf> = text.lines().filter_map(named).collect();
        ensure!(!programs.is_empty(), "cargo names no test program:\n{text}");
        Ok(programs)
    }
}

/// Runs a test program for a limited time.
fn run(program: &Path, folder: &Path) -> Result<Fate> {
    let log = program.with_extension("log");
    let mut test = Command::new(program);
    test.current_dir(folder).env("CARGO_MANIFEST_DIR", folder).env("DAYFLY_SEEDS", SEEDS);
    test.env_remove("RUST_BACKTRACE").env_remove("DAYFLY_BLESS");
    test.stdin(Stdio::null()).stdout(fs::File::create(&log)?).stderr(Stdio::null());
    let mut child = test.spawn().with_context(|| format!("cannot run {}", program.display()))?;
    let deadline = Instant::now() + LIMIT;
    let status = loop {
        match child.try_wait()? {
            Some(status) => break status,
            None if Instant::now() >= deadline => {
                child.kill()?;
                child.wait()?;
                return Ok(Fate::Hung);
            }
            None => std::thread::sleep(Duration::from_millis(20)),
        }
    };
    let text = fs::read_to_string(&log)?;
    let failed = |line: &str| line.strip_prefix("test ")?.strip_suffix(" ... FAILED").map(str::to_owned);
    let failed: Vec<String> = text.lines().filter_map(failed).collect();
    match (status.success(), failed.is_empty()) {
        (true, true) => Ok(Fate::Survived),
        (false, false) => Ok(Fate::Found(failed)),
        (false, true) => Ok(Fate::Found(vec![format!("a crash of the test program ({status})")])),
        (true, false) => bail!("the test program succeeds, and names failed tests"),
    }
}

/// The workspace's manifest with the bench's members.
fn bench_manifest(manifest: &str) -> Result<String> {
    let mut manifest: toml::Table = manifest.parse()?;
    let workspace = manifest.get_mut("workspace").and_then(toml::Value::as_table_mut);
    let workspace = workspace.context("the workspace's manifest has no table `workspace`")?;
    workspace.insert("members".to_owned(), MEMBERS.map(toml::Value::from).to_vec().into());
    workspace.remove("default-members");
    Ok(manifest.to_string())
}

/// Copies a file, or a folder with all that is in it.
fn copy(from: &Path, to: &Path) -> Result<()> {
    let context = || format!("cannot copy {}", from.display());
    if from.is_dir() {
        fs::create_dir_all(to)?;
        for entry in fs::read_dir(from).with_context(context)? {
            let entry = entry?;
            copy(&entry.path(), &to.join(entry.file_name()))?;
        }
        return Ok(());
    }
    fs::create_dir_all(to.parent().context("a copy has a folder")?)?;
    fs::copy(from, to).with_context(context)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "Why.\nfile: a.rs\n--- search\none\n  two\n--- replace\nthree\n---\n";

    #[test]
    fn a_mutation_is_read_and_applied() {
        let mutation = Mutation::parse("name", TEXT).expect("it has the form");
        assert_eq!((mutation.why.as_str(), mutation.search.as_str()), ("Why.", "one\n  two"));
        assert_eq!(mutation.apply("x\none\n  two\ny").expect("it applies"), "x\nthree\ny");
        assert!(mutation.apply("one\n two").is_err(), "it stands nowhere");
        assert!(mutation.apply("one\n  two one\n  two").is_err(), "it stands twice");
    }

    #[test]
    fn a_mutation_may_take_away() {
        let text = TEXT.replace("three", "");
        assert_eq!(Mutation::parse("name", &text).expect("it has the form").replace, "");
    }

    /// They are planted by hand only; this notices at once that what one searches was changed.
    #[test]
    fn all_that_are_committed_apply() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let mutations = read_all(&root.join("tests/mutations")).expect("they can be read");
        assert!(!mutations.is_empty());
        for mutation in mutations {
            let source = fs::read_to_string(root.join("component/core/src").join(&mutation.file)).expect("it is there");
            if let Err(error) = mutation.apply(&source) {
                panic!("{}: {error}", mutation.name);
            }
        }
    }

    #[test]
    fn what_is_no_mutation_is_refused() {
        for text in ["", "Why.\n", &TEXT.replace("--- replace", "---"), &TEXT.replace("three", "one\n  two")] {
            assert!(Mutation::parse("name", text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn the_bench_has_packages_of_its_own() {
        let manifest =
            "[workspace]\nmembers = [\n    \"a\",\n]\ndefault-members = [\"a\"]\n[profile.dev]\nopt-level = 1\n";
        let made = bench_manifest(manifest).expect("it has a workspace");
        let made: toml::Table = made.parse().expect("it is TOML");
        let expected = "workspace.members = ['component/core', 'tests']\nprofile.dev.opt-level = 1\n";
        assert_eq!(made, expected.parse::<toml::Table>().expect("it is TOML"));
        assert!(bench_manifest("[package]\n").is_err());
    }
}
