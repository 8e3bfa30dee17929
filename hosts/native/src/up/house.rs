//! The platform as the HTTP server sees it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use dayfly_engine::contract::{Request, Response};
use dayfly_engine::{Replica, Report};

use super::platform::Platform;
use crate::metrics::{self, Exposition, Observed, Status, Type};
use crate::serve::{House, Readiness, Refusal, Woken};

/// A platform behind an HTTP server.
#[derive(Clone)]
pub struct Platforms(pub Arc<Platform>);

impl House for Platforms {
    async fn invoke(&self, name: Option<&str>, request: Request) -> Result<Response, Refusal> {
        match name {
            Some(name) => self.0.invoke_on(name, request).await,
            None => self.0.invoke(request).await,
        }
    }

    async fn wake(&self, name: Option<&str>, period: Duration) -> Result<Woken, Refusal> {
        self.0.wake_for(name, period).await
    }

    fn lives(&self) -> bool {
        self.0.census().alive() > 0
    }

    fn readiness(&self) -> Readiness {
        let reports: Vec<Report> = self.0.replicas().iter().map(Replica::report).collect();
        let (code, message) = if reports.is_empty() {
            ("no_replica", "no replica lives here")
        } else if !reports.iter().any(|report| report.connected) {
            ("not_connected", "no replica has a link to the broker")
        } else if !reports.iter().any(|report| report.connected && report.complete) {
            ("not_complete", "all replicas that are awake are still being filled")
        } else {
            return Readiness::Ready;
        };
        Readiness::NotReady { code, message: message.to_owned() }
    }

    async fn metrics(&self) -> String {
        let platform = &self.0;
        let mut statuses: BTreeMap<String, Status> = platform.statuses().await.into_iter().collect();
        let observe = |replica: &Replica| Observed {
            name: replica.name().to_owned(),
            report: replica.report(),
            traffic: replica.traffic(),
            status: statuses.remove(replica.name()),
        };
        let replicas: Vec<Observed> = platform.replicas().iter().map(observe).collect();
        let mut page = Exposition::default();
        metrics::write_replicas(&mut page, &replicas);
        write_census(&mut page, platform);
        metrics::write_process(&mut page, &platform.answers);
        page.into_text()
    }

    fn count(&self, status: u16) {
        self.0.answers.count(status);
    }
}

/// What the platform knows of its replicas: the members, as far as they are here.
fn write_census(page: &mut Exposition, platform: &Platform) {
    let census = platform.census();
    page.family("dayfly_members", Type::Gauge, "Replicas of this process, by their state.");
    for (state, number) in [("awake", census.awake as u64), ("dormant", census.dormant as u64), ("gone", census.gone())]
    {
        page.sample("dayfly_members", &[("state", state)], number as f64);
    }
    let counters = [
        ("dayfly_started_total", "Replicas that were started.", census.started),
        ("dayfly_killed_total", "Replicas that were killed at random.", census.killed),
        ("dayfly_reclaimed_total", "Replicas that were reclaimed for being idle.", census.reclaimed),
        ("dayfly_lost_total", "Replicas that were lost by a fault of their own.", census.lost),
        ("dayfly_complete_losses_total", "How often the last complete replica ended.", census.complete_losses),
        ("dayfly_extinctions_total", "How often no replica was left.", census.extinctions),
        ("dayfly_operations_total", "Operations that succeeded.", platform.traffic().operations()),
    ];
    for (name, help, number) in counters {
        page.family(name, Type::Counter, help);
        page.sample(name, &[], number as f64);
    }
}
