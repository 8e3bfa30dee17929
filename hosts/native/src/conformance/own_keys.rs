//! A name space of a run's own: each scenario finds an empty database, whatever the deployment holds, and what it leaves
//! can be told apart and deleted. Keys get a prefix on their way out and lose it in answers.

use std::collections::BTreeMap;
use std::fmt;

use dayfly_conformance::expectation::percent_encode;
use dayfly_conformance::http::{Answer, Request};
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use serde_json::value::RawValue;

/// The longest key, in bytes (`wit/http-api.md`, keys and types).
const KEY_BYTES_MAX: usize = 1_024;

/// The path of all keys of a type.
const DATA: &str = "/v1/data/";

/// Keys below a prefix, as one scenario sees them without it.
pub struct OwnKeys {
    prefix: String,
    /// The scenario's name of each key that was sent, by the name that the deployment knows.
    known: BTreeMap<String, String>,
}

impl OwnKeys {
    /// Keys below this prefix, which is of unreserved characters (RFC 3986).
    pub fn below(prefix: String) -> Self {
        Self { prefix, known: BTreeMap::new() }
    }

    /// What the deployment is asked in place of this. What is malformed stays so, and is refused as it would be.
    pub fn outward(&mut self, request: &Request) -> Request {
        let mut outward = request.clone();
        if let Some((kind, key)) = kind_and_key(&request.path) {
            outward.path = format!("{DATA}{kind}/{}", self.outward_segment(key));
        } else if request.path == "/v1/batch"
            && let Ok(operations) = serde_json::from_slice::<Vec<Members>>(&request.body)
        {
            outward.body = self.outward_batch(&operations).into_bytes();
        } else if request.path == "/v1/keys" {
            outward.query = self.outward_query(&request.query);
        }
        outward
    }

    /// What the scenario would see if there were no prefix.
    pub fn inward(&self, answer: Answer) -> Answer {
        let Ok(mut body) = answer.json() else { return answer };
        let own_key = |key: &mut Value| {
            if let Some(known) = key.as_str().and_then(|name| self.known.get(name)) {
                *key = Value::String(known.clone());
            }
        };
        if let Some(key) = body.get_mut("key") {
            own_key(key);
        } else if let Some(keys) = body.get_mut("keys").and_then(Value::as_array_mut) {
            keys.iter_mut().filter_map(|key| key.get_mut("key")).for_each(own_key);
        } else {
            return answer;
        }
        Answer { body: body.to_string().into_bytes(), ..answer }
    }

    /// A key as it stands in a path.
    fn outward_segment(&mut self, segment: &str) -> String {
        match decoded(segment) {
            None => format!("{}{segment}", self.prefix),
            Some(key) if key.is_empty() => segment.to_owned(),
            Some(key) => {
                let outward = self.outward_key(&key);
                // Spelled as the scenario spells it, where that is possible.
                let is_prefixed = outward.strip_prefix(&self.prefix) == Some(&key);
                if is_prefixed { format!("{}{segment}", self.prefix) } else { percent_encode(&outward) }
            }
        }
    }

    /// A key's name at the deployment. One that would become too long by the prefix has it in place of its beginning; one
    /// that is too long already stays just as long.
    fn outward_key(&mut self, key: &str) -> String {
        if key.is_empty() {
            return String::new();
        }
        let length = self.prefix.len() + key.len();
        let outward = if length <= KEY_BYTES_MAX {
            format!("{}{key}", self.prefix)
        } else {
            let rest = key.char_indices().find(|(at, _)| *at >= self.prefix.len()).map_or(key.len(), |(at, _)| at);
            let gap = "_".repeat(rest.saturating_sub(self.prefix.len()));
            format!("{}{gap}{}", self.prefix, &key[rest..])
        };
        self.known.insert(outward.clone(), key.to_owned());
        outward
    }

    /// A batch with the names of its keys changed, and everything else as it was, also what stands twice.
    fn outward_batch(&mut self, operations: &[Members]) -> String {
        let mut objects = Vec::with_capacity(operations.len());
        for Members(members) in operations {
            let member = |(name, value): &(String, Box<RawValue>)| {
                let key = serde_json::from_str::<String>(value.get()).ok().filter(|_| name == "key");
                let value =
                    key.map_or_else(|| value.get().to_owned(), |key| Value::String(self.outward_key(&key)).to_string());
                format!("{}:{value}", Value::String(name.clone()))
            };
            objects.push(format!("{{{}}}", members.iter().map(member).collect::<Vec<_>>().join(",")));
        }
        format!("[{}]", objects.join(","))
    }

    fn outward_query(&self, query: &str) -> String {
        let given: Vec<&str> = query.split('&').filter(|part| !part.is_empty()).collect();
        let mut parts = Vec::new();
        if !given.iter().any(|part| part.starts_with("prefix=")) {
            parts.push(format!("prefix={}", self.prefix));
        }
        parts.extend(given.iter().map(|part| match part.strip_prefix("prefix=") {
            Some(prefix) => format!("prefix={}{prefix}", self.prefix),
            None => (*part).to_owned(),
        }));
        parts.join("&")
    }
}

/// Type and key of a path of data, as they stand there.
fn kind_and_key(path: &str) -> Option<(&str, &str)> {
    let (kind, key) = path.strip_prefix(DATA)?.split_once('/')?;
    (!key.contains('/')).then_some((kind, key))
}

/// The text of a percent-encoded segment; none if it is malformed.
fn decoded(segment: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(segment.len());
    let mut rest = segment.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let digits = [rest.next()?, rest.next()?];
            let digits =
                std::str::from_utf8(&digits).ok().filter(|text| text.bytes().all(|b| b.is_ascii_hexdigit()))?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

/// An object's members in their order, also those that stand twice.
struct Members(Vec<(String, Box<RawValue>)>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;

        impl<'de> Visitor<'de> for Object {
            type Value = Members;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(Object)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PREFIX: &str = "own-1-";

    fn own() -> OwnKeys {
        OwnKeys::below(PREFIX.to_owned())
    }

    fn path(own: &mut OwnKeys, path: &str) -> String {
        own.outward(&Request { method: "GET".to_owned(), path: path.to_owned(), ..Request::default() }).path
    }

    #[test]
    fn a_key_gets_the_prefix_and_loses_it_again() {
        let mut own = own();
        assert_eq!(path(&mut own, "/v1/data/gset/a%2fb"), "/v1/data/gset/own-1-a%2fb");
        let header = ("content-type".to_owned(), "application/json".to_owned());
        let body = br#"{"key":"own-1-a/b","type":"gset","value":[1.0,18446744073709551615]}"#.to_vec();
        let answer = own.inward(Answer { status: 200, headers: vec![header], body });
        assert_eq!(
            String::from_utf8_lossy(&answer.body),
            r#"{"key":"a/b","type":"gset","value":[1.0,18446744073709551615]}"#
        );
        let body = br#"{"keys":[{"key":"own-1-a/b","type":"gset"},{"key":"own-1-unknown","type":"gset"}],"next":"00"}"#
            .to_vec();
        let answer = own.inward(Answer { body, ..answer });
        let expected = r#"{"keys":[{"key":"a/b","type":"gset"},{"key":"own-1-unknown","type":"gset"}],"next":"00"}"#;
        assert_eq!(String::from_utf8_lossy(&answer.body), expected);
    }

    #[test]
    fn what_is_malformed_stays_so() {
        let mut own = own();
        for same in ["/v1/data/gset/", "/v1/data/gset", "/v1/data/gset/k/more", "/v1/status", "/v1/keys/more"] {
            assert_eq!(path(&mut own, same), same);
        }
        assert_eq!(path(&mut own, "/v1/data/gset/%f"), "/v1/data/gset/own-1-%f");
        assert_eq!(path(&mut own, "/v1/data/gset/%ff"), "/v1/data/gset/own-1-%ff");
    }

    #[test]
    fn keys_keep_the_side_of_the_bound_that_they_are_on() {
        let mut own = own();
        for (key, bytes) in [("k".repeat(1_018), 1_024), ("k".repeat(1_019), 1_019), ("k".repeat(1_024), 1_024)] {
            assert_eq!(own.outward_key(&key).len(), bytes);
        }
        assert_eq!(own.outward_key(&"k".repeat(1_025)).len(), 1_025);
        let wide = own.outward_key(&format!("k{}", "ü".repeat(511)));
        assert!(wide.len() == 1_023 && wide.starts_with("own-1-_ü"), "{} {}", wide.len(), &wide[..12]);
        assert_eq!(own.outward_key(""), "");
    }

    #[test]
    fn a_batch_keeps_all_but_its_keys() {
        let mut own = own();
        let batch = |own: &mut OwnKeys, body: &str| {
            let request = Request { path: "/v1/batch".to_owned(), body: body.into(), ..Request::default() };
            String::from_utf8(own.outward(&request).body).expect("UTF-8")
        };
        let twice = r#"[{"type":"gset","key":"k","key":"l","add":[1e400, "key"]}]"#;
        assert_eq!(batch(&mut own, twice), r#"[{"type":"gset","key":"own-1-k","key":"own-1-l","add":[1e400, "key"]}]"#);
        for same in ["", "[1]", "{}", r#"[{"key":"#, r#"[{"key":1}]"#] {
            assert_eq!(batch(&mut own, same), same);
        }
    }

    #[test]
    fn listings_are_of_the_own_keys() {
        let own = own();
        assert_eq!(own.outward_query(""), "prefix=own-1-");
        assert_eq!(own.outward_query("limit=2&after=00"), "prefix=own-1-&limit=2&after=00");
        assert_eq!(own.outward_query("prefix=p/&limit=2"), "prefix=own-1-p/&limit=2");
        assert_eq!(own.outward_query("prefix="), "prefix=own-1-");
    }
}
