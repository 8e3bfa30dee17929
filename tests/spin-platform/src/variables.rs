//! Variables of an application, and the templates that are filled with them.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};

/// The values of an application's variables.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Variables {
    values: BTreeMap<String, String>,
}

impl Variables {
    /// Variables with these values.
    ///
    /// # Errors
    /// A name is none that Spin takes.
    pub fn new(values: impl IntoIterator<Item = (String, String)>) -> Result<Self> {
        let values: BTreeMap<_, _> = values.into_iter().collect();
        for name in values.keys() {
            check_name(name)?;
        }
        Ok(Self { values })
    }

    /// Puts values in place of each `{{ name }}`.
    ///
    /// # Errors
    /// Braces are not closed, or name no variable.
    pub fn fill(&self, template: &str) -> Result<String> {
        let mut filled = String::new();
        let mut rest = template;
        while let Some((before, from)) = rest.split_once("{{") {
            let (name, after) =
                from.split_once("}}").with_context(|| format!("{template:?}: '{{{{' without '}}}}'"))?;
            let name = name.trim();
            let value = self.values.get(name).with_context(|| format!("{template:?}: unknown variable {name:?}"))?;
            filled.push_str(before);
            filled.push_str(value);
            rest = after;
        }
        filled.push_str(rest);
        Ok(filled)
    }
}

/// Whether Spin takes this for the name of a variable: lower-case letters, digits and single underscores, a letter
/// first and no underscore last.
///
/// # Errors
/// It does not, and why.
pub fn check_name(name: &str) -> Result<()> {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    ensure!(
        name.starts_with(|c: char| c.is_ascii_lowercase()),
        "variable {name:?}: it must begin with a lower-case letter"
    );
    ensure!(name.chars().all(fits), "variable {name:?}: only lower-case letters, digits and underscores");
    ensure!(!name.ends_with('_') && !name.contains("__"), "variable {name:?}: an underscore stands between two others");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables() -> Variables {
        let values = [("host", "127.0.0.1"), ("port", "5672"), ("empty", "")];
        Variables::new(values.map(|(name, value)| (name.to_owned(), value.to_owned()))).unwrap()
    }

    #[test]
    fn values_stand_in_place_of_names() {
        for (template, filled) in [
            ("", ""),
            ("plain {text}", "plain {text}"),
            ("tcp://{{ host }}:{{port}}", "tcp://127.0.0.1:5672"),
            ("{{empty}}{{ host }}!", "127.0.0.1!"),
        ] {
            assert_eq!(variables().fill(template).unwrap(), filled);
        }
    }

    #[test]
    fn what_names_no_variable_is_refused() {
        for (template, reason) in [("{{ hots }}", "unknown variable \"hots\""), ("a {{ host", "'{{' without '}}'")] {
            let told = variables().fill(template).unwrap_err().to_string();
            assert!(told.contains(reason), "{told}");
        }
    }

    #[test]
    fn names_are_those_of_spin() {
        for good in ["a", "a1_b", "component_hash"] {
            check_name(good).unwrap();
        }
        for bad in ["", "A", "1a", "_a", "a_", "a__b", "a-b", "a.b"] {
            check_name(bad).unwrap_err();
        }
    }
}
