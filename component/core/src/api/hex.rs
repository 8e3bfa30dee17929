//! Bytes as lower-case hexadecimal text, which needs no escape in a header or in a query.

/// Two digits a byte. Every answer to a write has some, so no formatter is asked.
pub fn encode(bytes: &[u8]) -> String {
    let digit = |half: u8| char::from(b"0123456789abcdef"[usize::from(half)]);
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        text.push(digit(byte >> 4));
        text.push(digit(byte & 15));
    }
    text
}

/// The bytes of a text that [`encode`] could have made; no others, so that there is one text of each value.
pub fn decode(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let (pairs, []) = text.as_bytes().as_chunks::<2>() else { return None };
    pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?)).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_pairs_of_lower_case_digits_are_decoded() {
        assert_eq!(encode(&[0, 9, 0xa0, 0xff]), "0009a0ff");
        assert_eq!(decode("0009a0ff"), Some(vec![0, 9, 0xa0, 0xff]));
        assert_eq!(decode(""), Some(Vec::new()));
        for text in ["0", "000", "0A", "g0", "0x", " 00", "00 ", "é", "0é0", "-1", "+1"] {
            assert_eq!(decode(text), None, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn there_is_one_text_of_each_value(bytes in any::<Vec<u8>>(), text in "[0-9a-fA-F]{0,8}") {
            prop_assert_eq!(decode(&encode(&bytes)), Some(bytes));
            if let Some(bytes) = decode(&text) {
                prop_assert_eq!(encode(&bytes), text);
            }
        }
    }
}
