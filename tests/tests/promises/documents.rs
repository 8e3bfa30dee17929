//! Which promises the documents make. Each has an identifier made of the document's own words, so that a document which is
//! changed asks for a proof anew.

use std::collections::BTreeSet;

use anyhow::{Context, Result, anyhow, bail, ensure};
use wit_parser::{Resolve, SourceMap, TypeDefKind};

use crate::markdown::{Block, blocks, code, only_table, pieces, section, sentences, titles};

/// The head of README.md's table of what a write survives.
pub const SURVIVES_HEAD: [&str; 3] = ["what happens", "a confirmed write", "proven by"];

/// The section that it stands in.
pub const SURVIVES_TITLE: &str = "What a write survives";

/// The sections of wit/http-api.md; another one would have to be read as well.
const HTTP_TITLES: [&str; 4] = ["Keys and types", "Requests", "Headers", "Errors"];

/// Words that say what a bound counts.
const UNITS: [&str; 8] = ["bytes", "KiB", "MiB", "deep", "operations", "fields", "writers", "writes"];

/// So many words of a sentence are its identifier.
const SENTENCE_WORDS: usize = 4;

/// So many words of it say where a bound stands.
const PLACE_WORDS: usize = 2;

/// A part of a document, and the promises that it makes, in its order.
#[derive(Debug)]
pub struct Chapter {
    /// Which part.
    pub title: &'static str,
    /// The identifiers of its promises.
    pub promises: Vec<String>,
}

/// What README.md promises.
pub fn readme(document: &str) -> Result<Vec<Chapter>> {
    let survives = blocks(section(document, Some(SURVIVES_TITLE))?)?;
    let mut promises = Vec::new();
    for row in only_table(&survives, &SURVIVES_HEAD)? {
        promises.push(format!("survives: {}", row[0].replace('`', "")));
    }
    for sentence in statements(&survives) {
        promises.push(format!("says: {}", words(&sentence, SENTENCE_WORDS)));
    }
    let types = blocks(section(document, Some("Types"))?)?;
    let mut concurrent = Vec::new();
    for row in only_table(&types, &["type", "operations", "of concurrent writes"])? {
        concurrent.extend(code(&row[0])?.iter().map(|name| format!("concurrent: {name}")));
    }
    let chapters = vec![
        Chapter { title: "README.md, what a write survives", promises },
        Chapter { title: "README.md, types: what becomes of concurrent writes", promises: concurrent },
    ];
    checked(chapters)
}

/// What wit/http-api.md promises.
pub fn http_api(document: &str) -> Result<Vec<Chapter>> {
    ensure!(titles(document) == HTTP_TITLES, "the sections are {:?} in place of {HTTP_TITLES:?}", titles(document));
    let part = |title| blocks(section(document, title)?).with_context(|| format!("in {title:?}"));
    let [types, requests, headers, errors] =
        [part(Some("Keys and types"))?, part(Some("Requests"))?, part(Some("Headers"))?, part(Some("Errors"))?];
    let codes = error_codes(&errors)?;
    let mut says = Vec::new();
    let mut bounds = Vec::new();
    let is_status = |text: &str| ["200", "204"].contains(&text) || codes.iter().any(|(status, _)| status == text);
    for sentence in [&part(None)?, &types, &requests, &headers, &errors].into_iter().flat_map(|part| statements(part)) {
        says.push(format!("says: {}", words(&sentence, SENTENCE_WORDS)));
        let place = words(&sentence, PLACE_WORDS);
        bounds.extend(numbers(&sentence, is_status)?.iter().map(|number| format!("bound: {place}: {number}")));
    }
    let request_rows = only_table(&requests, &["request", "answer"])?;
    let header_rows = only_table(&headers, &["header", "on", "meaning"])?;
    let error_rows = only_table(&errors, &["status", "codes"])?;
    let named = |row: &Vec<String>| Ok::<_, anyhow::Error>((first_code(&row[0])?, row[1..].join(" ")));
    let mut cells: Vec<(String, String)> = request_rows.iter().map(named).collect::<Result<_>>()?;
    cells.iter_mut().for_each(|(name, _)| *name = name.split('?').next().unwrap_or_default().to_owned());
    let header_cells: Vec<(String, String)> = header_rows.iter().map(named).collect::<Result<_>>()?;
    cells.extend(header_cells.into_iter().map(|(name, text)| (header_name(&name), text)));
    cells.extend(error_rows.iter().map(|row| (row[0].clone(), row[1].clone())));
    for (place, text) in &cells {
        bounds.extend(numbers(text, is_status)?.iter().map(|number| format!("bound: {place}: {number}")));
    }
    let headers = header_rows.iter().map(|row| Ok(format!("header: {}", header_name(&first_code(&row[0])?))));
    let errors = codes.iter().map(|(status, code)| format!("error: {status} {code}")).collect();
    let chapters = vec![
        Chapter { title: "wit/http-api.md, operations of each type", promises: operations(&types)? },
        Chapter { title: "wit/http-api.md, requests", promises: request_promises(&request_rows)? },
        Chapter { title: "wit/http-api.md, headers", promises: headers.collect::<Result<_>>()? },
        Chapter { title: "wit/http-api.md, errors", promises: errors },
        Chapter { title: "wit/http-api.md, bounds", promises: bounds },
        Chapter { title: "wit/http-api.md, sentence by sentence", promises: says },
    ];
    checked(chapters)
}

/// Each status with each of its codes, in the order of wit/http-api.md.
pub fn codes(document: &str) -> Result<Vec<(String, String)>> {
    error_codes(&blocks(section(document, Some("Errors"))?)?)
}

/// What the files of wit/ promise: of each interface the functions, of each record the fields, of each variant the cases.
pub fn wit(files: &[(String, String)]) -> Result<Vec<Chapter>> {
    let mut resolve = Resolve::default();
    let mut sources = SourceMap::default();
    for (name, text) in files {
        sources.push_str(name, text);
    }
    let parsed = sources.parse().map_err(|(_, error)| anyhow!("{error:#}"))?;
    resolve.push_group(parsed)?;
    let mut promises = Vec::new();
    for (_, interface) in &resolve.interfaces {
        let name = interface.name.as_deref().context("an interface without name")?;
        promises.extend(interface.functions.keys().map(|function| format!("wit: {name}.{function}")));
        for (name, id) in &interface.types {
            let parts: Vec<&str> = match &resolve.types[*id].kind {
                TypeDefKind::Record(record) => record.fields.iter().map(|field| field.name.as_str()).collect(),
                TypeDefKind::Variant(variant) => variant.cases.iter().map(|case| case.name.as_str()).collect(),
                TypeDefKind::Enum(cases) => cases.cases.iter().map(|case| case.name.as_str()).collect(),
                TypeDefKind::Type(_) => Vec::new(),
                other => bail!("wit/ has a {} now, {name}: say what it promises", other.as_str()),
            };
            promises.extend(parts.iter().map(|part| format!("wit: {name}.{part}")));
        }
    }
    ensure!(!promises.is_empty(), "wit/ has nothing in it");
    checked(vec![Chapter { title: "wit/*.wit, functions, fields and cases", promises }])
}

/// That no chapter is empty, and no identifier stands for two promises.
fn checked(chapters: Vec<Chapter>) -> Result<Vec<Chapter>> {
    let mut seen = BTreeSet::new();
    for chapter in &chapters {
        ensure!(!chapter.promises.is_empty(), "no promise in {}", chapter.title);
        for id in &chapter.promises {
            ensure!(seen.insert(id), "two promises would be called {id:?}: word one of them otherwise");
        }
    }
    Ok(chapters)
}

fn statements(blocks: &[Block]) -> Vec<String> {
    let texts = blocks.iter().filter_map(|block| if let Block::Text(text) = block { Some(text) } else { None });
    texts.flat_map(|text| sentences(text)).collect()
}

/// The first words of a sentence, without marks. What holds a brace is an example, not a word.
fn words(sentence: &str, count: usize) -> String {
    let trimmed = |word: &'_ str| word.trim_matches(|c: char| !c.is_alphanumeric() && c != '/').to_owned();
    let words = sentence.split_whitespace().filter(|word| !word.contains('{')).map(trimmed);
    words.filter(|word| !word.is_empty()).take(count).collect::<Vec<_>>().join(" ")
}

fn first_code(text: &str) -> Result<String> {
    code(text)?.into_iter().next().with_context(|| format!("no code in {text:?}"))
}

fn header_name(text: &str) -> String {
    text.split(':').next().unwrap_or_default().to_owned()
}

/// `{"increment": n}` and the like.
fn operation_name(text: &str) -> Option<&str> {
    let (name, rest) = text.strip_prefix("{\"")?.split_once('"')?;
    rest.starts_with(':').then_some(name)
}

fn operations(blocks: &[Block]) -> Result<Vec<String>> {
    let mut promises = Vec::new();
    for row in only_table(blocks, &["type", "operations", "value", "meaning"])? {
        for name in code(&row[0])? {
            for operation in code(&row[1])? {
                let operation = operation_name(&operation).with_context(|| format!("no operation: {operation}"))?;
                promises.push(format!("operation: {name} {operation}"));
            }
        }
    }
    Ok(promises)
}

/// Each request, each parameter of it, each header that its answer names, and the operation that only it takes.
fn request_promises(rows: &[Vec<String>]) -> Result<Vec<String>> {
    let mut promises = Vec::new();
    for row in rows {
        let request = first_code(&row[0])?;
        let (method, target) = request.split_once(' ').with_context(|| format!("no request: {request}"))?;
        ensure!(method.bytes().all(|byte| byte.is_ascii_uppercase()) && target.starts_with("/v1/"), "{request}?");
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let request = format!("request: {method} {path}");
        promises.push(request.clone());
        for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
            let name = parameter.strip_suffix('=').with_context(|| format!("no parameter: {parameter}"))?;
            promises.push(format!("{request}?{name}"));
        }
        for operation in code(&row[0])?.iter().skip(1).filter_map(|code| operation_name(code)) {
            promises.push(format!("{request} with {operation}"));
        }
        let is_header = |text: &String| {
            text.split_once(": ").is_some_and(|(name, _)| name.bytes().all(|byte| byte.is_ascii_lowercase()))
        };
        promises.extend(
            code(&row[1])?
                .iter()
                .filter(|code| is_header(code))
                .map(|code| format!("{request} with {}", header_name(code))),
        );
    }
    Ok(promises)
}

/// Codes stand outside of brackets; what is in them explains.
fn error_codes(blocks: &[Block]) -> Result<Vec<(String, String)>> {
    let mut codes = Vec::new();
    for row in only_table(blocks, &["status", "codes"])? {
        ensure!(row[0].len() == 3 && row[0].bytes().all(|byte| byte.is_ascii_digit()), "{:?} is no status", row[0]);
        let is_code = |text: &str| text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
        let pieces = pieces(&row[1])?.into_iter().filter(|(is_marked, depth, _)| *is_marked && *depth == 0);
        let found: Vec<_> = pieces.filter(|(_, _, text)| is_code(text)).collect();
        ensure!(!found.is_empty(), "{} has no code", row[0]);
        codes.extend(found.into_iter().map(|(_, _, text)| (row[0].clone(), text)));
    }
    Ok(codes)
}

/// The bounds that a text names: numbers with what they count, and ranges; but for statuses, years, and numbers of standards.
fn numbers(text: &str, is_status: impl Fn(&str) -> bool) -> Result<Vec<String>> {
    // Where code stood there is something that is neither a word nor a number.
    let plain = pieces(text)?.into_iter().map(|(is_code, _, part)| if is_code { "`".to_owned() } else { part });
    let plain: String = plain.collect();
    let raw: Vec<&str> = plain.split_whitespace().collect();
    let mark = |c: char| "(),.;:`*".contains(c);
    let tokens: Vec<&str> = raw.iter().map(|word| word.trim_matches(mark)).collect();
    let ends = |at: usize| raw.get(at).is_none_or(|word| word.ends_with(mark));
    let mut found = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let follows = ["RFC", "since"].iter().any(|word| at > 0 && tokens[at - 1] == *word);
        if follows || !is_number(tokens[at]) {
            at += 1;
            continue;
        }
        let (mut phrase, mut end) = number_at(&tokens, at, ends);
        if !ends(end) && tokens.get(end + 1).is_some_and(|word| ["to", "…"].contains(word)) {
            let to = tokens.get(end + 2).filter(|word| is_number(word));
            to.with_context(|| format!("a range without end: {phrase} {}", tokens[end + 1]))?;
            let (last, last_at) = number_at(&tokens, end + 2, ends);
            phrase = format!("{phrase} {} {last}", tokens[end + 1]);
            end = last_at;
        }
        let next =
            |ahead: usize| if ends(end + ahead - 1) { "" } else { tokens.get(end + ahead).copied().unwrap_or("") };
        if UNITS.contains(&next(1)) {
            phrase = format!("{phrase} {}", next(1));
        } else if next(1) == "if" && next(2) == "absent" {
            phrase.push_str(" if absent");
        }
        if !is_status(&phrase) {
            found.push(phrase);
        }
        at = end + 1;
    }
    Ok(found)
}

/// A number, or one with `− 1` behind it, and where it ends.
fn number_at(tokens: &[&str], at: usize, ends: impl Fn(usize) -> bool) -> (String, usize) {
    let is_less =
        !ends(at) && tokens.get(at + 1) == Some(&"−") && tokens.get(at + 2).is_some_and(|word| is_number(word));
    if is_less { (format!("{} − {}", tokens[at], tokens[at + 2]), at + 2) } else { (tokens[at].to_owned(), at) }
}

fn is_number(word: &str) -> bool {
    let digits = word.strip_prefix('−').unwrap_or(word);
    digits.starts_with(|c: char| c.is_ascii_digit()) && digits.chars().all(|c| c.is_ascii_digit() || ",^.".contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<String> {
        numbers(text, |text| text == "404").expect("proper")
    }

    #[test]
    fn bounds_are_found_with_what_they_count() {
        assert_eq!(found("a name of 1 to 1,024 bytes once decoded"), ["1 to 1,024 bytes"]);
        assert_eq!(found("leaves −2^63 … 2^63 − 1 (a `gcounter`: 0 … 2^64 − 1)"), ["−2^63 … 2^63 − 1", "0 … 2^64 − 1"]);
        assert_eq!(found("from 0 to 2^64 − 1; 0 is accepted"), ["0 to 2^64 − 1", "0"]);
        assert_eq!(found("`limit` 1 to 1,000, 100 if absent"), ["1 to 1,000", "100 if absent"]);
        assert_eq!(found("else 404 `no_such_key` (RFC 7240), since 1970, UTF-8, `12 bytes`"), [""; 0]);
        assert_eq!(found("(10,000 writes or 4 MiB unsettled)"), ["10,000 writes", "4 MiB"]);
        assert!(numbers("1 to many", |_| false).is_err());
    }

    const HTTP: &str = "# The API\n\nJSON only.\n\n## Keys and types\n\n\
        | type | operations | value | meaning |\n|---|---|---|---|\n| `gset`, `orset` | `{\"add\": [v]}` | x | y |\n\n\
        - `n` is at most 7 bytes. It is nice to have.\n\n## Requests\n\n\
        | request | answer |\n|---|---|\n| `GET /v1/keys?prefix=&limit=` | `limit` 1 to 9, else 400 |\n\
        | `POST /v1/x` `[…]`; may be `{\"delete\": true}` | with `prefer: return=minimal` 204 |\n\n\
        ## Headers\n\n| header | on | meaning |\n|---|---|---|\n| `dayfly-x: TOKEN` | all | at most 16 writers |\n\n\
        ## Errors\n\n| status | codes |\n|---|---|\n| 400 | `bad` (with `allow`), `worse` with `retry-after: 1` |\n";

    #[test]
    fn an_api_is_read() {
        let chapters = http_api(HTTP).expect("proper");
        let all: Vec<_> = chapters.iter().flat_map(|chapter| &chapter.promises).map(String::as_str).collect();
        let expected = [
            "operation: gset add",
            "operation: orset add",
            "request: GET /v1/keys",
            "request: GET /v1/keys?prefix",
            "request: GET /v1/keys?limit",
            "request: POST /v1/x",
            "request: POST /v1/x with delete",
            "request: POST /v1/x with prefer",
            "header: dayfly-x",
            "error: 400 bad",
            "error: 400 worse",
            "bound: n is: 7 bytes",
            "bound: GET /v1/keys: 1 to 9",
            "bound: dayfly-x: 16 writers",
            "says: JSON only",
            "says: n is at most",
            "says: It is nice to",
        ];
        assert_eq!(all, expected);
    }

    #[test]
    fn an_api_that_is_not_understood_is_an_error() {
        let changed = |from: &str, to: &str| {
            assert!(HTTP.contains(from), "{from}");
            http_api(&HTTP.replace(from, to))
        };
        assert!(changed("## Headers", "## Heads").is_err(), "another section");
        assert!(changed("| status | codes |", "| status | code |").is_err(), "another table");
        assert!(changed("`{\"add\": [v]}`", "add").is_err(), "a type without operation");
        assert!(changed("`bad` (with `allow`), `worse` with", "bad with").is_err(), "a status without code");
        assert!(changed("- `n`", "* `n`").is_err(), "another list");
        assert!(changed("It is nice", "`n` is at most").is_err(), "two sentences that begin alike");
    }

    #[test]
    fn a_guarantee_is_called_what_the_readme_calls_it() {
        let document = "# D\n\n## What a write survives\n\nIt lasts for long.\n\n\
            | what happens | a confirmed write | proven by |\n|---|---|---|\n| `kill` comes | survives | |\n\n\
            ## Types\n\n| type | operations | of concurrent writes |\n|---|---|---|\n| `a`, `b` | x | y |\n";
        let chapters = readme(document).expect("proper");
        assert_eq!(chapters[0].promises, ["survives: kill comes", "says: It lasts for long"]);
        assert_eq!(chapters[1].promises, ["concurrent: a", "concurrent: b"]);
        assert!(readme(&document.replace(" proven by |", "")).is_err());
    }

    #[test]
    fn interfaces_are_read() {
        let text = "package a:b;\ninterface c { record r { x: u8 }\nenum e { f }\nvariant v { g(u8) }\ntype t = u8;\n\
            h: func(); }";
        let chapters = wit(&[("a.wit".to_owned(), text.to_owned())]).expect("proper");
        assert_eq!(chapters[0].promises, ["wit: c.h", "wit: r.x", "wit: e.f", "wit: v.g"]);
        let resource = text.replace("type t = u8;", "resource t;");
        assert!(wit(&[("a.wit".to_owned(), resource)]).is_err(), "something that is not understood");
        assert!(wit(&[("a.wit".to_owned(), "interface {".to_owned())]).is_err());
    }
}
