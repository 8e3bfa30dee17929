//! `dayfly config`: every setting, its value and where it came from.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::given::{Any, Given};
use super::secret::masked;
use super::table::{self, Default};
use super::values::Values;
use crate::client::table::Table;
use crate::client::text;

const HELP: &str = "\
A flag counts before an environment variable, a variable before the file, the file before the default. The file is that
of --config, else of DAYFLY_CONFIG, else ./dayfly.toml if it exists. It holds one line a setting:

  broker = \"amqp://me:secret@broker.example/\"
  region = \"eu\"
  store-mib = 128
  log = true

Passwords are not shown. All flags of `up` and `node` may be given, to see what they would come to.

Examples:
  dayfly config
  DAYFLY_REGION=us dayfly config --config us.toml --json

With --json: {\"file\",\"settings\":[{\"key\",\"value\",\"origin\",\"variable\",\"used_by\"},…]}; a value is null if
there is none.

Exit codes: 0 done, 2 a setting is wrong";

/// Show every setting, its value, and where it came from
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub struct ConfigArgs {
    /// Print JSON
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    given: Given<Any>,
}

/// `dayfly config`.
pub fn config(args: &ConfigArgs) -> anyhow::Result<ExitCode> {
    let values = Values::of(&args.given)?;
    let mut out = io::stdout().lock();
    if args.json {
        let settings: Vec<_> = table::ALL
            .iter()
            .map(|setting| {
                let found = values.get(setting);
                let value = found.map_or(serde_json::Value::Null, |(value, _)| match value.to_json() {
                    serde_json::Value::String(text) => masked(&text).into(),
                    other => other,
                });
                json!({
                    "key": setting.key,
                    "value": value,
                    "origin": found.map_or_else(|| "default".to_owned(), |(_, origin)| origin.to_string()),
                    "variable": setting.variable(),
                    "used_by": setting.users.iter().map(|user| user.name()).collect::<Vec<_>>(),
                })
            })
            .collect();
        let file = values.file.as_ref().map(|path| path.display().to_string());
        writeln!(out, "{}", json!({ "file": file, "settings": settings }))?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut rows = Table::titled(["SETTING", "VALUE", "FROM", "USED BY"]);
    for setting in table::ALL {
        let (value, origin) = match (values.get(setting), setting.default) {
            (Some((value, origin)), _) => (text::printable(&masked(&value.to_string())), origin.to_string()),
            (None, Default::Told(told)) => (format!("({told})"), "default".to_owned()),
            (None, Default::Is(_)) => unreachable!("what has a default has a value"),
        };
        let users: Vec<&str> = setting.users.iter().map(|user| user.name()).collect();
        rows.push([setting.key.to_owned(), value, text::printable(&origin), users.join(", ")]);
    }
    rows.print(&mut out)?;
    Ok(ExitCode::SUCCESS)
}
