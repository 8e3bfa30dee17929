//! Runs a Spin application of one component, as `spin up` does, to try Dayfly's with.

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Parser;
use dayfly_spin_platform::{Keeping, Settings, start};
use serde_json::json;

/// A Spin application on this machine, as by `spin up`: instances come with requests and go when they are idle
///
/// The first line that it prints is JSON: `listening`, where the application is, and `control`, where to ask what was
/// counted (GET /stats) and to drop all instances (POST /evict). What the component writes is on stderr.
/// Ctrl-C ends it.
#[derive(Debug, Parser)]
#[command(name = "spin-platform", max_term_width = 100)]
struct Arguments {
    /// The folder with the application's spin.toml
    #[arg(long, value_name = "FOLDER")]
    from: PathBuf,
    /// Where the application is served; port 0 is a free one
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// A variable of the application
    #[arg(long = "variable", value_name = "NAME=VALUE", value_parser = variable)]
    variables: Vec<(String, String)>,
    /// Where the key-value store is kept; without it, in memory
    #[arg(long, value_name = "FOLDER")]
    state_dir: Option<PathBuf>,
    /// Where the compiled application is kept, for a faster start the next time
    #[arg(long, value_name = "FOLDER")]
    compiled: Option<PathBuf>,
    /// After how many milliseconds without a request an instance is dropped
    #[arg(long, value_name = "N", default_value_t = 1_000)]
    idle_ms: u64,
    /// How many requests one instance answers
    #[arg(long, value_name = "N", default_value_t = 128, value_parser = clap::value_parser!(u32).range(1..))]
    max_requests: u32,
    /// How many of them at a time
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..))]
    max_concurrent: u32,
    /// Drop an idle instance even though it works in the background, as Spin 4.0 does
    #[arg(long)]
    drop_idle: bool,
}

fn variable(text: &str) -> Result<(String, String), String> {
    let pair = text.split_once('=').filter(|(name, _)| !name.is_empty());
    pair.map(|(name, value)| (name.to_owned(), value.to_owned())).ok_or_else(|| "expected NAME=VALUE".to_owned())
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let settings = Settings {
        folder: arguments.from,
        listen: arguments.listen,
        variables: arguments.variables.into_iter().collect(),
        state: arguments.state_dir,
        compiled: arguments.compiled,
        keeping: Keeping {
            idle: Duration::from_millis(arguments.idle_ms),
            max_requests: arguments.max_requests as usize,
            max_concurrent: arguments.max_concurrent as usize,
            drop_idle: arguments.drop_idle,
        },
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let at = start(&settings).await?;
        let told = json!({"listening": at.listening.to_string(), "control": at.control.to_string()});
        let mut stdout = std::io::stdout();
        writeln!(stdout, "{told}").and_then(|()| stdout.flush()).context("stdout")?;
        tokio::signal::ctrl_c().await.context("Ctrl-C cannot be waited for")
    })
}
