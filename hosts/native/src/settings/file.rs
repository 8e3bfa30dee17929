//! The file of settings: TOML, one `key = value` a setting, named as the flags are.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};

use super::kind::Kind;
use super::origin::Origin;
use super::table::{self, Setting};
use crate::client::Failure;

/// The most bytes that a file of settings may have: it is read whole.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// How alike a known key must be to an unknown one to be suggested, from 0 to 1.
const LIKENESS_MIN: f64 = 0.75;

/// What a file says, by key: the value as a flag would be given it, and the line.
#[derive(Debug, Default)]
pub struct File {
    /// The values.
    pub values: BTreeMap<&'static str, (String, Origin)>,
}

impl File {
    /// Reads a file. Anything in it that is no setting is an error that names the line.
    pub fn read(path: &Path) -> Result<Self, Failure> {
        let unreadable = |reason: String| Failure::Usage(format!("cannot read {}: {reason}", path.display()));
        let length = std::fs::metadata(path).map_err(|error| unreadable(error.to_string()))?.len();
        if length > FILE_BYTES_MAX {
            return Err(unreadable(format!("it has more than {FILE_BYTES_MAX} bytes")));
        }
        let text = std::fs::read_to_string(path).map_err(|error| unreadable(error.to_string()))?;
        Self::parse(path, &text)
    }

    fn parse(path: &Path, text: &str) -> Result<Self, Failure> {
        let line_of = |at: usize| 1 + text[..at.min(text.len())].matches('\n').count();
        let wrong = |line: usize, what: &str| Failure::Usage(format!("{} line {line}: {what}", path.display()));
        let whole = DeTable::parse(text)
            .map_err(|error| wrong(error.span().map_or(1, |span| line_of(span.start)), error.message()))?;
        let mut values = BTreeMap::new();
        for (key, value) in whole.get_ref() {
            let line = line_of(key.span().start);
            let name = key.get_ref().as_ref();
            let setting = table::find(name).ok_or_else(|| wrong(line, &unknown(name)))?;
            let value = as_flag(setting.kind, value.get_ref()).ok_or_else(|| {
                wrong(line, &format!("{name} {}, not {}", setting.kind.bound(), article(value.get_ref())))
            })?;
            values.insert(setting.key, (value, Origin::File(PathBuf::from(path), line)));
        }
        Ok(Self { values })
    }
}

/// A value of the file as a flag would be given it; none if it is of the wrong type.
fn as_flag(kind: Kind, value: &DeValue<'_>) -> Option<String> {
    match (kind, value) {
        (Kind::Number(..) | Kind::Seconds(..), DeValue::Integer(number)) => {
            (number.radix() == 10).then(|| number.as_str().to_owned())
        }
        (Kind::Seconds(..), DeValue::Float(number)) => Some(number.as_str().to_owned()),
        (Kind::Switch, DeValue::Boolean(on)) => Some(on.to_string()),
        (Kind::Names(_), DeValue::Array(list)) => {
            let names: Option<Vec<&str>> = list.iter().map(|item| item.get_ref().as_str()).collect();
            Some(names?.join(","))
        }
        (
            Kind::Name(_)
            | Kind::Names(_)
            | Kind::Text(_)
            | Kind::BrokerUrl
            | Kind::Path
            | Kind::Address
            | Kind::Choice(_),
            DeValue::String(text),
        ) => Some(text.as_ref().to_owned()),
        _ => None,
    }
}

/// The type of a value, for people.
fn article(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a text in quotes",
        DeValue::Integer(_) | DeValue::Float(_) => "a number",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

fn unknown(key: &str) -> String {
    let likeness = |setting: &&&Setting| strsim::jaro_winkler(key, setting.key);
    let alike = table::ALL
        .iter()
        .max_by(|a, b| likeness(a).total_cmp(&likeness(b)))
        .filter(|setting| likeness(setting) >= LIKENESS_MIN);
    match alike {
        Some(setting) => format!("there is no setting `{key}`; did you mean `{}`?", setting.key),
        None => {
            let keys: Vec<&str> = table::ALL.iter().map(|setting| setting.key).collect();
            format!("there is no setting `{key}`; there are {}", keys.join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<File, String> {
        File::parse(Path::new("d.toml"), text).map_err(|error| error.to_string())
    }

    #[test]
    fn values_come_with_their_lines() {
        let file =
            parse("# first\nregion = \"eu\"\n\nregions = [\"a\", \"b\"]\nreplicas = 1_0\nlog = true\nidle = 2.5\n")
                .expect("it is well");
        let value = |key: &str| file.values.get(key).map(|(value, origin)| (value.as_str(), origin.to_string()));
        assert_eq!(value("region"), Some(("eu", "d.toml line 2".to_owned())));
        assert_eq!(value("regions"), Some(("a,b", "d.toml line 4".to_owned())));
        assert_eq!(value("replicas"), Some(("10", "d.toml line 5".to_owned())));
        assert_eq!(value("log"), Some(("true", "d.toml line 6".to_owned())));
        assert_eq!(value("idle"), Some(("2.5", "d.toml line 7".to_owned())));
    }

    #[test]
    fn what_is_no_setting_is_told_with_its_line() {
        for (text, told) in [
            ("\nregoin = \"eu\"", "d.toml line 2: there is no setting `regoin`; did you mean `region`?"),
            ("region = 3", "d.toml line 1: region must be at most 32 bytes, not a number"),
            ("replicas = \"3\"", "d.toml line 1: replicas must be a number from 1 to 10000, not a text in quotes"),
            ("regions = [\"a\", 1]", "d.toml line 1: regions must be names"),
            ("x = 1", "there are broker"),
            ("region = \"a\"\n\nregion = \"b\"", "d.toml line 3: duplicate key"),
            ("region =", "d.toml line 1: "),
        ] {
            let error = parse(text).expect_err(text);
            assert!(error.contains(told), "{text:?}: {error}");
        }
    }
}
