//! Texts of requests with holes: `{client}`, `{n}` and `{below:N}`.

use dayfly_engine::Chance;
use serde_json::{Map, Value};

/// What fills the holes.
pub struct Filling<'a> {
    /// The client's number among its kind.
    pub client: u64,
    /// How many deeds it has done before.
    pub deed: u64,
    /// For random numbers.
    pub chance: &'a mut Chance,
}

impl Filling<'_> {
    /// Fills the holes of a text. What is in braces and no hole stays as it is.
    pub fn text(&mut self, template: &str) -> String {
        let mut filled = String::with_capacity(template.len());
        let mut rest = template;
        while let Some((before, after)) = rest.split_once('{') {
            filled.push_str(before);
            match after.split_once('}').and_then(|(hole, after)| Some((self.hole(hole)?, after))) {
                Some((number, after)) => {
                    filled.push_str(&number.to_string());
                    rest = after;
                }
                None => {
                    filled.push('{');
                    rest = after;
                }
            }
        }
        filled.push_str(rest);
        filled
    }

    fn hole(&mut self, hole: &str) -> Option<u64> {
        match hole {
            "client" => Some(self.client),
            "n" => Some(self.deed),
            _ => {
                let bound = hole.strip_prefix("below:")?.parse().ok().filter(|bound| *bound > 0)?;
                Some(self.chance.below(bound))
            }
        }
    }

    /// Fills the holes of all texts in a value, and turns it into JSON.
    pub fn value(&mut self, template: &toml::Value) -> Value {
        match template {
            toml::Value::String(text) => Value::from(self.text(text)),
            toml::Value::Integer(number) => Value::from(*number),
            toml::Value::Float(number) => Value::from(*number),
            toml::Value::Boolean(is) => Value::from(*is),
            toml::Value::Datetime(time) => Value::from(time.to_string()),
            toml::Value::Array(values) => values.iter().map(|value| self.value(value)).collect(),
            toml::Value::Table(table) => {
                let filled = table.iter().map(|(key, value)| (self.text(key), self.value(value)));
                Value::Object(filled.collect::<Map<_, _>>())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holes_are_filled_and_other_braces_stay() {
        let mut chance = Chance::new(1);
        let mut filling = Filling { client: 7, deed: 3, chance: &mut chance };
        assert_eq!(filling.text("c{client}-{n}"), "c7-3");
        assert_eq!(filling.text("{what} {below:0} {below:x} {n"), "{what} {below:0} {below:x} {n");
        let number: u64 = filling.text("{below:10}").parse().expect("a number");
        assert!(number < 10);
        let template: toml::Value = toml::from_str::<toml::Table>("add = ['{client}', 2]").expect("TOML").into();
        assert_eq!(filling.value(&template).to_string(), r#"{"add":["7",2]}"#);
    }
}
