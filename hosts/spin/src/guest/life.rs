//! The life of a replica in an instance: started by the first request, awake while requests come or linger, and ended in
//! good order before Spin drops the instance. If another request comes first, it wakes again.

use std::collections::BTreeMap;
use std::rc::Rc;

use dayfly_amqp::{Names, Refusal};
use spin_sdk::wasip3::cli::stderr::write_via_stream;
use spin_sdk::wasip3::wit_stream;
use spin_sdk::wit_bindgen::spawn;

use super::answer::{Answer, refusal};
use super::bindings::dayfly::replica::checkpoint;
use super::bindings::dayfly::replica::lifecycle::{self, Config};
use super::clock::{now_ms, pause, random};
use super::host::{Host, Replica};
use super::values::SpinValues;
use crate::session::Address;
use crate::settings::Settings;
use crate::shelf::{Part, Saved, Shelf};

/// For how long a replica says that it is awake, in milliseconds. It takes that back when it ends in good order.
const LEASE_MS: u64 = 10_000;
/// How long a newcomer waits to be handed the database, in milliseconds, if somebody serves.
const BOOTSTRAP_MS: u32 = 1_000;
/// By how much clocks may disagree, in milliseconds.
const SKEW_MS: u64 = 2_000;
/// How long the end waits for the broker to settle what was sent, and then for the end of the connection.
const END_MS: u64 = 500;
/// How often state is stored in a long awake period, in milliseconds.
const SAVE_MS: u64 = 10_000;
/// If time jumps by more than this, in milliseconds, the machine was stopped, and the link is not trusted.
const GAP_MS: u64 = 2_000;

/// The variables of the application.
const VARIABLES: [&str; 17] = [
    "broker",
    "cluster",
    "region",
    "zone",
    "component_hash",
    "confirm",
    "retention",
    "frame_kib",
    "repair_kib",
    "burst_ms",
    "store_mib",
    "combine_above",
    "combine_ms",
    "log_mib",
    "inbox_mib",
    "fill_ms",
    "idle_ms",
];

/// Writes a line to the standard error of the application, for whoever runs it.
pub fn tell(line: &str) {
    let line = format!("dayfly: {line}\n").into_bytes();
    spawn(async move {
        let (mut writer, reader) = wit_stream::new();
        let written = write_via_stream(reader);
        writer.write_all(line).await;
        drop(writer);
        // There is nobody to tell that it cannot be told.
        let _ = written.await;
    });
}

fn no_replica(reason: &str) -> Answer {
    tell(reason);
    let text = format!("{reason}; nothing was applied: send it again");
    refusal(503, "no_replica", &text).with("retry-after", "1")
}

impl Host {
    /// Makes sure that the replica is awake.
    ///
    /// # Errors
    /// There is none; the answer says why.
    pub async fn begin(self: &Rc<Self>) -> Result<(), Answer> {
        self.until(|state| !state.is_ending && !state.is_starting).await;
        if self.state.borrow().replica.is_none() {
            self.start().await?;
        }
        loop {
            self.renew_if_anew().await;
            let is_away = {
                let state = self.state.borrow();
                state.link.as_ref().is_none_or(|link| !link.is_ready) && state.retry_at_ms <= now_ms()
            };
            if is_away && let Err(refused @ Refusal::Refused(_)) = self.reach_broker().await {
                return Err(no_replica(&refused.to_string()));
            }
            self.stay_awake();
            // The first call after a long stop may find that it has to.
            if !self.state.borrow().is_anew {
                break;
            }
        }
        if !std::mem::replace(&mut self.state.borrow_mut().is_tended, true) {
            spawn(tend(Tending(Rc::clone(self))));
        }
        Ok(())
    }

    /// Starts the replica with the state that is stored.
    async fn start(self: &Rc<Self>) -> Result<(), Answer> {
        self.state.borrow_mut().is_starting = true;
        let starting = Starting(Rc::clone(self));
        let started_ms = now_ms();
        let settings = settings().await.map_err(|reason| no_replica(&reason))?;
        let address = Address::read(&settings.broker).map_err(|reason| no_replica(&reason))?;
        let names = Names::new(&settings.cluster).map_err(|reason| no_replica(&reason))?;
        let name = format!("spin-{:016x}", random());
        let values = SpinValues::open().await.map_err(|reason| no_replica(&reason))?;
        let shelf = Shelf::new(values, &settings.cluster, &name);
        self.state.borrow_mut().replica = Some(Rc::new(Replica { name, settings, address, names, shelf, started_ms }));

        let servers = match self.reach_broker().await {
            Ok(()) => self.state.borrow().link.as_ref().map(|link| link.servers),
            Err(Refusal::Unreachable(_)) => None,
            Err(refused @ Refusal::Refused(_)) => return Err(no_replica(&refused.to_string())),
        };
        let replica = self.replica();
        // After the inbox is there: what is written from then on comes by it, and what was written before is stored.
        let loaded = replica.shelf.load().await.map_err(|reason| no_replica(&reason))?;
        let config = config(&replica, servers);
        let begun = lifecycle::start(&config).map_err(|reason| no_replica(&reason))?;
        self.carry_out(begun.effects);
        self.take_in(loaded);
        self.state.borrow_mut().has_begun = true;
        starting.succeeded();
        self.hear();
        Ok(())
    }

    /// Hands stored state to the component.
    fn take_in(&self, loaded: crate::shelf::Loaded) {
        let replica = self.replica();
        for key in &loaded.broken {
            tell(&format!("what is stored under {key} is broken, and was passed over"));
        }
        for part in &loaded.parts {
            match checkpoint::load(part) {
                Ok(effects) => self.carry_out(effects),
                Err(reason) => tell(&format!("a stored part was passed over: {reason}")),
            }
        }
        replica.shelf.note_version(checkpoint::save(u64::MAX).version);
        if !loaded.writes.is_empty() {
            self.carry_out(checkpoint::replay(&loaded.writes, false));
        }
    }

    /// After a stop that outlasted the retention the component has no state: it gets what is stored.
    async fn renew_if_anew(&self) {
        if !std::mem::take(&mut self.state.borrow_mut().is_anew) {
            return;
        }
        self.drop_link();
        // Nobody knows this incarnation yet.
        self.state.borrow_mut().awake_until_ms = None;
        match self.replica().shelf.load().await {
            Ok(loaded) => self.take_in(loaded),
            // Peers have it, or the next instance.
            Err(reason) => tell(&reason),
        }
    }

    /// Announces that it is awake, if what was announced is about to end.
    pub fn stay_awake(&self) {
        let now_ms = now_ms();
        let (until_ms, lingers_until_ms) = {
            let state = self.state.borrow();
            (state.awake_until_ms, state.lingers_until_ms)
        };
        let wanted_ms = (now_ms + LEASE_MS).max(lingers_until_ms + LEASE_MS / 2);
        if until_ms.is_some_and(|until_ms| until_ms >= (now_ms + LEASE_MS / 2).max(lingers_until_ms)) {
            return;
        }
        let effects = lifecycle::wake(wanted_ms);
        let mut state = self.state.borrow_mut();
        state.awake_until_ms = Some(wanted_ms);
        state.is_unannounced = state.link.as_ref().is_none_or(|link| !link.is_ready);
        drop(state);
        self.carry_out(effects);
    }

    /// Stores what has changed, unless another task does.
    async fn bundle(&self) {
        if std::mem::replace(&mut self.state.borrow_mut().is_bundling, true) {
            return;
        }
        let bundling = Bundling(self);
        self.state.borrow_mut().has_heard = false;
        let replica = self.replica();
        let bundled = replica.shelf.bundle(|since| {
            let saved = checkpoint::save(since);
            let part = |part: checkpoint::Part| Part { key: part.key, chunk: part.chunk };
            Saved { version: saved.version, parts: saved.parts.into_iter().map(part).collect() }
        });
        if let Err(reason) = bundled.await {
            self.state.borrow_mut().has_heard = true;
            tell(&reason);
        }
        drop(bundling);
    }

    /// Ends the awake period: the replica says farewell, what it has is stored, and it leaves nothing at the broker.
    async fn end(&self) {
        self.state.borrow_mut().is_ending = true;
        let ending = Ending(self);
        self.carry_out(lifecycle::leave());
        self.state.borrow_mut().awake_until_ms = None;
        self.flush().await;
        self.store_writes().await;
        self.until_within(END_MS, |state| state.unsettled.is_empty() || state.link.is_none()).await;
        let replica = self.replica();
        if self.state.borrow().has_heard || replica.shelf.has_many_writes() {
            self.bundle().await;
        }
        if let Some(link) = &mut self.state.borrow_mut().link {
            link.session.delete_inbox();
            link.session.close();
        }
        self.flush().await;
        self.until_within(END_MS, |state| state.link.is_none()).await;
        self.drop_link();
        drop(ending);
    }
}

/// What the variables say.
async fn settings() -> Result<Settings, String> {
    let mut values = BTreeMap::new();
    for name in VARIABLES {
        match spin_sdk::variables::get(name).await {
            Ok(value) => drop(values.insert(name, value)),
            Err(spin_sdk::variables::Error::Undefined(_)) => {}
            Err(error) => return Err(format!("the variable {name} cannot be read: {error:?}")),
        }
    }
    Settings::read(|name| values.get(name).cloned())
}

/// The component's configuration, where so many replicas serve; none: that is not known.
fn config(replica: &Replica, servers: Option<u32>) -> Config {
    let settings = &replica.settings;
    let bootstrap_ms = match servers {
        // Nobody would answer. With a log it asks all the same, since that is what it reads the log after.
        Some(0) => u32::from(settings.log_bytes > 0),
        Some(_) | None => BOOTSTRAP_MS,
    };
    Config {
        cluster: settings.cluster.clone(),
        name: Some(replica.name.clone()),
        host: "spin".to_owned(),
        region: settings.region.clone(),
        zone: settings.zone.clone(),
        component_hash: settings.component_hash.clone(),
        frame_bytes: settings.frame_bytes,
        retention_ms: settings.retention_ms,
        skew_ms: SKEW_MS,
        burst_ms: settings.burst_ms,
        repair_bytes: settings.repair_bytes,
        bootstrap_ms,
        store_bytes: settings.store_bytes,
        combine_above: settings.combine_above,
        combine_ms: settings.combine_ms,
        log_bytes: settings.log_bytes,
    }
}

/// Does what is due by time, until no request has come for a while.
async fn tend(tending: Tending) {
    let host = &tending.0;
    let (mut last_ms, mut saved_ms) = (now_ms(), now_ms());
    loop {
        pause(host.until_tick_ms().max(1)).await;
        let now = now_ms();
        if now > last_ms + GAP_MS {
            host.drop_link();
        }
        host.renew_if_anew().await;
        host.tick_if_due();
        if let Some(link) = &mut host.state.borrow_mut().link {
            link.session.tick(now);
        }
        host.store_writes().await;
        let (is_away, is_busy, heard) = {
            let state = host.state.borrow();
            let is_away = state.link.is_none() && !state.is_connecting && state.retry_at_ms <= now;
            let idle_ms = now.saturating_sub(state.idle_since_ms);
            let is_busy = state.active > 0 || idle_ms < host.replica().settings.idle_ms;
            (is_away, is_busy, state.has_heard)
        };
        if !is_busy {
            host.end().await;
            return;
        }
        if is_away {
            // What comes of it is told, and a request that needs it says so.
            let _ = host.reach_broker().await;
        }
        host.stay_awake();
        if host.replica().shelf.has_many_writes() || (heard && now >= saved_ms + SAVE_MS) {
            saved_ms = now;
            host.bundle().await;
        }
        host.flush().await;
        last_ms = now_ms();
    }
}

/// A task starts the replica. If it fails or is cancelled, the next request tries again.
struct Starting(Rc<Host>);

impl Starting {
    fn succeeded(self) {
        self.0.state.borrow_mut().is_starting = false;
    }
}

impl Drop for Starting {
    fn drop(&mut self) {
        let mut state = self.0.state.borrow_mut();
        if std::mem::take(&mut state.is_starting) {
            state.replica = None;
            state.link = None;
        }
    }
}

/// A task tends the replica. If it is cancelled, the next request begins another.
struct Tending(Rc<Host>);

impl Drop for Tending {
    fn drop(&mut self) {
        self.0.state.borrow_mut().is_tended = false;
    }
}

struct Ending<'a>(&'a Host);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.state.borrow_mut().is_ending = false;
    }
}

struct Bundling<'a>(&'a Host);

impl Drop for Bundling<'_> {
    fn drop(&mut self) {
        self.0.state.borrow_mut().is_bundling = false;
    }
}
