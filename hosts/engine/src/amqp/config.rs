//! How a cluster's broker is reached, and what its queues hold.

use std::fmt;
use std::path::PathBuf;

use dayfly_amqp::{Bounds, without_password};

/// How to reach the broker, and the bounds of the cluster's queues. All replicas of a cluster have to use the same bounds:
/// the broker refuses who declares a queue with others.
#[derive(Clone, PartialEq, Eq)]
pub struct AmqpConfig {
    /// `amqp://user:password@host:port/vhost`, or `amqps://` for TLS. What is left out is `guest`, `guest`, `localhost`,
    /// 5672 (5671 for TLS) and `/`. User, password and vhost are percent-encoded.
    pub url: String,
    /// The cluster's name: part of all names on the broker.
    pub cluster: String,
    /// How much an inbox holds, in bytes of bodies; at it, the oldest is dropped, which costs a repair.
    pub inbox_bytes: u64,
    /// How much `anyone` holds, in bytes; at it, publishing fails.
    pub anyone_bytes: u64,
    /// How much `combiner` holds, in bytes; at it, publishing fails.
    pub combiner_bytes: u64,
    /// How much the log keeps, in bytes; 0: there is none. As `config.log-bytes` of the replicas. The broker drops whole
    /// segments, of a sixteenth of it.
    pub log_bytes: u64,
    /// Certificates in PEM to trust besides the well-known roots, for TLS.
    pub ca_file: Option<PathBuf>,
    /// How long making a connection may take, and attaching over it, in milliseconds.
    pub connect_ms: u64,
    /// How often each side shows that it lives, in seconds: the broker gives up a connection that was silent for two of
    /// these, and hands what it held to others. 0 turns it off.
    pub heartbeat_s: u16,
}

impl AmqpConfig {
    /// The usual bounds, no log.
    pub fn new(url: impl Into<String>, cluster: impl Into<String>) -> Self {
        let Bounds { inbox_bytes, anyone_bytes, combiner_bytes, log_bytes } = Bounds::default();
        Self {
            url: url.into(),
            cluster: cluster.into(),
            inbox_bytes,
            anyone_bytes,
            combiner_bytes,
            log_bytes,
            ca_file: None,
            connect_ms: 10_000,
            heartbeat_s: 20,
        }
    }

    /// What the queues are declared with.
    pub(super) fn bounds(&self) -> Bounds {
        let Self { inbox_bytes, anyone_bytes, combiner_bytes, log_bytes, .. } = *self;
        Bounds { inbox_bytes, anyone_bytes, combiner_bytes, log_bytes }
    }
}

// By hand: the URL holds a password.
impl fmt::Debug for AmqpConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AmqpConfig")
            .field("url", &without_password(&self.url))
            .field("cluster", &self.cluster)
            .field("inbox_bytes", &self.inbox_bytes)
            .field("anyone_bytes", &self.anyone_bytes)
            .field("combiner_bytes", &self.combiner_bytes)
            .field("log_bytes", &self.log_bytes)
            .field("ca_file", &self.ca_file)
            .field("connect_ms", &self.connect_ms)
            .field("heartbeat_s", &self.heartbeat_s)
            .finish()
    }
}
