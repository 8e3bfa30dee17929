//! Text that others wrote, made fit for a terminal.

use serde_json::Value;

/// The text itself, or as a JSON string if it holds control characters: a key or an element must be able neither to
/// move the cursor nor to pass for two lines.
pub fn printable(text: &str) -> String {
    if text.chars().any(is_control) { quoted(text) } else { text.to_owned() }
}

/// At most so many characters of the text, made printable; `…` says that there was more.
pub fn excerpt(text: &str, chars: usize) -> String {
    match text.char_indices().nth(chars) {
        Some((cut, _)) => format!("{}…", printable(&text[..cut])),
        None => printable(text),
    }
}

/// A JSON string in which control characters are escaped, those beyond ASCII as well.
pub fn quoted(text: &str) -> String {
    let json = Value::from(text).to_string();
    let mut quoted = String::with_capacity(json.len());
    for c in json.chars() {
        // serde_json has escaped those of ASCII but DEL; all of the others lie in the basic plane.
        if is_control(c) { quoted.push_str(&format!("\\u{:04x}", u32::from(c))) } else { quoted.push(c) }
    }
    quoted
}

/// Control characters, and the marks that turn the direction of what follows.
fn is_control(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// A number with its thousands apart: `1,234,567`.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        assert_eq!(printable("café \"x\""), "café \"x\"");
        assert_eq!(printable("a\nb"), r#""a\nb""#);
        assert_eq!(printable("\u{1b}[2J"), r#""\u001b[2J""#);
        assert_eq!(printable("\u{7f}\u{9b}\u{202e}"), r#""\u007f\u009b\u202e""#);
    }

    #[test]
    fn an_excerpt_is_cut_between_characters() {
        assert_eq!(excerpt("éé", 2), "éé");
        assert_eq!(excerpt("ééé", 2), "éé…");
    }

    #[test]
    fn thousands_stand_apart() {
        let cases = [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567")];
        for (number, text) in cases {
            assert_eq!(grouped(number), text);
        }
    }
}
