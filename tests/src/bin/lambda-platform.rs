//! Runs a platform of functions on this machine, as AWS Lambda is one, to try Dayfly's function and its keeper with.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Parser;
use dayfly_tests::function::{bootstrap_file, tokio};
use dayfly_tests::node::BROKER_VARIABLE;
use dayfly_tests::platform::{Front, Platform, Settings};

/// Functions on this machine, as on AWS Lambda: Invoke API, function URL, frozen environments
///
/// Each execution environment is a process `bootstrap`, stopped (SIGSTOP) between its invocations. It needs the program
/// `bootstrap` beside this one, or in DAYFLY_BOOTSTRAP. Ctrl-C ends it.
#[derive(Debug, Parser)]
#[command(name = "lambda-platform", max_term_width = 100)]
struct Arguments {
    /// The RabbitMQ that replicas talk through
    #[arg(long, value_name = "URL", env = BROKER_VARIABLE)]
    broker: String,
    /// The cluster of the replicas
    #[arg(long, default_value = "local")]
    cluster: String,
    /// Where it serves the Invoke API, the function's URL (all other paths) and /platform (what was counted)
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:9000")]
    listen: SocketAddr,
    /// The function's name
    #[arg(long, value_name = "NAME", default_value = "dayfly")]
    function: String,
    /// Kill an environment at this age, as soon as it is frozen
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    reclaim_after: Option<u64>,
    /// How many invocations there may be at a time; further ones are throttled (429)
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=1_000))]
    concurrency: u16,
    /// The function's memory in MB: told to it, and counted; not a limit here
    #[arg(long, value_name = "MB", default_value_t = 256, value_parser = clap::value_parser!(u32).range(128..=10_240))]
    memory_mb: u32,
    /// A variable of the function, as in DAYFLY_LINGER=10
    #[arg(long = "env", value_name = "NAME=VALUE", value_parser = variable)]
    variables: Vec<(String, String)>,
}

fn variable(text: &str) -> Result<(String, String), String> {
    let pair = text.split_once('=').filter(|(name, _)| !name.is_empty());
    pair.map(|(name, value)| (name.to_owned(), value.to_owned())).ok_or_else(|| "expected NAME=VALUE".to_owned())
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    // SAFETY: there are no other threads yet.
    unsafe { std::env::set_var(BROKER_VARIABLE, &arguments.broker) };
    let bootstrap = bootstrap_file()?;
    let reclaim_after = arguments.reclaim_after.map(Duration::from_secs);
    let platform = Platform::start(Settings {
        function: arguments.function.clone(),
        cluster: arguments.cluster.clone(),
        variables: arguments.variables,
        memory_mib: arguments.memory_mb,
        concurrency: usize::from(arguments.concurrency),
        reclaim_after,
    });
    let front = Front::listen(&platform, arguments.listen)?;
    let url = front.url();
    println!(
        "The function {} of cluster {} is at {url}; its program: {}",
        arguments.function,
        arguments.cluster,
        bootstrap.display()
    );
    println!("  keep it:   dayfly keep lambda:{}@local=4 --endpoint-url {url}", arguments.function);
    println!("  use it:    dayfly update gcounter visits increment 1 --url {url}");
    println!("  counted:   curl {url}/platform");
    tokio().block_on(tokio::signal::ctrl_c()).context("Ctrl-C cannot be waited for")?;
    drop(front);
    let standing = platform.standing();
    let (bill, gb_s) = (standing.bill, standing.gb_s);
    println!(
        "{} requests, {} throttled, {} errors, {:.1} GB-s; {} environments started, {} reclaimed, {} ended by \
         themselves",
        bill.requests, bill.throttled, bill.errors, gb_s, bill.cold_starts, bill.reclaimed, bill.died
    );
    Ok(())
}
