//! The report as JUnit XML, which continuous integration reads: a suite a file of scenarios, `skipped` for what cannot be
//! played, `error` where no answer came.

use std::io::Cursor;

use quick_xml::Writer;
use quick_xml::events::BytesText;

use super::report::{Case, Outcome, Report};

/// The document.
///
/// # Errors
/// None that is known: it is written to memory.
pub fn document(report: &Report) -> std::io::Result<Vec<u8>> {
    let mut writer = Writer::new_with_indent(Cursor::new(Vec::new()), b' ', 2);
    let count =
        |cases: &[&Case], word: &str| cases.iter().filter(|case| case.outcome.word() == word).count().to_string();
    let mut files: Vec<&str> = report.cases.iter().map(|case| case.file.as_str()).collect();
    files.dedup();
    writer.create_element("testsuites").with_attribute(("name", "dayfly conformance")).write_inner_content(
        |writer| {
            for file in files {
                let cases: Vec<&Case> = report.cases.iter().filter(|case| case.file == file).collect();
                let seconds: f64 = cases.iter().map(|case| case.took.as_secs_f64()).sum();
                writer
                    .create_element("testsuite")
                    .with_attribute(("name", file))
                    .with_attribute(("tests", cases.len().to_string().as_str()))
                    .with_attribute(("failures", count(&cases, "failed").as_str()))
                    .with_attribute(("errors", count(&cases, "no answer").as_str()))
                    .with_attribute(("skipped", count(&cases, "not playable").as_str()))
                    .with_attribute(("hostname", printable(&report.url).as_str()))
                    .with_attribute(("time", format!("{seconds:.3}").as_str()))
                    .write_inner_content(|writer| cases.iter().try_for_each(|case| write_case(writer, case)))?;
            }
            Ok(())
        },
    )?;
    Ok(writer.into_inner().into_inner())
}

fn write_case(writer: &mut Writer<Cursor<Vec<u8>>>, case: &Case) -> std::io::Result<()> {
    let time = format!("{:.3}", case.took.as_secs_f64());
    let element = writer
        .create_element("testcase")
        .with_attribute(("name", case.name.as_str()))
        .with_attribute(("classname", case.file.trim_end_matches(".toml")))
        .with_attribute(("time", time.as_str()));
    let kind = match case.outcome {
        Outcome::Passed => return element.write_empty().map(|_| ()),
        Outcome::Failed(_) => "failure",
        Outcome::Unanswered(_) => "error",
        Outcome::NotPlayable(_) => "skipped",
    };
    let reason = printable(case.outcome.reason().unwrap_or_default());
    element.write_inner_content(|writer| {
        let first = reason.lines().next().unwrap_or_default();
        let element = writer.create_element(kind).with_attribute(("message", first));
        let text = format!("{}\n{reason}", printable(&case.checks));
        element.write_text_content(BytesText::new(&text)).map(|_| ())
    })?;
    Ok(())
}

/// Without the characters that XML 1.0 (section 2.2) cannot hold at all.
fn printable(text: &str) -> String {
    let fits = |c: char| matches!(c, '\t' | '\n' | '\r' | ' '..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..);
    text.chars().map(|c| if fits(c) { c } else { char::REPLACEMENT_CHARACTER }).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use quick_xml::Reader;
    use quick_xml::events::Event;
    use serde_json::json;

    use super::*;

    #[test]
    fn whatever_was_answered_the_document_is_well_formed() {
        let mut report = Report::begin("http://127.0.0.1:1/", &json!({}), true);
        let odd = "<a href=\"x\">&\u{0}\u{b}\u{ffff}]]>\nsecond line";
        let outcomes = [
            Outcome::Passed,
            Outcome::Failed(odd.to_owned()),
            Outcome::Unanswered("timeout".to_owned()),
            Outcome::NotPlayable("no hold".to_owned()),
        ];
        for (number, outcome) in outcomes.into_iter().enumerate() {
            let (name, file) = (format!("case_{number}"), "sets.toml".to_owned());
            let case = Case { name, file, checks: "a < b".to_owned(), outcome, took: Duration::from_millis(5) };
            report.add(case).expect("nothing is printed");
        }
        let document = document(&report).expect("memory takes all");
        let mut reader = Reader::from_reader(document.as_slice());
        let (mut elements, mut message) = (Vec::new(), None);
        loop {
            match reader.read_event().expect("well-formed") {
                Event::Eof => break,
                Event::Start(element) | Event::Empty(element) => {
                    let name = String::from_utf8_lossy(element.name().as_ref()).into_owned();
                    if name == "failure" {
                        let attribute = element.try_get_attribute("message").expect("attributes").expect("a message");
                        message = Some(attribute.unescape_value().expect("escaped").into_owned());
                    }
                    elements.push(name);
                }
                _ => {}
            }
        }
        let expected =
            ["testsuites", "testsuite", "testcase", "testcase", "failure", "testcase", "error", "testcase", "skipped"];
        assert_eq!(elements, expected);
        assert_eq!(message.as_deref(), Some("<a href=\"x\">&\u{fffd}\u{fffd}\u{fffd}]]>"));
    }
}
