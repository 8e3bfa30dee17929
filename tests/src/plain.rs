//! The plain sequential program that a cluster's state is compared with: it applies operations one after the other, and
//! knows nothing of replicas. It has the types that loads are made of.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, bail, ensure};
use dayfly_conformance::expectation::percent_encode;
use dayfly_conformance::http::Answer;
use serde_json::Value;

use crate::client::Client;

/// A key: type and name.
pub type Key = (String, String);

/// What one key holds.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Cell {
    Count(u64),
    /// Elements by their JSON.
    Set(BTreeSet<String>),
    Register(Value),
}

/// The state after some operations.
#[derive(Clone, Debug, Default)]
pub struct Plain {
    cells: BTreeMap<Key, Cell>,
}

impl Plain {
    /// The state after all operations of a file of JSON lines.
    pub fn of_lines<'l>(lines: impl IntoIterator<Item = &'l str>) -> Result<Self> {
        let mut plain = Self::default();
        for (number, line) in lines.into_iter().enumerate() {
            plain.apply(line).with_context(|| format!("line {}", number + 1))?;
        }
        Ok(plain)
    }

    /// Applies one operation.
    pub fn apply(&mut self, line: &str) -> Result<()> {
        let operation: BTreeMap<String, Value> = serde_json::from_str(line)?;
        ensure!(operation.len() == 3, "not exactly type, key and one operation");
        let text = |name: &str| -> Result<String> {
            let value = operation.get(name).and_then(Value::as_str);
            Ok(value.with_context(|| format!("no {name}"))?.to_owned())
        };
        let key = (text("type")?, text("key")?);
        let verb = operation.keys().find(|name| *name != "type" && *name != "key").context("no operation")?;
        let argument = &operation[verb];
        if verb == "delete" {
            self.cells.remove(&key);
            return Ok(());
        }
        match (key.0.as_str(), verb.as_str()) {
            ("gcounter", "increment") => {
                let by = argument.as_u64().context("no amount")?;
                match self.cells.entry(key).or_insert(Cell::Count(0)) {
                    Cell::Count(count) => *count = count.checked_add(by).context("overflow")?,
                    other => bail!("a counter that is {other:?}"),
                }
            }
            ("orset", "add" | "remove") => {
                let elements = argument.as_array().context("no elements")?.iter().map(Value::to_string);
                let Cell::Set(set) = self.cells.entry(key.clone()).or_insert(Cell::Set(BTreeSet::new())) else {
                    bail!("a set that is none")
                };
                if verb == "add" {
                    set.extend(elements);
                } else {
                    elements.for_each(|element| {
                        set.remove(&element);
                    });
                }
                if set.is_empty() {
                    self.cells.remove(&key);
                }
            }
            ("lwwregister", "set") => {
                self.cells.insert(key, Cell::Register(argument.clone()));
            }
            (kind, verb) => bail!("the plain program has no {verb} of a {kind}"),
        }
        Ok(())
    }

    /// Puts the mark that `dayfly load --mark KEY` leaves: a maxregister of the last line that was applied.
    pub fn put_mark(&mut self, key: &str, line: usize) {
        self.cells.insert(("maxregister".to_owned(), key.to_owned()), Cell::Register(line.into()));
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.cells.len()
    }

    /// Whether there is no key.
    pub fn is_empty(&self) -> bool {
        self.cells.is_empty()
    }

    /// The keys with their values as the HTTP API shows them.
    pub fn values(&self) -> BTreeMap<Key, Value> {
        let value = |cell: &Cell| match cell {
            Cell::Count(count) => Value::from(*count),
            Cell::Set(elements) => {
                elements.iter().map(|element| serde_json::from_str::<Value>(element).unwrap_or_default()).collect()
            }
            Cell::Register(value) => value.clone(),
        };
        self.cells.iter().map(|(key, cell)| (key.clone(), value(cell))).collect()
    }

    /// Compares everything that a server holds with this state, keys and values. Gives at most so many differences, each
    /// for people; none if the two are equal.
    pub fn differences(&self, client: &mut Client, at_most: usize) -> Result<Vec<String>> {
        let expected = self.values();
        let mut differences = Vec::new();
        let listed = list_keys(|target| client.get(target))?;
        let missing = expected.keys().filter(|key| !listed.contains(*key)).map(|key| format!("{key:?} is missing"));
        let surplus =
            listed.iter().filter(|key| !expected.contains_key(*key)).map(|key| format!("{key:?} is too much"));
        differences.extend(missing.chain(surplus).take(at_most));
        for ((kind, key), value) in &expected {
            if differences.len() >= at_most {
                break;
            }
            let path = format!("/v1/data/{kind}/{}", percent_encode(key));
            let answer = client.get(&path)?;
            let body: Value = serde_json::from_slice(&answer.body).with_context(|| format!("GET {path}"))?;
            ensure!(answer.status < 500, "GET {path}: {} {body}", answer.status);
            if answer.status != 200 || body["value"] != *value {
                differences.push(format!("{kind} {key:?}: {} {body} in place of {value}", answer.status));
            }
        }
        Ok(differences)
    }
}

/// Every key that a server lists, which is asked for one page after the other.
///
/// # Errors
/// It gives no page.
pub fn list_keys(mut get: impl FnMut(&str) -> Result<Answer>) -> Result<BTreeSet<Key>> {
    let mut keys = BTreeSet::new();
    let mut target = "/v1/keys?limit=1000".to_owned();
    loop {
        let answer = get(&target)?;
        ensure!(answer.status == 200, "GET {target}: {} {}", answer.status, String::from_utf8_lossy(&answer.body));
        let page: Value = serde_json::from_slice(&answer.body)?;
        for key in page["keys"].as_array().context("no keys in a page of keys")? {
            let text = |member: &str| key[member].as_str().map(str::to_owned).context("a key without type or name");
            keys.insert((text("type")?, text("key")?));
        }
        match page["next"].as_str() {
            Some(next) => target = format!("/v1/keys?limit=1000&after={}", percent_encode(next)),
            None => return Ok(keys),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_are_applied_in_order() {
        let lines = [
            r#"{"type":"gcounter","key":"c","increment":2}"#,
            r#"{"type":"gcounter","key":"c","increment":3}"#,
            r#"{"type":"orset","key":"s","add":["b","a"]}"#,
            r#"{"type":"orset","key":"s","remove":["b"]}"#,
            r#"{"type":"orset","key":"gone","add":["b"]}"#,
            r#"{"type":"orset","key":"gone","remove":["b"]}"#,
            r#"{"type":"lwwregister","key":"r","set":1}"#,
            r#"{"type":"lwwregister","key":"r","set":{"a":null}}"#,
            r#"{"type":"lwwregister","key":"d","set":1}"#,
            r#"{"type":"lwwregister","key":"d","delete":true}"#,
        ];
        let values = Plain::of_lines(lines).expect("proper lines").values();
        let key = |kind: &str, name: &str| (kind.to_owned(), name.to_owned());
        let expected = BTreeMap::from([
            (key("gcounter", "c"), serde_json::json!(5)),
            (key("orset", "s"), serde_json::json!(["a"])),
            (key("lwwregister", "r"), serde_json::json!({"a": null})),
        ]);
        assert_eq!(values, expected);
        assert!(Plain::of_lines([r#"{"type":"tree","key":"k","grow":1}"#]).is_err());
        assert!(Plain::of_lines(["{"]).is_err());
    }
}
