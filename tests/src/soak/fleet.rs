//! The replicas of one cluster on all three hosts, and how to ask them.
//!
//! What guards the database: the broker's log is on, every application for Spin has its key-value store, which outlives its
//! platform, and the first native replica is never killed.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use dayfly_conformance::http::Answer;
use dayfly_core::http::Request;
use serde_json::Value;

use super::settings::Settings;
use super::write::Host;
use crate::application::{self, Application, StateFolder, broker_address};
use crate::chance::Chance;
use crate::client::Client;
use crate::node::{Node, broker_url, fresh_cluster};
use crate::platform::{self, Platform};
use crate::stepped::from_core;

/// How long a client waits for an answer of a node or an application.
const PATIENCE: Duration = Duration::from_secs(4);
/// What a replica stores at most, in MiB, and what the log holds: eight times as much.
const STORE_MIB: &str = "16";
const LOG_MIB: &str = "128";
/// How long a function stays awake after an answer, in seconds. Under load it is never quiet.
const LINGER: &str = "0.2";
/// At which age an environment of functions is reclaimed.
const RECLAIM: Duration = Duration::from_secs(45);
/// How often all environments are woken and asked for their status before it is told what was not seen. In each round
/// one more may be reclaimed between the two.
const STATUS_ROUNDS: usize = 4;

/// Where a write was answered, as far as it matters whether that has ended since.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// One life of a native replica.
    Native {
        /// Which of them.
        slot: usize,
        /// Its name, which no other life has.
        name: String,
    },
    /// An application, whose store has what was applied.
    Spin {
        /// Which of them.
        slot: usize,
    },
    /// Some environment of the function.
    Lambda,
}

/// Somebody who can be asked.
#[derive(Clone, Debug)]
pub enum Target {
    /// A node or an application.
    Http {
        /// Where it listens.
        url: String,
        /// Which it is.
        place: Place,
    },
    /// Some environment of the function.
    Function,
}

impl Target {
    /// What runs it.
    pub fn host(&self) -> Host {
        match self.place() {
            Place::Native { .. } => Host::Native,
            Place::Spin { .. } => Host::Spin,
            Place::Lambda => Host::Lambda,
        }
    }

    /// Which it is.
    pub fn place(&self) -> Place {
        match self {
            Self::Http { place, .. } => place.clone(),
            Self::Function => Place::Lambda,
        }
    }
}

/// A native replica's place: whoever lives there.
#[derive(Debug, Default)]
pub struct NativeSlot {
    /// None while it is being replaced.
    pub node: Option<Node>,
    /// Since when it is stopped.
    pub frozen: Option<Instant>,
    /// Whether this life was ever frozen for so long that it had to start anew.
    pub overslept: bool,
}

/// An application's place.
#[derive(Debug)]
pub struct SpinSlot {
    /// None while its platform is being replaced.
    pub application: Option<Application>,
    /// Whether its platform is stopped.
    pub is_frozen: bool,
    /// What the platforms before this one started and dropped in the way of instances.
    pub former_instances: u64,
    /// Goes last.
    state: StateFolder,
}

/// All of them. Dropping it ends them.
pub struct Fleet {
    /// The cluster's name.
    pub cluster: String,
    natives: Vec<Mutex<NativeSlot>>,
    spins: Vec<Mutex<SpinSlot>>,
    /// The platform of the functions.
    pub functions: Platform,
    wanted_functions: usize,
    native_lives: AtomicU64,
}

impl Fleet {
    /// Starts all, and waits until those that can say so are complete.
    ///
    /// # Errors
    /// One does not start.
    pub fn start(settings: &Settings) -> Result<Self> {
        ensure!(settings.natives >= 2, "the first native replica is never killed, and others are to be");
        let cluster = fresh_cluster("soak");
        let retention = Settings::RETENTION_S.to_string();
        let variables = [
            ("DAYFLY_RETENTION", retention.as_str()),
            ("DAYFLY_STORE_MIB", STORE_MIB),
            ("DAYFLY_LOG_MIB", LOG_MIB),
            ("DAYFLY_LINGER", LINGER),
        ];
        let functions = Platform::start(platform::Settings {
            variables: variables.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec(),
            concurrency: settings.functions,
            reclaim_after: Some(RECLAIM),
            ..platform::Settings::of(&cluster)
        });
        let mut fleet = Self {
            cluster,
            natives: (0..settings.natives).map(|_| Mutex::default()).collect(),
            spins: Vec::new(),
            functions,
            wanted_functions: settings.functions,
            native_lives: AtomicU64::new(0),
        };
        for slot in 0..settings.natives {
            fleet.start_native(slot)?;
        }
        for slot in 0..settings.applications {
            let state = StateFolder::new()?;
            let slot_of = SpinSlot { application: None, is_frozen: false, former_instances: 0, state };
            fleet.spins.push(Mutex::new(slot_of));
            fleet.start_application(slot)?;
        }
        fleet.functions.wake_at_once(settings.functions, 2)?;
        fleet.functions.await_idle()?;
        Ok(fleet)
    }

    /// How many there are of native replicas and of applications.
    pub fn sizes(&self) -> (usize, usize) {
        (self.natives.len(), self.spins.len())
    }

    /// How many functions there are to be at a time.
    pub fn wanted_functions(&self) -> usize {
        self.wanted_functions
    }

    /// How many replicas are to agree at least.
    pub fn wanted(&self) -> usize {
        self.natives.len() + self.spins.len() + self.wanted_functions
    }

    /// A native replica's place.
    pub fn native(&self, slot: usize) -> MutexGuard<'_, NativeSlot> {
        self.natives[slot].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An application's place.
    pub fn spin(&self, slot: usize) -> MutexGuard<'_, SpinSlot> {
        self.spins[slot].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts a native replica in a place where none lives, under a name of its own.
    ///
    /// # Errors
    /// It does not come to serve.
    pub fn start_native(&self, slot: usize) -> Result<()> {
        let name = format!("n{slot}-{}", self.native_lives.fetch_add(1, Ordering::Relaxed));
        let retention = Settings::RETENTION_S.to_string();
        let arguments = ["--retention", &retention, "--store-mib", STORE_MIB, "--log-mib", LOG_MIB];
        let node = Node::start_apart(&self.cluster, &name, &arguments)?;
        if slot == 0 {
            // It is the founder once it has found nobody.
            node.await_ready()?;
        }
        *self.native(slot) = NativeSlot { node: Some(node), frozen: None, overslept: false };
        Ok(())
    }

    /// Starts an application's platform in a place where none runs, with the store that is there.
    ///
    /// # Errors
    /// It does not come to serve.
    pub fn start_application(&self, slot: usize) -> Result<()> {
        let broker = broker_url()?;
        let address = broker_address(&broker)?;
        let retention = Settings::RETENTION_S.to_string();
        let variables = [
            ("broker", broker.as_str()),
            ("broker_address", &address),
            ("cluster", &self.cluster),
            ("retention", &retention),
            ("store_mib", STORE_MIB),
            ("log_mib", LOG_MIB),
        ];
        let mut place = self.spin(slot);
        // Few requests at a time and in all, so that several instances answer, and come and go.
        let keeping = ["--max-concurrent", "2", "--max-requests", "64"];
        let started = Application::start_with(application::Platform::Ours, &place.state, &variables, &keeping)?;
        place.application = Some(started);
        place.is_frozen = false;
        Ok(())
    }

    /// How many native replicas were started.
    pub fn native_lives(&self) -> u64 {
        self.native_lives.load(Ordering::Relaxed)
    }

    /// Somebody of this host who is not stopped; none: there is nobody.
    pub fn pick(&self, host: Host, chance: &mut Chance) -> Option<Target> {
        let targets = self.targets(host);
        (!targets.is_empty()).then(|| targets[chance.below(targets.len() as u64) as usize].clone())
    }

    /// All of a host who are not stopped.
    pub fn targets(&self, host: Host) -> Vec<Target> {
        match host {
            Host::Native => (0..self.natives.len()).filter_map(|slot| self.native_target(slot)).collect(),
            Host::Spin => (0..self.spins.len()).filter_map(|slot| self.spin_target(slot)).collect(),
            Host::Lambda => vec![Target::Function],
        }
    }

    fn native_target(&self, slot: usize) -> Option<Target> {
        // Whoever holds it does something to it.
        let place = self.natives[slot].try_lock().ok()?;
        let node = place.node.as_ref().filter(|_| place.frozen.is_none())?;
        let name = node.name().to_owned();
        Some(Target::Http { url: node.url().to_owned(), place: Place::Native { slot, name } })
    }

    fn spin_target(&self, slot: usize) -> Option<Target> {
        let place = self.spins[slot].try_lock().ok()?;
        let application = place.application.as_ref().filter(|_| !place.is_frozen)?;
        Some(Target::Http { url: application.url().to_owned(), place: Place::Spin { slot } })
    }

    /// Asks somebody.
    ///
    /// # Errors
    /// There is no answer in time.
    pub fn ask(&self, target: &Target, request: &Request) -> Result<Answer> {
        let request = from_core(request);
        match target {
            Target::Http { url, .. } => Client::new(url)?.within(PATIENCE).ask(&request),
            Target::Function => self.functions.ask(&request),
        }
    }

    /// Whether what was applied at this place and not confirmed cannot have ended with it.
    pub fn lives(&self, place: &Place) -> bool {
        match place {
            Place::Native { slot, name } => {
                let place = self.native(*slot);
                !place.overslept && place.node.as_ref().is_some_and(|node| node.name() == name)
            }
            Place::Spin { .. } => true,
            Place::Lambda => false,
        }
    }

    /// The status of each that is awake: all nodes, an instance of each application, and each environment, by name.
    ///
    /// # Errors
    /// One does not tell it.
    pub fn statuses(&self) -> Result<Vec<Value>> {
        let request = Request { method: "GET".into(), path: "/v1/status".into(), ..Request::default() };
        let status = |target: &Target| -> Result<Value> {
            let answer = self.ask(target, &request)?;
            ensure!(answer.status == 200, "{target:?}: {} {}", answer.status, String::from_utf8_lossy(&answer.body));
            answer.json()
        };
        let of_http = [Host::Native, Host::Spin].map(|host| self.targets(host)).concat();
        let mut statuses = of_http.iter().map(status).collect::<Result<Vec<_>>>()?;
        let mut seen = BTreeSet::new();
        for _ in 0..STATUS_ROUNDS {
            // One may have been reclaimed by its age since all were last there: a request would not start another.
            self.functions.await_idle()?;
            self.functions.wake_at_once(self.wanted_functions, 1)?;
            // Each request takes the environment that has been frozen for longest.
            for _ in 0..self.wanted_functions {
                self.functions.await_idle()?;
                let told = status(&Target::Function)?;
                if seen.len() < self.wanted_functions
                    && seen.insert(told["name"].as_str().context("no name")?.to_owned())
                {
                    statuses.push(told);
                }
            }
            if seen.len() == self.wanted_functions {
                break;
            }
        }
        Ok(statuses)
    }

    /// How many instances of applications were started.
    pub fn instances_started(&self) -> u64 {
        let of = |slot| {
            let place = self.spin(slot);
            let stats = place.application.as_ref().and_then(|application| application.stats().ok());
            place.former_instances + stats.map_or(0, |stats| stats["started"].as_u64().unwrap_or(0))
        };
        (0..self.spins.len()).map(of).sum()
    }
}
