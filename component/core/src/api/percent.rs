//! Percent-encoding, RFC 3986 section 2.1. Decoding is strict about what is escaped and takes all else as it stands.

use std::fmt;

/// Why a text could not be decoded. The display continues a sentence that begins with what was decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A `%` that two hexadecimal digits do not follow.
    Escape,
    /// The bytes are no UTF-8.
    NotUtf8,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Escape => write!(f, "has a % without two hexadecimal digits behind it; write % itself as %25"),
            Self::NotUtf8 => write!(f, "is not UTF-8 once percent-decoded"),
        }
    }
}

/// Decodes a segment of a path. `+` is a plus.
pub fn decode(text: &str) -> Result<String, Fault> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, behind)) = rest.split_first() {
        rest = behind;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let (Some(high), Some(low)) = (rest.first().and_then(digit), rest.get(1).and_then(digit)) else {
            return Err(Fault::Escape);
        };
        bytes.push(high << 4 | low);
        rest = &rest[2..];
    }
    String::from_utf8(bytes).map_err(|_| Fault::NotUtf8)
}

/// Decodes a name or a value of a query. `+` is a space, as form encoding has it: what builds queries in browsers, Python,
/// Go and Java writes a space so, and all of them write a plus as `%2B`.
pub fn decode_query(text: &str) -> Result<String, Fault> {
    decode(&text.replace('+', " "))
}

fn digit(byte: &u8) -> Option<u8> {
    // The cast holds: a hexadecimal digit is less than 16.
    char::from(*byte).to_digit(16).map(|digit| digit as u8)
}
