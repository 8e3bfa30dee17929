//! What a setting's value may be, and how it is read.

use std::net::SocketAddr;

/// The kinds of values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// A name of `a-z`, `0-9`, `-`, `_`, `.`, of 1 to so many characters.
    Name(usize),
    /// Names, separated by commas; in the file, a list.
    Names(usize),
    /// Any text of at most so many bytes.
    Text(usize),
    /// A broker's URL; may hold a password.
    BrokerUrl,
    /// A path in the file system.
    Path,
    /// An address and a port.
    Address,
    /// A whole number from a range, both ends included.
    Number(u64, u64),
    /// A number of seconds from a range, both ends included; fractions allowed.
    Seconds(f64, f64),
    /// One of these words.
    Choice(&'static [&'static str]),
    /// On or off; as a flag it needs no value.
    Switch,
}

/// A value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Of a name, a text, a URL, a path or a choice.
    Text(String),
    /// Of names.
    List(Vec<String>),
    /// Of an address.
    Address(SocketAddr),
    /// Of a whole number.
    Number(u64),
    /// Of seconds.
    Seconds(f64),
    /// Of a switch.
    Switch(bool),
}

impl Kind {
    /// Reads a value; otherwise tells what it must be.
    pub fn read(self, text: &str) -> Result<Value, String> {
        let value = match self {
            Self::Name(max) => is_name(text, max).then(|| Value::Text(text.to_owned())),
            Self::Names(max) => {
                let names: Vec<String> = text.split(',').map(|name| name.trim().to_owned()).collect();
                names.iter().all(|name| is_name(name, max)).then_some(Value::List(names))
            }
            Self::Text(max) => (text.len() <= max).then(|| Value::Text(text.to_owned())),
            Self::BrokerUrl => {
                let rest = text.strip_prefix("amqp://").or_else(|| text.strip_prefix("amqps://"));
                rest.is_some_and(|rest| !rest.is_empty()).then(|| Value::Text(text.to_owned()))
            }
            Self::Path => (!text.is_empty()).then(|| Value::Text(text.to_owned())),
            Self::Address => text.parse().ok().map(Value::Address),
            Self::Number(min, max) => {
                text.parse().ok().filter(|number| (min..=max).contains(number)).map(Value::Number)
            }
            Self::Seconds(min, max) => {
                text.parse().ok().filter(|seconds| (min..=max).contains(seconds)).map(Value::Seconds)
            }
            Self::Choice(words) => words.contains(&text).then(|| Value::Text(text.to_owned())),
            Self::Switch => match text {
                "true" | "1" | "yes" | "on" => Some(Value::Switch(true)),
                "false" | "0" | "no" | "off" => Some(Value::Switch(false)),
                _ => None,
            },
        };
        value.ok_or_else(|| self.bound())
    }

    /// What a value must be, for people.
    pub fn bound(self) -> String {
        let letters = "of a-z, 0-9, '-', '_', '.'";
        match self {
            Self::Name(max) => format!("must be 1 to {max} characters {letters}"),
            Self::Names(max) => format!("must be names of 1 to {max} characters {letters}, separated by commas"),
            Self::Text(max) => format!("must be at most {max} bytes"),
            Self::BrokerUrl => "must be amqp://USER:PASSWORD@HOST:PORT/VHOST, or amqps:// for TLS".to_owned(),
            Self::Path => "must be a path".to_owned(),
            Self::Address => "must be ADDRESS:PORT, such as 127.0.0.1:8080".to_owned(),
            Self::Number(min, max) => format!("must be a number from {min} to {max}"),
            Self::Seconds(min, max) => format!("must be a number of seconds from {min} to {max}"),
            Self::Choice(words) => format!("must be one of {}", words.join(", ")),
            Self::Switch => "must be true or false".to_owned(),
        }
    }
}

fn is_name(text: &str, max: usize) -> bool {
    (1..=max).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_.".contains(&b))
}

impl Value {
    /// The value as JSON.
    pub fn to_json(&self) -> serde_json::Value {
        match self {
            Self::Text(text) => text.as_str().into(),
            Self::List(list) => list.clone().into(),
            Self::Address(address) => address.to_string().into(),
            Self::Number(number) => (*number).into(),
            Self::Seconds(seconds) => (*seconds).into(),
            Self::Switch(on) => (*on).into(),
        }
    }
}

impl std::fmt::Display for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::List(list) => f.write_str(&list.join(",")),
            Self::Address(address) => write!(f, "{address}"),
            Self::Number(number) => write!(f, "{number}"),
            Self::Seconds(seconds) => write!(f, "{seconds}"),
            Self::Switch(on) => write!(f, "{on}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_within_their_bounds() {
        assert_eq!(Kind::Number(1, 10).read("10"), Ok(Value::Number(10)));
        assert_eq!(Kind::Seconds(0.1, 2.0).read("0.5"), Ok(Value::Seconds(0.5)));
        assert_eq!(Kind::Names(4).read("eu, us"), Ok(Value::List(vec!["eu".to_owned(), "us".to_owned()])));
        assert_eq!(Kind::Switch.read("on"), Ok(Value::Switch(true)));
        for (kind, wrong) in [
            (Kind::Number(1, 10), "11"),
            (Kind::Number(1, 10), "-1"),
            (Kind::Seconds(0.1, 2.0), "NaN"),
            (Kind::Seconds(0.1, 2.0), "inf"),
            (Kind::Name(3), "EU"),
            (Kind::Name(3), ""),
            (Kind::Names(3), "eu,,us"),
            (Kind::Text(1), "é"),
            (Kind::BrokerUrl, "http://x"),
            (Kind::BrokerUrl, "amqp://"),
            (Kind::Address, "localhost"),
            (Kind::Choice(&["a", "b"]), "c"),
            (Kind::Switch, "maybe"),
            (Kind::Path, ""),
        ] {
            assert_eq!(kind.read(wrong), Err(kind.bound()), "{kind:?} {wrong}");
        }
    }
}
