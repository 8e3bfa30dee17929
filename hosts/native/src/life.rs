//! What happens in a replica's life, for the logs.

use dayfly_engine::{Ended, Phase, Replica, Report};
use tracing::{info, warn};

/// Follows a replica until it ends, telling the logs and whoever hears each of its reports.
pub async fn follow(replica: Replica, mut hear: impl FnMut(&Report)) {
    let name = replica.name().to_owned();
    let mut reports = replica.watch();
    // Else it would keep alive what it watches.
    drop(replica);
    let mut last = Report { connected: true, ..Report::default() };
    loop {
        let report = reports.borrow_and_update().clone();
        tell(&name, &last, &report);
        hear(&report);
        if matches!(report.phase, Phase::Ended(_)) {
            return;
        }
        last = report;
        if reports.changed().await.is_err() {
            return;
        }
    }
}

fn tell(replica: &str, last: &Report, now: &Report) {
    let awake = |report: &Report| matches!(report.phase, Phase::Awake { .. });
    match &now.phase {
        // Whoever had it leave says so.
        Phase::Ended(Ended::Left) => return,
        Phase::Ended(ended) => {
            info!(replica, "ended: {ended}");
            return;
        }
        Phase::Awake { .. } if !awake(last) && now.wakes <= 1 => info!(replica, "started"),
        Phase::Awake { .. } | Phase::Frozen => {}
    }
    if now.freeze_gaps > last.freeze_gaps {
        // The longest is this one, if it became longer.
        if now.freeze_gap_ms_max > last.freeze_gap_ms_max {
            info!(replica, "stood still for {:.1} s", now.freeze_gap_ms_max as f64 / 1_000.0);
        } else {
            info!(replica, "stood still for a while");
        }
    }
    // A frozen replica has no link and serves nobody, which is no news.
    if awake(now) {
        if last.connected && !now.connected {
            warn!(replica, "no link to the broker; reconnecting");
        } else if !last.connected && now.connected && awake(last) {
            info!(replica, "reconnected");
        }
        if now.complete && !last.complete && now.wakes <= 1 {
            info!(replica, "complete");
        }
    }
    if now.vault_errors > last.vault_errors {
        warn!(replica, "its stored state could not be read or written {} times", now.vault_errors);
    }
}
