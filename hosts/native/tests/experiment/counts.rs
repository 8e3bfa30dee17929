//! Counts of small runs, compared with those of when `tests/experiment/counts.toml` was last blessed. They follow from
//! scenario, seed and component alone, so whoever changes what replicas say sees by how much.
//!
//! `DAYFLY_BLESS=1 cargo test --release -p dayfly --test experiment counts` writes the file anew.

use std::collections::BTreeMap;
use std::path::Path;

use crate::report;

/// What is run, and what it is called.
const RUNS: &[(&str, &[&str])] = &[
    ("gset", &["gset"]),
    ("gmap-10", &["gmap-10"]),
    ("gset-mesh", &["gset", "--overlay", "mesh"]),
    ("gset-tree", &["gset", "--overlay", "tree"]),
    ("gcounter-mesh", &["gcounter", "--overlay", "mesh"]),
    ("gmap-10-mesh", &["gmap-10", "--overlay", "mesh"]),
    ("advertisement-server-17", &["advertisement-server", "--replicas", "17"]),
    ("churn", &["churn"]),
];

/// What is counted.
const FIGURES: &[&str] = &[
    "delivered_bytes",
    "delivered_elements",
    "delivered_messages",
    "delivered_to_others_elements",
    "frozen_percent",
    "invocations",
    "published_bytes",
    "published_elements",
    "published_messages",
    "repair_delivered_bytes",
    "replica_entries_max",
    "replica_context_writers_max",
    "shown",
    "overcount",
];

/// What overlays are for: nobody is told anything twice (1.05 times the events of others at most), in few bytes.
fn reaches_its_goals(counts: &BTreeMap<String, u64>) {
    for (count, most) in [
        ("gset-mesh.published_elements", 22_050),
        ("gset-mesh.published_bytes", 700_000),
        ("gset-tree.published_elements", 22_050),
        ("gcounter-mesh.published_elements", 22_050),
        ("gmap-10-mesh.published_bytes", 3_000_000),
    ] {
        assert!((1..=most).contains(&counts[count]), "{count} is {}, and may be {most}", counts[count]);
    }
}

#[test]
fn counts_are_those_that_were_blessed() {
    let mut counts = BTreeMap::new();
    for (name, args) in RUNS {
        let report = report(args);
        for figure in FIGURES {
            if let Some(count) = report["figures"][figure].as_f64() {
                counts.insert(format!("{name}.{figure}"), count as u64);
            }
        }
    }
    assert!(counts.len() >= RUNS.len() * 9, "{counts:?}");
    reaches_its_goals(&counts);
    let frozen = counts["churn.frozen_percent"];
    assert!((45..=55).contains(&frozen), "{frozen} % of the time of churn is frozen; its file says half");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/experiment/counts.toml");
    if std::env::var_os("DAYFLY_BLESS").is_some() {
        let lines = counts.iter().map(|(name, count)| format!("{name} = {count}\n"));
        let text: String =
            std::iter::once("# Made by the test `counts`, which says how to write it anew.\n".to_owned())
                .chain(lines)
                .collect();
        std::fs::write(&path, text).expect("the file can be written");
    }
    let text = std::fs::read_to_string(&path).expect("the file is there; DAYFLY_BLESS=1 makes it");
    let blessed: BTreeMap<String, u64> = text
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| {
            let (name, count) = line.split_once(" = ").unwrap_or_else(|| panic!("{line:?} is no count"));
            (name.to_owned(), count.parse().unwrap_or_else(|_| panic!("{line:?} is no count")))
        })
        .collect();
    assert_eq!(counts, blessed, "DAYFLY_BLESS=1 writes the file anew, if that is meant to be so");
}
