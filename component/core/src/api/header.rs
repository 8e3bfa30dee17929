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

/// Whether the first preference for what to return is `minimal`: RFC 7240 sections 2 and 4.2. Other preferences are ignored.
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
