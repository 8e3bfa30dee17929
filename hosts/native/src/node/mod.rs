//! `dayfly node`: one replica as a process, which shares nothing with the others but the broker.

mod house;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use clap::Args;
use dayfly_engine::{BrokerError, DirectoryVault, Ended, Lease, Replica, ReplicaOptions, Runtime, SystemWorld, Vault};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::timeout;
use tracing::info;
use tracing::level_filters::LevelFilter;

use crate::client::Failure;
use crate::component::COMPONENT;
use crate::serve::signals::Signals;
use crate::serve::{self, connection};
use crate::settings::table::{CLUSTER, CONNECTIONS, DATA, KEEP, LISTEN, NAME, QUEUE, REGION, SAVE_SECONDS, ZONE};
use crate::settings::{Given, Node, Values};
use crate::{life, logging, replica};
use house::NodeHouse;

const AFTER_HELP: &str = "\
When it is ready it prints a line with its name and URL, or with --json an object; everything else goes to the log, on
stderr. Ready means that it serves: whether it holds the whole database already, /readyz tells.

Paths:
  /v1/…                  to the replica
  /replicas/NAME/v1/…    the same, if that is its name
  POST /v1/wake          {\"seconds\":30} is answered when it has the whole database; it is awake anyway
  /healthz               200 while the replica lives
  /readyz                200 while it is complete and linked to the broker, else 503 and the reason
  /metrics               for Prometheus

Ctrl-C or SIGTERM ends it in good order: requests under way are answered, what was written is confirmed, and the replica
says farewell, or with --keep freezes, so that it can come back under its name. That takes some seconds at most; a
second signal does not wait for it.

Examples:
  dayfly node --broker amqp://me:secret@broker.example/ --region eu
  DAYFLY_BROKER=amqp://… dayfly node --name eu-1 --data state --keep --listen 127.0.0.1:8081
  dayfly node --config eu.toml --log-format json --json

Exit codes:
  0    ended by a signal, in good order
  1    refused by the broker, or the replica was lost
  2    wrong usage
  3    the broker cannot be reached
  6    another replica of the same name took the inbox
  130  ended by a second signal";

/// Run one replica as a process, over RabbitMQ.
///
/// It is always awake and serves HTTP. Any number of them make a cluster: those that have one broker and one cluster's
/// name, wherever they run. Every setting can be a flag, an environment variable, or a line of a file: see `dayfly
/// config`.
#[derive(Clone, Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub struct NodeArgs {
    /// Print what is told when it is ready as JSON
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    given: Given<Node>,
}

/// How long the replica has to freeze or to say farewell.
const FAREWELL_MAX: Duration = Duration::from_secs(8);
/// How long what still runs has to end with the process.
const SHUTDOWN_MAX: Duration = Duration::from_secs(1);
/// A replica that has ended and one that follows: there is never more than one.
const INSTANCES: u32 = 2;

/// `dayfly node`.
pub fn run(args: &NodeArgs) -> Result<ExitCode> {
    let values = Values::of(&args.given)?;
    replica::amqp_needed(&values)?;
    let config = replica::config(&values)?;
    let lease = replica::lease(&values)?;
    logging::start(&values, LevelFilter::INFO);
    let runtime =
        Runtime::new(COMPONENT, replica::limits(&config, INSTANCES)).context("the replica component cannot be run")?;
    let mut options = replica::options(&values, config);
    options.config.name = values.text_given(&NAME).map(str::to_owned);
    options.config.region = values.text(&REGION).to_owned();
    options.config.zone = values.text(&ZONE).to_owned();
    if let Some(lease) = lease {
        options.lease = Lease::Standing { lease_ms: lease.as_millis() as u64 };
    }
    options.save_every_ms = (values.seconds(&SAVE_SECONDS) * 1_000.0) as u64;
    if let Some(folder) = values.text_given(&DATA) {
        options.vault = Some(Arc::new(DirectoryVault::open(folder)?) as Arc<dyn Vault>);
    }
    // Sockets are served by threads of their own, so that no long call of the replica keeps a connection waiting.
    let threads = |name, number| {
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(number)
            .thread_name(name)
            .enable_all()
            .build()
            .context("no threads to be had")
    };
    let (behind, front) = (threads("replica", 2)?, threads("http", 2)?);
    let ended = front.block_on(node(&values, args.json, runtime, options, behind.handle().clone()));
    behind.shutdown_timeout(SHUTDOWN_MAX);
    front.shutdown_timeout(SHUTDOWN_MAX);
    ended.map(|()| ExitCode::SUCCESS)
}

async fn node(
    values: &Values,
    json: bool,
    runtime: Runtime,
    options: ReplicaOptions,
    behind: tokio::runtime::Handle,
) -> Result<()> {
    let mut end = Signals::new()?;
    let listen = values.address(&LISTEN);
    let listener = TcpListener::bind(listen)
        .await
        .with_context(|| format!("cannot listen on {listen} (another address: --listen)"))?;
    let url = format!("http://{}", listener.local_addr()?);
    let broker = replica::Brokerage::of(values).connect().map_err(|error| Failure::of_broker(&error))?;
    let starting = behind.spawn(async move { Replica::start(&runtime, broker, SystemWorld, options).await });
    let replica = tokio::select! {
        // It is cancelled only with its runtime, and does not panic.
        started = starting => started.context("the replica could not be started")?.map_err(replica::start_failure)?,
        () = end.first() => return Ok(()),
    };
    behind.spawn(life::follow(replica.clone(), |_| {}));
    let cluster = values.text(&CLUSTER);
    let name = replica.name();
    if json {
        println!("{}", json!({ "name": name, "cluster": cluster, "listening": url, "pid": std::process::id() }));
    } else {
        println!("dayfly: replica {name} of cluster {cluster} at {url}; Ctrl-C ends it");
    }

    let (tell_over, over) = watch::channel(false);
    let house = NodeHouse::new(replica.clone(), values.number(&QUEUE) as usize);
    let connections = values.number(&CONNECTIONS) as usize;
    let serving = tokio::spawn(connection::serve(listener, serve::router(house), connections, over));
    tokio::select! {
        () = end.first() => {}
        ended = replica.ended() => return Err(end_failure(name, ended)),
    }

    let keep = values.switch(&KEEP);
    info!(replica = name, "ending: {}", if keep { "it freezes" } else { "it leaves" });
    let wind_down = async {
        // The server closes its connections first: what is under way is answered.
        tell_over.send_replace(true);
        let _ = serving.await;
        let farewell = async { if keep { replica.suspend().await } else { replica.leave().await } };
        timeout(FAREWELL_MAX, farewell).await.is_ok()
    };
    let in_time = tokio::select! {
        in_time = wind_down => in_time,
        () = end.first() => std::process::exit(130),
    };
    if !in_time {
        return Err(anyhow!("{name} did not manage to end in good order within {} s", FAREWELL_MAX.as_secs()));
    }
    info!(replica = name, "{}", if keep { "frozen" } else { "left" });
    Ok(())
}

/// Of a replica that ended by itself.
fn end_failure(name: &str, ended: Ended) -> anyhow::Error {
    match ended {
        Ended::Refused(BrokerError::TakenOver) => Failure::TakenOver(format!(
            "another replica of the name {name} took the inbox, so this one has ended; give each a name of its own \
             (--name)"
        ))
        .into(),
        Ended::Refused(error) => Failure::of_broker(&error).into(),
        Ended::Killed | Ended::Left | Ended::Lost(_) => anyhow!("the replica {name} has ended: {ended}"),
    }
}
