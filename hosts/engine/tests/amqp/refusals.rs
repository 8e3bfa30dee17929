//! What goes wrong, each told apart, with what to do; never with the password.

use std::time::Duration;

use dayfly_engine::amqp::{self, AmqpConfig};
use dayfly_engine::contract::{Route, Verdict};
use dayfly_engine::{AmqpBroker, Attachment, Broker, BrokerError};
use tokio::net::TcpListener;

use crate::rig::{BROKER, Cluster, RETENTION_MS, cluster_name, control, told, url};

/// Looks at the error of an attempt to attach, and at that of the doctor.
async fn refused(config: AmqpConfig, look: impl Fn(BrokerError)) {
    let _calm = BROKER.read().await;
    let broker = AmqpBroker::new(config.clone()).expect("the configuration holds");
    let attachment = Attachment { name: "a".to_owned(), retention_ms: RETENTION_MS };
    let error = broker.attach(attachment).await.err().expect("it cannot attach");
    assert!(!error.to_string().contains("s3cret"), "{error}");
    look(error);
    let error = amqp::inspect(&config).await.expect_err("there is no connection");
    assert!(!error.to_string().contains("s3cret"), "{error}");
    look(error);
}

fn at(url: String) -> AmqpConfig {
    AmqpConfig { connect_ms: 5_000, ..AmqpConfig::new(url, cluster_name("refused")) }
}

fn port(url: &str) -> &str {
    url.trim_end_matches('/').rsplit_once(':').expect("it has a port").1
}

#[tokio::test(flavor = "multi_thread")]
async fn no_broker() {
    let free = TcpListener::bind("127.0.0.1:0").await.expect("a port is free").local_addr().expect("it has one");
    refused(at(format!("amqp://u:s3cret@{free}/")), |error| {
        let BrokerError::Unreachable(reason) = error else { panic!("{error}") };
        assert!(reason.contains(&format!("nothing listens at {free}")), "{reason}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password() {
    refused(at(format!("amqp://guest:s3cret@127.0.0.1:{}/", port(&url()))), |error| {
        let BrokerError::Refused(reason) = error else { panic!("{error}") };
        assert!(reason.contains("password") && reason.contains("user guest"), "{reason}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_vhost() {
    refused(at(format!("{}no-such-vhost", url())), |error| {
        let BrokerError::Refused(reason) = error else { panic!("{error}") };
        assert!(reason.contains("vhost no-such-vhost"), "{reason}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_where_there_is_none() {
    refused(at(format!("amqps://guest:s3cret@localhost:{}/", port(&url()))), |error| {
        let BrokerError::Refused(reason) = error else { panic!("{error}") };
        assert!(reason.contains("no TLS") && reason.contains("amqp://"), "{reason}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn none_where_there_is_tls() {
    let port = port(&told("DAYFLY_TEST_BROKER_TLS")).to_owned();
    // Whether its alert is read before its end is a matter of luck, and both are told alike.
    refused(at(format!("amqp://guest:s3cret@localhost:{port}/")), |error| {
        assert!(error.to_string().contains("amqps://"), "{error}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_of_an_unknown_authority_and_of_a_known_one() {
    let url = told("DAYFLY_TEST_BROKER_TLS");
    refused(at(url.clone()), |error| {
        let BrokerError::Refused(reason) = error else { panic!("{error}") };
        assert!(reason.contains("authority") && reason.contains("CA file"), "{reason}");
    })
    .await;

    let change = |config: &mut AmqpConfig| {
        config.url = url;
        config.ca_file = Some(told("DAYFLY_TEST_BROKER_CA").into());
    };
    let cluster = Cluster::with("tls", change).await;
    let mut a = cluster.attach("a").await;
    assert_eq!(a.publish(Route::Everyone, b"in private").await, Verdict::Confirmed);
    assert_eq!(a.bodies(1).await, [b"in private"]);
    cluster.purge(&["a"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn something_else_that_listens() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let address = listener.local_addr().expect("it has one");
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            stream.writable().await.expect("it is open");
            let _ = stream.try_write(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n");
            // Long enough that it is read before the end.
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    });
    refused(at(format!("amqp://u:s3cret@{address}/")), |error| {
        assert!(error.to_string().contains("does not speak AMQP"), "{error}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn something_that_says_nothing() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let address = listener.local_addr().expect("it has one");
    refused(AmqpConfig { connect_ms: 300, ..at(format!("amqp://u:s3cret@{address}/")) }, |error| {
        let BrokerError::Unreachable(reason) = error else { panic!("{error}") };
        assert!(reason.contains("300 ms"), "{reason}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn queues_that_exist_with_other_settings() {
    let cluster = Cluster::new("settings").await;
    let a = cluster.attach("a").await;
    a.link.detach().await;
    let error = cluster.try_attach("a", RETENTION_MS / 2).await.err().expect("its inbox has another retention");
    let BrokerError::Refused(reason) = error else { panic!("{error}") };
    let queue = format!("dayfly.{}.node.a", cluster.config.cluster);
    assert!(reason.contains(&queue) && reason.contains("x-expires") && reason.contains("dayfly purge"), "{reason}");

    let config = AmqpConfig { combiner_bytes: 5_000, ..cluster.config.clone() };
    let other = AmqpBroker::new(config).expect("the configuration holds");
    let attachment = Attachment { name: "b".to_owned(), retention_ms: RETENTION_MS };
    let error = other.attach(attachment.clone()).await.err().expect("the combiner has another bound");
    let BrokerError::Refused(reason) = error else { panic!("{error}") };
    assert!(reason.contains(".combiner") && reason.contains("x-max-length-bytes"), "{reason}");

    let purged = amqp::purge(&cluster.config, &["a".to_owned(), "never-was".to_owned()]).await.expect("it works");
    assert_eq!(purged.removed.len(), 4, "{purged:?}");
    assert!(amqp::purge(&cluster.config, &["a".to_owned()]).await.expect("it works").removed.is_empty());
    let mut b = crate::rig::Peer::new(other.attach(attachment).await.expect("nothing is in the way"));
    assert_eq!(b.publish(Route::Combiner, b"1").await, Verdict::Confirmed);
    amqp::purge(&other_config(&cluster), &["b".to_owned()]).await.expect("it works");
}

fn other_config(cluster: &Cluster) -> AmqpConfig {
    AmqpConfig { combiner_bytes: 5_000, ..cluster.config.clone() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purge_under_running_replicas_is_healed() {
    let cluster = Cluster::new("purged").await;
    let mut a = cluster.attach("a").await;
    amqp::purge(&cluster.config, &["a".to_owned()]).await.expect("it works");
    let error = a.broken().await;
    assert!(matches!(error, BrokerError::Unreachable(_)), "{error}");
    let mut a = cluster.attach("a").await;
    assert_eq!(a.publish(Route::Everyone, b"again").await, Verdict::Confirmed);
    assert_eq!(a.bodies(1).await, [b"again"]);
    cluster.purge(&["a"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_doctor_sees_what_is_there_and_what_is_permitted() {
    let cluster = Cluster::with("doctor", |config| config.log_bytes = 32 << 20).await;
    let seen = amqp::inspect(&cluster.config).await.expect("it looks");
    assert_eq!(seen.product, "RabbitMQ");
    assert!(seen.version.starts_with(|c: char| c.is_ascii_digit()), "{}", seen.version);
    assert!(seen.frame_max >= 4_096 && seen.channel_max > 100 && seen.heartbeat_s == 20, "{seen:?}");
    assert!(seen.found.iter().all(|found| !found.exists), "{seen:?}");
    assert!(seen.permissions.iter().all(|permission| permission.refused.is_none()), "{seen:?}");

    let mut a = cluster.attach("a").await;
    assert_eq!(a.publish(Route::Anyone, b"waits").await, Verdict::Confirmed);
    let seen = amqp::inspect(&cluster.config).await.expect("it looks");
    assert!(seen.found.len() == 4 && seen.found.iter().all(|found| found.exists), "{seen:?}");
    assert_eq!(seen.found[1].messages, Some(1));
    assert_eq!(seen.found[2].consumers, Some(1));

    // A user who may only read.
    control(&["add_user", "reader", "s3cret"]).await;
    control(&["set_permissions", "reader", "", "", ".*"]).await;
    let url = format!("amqp://reader:s3cret@127.0.0.1:{}/", port(&url()));
    let config = AmqpConfig { url, ..cluster.config.clone() };
    let seen = amqp::inspect(&config).await.expect("it looks");
    let declare = &seen.permissions[0];
    assert!(declare.refused.as_ref().is_some_and(|reason| reason.contains("permissions")), "{seen:?}");
    let limited = AmqpBroker::new(config).expect("the configuration holds");
    let attachment = Attachment { name: "b".to_owned(), retention_ms: RETENTION_MS };
    let error = limited.attach(attachment).await.err().expect("it may not");
    assert!(matches!(&error, BrokerError::Refused(reason) if reason.contains("permissions")), "{error}");
    control(&["delete_user", "reader"]).await;
    cluster.purge(&["a"]).await;
}
