//! The platform: it has replicas, gives them requests as a serverless platform would, and ends them as one would.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use dayfly_engine::contract::Config;
use dayfly_engine::world::system_now_ms;
use dayfly_engine::{
    Broker, Cause, Chance, Confirm, Ended, Lease, Lost, Phase, Replica, ReplicaOptions, Report, Runtime, StartError,
    SystemWorld, Vault,
};
use serde::de::DeserializeOwned;
use tokio::runtime::Handle;
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::{error, warn};

use super::census::{Census, Entry, Traffic};
use super::estate::Estate;
use super::slot::{Slot, Verdict};
use crate::life;
use crate::metrics::{self, Answers};

/// What a platform is told.
#[derive(Clone)]
pub struct Settings {
    /// What the replicas' configurations have in common.
    pub config: Config,
    /// The regions, and how many replicas each is to have.
    pub regions: Vec<Region>,
    /// Whether the first replica founds the cluster, since nobody can be there already.
    pub founds: bool,
    /// Stands in every name, before its number: on a broker that others use too, names must not be theirs. May be
    /// empty.
    pub name_mark: String,
    /// When a write is answered.
    pub confirm: Confirm,
    /// How long replicas are awake.
    pub lease: Lease,
    /// How the platform ends them; none: it does not.
    pub mortality: Option<Mortality>,
    /// The most replicas at once. While all are busy and there are fewer, another is started.
    pub replicas_max: usize,
    /// The most requests that wait for a replica.
    pub queue_max: usize,
    /// From which lives are drawn.
    pub seed: u64,
    /// Where state is stored; none: nowhere.
    pub estate: Option<Arc<Estate>>,
    /// How often, in milliseconds; 0: only when a replica is frozen or leaves.
    pub save_every_ms: u64,
}

/// A region.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Region {
    /// Its name.
    pub name: String,
    /// How many replicas it is to have.
    pub number: usize,
}

/// How replicas end.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mortality {
    /// After so long without being woken.
    pub idle: Duration,
    /// At random, after so long on average, and three times that at most; none: never.
    pub mean_life: Option<Duration>,
}

/// How often the platform looks whose time has come.
const LOOK: Duration = Duration::from_millis(50);
/// How long a replica that is asked for its status may take.
const STATUS_MAX: Duration = Duration::from_millis(500);
/// How many replicas are started at once when a cluster begins.
const STARTS_AT_ONCE: usize = 32;
/// How long replicas have to say farewell.
const FAREWELL_MAX: Duration = Duration::from_secs(3);
/// A life lasts at most so many times the mean.
const LIFE_MAX: f64 = 3.0;

/// A platform and its replicas.
pub struct Platform {
    pub(super) settings: Settings,
    runtime: Runtime,
    broker: Arc<dyn Broker>,
    /// Where replicas run: not where sockets are served, so that no long call keeps a connection waiting.
    replicas: Handle,
    state: Mutex<State>,
    pub(super) traffic: Traffic,
    pub(super) answers: Answers,
    /// Told when a replica has ended.
    changed: Notify,
}

/// What changes of a platform, under one lock.
pub(super) struct State {
    pub(super) slots: BTreeMap<String, Slot>,
    /// The slots that may be given requests, by their last use.
    pub(super) order: BTreeMap<i64, String>,
    /// Who waits for a replica, first come first. Each is told once that there may be one.
    pub(super) waiting: VecDeque<oneshot::Sender<()>>,
    /// How many replicas are being started, by region.
    pub(super) starting: Vec<usize>,
    /// The place in the order of the last use; positive.
    pub(super) uses: i64,
    /// The place in the order of the last start; negative.
    unused: i64,
    names: u64,
    chance: Chance,
    counted: Census,
    /// Nothing is started any more.
    pub(super) closed: bool,
}

impl Platform {
    /// A platform without replicas, whose replicas will run there.
    pub fn new(runtime: Runtime, broker: Arc<dyn Broker>, replicas: Handle, settings: Settings) -> Arc<Self> {
        let state = State {
            slots: BTreeMap::new(),
            order: BTreeMap::new(),
            waiting: VecDeque::new(),
            starting: vec![0; settings.regions.len()],
            uses: 0,
            unused: 0,
            names: 0,
            chance: Chance::new(settings.seed),
            counted: Census::default(),
            closed: false,
        };
        Arc::new(Self {
            settings,
            runtime,
            broker,
            replicas,
            state: Mutex::new(state),
            traffic: Traffic::default(),
            answers: Answers::default(),
            changed: Notify::new(),
        })
    }

    /// The regions and their numbers.
    pub fn regions(&self) -> &[Region] {
        &self.settings.regions
    }

    /// What clients did.
    pub fn traffic(&self) -> &Traffic {
        &self.traffic
    }

    /// Waits until a replica has ended.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics between two changes that belong together.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    // Starting.

    /// Begins the cluster: one founder, who asks nobody for the database unless others may be there already, and then
    /// all the others, who do.
    pub async fn found(self: &Arc<Self>) -> Result<(), StartError> {
        let places: Vec<usize> = self
            .settings
            .regions
            .iter()
            .enumerate()
            .flat_map(|(region, Region { number, .. })| std::iter::repeat_n(region, *number))
            .collect();
        let Some((founder, others)) = places.split_first() else { return Ok(()) };
        self.start(*founder, self.settings.founds).await?;
        for some in others.chunks(STARTS_AT_ONCE) {
            let mut starts = JoinSet::new();
            for region in some {
                let (platform, region) = (Arc::clone(self), *region);
                starts.spawn(async move { platform.start(region, false).await });
            }
            for started in starts.join_all().await {
                started?;
            }
        }
        Ok(())
    }

    /// Starts a replica in a region and wakes it, so that it asks for the database; none if the platform was closed
    /// meanwhile. The start goes on if its caller goes away.
    pub async fn start(self: &Arc<Self>, region: usize, founder: bool) -> Result<Option<Replica>, StartError> {
        let mut options = ReplicaOptions::standing(self.settings.config.clone());
        options.confirm = self.settings.confirm;
        options.lease = self.settings.lease;
        options.save_every_ms = self.settings.save_every_ms;
        {
            let mut state = self.lock();
            state.names += 1;
            state.starting[region] += 1;
            let config = &mut options.config;
            config.region = self.settings.regions[region].name.clone();
            config.zone = if state.names % 2 == 1 { "a" } else { "b" }.to_owned();
            config.name = Some(format!("{}-{}{}", config.region, self.settings.name_mark, state.names));
            if founder {
                config.bootstrap_ms = 0;
            }
        }
        let platform = Arc::clone(self);
        let starting = self.replicas.spawn(async move { platform.start_with(region, options).await });
        // A start does not panic; it is cancelled only with its runtime, when the process ends.
        starting.await.unwrap_or_else(|error| {
            let lost = Lost { cause: Cause::NotStarted, detail: error.to_string() };
            Err(StartError::Instance(lost))
        })
    }

    async fn start_with(
        self: Arc<Self>,
        region: usize,
        mut options: ReplicaOptions,
    ) -> Result<Option<Replica>, StartError> {
        options.vault = self.vault(&options).await;
        let started = Replica::start(&self.runtime, Arc::clone(&self.broker), SystemWorld, options).await;
        let Some(replica) = self.enroll(region, started)? else { return Ok(None) };
        let name = replica.name().to_owned();
        tokio::spawn(life::follow(replica.clone(), {
            let (platform, name) = (Arc::clone(&self), name.clone());
            move |report| platform.note_report(&name, report)
        }));
        tokio::spawn({
            let (platform, replica) = (Arc::clone(&self), replica.clone());
            async move {
                let ended = replica.ended().await;
                platform.bury(replica.name(), &ended);
            }
        });
        self.wake(&name).await;
        self.tell_waiting();
        Ok(Some(replica))
    }

    /// Where a replica's state is stored. One that cannot be stored is better than none: its peers have the database.
    async fn vault(&self, options: &ReplicaOptions) -> Option<Arc<dyn Vault>> {
        let (estate, name) = (Arc::clone(self.settings.estate.as_ref()?), options.config.name.clone()?);
        let opened = tokio::task::spawn_blocking(move || (estate.vault(&name), name)).await.ok()?;
        match opened {
            (Ok(vault), _) => Some(Arc::new(vault)),
            (Err(error), name) => {
                error!(replica = name, "its state will not be stored: {error}");
                None
            }
        }
    }

    /// Puts a replica on the roster; none if the platform was closed meanwhile.
    fn enroll(&self, region: usize, started: Result<Replica, StartError>) -> Result<Option<Replica>, StartError> {
        let mut state = self.lock();
        state.starting[region] -= 1;
        let replica = started?;
        if state.closed {
            replica.kill();
            return Ok(None);
        }
        let mean_life = self.settings.mortality.and_then(|mortality| mortality.mean_life);
        let life = mean_life.map(|mean| life(mean, state.chance.next_f64()));
        // To be started is not to be used: whoever has served comes before whoever is still being filled.
        state.unused -= 1;
        let used = state.unused;
        state.counted.started += 1;
        state.order.insert(used, replica.name().to_owned());
        state.slots.insert(replica.name().to_owned(), Slot::new(replica.clone(), region, used, life));
        Ok(Some(replica))
    }

    /// Keeps what is to be known of a replica when it is frozen.
    fn note_report(&self, name: &str, report: &Report) {
        let mut state = self.lock();
        let Some(slot) = state.slots.get_mut(name) else { return };
        match report.phase {
            Phase::Awake { .. } => slot.complete = report.complete,
            // What it was when it froze it still is; of one that has ended the end is told elsewhere.
            Phase::Frozen | Phase::Ended(_) => {}
        }
    }

    /// Takes a replica that has ended off the roster.
    fn bury(&self, name: &str, ended: &Ended) {
        let mut state = self.lock();
        let Some(slot) = state.slots.remove(name) else { return };
        state.order.remove(&slot.used);
        let counted = &mut state.counted;
        match (slot.verdict, ended) {
            (Some(Verdict::Killed), _) => counted.killed += 1,
            (Some(Verdict::Reclaimed), _) => counted.reclaimed += 1,
            (None, Ended::Left) => {}
            (None, Ended::Killed | Ended::Lost(_) | Ended::Refused(_)) => {
                counted.lost += 1;
                error!(replica = name, "lost: {ended}");
            }
        }
        let was_last = slot.complete && !state.slots.values().any(|slot| slot.complete) && !state.closed;
        state.counted.complete_losses += u64::from(was_last);
        if state.slots.is_empty() && !state.closed {
            state.counted.extinctions += 1;
        }
        let left = state.slots.len();
        drop(state);
        if was_last {
            warn!(
                replica = name,
                "the last complete replica is gone: what the other {left} have not been handed is lost, unless it is \
                 stored or logged"
            );
        }
        self.changed.notify_one();
    }

    // What a keeper does, and who watches.

    /// Wakes a replica for an awake period, or prolongs the one that lasts.
    pub async fn wake(&self, name: &str) -> bool {
        let Lease::Invoked { awake_ms, .. } = self.settings.lease else { return true };
        let replica = self.lock().slots.get(name).map(|slot| slot.replica.clone());
        match replica {
            Some(replica) => replica.wake(system_now_ms() + awake_ms).await,
            None => false,
        }
    }

    /// Who lives.
    pub fn roster(&self) -> Vec<Entry> {
        let now = std::time::Instant::now();
        let mut state = self.lock();
        let living = state.slots.iter_mut().filter(|(_, slot)| slot.verdict.is_none());
        let entry = |(name, slot): (&String, &mut Slot)| {
            slot.look(now);
            let frozen_for = slot.frozen_since.map(|since| now.saturating_duration_since(since));
            Entry { name: name.clone(), region: slot.region, age: now.saturating_duration_since(slot.born), frozen_for }
        };
        living.map(entry).collect()
    }

    /// How many replicas are being started in a region.
    pub fn starting(&self, region: usize) -> usize {
        self.lock().starting[region]
    }

    /// How many there are and were.
    pub fn census(&self) -> Census {
        let state = self.lock();
        let awake = state.slots.values().filter(|slot| slot.is_awake()).count();
        let dormant = state.slots.len() - awake;
        let complete = state.slots.values().filter(|slot| slot.complete).count();
        Census { awake, dormant, complete, starting: state.starting.iter().sum(), ..state.counted }
    }

    /// What the awake replicas answer to `GET /v1/status`. Frozen ones are left alone, and none is kept awake by it.
    pub async fn statuses<T: DeserializeOwned + Send + 'static>(&self) -> Vec<(String, T)> {
        let awake: Vec<Replica> = {
            let state = self.lock();
            state.slots.values().filter(|slot| slot.is_awake()).map(|slot| slot.replica.clone()).collect()
        };
        let mut asked = JoinSet::new();
        for replica in awake {
            asked.spawn(async move {
                let answer = timeout(STATUS_MAX, replica.peek(metrics::peeking("/v1/status", ""))).await.ok()??;
                let status = serde_json::from_slice(&answer.body).ok()?;
                Some((replica.name().to_owned(), status))
            });
        }
        asked.join_all().await.into_iter().flatten().collect()
    }

    /// Every replica that lives.
    pub fn replicas(&self) -> Vec<Replica> {
        self.lock().slots.values().map(|slot| slot.replica.clone()).collect()
    }

    // Ends.

    /// Ends replicas whose time has come, until the platform is closed. It asks nobody.
    pub async fn reap(&self) {
        let Some(mortality) = self.settings.mortality else { return };
        loop {
            tokio::time::sleep(LOOK).await;
            let now = std::time::Instant::now();
            let mut state = self.lock();
            if state.closed {
                return;
            }
            let State { slots, order, .. } = &mut *state;
            for slot in slots.values_mut().filter(|slot| slot.verdict.is_none()) {
                slot.look(now);
                if slot.dies_at.is_some_and(|at| at <= now) {
                    // Wherever it is, and whoever waits for it.
                    slot.verdict = Some(Verdict::Killed);
                } else if slot.frozen_since.is_some_and(|since| now.saturating_duration_since(since) >= mortality.idle)
                {
                    // Nobody gets its turn any more; if somebody has it, it is not idle.
                    let Some(permit) = slot.try_turn() else { continue };
                    permit.forget();
                    slot.verdict = Some(Verdict::Reclaimed);
                } else {
                    continue;
                }
                order.remove(&slot.used);
                slot.replica.kill();
            }
        }
    }

    /// Ends the cluster: nothing is started any more, and the replicas say farewell.
    pub async fn close(&self) {
        let replicas: Vec<Replica> = {
            let mut state = self.lock();
            state.closed = true;
            state.waiting.clear();
            state.slots.values().map(|slot| slot.replica.clone()).collect()
        };
        let mut farewells = JoinSet::new();
        for replica in replicas {
            farewells.spawn(async move { replica.leave().await });
        }
        // Who does not manage to is killed with the process.
        let _ = timeout(FAREWELL_MAX, farewells.join_all()).await;
    }
}

/// How long a replica lives, for a chance from 0 to below 1: each moment is as deadly as any other, up to [`LIFE_MAX`].
fn life(mean: Duration, chance: f64) -> Duration {
    mean.mul_f64((-(1.0 - chance).ln()).min(LIFE_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lives_have_their_mean_and_their_bound() {
        let mean = Duration::from_secs(10);
        let mut chance = Chance::new(1);
        let lives: Vec<f64> = (0..10_000).map(|_| life(mean, chance.next_f64()).as_secs_f64()).collect();
        let average = lives.iter().sum::<f64>() / lives.len() as f64;
        // Cut at three times the mean, the average is 1 - e^-3 of it.
        assert!((9.2..9.8).contains(&average), "{average}");
        assert!(lives.iter().all(|life| (0.0..=30.0).contains(life)));
        assert!(lives.contains(&30.0));
    }
}
