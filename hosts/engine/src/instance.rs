//! One live instance of the component, driven by hand: each method is a call of `wit/`, and nothing happens in between.

use std::fmt;
use std::time::Duration;

use wasmtime::component::{self, Func, TypedFunc};
use wasmtime::{Engine, ResourceLimiter, Store, StoreContextMut, UpdateDeadline};

use crate::contract::{self, Config, Effects, Part, Receipt, Request, Response, Saved, Started};
use crate::runtime::Limits;
use crate::stopwatch::{TICK, thread_time};
use crate::world::World;

/// Why an instance is lost. The host goes on, and so does the database: start another replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lost {
    /// What happened.
    pub cause: Cause,
    /// The details, for people.
    pub detail: String,
}

/// What can happen to an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The guest trapped: a bug in it, or a call out of order.
    Trapped,
    /// The guest did not return within [`Limits::call_ms`].
    Overran,
    /// The guest asked for more than [`Limits::memory_bytes`] and gave up.
    OutOfMemory,
    /// There was no room for another instance, or the component could not be set up.
    NotStarted,
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cause = match self.cause {
            Cause::Trapped => "the replica trapped",
            Cause::Overran => "the replica did not return in time and was stopped",
            Cause::OutOfMemory => "the replica needed more memory than it may have",
            Cause::NotStarted => "the replica could not be instantiated",
        };
        write!(f, "{cause}: {}", self.detail)
    }
}

impl std::error::Error for Lost {}

/// Why a call that may refuse did not succeed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallError {
    /// The replica refused, and is as it was.
    Refused(String),
    /// The instance is lost.
    Lost(Lost),
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(reason) => write!(f, "{reason}"),
            Self::Lost(lost) => write!(f, "{lost}"),
        }
    }
}

impl std::error::Error for CallError {}

impl From<Lost> for CallError {
    fn from(lost: Lost) -> Self {
        Self::Lost(lost)
    }
}

/// What belongs to one instance on the host's side.
pub(crate) struct Guest {
    pub(crate) world: Box<dyn World>,
    limits: Limits,
    /// The thread's processor time at the call's first deadline, which comes within a tick of its beginning. Asking for
    /// it costs a system call, which calls that are over by then, nearly all of them, are spared.
    began: Began,
    /// How often the call that runs was given more time.
    extensions: u32,
    overran: bool,
    /// The size that the call that runs was last refused.
    refused_bytes: Option<usize>,
    /// The size of its memory as last granted; memories only grow.
    memory_bytes: usize,
}

/// Since when a call is watched.
#[derive(Clone, Copy, Debug)]
enum Began {
    /// Its first deadline has not come.
    Unwatched,
    /// Since this processor time of the thread; none where the system does not tell.
    At(Option<Duration>),
}

/// A call whose thread did not get the processor is given this many times the limit at most.
const EXTENSIONS_MAX: u32 = 9;

impl Guest {
    /// How many ticks of the epoch make the limit of a call, counted from a tick.
    fn call_ticks(&self) -> u64 {
        u64::from(self.limits.call_ms).div_ceil(TICK.as_millis() as u64)
    }

    /// The deadline has come. The first begins the watch; at the others, stop the guest, unless it was the system that
    /// kept its thread from running.
    fn on_deadline(mut store: StoreContextMut<'_, Guest>) -> wasmtime::Result<UpdateDeadline> {
        let guest = store.data_mut();
        let limit = Duration::from_millis(guest.limits.call_ms.into());
        let now = thread_time();
        let Began::At(began) = guest.began else {
            guest.began = Began::At(now);
            return Ok(UpdateDeadline::Continue(guest.call_ticks()));
        };
        let used = match (began, now) {
            (Some(began), Some(now)) => now.saturating_sub(began),
            _ => limit,
        };
        if used < limit.mul_f32(0.8) && guest.extensions < EXTENSIONS_MAX {
            guest.extensions += 1;
            return Ok(UpdateDeadline::Continue(guest.call_ticks()));
        }
        guest.overran = true;
        Err(wasmtime::Error::msg(format!("it ran for more than {} ms", guest.limits.call_ms)))
    }
}

impl ResourceLimiter for Guest {
    fn memory_growing(&mut self, _current: usize, desired: usize, _max: Option<usize>) -> wasmtime::Result<bool> {
        let granted = desired as u64 <= self.limits.memory_rounded();
        if granted {
            self.memory_bytes = desired;
        } else {
            self.refused_bytes = Some(desired);
        }
        Ok(granted)
    }

    fn table_growing(&mut self, current: usize, desired: usize, _max: Option<usize>) -> wasmtime::Result<bool> {
        // Tables hold the guest's functions, and none makes functions as it runs.
        Ok(desired <= current.max(TABLE_ELEMENTS_MAX))
    }
}

/// The most elements a guest's table may have.
const TABLE_ELEMENTS_MAX: usize = 20_000;

/// The parameters of `inbox.receive`.
type Bodies<'a> = (&'a [&'a [u8]],);

/// One live instance. Calls take effect in the order made; each runs to its end on the calling thread.
///
/// After a call returned [`Lost`], every further call does, and nothing happens.
pub struct Instance {
    store: Store<Guest>,
    instance: component::Instance,
    replica: contract::Replica,
    overlay: Option<Overlay>,
    lost: Option<Lost>,
}

/// The parameters of `overlay.set-neighbours`.
type Neighbours<'a> = (&'a [String], u32);

/// The functions of the interface `overlay`, which earlier components lack: so it is not among those that the binding asks for.
#[derive(Clone, Copy)]
struct Overlay {
    set_neighbours: Func,
    elements: Func,
}

impl Overlay {
    fn find(store: &mut Store<Guest>, instance: &component::Instance) -> Option<Self> {
        let interface = instance.get_export_index(&mut *store, None, "dayfly:replica/overlay@0.1.0")?;
        let mut function = |name: &str| {
            let index = instance.get_export_index(&mut *store, Some(&interface), name)?;
            instance.get_func(&mut *store, index)
        };
        Some(Self { set_neighbours: function("set-neighbours")?, elements: function("elements")? })
    }
}

impl fmt::Debug for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Instance").field("lost", &self.lost).finish_non_exhaustive()
    }
}

impl Instance {
    pub(crate) fn new(
        engine: &Engine,
        pre: &contract::ReplicaPre<Guest>,
        limits: Limits,
        world: Box<dyn World>,
    ) -> Result<Self, Lost> {
        let guest = Guest {
            world,
            limits,
            began: Began::Unwatched,
            extensions: 0,
            overran: false,
            refused_bytes: None,
            memory_bytes: 0,
        };
        let mut store = Store::new(engine, guest);
        store.limiter(|guest| guest);
        store.epoch_deadline_callback(Guest::on_deadline);
        begin_call(&mut store);
        let made = pre.instance_pre().instantiate(&mut store).and_then(|instance| {
            let replica = contract::Replica::new(&mut store, &instance)?;
            Ok((instance, replica))
        });
        match made {
            Ok((instance, replica)) => Ok(Self { store, instance, replica, overlay: None, lost: None }),
            Err(error) => {
                let mut lost = diagnose(&store, &error);
                if lost.cause == Cause::Trapped {
                    lost.cause = Cause::NotStarted;
                }
                Err(lost)
            }
        }
    }

    /// `lifecycle.start`. Refused configurations name field and bound, and may be mended and given again.
    pub fn start(&mut self, config: &Config) -> Result<Started, CallError> {
        self.call(|store, replica| replica.dayfly_replica_lifecycle().call_start(store, config))?
            .map_err(CallError::Refused)
    }

    /// `lifecycle.wake`: begins or prolongs an awake period, until this time in milliseconds since 1970.
    pub fn wake(&mut self, awake_until_ms: u64) -> Result<Effects, Lost> {
        self.call(|store, replica| replica.dayfly_replica_lifecycle().call_wake(store, awake_until_ms))
    }

    /// `lifecycle.tick`.
    pub fn tick(&mut self) -> Result<Effects, Lost> {
        self.call(|store, replica| replica.dayfly_replica_lifecycle().call_tick(store))
    }

    /// `lifecycle.suspend`.
    pub fn suspend(&mut self) -> Result<Effects, Lost> {
        self.call(|store, replica| replica.dayfly_replica_lifecycle().call_suspend(store))
    }

    /// `lifecycle.leave`.
    pub fn leave(&mut self) -> Result<Effects, Lost> {
        self.call(|store, replica| replica.dayfly_replica_lifecycle().call_leave(store))
    }

    /// `inbox.receive`.
    pub fn receive(&mut self, bodies: &[&[u8]]) -> Result<Effects, Lost> {
        self.call(|store, replica| {
            let receive = *replica.dayfly_replica_inbox().func_receive().func();
            // The binding that the macro makes wants each body in a vector of its own; bodies are shared between
            // inboxes. SAFETY: the binding was checked to take a list of lists of bytes, which is what `Bodies` lowers
            // to.
            let receive = unsafe { TypedFunc::<Bodies<'_>, (Effects,)>::new_unchecked(receive) };
            receive.call(store, (bodies,)).map(|(effects,)| effects)
        })
    }

    /// `outbox.settle`.
    pub fn settle(&mut self, receipts: &[Receipt]) -> Result<Effects, Lost> {
        self.call(|store, replica| replica.dayfly_replica_outbox().call_settle(store, receipts))
    }

    /// `api.invoke`. Errors of the API are answers, not errors here.
    pub fn invoke(&mut self, request: &Request) -> Result<Response, Lost> {
        self.call(|store, replica| replica.dayfly_replica_api().call_invoke(store, request))
    }

    /// `checkpoint.save`.
    pub fn save(&mut self, since: u64) -> Result<Saved, Lost> {
        self.call(|store, replica| replica.dayfly_replica_checkpoint().call_save(store, since))
    }

    /// `checkpoint.load`. A refused part changed nothing; go on with the others.
    pub fn load(&mut self, part: &Part) -> Result<Effects, CallError> {
        self.call(|store, replica| replica.dayfly_replica_checkpoint().call_load(store, &part.chunk))?
            .map_err(CallError::Refused)
    }

    /// `checkpoint.replay`.
    pub fn replay(&mut self, bodies: &[&[u8]], end: bool) -> Result<Effects, Lost> {
        self.call(|store, replica| {
            let replay = *replica.dayfly_replica_checkpoint().func_replay().func();
            // SAFETY: as in `receive`; the second parameter is a bool there as well.
            let replay = unsafe { TypedFunc::<(&[&[u8]], bool), (Effects,)>::new_unchecked(replay) };
            replay.call(store, (bodies, end)).map(|(effects,)| effects)
        })
    }

    /// `overlay.set-neighbours`. Refused are neighbours and an interval that are out of bounds, and all of them by a component
    /// that is earlier than overlays.
    pub fn set_neighbours(&mut self, neighbours: &[String], interval_ms: u32) -> Result<Effects, CallError> {
        let Some(overlay) = self.overlay() else {
            let reason = "this component is earlier than overlays: it has no neighbours; use a later one";
            return Err(CallError::Refused(reason.to_owned()));
        };
        self.call(|store, _| {
            let set = overlay.set_neighbours.typed::<Neighbours<'_>, (Result<Effects, String>,)>(&*store)?;
            set.call(store, (neighbours, interval_ms)).map(|(answer,)| answer)
        })?
        .map_err(CallError::Refused)
    }

    /// `overlay.elements`: how many live entries a frame brings; none, if it is no frame of the replica's cluster, or the
    /// component is earlier than overlays.
    pub fn elements(&mut self, body: &[u8]) -> Result<Option<u64>, Lost> {
        let Some(overlay) = self.overlay() else { return Ok(None) };
        self.call(|store, _| {
            let elements = overlay.elements.typed::<(&[u8],), (Option<u64>,)>(&*store)?;
            elements.call(store, (body,)).map(|(elements,)| elements)
        })
    }

    /// The functions of `overlay`, if the component has them with the signatures of `wit/overlay.wit`. Looked up when they are
    /// wanted, since most instances never are in an overlay.
    fn overlay(&mut self) -> Option<Overlay> {
        if self.overlay.is_none() && self.lost.is_none() {
            self.overlay = Overlay::find(&mut self.store, &self.instance);
        }
        self.overlay
    }

    /// How large its memory has grown, in bytes: whole pages of 64 KiB, of which the system holds those that were
    /// touched. It never shrinks.
    pub fn memory_bytes(&self) -> u64 {
        self.store.data().memory_bytes as u64
    }

    /// Why the instance is lost, if it is.
    pub fn lost(&self) -> Option<&Lost> {
        self.lost.as_ref()
    }

    fn call<T>(
        &mut self,
        call: impl FnOnce(&mut Store<Guest>, &contract::Replica) -> wasmtime::Result<T>,
    ) -> Result<T, Lost> {
        if let Some(lost) = &self.lost {
            return Err(lost.clone());
        }
        begin_call(&mut self.store);
        call(&mut self.store, &self.replica).map_err(|error| {
            let lost = diagnose(&self.store, &error);
            self.lost = Some(lost.clone());
            lost
        })
    }
}

fn begin_call(store: &mut Store<Guest>) {
    let guest = store.data_mut();
    guest.began = Began::Unwatched;
    guest.extensions = 0;
    guest.refused_bytes = None;
    store.set_epoch_deadline(1);
}

/// What an error of the engine means.
fn diagnose(store: &Store<Guest>, error: &wasmtime::Error) -> Lost {
    let guest = store.data();
    let (cause, detail) = match guest.refused_bytes {
        _ if guest.overran => (Cause::Overran, format!("it ran for more than {} ms", guest.limits.call_ms)),
        Some(bytes) => {
            (Cause::OutOfMemory, format!("it asked for {bytes} bytes; {} are the most", guest.limits.memory_rounded()))
        }
        None => (Cause::Trapped, format!("{error:#}")),
    };
    Lost { cause, detail }
}

/// The usual values of `wit/lifecycle.wit` for a native replica of this cluster; its name is made from randomness.
pub fn usual_config(cluster: &str) -> Config {
    Config {
        cluster: cluster.to_owned(),
        name: None,
        host: "native".to_owned(),
        region: String::new(),
        zone: String::new(),
        component_hash: String::new(),
        frame_bytes: 64 * 1024,
        retention_ms: 2 * 3600 * 1000,
        skew_ms: 2000,
        burst_ms: 5,
        repair_bytes: 256 * 1024,
        bootstrap_ms: 1000,
        store_bytes: 64 << 20,
        combine_above: 32,
        combine_ms: 100,
        log_bytes: 0,
    }
}
