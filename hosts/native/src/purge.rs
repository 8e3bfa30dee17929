//! `dayfly purge`: removes what a cluster left on its broker, after asking.

use std::io::{self, BufRead, IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use dayfly_engine::amqp::{self, Found};
use dayfly_engine::{AmqpConfig, BrokerError};
use serde_json::{Value, json};

use crate::client::{Failure, text};
use crate::replica;
use crate::settings::{Given, Purge, Values, masked};

const HELP: &str = "\
It removes the cluster's exchange, its queues anyone and combiner, its log, and inboxes. With them goes every message
that waits there: what no replica has taken in is lost, and with the log the database, if no replica lives.

AMQP cannot list queues. Inboxes are removed that --inbox names, and with --management all of the cluster's; others
vanish by themselves once nobody has used them for the retention.

It refuses while replicas are attached, unless forced. Replicas that run make again what they need.

Examples:
  dayfly purge --cluster test
  dayfly purge --cluster test --management http://me:secret@broker.example:15672 --yes

With --json: {\"removed\":[{\"name\",\"messages\"},…]}

Exit codes: 0 done, or nothing was there; 1 refused, by you or because replicas are attached; 2 wrong usage;
3 not reachable";

/// Remove what a cluster left on its broker, after asking
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub struct PurgeArgs {
    /// Also the inbox of the replica of this name; may be given several times
    #[arg(long, value_name = "NAME")]
    inbox: Vec<String>,

    /// RabbitMQ's management plug-in, to find all inboxes: http://USER:PASSWORD@HOST:PORT. User and password are by
    /// default the broker's
    #[arg(long, value_name = "URL", env = "DAYFLY_MANAGEMENT", hide_env_values = true)]
    management: Option<String>,

    /// Do not ask
    #[arg(long, short = 'y')]
    yes: bool,

    /// Also while replicas are attached
    #[arg(long)]
    force: bool,

    /// Print JSON
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    given: Given<Purge>,
}

/// How long the management plug-in may take.
const MANAGEMENT_MAX: Duration = Duration::from_secs(30);
/// The most bytes that its list of queues may have.
const MANAGEMENT_BYTES_MAX: u64 = 64 << 20;

/// `dayfly purge`.
pub fn run(args: &PurgeArgs) -> anyhow::Result<ExitCode> {
    let values = Values::of(&args.given)?;
    let config = replica::amqp_needed(&values)?;
    // Before anything is looked at: a program that cannot answer is told at once.
    if !args.yes && !io::stdin().is_terminal() {
        let reason = "this is no terminal, so nobody can be asked: give --yes to remove without asking";
        return Err(Failure::Usage(reason.to_owned()).into());
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let inspection = runtime.block_on(amqp::inspect(&config)).map_err(broker_failure)?;
    let mut inboxes = args.inbox.clone();
    if let Some(url) = &args.management {
        for (name, consumers) in Management::new(url, &config)?.inboxes(&config.cluster)? {
            if consumers > 0 && !args.force {
                return Err(
                    attached(&format!("the inbox of {name} has a consumer, or had one some seconds ago")).into()
                );
            }
            if !inboxes.contains(&name) {
                inboxes.push(name);
            }
        }
    }
    let consumed = inspection.found.iter().find(|found| found.consumers.unwrap_or(0) > 0);
    if let Some(found) = consumed.filter(|_| !args.force) {
        let consumers = found.consumers.unwrap_or(0);
        return Err(attached(&format!("{} has {consumers} consumers", found.name)).into());
    }
    if !args.yes && !confirmed(&config, &inspection.found, &inboxes)? {
        eprintln!("dayfly: nothing was removed");
        return Ok(ExitCode::FAILURE);
    }
    let purged = runtime.block_on(amqp::purge(&config, &inboxes)).map_err(broker_failure)?;
    report(&purged.removed, args.json)?;
    if args.management.is_none() && !args.json {
        eprintln!(
            "dayfly: inboxes that were not named vanish by themselves, once nobody has used them for the retention \
             (--management finds them all)"
        );
    }
    Ok(ExitCode::SUCCESS)
}

fn attached(what: &str) -> Failure {
    Failure::Denied(format!("replicas are attached ({what}): end them first, or give --force"))
}

fn broker_failure(error: BrokerError) -> Failure {
    Failure::of_broker(&error)
}

/// Tells what would go, and asks.
fn confirmed(config: &AmqpConfig, found: &[Found], inboxes: &[String]) -> io::Result<bool> {
    let mut out = io::stderr().lock();
    writeln!(out, "On {} there are, of the cluster {}:", masked(&config.url), config.cluster)?;
    for found in found.iter().filter(|found| found.exists) {
        let messages = found.messages.map_or_else(String::new, |messages| format!(", {messages} messages"));
        writeln!(out, "  {}{messages}", text::printable(&found.name))?;
    }
    if !inboxes.is_empty() {
        writeln!(out, "  and the inboxes of {}", text::printable(&inboxes.join(", ")))?;
    }
    write!(out, "Remove all that, and what is in it? Type the cluster's name: ")?;
    out.flush()?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    Ok(answer.trim() == config.cluster)
}

fn report(removed: &[Found], json: bool) -> io::Result<()> {
    let mut out = io::stdout().lock();
    if json {
        let removed: Vec<Value> =
            removed.iter().map(|found| json!({ "name": found.name, "messages": found.messages })).collect();
        return writeln!(out, "{}", json!({ "removed": removed }));
    }
    for found in removed {
        let messages = found.messages.map_or_else(String::new, |messages| format!(" and {messages} messages"));
        writeln!(out, "removed {}{messages}", text::printable(&found.name))?;
    }
    if removed.is_empty() {
        writeln!(out, "nothing was there")?;
    }
    Ok(())
}

/// RabbitMQ's management plug-in.
struct Management {
    /// Without user and password.
    base: String,
    authorization: String,
    /// Percent-encoded.
    vhost: String,
}

impl Management {
    fn new(url: &str, config: &AmqpConfig) -> Result<Self, Failure> {
        let wrong = || Failure::Usage("--management must be http://USER:PASSWORD@HOST:PORT".to_owned());
        let rest = url.strip_prefix("http://").ok_or_else(wrong)?;
        let (own, host) = rest.rsplit_once('@').map_or((None, rest), |(who, host)| (Some(who), host));
        let host = host.trim_end_matches('/');
        if host.is_empty() {
            return Err(wrong());
        }
        let broker = config.url.split_once("://").map_or("", |(_, rest)| rest);
        let (authority, vhost) = broker.split_once('/').unwrap_or((broker, ""));
        let who = own.or_else(|| authority.rsplit_once('@').map(|(who, _)| who)).unwrap_or("guest:guest");
        let decoded = percent_decoded(who).ok_or_else(wrong)?;
        Ok(Self {
            base: format!("http://{host}"),
            authorization: format!("Basic {}", base64(decoded.as_bytes())),
            vhost: if vhost.is_empty() { "%2F".to_owned() } else { vhost.to_owned() },
        })
    }

    /// The names of the replicas that have an inbox, and how many consume it.
    fn inboxes(&self, cluster: &str) -> Result<Vec<(String, u64)>, Failure> {
        let url = format!("{}/api/queues/{}?columns=name,consumers", self.base, self.vhost);
        let failed = |reason: String| Failure::NoAnswer { url: self.base.clone(), reason };
        let agent: ureq::Agent = ureq::Agent::config_builder()
            .timeout_global(Some(MANAGEMENT_MAX))
            .http_status_as_error(false)
            .build()
            .into();
        let answer = agent.get(&url).header("authorization", &self.authorization).call();
        let mut answer = answer.map_err(|error| failed(error.to_string()))?;
        let status = answer.status().as_u16();
        if status != 200 {
            return Err(failed(format!(
                "HTTP status {status}: {}",
                match status {
                    401 => "wrong user or password, or one without the tag `management`",
                    404 => "no such vhost, or no management plug-in",
                    _ => "see the broker's log",
                }
            )));
        }
        let body = answer.body_mut().with_config().limit(MANAGEMENT_BYTES_MAX).read_to_string();
        let queues: Value = serde_json::from_str(&body.map_err(|error| failed(error.to_string()))?)
            .map_err(|_| failed("it is no list of queues".to_owned()))?;
        let prefix = format!("dayfly.{cluster}.node.");
        let inbox = |queue: &Value| {
            let name = queue["name"].as_str()?.strip_prefix(&prefix)?;
            Some((name.to_owned(), queue["consumers"].as_u64().unwrap_or(0)))
        };
        Ok(queues.as_array().into_iter().flatten().filter_map(inbox).collect())
    }
}

fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        if *first == b'%' {
            let (digits, after) = rest.split_at_checked(2)?;
            bytes.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
            rest = after;
        } else {
            bytes.push(*first);
        }
    }
    String::from_utf8(bytes).ok()
}

/// As HTTP's basic authentication wants it: the usual alphabet, padded.
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for three in bytes.chunks(3) {
        let bits =
            three.iter().enumerate().fold(0u32, |bits, (index, byte)| bits | u32::from(*byte) << (16 - 8 * index));
        for index in 0..4 {
            let digit = ALPHABET[(bits >> (18 - 6 * index)) as usize & 63];
            text.push(if index <= three.len() { char::from(digit) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_the_usual_one() {
        // The examples of RFC 4648, section 10.
        for (plain, encoded) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")] {
            assert_eq!(base64(plain.as_bytes()), encoded);
        }
    }

    #[test]
    fn the_management_plug_in_is_asked_as_the_broker_is() {
        let broker = AmqpConfig::new("amqp://me:p%40ss@h:1/v%2Fh", "c");
        let management = Management::new("http://m:15672/", &broker).expect("it is well");
        assert_eq!(management.base, "http://m:15672");
        assert_eq!(management.vhost, "v%2Fh");
        assert_eq!(management.authorization, format!("Basic {}", base64(b"me:p@ss")));
        let own = Management::new("http://a:b@m:1", &AmqpConfig::new("amqp://h", "c")).expect("it is well");
        assert_eq!((own.authorization, own.vhost.as_str()), (format!("Basic {}", base64(b"a:b")), "%2F"));
        for wrong in ["https://m", "m:15672", "http://", "http://a:%zz@m"] {
            assert!(Management::new(wrong, &broker).is_err(), "{wrong}");
        }
    }
}
