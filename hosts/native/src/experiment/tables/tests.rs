//! The list that the repository's own document is made of, and tables of reports that are made up.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::json;

use super::super::published;
use super::*;
use crate::client::Failure;

fn own_list() -> List {
    List::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("experiments/tables.toml")).expect("it is sound")
}

/// A report of some figures.
fn report(figures: serde_json::Value) -> Told {
    let report = json!({
        "schema": 1, "component": "0123456789abcdef", "trace": "t", "scenario": {}, "figures": figures,
        "wall": { "seconds": 61.5, "threads": 2, "memory_peak_bytes": 2_000_000, "note": "of yesterday" },
        "platform": { "killed": 3 },
    });
    serde_json::from_value(report).expect("a report")
}

/// The texts of a row; `?` where there is no report.
fn texts(row: &Row) -> Vec<&str> {
    let text = |cell| match cell {
        &Cell::Known(ref text) | &Cell::Ours(Some(ref text)) => text.as_str(),
        Cell::Ours(None) => "?",
    };
    row.cells.iter().map(text).collect()
}

#[test]
fn each_published_figure_stands_beside_a_run() {
    let mut shown = BTreeSet::new();
    for table in own_list().tables {
        for run in &table.runs {
            for reference in &run.beside {
                let (_, rows) = published::rows(reference).unwrap_or_else(|error| panic!("{}: {error}", table.name));
                let of_run = |row: &published::Row| {
                    row.replicas == run.replicas && table.figures.contains(&row.figure.to_owned())
                };
                let of_run: Vec<_> = rows.into_iter().filter(of_run).collect();
                assert!(run.is_large || !of_run.is_empty(), "nothing of its size stands beside {}", run.line);
                shown.extend(of_run.into_iter().map(|row| format!("{row:?}")));
            }
        }
    }
    for (name, row) in published::tests::all() {
        assert!(shown.contains(&format!("{row:?}")), "of {name}, nothing stands beside {row:?}");
    }
}

#[test]
fn only_what_is_named_is_run_and_large_ones_only_if_that_is_said() {
    let text = r#"
        [[tables]]
        name = "a"
        figures = ["delivered_bytes"]
        runs = [{ run = "gset", replicas = [3, 5], large = [99] }, { run = "gcounter" }]
        [[tables]]
        name = "b"
        figures = ["delivered_bytes"]
        runs = [{ run = "gset --seed 2" }, { run = "gcounter" }]
    "#;
    let list = List::parse(text).expect("it is sound");
    let wanted = |only: &[&str], large| -> Result<Vec<String>, Failure> {
        let only: Vec<String> = only.iter().map(|name| (*name).to_owned()).collect();
        Ok(list.wanted(&only, large)?.into_iter().map(|run| run.line.clone()).collect())
    };
    let [three, five, many] = ["gset --replicas 3", "gset --replicas 5", "gset --replicas 99"];
    let lines = |only: &[&str], large| wanted(only, large).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(lines(&[], false), [three, five, "gcounter", "gset --seed 2"]);
    assert_eq!(lines(&[], true), [three, five, many, "gcounter", "gset --seed 2"]);
    assert_eq!(lines(&["gset"], false), [three, five, "gset --seed 2"]);
    assert_eq!(lines(&["b"], false), ["gcounter", "gset --seed 2"]);
    assert_eq!(lines(&[many, three], false), [three, many], "in the list's order");
    let error = wanted(&["gset", "outage"], false).expect_err("it is not in the list").to_string();
    assert!(error.contains("\"outage\"") && error.contains("a, b"), "{error}");
}

#[test]
fn what_is_wrong_in_a_list_is_told() {
    let table =
        |name: &str, rest: &str| format!("[[tables]]\nname = '{name}'\nfigures = ['delivered_bytes']\n{rest}\n");
    let fine = "runs = [{ run = 'gset' }]";
    for (text, part) in [
        (table("a", "runs = []"), "shows nothing"),
        (table("a", "runs = [{ run = 'gsets' }]"), "gsets"),
        (table("a", "runs = [{ run = 'gset --replica-count 3' }]"), "--replica-count"),
        (table("a", "runs = [{ run = 'gset', size = 3 }]"), "unknown field `size`"),
        (table("runs", fine), "no table's name"),
        (table("a", fine) + &table("a", fine), "two tables"),
        (table("a", &format!("{fine}\ntowards = {{ replicas = 99, from = [3, 5] }}")), "no runs of 3 and 5"),
    ] {
        let error = List::parse(&text).expect_err(part).to_string();
        assert!(error.contains(part), "{part:?} is missing in: {error}");
    }
}

#[test]
fn a_row_tells_theirs_ours_and_how_often_one_is_in_the_other() {
    let text = r#"
        [[tables]]
        name = "a"
        figures = ["delivered_to_others_elements"]
        runs = [
          { run = "gset", beside = ["enes-icde19: gset tree delta+BP+RR"] },
          { run = "gcounter" },
        ]
        [[tables]]
        name = "b"
        figures = ["delivered_bytes"]
        runs = [{ run = "advertisement-server", replicas = [513, 514], beside = ["lasp-ppdp17: advertisement-counter client-server"] }]
        [[tables]]
        name = "c"
        figures = ["convergence_p99_ms", "platform.killed", "platform.hurt"]
        runs = [{ run = "churn" }]
    "#;
    let list = List::parse(text).expect("it is sound");
    let of =
        |figures| BTreeMap::from([("gset", report(figures)), ("churn", report(json!({ "convergence_p99_ms": 1250 })))]);
    let reports = of(json!({ "delivered_to_others_elements": 28_000 }));
    let sections: Vec<Section> =
        list.tables.iter().map(|table| section(table, &reports).expect("references are sound")).collect();
    let rows = &sections[0].rows;
    assert_eq!(texts(&rows[0]), ["`gset`", "tree, delta+BP+RR", "21,000", "28,000", "0.75", "61.5 s", "2 MB"],);
    assert_eq!(texts(&rows[1]), ["`gcounter`", "–", "–", "?", "?", "?", "?"]);
    let rows = &sections[1].rows;
    assert_eq!(
        texts(&rows[0])[..4],
        ["`advertisement-server --replicas 513`", "client-server, whole states", "failed", "?"]
    );
    assert_eq!(texts(&rows[1])[..4], ["`advertisement-server --replicas 514`", "–", "–", "?"]);
    let rows: Vec<_> = sections[2].rows.iter().map(texts).collect();
    assert_eq!(rows[0], ["command", "`dayfly experiment run churn`"]);
    assert_eq!(rows[1..4], [["convergence p99", "1.25 s"], ["platform killed", "3"], ["platform hurt", "–"]]);
    assert_eq!(ratio(Some(5e9), Some(2e6)), "2,500");
    let runs = section_of_runs(&list, &reports);
    let churn = runs.rows.iter().find(|row| texts(row)[0] == "`churn`").expect("each run has a row");
    assert_eq!(texts(churn)[1..], ["32", "3720 s", "61.5 s", "2", "2 MB", "of yesterday", "0123456789ab", "t"]);
}
