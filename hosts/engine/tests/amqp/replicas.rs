//! Real replicas over RabbitMQ.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use dayfly_engine::amqp::{self, AmqpConfig};
use dayfly_engine::contract::{Config, Request, Response};
use dayfly_engine::{AmqpBroker, Broker, Limits, Replica, ReplicaOptions, Runtime, SystemWorld};

use crate::guest;
use crate::rig::{BROKER, PATIENCE, cluster_name, control, url};

const VISITS: &str = "/v1/data/pncounter/visits";

fn runtime() -> Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    let limits = Limits { instances: 20, ..Limits::default() };
    RUNTIME.get_or_init(|| Runtime::new(&guest::replica_component(), limits).expect("it compiles")).clone()
}

/// A replica with a broker of its own, as if in a process of its own.
async fn start(config: &AmqpConfig, name: &str) -> Replica {
    let broker: Arc<dyn Broker> = Arc::new(AmqpBroker::new(config.clone()).expect("the configuration holds"));
    // The first is the founder.
    let bootstrap_ms = if name == "a" { 0 } else { 1_000 };
    let config = Config { bootstrap_ms, ..guest::config(&config.cluster, name) };
    Replica::start(&runtime(), broker, SystemWorld, ReplicaOptions::standing(config)).await.expect("it starts")
}

async fn call(replica: &Replica, method: &str, path: &str, body: &str) -> Response {
    let request = Request {
        method: method.to_owned(),
        path: path.to_owned(),
        query: String::new(),
        headers: Vec::new(),
        body: body.as_bytes().to_vec(),
    };
    replica.invoke(request).await.expect("it answers")
}

async fn increment(replica: &Replica) -> Response {
    call(replica, "POST", VISITS, r#"{"increment":1}"#).await
}

fn text(response: &Response) -> String {
    String::from_utf8_lossy(&response.body).into_owned()
}

async fn shows(replica: &Replica, path: &str, wanted: &str) {
    let began = Instant::now();
    loop {
        let response = call(replica, "GET", path, "").await;
        if text(&response).contains(wanted) {
            return;
        }
        let name = replica.name();
        assert!(began.elapsed() < 2 * PATIENCE, "{name}: {path} has no {wanted}: {}", text(&response));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_share_their_writes_and_survive_a_restart_of_the_broker() {
    let _alone = BROKER.write().await;
    let config = AmqpConfig::new(url(), cluster_name("replicas"));
    let (a, b) = (start(&config, "a").await, start(&config, "b").await);
    shows(&b, "/v1/status", r#""complete":true"#).await;
    let response = increment(&a).await;
    assert_eq!(response.status, 200, "{}", text(&response));
    shows(&b, VISITS, r#""value":1"#).await;
    assert_eq!(increment(&b).await.status, 200);
    shows(&a, VISITS, r#""value":2"#).await;

    // Both write on while the broker goes and comes.
    let writes = |replica: Replica| {
        tokio::spawn(async move {
            let mut confirmed = 0;
            let began = Instant::now();
            while began.elapsed() < Duration::from_secs(12) {
                let response = increment(&replica).await;
                confirmed += u32::from(response.status == 200);
                assert!(response.status == 200 || text(&response).contains("unconfirmed"), "{}", text(&response));
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            confirmed
        })
    };
    let writers = [writes(a.clone()), writes(b.clone())];
    tokio::time::sleep(Duration::from_secs(1)).await;
    control(&["stop_app"]).await;
    control(&["start_app"]).await;
    let mut confirmed = 0;
    for writer in writers {
        confirmed += writer.await.expect("it ends well");
    }
    assert!(confirmed > 100, "{confirmed} writes were confirmed");
    // Each was applied once where it was made, confirmed or not; so both have the same sum, and none is lost.
    assert_eq!(increment(&a).await.status, 200);
    assert!(a.quiet(PATIENCE).await && b.quiet(PATIENCE).await);
    let value = |response: Response| {
        let body = text(&response);
        let digits = body.rsplit_once(r#""value":"#).expect("it has a value").1.trim_end_matches('}').to_owned();
        digits.parse::<u32>().expect("it is a number")
    };
    let sum = value(call(&a, "GET", VISITS, "").await);
    assert!(sum >= confirmed + 3, "{sum} of {confirmed}");
    shows(&b, VISITS, &format!(r#""value":{sum}"#)).await;
    for replica in [&a, &b] {
        assert!(replica.leave().await);
    }
    let purged = amqp::purge(&config, &["a".to_owned(), "b".to_owned()]).await.expect("it works");
    assert!(purged.removed.iter().all(|found| !found.name.contains(".node.")), "they took their inboxes: {purged:?}");
}
