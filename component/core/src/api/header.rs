//! Headers of a request. Names are compared without regard to case.

use crate::api::token::Token;
use crate::refusal::Refusal;

type Headers = [(String, String)];

/// The values of all headers with this name, without the white space around them.
fn all<'h>(headers: &'h Headers, name: &'h str) -> impl Iterator<Item = &'h str> {
    headers.iter().filter(move |(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, value)| trimmed(value))
}

/// Without the white space that HTTP permits around values.
fn trimmed(text: &str) -> &str {
    text.trim_matches([' ', '\t'])
}

/// The token in a header, if the header is there; refused if it is malformed or there twice.
pub fn token(headers: &Headers, name: &str) -> Result<Option<Token>, Refusal> {
    let mut values = all(headers, name);
    let Some(text) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Refusal::BadContext(format!("the header {name} stands twice")));
    }
    let unusable = || Refusal::BadContext(format!("{name} takes the dayfly-context of a previous answer, unchanged"));
    Token::from_text(text).map(Some).ok_or_else(unusable)
}

/// Refuses a body that says that it is something other than JSON. Parameters are ignored: RFC 8259 section 11 gives
/// `charset` no meaning, and what is not UTF-8 is refused as such.
pub fn check_content_type(headers: &Headers) -> Result<(), Refusal> {
    let media_type = |value: &str| trimmed(value.split(';').next().unwrap_or_default()).to_ascii_lowercase();
    if all(headers, "content-type").all(|value| media_type(value) == "application/json") {
        return Ok(());
    }
    Err(Refusal::BadContentType)
}

/// Whether the first preference for what to return is `minimal`: RFC 7240 sections 2 and 4.2. Other preferences are
/// ignored.
pub fn prefers_minimal(headers: &Headers) -> bool {
    let preferences = all(headers, "prefer").flat_map(|value| value.split(','));
    let pairs = preferences.filter_map(|preference| preference.split(';').next()?.split_once('='));
    let mut returns = pairs.filter(|(name, _)| trimmed(name).eq_ignore_ascii_case("return"));
    returns.next().is_some_and(|(_, value)| {
        let value = trimmed(value);
        let quoted = value.strip_prefix('"').and_then(|value| value.strip_suffix('"'));
        quoted.unwrap_or(value).eq_ignore_ascii_case("minimal")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dot::{Seq, WriterId};

    fn headers(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn only_json_is_a_content_type() {
        for value in [
            "application/json",
            "APPLICATION/Json",
            " application/json\t",
            "application/json;charset=utf-8",
            "application/json ; charset=UTF-8; x=\"y\"",
        ] {
            assert_eq!(check_content_type(&headers(&[("Content-Type", value)])), Ok(()), "{value:?}");
        }
        assert_eq!(check_content_type(&[]), Ok(()));
        for value in
            ["", "text/plain", "text/json", "application/jsonl", "application/x-www-form-urlencoded", ";", "json"]
        {
            let refused = check_content_type(&headers(&[("content-type", value)]));
            assert_eq!(refused, Err(Refusal::BadContentType), "{value:?}");
        }
        let both = headers(&[("content-type", "application/json"), ("content-type", "text/plain")]);
        assert_eq!(check_content_type(&both), Err(Refusal::BadContentType));
    }

    #[test]
    fn a_preference_for_a_minimal_answer_is_found_among_others() {
        for value in [
            "return=minimal",
            "Return=Minimal",
            "return = minimal",
            "return=\"minimal\"",
            "return=minimal; x=1",
            "respond-async, return=minimal, wait=10",
            "return=minimal, return=representation",
        ] {
            assert!(prefers_minimal(&headers(&[("Prefer", value)])), "{value:?}");
        }
        assert!(prefers_minimal(&headers(&[("prefer", "wait=10"), ("prefer", "return=minimal")])));
        for value in [
            "",
            "return",
            "return=",
            "return=representation",
            "return=representation, return=minimal",
            "x=\"a, return=minimal\"",
            "x; return=minimal",
            "returns=minimal",
            "minimal",
        ] {
            assert!(!prefers_minimal(&headers(&[("prefer", value)])), "{value:?}");
        }
        assert!(!prefers_minimal(&[]));
    }

    #[test]
    fn a_token_stands_once_or_not_at_all() {
        let mut written = Token::default();
        written.insert(WriterId(7), Seq(3));
        let text = written.to_text();
        assert_eq!(token(&[], "dayfly-after"), Ok(None));
        assert_eq!(token(&headers(&[("dayfly-context", &text)]), "dayfly-after"), Ok(None));
        let padded = format!(" {text} ");
        assert_eq!(token(&headers(&[("Dayfly-After", &padded)]), "dayfly-after"), Ok(Some(written)));
        for bad in ["", "x", &text[1..], &text.to_uppercase().replace("01", "0A"), &format!("{text},{text}")] {
            let refused = token(&headers(&[("dayfly-after", bad)]), "dayfly-after");
            assert!(matches!(refused, Err(Refusal::BadContext(_))), "{bad:?}");
        }
        let twice = headers(&[("dayfly-after", &text), ("Dayfly-After", &text)]);
        assert!(matches!(token(&twice, "dayfly-after"), Err(Refusal::BadContext(_))));
    }
}
