//! What platforms, operators and bad luck do to replicas and to the broker, drawn from the seed.

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::finding::{Finding, Kind};
use super::fleet::Fleet;
use super::settings::Settings;
use super::write::Host;
use crate::chance::Chance;
use crate::control::control;

/// How long a freeze lasts, in milliseconds: from, to.
const FREEZE_MS: (u64, u64) = (500, 9_000);
/// How long one lasts that is longer than the retention.
const OVERSLEEP_MS: (u64, u64) = (65_000, 80_000);
/// How long a place stays empty.
const ABSENCE_MS: (u64, u64) = (0, 3_000);
/// How long the broker is away.
const BROKER_AWAY_MS: (u64, u64) = (500, 4_000);
/// How many faults there are in a deck.
pub const DECK: u64 = CARDS.len() as u64;
/// How often a start is tried, and the pause between two tries.
const STARTS: usize = 3;
const START_PAUSE: Duration = Duration::from_secs(2);

/// How often which fault befell which host. The broker's are under its own name.
pub type Tally = BTreeMap<&'static str, BTreeMap<&'static str, u64>>;

/// What is still to be done about a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Remedy {
    ThawNative(usize),
    StartNative(usize),
    ThawSpin(usize),
    StartSpin(usize),
}

/// A fault that is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Card {
    FreezeNative,
    OversleepNative,
    KillNative,
    LeaveNative,
    KillFunction,
    Evict,
    FreezeSpin,
    KillSpin,
}

/// Faults come from a deck that is shuffled again whenever it is empty: in any order, and each of them soon.
const CARDS: [Card; 20] = [
    Card::FreezeNative,
    Card::FreezeNative,
    Card::FreezeNative,
    Card::FreezeNative,
    Card::OversleepNative,
    Card::KillNative,
    Card::KillNative,
    Card::KillNative,
    Card::LeaveNative,
    Card::KillFunction,
    Card::KillFunction,
    Card::KillFunction,
    Card::KillFunction,
    Card::Evict,
    Card::Evict,
    Card::Evict,
    Card::FreezeSpin,
    Card::FreezeSpin,
    Card::KillSpin,
    Card::KillSpin,
];

/// Who brings them about.
pub struct Faults {
    chance: Chance,
    deck: Vec<Card>,
    settings: Settings,
    begun: Instant,
    next: Instant,
    next_broker: Instant,
    due: Vec<(Instant, Remedy)>,
    /// How many cards were played: with a whole deck each kind of fault was.
    pub played: u64,
    /// What was done.
    pub tally: Tally,
    /// What went wrong that nobody had meant to.
    pub findings: Vec<Finding>,
}

impl Faults {
    /// None so far.
    pub fn new(settings: &Settings) -> Self {
        let now = Instant::now();
        Self {
            chance: Chance::new(settings.seed, "faults"),
            deck: Vec::new(),
            settings: settings.clone(),
            begun: now,
            next: now + settings.fault_every,
            next_broker: now + settings.broker_every,
            due: Vec::new(),
            played: 0,
            tally: Tally::new(),
            findings: Vec::new(),
        }
    }

    /// Does what is due, and perhaps something new. It may take some seconds.
    pub fn step(&mut self, fleet: &Fleet) {
        self.remedy(fleet, Instant::now());
        let now = Instant::now();
        if now >= self.next_broker {
            self.restart_broker();
            self.next_broker = Instant::now() + self.settings.broker_every;
        }
        if now >= self.next {
            let every = self.settings.fault_every.as_millis() as u64;
            self.next = now + Duration::from_millis(every / 2 + self.chance.below(every.max(1)));
            self.draw(fleet);
        }
    }

    /// Ends all that lasts: who is frozen is thawed, who is away is started.
    pub fn end(&mut self, fleet: &Fleet) {
        if let Some(last) = self.due.iter().map(|(at, _)| *at).max() {
            self.remedy(fleet, last);
        }
        self.replace_ended(fleet);
        self.next = Instant::now() + self.settings.fault_every;
    }

    fn count(&mut self, what: &'static str, kind: &'static str) {
        *self.tally.entry(what).or_default().entry(kind).or_default() += 1;
    }

    fn between(&mut self, (low, high): (u64, u64)) -> Duration {
        Duration::from_millis(low + self.chance.below(high - low + 1))
    }

    fn found(&mut self, about: String, told: String) {
        let second = self.begun.elapsed().as_secs();
        self.findings.push(Finding { kind: Kind::Process, about, told, at: String::new(), second });
    }

    fn later(&mut self, after: Duration, remedy: Remedy) {
        self.due.push((Instant::now() + after, remedy));
    }

    /// Brings about what the next card says. One that cannot be just now is put under the others.
    fn draw(&mut self, fleet: &Fleet) {
        let card = match self.deck.pop() {
            Some(card) => card,
            None => {
                self.deck = CARDS.to_vec();
                self.deck.retain(|card| *card != Card::OversleepNative || self.settings.oversleeps);
                self.chance.shuffle(&mut self.deck);
                self.deck.pop().expect("there are cards")
            }
        };
        match self.play(fleet, card) {
            Ok(true) => self.played += 1,
            Ok(false) => self.deck.insert(0, card),
            Err(error) => self.found(format!("{card:?}"), format!("{error:#}")),
        }
    }

    /// Whether it could be.
    fn play(&mut self, fleet: &Fleet, card: Card) -> Result<bool> {
        let (natives, spins) = fleet.sizes();
        let native = self.chance.below(natives as u64) as usize;
        let other = 1 + self.chance.below(natives as u64 - 1) as usize;
        let spin = self.chance.below(spins as u64) as usize;
        match card {
            Card::FreezeNative => self.freeze_native(fleet, native, FREEZE_MS, "freeze"),
            Card::OversleepNative => self.freeze_native(fleet, other, OVERSLEEP_MS, "freeze longer than the retention"),
            Card::KillNative => self.kill_native(fleet, other),
            Card::LeaveNative => self.leave_native(fleet, other),
            Card::KillFunction => self.kill_function(fleet),
            Card::Evict => self.evict(fleet, spin),
            Card::FreezeSpin => self.freeze_spin(fleet, spin),
            Card::KillSpin => self.kill_spin(fleet, spin),
        }
    }

    /// At most half of the native replicas are stopped at a time, so that somebody can fill newcomers.
    fn freeze_native(&mut self, fleet: &Fleet, slot: usize, ms: (u64, u64), kind: &'static str) -> Result<bool> {
        let (natives, _) = fleet.sizes();
        let away = (0..natives).filter(|slot| {
            let place = fleet.native(*slot);
            place.frozen.is_some() || place.node.is_none()
        });
        let lasts = self.between(ms);
        if away.count() >= natives / 2 {
            return Ok(false);
        }
        let mut place = fleet.native(slot);
        let Some(node) = place.node.as_ref().filter(|_| place.frozen.is_none()) else { return Ok(false) };
        node.freeze()?;
        place.frozen = Some(Instant::now());
        drop(place);
        self.count(Host::Native.name(), kind);
        self.later(lasts, Remedy::ThawNative(slot));
        Ok(true)
    }

    fn kill_native(&mut self, fleet: &Fleet, slot: usize) -> Result<bool> {
        let absence = self.between(ABSENCE_MS);
        let Some(node) = fleet.native(slot).node.take() else { return Ok(false) };
        // A thaw that was due finds nobody, or a successor that is not frozen.
        node.kill()?;
        self.count(Host::Native.name(), "kill");
        self.later(absence, Remedy::StartNative(slot));
        Ok(true)
    }

    fn leave_native(&mut self, fleet: &Fleet, slot: usize) -> Result<bool> {
        let absence = self.between(ABSENCE_MS);
        let mut place = fleet.native(slot);
        if place.frozen.is_some() {
            return Ok(false);
        }
        let Some(node) = place.node.take() else { return Ok(false) };
        drop(place);
        self.count(Host::Native.name(), "leave");
        self.later(absence, Remedy::StartNative(slot));
        node.leave()?;
        Ok(true)
    }

    /// Kills an environment, whether it is frozen, lingers, or is in the midst of a request.
    fn kill_function(&mut self, fleet: &Fleet) -> Result<bool> {
        let environments = fleet.functions.standing().environments;
        if environments.is_empty() {
            return Ok(false);
        }
        let chosen = &environments[self.chance.below(environments.len() as u64) as usize];
        chosen.pid.kill();
        self.count(Host::Lambda.name(), if chosen.busy { "kill of a busy one" } else { "kill of a frozen one" });
        Ok(true)
    }

    fn evict(&mut self, fleet: &Fleet, slot: usize) -> Result<bool> {
        let place = fleet.spin(slot);
        let Some(application) = place.application.as_ref().filter(|_| !place.is_frozen) else { return Ok(false) };
        application.evict()?;
        drop(place);
        self.count(Host::Spin.name(), "eviction of all instances");
        Ok(true)
    }

    fn freeze_spin(&mut self, fleet: &Fleet, slot: usize) -> Result<bool> {
        let lasts = self.between(FREEZE_MS);
        let mut place = fleet.spin(slot);
        let Some(application) = place.application.as_ref().filter(|_| !place.is_frozen) else { return Ok(false) };
        application.freeze()?;
        place.is_frozen = true;
        drop(place);
        self.count(Host::Spin.name(), "freeze of a platform");
        self.later(lasts, Remedy::ThawSpin(slot));
        Ok(true)
    }

    fn kill_spin(&mut self, fleet: &Fleet, slot: usize) -> Result<bool> {
        let absence = self.between(ABSENCE_MS);
        let mut place = fleet.spin(slot);
        if !place.is_frozen {
            let stats = place.application.as_ref().and_then(|application| application.stats().ok());
            place.former_instances += stats.map_or(0, |stats| stats["started"].as_u64().unwrap_or(0));
        }
        let Some(application) = place.application.take() else { return Ok(false) };
        application.kill()?;
        drop(place);
        self.count(Host::Spin.name(), "kill of a platform");
        self.later(absence, Remedy::StartSpin(slot));
        Ok(true)
    }

    fn restart_broker(&mut self) {
        let away = self.between(BROKER_AWAY_MS);
        let restarted = control(&["-q", "stop_app"]).and_then(|_| {
            thread::sleep(away);
            control(&["-q", "start_app"])
        });
        match restarted {
            Ok(_) => self.count("broker", "restart"),
            Err(error) => self.found("the broker".to_owned(), format!("{error:#}")),
        }
    }

    /// Does what is due by then.
    fn remedy(&mut self, fleet: &Fleet, until: Instant) {
        let (due, later): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.due).into_iter().partition(|(at, _)| *at <= until);
        self.due = later;
        for (_, remedy) in due {
            if let Err(error) = self.apply(fleet, remedy) {
                self.found(format!("{remedy:?}"), format!("{error:#}"));
            }
        }
    }

    fn apply(&mut self, fleet: &Fleet, remedy: Remedy) -> Result<()> {
        match remedy {
            Remedy::ThawNative(slot) => {
                let mut place = fleet.native(slot);
                let (Some(node), Some(since)) = (&place.node, place.frozen) else { return Ok(()) };
                node.thaw()?;
                place.overslept |= since.elapsed() >= Duration::from_secs(Settings::RETENTION_S);
                place.frozen = None;
                Ok(())
            }
            Remedy::ThawSpin(slot) => {
                let mut place = fleet.spin(slot);
                let Some(application) = place.application.as_ref().filter(|_| place.is_frozen) else { return Ok(()) };
                application.thaw()?;
                place.is_frozen = false;
                Ok(())
            }
            Remedy::StartNative(slot) => start(|| fleet.start_native(slot)),
            Remedy::StartSpin(slot) => start(|| fleet.start_application(slot)),
        }
    }

    /// Whoever has ended though nobody made it is told and replaced.
    fn replace_ended(&mut self, fleet: &Fleet) {
        let (natives, spins) = fleet.sizes();
        for slot in 0..natives {
            let mut place = fleet.native(slot);
            let ended = place.node.as_mut().and_then(|node| node.ended().ok().flatten());
            let name = place.node.as_ref().map(|node| node.name().to_owned()).unwrap_or_default();
            let is_empty = place.node.is_none() || ended.is_some();
            drop(place);
            if let Some(status) = ended {
                self.found(name, format!("the node ended by itself: {status}"));
            }
            if is_empty && let Err(error) = start(|| fleet.start_native(slot)) {
                self.found(format!("native replica {slot}"), format!("{error:#}"));
            }
        }
        for slot in 0..spins {
            let mut place = fleet.spin(slot);
            let ended = place.application.as_mut().and_then(|application| application.ended().ok().flatten());
            let is_empty = place.application.is_none() || ended.is_some();
            drop(place);
            if let Some(status) = ended {
                self.found(format!("application {slot}"), format!("its platform ended by itself: {status}"));
            }
            if is_empty && let Err(error) = start(|| fleet.start_application(slot)) {
                self.found(format!("application {slot}"), format!("{error:#}"));
            }
        }
    }
}

/// Starts somebody, again if that fails: the broker may have been away.
fn start(start: impl Fn() -> Result<()>) -> Result<()> {
    for _ in 1..STARTS {
        if start().is_ok() {
            return Ok(());
        }
        thread::sleep(START_PAUSE);
    }
    start()
}
