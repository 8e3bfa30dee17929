//! Paths and queries, percent-encoded (RFC 3986).

/// One path segment or query value: everything is encoded but the unreserved characters, so that `/`, `?`, `%` and
/// every byte beyond ASCII arrive as they were. The segments `.` and `..` are encoded too, because what stands between
/// (a proxy) may resolve them.
pub fn segment(text: &str) -> String {
    let only_dots = text == "." || text == "..";
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'.' if only_dots => encoded.push_str("%2E"),
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => encoded.push(char::from(byte)),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

/// The path of one key.
pub fn data(type_name: &str, key: &str) -> String {
    format!("/v1/data/{}/{}", segment(type_name), segment(key))
}

/// A path with those of the parameters that have a value.
pub fn with_query(path: &str, parameters: &[(&str, Option<String>)]) -> String {
    let mut whole = path.to_owned();
    let present = parameters.iter().filter_map(|(name, value)| value.as_ref().map(|value| (name, value)));
    for (index, (name, value)) in present.enumerate() {
        whole.push(if index == 0 { '?' } else { '&' });
        whole.push_str(&format!("{name}={}", segment(value)));
    }
    whole
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_one_segment_whatever_is_in_it() {
        assert_eq!(data("orset", "a/b c?d%é#"), "/v1/data/orset/a%2Fb%20c%3Fd%25%C3%A9%23");
        assert_eq!(data("orset", "A-z_0.9~"), "/v1/data/orset/A-z_0.9~");
    }

    #[test]
    fn a_key_of_dots_is_no_parent_folder() {
        assert_eq!(segment(".."), "%2E%2E");
        assert_eq!(segment("."), "%2E");
        assert_eq!(segment("..."), "...");
    }

    #[test]
    fn a_query_holds_what_is_given() {
        assert_eq!(with_query("/v1/keys", &[("prefix", None), ("limit", None)]), "/v1/keys");
        let both = [("prefix", Some("a&b".to_owned())), ("after", None), ("limit", Some("7".to_owned()))];
        assert_eq!(with_query("/v1/keys", &both), "/v1/keys?prefix=a%26b&limit=7");
    }
}
