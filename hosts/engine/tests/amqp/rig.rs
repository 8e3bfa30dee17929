//! Clusters on the broker, and links with what came over them.

use std::time::Duration;

use dayfly_engine::amqp::{self, AmqpBroker, AmqpConfig};
use dayfly_engine::contract::{Frame, Receipt, Route, Verdict};
use dayfly_engine::{Attachment, Broker, BrokerError, Delivery, Event, Link, Source};
use tokio::sync::{RwLock, RwLockReadGuard};
use tokio::time::timeout;

/// Long enough for anything that is awaited, on a machine that does other things too.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// How long one waits to see that nothing comes.
pub const A_WHILE: Duration = Duration::from_millis(400);
pub const RETENTION_MS: u64 = 60_000;

/// Written by who restarts the broker, read by all others.
pub static BROKER: RwLock<()> = RwLock::const_new(());

/// What `cargo xtask test` tells.
pub fn told(variable: &str) -> String {
    std::env::var(variable).unwrap_or_else(|_| {
        panic!("{variable} is not set: these tests need a RabbitMQ of their own, which `cargo xtask test` brings")
    })
}

pub fn url() -> String {
    told("DAYFLY_TEST_BROKER")
}

/// A name that no other test has, and no earlier run.
pub fn cluster_name(test: &str) -> String {
    format!("{test}-{:08x}", getrandom::u32().expect("there is randomness"))
}

pub struct Cluster {
    pub config: AmqpConfig,
    pub broker: AmqpBroker,
    _calm: Option<RwLockReadGuard<'static, ()>>,
}

impl Cluster {
    pub async fn new(test: &str) -> Self {
        Self::with(test, |_| {}).await
    }

    pub async fn with(test: &str, change: impl FnOnce(&mut AmqpConfig)) -> Self {
        Self { _calm: Some(BROKER.read().await), ..Self::amid_storms(test, change) }
    }

    /// For who restarts the broker, and holds it to do so.
    pub fn amid_storms(test: &str, change: impl FnOnce(&mut AmqpConfig)) -> Self {
        let mut config = AmqpConfig::new(url(), cluster_name(test));
        change(&mut config);
        let broker = AmqpBroker::new(config.clone()).expect("the configuration holds");
        Self { config, broker, _calm: None }
    }

    pub async fn attach(&self, name: &str) -> Peer {
        self.attach_for(name, RETENTION_MS).await
    }

    pub async fn attach_for(&self, name: &str, retention_ms: u64) -> Peer {
        Peer::new(self.try_attach(name, retention_ms).await.expect("it attaches"))
    }

    pub async fn try_attach(&self, name: &str, retention_ms: u64) -> Result<Box<dyn Link>, BrokerError> {
        self.broker.attach(Attachment { name: name.to_owned(), retention_ms }).await
    }

    /// Removes what the test left.
    pub async fn purge(self, inboxes: &[&str]) {
        let inboxes: Vec<String> = inboxes.iter().map(|name| (*name).to_owned()).collect();
        amqp::purge(&self.config, &inboxes).await.expect("it can be removed");
    }
}

/// A link, and what came over it that nobody asked for yet.
pub struct Peer {
    pub link: Box<dyn Link>,
    settled: Vec<Receipt>,
    delivered: Vec<Delivery>,
    broken: Option<BrokerError>,
    next_id: u64,
}

impl Peer {
    pub fn new(link: Box<dyn Link>) -> Self {
        Self { link, settled: Vec::new(), delivered: Vec::new(), broken: None, next_id: 1 }
    }

    /// Hears one more event; whether there was one in this time.
    async fn hear(&mut self, within: Duration) -> bool {
        match timeout(within, self.link.next()).await {
            Err(_) => return false,
            Ok(Event::Settled(receipts)) => self.settled.extend(receipts),
            Ok(Event::Delivered(deliveries)) => self.delivered.extend(deliveries),
            Ok(Event::Broken(error)) => self.broken = Some(error),
        }
        true
    }

    /// Publishes, and waits for all outcomes.
    pub async fn publish_all(&mut self, frames: Vec<(Route, Vec<u8>, Option<u32>)>) -> Vec<Verdict> {
        let first = self.next_id;
        let frames: Vec<Frame> = frames
            .into_iter()
            .map(|(route, body, ttl_ms)| {
                self.next_id += 1;
                Frame { id: self.next_id - 1, route, body, ttl_ms }
            })
            .collect();
        let count = frames.len();
        self.link.publish(frames);
        while self.settled.len() < count {
            assert!(self.hear(PATIENCE).await, "{} of {count} are settled", self.settled.len());
            assert_eq!(self.broken, None);
        }
        let receipts = std::mem::take(&mut self.settled);
        let ids: Vec<u64> = receipts.iter().map(|receipt| receipt.id).collect();
        assert_eq!(ids, (first..self.next_id).collect::<Vec<_>>(), "each is settled once, in order");
        receipts.into_iter().map(|receipt| receipt.verdict).collect()
    }

    pub async fn publish(&mut self, route: Route, body: &[u8]) -> Verdict {
        self.publish_for(route, body, None).await
    }

    pub async fn publish_for(&mut self, route: Route, body: &[u8], ttl_ms: Option<u32>) -> Verdict {
        self.publish_all(vec![(route, body.to_vec(), ttl_ms)]).await[0]
    }

    /// Waits for so many messages; leaves them unacknowledged.
    pub async fn take(&mut self, count: usize) -> Vec<Delivery> {
        while self.delivered.len() < count {
            let heard = self.hear(PATIENCE).await;
            let found = self.delivered.len();
            assert!(heard && self.broken.is_none(), "{found} messages instead of {count}: {:?}", self.broken);
        }
        self.delivered.drain(..count).collect()
    }

    pub fn acknowledge(&mut self, deliveries: &[Delivery]) {
        self.link.acknowledge(&deliveries.iter().map(|delivery| delivery.tag).collect::<Vec<_>>());
    }

    /// Waits for so many messages and acknowledges them.
    pub async fn bodies(&mut self, count: usize) -> Vec<Vec<u8>> {
        let deliveries = self.take(count).await;
        self.acknowledge(&deliveries);
        deliveries.into_iter().map(|delivery| delivery.body.to_vec()).collect()
    }

    /// All that comes within a while.
    pub async fn rest(&mut self) -> Vec<Delivery> {
        while self.hear(A_WHILE).await {}
        std::mem::take(&mut self.delivered)
    }

    pub async fn broken(&mut self) -> BrokerError {
        while self.broken.is_none() {
            assert!(self.hear(PATIENCE).await, "it does not break");
        }
        self.broken.take().expect("it was looked at")
    }
}

pub fn one(name: &str) -> Route {
    Route::One(name.to_owned())
}

pub fn sources(deliveries: &[Delivery]) -> Vec<Source> {
    deliveries.iter().map(|delivery| delivery.source).collect()
}

/// Runs `rabbitmqctl` on the broker of the tests.
pub async fn control(arguments: &'static [&'static str]) {
    let program = told("DAYFLY_TEST_RABBITMQ");
    let run = move || std::process::Command::new(program).args(arguments).output();
    let output = tokio::task::spawn_blocking(run).await.expect("it ends").expect("it can be run");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "rabbitmqctl {arguments:?}: {said}");
}
