//! Reads Prometheus' text format, strictly.

use std::collections::{BTreeMap, BTreeSet};

/// Samples by name and labels, as they stand in the text.
pub type Samples = BTreeMap<String, f64>;

/// Reads a page. Panics where it is not of the format: a sample without its family's help and type, families that are
/// interleaved, a series twice, a name, label or value that is none.
pub fn read(page: &str) -> Samples {
    let mut samples = Samples::new();
    let mut families = BTreeSet::new();
    let (mut family, mut kind) = (String::new(), String::new());
    assert!(page.ends_with('\n'), "the last line ends");
    for line in page.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            family = help.split_once(' ').expect("there is a help").0.to_owned();
            assert!(is_name(&family), "{line}");
            assert!(families.insert(family.clone()), "the family comes twice: {line}");
            kind.clear();
        } else if let Some(of_type) = line.strip_prefix("# TYPE ") {
            let (name, word) = of_type.split_once(' ').expect("there is a type");
            assert_eq!(name, family, "{line}");
            assert!(["counter", "gauge", "histogram"].contains(&word), "{line}");
            assert_eq!(word == "counter", name.ends_with("_total"), "{line}");
            kind = word.to_owned();
        } else {
            let (series, value) = line.rsplit_once(' ').expect("there is a value");
            let name = series.split('{').next().expect("there is a name");
            let suffix = name.strip_prefix(&family).unwrap_or_else(|| panic!("{line} is not of {family}"));
            let suffixes: &[&str] = if kind == "histogram" { &["_bucket", "_sum", "_count"] } else { &[""] };
            assert!(suffixes.contains(&suffix), "{line}");
            labels(&series[name.len()..]);
            let value = value.parse().unwrap_or_else(|_| panic!("no number: {line}"));
            assert!(samples.insert(series.to_owned(), value).is_none(), "the series comes twice: {line}");
        }
    }
    samples
}

/// Reads `{name="value",…}`, or nothing.
fn labels(text: &str) {
    let Some(inside) = text.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) else {
        assert_eq!(text, "");
        return;
    };
    let mut rest = inside;
    loop {
        let (name, after) = rest.split_once("=\"").unwrap_or_else(|| panic!("no label: {text}"));
        assert!(is_name(name), "{text}");
        let end = closing_quote(after).unwrap_or_else(|| panic!("no end: {text}"));
        rest = &after[end + 1..];
        if rest.is_empty() {
            return;
        }
        rest = rest.strip_prefix(',').unwrap_or_else(|| panic!("no comma: {text}"));
    }
}

/// Where the quote is that is not escaped.
fn closing_quote(text: &str) -> Option<usize> {
    let mut escaped = false;
    text.char_indices().find_map(|(at, c)| {
        let closes = c == '"' && !escaped;
        escaped = c == '\\' && !escaped;
        closes.then_some(at)
    })
}

fn is_name(text: &str) -> bool {
    !text.is_empty()
        && !text.starts_with(|c: char| c.is_ascii_digit())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}
