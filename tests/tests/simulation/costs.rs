//! What repair costs, counted and compared with what was counted when `tests/golden/counts.toml` was last blessed, and with
//! the goals of DESIGN section 10.
//!
//! `DAYFLY_BLESS=1 cargo test --release -p dayfly-tests --test simulation costs` writes the file anew.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use dayfly_tests::simulation::plan::Plan;
use dayfly_tests::simulation::stock::Stock;
use dayfly_tests::simulation::tap::Repairs;

use crate::{LEASE_MS, agree, cluster, status, stocked};

/// 100,000 entries of 100 writers.
const STOCK: Stock = Stock { writers: 100, each: 1_000 };

/// In which way two replicas differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// One has not seen what the other has.
    Missed,
    /// One has removed what is live at the other.
    Removed,
    /// Each has not seen what the other has, half and half.
    Both,
}

/// Lets two replicas that differ in so many entries come to agree. Gives what that took.
fn reconcile(kind: Kind, differences: u64) -> Repairs {
    let mut cluster = cluster(Plan::calm());
    let none = BTreeSet::new();
    let half = differences / 2;
    let [(unseen_a, gone_a), (unseen_b, gone_b)] = match kind {
        Kind::Missed => [(STOCK.scattered(differences, 3), none.clone()), (none.clone(), none.clone())],
        Kind::Removed => [(none.clone(), none.clone()), (none.clone(), STOCK.scattered(differences, 3))],
        Kind::Both => [(STOCK.scattered(half, 3), none.clone()), (STOCK.scattered(half, 5), none.clone())],
    };
    let a = stocked(&mut cluster, "a", STOCK, &unseen_a, &gone_a);
    let b = stocked(&mut cluster, "b", STOCK, &unseen_b, &gone_b);
    cluster.tap();
    for id in [a, b] {
        cluster.wake(id, LEASE_MS).expect("a wake");
    }
    agree(&mut cluster);
    let gone = gone_a.union(&gone_b).count() as u64;
    for id in [a, b] {
        assert_eq!(status(&mut cluster, id, "entries"), STOCK.len() - gone);
    }
    let repairs = cluster.repairs(None);
    assert_eq!(repairs.entries, if kind == Kind::Removed { 0 } else { differences }, "no entry travels in vain");
    repairs
}

/// The bytes of the frames in which two replicas that are equal tell each other so.
fn compare_equal() -> (u64, Repairs) {
    let mut cluster = cluster(Plan::calm());
    let none = BTreeSet::new();
    let ids = ["a", "b"].map(|name| stocked(&mut cluster, name, STOCK, &none, &none));
    ids.iter().for_each(|id| drop(cluster.wake(*id, LEASE_MS).expect("a wake")));
    agree(&mut cluster);
    cluster.tap();
    cluster.wake(ids[0], LEASE_MS).expect("a wake");
    agree(&mut cluster);
    cluster.run_for(30_000).expect("a run");
    let frames = cluster.published.iter().flatten();
    (frames.map(|frame| frame.body.len() as u64).sum(), cluster.repairs(None))
}

fn compare(counts: &BTreeMap<String, u64>) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/counts.toml");
    if std::env::var_os("DAYFLY_BLESS").is_some() {
        let lines = counts.iter().map(|(name, count)| format!("{name} = {count}\n"));
        let text: String =
            std::iter::once("# Made by the simulation `costs`, which says how to write it anew.\n".to_owned())
                .chain(lines)
                .collect();
        std::fs::write(&path, text).expect("the file can be written");
    }
    let text = std::fs::read_to_string(&path).expect("the file is there; DAYFLY_BLESS=1 makes it");
    let expected: BTreeMap<String, u64> = toml::from_str(&text).expect("the file holds numbers");
    assert_eq!(*counts, expected, "the counts differ from tests/golden/counts.toml; if that is meant, bless them");
}

#[test]
fn costs_of_repair_are_those_that_were_counted() {
    let mut counts = BTreeMap::new();
    for (kind, kind_name) in [(Kind::Missed, "missed"), (Kind::Removed, "removed"), (Kind::Both, "both")] {
        for differences in [20, 2_000] {
            let repairs = reconcile(kind, differences);
            if differences == 2_000 {
                assert!(repairs.beyond() <= 24 * differences, "{kind:?}: {repairs:?}");
            }
            let name = |what: &str| format!("reconcile_100000_entries_{differences}_{kind_name}_{what}");
            counts.insert(name("round_trips"), repairs.rounds);
            counts.insert(name("requests"), repairs.asks);
            counts.insert(name("request_bytes"), repairs.ask_bytes);
            counts.insert(name("answer_frames"), repairs.answers);
            counts.insert(name("answer_bytes"), repairs.answer_bytes);
            counts.insert(name("bytes_beyond_entries"), repairs.beyond());
        }
    }
    let (bytes, repairs) = compare_equal();
    assert!(bytes <= 64, "two equal replicas compared: {bytes} bytes");
    counts.insert("compare_equal_bytes".into(), bytes);
    counts.insert("compare_equal_requests".into(), repairs.asks);
    compare(&counts);
}
