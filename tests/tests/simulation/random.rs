//! Simulations of whole clusters from a seed. How many seeds: `DAYFLY_SEEDS`, 200 if it is not set. To repeat one:
//! `DAYFLY_SEED=n DAYFLY_TELL=1 cargo test --release -p dayfly-tests --test simulation one_seed -- --ignored --nocapture`.

use dayfly_tests::life::CoreMaker;
use dayfly_tests::simulation::run::{run_all, run_twice};

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().expect("the variable holds a number"))
}

#[test]
fn random_clusters_are_safe_and_come_to_agree() {
    let count = number("DAYFLY_SEEDS").unwrap_or(200);
    let first = number("DAYFLY_FIRST_SEED").unwrap_or(0);
    let (outcomes, failures) = run_all(first..first + count, &CoreMaker);
    for (seed, error) in &failures {
        println!("seed {seed}: {error}");
    }
    let sum = |of: fn(&dayfly_tests::simulation::finish::Verdict) -> u64| -> u64 {
        outcomes.iter().map(|(_, outcome)| of(&outcome.verdict)).sum()
    };
    println!(
        "{} runs: {} writes, {} dots, {} lost, {} torn, {} holes, {} redone; {} combined frames, {} along links, {} pieces of snapshots, {} times all killed; dayfly-after {} served, {} refused, {} torn; \
         calm within {} ms",
        outcomes.len(),
        sum(|v| v.writes as u64),
        sum(|v| v.dots as u64),
        sum(|v| v.lost as u64),
        sum(|v| v.torn as u64),
        sum(|v| v.holes),
        sum(|v| v.redone),
        sum(|v| v.combined),
        sum(|v| v.along),
        sum(|v| v.snapshots),
        sum(|v| v.falls),
        sum(|v| v.after[0]),
        sum(|v| v.after[1]),
        sum(|v| v.after[2]),
        outcomes.iter().map(|(_, outcome)| outcome.verdict.calm_ms).max().unwrap_or(0),
    );
    assert!(failures.is_empty(), "{} of {count} seeds fail", failures.len());
}

#[test]
#[ignore = "repeats the one seed that DAYFLY_SEED names"]
fn one_seed() {
    let seed = number("DAYFLY_SEED").expect("DAYFLY_SEED names a seed");
    println!("{:#?}", run_twice(seed, &CoreMaker).expect("the seed holds"));
}
