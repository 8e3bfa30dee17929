//! Native replicas, functions and applications for Spin are one cluster, over one broker that is restarted, while all of
//! them are frozen, killed and evicted under load. In a file of its own, so that no other test meets a broker that is away.

use std::sync::atomic::AtomicBool;

use anyhow::{Result, ensure};
use dayfly_tests::soak::run::run;
use dayfly_tests::soak::settings::Settings;

/// Decides what is drawn; what befalls whom is then a mixture of everything.
const SEED: u64 = 6;

#[test]
fn twelve_replicas_of_three_hosts_come_to_agree_on_what_the_oracle_knows() -> Result<()> {
    let settings = Settings::short(SEED);
    let report = run(&settings, &AtomicBool::new(false), &mut |_| {})?;
    eprintln!("{report}");
    ensure!(report.findings.is_empty(), "{:#?}", report.findings);
    ensure!(report.checkpoints == 1 && report.replicas >= 12, "{} replicas agreed", report.replicas);
    ensure!(report.is_one_component() && report.components.len() == 3, "{:?}", report.components);
    let tellers: usize = report.components.values().flat_map(|hashes| hashes.values()).sum();
    ensure!(tellers == 12, "{:?}", report.components);

    // Otherwise all this would prove little.
    ensure!(report.ended("confirmed") >= 200, "{:?}", report.writes_by_host);
    for (host, kinds) in [
        ("native", &["freeze", "kill"][..]),
        ("lambda", &["freeze by the platform"]),
        ("spin", &["eviction of all instances", "kill of a platform"]),
        ("broker", &["restart"]),
    ] {
        for kind in kinds {
            let times = report.faults.get(host).and_then(|faults| faults.get(*kind)).copied().unwrap_or(0);
            ensure!(times > 0, "no {kind} of {host}: {:?}", report.faults);
        }
        ensure!(host == "broker" || report.writes_by_host[host]["confirmed"] > 20, "{:?}", report.writes_by_host);
    }
    let killed: u64 =
        report.faults["lambda"].iter().filter(|(kind, _)| kind.starts_with("kill")).map(|(_, times)| *times).sum();
    ensure!(killed > 0, "no environment was killed: {:?}", report.faults);
    Ok(())
}
