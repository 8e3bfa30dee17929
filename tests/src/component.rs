//! The real component in wasmtime, stepped in virtual time beside the core: both get the same calls, time and chance,
//! and must ask for the same effects. What holds for the oracle then holds for what is deployed.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use anyhow::{Context, Result, anyhow, bail, ensure};
use dayfly_core::config::Config;
use dayfly_core::effect::{Effects, Frame, FrameId, Receipt, Route, Verdict};
use dayfly_core::http::{Request, Response};
use dayfly_core::replica::{Part, Saved};
use dayfly_core::time::Timestamp;
use dayfly_engine::contract;
use dayfly_engine::{CallError, Instance, Limits, Runtime, VirtualClock, World};

use crate::chance::Chance;
use crate::life::{CoreMaker, Life, Maker, Started};
use crate::stepped::SteppedRunner;

/// Where the component is: where `DAYFLY_COMPONENT` says, else where `cargo xtask build` leaves it.
pub fn component_file() -> PathBuf {
    let usual = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/component/dayfly-replica.wasm");
    std::env::var_os("DAYFLY_COMPONENT").map_or_else(usual, PathBuf::from)
}

/// The compiled component, once a process.
pub fn runtime() -> Result<Runtime> {
    static RUNTIME: OnceLock<Result<Runtime, String>> = OnceLock::new();
    let made = RUNTIME.get_or_init(|| {
        let file = component_file();
        let bytes = std::fs::read(&file)
            .map_err(|error| format!("no component at {}: {error}; run `cargo xtask build`", file.display()))?;
        Runtime::new(&bytes, Limits { call_ms: 30_000, ..Limits::default() }).map_err(|error| error.to_string())
    });
    made.clone().map_err(|error| anyhow!(error))
}

/// Makes instances of the component, each with a twin of the core.
pub struct ComponentMaker {
    runtime: Runtime,
}

impl SteppedRunner<ComponentMaker> {
    /// The component, in virtual time.
    pub fn component() -> Self {
        Self::new("component", || Ok(ComponentMaker { runtime: runtime()? }), 3)
    }
}

/// The world of one instance.
struct SteppedWorld {
    clock: VirtualClock,
    chance: Chance,
}

impl World for SteppedWorld {
    fn now_ms(&mut self) -> u64 {
        self.clock.now_ms()
    }

    fn random_u64(&mut self) -> u64 {
        self.chance.number()
    }
}

impl Maker for ComponentMaker {
    fn start(&self, config: &Config, now: Timestamp, chance: Chance) -> Result<Started> {
        let twin = CoreMaker.start(config, now, chance.clone())?;
        let clock = VirtualClock::at_ms(now.0);
        let world = SteppedWorld { clock: clock.clone(), chance };
        let mut instance = self.runtime.instantiate(world)?;
        let (started, (twin, twin_effects)) = match (instance.start(&from_config(config)), twin) {
            (Ok(started), Ok(twin)) => (started, twin),
            (Err(CallError::Refused(refusal)), Err(twin)) => {
                same("start", &refusal, &twin)?;
                return Ok(Err(refusal));
            }
            (Err(CallError::Lost(lost)), _) => bail!("start: {lost}"),
            (Ok(_), Err(refusal)) => bail!("the core refuses what the component takes: {refusal}"),
            (Err(CallError::Refused(refusal)), Ok(_)) => bail!("the component refuses what the core takes: {refusal}"),
        };
        let effects = to_effects(started.effects);
        same("start", &effects, &twin_effects)?;
        same("the name", &started.name, &twin.name())?;
        same("the incarnation", &started.incarnation, &twin.incarnation())?;
        Ok(Ok((Box::new(TwinLife { instance, clock, twin, name: started.name }), effects)))
    }
}

/// The same life twice.
struct TwinLife {
    instance: Instance,
    clock: VirtualClock,
    twin: Box<dyn Life>,
    name: String,
}

fn same<T: PartialEq + std::fmt::Debug>(call: &str, component: &T, core: &T) -> Result<()> {
    ensure!(
        component == core,
        "{call}: component and core differ (is the component built from this source?)\ncomponent: {}\ncore:      {}",
        shorten(&format!("{component:?}")),
        shorten(&format!("{core:?}"))
    );
    Ok(())
}

fn shorten(text: &str) -> String {
    text.chars().take(1_000).collect()
}

impl TwinLife {
    fn effects(
        &mut self,
        call: &str,
        now: Timestamp,
        on_component: impl FnOnce(&mut Instance) -> Result<contract::Effects, dayfly_engine::Lost>,
        on_core: impl FnOnce(&mut dyn Life) -> Result<Effects>,
    ) -> Result<Effects> {
        self.clock.set_ms(now.0);
        let effects = to_effects(on_component(&mut self.instance).with_context(|| call.to_owned())?);
        same(call, &effects, &on_core(&mut *self.twin)?)?;
        Ok(effects)
    }
}

impl Life for TwinLife {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn incarnation(&self) -> u64 {
        self.twin.incarnation()
    }

    fn wake(&mut self, now: Timestamp, awake_until: Timestamp) -> Result<Effects> {
        self.effects("wake", now, |instance| instance.wake(awake_until.0), |twin| twin.wake(now, awake_until))
    }

    fn tick(&mut self, now: Timestamp) -> Result<Effects> {
        self.effects("tick", now, Instance::tick, |twin| twin.tick(now))
    }

    fn suspend(&mut self, now: Timestamp) -> Result<Effects> {
        self.effects("suspend", now, Instance::suspend, |twin| twin.suspend(now))
    }

    fn leave(&mut self, now: Timestamp) -> Result<Effects> {
        self.effects("leave", now, Instance::leave, |twin| twin.leave(now))
    }

    fn receive(&mut self, now: Timestamp, bodies: &[Vec<u8>]) -> Result<Effects> {
        let borrowed: Vec<&[u8]> = bodies.iter().map(Vec::as_slice).collect();
        self.effects("receive", now, |instance| instance.receive(&borrowed), |twin| twin.receive(now, bodies))
    }

    fn settle(&mut self, now: Timestamp, receipts: &[Receipt]) -> Result<Effects> {
        let converted: Vec<_> = receipts.iter().map(from_receipt).collect();
        self.effects("settle", now, |instance| instance.settle(&converted), |twin| twin.settle(now, receipts))
    }

    fn invoke(&mut self, now: Timestamp, request: &Request) -> Result<Response> {
        self.clock.set_ms(now.0);
        let response = self.instance.invoke(&from_request(request)).context("invoke")?;
        let response = Response {
            status: response.status,
            headers: response.headers,
            body: response.body,
            after: response.after.map(FrameId),
            effects: to_effects(response.effects),
        };
        same("invoke", &response, &self.twin.invoke(now, request)?)?;
        Ok(response)
    }

    fn save(&mut self, now: Timestamp, since: u64) -> Result<Saved> {
        self.clock.set_ms(now.0);
        let saved = self.instance.save(since).context("save")?;
        let parts = saved.parts.into_iter().map(|part| Part { key: part.key, chunk: part.chunk }).collect();
        let saved = Saved { version: saved.version, parts };
        same("save", &saved, &self.twin.save(now, since)?)?;
        Ok(saved)
    }

    fn load(&mut self, now: Timestamp, chunk: &[u8]) -> Result<Result<Effects, String>> {
        self.clock.set_ms(now.0);
        let part = contract::Part { key: "any".to_owned(), chunk: chunk.to_vec() };
        let loaded = match self.instance.load(&part) {
            Ok(effects) => Ok(to_effects(effects)),
            Err(CallError::Refused(refusal)) => Err(refusal),
            Err(CallError::Lost(lost)) => bail!("load: {lost}"),
        };
        same("load", &loaded, &self.twin.load(now, chunk)?)?;
        Ok(loaded)
    }

    fn set_neighbours(
        &mut self,
        now: Timestamp,
        neighbours: &[String],
        interval_ms: u32,
    ) -> Result<Result<Effects, String>> {
        self.clock.set_ms(now.0);
        let set = match self.instance.set_neighbours(neighbours, interval_ms) {
            Ok(effects) => Ok(to_effects(effects)),
            Err(CallError::Refused(refusal)) => Err(refusal),
            Err(CallError::Lost(lost)) => bail!("set-neighbours: {lost}"),
        };
        same("set-neighbours", &set, &self.twin.set_neighbours(now, neighbours, interval_ms)?)?;
        Ok(set)
    }

    fn replay(&mut self, now: Timestamp, bodies: &[Vec<u8>], end: bool) -> Result<Effects> {
        let borrowed: Vec<&[u8]> = bodies.iter().map(Vec::as_slice).collect();
        let on_core = |twin: &mut dyn Life| twin.replay(now, bodies, end);
        self.effects("replay", now, |instance| instance.replay(&borrowed, end), on_core)
    }
}

/// A configuration in the engine's words.
pub fn from_config(config: &Config) -> contract::Config {
    contract::Config {
        cluster: config.cluster.clone(),
        name: config.name.clone(),
        host: config.host.clone(),
        region: config.region.clone(),
        zone: config.zone.clone(),
        component_hash: config.component_hash.clone(),
        frame_bytes: config.frame_bytes,
        retention_ms: config.retention_ms,
        skew_ms: config.skew_ms,
        burst_ms: config.burst_ms,
        repair_bytes: config.repair_bytes,
        bootstrap_ms: config.bootstrap_ms,
        store_bytes: config.store_bytes,
        combine_above: config.combine_above,
        combine_ms: config.combine_ms,
        log_bytes: config.log_bytes,
    }
}

/// A request in the engine's words.
pub fn from_request(request: &Request) -> contract::Request {
    contract::Request {
        method: request.method.clone(),
        path: request.path.clone(),
        query: request.query.clone(),
        headers: request.headers.clone(),
        body: request.body.clone(),
    }
}

fn from_receipt(receipt: &Receipt) -> contract::Receipt {
    let verdict = match receipt.verdict {
        Verdict::Confirmed => contract::Verdict::Confirmed,
        Verdict::Unroutable => contract::Verdict::Unroutable,
        Verdict::Failed => contract::Verdict::Failed,
    };
    contract::Receipt { id: receipt.id.0, verdict }
}

fn to_effects(effects: contract::Effects) -> Effects {
    let route = |route| match route {
        contract::Route::Everyone => Route::Everyone,
        contract::Route::One(name) => Route::One(name),
        contract::Route::Anyone => Route::Anyone,
        contract::Route::Combiner => Route::Combiner,
        contract::Route::Log => Route::Log,
    };
    let frame = |frame: contract::Frame| Frame {
        id: FrameId(frame.id),
        route: route(frame.route),
        body: frame.body.to_vec(),
        ttl_ms: frame.ttl_ms,
    };
    Effects {
        frames: effects.frames.into_iter().map(frame).collect(),
        next_tick: effects.next_tick.map(Timestamp),
        serve_anyone: effects.serve_anyone,
        quiet: effects.quiet,
        started_anew: effects.started_anew,
        replay: effects.replay,
        done_with: effects.done_with,
    }
}
