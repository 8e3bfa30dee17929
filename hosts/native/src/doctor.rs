//! `dayfly doctor`: whether a broker can carry a cluster, and what to do if not.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Args;
use dayfly_engine::amqp::{self, Found, Inspection, Permission};
use dayfly_engine::{AmqpConfig, BrokerError};
use serde_json::json;

use crate::client::table::Table;
use crate::client::text;
use crate::replica;
use crate::settings::{Doctor, Given, Values, masked};

const HELP: &str = "\
It looks at the broker, and tries with a queue, a stream and an exchange of its own, which it deletes again, what
replicas do. It changes nothing of the cluster's.

Each line begins with:
  ok    as it should be
  warn  a cluster runs; read what follows
  fail  no cluster runs, or none with --log

Examples:
  dayfly doctor --broker amqp://me:secret@broker.example/
  dayfly doctor --json | jq -r '.checks[] | select(.verdict != \"ok\") | .what'

With --json: {\"healthy\",\"checks\":[{\"verdict\",\"what\",\"advice\"},…]}; advice is null if there is nothing to do.

Exit codes: 0 nothing fails, 1 something fails, 2 wrong usage";

/// Check whether a broker can carry a cluster, and say what to do if not
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub struct DoctorArgs {
    /// Print JSON
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    given: Given<Doctor>,
}

/// How serious a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Ok,
    Warn,
    Fail,
}

impl Verdict {
    fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }
}

/// A finding.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Check {
    verdict: Verdict,
    what: String,
    /// What to do about it.
    advice: Option<String>,
}

fn ok(what: String) -> Check {
    Check { verdict: Verdict::Ok, what, advice: None }
}

fn warn(what: String, advice: &str) -> Check {
    Check { verdict: Verdict::Warn, what, advice: Some(advice.to_owned()) }
}

fn fail(what: String, advice: &str) -> Check {
    Check { verdict: Verdict::Fail, what, advice: Some(advice.to_owned()) }
}

/// The least version whose queues do what is asked of them.
const VERSION_MIN: (u32, u32) = (3, 10);
/// A replica takes two channels of a connection.
const CHANNELS_MIN: u16 = 2;
/// A longer heartbeat leaves a dead replica's messages with it for longer; a shorter one ends busy replicas.
const HEARTBEAT_S: std::ops::RangeInclusive<u16> = 5..=120;
/// More waiting messages than this in a queue of the cluster are worth a word.
const WAITING_MANY: u32 = 1_000;

/// `dayfly doctor`.
pub fn run(args: &DoctorArgs) -> anyhow::Result<ExitCode> {
    let values = Values::of(&args.given)?;
    let config = replica::amqp_needed(&values)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let checks = match runtime.block_on(amqp::inspect(&config)) {
        Ok(inspection) => {
            let mut checks = vec![ok(format!("{} answers as {}", masked(&config.url), inspection.product))];
            checks.extend(examine(&inspection, &config));
            checks
        }
        Err(error) => vec![unreached(&config, &error)],
    };
    let healthy = checks.iter().all(|check| check.verdict != Verdict::Fail);
    print(&checks, healthy, args.json)?;
    Ok(if healthy { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn print(checks: &[Check], healthy: bool, json: bool) -> io::Result<()> {
    let mut out = io::stdout().lock();
    if json {
        let checks: Vec<_> = checks
            .iter()
            .map(|check| json!({ "verdict": check.verdict.word(), "what": check.what, "advice": check.advice }))
            .collect();
        return writeln!(out, "{}", json!({ "healthy": healthy, "checks": checks }));
    }
    let mut table = Table::bare();
    for check in checks {
        let advice = check.advice.as_deref().map_or_else(String::new, |advice| format!("→ {advice}"));
        table.push([check.verdict.word().to_owned(), text::printable(&check.what), advice]);
    }
    table.print(&mut out)
}

fn unreached(config: &AmqpConfig, error: &BrokerError) -> Check {
    let advice = match error {
        BrokerError::Unreachable(_) => "is the broker running, and its address and port those of --broker?",
        BrokerError::Refused(_) => "mend what it says: user and password, vhost (the path of the URL), certificates",
        BrokerError::TakenOver => "end whoever uses the same name",
    };
    fail(masked(&format!("{}: {error}", config.url)), advice)
}

/// What is to be said of a broker that answers.
fn examine(inspection: &Inspection, config: &AmqpConfig) -> Vec<Check> {
    let mut checks = vec![version(&inspection.product, &inspection.version)];
    checks.extend(inspection.permissions.iter().map(permission));
    let channels = inspection.channel_max;
    checks.push(if channels == 0 || channels >= CHANNELS_MIN {
        let bound = if channels == 0 { "any number of".to_owned() } else { format!("{channels}") };
        ok(format!("{bound} channels a connection: a replica takes {CHANNELS_MIN}"))
    } else {
        fail(format!("{channels} channels a connection"), "set channel_max of the broker to at least 2")
    });
    checks.push(ok(format!("frames of {} bytes: longer messages are cut and joined", inspection.frame_max)));
    let heartbeat = inspection.heartbeat_s;
    checks.push(if HEARTBEAT_S.contains(&heartbeat) {
        ok(format!("a heartbeat of {heartbeat} s"))
    } else if heartbeat == 0 {
        warn(
            "no heartbeat".to_owned(),
            "set heartbeat of the broker to 20: without, what a dead replica held waits until its connection is missed",
        )
    } else {
        warn(format!("a heartbeat of {heartbeat} s"), "set heartbeat of the broker to something from 5 to 120")
    });
    checks.extend(inspection.found.iter().map(|found| leftover(found, &config.cluster)));
    checks
}

fn version(product: &str, version: &str) -> Check {
    let mut numbers = version.split('.').map(|part| part.parse::<u32>().ok());
    let parsed = numbers.next().flatten().zip(numbers.next().flatten());
    let what = format!("version {version}");
    let Some(parsed) = parsed.filter(|_| product.eq_ignore_ascii_case("rabbitmq")) else {
        return warn(format!("{product} {version}"), "only RabbitMQ from 3.10 on is known to do what replicas ask for");
    };
    if parsed >= VERSION_MIN {
        ok(what)
    } else {
        fail(what, "install RabbitMQ 3.10 or later: streams and inboxes do not behave as needed before")
    }
}

fn permission(permission: &Permission) -> Check {
    match &permission.refused {
        None => ok(format!("this user may {}", permission.what)),
        Some(reason) => {
            let advice = if permission.what.contains("stream") {
                "enable streams (RabbitMQ 3.10 or later, feature flag stream_queue), or do without --log"
            } else {
                "grant the user configure, write and read on `^dayfly\\..*` (rabbitmqctl set_permissions)"
            };
            fail(masked(&format!("{}: {reason}", permission.what)), advice)
        }
    }
}

fn leftover(found: &Found, cluster: &str) -> Check {
    let name = &found.name;
    if !found.exists {
        return ok(format!("{name} is absent: the first replica makes it"));
    }
    let (Some(messages), Some(consumers)) = (found.messages, found.consumers) else {
        return ok(format!("{name} is there"));
    };
    let what = format!("{name}: {messages} messages, {consumers} consumers");
    // The log is there to keep messages, and is read by newcomers alone.
    if name.ends_with(".log") {
        return ok(what);
    }
    if consumers == 0 && messages > 0 {
        let advice =
            format!("no replica lives; a new one takes them in, or `dayfly purge --cluster {cluster}` removes them");
        return warn(what, &advice);
    }
    if messages > WAITING_MANY {
        return warn(what, "the replicas do not keep up: more of them, or a longer --burst-ms");
    }
    ok(what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_by_their_numbers() {
        for (number, verdict) in
            [("3.9.27", Verdict::Fail), ("3.10.8", Verdict::Ok), ("4.0.1-rc.1", Verdict::Ok), ("four", Verdict::Warn)]
        {
            assert_eq!(version("RabbitMQ", number).verdict, verdict, "{number}");
        }
        assert_eq!(version("Other", "5.0").verdict, Verdict::Warn);
    }

    #[test]
    fn what_is_wrong_comes_with_advice() {
        let inspection = Inspection {
            product: "RabbitMQ".to_owned(),
            version: "3.8.0".to_owned(),
            frame_max: 131_072,
            channel_max: 1,
            heartbeat_s: 0,
            found: vec![
                Found { name: "dayfly.c.everyone".to_owned(), exists: true, messages: None, consumers: None },
                Found { name: "dayfly.c.anyone".to_owned(), exists: true, messages: Some(7), consumers: Some(0) },
                Found { name: "dayfly.c.log".to_owned(), exists: true, messages: Some(7), consumers: Some(0) },
                Found { name: "dayfly.c.combiner".to_owned(), exists: false, messages: None, consumers: None },
            ],
            permissions: vec![
                Permission { what: "declare a queue", refused: None },
                Permission { what: "keep a log (a stream)", refused: Some("no".to_owned()) },
            ],
        };
        let checks = examine(&inspection, &AmqpConfig::new("amqp://h", "c"));
        let verdicts: Vec<Verdict> = checks.iter().map(|check| check.verdict).collect();
        use Verdict::{Fail, Ok, Warn};
        assert_eq!(verdicts, [Fail, Ok, Fail, Fail, Ok, Warn, Ok, Warn, Ok, Ok]);
        for check in checks {
            assert_eq!(check.advice.is_some(), check.verdict != Ok, "{check:?}");
        }
    }

    #[test]
    fn a_password_in_an_error_is_hidden() {
        let config = AmqpConfig::new("amqp://me:secret@h/", "c");
        let check = unreached(&config, &BrokerError::Unreachable("no route".to_owned()));
        assert!(!check.what.contains("secret") && check.what.contains("me:***@h"), "{}", check.what);
    }
}
