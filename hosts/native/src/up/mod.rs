//! `dayfly up`: a cluster in one process, and the platform that it runs on.
//!
//! `plan` makes sense of the settings; `platform` has the replicas, and `dispatch` gives them requests; `keeper` sees
//! to it that there are enough; `estate` has what they leave behind; `house` shows them to the HTTP server; `report`
//! tells what happens. `waking` is what a keeper from outside asks for.

mod census;
mod dispatch;
mod estate;
mod house;
mod keeper;
mod plan;
mod platform;
mod report;
mod slot;
mod waking;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;
use dayfly_engine::{Runtime, SystemWorld, World};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tracing::level_filters::LevelFilter;

use crate::client::Failure;
use crate::component::COMPONENT;
use crate::serve::signals::Signals;
use crate::serve::{self, connection};
use crate::settings::table::{CLUSTER, CONNECTIONS, EPHEMERAL, LISTEN, REGIONS, REPLICAS_NUMBER, SEED};
use crate::settings::{Given, Up, Values};
use crate::{logging, replica};
use keeper::Keeper;
use plan::Plan;
use platform::Platform;
use report::Reporter;

/// What stands below the help of `dayfly up`.
const AFTER_HELP: &str = "\
Paths:
  /v1/…                  to a replica, chosen as by a serverless platform: each answers one request at a time; of the
                         idle ones the most recently used; else a frozen one is thawed; else another is started; else
                         the request waits, and gets 503 no_replica if it waits too long
  /replicas/NAME/v1/…    to the replica of this name (see `dayfly members`)
  POST /v1/wake          {\"seconds\":30} keeps one awake for so long: a frozen one, else another that no such wake
                         holds, else a new one; answered when it has the whole database (for `dayfly keep`)
  /healthz               200 while a replica lives
  /readyz                200 while one lives that is complete and linked to the broker, else 503 and the reason
  /metrics               for Prometheus

With --ephemeral the database outlives its replicas: it lives while one that is complete does, awake or frozen. All
others may be killed in the same moment. A request under way on a replica that is killed gets 503 no_replica, and
whether it was applied is not known; any other that gets 503 no_replica was not.

Examples:
  dayfly up                                             three replicas on 127.0.0.1:8080
  dayfly up --replicas 8 --regions eu,us --ephemeral    replicas that come and go
  dayfly up --ephemeral --mean-life 0 --idle 5          none killed at random, idle ones reclaimed soon
  dayfly up --data state                                what they hold is there again at the next start
  dayfly up --json --listen 127.0.0.1:0                 for programs: JSON lines, and any free port, which the first
                                                        line names";

/// Run a cluster in this process.
///
/// Its replicas are instances of one WebAssembly component, joined by an in-process message broker, or by RabbitMQ with
/// --broker. It is served over HTTP, and a line a second tells how it fares. Ctrl-C ends it in good order, a second one
/// at once. Every setting can be a flag, an environment variable, or a line of a file: see `dayfly config`.
#[derive(Clone, Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub struct UpArgs {
    /// Report as JSON lines
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    given: Given<Up>,
}

/// How long what still runs has to end with the process.
const SHUTDOWN_MAX: Duration = Duration::from_secs(1);

/// Runs a cluster until a signal ends it. An error means that it could not be set up.
pub fn run(args: UpArgs) -> Result<ExitCode> {
    let values = Values::of(&args.given)?;
    logging::start(&values, LevelFilter::WARN);
    let seed = values.number_given(&SEED).unwrap_or_else(|| SystemWorld.random_u64() >> 32);
    let plan = Plan::of(&values, seed)?;
    let runtime = Runtime::new(COMPONENT, plan.limits).context("the replica component cannot be run")?;
    // Sockets are served by threads of their own, so that no replica's long call keeps a connection waiting.
    let threads = |name| {
        tokio::runtime::Builder::new_multi_thread()
            .thread_name(name)
            .enable_all()
            .build()
            .context("no threads to be had")
    };
    let (replicas, front) = (threads("replica")?, threads("http")?);
    let ended = front.block_on(up(&values, args.json, plan, seed, runtime, replicas.handle().clone()));
    replicas.shutdown_timeout(SHUTDOWN_MAX);
    front.shutdown_timeout(SHUTDOWN_MAX);
    ended.map(|()| ExitCode::SUCCESS)
}

async fn up(
    values: &Values,
    json: bool,
    plan: Plan,
    seed: u64,
    runtime: Runtime,
    replicas: tokio::runtime::Handle,
) -> Result<()> {
    let mut end = Signals::new()?;
    let listen = values.address(&LISTEN);
    let listener = TcpListener::bind(listen)
        .await
        .with_context(|| format!("cannot listen on {listen} (another address: --listen)"))?;
    let url = format!("http://{}", listener.local_addr()?);
    let broker = plan.broker.connect().map_err(|error| Failure::of_broker(&error))?;
    let platform = Platform::new(runtime, broker, replicas.clone(), plan.settings);
    let reporter = Reporter::new(Arc::clone(&platform), json);

    tokio::select! {
        founded = platform.found() => founded.map_err(replica::start_failure)?,
        () = end.first() => return Ok(()),
    }
    let ephemeral = values.switch(&EPHEMERAL);
    let text = format!(
        "dayfly: cluster {} of {} replicas in {} at {url}{}; Ctrl-C ends it",
        values.text(&CLUSTER),
        values.number(&REPLICAS_NUMBER),
        values.list(&REGIONS).join(", "),
        if ephemeral { format!(", ephemeral with --seed {seed}") } else { String::new() },
    );
    let object = json!({
        "listening": url,
        "cluster": values.text(&CLUSTER),
        "replicas": values.number(&REPLICAS_NUMBER),
        "regions": values.list(&REGIONS),
        "ephemeral": ephemeral,
        "seed": ephemeral.then_some(seed),
    });
    reporter.say(&text, &object)?;

    let (tell_over, over) = watch::channel(false);
    let keeper = replicas.spawn(Keeper::new(Arc::clone(&platform), plan.policy).keep());
    let reaper = replicas.spawn({
        let platform = Arc::clone(&platform);
        async move { platform.reap().await }
    });
    let router = serve::router(house::Platforms(Arc::clone(&platform)));
    let connections = values.number(&CONNECTIONS) as usize;
    let serving = tokio::spawn(connection::serve(listener, router, connections, over));
    let reporting = tokio::spawn(reporter.report());
    end.first().await;

    // A second signal does not wait for the good order.
    let wind_down = async {
        keeper.abort();
        // The server closes its connections first: what is under way is answered by replicas that still live.
        tell_over.send_replace(true);
        let _ = serving.await;
        reaper.abort();
        platform.close().await;
        reporting.abort();
    };
    tokio::select! {
        () = wind_down => {}
        () = end.first() => std::process::exit(130),
    }
    let text = format!("dayfly: ended after {} operations", platform.traffic().operations());
    Reporter::new(Arc::clone(&platform), json)
        .say(&text, &json!({ "ended": true, "operations": platform.traffic().operations() }))?;
    Ok(())
}
