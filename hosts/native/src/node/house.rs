//! The replica as the HTTP server sees it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use dayfly_engine::contract::{Request, Response};
use dayfly_engine::{InvokeError, Phase, Replica};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::metrics::{self, Answers, Exposition, Observed, Type};
use crate::serve::{House, Readiness, Refusal, Woken};

/// A replica behind an HTTP server. It answers many requests at a time: a write waits for the broker, not for others.
#[derive(Clone)]
pub struct NodeHouse(Arc<Shared>);

struct Shared {
    replica: Replica,
    /// How many requests may be under way.
    room: Semaphore,
    answers: Answers,
}

/// How long a replica that is asked for metrics may take.
const STATUS_MAX: Duration = Duration::from_secs(2);

impl NodeHouse {
    /// A house of this replica, with so many requests under way at most, one at least.
    pub fn new(replica: Replica, requests_max: usize) -> Self {
        Self(Arc::new(Shared { replica, room: Semaphore::new(requests_max.max(1)), answers: Answers::default() }))
    }

    /// What the replica answers to a reading request for those who watch.
    async fn peek(&self, path: &str, query: &str) -> Option<Response> {
        let request = metrics::peeking(path, query);
        timeout(STATUS_MAX, self.0.replica.peek(request)).await.ok()?.filter(|answer| answer.status == 200)
    }
}

impl House for NodeHouse {
    async fn invoke(&self, name: Option<&str>, request: Request) -> Result<Response, Refusal> {
        let own = self.0.replica.name();
        if name.is_some_and(|name| name != own) {
            return Err(Refusal::NoReplica(format!("only {own} lives here")));
        }
        let busy = || Refusal::NoReplica("as many requests are under way as may".to_owned());
        let _permit = self.0.room.try_acquire().map_err(|_| busy())?;
        self.0.replica.invoke(request).await.map_err(|error| match error {
            InvokeError::NotTaken => Refusal::NoReplica("the replica has ended".to_owned()),
            InvokeError::InDoubt => Refusal::InDoubt,
        })
    }

    async fn wake(&self, name: Option<&str>, _: Duration) -> Result<Woken, Refusal> {
        let own = self.0.replica.name();
        if name.is_some_and(|name| name != own) {
            return Err(Refusal::NoReplica(format!("only {own} lives here")));
        }
        Ok(Woken { replica: self.0.replica.clone(), started: None, stands: true })
    }

    fn lives(&self) -> bool {
        !matches!(self.0.replica.report().phase, Phase::Ended(_))
    }

    fn readiness(&self) -> Readiness {
        let report = self.0.replica.report();
        let (code, message) = match report.phase {
            Phase::Ended(ended) => ("ended", format!("the replica has ended: {ended}")),
            _ if !report.connected => ("not_connected", "there is no link to the broker".to_owned()),
            _ if !report.complete => ("not_complete", "the replica is still being filled".to_owned()),
            Phase::Awake { .. } | Phase::Frozen => return Readiness::Ready,
        };
        Readiness::NotReady { code, message }
    }

    async fn metrics(&self) -> String {
        let replica = &self.0.replica;
        let status = self.peek("/v1/status", "").await;
        let observed = Observed {
            name: replica.name().to_owned(),
            report: replica.report(),
            traffic: replica.traffic(),
            status: status.and_then(|answer| serde_json::from_slice(&answer.body).ok()),
        };
        let mut page = Exposition::default();
        metrics::write_replicas(&mut page, &[observed]);
        page.family("dayfly_members", Type::Gauge, "Replicas of the cluster that this one knows of, by their state.");
        for (state, number) in self.members().await {
            page.sample("dayfly_members", &[("replica", replica.name()), ("state", &state)], number as f64);
        }
        metrics::write_process(&mut page, &self.0.answers);
        page.into_text()
    }

    fn count(&self, status: u16) {
        self.0.answers.count(status);
    }
}

/// The states that members have.
const STATES: [&str; 3] = ["awake", "dormant", "gone"];
/// How many members a page of `/v1/members` brings at most.
const MEMBERS_PAGE: usize = 1_000;
/// How many pages are asked for.
const PAGES_MAX: usize = 32;

impl NodeHouse {
    /// How many members there are of each state. Pages that do not come are not counted.
    async fn members(&self) -> BTreeMap<String, u64> {
        let mut counts: BTreeMap<String, u64> = STATES.map(|state| (state.to_owned(), 0)).into();
        let mut query = format!("limit={MEMBERS_PAGE}");
        for _ in 0..PAGES_MAX {
            let Some(answer) = self.peek("/v1/members", &query).await else { break };
            let page: serde_json::Value = serde_json::from_slice(&answer.body).unwrap_or_default();
            for member in page["members"].as_array().into_iter().flatten() {
                if let Some(count) = member["state"].as_str().and_then(|state| counts.get_mut(state)) {
                    *count += 1;
                }
            }
            // A name, which needs no percent-encoding.
            let Some(next) = page["next"].as_str() else { break };
            query = format!("limit={MEMBERS_PAGE}&after={next}");
        }
        counts
    }
}
