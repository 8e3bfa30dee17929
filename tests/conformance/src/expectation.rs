//! Whether an answer is the one that a scenario expects, and one at all that wit/http-api.md permits.

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::http::Answer;
use crate::step::Ask;
use crate::text::{Text, Variables};

/// Each status of an error with its codes, as wit/http-api.md has them.
pub const CODES: [(u16, &[&str]); 9] = [
    (400, &["bad_json", "bad_request", "bad_key", "unknown_type", "bad_context"]),
    (404, &["no_such_key", "no_such_path"]),
    (405, &["bad_method"]),
    (409, &["overflow"]),
    (413, &["payload_too_large", "batch_too_large", "body_too_large"]),
    (415, &["bad_content_type"]),
    (422, &["wrong_operation", "bad_value"]),
    (503, &["not_yet", "busy", "unconfirmed", "no_replica"]),
    (507, &["store_full"]),
];

/// Codes of answers that a host may make without a replica.
const HOST_MADE: [&str; 2] = ["no_replica", "body_too_large"];

/// What every answer must satisfy, whatever the scenario: the replica names itself (and is this one, if that is known),
/// header names are in lower case, an error has the one form of errors, a success is JSON or nothing.
pub fn check_form(answer: &Answer, replica: Option<&str>) -> Result<()> {
    let named = answer.header("dayfly-replica");
    let host_made = || json_body(answer).is_ok_and(|body| HOST_MADE.iter().any(|code| body["error"]["code"] == *code));
    let fits = match named {
        Some(named) => replica.is_none_or(|replica| replica == named),
        None => host_made(),
    };
    ensure!(fits, "dayfly-replica is {named:?} in place of {:?}", replica.unwrap_or("a name"));
    for (name, _) in &answer.headers {
        ensure!(!name.bytes().any(|byte| byte.is_ascii_uppercase()), "the header name {name:?} is not in lower case");
    }
    ensure!(
        matches!(answer.header("dayfly-complete"), None | Some("false")),
        "dayfly-complete is {:?}",
        answer.header("dayfly-complete")
    );
    if answer.status == 204 {
        ensure!(answer.body.is_empty(), "204 with a body");
        return Ok(());
    }
    let body = json_body(answer)?;
    if answer.status < 400 {
        ensure!(answer.status == 200, "the API has no status {}", answer.status);
        return Ok(());
    }
    let Some((_, codes)) = CODES.iter().find(|(status, _)| *status == answer.status) else {
        bail!("the API has no status {}", answer.status)
    };
    let members = body.as_object().filter(|body| body.len() == 1).and_then(|body| body.get("error")?.as_object());
    let error = members.filter(|error| error.len() == 2).context("not the form {error: {code, message}}")?;
    let code = error.get("code").and_then(Value::as_str).context("no error code")?;
    let message = error.get("message").and_then(Value::as_str).context("no error message")?;
    ensure!(codes.contains(&code), "{} has no code {code:?}", answer.status);
    ensure!(!message.trim().is_empty(), "the message is empty");
    ensure!(answer.header("dayfly-context").is_none(), "a refused request has no context");
    if answer.status == 405 {
        ensure!(answer.header("allow").is_some(), "405 without `allow`");
    }
    if matches!(code, "not_yet" | "busy") {
        ensure!(answer.header("retry-after") == Some("1"), "503 without `retry-after: 1`");
    }
    Ok(())
}

/// The body as JSON.
pub fn json_body(answer: &Answer) -> Result<Value> {
    let kind = answer.header("content-type");
    ensure!(kind == Some("application/json"), "content-type is {kind:?}");
    serde_json::from_slice(&answer.body).context("the body is no JSON")
}

/// Whether the answer is as the step expects.
pub fn check(ask: &Ask, path: &str, answer: &Answer, variables: &Variables) -> Result<()> {
    ensure!(answer.status == ask.status, "status {} in place of {}", answer.status, ask.status);
    for (name, expected) in &ask.shows {
        let shown = answer.header(name).with_context(|| format!("no header {name}, or several"))?;
        let expected = expected.string(variables)?;
        ensure!(expected == "*" || shown == expected, "header {name} is {shown:?} in place of {expected:?}");
    }
    for name in &ask.lacks {
        let has = answer.headers.iter().any(|(other, _)| other.eq_ignore_ascii_case(name));
        ensure!(!has, "there is a header {name}");
    }
    if let Some(code) = &ask.error {
        let body = json_body(answer)?;
        ensure!(body["error"]["code"] == code.as_str(), "code {} in place of {code:?}", body["error"]["code"]);
        let message = body["error"]["message"].as_str().unwrap_or_default();
        let begin = ask.message.as_deref().unwrap_or_default();
        ensure!(message.starts_with(begin), "the message {message:?} does not begin with {begin:?}");
    }
    if let Some(value) = &ask.value {
        check_value(path, answer, &[parse(value, variables)?])?;
    }
    if !ask.one_of.is_empty() {
        let values: Vec<_> = ask.one_of.iter().map(|value| parse(value, variables)).collect::<Result<_>>()?;
        check_value(path, answer, &values)?;
    }
    if let Some(expected) = &ask.json {
        let (body, expected) = (json_body(answer)?, parse(expected, variables)?);
        ensure!(body == expected, "the body is {body} in place of {expected}");
    }
    if let Some(expected) = &ask.has {
        let (body, expected) = (json_body(answer)?, parse(expected, variables)?);
        ensure!(holds(&body, &expected), "the body is {body}, which lacks something of {expected}");
    }
    for (pointer, least) in &ask.at_least {
        let number = number_at(answer, pointer)?;
        ensure!(number >= *least, "{pointer} is {number}, less than {least}");
    }
    for (pointer, most) in &ask.at_most {
        let number = number_at(answer, pointer)?;
        ensure!(number <= *most, "{pointer} is {number}, more than {most}");
    }
    Ok(())
}

fn parse(text: &Text, variables: &Variables) -> Result<Value> {
    let text = text.string(variables)?;
    serde_json::from_str(&text).with_context(|| format!("the scenario expects what is no JSON: {text}"))
}

fn number_at(answer: &Answer, pointer: &str) -> Result<u64> {
    let body = json_body(answer)?;
    body.pointer(pointer).and_then(Value::as_u64).with_context(|| format!("no number at {pointer} in {body}"))
}

/// An answer about one key: exactly `key`, `type` and `value`, the first two as in the path.
fn check_value(path: &str, answer: &Answer, values: &[Value]) -> Result<()> {
    let path = path.split('?').next().unwrap_or_default();
    let (kind, key) = path
        .strip_prefix("/v1/data/")
        .and_then(|rest| rest.split_once('/'))
        .context("`value` is expected of a path /v1/data/{type}/{key}")?;
    let body = json_body(answer)?;
    let members = body.as_object().filter(|members| members.len() == 3).context("not exactly key, type and value")?;
    ensure!(members.get("type").and_then(Value::as_str) == Some(kind), "type is not {kind:?} in {body}");
    let key = percent_decode(key);
    ensure!(members.get("key").and_then(Value::as_str) == Some(&key), "key is not {key:?} in {body}");
    let value = members.get("value").context("no value")?;
    let shown: Vec<_> = values.iter().map(Value::to_string).collect();
    ensure!(values.contains(value), "the value is {value} in place of {}", shown.join(" or "));
    Ok(())
}

/// Whether `body` has all that `expected` has: every member of an object, at any depth; anything else must be equal.
fn holds(body: &Value, expected: &Value) -> bool {
    match (body, expected) {
        (Value::Object(body), Value::Object(expected)) => {
            expected.iter().all(|(name, value)| body.get(name).is_some_and(|found| holds(found, value)))
        }
        _ => body == expected,
    }
}

/// Decodes `%XX`; what is no valid escape or no UTF-8 is left as it can be read.
pub fn percent_decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let escape = bytes.get(at + 1..at + 3).filter(|_| bytes[at] == b'%');
        let decoded = escape.and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok());
        out.push(decoded.unwrap_or(bytes[at]));
        at += if decoded.is_some() { 3 } else { 1 };
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Encodes everything but unreserved characters (RFC 3986) as `%XX`.
pub fn percent_encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, body: &str) -> Answer {
        let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let headers = vec![header("dayfly-replica", "a"), header("content-type", "application/json")];
        Answer { status, headers, body: body.as_bytes().to_vec() }
    }

    #[test]
    fn the_form_is_checked() {
        let error = r#"{"error":{"code":"bad_key","message":"give a key"}}"#;
        assert!(check_form(&answer(400, error), Some("a")).is_ok());
        assert!(check_form(&answer(400, error), Some("b")).is_err(), "another replica");
        assert!(check_form(&answer(422, error), Some("a")).is_err(), "a code of another status");
        assert!(check_form(&answer(418, error), Some("a")).is_err(), "a status that the API has not");
        assert!(
            check_form(&answer(503, r#"{"error":{"code":"busy","message":"x"}}"#), Some("a")).is_err(),
            "no retry-after"
        );
        assert!(check_form(&answer(400, r#"{"error":{"code":"bad_key","message":" "}}"#), Some("a")).is_err());
        assert!(check_form(&answer(200, "{"), Some("a")).is_err(), "no JSON");
    }

    #[test]
    fn values_are_compared_exactly() {
        let one = answer(200, r#"{"key":"a/b","type":"gset","value":[1.0]}"#);
        let path = "/v1/data/gset/a%2Fb";
        assert!(check_value(path, &one, &[serde_json::json!([1.0])]).is_ok());
        assert!(check_value(path, &one, &[serde_json::json!([1])]).is_err(), "1 and 1.0 differ");
        assert!(check_value("/v1/data/gset/a", &one, &[serde_json::json!([1.0])]).is_err(), "another key");
        let more = answer(200, r#"{"key":"a/b","type":"gset","value":[1.0],"more":1}"#);
        assert!(check_value(path, &more, &[serde_json::json!([1.0])]).is_err(), "one member too many");
        assert!(holds(&serde_json::json!({"a": {"b": 1, "c": 2}}), &serde_json::json!({"a": {"b": 1}})));
        assert!(!holds(&serde_json::json!({"a": {"b": 1}}), &serde_json::json!({"a": {"b": 2}})));
    }

    #[test]
    fn percent_coding_is_its_own_inverse() {
        let text = "a/b c%ü";
        assert_eq!(percent_decode(&percent_encode(text)), text);
    }
}
