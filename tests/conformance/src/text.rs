//! Text in a scenario: a string, or pieces of which some are generated, so that a file can ask for a body of 2 MiB, for
//! nesting 10,000 deep or for bytes that are no UTF-8 without holding them. `${name}` stands for a variable.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;

/// The variables of a run: what earlier steps kept, the indices of repeats, and the name of each replica by its label.
pub type Variables = BTreeMap<String, String>;

/// At most this many bytes come of one text, so that a slip in a scenario cannot eat the machine's memory.
pub const TEXT_BYTES_MAX: usize = 64 << 20;

/// A text as it stands in a scenario.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged, expecting = "a string, or an array of strings, {each, times, join} and {hex}")]
pub enum Text {
    /// Taken as it is, but for variables.
    Plain(String),
    /// Put together.
    Pieces(Vec<Piece>),
}

/// One piece of a text.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged, expecting = "a string, {each, times, join} or {hex}")]
pub enum Piece {
    /// Taken as it is, but for variables.
    Plain(String),
    /// A text that is repeated.
    Each(Each),
    /// Bytes in hexadecimal.
    Hex(Hex),
}

/// A text that is repeated; `{n}` in it stands for the number of the repetition, counted from 0.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Each {
    /// The text.
    pub each: String,
    /// How many times.
    pub times: usize,
    /// What stands between two repetitions.
    #[serde(default)]
    pub join: String,
}

/// Raw bytes.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hex {
    /// Two hexadecimal digits a byte.
    pub hex: String,
}

impl Text {
    /// The bytes that the text stands for. Fails where a variable is unknown or a piece is malformed.
    pub fn bytes(&self, variables: &Variables) -> Result<Vec<u8>> {
        let mut out = Vec::new();
        match self {
            Self::Plain(text) => out.extend_from_slice(expand(text, variables)?.as_bytes()),
            Self::Pieces(pieces) => {
                for piece in pieces {
                    piece.append(&mut out, variables)?;
                    ensure!(out.len() <= TEXT_BYTES_MAX, "a text of more than {TEXT_BYTES_MAX} bytes");
                }
            }
        }
        Ok(out)
    }

    /// The same as a string; fails where the bytes are no UTF-8.
    pub fn string(&self, variables: &Variables) -> Result<String> {
        String::from_utf8(self.bytes(variables)?).context("this text has to be UTF-8")
    }
}

impl Piece {
    fn append(&self, out: &mut Vec<u8>, variables: &Variables) -> Result<()> {
        match self {
            Self::Plain(text) => out.extend_from_slice(expand(text, variables)?.as_bytes()),
            Self::Each(piece) => {
                let text = expand(&piece.each, variables)?;
                ensure!(
                    (text.len() + piece.join.len()).saturating_mul(piece.times) <= TEXT_BYTES_MAX,
                    "a text of more than {TEXT_BYTES_MAX} bytes"
                );
                for number in 0..piece.times {
                    if number > 0 {
                        out.extend_from_slice(piece.join.as_bytes());
                    }
                    out.extend_from_slice(text.replace("{n}", &number.to_string()).as_bytes());
                }
            }
            Self::Hex(piece) => out.extend_from_slice(&from_hex(&piece.hex)?),
        }
        Ok(())
    }
}

/// Puts the variables in place of `${name}`. Fails where one is unknown.
pub fn expand(text: &str, variables: &Variables) -> Result<String> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        out.push_str(&rest[..at]);
        let from = &rest[at + 2..];
        let Some(end) = from.find('}') else { bail!("`${{` without `}}` in {text:?}") };
        let name = &from[..end];
        out.push_str(variables.get(name).with_context(|| format!("no variable is called {name:?}"))?);
        rest = &from[end + 1..];
    }
    out.push_str(rest);
    Ok(out)
}

fn from_hex(text: &str) -> Result<Vec<u8>> {
    ensure!(text.len().is_multiple_of(2) && text.is_ascii(), "hexadecimal digits come in pairs: {text:?}");
    let digits = |at: usize| u8::from_str_radix(&text[at..at + 2], 16);
    (0..text.len()).step_by(2).map(|at| digits(at).with_context(|| format!("no hexadecimal: {text:?}"))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(toml: &str) -> Text {
        toml::from_str::<BTreeMap<String, Text>>(toml).expect("toml").remove("t").expect("t")
    }

    #[test]
    fn pieces_are_put_together() {
        let variables = Variables::from([("x".to_owned(), "ü".to_owned())]);
        let pieces = text("t = ['[', { each = '${x}{n}', times = 3, join = ',' }, { hex = 'ff00' }, ']']");
        assert_eq!(pieces.bytes(&variables).expect("bytes"), b"[\xc3\xbc0,\xc3\xbc1,\xc3\xbc2\xff\x00]");
        assert!(pieces.string(&variables).is_err(), "0xff is no UTF-8");
    }

    #[test]
    fn what_is_malformed_is_refused() {
        let none = Variables::new();
        assert!(text("t = '${gone}'").bytes(&none).is_err());
        assert!(text("t = '${open'").bytes(&none).is_err());
        assert!(text("t = [{ hex = 'f' }]").bytes(&none).is_err());
        assert!(text("t = [{ each = 'aaaa', times = 99999999999 }]").bytes(&none).is_err());
        assert!(toml::from_str::<BTreeMap<String, Text>>("t = [{ hex = '00', odd = 1 }]").is_err());
    }
}
