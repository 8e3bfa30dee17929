//! What one instance of the component has of the world, and what it is linked with.

use std::collections::BTreeMap;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Result, anyhow};
use axum::http::Request;
use sha2::{Digest, Sha256};
use wasmtime::component::{Component, InstancePre, Linker, ResourceTable};
use wasmtime::{Config, Engine, Store};
use wasmtime_wasi::p2::add_to_linker_async;
use wasmtime_wasi::sockets::SocketAddrUse;
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_http::handler::Response;
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttpCtx, WasiHttpCtxView, WasiHttpHooks, WasiHttpView};

use super::composition::compose;
use super::interfaces::{self, Offered};
use super::manifest::Application;
use super::outbound::AllowedHosts;
use super::shelf::Shelf;
use super::tally::{Tally, count};

/// What belongs to one instance.
pub struct Guest {
    /// Spin's own interfaces.
    pub offered: Offered,
    /// What the guest holds by number.
    pub table: ResourceTable,
    wasi: WasiCtx,
    http: WasiHttpCtx,
    no_client: NoClient,
}

impl WasiView for Guest {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

impl WasiHttpView for Guest {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView { hooks: &mut self.no_client, table: &mut self.table, ctx: &mut self.http }
    }
}

/// The interface of HTTP's client is there, since `spin-sdk` imports it, and every request is refused: hosts other than
/// `tcp://` are not offered in `allowed_outbound_hosts`, so Spin would refuse it too.
struct NoClient;

type Sent = (Response, Box<dyn Future<Output = Result<(), Error>> + Send>);

impl WasiHttpHooks for NoClient {
    fn send_request(
        &mut self,
        _request: Request<WasiBody>,
        _options: Option<RequestOptions>,
        _end: Box<dyn Future<Output = Result<(), Error>> + Send>,
    ) -> Box<dyn Future<Output = Result<Sent, Error>> + Send> {
        Box::new(std::future::ready(Err(Error::HttpRequestDenied)))
    }
}

/// A compiled application, of which instances can be made.
pub struct Template {
    pre: InstancePre<Guest>,
    shelf: Shelf,
    labels: Arc<[String]>,
    variables: Arc<BTreeMap<String, String>>,
    environment: BTreeMap<String, String>,
    allowed_hosts: Arc<AllowedHosts>,
    tally: Arc<Tally>,
}

/// The machine code of a component, from this folder, or compiled and left there.
fn component_of(engine: &Engine, composed: &[u8], folder: &Path) -> Result<Component> {
    let mut made_for = DefaultHasher::new();
    engine.precompile_compatibility_hash().hash(&mut made_for);
    let name: String = Sha256::digest(composed).iter().map(|byte| format!("{byte:02x}")).collect();
    let path = folder.join(format!("{name}-{:016x}.cwasm", made_for.finish()));
    if !path.exists() {
        fs::create_dir_all(folder)?;
        // Renamed into place, since several processes may do this at once.
        let own = path.with_extension(std::process::id().to_string());
        fs::write(&own, engine.precompile_component(composed).map_err(told)?)?;
        fs::rename(&own, &path)?;
    }
    // SAFETY: only this program writes there, whole files, each named for what it was made of and for.
    unsafe { Component::deserialize_file(engine, &path) }.map_err(told)
}

impl Template {
    /// Composes and compiles an application whose files are in this folder. Takes a second or two, unless `compiled` is a
    /// folder where that was left by an earlier run.
    ///
    /// # Errors
    /// A file is missing or no component, they do not fit each other, or the component imports what is not offered.
    pub fn compile(
        folder: &Path,
        application: &Application,
        compiled: Option<&Path>,
        shelf: Shelf,
        tally: Arc<Tally>,
    ) -> Result<(Engine, Self)> {
        let read = |file: &String| {
            let path = folder.join(file);
            std::fs::read(&path).map_err(|error| anyhow!("{}: {error}", path.display()))
        };
        let dependencies = application.dependencies.iter().map(|(name, file)| Ok((name.clone(), read(file)?)));
        let composed = compose(read(&application.source)?, &dependencies.collect::<Result<_>>()?)?;
        let engine = engine().map_err(told)?;
        let component = match compiled {
            Some(folder) => component_of(&engine, &composed, folder)?,
            None => Component::new(&engine, composed).map_err(told)?,
        };
        let mut linker = Linker::new(&engine);
        link(&mut linker).map_err(told)?;
        let template = Self {
            pre: linker.instantiate_pre(&component).map_err(told)?,
            shelf,
            labels: application.key_value_stores.clone().into(),
            variables: Arc::new(application.variables.clone()),
            environment: application.environment.clone(),
            allowed_hosts: Arc::new(application.allowed_hosts.clone()),
            tally,
        };
        Ok((engine, template))
    }

    /// What instances are made of.
    pub fn pre(&self) -> &InstancePre<Guest> {
        &self.pre
    }

    /// A store for one more instance.
    pub fn store(&self) -> Store<Guest> {
        let environment: Vec<_> = self.environment.iter().collect();
        let (allowed, tally) = (Arc::clone(&self.allowed_hosts), Arc::clone(&self.tally));
        let mut wasi = WasiCtx::builder();
        wasi.stdout(wasmtime_wasi::cli::stderr())
            .stderr(wasmtime_wasi::cli::stderr())
            .envs(&environment)
            .allow_tcp(true)
            .allow_ip_name_lookup(true)
            .socket_addr_check(move |address, purpose| {
                let is_allowed = may(&allowed, address, purpose, &tally);
                Box::pin(std::future::ready(is_allowed))
            });
        let guest = Guest {
            offered: Offered {
                shelf: self.shelf.clone(),
                labels: Arc::clone(&self.labels),
                variables: Arc::clone(&self.variables),
                tally: Arc::clone(&self.tally),
                open: 0,
            },
            table: ResourceTable::new(),
            wasi: wasi.build(),
            http: WasiHttpCtx::new(),
            no_client: NoClient,
        };
        let mut store = Store::new(self.pre.engine(), guest);
        // A guest that computes for long lets others run at each tick, as in Spin.
        store.set_epoch_deadline(1);
        store.epoch_deadline_async_yield_and_update(1);
        store
    }
}

/// Whether a guest may do this with a socket. Connections that it may try are counted, others are told.
fn may(allowed: &AllowedHosts, address: SocketAddr, purpose: SocketAddrUse, tally: &Tally) -> bool {
    match purpose {
        SocketAddrUse::TcpConnect if allowed.allow(address) => {
            count(&tally.connections);
            true
        }
        SocketAddrUse::TcpConnect => {
            eprintln!("a component tried to connect to {address}, which allowed_outbound_hosts does not allow");
            false
        }
        // To connect is to bind to any port before.
        SocketAddrUse::TcpBind => address.ip().is_unspecified() && address.port() == 0,
        SocketAddrUse::TcpListen
        | SocketAddrUse::TcpAccept
        | SocketAddrUse::UdpBind
        | SocketAddrUse::UdpSend
        | SocketAddrUse::UdpReceive => false,
    }
}

fn engine() -> wasmtime::Result<Engine> {
    let mut config = Config::new();
    config.wasm_component_model_async(true).epoch_interruption(true);
    Engine::new(&config)
}

/// WASI 0.2 and 0.3, HTTP of 0.3, and Spin's own.
fn link(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    add_to_linker_async(linker)?;
    wasmtime_wasi::p3::add_to_linker(linker)?;
    wasmtime_wasi_http::p3::add_to_linker(linker)?;
    interfaces::add_to_linker(linker)
}

/// wasmtime's errors as others are.
fn told(error: wasmtime::Error) -> anyhow::Error {
    anyhow!("{error:#}")
}
