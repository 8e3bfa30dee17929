//! `dayfly conformance`: the scenarios of the conformance suite that clients can bring about, played on any deployment.
//!
//! `deployment` asks it, `own_keys` gives each scenario a name space of its own, `awake` keeps replicas awake meanwhile,
//! `report` and `junit` tell the outcome.

mod awake;
mod deployment;
mod junit;
mod own_keys;
mod report;

use std::fs;
use std::io::{Write, stdout};
use std::path::PathBuf;
use std::process::{ExitCode, exit};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use clap::Args;
use dayfly_conformance::http::Request;
use dayfly_conformance::player::play;
use dayfly_conformance::scenario::Scenario;
use dayfly_conformance::shipped::scenarios;
use dayfly_conformance::stage::Runner;
use dayfly_engine::{SystemWorld, World};
use serde_json::Value;

use self::awake::keep_awake;
use self::deployment::{Deployment, DeploymentRunner, Place};
use self::report::{Case, Outcome, Report};
use crate::client::Failure;
use crate::client::server::Silence;
use crate::keep::target::Target;
use crate::load::signal;

const HELP: &str = "\
The scenarios are those of the project's own suite. Those that need a hold over replicas or broker (a kill, a freeze, lost
messages) are listed as not playable, with the reason. All others see a database of their own: their keys begin with
`conformance-`, a random number and the scenario's, are deleted after each scenario, and nothing else is written or deleted.

One replica or thousands may stand behind the URL. Each request carries the context of the writes before it
(dayfly-context, dayfly-after), so whoever answers has seen them; who has not yet seen them is asked again for --timeout.

Examples:
  dayfly conformance                                        the cluster of `dayfly up` on this machine
  dayfly conformance --url https://abc.lambda-url.eu-west-1.on.aws --wake lambda:dayfly@eu-west-1
  dayfly conformance --url http://127.0.0.1:3000 --wake http://127.0.0.1:3000 --junit report.xml
  dayfly conformance --header 'authorization: Bearer …' --filter orset --json

Exit codes:
  0    all that could be played passed, and nothing is left
  1    a scenario failed or got no answer, or keys are left
  2    wrong usage: nothing was sent
  3    the deployment or a replica to wake could not be reached: nothing was played
  130  interrupted: what there is was told, the keys are deleted";

/// Check any deployment against the conformance scenarios
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub struct ConformanceArgs {
    /// Where the deployment answers: the URL below which `/v1/` is
    #[arg(long, env = "DAYFLY_URL", value_name = "URL", default_value = "http://127.0.0.1:8080", value_parser = url)]
    url: String,

    /// Keep a replica awake there meanwhile; as for `keep`: `lambda:FUNCTION@REGION`, `http://…`, `https://…`; repeatable
    #[arg(long, value_name = "TARGET")]
    wake: Vec<Target>,

    /// A header of each request, such as `authorization: Bearer …`; repeatable
    #[arg(long, value_name = "NAME: VALUE", value_parser = header)]
    header: Vec<(String, String)>,

    /// Only scenarios whose name contains this
    #[arg(long, value_name = "TEXT")]
    filter: Option<String>,

    /// How long to wait for an answer, and for somebody who is able to give it, in seconds (0.1 to 3600)
    #[arg(long, value_name = "SECONDS", default_value = "30", value_parser = crate::client::arguments::seconds)]
    timeout: Duration,

    /// Print the report as JSON in place of the table
    #[arg(long)]
    json: bool,

    /// Write the report there, as JUnit XML
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
}

fn url(text: &str) -> Result<String, String> {
    match text.parse()? {
        Target::Url(url) => Ok(url),
        Target::Lambda { .. } => Err("expected a URL; a function is asked through its function URL".to_owned()),
    }
}

fn header(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once(':').ok_or("expected NAME: VALUE")?;
    let (name, value) = (name.trim(), value.trim());
    let fits = name.parse::<ureq::http::HeaderName>().is_ok() && value.parse::<ureq::http::HeaderValue>().is_ok();
    if fits { Ok((name.to_owned(), value.to_owned())) } else { Err("this cannot stand in a header".to_owned()) }
}

/// `dayfly conformance`.
pub fn run(args: &ConformanceArgs) -> anyhow::Result<ExitCode> {
    let mut chosen = scenarios()?;
    if let Some(filter) = &args.filter {
        chosen.retain(|scenario| scenario.name.contains(filter));
    }
    let known = || Failure::Usage("--filter: no scenario has such a name; without it the report lists all".to_owned());
    ensure!(!chosen.is_empty(), known());
    let place = Place { url: args.url.clone(), headers: args.header.clone(), patience: args.timeout };
    let own = format!("conformance-{:08x}-", SystemWorld.random_u64() >> 32);
    let stop = Arc::new(AtomicBool::new(false));
    let (raised, prefix) = (Arc::clone(&stop), own.clone());
    let on_signal = move |count| {
        raised.store(true, Ordering::Relaxed);
        match count {
            1 => eprintln!("dayfly: this scenario is still played to its end; another signal ends it at once"),
            _ => {
                eprintln!("dayfly: keys that begin with {prefix} may be left, delete them");
                exit(130);
            }
        }
    };
    signal::watch(on_signal).context("signals")?;
    let deployment = Arc::new(Deployment::at(place, own));
    keep_awake(&args.wake)?;
    let status = introduce(&deployment)?;
    let mut report = Report::begin(&args.url, &status, args.json);
    let runner = DeploymentRunner::on(Arc::clone(&deployment));
    for scenario in &chosen {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        report.add(case(&runner, scenario))?;
    }
    // What a scenario could not clear away, because nobody answered, say, may be possible now.
    report.end(&deployment, stop.load(Ordering::Relaxed));
    if let Some(file) = &args.junit {
        fs::write(file, junit::document(&report)?).with_context(|| format!("cannot write {}", file.display()))?;
    }
    stdout().write_all(report.tail().as_bytes())?;
    Ok(match (stop.load(Ordering::Relaxed), report.is_good()) {
        (true, _) => ExitCode::from(130),
        (false, true) => ExitCode::SUCCESS,
        (false, false) => ExitCode::FAILURE,
    })
}

/// Asks the deployment who it is.
fn introduce(deployment: &Deployment) -> Result<Value, Failure> {
    let status = Request { method: "GET".into(), path: "/v1/status".into(), ..Request::default() };
    let answer = deployment.ask(&status).map_err(|silence| deployment.failure(silence))?;
    let told = answer.json().ok().filter(|status| answer.status == 200 && status["name"].is_string());
    told.ok_or_else(|| {
        let body: String = String::from_utf8_lossy(&answer.body).chars().take(200).collect();
        Failure::Foreign(format!("GET /v1/status: {} {body}", answer.status))
    })
}

/// Plays one scenario, and deletes what it left.
fn case(runner: &DeploymentRunner, scenario: &Scenario) -> Case {
    let begun = Instant::now();
    let outcome = match runner.refuses(scenario) {
        Some(reason) => Outcome::NotPlayable(reason),
        None => {
            let played = play(runner, scenario);
            let cleared = runner.clear().context("what it wrote could not be deleted");
            match played.and(cleared) {
                Ok(_) => Outcome::Passed,
                Err(error) if error.downcast_ref::<Silence>().is_some() => Outcome::Unanswered(format!("{error:#}")),
                Err(error) => Outcome::Failed(format!("{error:#}")),
            }
        }
    };
    let (name, file, checks) = (scenario.name.clone(), scenario.file.clone(), scenario.checks.clone());
    Case { name, file, checks, outcome, took: begun.elapsed() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_and_urls_are_checked() {
        assert_eq!(header("Authorization: Bearer a:b"), Ok(("Authorization".to_owned(), "Bearer a:b".to_owned())));
        for wrong in ["authorization", "a b: c", ": c", "a: b\nc"] {
            assert!(header(wrong).is_err(), "{wrong:?}");
        }
        assert_eq!(url("https://example.com/stage/"), Ok("https://example.com/stage".to_owned()));
        for wrong in ["lambda:f@eu-west-1", "example.com", "http://", "http://host/?q"] {
            assert!(url(wrong).is_err(), "{wrong:?}");
        }
    }
}
