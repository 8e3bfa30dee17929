//! `dayfly experiment`, run as its users run it: real replicas, a modelled world.

mod counts;
mod page;
mod tables;

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

/// A world in which much goes wrong, for a minute and a half.
const STORMY: &str = r#"
title = "Stormy"
warmup_s = 5
seconds = 60
settle_s = 30
places = [{ region = "eu", replicas = 10 }, { region = "us", replicas = 6, spread_s = 3 }]

[network]
other_region_ms = 20
pairs = [{ between = ["eu", "us"], ms = 5 }]

[replica]
combine_above = 4

[broker]
loss = 0.02
duplication = 0.05
failure = 0.02
inbox_kib = 64

[platform]
kind = "functions"
awake_s = 6
wake_every_s = 3
mean_life_s = 60
shares = true
environments = 40

[[outages]]
region = "us"
kind = "network"
from_s = 10
to_s = 20

[[outages]]
region = "us"
kind = "power"
from_s = 30
to_s = 40

[[clients]]
name = "users"
every_ms = 400
rhythm = "poisson"
does.requests = [
  { type = "pncounter", key = "count-{below:5}", operation = { increment = 1 } },
  { type = "orset", key = "set", operation = { add = ["{below:20}"] } },
  { type = "orset", key = "set", operation = { remove = ["{below:20}"] } },
  { type = "pncounter", key = "count-{below:5}" },
]

[measure]
follow_every_ms = 500
"#;

/// The program's subcommand with these arguments.
fn experiment(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dayfly"));
    command.arg("experiment").args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn ran(args: &[&str]) -> Output {
    experiment(args).output().expect("the program can be started")
}

/// What a run printed that must go well.
#[track_caller]
fn printed(args: &[&str]) -> String {
    let output = ran(args);
    assert!(output.status.success() && output.stderr.is_empty(), "{args:?}: {output:?}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// The report of a run.
#[track_caller]
fn report(args: &[&str]) -> Value {
    serde_json::from_str(&printed(&[&["run", "--quiet", "--json"], args].concat())).expect("JSON")
}

/// A file of this test's own.
fn file(name: &str, text: &str) -> String {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("experiment-{name}"));
    fs::write(&path, text).expect("it can be written");
    path.to_str().expect("UTF-8").to_owned()
}

/// The refusal of a scenario, which must name all these.
#[track_caller]
fn refused(text: &str, parts: &[&str]) {
    let output = ran(&["run", &file("refused.toml", text)]);
    let told = String::from_utf8(output.stderr).expect("UTF-8");
    assert_eq!(output.status.code(), Some(2), "{told}");
    parts.iter().for_each(|part| assert!(told.contains(part), "{part:?} is missing in: {told}"));
}

#[test]
fn the_same_seed_gives_the_same_run_whatever_the_threads_are() {
    let path = file("stormy.toml", STORMY);
    let mut reports = ["1", "2", "5"].map(|threads| report(&[&path, "--threads", threads]));
    for report in &mut reports {
        let wall = report.as_object_mut().and_then(|members| members.remove("wall"));
        assert!(wall.is_some_and(|wall| wall["calls"].as_u64() > Some(1_000)), "{report}");
    }
    let [one, two, five] = &reports;
    assert_eq!(one, two);
    assert_eq!(one, five);
    let other = report(&[&path, "--seed", "2"]);
    assert_ne!(one["trace"], other["trace"]);
}

#[test]
fn nothing_is_lost_in_a_storm_but_what_the_model_loses_and_replicas_agree_after_it() {
    let report = report(&[&file("calming.toml", STORMY)]);
    assert_eq!(report["copies"]["accounted"], true, "{}", report["broker"]);
    for accident in ["lost", "duplicated", "failed", "dropped"] {
        assert!(report["broker"][accident].as_u64() > Some(0), "no message was {accident}: {}", report["broker"]);
    }
    let platform = &report["platform"];
    for happened in ["killed", "invocations"] {
        assert!(platform[happened].as_u64() > Some(0), "{happened}: {platform}");
    }
    assert!(report["cost"]["gb_s"].as_f64() > Some(0.0), "{}", report["cost"]);
    let users = &report["requests"]["users"];
    assert!(users["succeeded"].as_u64() > Some(1_000), "{users}");
    assert!(report["convergence"]["count"].as_u64() > Some(20), "{}", report["convergence"]);
    // Replicas slept while others wrote, and newcomers were filled.
    assert!(report["figures"]["staleness_asleep"].as_f64() > Some(0.0), "{}", report["figures"]);
    assert!(report["fills"]["count"].as_u64() > Some(0), "{}", report["fills"]);
    // The accidents go on to the end, so that somebody may miss the last frame; but not for long.
    assert!(report["figures"]["replicas_roots"].as_f64() <= Some(2.0), "{}", report["figures"]);
}

#[test]
fn in_a_calm_world_every_write_reaches_everyone() {
    let scenario = r#"
        title = "Calm"
        warmup_s = 5
        seconds = 20
        settle_s = 5
        places = [{ region = "eu", replicas = 7 }]
        clients = [{ name = "adders", every_ms = 1000, deeds = 10, does.requests = [
            { type = "gset", key = "set", operation = { add = ["{client}-{n}"] } } ] }]
        [measure]
        follow_every_ms = 0
    "#;
    let report = report(&[&file("calm.toml", scenario)]);
    let figure = |name: &str| report["figures"][name].as_f64().unwrap_or_else(|| panic!("{name}: {report}"));
    assert_eq!(report["requests"]["adders"]["succeeded"], 70);
    assert_eq!(figure("convergence_count"), 70.0);
    assert_eq!(figure("staleness_count"), 70.0 * 6.0);
    assert_eq!(figure("replica_entries_max"), 70.0);
    assert_eq!(figure("replicas_roots"), 1.0);
    assert_eq!(figure("published_elements"), 70.0);
    assert_eq!(figure("delivered_to_others_elements"), 70.0 * 6.0);
    // Two ways of 0.25 ms each, with a tenth of jitter at most, and what calls and lines take.
    assert!((0.5..2.0).contains(&figure("convergence_p50_ms")), "{report}");
    let totals = ["lost", "dropped", "expired", "vanished", "duplicated", "failed"];
    assert!(totals.iter().all(|total| report["broker"][total] == 0), "{}", report["broker"]);
    let counted: u64 =
        report["series"].as_array().expect("intervals").iter().filter_map(|i| i["succeeded"].as_u64()).sum();
    assert!(counted <= 70, "{}", report["series"]);
}

#[test]
fn the_same_file_in_an_overlay_stands_beside_what_was_published_of_that() {
    let run = |threads| {
        let mut report = report(&["gset", "--overlay", "mesh", "--seconds", "10", "--threads", threads]);
        report.as_object_mut().and_then(|members| members.remove("wall"));
        report
    };
    let report = run("1");
    assert_eq!(report, run("3"));
    assert_eq!(report["scenario"]["title"], "GSet of ICDE'19, over the mesh");
    // Ten events each, to fourteen others, and none twice; nothing goes to everyone.
    assert_eq!(report["figures"]["published_elements"], 15.0 * 10.0 * 14.0);
    assert_eq!(report["figures"]["replicas_roots"], 1.0);
    assert_eq!(report["ways"]["everyone"]["published"]["messages"], 0);
    assert_eq!(report["figures"].get("repair_delivered_bytes"), None);
    let published = report["published"].as_array().expect("an array");
    let is_of_mesh = |figure: &Value| figure["of"].as_str().is_some_and(|of| of.starts_with("partialmesh"));
    assert!(published.len() > 10 && published.iter().all(is_of_mesh), "{published:?}");

    let path = file("mesh.json", &serde_json::to_string(&report).expect("JSON"));
    let table = printed(&["compare", &path]);
    let (_, beside) = table.split_once("Published by").expect("something is published");
    let rows: Vec<&str> = beside.lines().filter(|line| line.contains("partialmesh")).collect();
    let first_of_bytes = rows.iter().position(|row| row.contains("_bytes")).expect("bytes are published");
    assert!(first_of_bytes > 5 && rows[first_of_bytes..].iter().all(|row| row.contains("_bytes")), "{table}");
    assert!(rows[0].contains("  x"), "{table}");

    assert!(printed(&["list"]).contains("[--overlay mesh|tree]"));
    let refused = ran(&["run", "gset", "--overlay", "ring"]);
    let told = String::from_utf8(refused.stderr).expect("UTF-8");
    assert!(refused.status.code() == Some(2) && told.contains("it has mesh, tree"), "{told}");
}

#[test]
fn what_is_wrong_in_a_scenario_is_told_where_it_stands() {
    refused(&format!("{STORMY}\nfollow = 1"), &["unknown field `follow`", "refused.toml"]);
    refused(&STORMY.replace("loss = 0.02", "loss = 2"), &["broker.loss is 2", "from 0 to 1"]);
    refused(&STORMY.replace("seconds = 60", "seconds = 'long'"), &["seconds", "string"]);
    refused(&STORMY.replace("region = \"us\"\nkind", "region = \"ap\"\nkind"), &["\"ap\"", "no region"]);
    refused("title = 'x'", &["seconds"]);
    let output = ran(&["run", "no-such-scenario"]);
    let told = String::from_utf8(output.stderr).expect("UTF-8");
    assert_eq!(output.status.code(), Some(2), "{told}");
    assert!(told.contains("no-such-scenario") && told.contains("advertisement-server"), "{told}");
    let output = ran(&["run", "gset", "--replicas", "0"]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
}

#[test]
fn scenarios_are_listed_and_shown_and_reports_compared() {
    let list = printed(&["list"]);
    assert!(list.lines().count() >= 10 && list.contains("gset") && list.contains("retwis"), "{list}");
    let own = file("own.toml", &printed(&["show", "gset"]));
    let paths = ["one", "two"].map(|name| file(&format!("{name}.json"), ""));
    for (path, seed) in paths.iter().zip(["1", "2"]) {
        printed(&["run", &own, "--seconds", "5", "--seed", seed, "--quiet", "--out", path]);
    }
    let table = printed(&["compare", &paths[0], &paths[1]]);
    assert!(table.contains("1: GSet") && table.contains("(seed 2") && table.contains("x1.000"), "{table}");
    let shown = printed(&["show", &paths[0]]);
    assert!(shown.contains("delivered_bytes") && shown.contains("Published by Enes et al."), "{shown}");
    let output = ran(&["compare", &own]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
}

#[cfg(unix)]
#[test]
fn an_interrupted_run_writes_what_there_is() {
    let path = file("interrupted.json", "");
    let mut child =
        experiment(&["run", "churn", "--seconds", "900000", "--out", &path]).spawn().expect("it can be started");
    // Progress is told every few seconds. On a busy machine it is still warming up then, which takes a minute of the
    // run's time.
    let lines = BufReader::new(child.stderr.take().expect("it is piped")).lines().map(|line| line.expect("UTF-8"));
    let has_begun = |line: &String| !["dayfly: 0:", "dayfly: 1:"].iter().any(|early| line.starts_with(early));
    let mut lines = lines.skip_while(|line| !has_begun(line));
    let line = lines.next().expect("a line");
    assert!(line.contains("simulated") && line.contains("left"), "{line}");
    let killed =
        Command::new("kill").args(["-INT", &child.id().to_string()]).status().expect("there is such a program");
    assert!(killed.success());
    // What it has still to say has room in the pipe.
    assert_eq!(child.wait().expect("it ends").code(), Some(130));
    let report: Value = serde_json::from_str(&fs::read_to_string(&path).expect("it was written")).expect("JSON");
    assert_eq!(report["interrupted"], true);
    assert!(report["counted_s"].as_f64() > Some(1.0), "{report}");
    assert!(report["figures"]["published_messages"].as_f64() > Some(0.0), "{report}");
}
