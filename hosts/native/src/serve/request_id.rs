//! What a request is called in logs and answers.

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use dayfly_engine::{SystemWorld, World};

/// The header that names a request, both ways.
pub static HEADER: HeaderName = HeaderName::from_static("x-request-id");

/// A longer name is not taken over: it would fill the logs.
const CHARS_MAX: usize = 64;

/// The name that the client gave the request, if it is short and can be printed; else a new one.
pub fn of(headers: &HeaderMap) -> HeaderValue {
    let fits = |value: &&HeaderValue| {
        (1..=CHARS_MAX).contains(&value.len()) && value.as_bytes().iter().all(u8::is_ascii_graphic)
    };
    headers.get(&HEADER).filter(fits).cloned().unwrap_or_else(|| {
        let name = format!("{:016x}", SystemWorld.random_u64());
        HeaderValue::try_from(name).expect("hexadecimal digits can stand in a header")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_short_and_printable_names_are_taken_over() {
        let named = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(&HEADER, HeaderValue::from_str(value).expect("it can stand in a header"));
            of(&headers)
        };
        assert_eq!(named("abc-1"), "abc-1");
        for wrong in ["", "a b", "ü", &"x".repeat(65)] {
            let made = named(wrong);
            assert!(made.len() == 16 && made != wrong, "{wrong}");
        }
        assert_ne!(of(&HeaderMap::new()), of(&HeaderMap::new()));
    }
}
