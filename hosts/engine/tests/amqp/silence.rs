//! Connections that die without a word, as they do while a process is frozen.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use dayfly_engine::BrokerError;
use dayfly_engine::contract::{Route, Verdict};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};

use crate::rig::{Cluster, one, url};

/// Stands between replicas and broker. The connections made through it can be silenced: nothing comes or goes, and
/// neither side is told.
struct Proxy {
    address: SocketAddr,
    silence: Arc<std::sync::Mutex<Arc<AtomicBool>>>,
}

impl Proxy {
    async fn start() -> Self {
        let url = url();
        let broker = url.trim_end_matches('/').rsplit_once('@').expect("it has a user").1.to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let address = listener.local_addr().expect("it has one");
        let silence = Arc::new(std::sync::Mutex::new(Arc::new(AtomicBool::new(false))));
        let current = Arc::clone(&silence);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let broker = TcpStream::connect(&broker).await.expect("the broker is there");
                let silenced = Arc::clone(&current.lock().expect("nobody panics with it"));
                let ((from_client, to_client), (from_broker, to_broker)) = (client.into_split(), broker.into_split());
                tokio::spawn(pass(from_client, to_broker, Arc::clone(&silenced)));
                tokio::spawn(pass(from_broker, to_client, silenced));
            }
        });
        Self { address, silence }
    }

    /// Silences the connections that there are. New ones are not.
    fn silence(&self) {
        let mut current = self.silence.lock().expect("nobody panics with it");
        std::mem::replace(&mut *current, Arc::new(AtomicBool::new(false))).store(true, Ordering::SeqCst);
    }

    fn url(&self) -> String {
        format!("amqp://guest:guest@{}/", self.address)
    }
}

// By hand, since another feature of tokio would have wasmtime built once more.

async fn read(from: &mut OwnedReadHalf, piece: &mut [u8]) -> io::Result<usize> {
    loop {
        from.readable().await?;
        match from.try_read(piece) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            outcome => return outcome,
        }
    }
}

async fn write_all(to: &mut OwnedWriteHalf, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        to.writable().await?;
        match to.try_write(bytes) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
            Ok(length) => bytes = &bytes[length..],
        }
    }
    Ok(())
}

async fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, silenced: Arc<AtomicBool>) {
    let mut piece = vec![0; 64 << 10];
    while let Ok(length) = read(&mut from, &mut piece).await {
        if silenced.load(Ordering::SeqCst) {
            // Keeps both ends open.
            std::future::pending::<()>().await;
        }
        if length == 0 || write_all(&mut to, &piece[..length]).await.is_err() {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_probe_finds_out_that_a_connection_is_dead() {
    let proxy = Proxy::start().await;
    let direct = Cluster::new("probe").await;
    let through = Cluster::amid_storms("unused", |config| {
        config.url = proxy.url();
        config.cluster = direct.config.cluster.clone();
    });
    let (mut a, mut b) = (direct.attach("a").await, through.attach("b").await);
    b.link.probe().await;
    assert_eq!(a.publish(one("b"), b"1").await, Verdict::Confirmed);
    assert_eq!(b.bodies(1).await, [b"1"]);

    proxy.silence();
    // For now it looks as if nothing had happened.
    assert!(b.rest().await.is_empty());
    b.link.probe().await;
    let error = b.broken().await;
    assert!(matches!(&error, BrokerError::Unreachable(reason) if reason.contains("no sign of life")), "{error}");
    // A second one changes nothing, and is not waited for.
    b.link.probe().await;
    assert_eq!(a.publish(one("b"), b"2").await, Verdict::Confirmed);

    // Over a new connection, though the dead one still consumes the inbox as far as the broker knows. What that one was
    // sent comes when the broker gives it up; what comes from now on, at once.
    let mut b = through.attach("b").await;
    assert_eq!(a.publish(one("b"), b"3").await, Verdict::Confirmed);
    assert!(b.bodies(1).await == [b"3"]);
    direct.purge(&["a", "b"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn attaching_does_not_trust_an_old_connection() {
    let proxy = Proxy::start().await;
    let cluster = Cluster::with("stale", |config| config.url = proxy.url()).await;
    let a = cluster.attach("a").await;
    a.link.detach().await;
    proxy.silence();
    let mut a = cluster.attach("a").await;
    assert_eq!(a.publish(Route::Everyone, b"alive").await, Verdict::Confirmed);
    cluster.purge(&["a"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_connection_is_given_up_and_its_mail_comes_again() {
    let proxy = Proxy::start().await;
    let direct = Cluster::new("heartbeat").await;
    let through = Cluster::amid_storms("unused", |config| {
        config.url = proxy.url();
        config.cluster = direct.config.cluster.clone();
        config.heartbeat_s = 1;
    });
    let (mut a, mut b) = (direct.attach("a").await, through.attach("b").await);
    proxy.silence();
    assert_eq!(a.publish(one("b"), b"held by the dead").await, Verdict::Confirmed);
    // Without a probe, too.
    let error = b.broken().await;
    assert!(matches!(error, BrokerError::Unreachable(_)), "{error}");
    tokio::time::sleep(Duration::from_secs(4)).await;
    let mut b = through.attach("b").await;
    assert_eq!(b.bodies(1).await, [b"held by the dead"]);
    direct.purge(&["a", "b"]).await;
}
