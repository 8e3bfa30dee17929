//! `dayfly up`: a cluster in one process, and the platform that it runs on.
//!
//! `plan` makes sense of the arguments; `platform` has the replicas, and `dispatch` gives them requests; `keeper` sees
//! to it that there are enough; `server` and `connection` speak HTTP; `report` tells what happens.

mod census;
mod connection;
mod dispatch;
mod keeper;
mod plan;
mod platform;
mod refusal;
mod report;
mod server;
mod slot;

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use dayfly_engine::{Bus, Confirm, Runtime, SystemWorld, World};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use keeper::Keeper;
use plan::Plan;
use platform::Platform;
use report::Reporter;

/// The replica component, as build.rs found it.
static COMPONENT: &[u8] = include_bytes!(env!("DAYFLY_COMPONENT_PATH"));

/// What stands below the help of `dayfly up`.
const AFTER_HELP: &str = "\
Paths:
  /v1/…                  to a replica, chosen as by a serverless platform: each answers one request at a time; of the
                         idle ones the most recently used; else a frozen one is thawed; else another is started; else
                         the request waits, and gets 503 no_replica if it waits too long
  /replicas/NAME/v1/…    to the replica of this name (see `dayfly members`)
  /healthz               200 while a replica lives

With --ephemeral the database outlives its replicas: it lives while one that is complete does, awake or frozen. All
others may be killed in the same moment. A request under way on a replica that is killed gets 503 no_replica, and
whether it was applied is not known; any other that gets 503 no_replica was not.

Examples:
  dayfly up                                             three replicas on 127.0.0.1:8080
  dayfly up --replicas 8 --regions eu,us --ephemeral    replicas that come and go
  dayfly up --ephemeral --mean-life 0 --idle 5          none killed at random, idle ones reclaimed soon
  dayfly up --json --listen 127.0.0.1:0                 for programs: JSON lines, and any free port, which the first
                                                        line names";

/// Run a cluster in this process.
///
/// Its replicas are instances of one WebAssembly component, joined by an in-process message broker. It is served over
/// HTTP, and a line a second tells how it fares. Ctrl-C ends it in good order, a second one at once.
#[derive(Clone, Debug, Args)]
#[command(after_help = AFTER_HELP)]
pub struct UpArgs {
    /// How many replicas there are to be, in all regions together: 1 to 10,000
    #[arg(long, short = 'n', value_name = "N", default_value_t = 3, value_parser = in_range(1, 10_000))]
    replicas: usize,

    /// Where to listen. Port 0 takes a free one. Whoever can connect can read and write everything, so the default is
    /// only for this machine
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8080")]
    listen: SocketAddr,

    /// The regions over which the replicas are spread
    #[arg(long, value_name = "NAME,…", value_delimiter = ',', default_value = "local")]
    regions: Vec<String>,

    /// The cluster's name
    #[arg(long, value_name = "NAME", default_value = "local")]
    cluster: String,

    /// When a write is answered: once the broker has confirmed it and it outlives its replica, or once it is applied
    #[arg(long, value_enum, default_value_t = ConfirmArg::Broker)]
    confirm: ConfirmArg,

    /// At which size of a replica's store writes are refused with 507, in MiB: 1 to 1,024
    #[arg(long, value_name = "MIB", default_value_t = 64, value_parser = clap::value_parser!(u64).range(1..=1_024))]
    store_mib: u64,

    /// How much a replica's inbox holds, in MiB: 1 to 1,024. At it the oldest messages are dropped, and repair heals
    /// that
    #[arg(long, value_name = "MIB", default_value_t = 16, value_parser = in_range(1, 1_024))]
    inbox_mib: usize,

    /// How long a replica that is not awake is remembered and its inbox kept, in seconds: 1 to 604,800. One that is
    /// frozen for longer starts anew [default: 7200, with --ephemeral 60]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=604_800))]
    retention: Option<u64>,

    /// How many connections may be open: 1 to 65,536. More wait until one closes
    #[arg(long, value_name = "N", default_value_t = 1_024, value_parser = in_range(1, 65_536))]
    connections: usize,

    /// How many requests may wait for a replica: 0 to 65,536. More get 503 no_replica at once
    #[arg(long, value_name = "N", default_value_t = 1_024, value_parser = in_range(0, 65_536))]
    queue: usize,

    /// Report as JSON lines
    #[arg(long)]
    json: bool,

    /// Play the serverless platform: replicas are frozen between requests, reclaimed when idle, killed at random; a
    /// keeper starts their successors and wakes the frozen, so that each region keeps its number
    #[arg(long, help_heading = "Ephemeral replicas")]
    ephemeral: bool,

    /// For how many seconds a replica is awake after a request, at most; it is frozen earlier when it has nothing left
    /// to do
    #[arg(long, value_name = "SECONDS", default_value_t = 3.0, value_parser = seconds(0.1, 3_600.0),
        requires = "ephemeral", help_heading = "Ephemeral replicas")]
    awake: f64,

    /// After how many seconds without being woken a replica is reclaimed
    #[arg(long, value_name = "SECONDS", default_value_t = 8.0, value_parser = seconds(0.1, 86_400.0),
        requires = "ephemeral", help_heading = "Ephemeral replicas")]
    idle: f64,

    /// After how many seconds on average a replica is killed, wherever it is; three times that at most. 0: none is
    #[arg(long, value_name = "SECONDS", default_value_t = 20.0, value_parser = seconds(0.0, 86_400.0),
        requires = "ephemeral", help_heading = "Ephemeral replicas")]
    mean_life: f64,

    /// From which age in seconds on the keeper no longer wakes a replica, so that it is reclaimed once nobody else does
    #[arg(long, value_name = "SECONDS", default_value_t = 15.0, value_parser = seconds(1.0, 86_400.0),
        requires = "ephemeral", help_heading = "Ephemeral replicas")]
    renew: f64,

    /// In about how many seconds the keeper wakes each frozen replica again [default: half of --idle]
    #[arg(long, value_name = "SECONDS", value_parser = seconds(0.1, 86_400.0),
        requires = "ephemeral", help_heading = "Ephemeral replicas")]
    wake_within: Option<f64>,

    /// How many replicas there may be while all are busy [default: twice --replicas]
    #[arg(long, value_name = "N", value_parser = in_range(1, 20_000),
        requires = "ephemeral", help_heading = "Ephemeral replicas")]
    max_replicas: Option<usize>,

    /// From which seed the moments of random deaths are drawn [default: a new one, which is shown]
    #[arg(long, value_name = "NUMBER", requires = "ephemeral", help_heading = "Ephemeral replicas")]
    seed: Option<u64>,
}

/// When a write is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum ConfirmArg {
    /// Once the broker has taken responsibility for it
    Broker,
    /// Once the replica has applied it
    Local,
}

impl From<ConfirmArg> for Confirm {
    fn from(arg: ConfirmArg) -> Self {
        match arg {
            ConfirmArg::Broker => Self::Broker,
            ConfirmArg::Local => Self::Local,
        }
    }
}

/// A number from a range, both ends included.
fn in_range(min: usize, max: usize) -> impl Fn(&str) -> Result<usize, String> + Clone + Send + Sync + 'static {
    move |text| match text.parse() {
        Ok(number) if (min..=max).contains(&number) => Ok(number),
        _ => Err(format!("it must be a number from {min} to {max}")),
    }
}

/// A number of seconds from a range, fractions allowed.
fn seconds(min: f64, max: f64) -> impl Fn(&str) -> Result<f64, String> + Clone + Send + Sync + 'static {
    move |text| match text.parse() {
        Ok(number) if (min..=max).contains(&number) => Ok(number),
        _ => Err(format!("it must be a number of seconds from {min} to {max}")),
    }
}

/// How long what still runs has to end with the process.
const SHUTDOWN_MAX: Duration = Duration::from_secs(1);

/// Runs a cluster until a signal ends it. An error means that it could not be set up.
pub fn run(args: UpArgs) -> Result<ExitCode> {
    let seed = args.seed.unwrap_or_else(|| SystemWorld.random_u64() >> 32);
    let plan = Plan::of(&args, seed)?;
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
    let ended = front.block_on(up(&args, plan, seed, runtime, replicas.handle().clone()));
    replicas.shutdown_timeout(SHUTDOWN_MAX);
    front.shutdown_timeout(SHUTDOWN_MAX);
    ended.map(|()| ExitCode::SUCCESS)
}

async fn up(args: &UpArgs, plan: Plan, seed: u64, runtime: Runtime, replicas: tokio::runtime::Handle) -> Result<()> {
    let mut end = Signals::new()?;
    let listener = TcpListener::bind(args.listen)
        .await
        .with_context(|| format!("cannot listen on {} (another address: --listen)", args.listen))?;
    let url = format!("http://{}", listener.local_addr()?);
    let bus = Arc::new(Bus::new(plan.bus));
    let platform = Platform::new(runtime, bus, replicas.clone(), plan.settings);
    let reporter = Reporter::new(Arc::clone(&platform), args.json);

    tokio::select! {
        founded = platform.found() => founded.context("the cluster could not be started")?,
        () = end.first() => return Ok(()),
    }
    let text = format!(
        "dayfly: cluster {} of {} replicas in {} at {url}{}; Ctrl-C ends it",
        args.cluster,
        args.replicas,
        args.regions.join(", "),
        if args.ephemeral { format!(", ephemeral with --seed {seed}") } else { String::new() },
    );
    let object = json!({
        "listening": url,
        "cluster": args.cluster,
        "replicas": args.replicas,
        "regions": args.regions,
        "ephemeral": args.ephemeral,
        "seed": args.ephemeral.then_some(seed),
    });
    reporter.say(&text, &object)?;

    let (tell_over, over) = watch::channel(false);
    let keeper = replicas.spawn(Keeper::new(Arc::clone(&platform), plan.policy).keep());
    let reaper = replicas.spawn({
        let platform = Arc::clone(&platform);
        async move { platform.reap().await }
    });
    let serving =
        tokio::spawn(connection::serve(listener, server::router(Arc::clone(&platform)), args.connections, over));
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
    Reporter::new(Arc::clone(&platform), args.json)
        .say(&text, &json!({ "ended": true, "operations": platform.traffic().operations() }))?;
    Ok(())
}

/// Ctrl-C, and what a service manager sends.
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

impl Signals {
    fn new() -> Result<Self> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    /// Waits for the next of them.
    async fn first(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
