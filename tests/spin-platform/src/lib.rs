//! A platform that does with an application of one component what `spin up` of Spin 4.1 does: it reads `spin.toml`,
//! composes the component with its dependencies, gives it WASI 0.2 and 0.3 and Spin's key-value store and variables,
//! and lets instances come and go with the requests.
//!
//! Both Spin and this use the handler of `wasmtime-wasi-http`, so which instance takes a request and what keeps it
//! alive is decided by the same code. What is not offered (other triggers, several components, outbound HTTP, files,
//! further stores) is refused when an application is read.

mod composition;
mod front;
mod guest;
mod interfaces;
mod life;
mod manifest;
mod outbound;
mod shelf;
mod tally;
mod variables;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::{Result, anyhow};
use wasmtime_wasi_http::handler::ProxyHandler;

use self::front::{Served, serve_application, serve_control};
use self::guest::Template;
use self::life::Instances;
pub use self::life::Keeping;
use self::manifest::Application;
use self::shelf::Shelf;
use self::tally::Tally;

/// How long a guest computes before others get their turn.
const TURN: Duration = Duration::from_millis(10);

/// What a platform goes by.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The folder of `spin.toml`.
    pub folder: PathBuf,
    /// Where the application is served; port 0: a free one.
    pub listen: SocketAddr,
    /// Values of the application's variables, in place of their defaults.
    pub variables: BTreeMap<String, String>,
    /// Where the key-value store is; none: in memory.
    pub state: Option<PathBuf>,
    /// Where compiled applications are kept for later runs; none: nowhere.
    pub compiled: Option<PathBuf>,
    /// Which instances answer, and when they are dropped.
    pub keeping: Keeping,
}

/// Where a platform serves what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// The application.
    pub listening: SocketAddr,
    /// `GET /stats`: what was counted; `POST /evict`: drops all instances at once, as scaling to zero does.
    pub control: SocketAddr,
}

/// Starts a platform in this tokio runtime, and with it ends it.
///
/// # Errors
/// Spin would refuse the application, it asks for what is not offered, or the address is taken.
pub async fn start(settings: &Settings) -> Result<Addresses> {
    let application = Application::read(&settings.folder, &settings.variables)?;
    let tally = Arc::new(Tally::default());
    let shelf = settings.state.as_deref().map_or_else(|| Ok(Shelf::in_memory()), Shelf::in_folder)?;
    let (folder, route) = (settings.folder.clone(), application.route.clone());
    let template = compiled(&folder, application, settings.compiled.clone(), &shelf, &tally).await?;
    let instances = Instances::new(template, settings.keeping, Arc::clone(&tally));
    let handler = ProxyHandler::new(instances.map_err(|error| anyhow!("{error:#}"))?);
    let served = Arc::new(Served { handler, route, shelf, tally });
    Ok(Addresses {
        listening: serve_application(&served, settings.listen).await?,
        control: serve_control(&served, SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await?,
    })
}

async fn compiled(
    folder: &Path,
    application: Application,
    kept: Option<PathBuf>,
    shelf: &Shelf,
    tally: &Arc<Tally>,
) -> Result<Template> {
    let (folder, shelf, tally) = (folder.to_owned(), shelf.clone(), Arc::clone(tally));
    let compile = move || Template::compile(&folder, &application, kept.as_deref(), shelf, tally);
    let (engine, template) = tokio::task::spawn_blocking(compile).await??;
    let weak = engine.weak();
    thread::Builder::new().name("turns".to_owned()).spawn(move || {
        while let Some(engine) = weak.upgrade() {
            engine.increment_epoch();
            drop(engine);
            thread::sleep(TURN);
        }
    })?;
    Ok(template)
}
