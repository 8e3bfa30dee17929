//! `dayfly status`: one replica, as it sees itself.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Args;
use serde_json::{Map, Value};

use super::arguments::{AfterArgs, ClusterArgs};
use super::server::{Ask, Server, warn_incomplete};
use super::table::Table;
use super::{Failure, text};

const STATUS_HELP: &str = "\
Any awake replica answers; --replica asks a certain one. Equal roots mean equal states. What the lines mean is written
in wit/http-api.md.

Examples:
  dayfly status
  dayfly status --replica r3 --json | jq -r .root

Exit codes: 0 done, 1 refused, 2 wrong usage, 3 not reachable";

/// Show a replica's state: its root, counts, frames and repairs
#[derive(Debug, Args)]
#[command(after_help = STATUS_HELP)]
pub struct StatusArgs {
    /// Print JSON
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    after: AfterArgs,
    #[command(flatten)]
    cluster: ClusterArgs,
}

/// `dayfly status`.
pub fn status(args: &StatusArgs) -> anyhow::Result<ExitCode> {
    let server = Server::new(&args.cluster)?;
    let ask = Ask { method: "GET", path: "/v1/status", after: args.after.after.as_deref(), ..Ask::default() };
    let answer = server.ask_patiently(ask, false)?;
    let body = answer.body.as_ref().map_err(|reason| Failure::Foreign(reason.clone()))?.trim_end();
    let Ok(Value::Object(status)) = serde_json::from_str(body) else {
        return Err(Failure::Foreign(format!("HTTP status {}, and no object", answer.status)).into());
    };
    let mut out = io::stdout().lock();
    if args.json {
        writeln!(out, "{body}")?;
    } else {
        let mut table = Table::bare();
        rows(&status, "", &mut table);
        table.print(&mut out)?;
    }
    if answer.incomplete {
        warn_incomplete(&answer);
    }
    Ok(ExitCode::SUCCESS)
}

/// A row for each member; those of an object within are named `outer.inner`.
fn rows(object: &Map<String, Value>, prefix: &str, table: &mut Table<2>) {
    for (name, value) in object {
        let name = format!("{prefix}{}", text::printable(name));
        match value {
            Value::Object(inner) => rows(inner, &format!("{name}."), table),
            Value::String(content) => table.push([name, text::printable(content)]),
            other => table.push([name, other.to_string()]),
        }
    }
}
