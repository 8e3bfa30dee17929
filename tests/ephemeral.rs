//! The database outlives its replicas: a load goes in through `dayfly load` while every replica that was there at the
//! start is reclaimed or killed. What is then read, from any replica, is what a plain sequential program computes from
//! the same lines.

use std::collections::BTreeSet;
use std::io::{BufWriter, Write};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use dayfly_tests::client::Client;
use dayfly_tests::package_index::{changes, generate, operations};
use dayfly_tests::plain::Plain;
use dayfly_tests::process::program_file;
use dayfly_tests::program::Program;
use serde_json::Value;

/// How many packages are made up: three operations each, and changes to a quarter of them.
const PACKAGES: usize = 1_500;
/// So many lines go in at a time, and then a pause, so that the load lasts longer than the longest life.
const SLICE: usize = 50;
const PAUSE: Duration = Duration::from_millis(100);
/// The key that tells how far the load has come.
const MARK: &str = "loaded/ephemeral";
/// The mean life of a replica; none lives longer than three times that.
const MEAN_LIFE_SECONDS: f64 = 2.0;
/// How long the state may take to be read as expected once the load is in.
const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn a_load_outlives_every_replica() {
    if let Err(error) = outlive() {
        panic!("{error:#}");
    }
}

fn outlive() -> Result<()> {
    let packages = generate(PACKAGES, 1);
    let lines: Vec<String> =
        operations(&packages).into_iter().chain(changes(&packages, 1)).map(|line| line.to_string()).collect();
    let mean_life = MEAN_LIFE_SECONDS.to_string();
    let arguments = ["--replicas", "8", "--regions", "eu,us", "--ephemeral", "--awake", "0.6", "--idle", "2"];
    let lives = ["--mean-life", &mean_life, "--renew", "2", "--seed", "7"];
    let program = Program::up(&[&arguments[..], &lives[..]].concat())?;
    let first: BTreeSet<String> = program.members()?.into_iter().collect();
    ensure!(first.len() == 8, "{first:?} in place of 8 replicas");

    let began = Instant::now();
    load(&program, &lines)?;
    // The load lasts longer, so that what follows is not what makes the first replicas end.
    ensure!(began.elapsed().as_secs_f64() > 3.0 * MEAN_LIFE_SECONDS, "the load was over too soon");
    let gone: Vec<bool> = first.iter().map(|name| is_gone(&program, name)).collect::<Result<_>>()?;
    ensure!(gone.iter().all(|gone| *gone), "of the first replicas some live: {first:?}, gone: {gone:?}");

    let mut expected = Plain::of_lines(lines.iter().map(String::as_str))?;
    expected.put_mark(MARK, lines.len());
    until_equal(&expected, program.url())?;
    let from_replicas = read_from_replicas(&program, &expected)?;
    ensure!(from_replicas >= 2, "only {from_replicas} replicas were read");

    let told = program.end()?;
    let last = told.iter().rev().find(|line| line["second"].is_u64()).context("no line a second")?;
    ensure!(last["extinctions"] == 0 && last["lost"] == 0, "{last}");
    let ended = last["killed"].as_u64().unwrap_or(0) + last["reclaimed"].as_u64().unwrap_or(0);
    ensure!(ended >= 8, "{last}");
    println!("{} operations; {ended} replicas killed or reclaimed; read from {from_replicas}", lines.len());
    Ok(())
}

/// Hands all lines to `dayfly load`, slowly. Where a replica dies over a batch, the mark tells whether it is applied.
fn load(program: &Program, lines: &[String]) -> Result<()> {
    let mut child = Command::new(program_file()?)
        .args(["load", "-", "--json", "--quiet", "--retry", "30", "--mark", MARK, "--url", program.url()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut input = BufWriter::new(child.stdin.take().context("its input is piped")?);
    for slice in lines.chunks(SLICE) {
        let sent = slice.iter().try_for_each(|line| writeln!(input, "{line}")).and_then(|()| input.flush());
        if sent.is_err() {
            // It has ended early, and tells why.
            break;
        }
        thread::sleep(PAUSE);
    }
    drop(input);
    let output = child.wait_with_output()?;
    let text = String::from_utf8(output.stdout)?;
    let summary: Value =
        serde_json::from_str(&text).with_context(|| format!("{}: no summary: {text:?}", output.status))?;
    ensure!(output.status.success() && summary["complete"] == true, "{}: {summary}", output.status);
    ensure!(summary["applied"] == lines.len() && summary["bad"] == 0, "{summary}");
    Ok(())
}

/// Whether the platform says that there is no such replica (any more).
fn is_gone(program: &Program, name: &str) -> Result<bool> {
    let answer = Client::new(program.url())?.get(&format!("/replicas/{name}/v1/status"))?;
    Ok(answer.status == 503)
}

/// Reads until the state is the expected one. A replica that is being filled, or that has just been thawed, may not know
/// everything yet.
fn until_equal(expected: &Plain, url: &str) -> Result<()> {
    let until = Instant::now() + PATIENCE;
    loop {
        let differences = expected.differences(&mut Client::new(url)?, 5);
        if differences.as_ref().is_ok_and(Vec::is_empty) {
            return Ok(());
        }
        ensure!(Instant::now() < until, "still not as expected: {differences:?}");
        thread::sleep(PAUSE);
    }
}

/// Reads the whole state from single replicas, as many as live long enough; their roots must agree too. Gives how many.
fn read_from_replicas(program: &Program, expected: &Plain) -> Result<usize> {
    let mut roots = BTreeSet::new();
    let mut read = BTreeSet::new();
    let until = Instant::now() + PATIENCE;
    while read.len() < 4 && Instant::now() < until {
        for name in program.members()? {
            let client = &mut Client::new(&format!("{}/replicas/{name}", program.url()))?;
            let status = client.get("/v1/status")?;
            let body: Value = serde_json::from_slice(&status.body)?;
            if status.status != 200 || body["complete"] != true || read.contains(&name) {
                continue;
            }
            // It may be killed while it is read, and then another one serves as well.
            let Ok(differences) = expected.differences(client, 5) else { continue };
            ensure!(differences.is_empty(), "{name} says that it is complete: {differences:?}");
            roots.insert(body["root"].as_str().context("a status without root")?.to_owned());
            ensure!(roots.len() == 1, "nothing is written, and roots differ: {roots:?}");
            read.insert(name);
        }
    }
    Ok(read.len())
}
