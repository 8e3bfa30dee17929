//! `dayfly keep`: keeps replicas of functions alive, and has them hand the database on.
//!
//! `target` is what is kept, `planner` decides when which replica is woken (and `pause` for how long a target is left
//! alone), `call` wakes it through `lambda` or `url`, `keeper` brings these together; `bill` counts what that costs by
//! the prices of `price`, `standing` and `reporter` tell it, `schedule` foretells it.

pub mod bill;
pub mod call;
mod credentials;
mod keeper;
mod lambda;
mod pause;
mod planner;
pub mod price;
mod reporter;
mod schedule;
mod signature;
mod standing;
pub mod target;
mod url;

use std::io::{self, Write};
use std::process::ExitCode;
use std::sync::mpsc;
use std::time::Duration;

use clap::Args;
use dayfly_engine::{SystemWorld, World};
use serde_json::json;

use crate::client::Failure;
use crate::load::signal;
use call::Caller;
use keeper::{Event, Keeper, Orders};
use planner::Policy;
use price::{Architecture, Prices};
use reporter::Reporter;
use schedule::Schedule;
use target::{REPLICAS_MAX, Wish};

const AFTER_HELP: &str = "\
Targets, each with the number of replicas to keep awake there:
  lambda:FUNCTION@REGION=N   a function of AWS Lambda; FUNCTION may have :ALIAS or :VERSION, or be an ARN. Needs the IAM
                             action lambda:InvokeFunction, and concurrency for twice N: successors overlap
  http://HOST=N, https://…   whatever answers POST /v1/wake there (`dayfly up`, a function URL), or, where there is no
                             such path, GET /v1/linger (Spin), which is kept open as long as the replica is to be awake

How it keeps them:
  A replica is woken for --seconds. Before they are over its successor is woken, early enough to be complete while the
  predecessor is still awake: by twice the longest of the last 32 bootstraps (from the wake to its answer) and one
  second, at least by --overlap, and at most by half of --seconds, which also holds before a bootstrap was seen. The
  renewals of all replicas are spread evenly. A wake that fails is tried again after a pause that doubles from 0.5 s to
  10 s, less a random part up to half of it, or after what the target asks for (retry-after, up to 60 s); while a target
  fails, one wake is tried in a pause. When no complete replica is awake, it says so loudly: NOBODY HOLDS THE DATABASE.
  It does not see a replica that is killed between its answer and its end: keep two or more where that may happen.

While it runs:
  A line TARGET=N on standard input changes a number at once, or adds a target. More are woken now; fewer are not
  renewed. (In the background of a shell: give it </dev/null.)
  Ctrl-C or SIGTERM ends it in good order: nothing is renewed, the answers that are due are waited for, and who is awake
  stays so until its time is over (but for linger requests, which end with it). A second one does not wait.

Credentials, read anew for each call:
  AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN; with AWS_PROFILE, or without those, that profile (or
  `default`) of ~/.aws/credentials or AWS_SHARED_CREDENTIALS_FILE. With --endpoint-url none are needed.

Costs:
  Counted from what is seen: an environment is billed from its wake to the end of its awake period. The memory is not
  asked for: tell it with --memory-mb. Prices are those of us-east-1 in November 2025: USD 0.0000166667 for a GB-second
  on x86-64, 0.0000133334 on arm64, 0.20 for a million requests; 400,000 GB-seconds and a million requests are free in a
  month. A month has 30 days. The broker is not counted.

Examples:
  dayfly keep lambda:dayfly@eu-west-1=4 --dry-run                 the schedule and what it costs
  dayfly keep lambda:dayfly@eu-west-1=4 lambda:dayfly@us-east-1=2
  dayfly keep lambda:f@local=2 --endpoint-url http://127.0.0.1:9001   an emulator
  dayfly keep http://127.0.0.1:8080=3 --seconds 10 --for 5m       a `dayfly up --ephemeral` on this machine
  echo lambda:dayfly@eu-west-1=8 > pipe                           scale, if standard input is that pipe

Exit codes:
  0    ended by a signal or --for, in good order; or --dry-run
  1    every target refused, and none ever answered: no such function, no permission, no credentials
  2    wrong usage: nothing was sent
  3    it ended without any answer: nothing could be reached
  130  ended by a second signal";

/// Keep replicas of functions awake, handing the database on
///
/// Functions are frozen between invocations and killed without notice. The keeper wakes so many of each target, and
/// their successors before they freeze, so that a complete replica is awake at any time.
#[derive(Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub struct KeepArgs {
    /// What to keep, and how many replicas of it (see below)
    #[arg(value_name = "TARGET=N", required = true)]
    targets: Vec<Wish>,

    /// For how many seconds a replica is woken, 5 to 840; the function's own timeout must be longer
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(5..=840))]
    seconds: u64,

    /// The least overlap of a successor with its predecessor, in seconds (0.1 to half of --seconds)
    #[arg(long, value_name = "SECONDS", default_value = "2", value_parser = crate::client::arguments::seconds)]
    overlap: Duration,

    /// End after this time: seconds, or with a unit as in 90s, 10m, 2h
    #[arg(long = "for", value_name = "DURATION", value_parser = duration)]
    lasts: Option<Duration>,

    /// Invoke functions here instead of at AWS: an emulator's URL
    #[arg(long, value_name = "URL", value_parser = endpoint)]
    endpoint_url: Option<String>,

    /// The memory of the functions, in MB, for what they cost
    #[arg(long, value_name = "MB", default_value_t = 128, value_parser = clap::value_parser!(u32).range(128..=10_240))]
    memory_mb: u32,

    /// The processor of the functions, for what they cost
    #[arg(long, value_name = "NAME", default_value = "x86-64")]
    arch: Architecture,

    /// What a GB-second costs, in USD, instead of the list price
    #[arg(long, value_name = "USD", value_parser = price)]
    price_gb_s: Option<f64>,

    /// What a million requests cost, in USD, instead of the list price
    #[arg(long, value_name = "USD", value_parser = price)]
    price_requests: Option<f64>,

    /// How often it tells how all fare, in seconds, unless that is a live table on a terminal
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = crate::client::arguments::seconds)]
    every: Duration,

    /// Print the schedule of one awake period and its cost a day and a month, and send nothing
    #[arg(long)]
    dry_run: bool,

    /// Print JSON, an object a line
    #[arg(long)]
    json: bool,
}

/// `dayfly keep`.
pub fn run(args: &KeepArgs) -> anyhow::Result<ExitCode> {
    check(args)?;
    let policy = Policy { awake: Duration::from_secs(args.seconds), overlap_min: args.overlap };
    let prices = Prices::new(args.arch, args.price_gb_s, args.price_requests);
    if args.dry_run {
        let schedule = Schedule::new(policy, &args.targets, args.memory_mb, prices);
        let text = if args.json { schedule.to_json().to_string() } else { schedule.to_text() };
        writeln!(io::stdout().lock(), "{text}")?;
        return Ok(ExitCode::SUCCESS);
    }
    let (tell, told) = mpsc::channel();
    signal::watch({
        let tell = tell.clone();
        // A keeper that has ended hears none any more.
        move |_| drop(tell.send(Event::Signal))
    })?;
    let reporter = Reporter::new(args.json, args.every);
    let text = format!("dayfly: keeping {}; Ctrl-C ends it", listed(&args.targets));
    let targets: Vec<_> =
        args.targets.iter().map(|wish| json!({ "target": wish.target.to_string(), "wanted": wish.wanted })).collect();
    reporter.say(false, Some(&text), &json!({ "event": "keeping", "seconds": args.seconds, "targets": targets }))?;
    let orders =
        Orders { policy, memory_mib: args.memory_mb, prices, lasts: args.lasts, seed: SystemWorld.random_u64() };
    let caller = Caller::new(args.seconds, args.endpoint_url.clone());
    let keeper = Keeper::new(orders, caller, args.targets.clone(), reporter);
    keeper::listen(tell.clone())?;
    keeper.keep(&tell, &told)?;
    Ok(ExitCode::SUCCESS)
}

fn check(args: &KeepArgs) -> Result<(), Failure> {
    if args.overlap > Duration::from_secs(args.seconds) / 2 {
        return Err(Failure::Usage("--overlap is more than half of --seconds".to_owned()));
    }
    for (place, wish) in args.targets.iter().enumerate() {
        if args.targets[..place].iter().any(|other| other.target == wish.target) {
            return Err(Failure::Usage(format!("{} is given twice", wish.target)));
        }
    }
    let wanted: usize = args.targets.iter().map(|wish| wish.wanted).sum();
    if wanted > REPLICAS_MAX {
        return Err(Failure::Usage(format!("all targets together have at most {REPLICAS_MAX} replicas, not {wanted}")));
    }
    Ok(())
}

fn listed(wishes: &[Wish]) -> String {
    let texts: Vec<String> = wishes.iter().map(|wish| format!("{} of {}", wish.wanted, wish.target)).collect();
    texts.join(", ")
}

/// Reads a time: seconds, or a number with s, m or h; a second to a year.
fn duration(text: &str) -> Result<Duration, String> {
    let (number, unit_s) = match text.chars().last() {
        Some('s') => (&text[..text.len() - 1], 1.0),
        Some('m') => (&text[..text.len() - 1], 60.0),
        Some('h') => (&text[..text.len() - 1], 3_600.0),
        _ => (text, 1.0),
    };
    match number.parse::<f64>().map(|number| number * unit_s) {
        Ok(seconds) if (1.0..=31_536_000.0).contains(&seconds) => Ok(Duration::from_secs_f64(seconds)),
        _ => Err("expected a time such as 90s, 10m or 2h, from a second to a year".to_owned()),
    }
}

/// Reads a price: 0 or more.
fn price(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(price) if (0.0..=1_000.0).contains(&price) => Ok(price),
        _ => Err("expected a price in USD, from 0 to 1000".to_owned()),
    }
}

/// Reads an emulator's URL; a slash at its end is cut.
fn endpoint(text: &str) -> Result<String, String> {
    match text.parse() {
        Ok(target::Target::Url(url)) => Ok(url),
        _ => Err("expected a URL such as http://127.0.0.1:9001".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_units() {
        for (text, seconds) in [("90", 90), ("90s", 90), ("1.5m", 90), ("2h", 7_200)] {
            assert_eq!(duration(text), Ok(Duration::from_secs(seconds)));
        }
        for wrong in ["", "s", "0", "1d", "-5s", "9000h", "NaN", "ü"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_endpoint_is_a_url() {
        assert_eq!(endpoint("http://127.0.0.1:9001/"), Ok("http://127.0.0.1:9001".to_owned()));
        assert!(endpoint("127.0.0.1:9001").is_err() && endpoint("lambda:f@r").is_err());
    }
}
