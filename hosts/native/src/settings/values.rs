//! The layers put together.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use super::file::File;
use super::given::{Given, Scope};
use super::kind::Value;
use super::origin::Origin;
use super::table::{self, Default, Setting};
use crate::client::Failure;

/// The file that is read if none is named.
const USUAL_FILE: &str = "dayfly.toml";

/// A command's settings, each read and within its bounds.
#[derive(Clone, Debug)]
pub struct Values {
    values: BTreeMap<&'static str, (Value, Origin)>,
    /// The file that was read.
    pub file: Option<PathBuf>,
}

impl Values {
    /// Reads the file and puts the layers together. An error names the setting, its bound and where the value came
    /// from.
    pub fn of<S: Scope>(given: &Given<S>) -> Result<Self, Failure> {
        Self::with_usual_file(given, Path::new(USUAL_FILE))
    }

    fn with_usual_file<S: Scope>(given: &Given<S>, usual: &Path) -> Result<Self, Failure> {
        let path = match &given.file {
            Some((path, _)) => Some(path.clone()),
            None => usual.exists().then(|| usual.to_owned()),
        };
        let file = path.as_deref().map(File::read).transpose()?.unwrap_or_default();
        let mut values = BTreeMap::new();
        for setting in table::ALL {
            let from_file = || file.values.get(setting.key);
            let default = || match setting.default {
                Default::Is(text) => Some((text.to_owned(), Origin::Default)),
                Default::Told(_) => None,
            };
            let found = given.values.get(setting.key).or_else(from_file).cloned().or_else(default);
            let Some((text, origin)) = found else { continue };
            // The file is read whole, also what is not for this command: a mistake is told by whoever sees it first.
            let value = setting
                .kind
                .read(&text)
                .map_err(|bound| Failure::Usage(format!("{} {bound} (from {origin})", setting.key)))?;
            if Given::<S>::has(setting) {
                values.insert(setting.key, (value, origin));
            }
        }
        let values = Self { values, file: path };
        if S::ACTS {
            values.check_needs()?;
        }
        Ok(values)
    }

    /// A flag that means nothing without another is refused; a variable or a line in the file may stand there for other
    /// times.
    fn check_needs(&self) -> Result<(), Failure> {
        for setting in table::ALL {
            if let Some(needed) = setting.needs
                && let Some((_, Origin::Flag(key))) = self.values.get(setting.key)
                && !self.switch(needed)
            {
                return Err(Failure::Usage(format!("--{key} needs --{}", needed.key)));
            }
        }
        Ok(())
    }

    fn find(&self, setting: &Setting) -> Option<&Value> {
        self.values.get(setting.key).map(|(value, _)| value)
    }

    /// The value and where it came from; none if there is none.
    pub fn get(&self, setting: &Setting) -> Option<(&Value, &Origin)> {
        self.values.get(setting.key).map(|(value, origin)| (value, origin))
    }

    // The table says of what kind each is, so asking for another is a bug; so is asking a command for what it has not.

    /// The value of a number, if there is one.
    pub fn number_given(&self, setting: &Setting) -> Option<u64> {
        self.find(setting).map(|value| match value {
            Value::Number(number) => *number,
            other => panic!("{} is no number: {other:?}", setting.key),
        })
    }

    /// The value of a number that has a default.
    pub fn number(&self, setting: &Setting) -> u64 {
        self.number_given(setting).unwrap_or_else(|| panic!("{} has no default", setting.key))
    }

    /// The value of a number of seconds, if there is one.
    pub fn seconds_given(&self, setting: &Setting) -> Option<f64> {
        self.find(setting).map(|value| match value {
            Value::Seconds(seconds) => *seconds,
            other => panic!("{} is no number of seconds: {other:?}", setting.key),
        })
    }

    /// The value of a number of seconds that has a default.
    pub fn seconds(&self, setting: &Setting) -> f64 {
        self.seconds_given(setting).unwrap_or_else(|| panic!("{} has no default", setting.key))
    }

    /// The value of a text, if there is one.
    pub fn text_given(&self, setting: &Setting) -> Option<&str> {
        self.find(setting).map(|value| match value {
            Value::Text(text) => text.as_str(),
            other => panic!("{} is no text: {other:?}", setting.key),
        })
    }

    /// The value of a text that has a default.
    pub fn text(&self, setting: &Setting) -> &str {
        self.text_given(setting).unwrap_or_else(|| panic!("{} has no default", setting.key))
    }

    /// The value of a list that has a default.
    pub fn list(&self, setting: &Setting) -> &[String] {
        match self.find(setting) {
            Some(Value::List(list)) => list,
            other => panic!("{} is no list: {other:?}", setting.key),
        }
    }

    /// The value of an address that has a default.
    pub fn address(&self, setting: &Setting) -> SocketAddr {
        match self.find(setting) {
            Some(Value::Address(address)) => *address,
            other => panic!("{} is no address: {other:?}", setting.key),
        }
    }

    /// The value of a switch; off, if the command has none.
    pub fn switch(&self, setting: &Setting) -> bool {
        match self.find(setting) {
            Some(Value::Switch(on)) => *on,
            None => false,
            other => panic!("{} is no switch: {other:?}", setting.key),
        }
    }

    /// That a setting does not go together with others; tells where it came from.
    pub fn refuse(&self, setting: &Setting, must: &str) -> Failure {
        let origin = self.values.get(setting.key).map_or(&Origin::Default, |(_, origin)| origin);
        Failure::Usage(format!("{} {must} (from {origin})", setting.key))
    }
}

#[cfg(test)]
pub mod tests {
    use super::super::given::{Node, Up};
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Of<S: Scope> {
        #[command(flatten)]
        given: Given<S>,
    }

    /// The settings of a command line; no file is read unless it is named.
    pub fn values<S: Scope>(args: &[&str]) -> anyhow::Result<Values> {
        let command = Of::<S>::try_parse_from([&["dayfly"], args].concat())?;
        Ok(Values::with_usual_file(&command.given, Path::new("no/such/file"))?)
    }

    #[test]
    fn values_come_with_their_origin() {
        let values = values::<Node>(&["--region", "eu", "--keep"]).expect("it is well");
        let origin = |setting: &Setting| values.get(setting).map(|(_, origin)| origin.to_string());
        assert_eq!(values.text(&table::REGION), "eu");
        assert_eq!(origin(&table::REGION).as_deref(), Some("flag --region"));
        assert!(values.switch(&table::KEEP));
        assert_eq!(origin(&table::STORE_MIB).as_deref(), Some("default"));
        assert_eq!(values.number(&table::STORE_MIB), 64);
        assert_eq!(values.text_given(&table::BROKER), None);
    }

    #[test]
    fn a_former_name_of_a_flag_is_one_too() {
        let values = values::<Up>(&["--ephemeral", "--awake", "2.5"]).expect("it is well");
        assert_eq!(values.seconds_given(&table::AWAKE_SECONDS), Some(2.5));
    }

    #[test]
    fn what_is_out_of_bounds_says_where_it_came_from() {
        let error = values::<Up>(&["--store-mib", "4000"]).expect_err("it is too much").to_string();
        assert_eq!(error, "store-mib must be a number from 1 to 1024 (from flag --store-mib)");
        let error = values::<Up>(&["--idle", "3"]).expect_err("nothing is frozen").to_string();
        assert_eq!(error, "--idle needs --ephemeral");
        assert!(values::<Up>(&["--ephemeral", "--idle", "3"]).is_ok());
        assert!(values::<Up>(&["--region", "eu"]).is_err(), "it is no setting of `up`");
    }
}
