//! `dayfly get`, `update` and `delete`: one key.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Args;
use serde_json::Value;

use super::arguments::{AfterArgs, ClusterArgs, ContextArgs};
use super::server::{Answer, Ask, Server, warn_incomplete};
use super::{Failure, operation, path, text};

const GET_HELP: &str = "\
A counter, flag or register is printed as one line, a set as one element a line (an mvregister: one value a line), a
map as JSON over several lines. A text is printed as it is, unless it holds control characters: then, and where a value
is no text, it is printed as JSON.

Examples:
  dayfly get gcounter visits
  dayfly get orset tags --json                 {\"key\":\"tags\",\"type\":\"orset\",\"value\":[\"green\",\"red\"]}
  dayfly get lwwregister greeting --after TOKEN

Exit codes: 0 done, 1 refused, 2 wrong usage, 3 not reachable, 4 no such key";

const UPDATE_HELP: &str = "\
Operations:
  gcounter                  increment [N]                  N is 1 if absent
  pncounter                 increment [N], decrement [N]
  gset                      add VALUE…
  orset, rwset              add VALUE…, remove VALUE…
  lwwregister, mvregister   set VALUE
  maxregister, minregister  set NUMBER
  ewflag, dwflag            enable, disable
  map                       update JSON, remove FIELD…
  any                       the operation as JSON, in one word: '{\"add\":[\"a\",\"b\"]}'

A VALUE is JSON if it parses as JSON, else text: `add 7` adds a number, `add seven` a text, `add '\"7\"'` the text 7,
and `add null` adds null. With --text every value is text. A FIELD of a map is always text. What begins with a dash
stands after `--`, but for numbers: `dayfly update orset tags --text -- add --help`.

Examples:
  dayfly update pncounter stock decrement 2
  dayfly update orset tags add red green
  dayfly update --text orset codes add 007
  dayfly update lwwregister greeting set 'good day'
  dayfly update map user:7 update '{\"visits\":{\"type\":\"gcounter\",\"increment\":1}}'
  dayfly update ewflag open enable --show-context

The new value is printed as `get` prints it. With --show-context a last line is the token, as `dayfly-context: TOKEN`;
with --json it is the member \"context\".

Exit codes: 0 done, 1 refused and nothing changed, 2 wrong usage, 3 not reachable and nothing sent, 5 in doubt: the
connection broke before the answer came, or the write is applied and not confirmed yet. Do not repeat it unread";

const DELETE_HELP: &str = "\
Drops what was seen of the key; what others write at the same time survives. A key that does not exist is no error.

Examples:
  dayfly delete orset tags

Exit codes: 0 done, 1 refused, 2 wrong usage, 3 not reachable and nothing sent, 5 in doubt (see `dayfly help update`)";

/// Print the value of a key
#[derive(Debug, Args)]
#[command(after_help = GET_HELP)]
pub struct GetArgs {
    #[command(flatten)]
    key: KeyArgs,
    #[command(flatten)]
    print: PrintArgs,
    #[command(flatten)]
    after: AfterArgs,
    #[command(flatten)]
    cluster: ClusterArgs,
}

/// Change a key by one operation, and print its new value
#[derive(Debug, Args)]
#[command(after_help = UPDATE_HELP)]
pub struct UpdateArgs {
    #[command(flatten)]
    key: KeyArgs,

    /// The operation: words such as `increment 3`, or JSON
    #[arg(required = true, num_args = 1.., allow_negative_numbers = true)]
    operation: Vec<String>,

    /// Take every value for text, also what looks like JSON
    #[arg(long)]
    text: bool,

    #[command(flatten)]
    print: PrintArgs,
    #[command(flatten)]
    context: ContextArgs,
    #[command(flatten)]
    after: AfterArgs,
    #[command(flatten)]
    cluster: ClusterArgs,
}

/// Delete a key
#[derive(Debug, Args)]
#[command(after_help = DELETE_HELP)]
pub struct DeleteArgs {
    #[command(flatten)]
    key: KeyArgs,
    #[command(flatten)]
    print: PrintArgs,
    #[command(flatten)]
    context: ContextArgs,
    #[command(flatten)]
    after: AfterArgs,
    #[command(flatten)]
    cluster: ClusterArgs,
}

/// Which key.
#[derive(Debug, Args)]
struct KeyArgs {
    /// gcounter, pncounter, gset, orset, rwset, lwwregister, mvregister, maxregister, minregister, ewflag, dwflag, map
    #[arg(value_name = "TYPE")]
    type_name: String,

    /// The key, 1 to 1,024 bytes of any text. Two types under one name are two keys
    #[arg(value_parser = key_name)]
    key: String,
}

/// How to print.
#[derive(Debug, Args)]
struct PrintArgs {
    /// Print the whole answer as JSON
    #[arg(long)]
    json: bool,
}

/// Reads a key. An empty one would be another path.
pub fn key_name(text: &str) -> Result<String, String> {
    if (1..=1024).contains(&text.len()) { Ok(text.to_owned()) } else { Err("a key has 1 to 1,024 bytes".to_owned()) }
}

/// `dayfly get`.
pub fn get(args: &GetArgs) -> anyhow::Result<ExitCode> {
    let server = Server::new(&args.cluster)?;
    let path = path::data(&args.key.type_name, &args.key.key);
    let ask = Ask { method: "GET", path: &path, after: args.after.after.as_deref(), ..Ask::default() };
    let answer = server.ask_patiently(ask, false)?;
    print(&answer, args.print.json, None)?;
    Ok(ExitCode::SUCCESS)
}

/// `dayfly update`.
pub fn update(args: &UpdateArgs) -> anyhow::Result<ExitCode> {
    let server = Server::new(&args.cluster)?;
    let operation = operation::parse(&args.key.type_name, &args.operation, args.text).map_err(Failure::Usage)?;
    let path = path::data(&args.key.type_name, &args.key.key);
    let ask = Ask {
        method: "POST",
        path: &path,
        body: Some(&operation),
        context: args.context.context.as_deref(),
        after: args.after.after.as_deref(),
        minimal: false,
    };
    let answer = server.ask_patiently(ask, true)?;
    print(&answer, args.print.json, token(&args.context, &answer)?)?;
    Ok(ExitCode::SUCCESS)
}

/// `dayfly delete`.
pub fn delete(args: &DeleteArgs) -> anyhow::Result<ExitCode> {
    let server = Server::new(&args.cluster)?;
    let path = path::data(&args.key.type_name, &args.key.key);
    let ask = Ask {
        method: "DELETE",
        path: &path,
        context: args.context.context.as_deref(),
        after: args.after.after.as_deref(),
        ..Ask::default()
    };
    let answer = server.ask_patiently(ask, true)?;
    let context = token(&args.context, &answer)?;
    let mut out = io::stdout().lock();
    if args.print.json {
        let whole = serde_json::json!({"key": args.key.key, "type": args.key.type_name, "deleted": true});
        writeln!(out, "{}", with_context(&whole.to_string(), context))?;
    } else if let Some(context) = context {
        writeln!(out, "dayfly-context: {context}")?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The token of a write, if it is wanted.
fn token<'a>(args: &ContextArgs, answer: &'a Answer) -> Result<Option<&'a str>, Failure> {
    match answer.context.as_deref() {
        _ if !args.show_context => Ok(None),
        Some(context) => Ok(Some(context)),
        None => Err(Failure::Foreign("the write succeeded, but no dayfly-context came with the answer".to_owned())),
    }
}

/// Prints an answer with a value, and the token.
fn print(answer: &Answer, json: bool, context: Option<&str>) -> anyhow::Result<()> {
    let body = answer.body.as_ref().map_err(|reason| Failure::Foreign(reason.clone()))?.trim_end();
    let parsed: Option<Value> = serde_json::from_str(body).ok();
    let member = |name| parsed.as_ref().and_then(|whole| whole.get(name));
    let foreign = || Failure::Foreign(format!("HTTP status {}, without type and value", answer.status));
    let type_name = member("type").and_then(Value::as_str).ok_or_else(foreign)?;
    let value = member("value").ok_or_else(foreign)?;
    let mut out = io::stdout().lock();
    if json {
        writeln!(out, "{}", with_context(body, context))?;
    } else {
        print_value(&mut out, type_name, value)?;
        if let Some(context) = context {
            writeln!(out, "dayfly-context: {context}")?;
        }
    }
    if answer.incomplete {
        warn_incomplete(answer);
    }
    Ok(())
}

/// Prints a value for people: what holds several values line by line, maps over several lines, all else on one.
fn print_value(out: &mut impl Write, type_name: &str, value: &Value) -> io::Result<()> {
    match (type_name, value) {
        ("gset" | "orset" | "rwset" | "mvregister", Value::Array(elements)) => {
            elements.iter().try_for_each(|element| writeln!(out, "{}", plain(element)))
        }
        ("map", Value::Object(_)) => writeln!(out, "{value:#}"),
        _ => writeln!(out, "{}", plain(value)),
    }
}

/// One value on one line.
fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text::printable(text),
        other => other.to_string(),
    }
}

/// A JSON object with one more member. The text is kept as it came, so that no number changes on the way.
fn with_context(object: &str, context: Option<&str>) -> String {
    match (context, object.trim_end().strip_suffix('}')) {
        (Some(context), Some(open)) => format!("{open},\"context\":{}}}", Value::from(context)),
        _ => object.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(type_name: &str, json: &str) -> String {
        let mut out = Vec::new();
        let value = serde_json::from_str(json).expect("JSON");
        print_value(&mut out, type_name, &value).expect("a vector takes all");
        String::from_utf8(out).expect("UTF-8")
    }

    #[test]
    fn values_are_printed_for_people() {
        assert_eq!(printed("pncounter", "3"), "3\n");
        assert_eq!(printed("gcounter", "18446744073709551615"), "18446744073709551615\n");
        assert_eq!(printed("lwwregister", "null"), "null\n");
        assert_eq!(printed("lwwregister", r#""good day""#), "good day\n");
        assert_eq!(printed("lwwregister", r#"["a", {"b": 1}]"#), "[\"a\",{\"b\":1}]\n");
        assert_eq!(printed("orset", r#"["a", 1, "x\ny", ["b"]]"#), "a\n1\n\"x\\ny\"\n[\"b\"]\n");
        assert_eq!(printed("orset", "[]"), "");
        assert_eq!(printed("map", r#"{"n":{"gcounter":1}}"#), "{\n  \"n\": {\n    \"gcounter\": 1\n  }\n}\n");
    }

    #[test]
    fn the_token_joins_the_json_without_touching_it() {
        let body = r#"{"key":"k","type":"maxregister","value":1.0e0}"#;
        let expected = r#"{"key":"k","type":"maxregister","value":1.0e0,"context":"T"}"#;
        assert_eq!(with_context(body, Some("T")), expected);
        assert_eq!(with_context(body, None), body);
    }
}
