//! Makes a file of operations from a package index, and compares a cluster with what a plain sequential program
//! computes from the same file.

use std::io::{BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result, ensure};
use clap::{Parser, Subcommand};
use dayfly_tests::client::Client;
use dayfly_tests::package_index::{Package, changes, generate, operations, read};
use dayfly_tests::plain::Plain;

/// Real operations for `dayfly load`, from the package index that apt keeps
///
/// Three a package: a counter a section, an orset of packages a maintainer, an lwwregister of the version a package.
#[derive(Debug, Parser)]
#[command(name = "package-index")]
struct Arguments {
    #[command(subcommand)]
    command: Order,
}

#[derive(Debug, Subcommand)]
enum Order {
    /// Write the operations, one JSON object a line
    Make {
        /// The file to write
        file: PathBuf,
        /// In place of apt's index, one of so many made-up packages, with changes to them
        #[arg(long, value_name = "PACKAGES")]
        made_up: Option<usize>,
        /// Of which seed they are made up
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
    /// Compare a cluster with what the operations of a file, applied one after the other, amount to
    Verify {
        /// The file that was loaded
        file: PathBuf,
        /// Where the cluster, or one replica of it, is
        #[arg(long, env = "DAYFLY_URL", default_value = "http://127.0.0.1:8080")]
        url: String,
        /// The mark that the load was told to set, if it was
        #[arg(long, value_name = "KEY")]
        mark: Option<String>,
        /// How many differences to tell at most
        #[arg(long, default_value_t = 10)]
        at_most: usize,
    },
}

fn main() -> Result<ExitCode> {
    match Arguments::parse().command {
        Order::Make { file, made_up, seed } => make(&file, made_up, seed),
        Order::Verify { file, url, mark, at_most } => verify(&file, &url, mark, at_most),
    }
}

fn make(file: &Path, made_up: Option<usize>, seed: u64) -> Result<ExitCode> {
    let (packages, later) = match made_up {
        Some(count) => {
            let packages = generate(count, seed);
            let later = changes(&packages, seed);
            (packages, later)
        }
        None => (apt_index()?, Vec::new()),
    };
    let mut lines = operations(&packages);
    lines.extend(later);
    let opened = std::fs::File::create(file).with_context(|| file.display().to_string())?;
    let mut out = BufWriter::new(opened);
    for line in &lines {
        writeln!(out, "{line}")?;
    }
    out.flush()?;
    println!("{} operations on {} packages in {}", lines.len(), packages.len(), file.display());
    Ok(ExitCode::SUCCESS)
}

fn apt_index() -> Result<Vec<Package>> {
    let mut command = Command::new("apt-cache");
    let mut child = command
        .arg("dumpavail")
        .stdout(Stdio::piped())
        .spawn()
        .context("apt-cache is not here; --made-up PACKAGES does without")?;
    let packages = read(BufReader::new(child.stdout.take().context("its output is piped")?));
    ensure!(child.wait()?.success(), "apt-cache dumpavail failed");
    packages.context("apt has no index yet: `apt-get update` fetches it; --made-up PACKAGES does without")
}

fn verify(file: &Path, url: &str, mark: Option<String>, at_most: usize) -> Result<ExitCode> {
    let text = std::fs::read_to_string(file).with_context(|| file.display().to_string())?;
    let lines = text.lines().count();
    let mut expected = Plain::of_lines(text.lines())?;
    if let Some(key) = mark {
        expected.put_mark(&key, lines);
    }
    let differences = expected.differences(&mut Client::new(url)?, at_most)?;
    if differences.is_empty() {
        println!("{} keys, all as a sequential program computes them from {lines} lines", expected.len());
        return Ok(ExitCode::SUCCESS);
    }
    differences.iter().for_each(|difference| println!("{difference}"));
    Ok(ExitCode::FAILURE)
}
