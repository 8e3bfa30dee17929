//! One operation, from the words of a command line to the JSON of the API.

use serde::Deserializer;
use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde_json::Value;
use std::fmt;

/// The operation as a JSON object, or what is wrong with the words. The words are
///
/// - `increment [N]`, `decrement [N]` (one if absent), `add V…`, `remove V…`, `set V`, `enable`, `disable`, or
/// - `update JSON` for a map, or
/// - the JSON object itself.
///
/// A value is JSON if it parses as JSON, else text; with `as_text` it is always text. The fields that a map removes are
/// names, so they are always text.
pub fn parse(type_name: &str, words: &[String], as_text: bool) -> Result<String, String> {
    let (verb, rest) = words.split_first().ok_or("an operation is missing, such as `increment 3`")?;
    if verb.trim_start().starts_with('{') {
        return match rest {
            [] => raw(verb),
            [extra, ..] => Err(format!("a JSON operation is one word: put it in single quotes (`{extra}` follows it)")),
        };
    }
    let as_text = as_text || (type_name == "map" && verb == "remove");
    let value = |word: &String| if as_text { Value::from(word.as_str()).to_string() } else { value_of(word) };
    match verb.as_str() {
        "increment" | "decrement" => match rest {
            [] => Ok(format!(r#"{{"{verb}":1}}"#)),
            [amount] => match amount.parse::<u64>() {
                Ok(amount) => Ok(format!(r#"{{"{verb}":{amount}}}"#)),
                Err(_) => Err(format!("`{verb}` takes a number from 0 to {}, not `{amount}`", u64::MAX)),
            },
            _ => Err(format!("`{verb}` takes one number")),
        },
        "add" | "remove" => match rest {
            [] => Err(format!("`{verb}` takes at least one value")),
            values => Ok(format!(r#"{{"{verb}":[{}]}}"#, values.iter().map(value).collect::<Vec<_>>().join(","))),
        },
        "set" => match rest {
            [single] => Ok(format!(r#"{{"set":{}}}"#, value(single))),
            _ => Err("`set` takes one value; put a text of several words in quotes".to_owned()),
        },
        "enable" | "disable" => match rest {
            [] => Ok(format!(r#"{{"{verb}":true}}"#)),
            _ => Err(format!("`{verb}` takes no value")),
        },
        "update" => match rest {
            [fields] if is_json(fields) => Ok(format!(r#"{{"update":{fields}}}"#)),
            _ => Err(r#"`update` takes the fields as one JSON object: '{"visits":{"type":"gcounter","increment":1}}'"#
                .to_owned()),
        },
        "delete" => Err("to delete a key there is `dayfly delete`".to_owned()),
        other => Err(format!(
            "there is no operation `{other}`: increment, decrement, add, remove, set, enable, disable, update, or JSON"
        )),
    }
}

/// A word as a JSON value: itself if it is JSON, unchanged, so that `1.0` and large numbers stay what they are; else as
/// text.
fn value_of(word: &str) -> String {
    if is_json(word) { word.to_owned() } else { Value::from(word).to_string() }
}

fn is_json(text: &str) -> bool {
    serde_json::from_str::<IgnoredAny>(text).is_ok()
}

/// Checks an operation that is given as JSON; it is sent as it is.
fn raw(text: &str) -> Result<String, String> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let members = deserializer.deserialize_map(Members).and_then(|members| deserializer.end().map(|()| members));
    match members {
        Ok(1) => Ok(text.to_owned()),
        Ok(count) => Err(format!("an operation has one member, such as {{\"increment\":3}}; this has {count}")),
        Err(error) => Err(format!("the operation is no JSON object: {error}")),
    }
}

/// Counts the members of an object.
struct Members;

impl<'de> Visitor<'de> for Members {
    type Value = usize;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with one member")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<usize, A::Error> {
        let mut members = 0;
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {
            members += 1;
        }
        Ok(members)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(type_name: &str, words: &[&str], as_text: bool) -> Result<String, String> {
        parse(type_name, &words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>(), as_text)
    }

    #[test]
    fn words_become_json() {
        let cases: &[(&str, &[&str], &str)] = &[
            ("gcounter", &["increment"], r#"{"increment":1}"#),
            ("gcounter", &["increment", "18446744073709551615"], r#"{"increment":18446744073709551615}"#),
            ("pncounter", &["decrement", "0"], r#"{"decrement":0}"#),
            (
                "orset",
                &["add", "a", "7", "\"7\"", "null", "[1, 2]", "two words"], // the last is no JSON
                r#"{"add":["a",7,"7",null,[1, 2],"two words"]}"#,
            ),
            ("orset", &["remove", "a"], r#"{"remove":["a"]}"#),
            ("lwwregister", &["set", "it's \"so\""], r#"{"set":"it's \"so\""}"#),
            ("lwwregister", &["set", "{\"b\":1, \"a\":2}"], r#"{"set":{"b":1, "a":2}}"#),
            ("maxregister", &["set", "-5"], r#"{"set":-5}"#),
            ("maxregister", &["set", "1.0"], r#"{"set":1.0}"#),
            ("lwwregister", &["set", ""], r#"{"set":""}"#),
            ("ewflag", &["enable"], r#"{"enable":true}"#),
            ("dwflag", &["disable"], r#"{"disable":true}"#),
            (
                "map",
                &["update", r#"{"n":{"type":"gcounter","increment":1}}"#],
                r#"{"update":{"n":{"type":"gcounter","increment":1}}}"#,
            ),
            ("map", &["remove", "7", "true"], r#"{"remove":["7","true"]}"#),
            ("gset", &[r#" {"add": [1]}"#], r#" {"add": [1]}"#),
        ];
        for (type_name, words, json) in cases {
            assert_eq!(parsed(type_name, words, false).as_deref(), Ok(*json), "{words:?}");
        }
    }

    #[test]
    fn text_is_forced() {
        assert_eq!(parsed("orset", &["add", "7", "null"], true).as_deref(), Ok(r#"{"add":["7","null"]}"#));
        assert_eq!(parsed("gcounter", &["increment", "7"], true).as_deref(), Ok(r#"{"increment":7}"#));
    }

    #[test]
    fn wrong_words_are_refused_with_a_reason() {
        let cases: &[(&[&str], &str)] = &[
            (&[], "missing"),
            (&["increment", "-1"], "0 to 18446744073709551615"),
            (&["increment", "18446744073709551616"], "0 to"),
            (&["increment", "1", "2"], "one number"),
            (&["add"], "at least one"),
            (&["set"], "one value"),
            (&["set", "two", "words"], "quotes"),
            (&["enable", "true"], "no value"),
            (&["update", "n"], "one JSON object"),
            (&["delete"], "dayfly delete"),
            (&["incremnt", "1"], "no operation `incremnt`"),
            (&["{\"increment\":1", "}"], "single quotes"),
            (&["{\"increment\":1"], "no JSON object"),
            (&["{\"increment\":1} x"], "no JSON object"),
            (&["{}"], "this has 0"),
            (&["{\"increment\":1,\"decrement\":1}"], "this has 2"),
        ];
        for (words, part) in cases {
            let error = parsed("orset", words, false).expect_err("refused");
            assert!(error.contains(part), "{words:?}: {error}");
        }
    }
}
