//! Compiles the component once, or maps what was compiled ahead of time, and makes any number of instances of it.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use wasmtime::component::{Component, Linker};
use wasmtime::{Config, Engine, InstanceAllocationStrategy, PoolingAllocationConfig};

use crate::artefact::{Artefact, CODE_FILE, HASH_FILE};
use crate::contract::ReplicaPre;
use crate::instance::{Guest, Instance, Lost};
use crate::stopwatch::Ticker;
#[cfg(feature = "compiler")]
use crate::target::Target;
use crate::world::{self, World};

/// What instances may use, and how many there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How many instances may live at once: 1 to 100,000. Address space is set aside for all of them, memory is not.
    pub instances: u32,
    /// The most memory an instance may have, in bytes: 1 MiB to 4 GiB, rounded up to 64 KiB. `config.store-bytes` says
    /// that it should be three times that. Instances times this must fit the address space: 64 TiB. Up to about 16,000
    /// instances, calls are a third faster, whatever this is: each then has all that a guest can address set aside.
    pub memory_bytes: u64,
    /// How long one call may run before its instance is lost, in milliseconds: 10 to 60,000. A call whose thread was
    /// not given the processor meanwhile has up to ten times as long.
    pub call_ms: u32,
}

impl Default for Limits {
    /// 1,000 instances, 192 MiB each (three times the usual `store-bytes`), one second a call.
    fn default() -> Self {
        Self { instances: 1_000, memory_bytes: 192 << 20, call_ms: 1_000 }
    }
}

/// The size of a page of a guest's memory.
const PAGE_BYTES: u64 = 64 * 1024;
/// All instances' memories together: half of what a process can address on today's machines.
const ADDRESS_BYTES_MAX: u64 = 64 << 40;
/// All that a guest can name with a 32-bit address.
const ROOMY_SLOT_BYTES: u64 = 4 << 30;
/// What follows a roomy slot, so that an address with the usual constant offset stays within slot and guard.
const ROOMY_GUARD_BYTES: u64 = 32 << 20;
/// Core modules that one component may be made of. The adapter-free replica has one, and up to three shims of its
/// encoding.
const CORE_INSTANCES_PER_COMPONENT: u32 = 8;
/// Tables that one component may have: the module's own, and one of the shim.
const TABLES_PER_COMPONENT: u32 = 4;

impl Limits {
    fn check(&self) -> Result<(), RuntimeError> {
        let within = [
            ("instances must be 1 to 100000", (1..=100_000).contains(&self.instances)),
            ("memory_bytes must be 1048576 to 4294967296", (1 << 20..=1 << 32).contains(&self.memory_bytes)),
            ("call_ms must be 10 to 60000", (10..=60_000).contains(&self.call_ms)),
            (
                "instances times memory_bytes must be at most 64 TiB",
                u64::from(self.instances).saturating_mul(self.memory_rounded()) <= ADDRESS_BYTES_MAX,
            ),
        ];
        match within.into_iter().find(|(_, holds)| !holds) {
            Some((bound, _)) => Err(RuntimeError::Limits(bound)),
            None => Ok(()),
        }
    }

    pub(crate) fn memory_rounded(&self) -> u64 {
        self.memory_bytes.next_multiple_of(PAGE_BYTES)
    }

    /// How memories are laid out. It follows from the limits alone, not from the machine, since machine code depends on
    /// it: an artefact made in one place has to fit in another.
    fn layout(&self) -> Layout {
        let roomy = ROOMY_SLOT_BYTES + ROOMY_GUARD_BYTES;
        if u64::from(self.instances).saturating_mul(roomy) <= ADDRESS_BYTES_MAX {
            Layout { slot_bytes: ROOMY_SLOT_BYTES, guard_bytes: ROOMY_GUARD_BYTES }
        } else {
            Layout { slot_bytes: self.memory_rounded(), guard_bytes: 0 }
        }
    }

    /// The same for compiling, loading and running: an artefact fits only an engine of the same layout.
    fn config(&self) -> Config {
        let mut pool = PoolingAllocationConfig::new();
        pool.total_component_instances(self.instances)
            .total_core_instances(self.instances.saturating_mul(CORE_INSTANCES_PER_COMPONENT))
            .max_core_instances_per_component(CORE_INSTANCES_PER_COMPONENT)
            .total_memories(self.instances)
            .max_memories_per_component(1)
            .total_tables(self.instances.saturating_mul(TABLES_PER_COMPONENT))
            .max_tables_per_component(TABLES_PER_COMPONENT)
            .max_memory_size(self.memory_rounded() as usize)
            // A dead instance's memory goes back to the system at once.
            .linear_memory_keep_resident(0)
            .table_keep_resident(0);
        let layout = self.layout();
        let mut config = Config::new();
        config
            .allocation_strategy(InstanceAllocationStrategy::Pooling(pool))
            .memory_reservation(layout.slot_bytes)
            .memory_guard_size(layout.guard_bytes)
            .memory_may_move(false)
            .guard_before_linear_memory(false)
            .epoch_interruption(true)
            // The replica has no asynchronous functions. Off it is in a build without the feature that the tests of Spin
            // have wasmtime built with, and machine code depends on it: an artefact made in one has to fit the other.
            // Nor does a call then pay for tasks that it does not have.
            .concurrency_support(false)
            .wasm_backtrace_max_frames(std::num::NonZeroUsize::new(8));
        config
    }

    /// An engine that runs artefacts.
    fn engine(&self) -> Result<Engine, RuntimeError> {
        engine(&self.config())
    }

    /// An engine that compiles.
    #[cfg(feature = "compiler")]
    fn compiler(&self, target: Target) -> Result<Engine, RuntimeError> {
        let mut config = self.config();
        config.cranelift_opt_level(wasmtime::OptLevel::Speed);
        target.apply(&mut config)?;
        engine(&config)
    }
}

fn engine(config: &Config) -> Result<Engine, RuntimeError> {
    Engine::new(config).map_err(|error| RuntimeError::Engine(format!("{error:#}")))
}

/// The address space of one memory, in bytes. How much of it may be used is bounded by [`Limits::memory_bytes`] alone.
///
/// Where a slot holds all that a guest can address, no access needs a check of bounds: what is beyond the memory faults.
/// Where so many slots do not fit, a slot is as large as the memory may grow, and each access is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Layout {
    slot_bytes: u64,
    guard_bytes: u64,
}

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "slots of {} bytes with guards of {}", self.slot_bytes, self.guard_bytes)
    }
}

/// Why there is no runtime.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RuntimeError {
    /// The limits are out of bounds: the text says which.
    Limits(&'static str),
    /// The machine cannot give what the limits ask for, or has no such processor.
    Engine(String),
    /// These bytes are no component that can be compiled.
    Compile(String),
    /// It is a component, but not one of the world `dayfly:replica/replica`, or it imports more than clock and
    /// randomness.
    Contract(String),
    /// The artefact is missing or broken, or was made by another version, for another processor or with other limits:
    /// make it anew.
    Artefact(String),
}

impl fmt::Display for RuntimeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Limits(bound) => write!(f, "{bound}"),
            Self::Engine(detail) => write!(f, "no engine with these limits on this machine: {detail}"),
            Self::Compile(detail) => write!(f, "not a component that compiles: {detail}"),
            Self::Contract(detail) => write!(f, "not a replica component: {detail}"),
            Self::Artefact(detail) => write!(f, "the precompiled component cannot be used: {detail}"),
        }
    }
}

impl std::error::Error for RuntimeError {}

/// A compiled component, and room for its instances. Cheap to clone: clones are the same runtime.
#[derive(Clone)]
pub struct Runtime {
    shared: Arc<Shared>,
}

struct Shared {
    pre: ReplicaPre<Guest>,
    engine: Engine,
    component_hash: String,
    limits: Limits,
    ticker: Ticker,
}

impl fmt::Debug for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Runtime").field("component", &self.shared.component_hash).finish_non_exhaustive()
    }
}

impl Runtime {
    /// Compiles a component. Takes a good part of a second; [`Runtime::precompile`] does it ahead of time.
    #[cfg(feature = "compiler")]
    pub fn new(component: &[u8], limits: Limits) -> Result<Self, RuntimeError> {
        limits.check()?;
        let engine = limits.compiler(Target::Host)?;
        let compiled =
            Component::new(&engine, component).map_err(|error| RuntimeError::Compile(format!("{error:#}")))?;
        Self::assemble(engine, &compiled, crate::artefact::hash_hex(component), limits)
    }

    /// Compiles a component to an artefact for [`Runtime::map`] with the same limits, on a processor of this target.
    /// Other limits do as long as they lay memories out alike: as many instances as fit 64 TiB with 4 GiB each, or the
    /// same `memory_bytes`.
    #[cfg(feature = "compiler")]
    pub fn precompile(component: &[u8], limits: Limits, target: Target) -> Result<Artefact, RuntimeError> {
        limits.check()?;
        let code = limits
            .compiler(target)?
            .precompile_component(component)
            .map_err(|error| RuntimeError::Compile(format!("{error:#}")))?;
        Ok(Artefact { component_hash: crate::artefact::hash_hex(component), code })
    }

    /// Maps what [`Artefact::write`] left in this folder; takes less than a millisecond, and needs no compiler. Pages of
    /// the code are read from the file when they are first used.
    ///
    /// # Safety
    ///
    /// An artefact is machine code and runs as such: it must come from [`Runtime::precompile`], unchanged. Whether
    /// version, configuration and the processor fit it is checked; what it does is not. Nor may anybody write to the
    /// file as long as the runtime or an instance is there, since the code that runs would change; to replace the file
    /// by another, as [`Artefact::write`] does, is harmless.
    ///
    /// # Errors
    /// [`RuntimeError::Artefact`]: a file is missing, broken, or made for something else.
    pub unsafe fn map(folder: &Path, limits: Limits) -> Result<Self, RuntimeError> {
        limits.check()?;
        let refuse =
            |file: &str, reason: String| RuntimeError::Artefact(format!("{}: {reason}", folder.join(file).display()));
        let hash = Artefact::hash_in(folder).map_err(|error| refuse(HASH_FILE, error.to_string()))?;
        let engine = limits.engine()?;
        // SAFETY: the caller vouches for the file.
        let compiled = unsafe { Component::deserialize_file(&engine, folder.join(CODE_FILE)) }.map_err(|error| {
            let reason = format!(
                "it is broken, or was made by another version, for another processor or with limits that lay memories \
                 out otherwise than those asked for ({}): make it anew: {error:#}",
                limits.layout()
            );
            refuse(CODE_FILE, reason)
        })?;
        Self::assemble(engine, &compiled, hash, limits)
    }

    fn assemble(
        engine: Engine,
        component: &Component,
        component_hash: String,
        limits: Limits,
    ) -> Result<Self, RuntimeError> {
        let contract = |error: wasmtime::Error| RuntimeError::Contract(format!("{error:#}"));
        let mut linker = Linker::new(&engine);
        world::add_to_linker(&mut linker).map_err(contract)?;
        let pre = ReplicaPre::new(linker.instantiate_pre(component).map_err(contract)?).map_err(contract)?;
        let ticker = Ticker::start(&engine);
        Ok(Self { shared: Arc::new(Shared { pre, engine, component_hash, limits, ticker }) })
    }

    /// The SHA-256 of the component's bytes as 64 hex digits; belongs into `config.component-hash`.
    pub fn component_hash(&self) -> &str {
        &self.shared.component_hash
    }

    /// What instances may use.
    pub fn limits(&self) -> Limits {
        self.shared.limits
    }

    /// Makes an instance that sees this world. It fails where all [`Limits::instances`] are in use.
    pub fn instantiate(&self, world: impl World + 'static) -> Result<Instance, Lost> {
        self.shared.ticker.check();
        Instance::new(&self.shared.engine, &self.shared.pre, self.shared.limits, Box::new(world))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// In a build of all hosts together wasmtime has concurrency, which the function's own build has not.
    #[test]
    fn machine_code_fits_builds_without_concurrency() {
        let engine = Limits::default().engine().expect("there is room");
        assert!(!engine.get_concurrency_support());
    }
}
