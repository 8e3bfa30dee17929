//! One operation of a file: a line, checked as far as that needs no server.

use std::fmt;

use serde::Deserializer;
use serde::de::{Error, IgnoredAny, MapAccess, Visitor};

use crate::client::text;

/// The most bytes of a key.
const KEY_BYTES: usize = 1024;

/// An operation as it stood in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// The number of its line.
    pub line: u64,
    /// The JSON object, unchanged.
    pub json: String,
    /// Whether sending it twice leaves the same as sending it once, whatever operations of its type come after it.
    ///
    /// Not so for counters, which count twice; and not where a later line may take back what this one wrote (`orset`,
    /// `rwset`, `mvregister`, flags): if the first copy arrives late, at a replica that has seen the later line undo
    /// only the second copy, what it wrote is back. (So it is if a later line deletes the whole key; the help says so.)
    pub repeatable: bool,
}

/// Reads a line; none if it is blank or a comment (`#`). An error is for people.
pub fn parse(line: u64, bytes: Vec<u8>) -> Result<Option<Item>, String> {
    let text = String::from_utf8(bytes)
        .map_err(|error| format!("no UTF-8 after {} bytes", error.utf8_error().valid_up_to()))?;
    let json = text.trim();
    if json.is_empty() || json.starts_with('#') {
        return Ok(None);
    }
    let mut deserializer = serde_json::Deserializer::from_str(json);
    let members = deserializer.deserialize_map(MembersVisitor).and_then(|m| deserializer.end().map(|()| m));
    let members = members.map_err(|error| {
        // The error tells line 1, which is not the line of the file.
        let told = error.to_string();
        let what = told.split(" at line ").next().unwrap_or(&told);
        if error.is_data() { what.to_owned() } else { format!("no JSON object: {what}, at byte {}", error.column()) }
    })?;
    let type_name = members.type_name.ok_or("the member \"type\" is missing")?;
    let key = members.key.ok_or("the member \"key\" is missing")?;
    let operation = members.operation.ok_or("the operation is missing, such as \"increment\":1")?;
    if !(1..=KEY_BYTES).contains(&key.len()) {
        return Err(format!("a key has 1 to {KEY_BYTES} bytes, this has {}", key.len()));
    }
    let repeatable = repeatable(&type_name, &operation);
    let json = if json.len() == text.len() { text } else { json.to_owned() };
    Ok(Some(Item { line, json, repeatable }))
}

/// See [`Item::repeatable`]. What is not known here counts as not repeatable.
fn repeatable(type_name: &str, operation: &str) -> bool {
    matches!(
        (type_name, operation),
        ("gset", "add")
            | ("orset" | "map", "remove")
            | ("lwwregister" | "maxregister" | "minregister", "set")
            | (_, "delete")
    )
}

/// What a line's object says.
struct Members {
    type_name: Option<String>,
    key: Option<String>,
    operation: Option<String>,
}

struct MembersVisitor;

impl<'de> Visitor<'de> for MembersVisitor {
    type Value = Members;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(r#"an object such as {"type":"gcounter","key":"k","increment":1}"#)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
        let mut members = Members { type_name: None, key: None, operation: None };
        while let Some(name) = map.next_key::<String>()? {
            let repeated = match name.as_str() {
                "type" => members.type_name.replace(map.next_value()?).is_some(),
                "key" => members.key.replace(map.next_value()?).is_some(),
                _ => {
                    map.next_value::<IgnoredAny>()?;
                    if let Some(first) = &members.operation {
                        let [first, second] = [first, &name].map(|name| text::excerpt(name, 40));
                        return Err(A::Error::custom(format!(
                            "a line holds one operation, not \"{first}\" and \"{second}\""
                        )));
                    }
                    members.operation = Some(name);
                    continue;
                }
            };
            if repeated {
                return Err(A::Error::custom(format!("the member \"{name}\" stands twice")));
            }
        }
        Ok(members)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Option<Item>, String> {
        parse(7, line.as_bytes().to_vec())
    }

    #[test]
    fn a_good_line_is_kept_as_it_is() {
        let json = r#"{"key":"k","type":"maxregister", "set":1.0e0}"#;
        let item = parsed(&format!("  {json}\r")).expect("good").expect("an operation");
        assert_eq!(item, Item { line: 7, json: json.to_owned(), repeatable: true });
    }

    #[test]
    fn blank_lines_and_comments_are_no_operations() {
        for line in ["", "  \t\r", "# a comment", "  # another"] {
            assert_eq!(parsed(line), Ok(None), "{line:?}");
        }
    }

    #[test]
    fn a_bad_line_is_refused_with_its_reason() {
        let long_key = format!(r#"{{"type":"gset","key":"{}","add":[1]}}"#, "k".repeat(1025));
        let cases = [
            ("{\"type\":\"gset\"", "no JSON object"),
            ("[1]", "expected an object such as"),
            ("{\"type\":\"gset\",\"key\":\"k\",\"add\":[1]} x", "no JSON object: trailing characters"),
            ("{\"type\":\"gset\",\"key\":\"k\",\"add\":[01]}", "no JSON object"),
            ("{\"key\":\"k\",\"add\":[1]}", "\"type\" is missing"),
            ("{\"type\":\"gset\",\"add\":[1]}", "\"key\" is missing"),
            ("{\"type\":\"gset\",\"key\":\"k\"}", "operation is missing"),
            ("{\"type\":\"gset\",\"key\":\"k\",\"add\":[1],\"remove\":[1]}", "not \"add\" and \"remove\""),
            ("{\"type\":\"gset\",\"type\":\"gset\",\"key\":\"k\",\"add\":[1]}", "\"type\" stands twice"),
            ("{\"type\":\"gset\",\"key\":\"\",\"add\":[1]}", "this has 0"),
            ("{\"type\":\"gset\",\"key\":7,\"add\":[1]}", "expected a string"),
            (&long_key, "this has 1025"),
        ];
        for (line, part) in cases {
            let error = parsed(line).expect_err("refused");
            assert!(error.contains(part) && !error.contains("line 1"), "{line}: {error}");
        }
        assert_eq!(parse(1, b"{\xff}".to_vec()), Err("no UTF-8 after 1 bytes".to_owned()));
    }

    #[test]
    fn deep_nesting_is_left_to_the_server_and_does_no_harm_here() {
        let deep =
            format!(r#"{{"type":"lwwregister","key":"k","set":{}{}}}"#, "[".repeat(100_000), "]".repeat(100_000));
        assert!(parsed(&deep).expect("well formed").is_some());
    }

    #[test]
    fn only_what_no_later_line_can_take_back_is_repeatable() {
        let cases = [
            (r#"{"type":"gset","key":"k","add":[1]}"#, true),
            (r#"{"type":"lwwregister","key":"k","set":1}"#, true),
            (r#"{"type":"orset","key":"k","remove":[1]}"#, true),
            (r#"{"type":"gcounter","key":"k","delete":true}"#, true),
            (r#"{"type":"gcounter","key":"k","increment":1}"#, false),
            (r#"{"type":"orset","key":"k","add":[1]}"#, false),
            (r#"{"type":"rwset","key":"k","remove":[1]}"#, false),
            (r#"{"type":"mvregister","key":"k","set":1}"#, false),
            (r#"{"type":"ewflag","key":"k","enable":true}"#, false),
            (r#"{"type":"map","key":"k","update":{}}"#, false),
            (r#"{"type":"unheard-of","key":"k","add":[1]}"#, false),
        ];
        for (line, expected) in cases {
            assert_eq!(parsed(line).expect("good").expect("an operation").repeatable, expected, "{line}");
        }
    }
}
