//! `dayfly keys` and `members`: lists that come in pages.

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::Args;
use serde_json::Value;

use super::arguments::{AfterArgs, ClusterArgs};
use super::server::{Ask, Server, warn_incomplete};
use super::table::Table;
use super::{Failure, path, text};

/// The most keys that the API gives at once.
const KEYS_PAGE: u64 = 1000;

/// How wide the column of types is, in characters: the longest is `maxregister`.
const TYPE_CHARS: usize = 11;

const KEYS_HELP: &str = "\
Keys are listed in the order of their names, then types.

Examples:
  dayfly keys --prefix user: --limit 20
  dayfly keys --all --json | jq -r '.keys[].key'

With --json: {\"keys\":[{\"key\",\"type\"},…]}, and \"next\" if there is more.

Exit codes: 0 done, 1 refused, 2 wrong usage, 3 not reachable";

const MEMBERS_HELP: &str = "\
What a member announced decides its state: it is awake until the time that it said, then dormant (frozen, it may come
back), then gone. Times are told by this machine's clock.

Examples:
  dayfly members
  dayfly members --json --replica r3

With --json: {\"members\":[{\"name\",\"state\",\"host\",\"region\",\"zone\",\"awake_until\",\"incarnation\"},…]}, with
awake_until in milliseconds since 1970.

Exit codes: 0 done, 1 refused, 2 wrong usage, 3 not reachable";

/// List the keys
#[derive(Debug, Args)]
#[command(after_help = KEYS_HELP)]
pub struct KeysArgs {
    /// Only keys that begin with this
    #[arg(long, value_name = "TEXT")]
    prefix: Option<String>,

    /// How many keys at most
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..))]
    limit: u64,

    /// All keys
    #[arg(long, conflicts_with = "limit")]
    all: bool,

    /// Go on where an earlier listing ended (its \"next\")
    #[arg(long, value_name = "NEXT")]
    from: Option<String>,

    /// Print JSON
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    after: AfterArgs,
    #[command(flatten)]
    cluster: ClusterArgs,
}

/// List the replicas that the cluster knows of
#[derive(Debug, Args)]
#[command(after_help = MEMBERS_HELP)]
pub struct MembersArgs {
    /// Print JSON
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    after: AfterArgs,
    #[command(flatten)]
    cluster: ClusterArgs,
}

/// One page of a list.
struct Page {
    rows: Vec<Value>,
    next: Option<String>,
}

/// `dayfly keys`.
pub fn keys(args: &KeysArgs) -> anyhow::Result<ExitCode> {
    let server = Server::new(&args.cluster)?;
    let mut left = if args.all { u64::MAX } else { args.limit };
    let mut listing = Listing::begun(args.json, "keys");
    let mut from = args.from.clone();
    loop {
        let limit = left.min(KEYS_PAGE);
        let query = [("prefix", args.prefix.clone()), ("after", from), ("limit", Some(limit.to_string()))];
        let page = page(&server, &path::with_query("/v1/keys", &query), "keys", &args.after)?;
        left = left.saturating_sub(page.rows.len() as u64);
        // Padded here, so that it is as wide on every page.
        let type_cell = |row: &Value| format!("{:TYPE_CHARS$}", cell(row, "type"));
        listing.page(&page.rows, ["TYPE", "KEY"], |row| [type_cell(row), cell(row, "key")])?;
        from = page.next;
        if from.is_none() || left == 0 {
            break;
        }
    }
    listing.end(from.as_deref())?;
    if let (Some(next), false) = (&from, args.json) {
        eprintln!("dayfly: there are more keys: --all, or go on with --from {}", text::printable(next));
    }
    Ok(ExitCode::SUCCESS)
}

/// `dayfly members`.
pub fn members(args: &MembersArgs) -> anyhow::Result<ExitCode> {
    let server = Server::new(&args.cluster)?;
    let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
    let mut listing = Listing::begun(args.json, "members");
    let mut from = None;
    loop {
        let page = page(&server, &path::with_query("/v1/members", &[("after", from)]), "members", &args.after)?;
        listing.page(&page.rows, ["NAME", "STATE", "HOST", "REGION", "ZONE", "AWAKE UNTIL"], |row| {
            let awake_until = row.get("awake_until").and_then(Value::as_u64);
            let awake_until = awake_until.map_or_else(String::new, |until_ms| relative(until_ms, now_ms));
            let [name, state, host, region, zone] = ["name", "state", "host", "region", "zone"].map(|m| cell(row, m));
            [name, state, host, region, zone, awake_until]
        })?;
        from = page.next;
        if from.is_none() {
            break;
        }
    }
    listing.end(None)?;
    Ok(ExitCode::SUCCESS)
}

/// Asks for one page. A page that is empty and yet says that there is more would never end, so it is refused.
fn page(server: &Server, path: &str, member: &str, after: &AfterArgs) -> anyhow::Result<Page> {
    let ask = Ask { method: "GET", path, after: after.after.as_deref(), ..Ask::default() };
    let answer = server.ask_patiently(ask, false)?;
    let body = answer.body.as_ref().map_err(|reason| Failure::Foreign(reason.clone()))?;
    let mut whole: Value = serde_json::from_str(body).unwrap_or_default();
    let next = whole.get("next").and_then(Value::as_str).map(str::to_owned);
    match whole.get_mut(member).map(Value::take) {
        Some(Value::Array(rows)) if !rows.is_empty() || next.is_none() => {
            if answer.incomplete {
                warn_incomplete(&answer);
            }
            Ok(Page { rows, next })
        }
        _ => Err(Failure::Foreign(format!("HTTP status {}, without {member}", answer.status)).into()),
    }
}

/// A listing that is printed page by page, so that its length does not matter.
struct Listing {
    json: bool,
    member: &'static str,
    rows: u64,
}

impl Listing {
    fn begun(json: bool, member: &'static str) -> Self {
        Self { json, member, rows: 0 }
    }

    fn page<const N: usize>(
        &mut self,
        rows: &[Value],
        titles: [&str; N],
        cells: impl Fn(&Value) -> [String; N],
    ) -> io::Result<()> {
        let mut out = io::stdout().lock();
        if self.json {
            if self.rows == 0 {
                write!(out, "{{\"{}\":[", self.member)?;
            }
            for (index, row) in rows.iter().enumerate() {
                write!(out, "{}\n{row}", if self.rows == 0 && index == 0 { "" } else { "," })?;
            }
        } else if !rows.is_empty() {
            let mut table = if self.rows == 0 { Table::titled(titles) } else { Table::bare() };
            rows.iter().for_each(|row| table.push(cells(row)));
            table.print(&mut out)?;
        }
        self.rows += rows.len() as u64;
        Ok(())
    }

    fn end(&self, next: Option<&str>) -> io::Result<()> {
        if !self.json {
            return Ok(());
        }
        let next = next.map_or_else(String::new, |next| format!(",\"next\":{}", Value::from(next)));
        writeln!(io::stdout().lock(), "\n]{next}}}")
    }
}

/// A member of a row, made printable.
fn cell(row: &Value, member: &str) -> String {
    match row.get(member) {
        Some(Value::String(content)) => text::printable(content),
        Some(other) => other.to_string(),
        None => String::new(),
    }
}

/// A time as seen from now: `in 12 s`, `3 min ago`.
fn relative(time_ms: u64, now_ms: u64) -> String {
    let seconds = time_ms.abs_diff(now_ms) / 1000;
    let span = match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds / 60),
        7200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    };
    if time_ms >= now_ms { format!("in {span}") } else { format!("{span} ago") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_from_now() {
        let now_ms = 1_800_000_000_000;
        let cases = [
            (now_ms, "in 0 s"),
            (now_ms + 12_900, "in 12 s"),
            (now_ms - 119_000, "119 s ago"),
            (now_ms - 120_000, "2 min ago"),
            (now_ms + 7_200_000, "in 2 h"),
            (0, "20833 days ago"),
        ];
        for (time_ms, shown) in cases {
            assert_eq!(relative(time_ms, now_ms), shown);
        }
    }
}
