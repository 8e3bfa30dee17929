//! Tables of documents: the repository's own, and one that is run here.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use serde_json::Value;

use crate::{file, ran};

const LIST: &str = r#"
[[tables]]
name = "sizes"
figures = ["delivered_bytes", "published_messages"]
runs = [{ run = "gset --seconds 5", replicas = [3, 6], large = [4] }]
towards = { replicas = 12, from = [3, 6] }

[[tables]]
name = "beside"
figures = ["delivered_to_others_elements"]
runs = [{ run = "gset --seconds 5", replicas = [15], beside = ["enes-icde19: gset tree delta+BP+RR"] }]
"#;

const DOCUMENT: &str = "\
# Mine

<!-- Table sizes: written by a program, not by hand. -->
<!-- The end of sizes. -->
<!-- Table beside: written by a program, not by hand. -->
<!-- The end of beside. -->
<!-- Table runs: written by a program, not by hand. -->
<!-- The end of runs. -->
";

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// A folder of this test's own, empty.
fn empty_folder(name: &str) -> String {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("experiment-tables-{name}"));
    if path.exists() {
        fs::remove_dir_all(&path).expect("it is ours");
    }
    path.to_str().expect("UTF-8").to_owned()
}

/// The command with this list and document; what it has told.
#[track_caller]
fn tables(list: &str, document: &str, reports: &str, more: &[&str]) -> Output {
    ran(&[&["tables", list, "--document", document, "--reports", reports], more].concat())
}

#[track_caller]
fn written(list: &str, document: &str, reports: &str, more: &[&str]) -> (String, String) {
    let output = tables(list, document, reports, more);
    assert!(output.status.success(), "{more:?}: {output:?}");
    let told = String::from_utf8(output.stderr).expect("UTF-8");
    (fs::read_to_string(document).expect("it is there"), told)
}

/// The row that begins so.
#[track_caller]
fn row<'a>(document: &'a str, begin: &str) -> &'a str {
    let mut rows = document.lines().filter(|line| line.starts_with(begin));
    rows.next().unwrap_or_else(|| panic!("no {begin:?} in {document}"))
}

/// Each row that the list wants stands in EXPERIMENTS.md, and none that it does not; and nothing that is known without a
/// run, such as published figures, stands there otherwise.
#[test]
fn the_document_is_the_one_of_its_list() {
    let path = root().join("EXPERIMENTS.md");
    let text = fs::read_to_string(&path).expect("it is there");
    let list = root().join("hosts/native/experiments/tables.toml");
    let is_blessed = std::env::var_os("DAYFLY_BLESS").is_some();
    let document = if is_blessed { path.to_str().expect("UTF-8").to_owned() } else { file("EXPERIMENTS.md", &text) };
    let (found, _) = written(list.to_str().expect("UTF-8"), &document, &empty_folder("none"), &["--no-run"]);
    let differs = std::iter::zip(text.lines(), found.lines()).find(|(old, new)| old != new);
    let advice = "`cargo xtask experiments` runs what is missing, DAYFLY_BLESS=1 only notes that it was not run";
    assert!(is_blessed || text == found, "EXPERIMENTS.md is not of its list: {advice}: {differs:?}");
}

#[test]
fn what_has_no_report_is_run_and_shown_and_what_has_one_is_not() {
    let (list, document) = (file("tables.toml", LIST), file("tables.md", DOCUMENT));
    let reports = empty_folder("reports");
    let (text, _) = written(&list, &document, &reports, &["--no-run"]);
    let [three, six] = ["| `gset --seconds 5 --replicas 3` |", "| `gset --seconds 5 --replicas 6` |"];
    assert_eq!(row(&text, three), format!("{three} not run | – | – | – |"));
    let beside = "| `gset --seconds 5 --replicas 15` | tree, delta+BP+RR | 21,000 |";
    assert_eq!(row(&text, beside), format!("{beside} not run | – | – | – |"));

    let only = ["--only", "gset --seconds 5 --replicas 3", "--note", "of today"];
    let (text, told) = written(&list, &document, &reports, &only);
    assert!(
        told.contains("dayfly: experiment run gset --seconds 5 --replicas 3\n") && !told.contains("replicas 6"),
        "{told}"
    );
    let report =
        fs::read_to_string(Path::new(&reports).join("gset_--seconds_5_--replicas_3.json")).expect("it is kept");
    let report: Value = serde_json::from_str(&report).expect("JSON");
    let bytes = report["figures"]["delivered_bytes"].as_f64().expect("a number");
    assert!((1e3..1e6).contains(&bytes), "{bytes}");
    let of_three = row(&text, three).to_owned();
    let shown = of_three.strip_prefix(three).and_then(|cells| cells.split_once(" kB |")).map(|(number, _)| number);
    let shown: f64 = shown.and_then(|number| number.trim().parse().ok()).unwrap_or_else(|| panic!("{of_three}"));
    // Of three digits.
    assert!((shown * 1e3 / bytes - 1.0).abs() < 0.006, "{of_three} and {bytes}");
    assert!(row(&text, six).contains("not run") && row(&text, "| *arithmetic:* 12").contains("not run"), "{text}");
    let runs = text.split("<!-- Table runs").nth(1).expect("there is such a table");
    let trace = report["trace"].as_str().expect("a text");
    assert!(
        row(runs, three)
            .ends_with(&format!("| of today | {} | {trace} |", &report["component"].as_str().expect("a text")[..12])),
        "{runs}"
    );

    // All but what is large; what has a report is not run again.
    let (text, told) = written(&list, &document, &reports, &[]);
    assert!(
        told.contains("replicas 3: there is a report")
            && told.contains("experiment run gset --seconds 5 --replicas 6\n"),
        "{told}"
    );
    assert_eq!(row(&text, three), of_three);
    let numbers = row(&text, "| *arithmetic:* 12");
    assert!(!numbers.contains("not run") && numbers.contains("kB"), "{numbers}");
    assert!(row(&text, "| `gset --seconds 5 --replicas 4`").contains("not run"), "{text}");
    assert!(!row(&text, beside).contains("not run"), "{text}");

    // Where no report is at hand, nothing is taken away.
    assert_eq!(written(&list, &document, &empty_folder("others"), &["--no-run"]).0, text);
    // A report of another component is not taken for one of this.
    let other = empty_folder("other");
    fs::create_dir_all(&other).expect("it can be made");
    let stale = report.to_string().replace(report["component"].as_str().expect("a text"), "0000");
    fs::write(Path::new(&other).join("gset_--seconds_5_--replicas_3.json"), stale).expect("it can be written");
    let fresh = file("tables-fresh.md", DOCUMENT);
    assert!(row(&written(&list, &fresh, &other, &["--no-run"]).0, three).contains("not run"));
}

#[test]
fn lists_and_documents_that_do_not_fit_are_refused() {
    let list = file("tables-refused.toml", LIST);
    let document = file("tables-refused.md", &DOCUMENT.replace("The end of sizes", "The end"));
    let output = tables(&list, &document, &empty_folder("refused"), &[]);
    let told = String::from_utf8(output.stderr).expect("UTF-8");
    assert!(
        output.status.code() == Some(1) && told.contains("tables-refused.md") && told.contains("The end of sizes"),
        "{told}"
    );
    let output = tables(&list, &document, &empty_folder("refused"), &["--only", "outage"]);
    let told = String::from_utf8(output.stderr).expect("UTF-8");
    assert!(output.status.code() == Some(2) && told.contains("nothing is called \"outage\""), "{told}");
}
