//! Connections, each shared by many links.

use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use dayfly_amqp::{Names, Refusal, without_password};
use lapin::tcp::OwnedTLSConfig;
use lapin::uri::{AMQPScheme, AMQPUri};
use lapin::{Channel, Connection, ConnectionProperties};
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

use super::refusal::{self, Refused};
use super::{AmqpConfig, LINKS_MAX};
use crate::broker::BrokerError;

/// The connections of a broker.
pub(super) struct Pool {
    endpoint: Endpoint,
    /// Held while a connection is made, so that those who need one at once share it.
    connections: Mutex<Connections>,
}

#[derive(Default)]
struct Connections {
    live: Vec<Arc<Shared>>,
    /// The last attempt that failed. Who was waiting for it has the same answer.
    failed: Option<(Instant, BrokerError)>,
}

struct Shared {
    connection: Connection,
    /// What the cluster shares has been declared over it, and has not been seen to be missing since.
    declared: AtomicBool,
    /// It did not answer when it should have.
    distrusted: AtomicBool,
}

/// A link's place on a connection.
#[derive(Clone)]
pub(super) struct Seat {
    shared: Arc<Shared>,
}

/// Each link publishes over one channel and consumes over another; some room is left for a glance beside them.
const CHANNELS_PER_LINK: usize = 2;

impl Pool {
    pub(super) fn new(config: &AmqpConfig) -> Result<Self, BrokerError> {
        Ok(Self { endpoint: Endpoint::new(config)?, connections: Mutex::default() })
    }

    pub(super) fn names(&self) -> &Names {
        self.endpoint.names()
    }

    pub(super) fn address(&self) -> &str {
        &self.endpoint.address
    }

    /// A place on a connection, and whether that was made just now. One that was made earlier may be dead.
    pub(super) async fn take(&self) -> Result<(Seat, bool), BrokerError> {
        let asked = Instant::now();
        let mut connections = self.connections.lock().await;
        connections.live.retain(|shared| shared.is_trusted());
        // Each seat holds its connection once, and this list does.
        let has_room = |shared: &&Arc<Shared>| Arc::strong_count(shared) <= links_max(&shared.connection);
        if let Some(shared) = connections.live.iter().find(has_room) {
            return Ok((Seat { shared: Arc::clone(shared) }, false));
        }
        if let Some((at, error)) = &connections.failed
            && *at > asked
        {
            return Err(error.clone());
        }
        match self.endpoint.connect().await {
            Ok(connection) => {
                let (declared, distrusted) = (AtomicBool::new(false), AtomicBool::new(false));
                let shared = Arc::new(Shared { connection, declared, distrusted });
                connections.live.push(Arc::clone(&shared));
                connections.failed = None;
                Ok((Seat { shared }, true))
            }
            Err(error) => {
                connections.failed = Some((Instant::now(), error.clone()));
                Err(error)
            }
        }
    }
}

fn links_max(connection: &Connection) -> usize {
    // 0: the broker sets no bound.
    match usize::from(connection.configuration().channel_max()) {
        0 => LINKS_MAX,
        channels => (channels.saturating_sub(2) / CHANNELS_PER_LINK).clamp(1, LINKS_MAX),
    }
}

impl Shared {
    fn is_trusted(&self) -> bool {
        self.connection.status().connected() && !self.distrusted.load(Ordering::Relaxed)
    }
}

impl Seat {
    pub(super) async fn channel(&self) -> Result<Channel, BrokerError> {
        self.shared.connection.create_channel().await.refused(|| "opening a channel".to_owned())
    }

    /// Makes the broker answer.
    pub(super) async fn probe(&self) -> Result<(), BrokerError> {
        let channel = self.channel().await?;
        let _ = channel.close(lapin::protocol::constants::REPLY_SUCCESS, "done".into()).await;
        Ok(())
    }

    /// Takes the connection for dead: nobody is given a place on it from now on.
    pub(super) fn distrust(&self) {
        self.shared.distrusted.store(true, Ordering::Relaxed);
    }

    /// Whether what the cluster shares has still to be declared.
    pub(super) fn needs_declaring(&self) -> bool {
        !self.shared.declared.load(Ordering::Relaxed)
    }

    pub(super) fn note_declared(&self, declared: bool) {
        self.shared.declared.store(declared, Ordering::Relaxed);
    }
}

/// Where the broker is, and who asks.
pub(super) struct Endpoint {
    uri: AMQPUri,
    /// Host and port.
    pub(super) address: String,
    certificates: Option<String>,
    cluster: String,
    names: Names,
    limit: Duration,
}

impl Endpoint {
    pub(super) fn new(config: &AmqpConfig) -> Result<Self, BrokerError> {
        let refuse = |reason: String| BrokerError::Refused(reason);
        let shown = without_password(&config.url);
        let mut uri = AMQPUri::from_str(&config.url).map_err(|reason| {
            refuse(format!("{shown} is no URL of a broker, as amqp://user:password@host:5672/: {reason}"))
        })?;
        if let Some(host) = literal_v6(&config.url) {
            uri.authority.host = host;
        }
        if uri.vhost.is_empty() {
            "/".clone_into(&mut uri.vhost);
        }
        if uri.query.heartbeat.is_none() {
            uri.query.heartbeat = Some(config.heartbeat_s);
        }
        let names = Names::new(&config.cluster).map_err(refuse)?;
        let certificates = match &config.ca_file {
            None => None,
            Some(file) => {
                let text = std::fs::read_to_string(file)
                    .map_err(|error| refuse(format!("the CA file {}: {error}", file.display())))?;
                if !text.contains("-----BEGIN CERTIFICATE-----") {
                    return Err(refuse(format!("the CA file {} holds no certificate in PEM", file.display())));
                }
                Some(text)
            }
        };
        let address = format!("{}:{}", uri.authority.host, uri.authority.port);
        let limit = Duration::from_millis(config.connect_ms);
        Ok(Self { uri, address, certificates, cluster: config.cluster.clone(), names, limit })
    }

    pub(super) fn names(&self) -> &Names {
        &self.names
    }

    pub(super) fn is_tls(&self) -> bool {
        self.uri.scheme == AMQPScheme::AMQPS
    }

    pub(super) fn uri(&self) -> &AMQPUri {
        &self.uri
    }

    pub(super) fn limit(&self) -> Duration {
        self.limit
    }

    pub(super) fn tls(&self) -> OwnedTLSConfig {
        OwnedTLSConfig { identity: None, cert_chain: self.certificates.clone() }
    }

    pub(super) fn too_slow(&self) -> BrokerError {
        let ms = self.limit.as_millis();
        Refusal::too_slow(&self.address, ms).into()
    }

    pub(super) async fn connect(&self) -> Result<Connection, BrokerError> {
        let properties = ConnectionProperties::default()
            .with_client_property("product".into(), "Dayfly".into())
            .with_client_property("version".into(), env!("CARGO_PKG_VERSION").into())
            .with_connection_name(format!("dayfly {}", self.cluster).into());
        let runtime = lapin::runtime::default_runtime()
            .map_err(|error| BrokerError::Refused(format!("there is no runtime: {}", refusal::plain(&error))))?;
        let attempt = Connection::connect_uri_with_config(self.uri.clone(), properties, self.tls(), runtime);
        match timeout(self.limit, attempt).await {
            Ok(Ok(connection)) => Ok(connection),
            Ok(Err(error)) => {
                let user = &self.uri.authority.userinfo.username;
                Err(refusal::of_connecting(&error, &self.address, user, &self.uri.vhost, self.is_tls()))
            }
            Err(_) => Err(self.too_slow()),
        }
    }
}

/// The IPv6 address in brackets after the user, which the parser of AMQP's URLs passes over.
fn literal_v6(url: &str) -> Option<String> {
    let authority = url.split_once("://")?.1.split('/').next()?;
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let literal = host.strip_prefix('[')?.split_once(']')?.0;
    Some(literal.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_is_shown_without_its_password() {
        let config = AmqpConfig::new("amqp://u:secret@h:1/v", "c");
        assert!(!format!("{config:?}").contains("secret"));
    }

    #[test]
    fn an_address_is_what_the_url_says() {
        let endpoint = |url: &str| Endpoint::new(&AmqpConfig::new(url, "c")).expect("it is one");
        assert_eq!(endpoint("amqp://[::1]:1234/%2f").uri.authority.host, "::1");
        assert_eq!(endpoint("amqp://u:p@127.0.0.1").address, "127.0.0.1:5672");
        assert_eq!(endpoint("amqps://h").address, "h:5671");
        assert_eq!(endpoint("amqp://h/").uri.vhost, "/");
        assert_eq!(endpoint("amqp://h/v%2fw").uri.vhost, "v/w");
    }

    #[test]
    fn a_bad_configuration_is_refused_without_telling_the_password() {
        let refused = |config: AmqpConfig| match Endpoint::new(&config) {
            Err(BrokerError::Refused(reason)) => reason,
            Err(other) => panic!("{other}"),
            Ok(_) => panic!("{config:?} is taken"),
        };
        for url in ["http://u:secret@h", "amqp://u:secret@h:99999", "h"] {
            let reason = refused(AmqpConfig::new(url, "c"));
            assert!(reason.contains("is no URL") && !reason.contains("secret"), "{reason}");
        }
        assert!(refused(AmqpConfig::new("amqp://h", "C")).contains("is no name of a cluster"));
        let ca_file = Some("no-such-file.pem".into());
        assert!(refused(AmqpConfig { ca_file, ..AmqpConfig::new("amqps://h", "c") }).contains("no-such-file.pem"));
    }
}
