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

/// Decodes a name or a value of a query. `+` is a space, as form encoding has it: what builds queries in browsers,
/// Python, Go and Java writes a space so, and all of them write a plus as `%2B`.
pub fn decode_query(text: &str) -> Result<String, Fault> {
    decode(&text.replace('+', " "))
}

fn digit(byte: &u8) -> Option<u8> {
    // The cast holds: a hexadecimal digit is less than 16.
    char::from(*byte).to_digit(16).map(|digit| digit as u8)
}

#[cfg(test)]
pub mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Escapes all but what RFC 3986 calls unreserved.
    pub fn encode(text: &str) -> String {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
        let escape = |byte: u8| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
        text.bytes().map(escape).collect()
    }

    #[test]
    fn escapes_are_decoded_and_all_else_stands() {
        for (text, decoded) in [
            ("", ""),
            ("visits", "visits"),
            ("a%2Fb", "a/b"),
            ("a%2fb", "a/b"),
            ("100%25", "100%"),
            ("%2525", "%25"),
            ("a+b", "a+b"),
            ("%00", "\0"),
            ("%C3%A9é", "éé"),
            ("%F0%9F%A6%8B", "🦋"),
            ("a b?c#d", "a b?c#d"),
        ] {
            assert_eq!(decode(text).as_deref(), Ok(decoded));
        }
    }

    #[test]
    fn bad_escapes_are_refused() {
        for text in ["%", "a%", "%4", "%4g", "%g4", "%%41", "% 41", "%+4", "%-1", "%é", "%C3%"] {
            assert_eq!(decode(text), Err(Fault::Escape), "{text}");
        }
    }

    #[test]
    fn what_is_not_utf8_is_refused() {
        // A byte that never occurs, a character cut short, a surrogate, and a slash in two bytes.
        for text in ["%FF", "%C3", "%C3x", "%ED%A0%80", "%C0%AF", "%F4%90%80%80"] {
            assert_eq!(decode(text), Err(Fault::NotUtf8), "{text}");
        }
    }

    #[test]
    fn in_a_query_a_plus_is_a_space() {
        assert_eq!(decode_query("a+b%2Bc%20d").as_deref(), Ok("a b+c d"));
        assert_eq!(decode_query("%+1"), Err(Fault::Escape));
    }

    proptest! {
        #[test]
        fn what_was_encoded_decodes_to_itself(text in any::<String>()) {
            prop_assert_eq!(decode(&encode(&text)), Ok(text.clone()));
            prop_assert_eq!(decode_query(&encode(&text)), Ok(text));
        }

        #[test]
        fn any_text_decodes_or_is_refused(text in "[%0-9a-fA-F+é]{0,40}") {
            if let Ok(decoded) = decode(&text) {
                prop_assert!(decoded.len() <= text.len());
                prop_assert_eq!(decode(&encode(&decoded)), Ok(decoded));
            }
        }
    }
}
