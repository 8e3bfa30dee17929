//! A model of the platform: it starts replicas, gives them invocations, and ends them; with a keeper that wakes them.

mod bill;
mod presence;

use std::collections::BTreeMap;
use std::sync::Arc;

use dayfly_engine::contract::Config;
use dayfly_engine::{Chance, Runtime};

use self::bill::Account;
pub use self::bill::Cost;
pub use self::presence::Frozen;
use self::presence::{Life, Presence};
use super::message::{Input, Invocation, NodeId};
use super::moment::Moment;
use super::node::{Habits, Neighbours, Node};
use super::scenario::{PlatformKind, Scenario};
use super::trace::seed_for;

/// How often the keeper looks.
pub const KEEPER_ROUND: Moment = Moment(1_000_000);
/// A life lasts at most so many times the mean.
const LIFE_MAX: f64 = 3.0;
/// Over how long the growth of a platform is bounded.
const RAMP: Moment = Moment(10_000_000);

/// What the platform wants done.
#[derive(Default)]
pub struct Orders {
    /// What is to reach whom, and when.
    pub reach: Vec<(Moment, NodeId, Input)>,
    /// Who is born.
    pub born: Vec<Birth>,
    /// Whose idleness is to be looked at, and when: if it is as old then, the environment is reclaimed.
    pub reclaim: Vec<(Moment, NodeId, Moment)>,
}

/// A replica that is to be.
pub struct Birth {
    /// It.
    pub node: Box<Node>,
    /// Where.
    pub place: usize,
    /// When its environment has started.
    pub at: Moment,
}

/// Where a request is to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// To the replica in this slot.
    Slot(usize),
    /// To any of this region, by its first place.
    Region(usize),
}

/// Why a request goes nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// Nobody is there.
    NoReplica,
    /// All are busy, and there may be no more, or not yet.
    Throttled,
}

/// A place in the cluster that is to have a replica.
#[derive(Debug)]
struct Slot {
    place: usize,
    node: Option<NodeId>,
    /// It was filled once: from now on whoever keeps slots filled looks at it.
    is_begun: bool,
}

/// A replica as the platform sees it.
#[derive(Debug)]
struct Environment {
    place: usize,
    life: Life,
    /// When it was last given something.
    used: Moment,
    /// Invocations that are not answered.
    open: Vec<u64>,
    /// It is being reclaimed.
    is_doomed: bool,
}

/// How many replicas began and ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Census {
    /// Started, those included that were there when counting began.
    pub started: u64,
    /// Killed at random, by age, or by an outage.
    pub killed: u64,
    /// Reclaimed when idle.
    pub reclaimed: u64,
    /// Lost by themselves.
    pub lost: u64,
    /// Invocations, also the keeper's.
    pub invocations: u64,
    /// Of these, those that started an environment.
    pub cold_starts: u64,
    /// Requests that were refused since all were busy.
    pub throttled: u64,
    /// Requests that found nobody.
    pub no_replica: u64,
}

/// The platform.
pub struct Platform {
    scenario: Arc<Scenario>,
    config: Config,
    habits: Arc<Habits>,
    runtime: Runtime,
    seed: u64,
    chance: Chance,
    /// From here to any replica of the region.
    distance: Moment,
    slots: Vec<Slot>,
    /// The place of each of those that fill the slots first, by their numbers.
    born_at: Vec<usize>,
    environments: BTreeMap<NodeId, Environment>,
    /// Whether each place has power.
    has_power: Vec<bool>,
    next_node: u32,
    next_invocation: u64,
    /// In which span of [`RAMP`] how many were started beyond those that are kept.
    grown: (u64, u32),
    account: Account,
    presence: Presence,
    census: Census,
}

impl Platform {
    /// A platform without replicas.
    pub fn new(scenario: &Arc<Scenario>, config: Config, runtime: Runtime, seed: u64, distance: Moment) -> Self {
        let platform = &scenario.platform;
        let stands = platform.kind == PlatformKind::Standing;
        let habits = Habits {
            stands,
            awake: Moment::from_s(if stands { scenario.replica.lease_s } else { platform.awake_s }),
            quiet: platform.quiet_ms.map(Moment::from_ms).filter(|_| !stands),
            thaw: Moment::from_ms(platform.thaw_ms),
            call: Moment(scenario.replica.call_us),
            kib_us: scenario.replica.kib_us,
            counts_elements: scenario.measure.elements,
        };
        let slots = scenario.places.iter().enumerate();
        let slots = slots.flat_map(|(place, spec)| std::iter::repeat_n(place, spec.replicas as usize));
        let mut platform = Self {
            config,
            habits: Arc::new(habits),
            runtime,
            seed,
            chance: Chance::new(seed_for(seed, "lives", 0)),
            distance,
            slots: slots.map(|place| Slot { place, node: None, is_begun: false }).collect(),
            born_at: Vec::new(),
            environments: BTreeMap::new(),
            has_power: vec![true; scenario.places.len()],
            next_node: 0,
            next_invocation: 0,
            grown: (0, 0),
            account: Account::new(platform),
            presence: Presence::default(),
            census: Census::default(),
            scenario: Arc::clone(scenario),
        };
        let mut born: Vec<(Moment, usize)> = platform.first_starts().into_iter().zip(platform.slot_places()).collect();
        born.sort_by_key(|(at, _)| *at);
        platform.born_at = born.into_iter().map(|(_, place)| place).collect();
        platform
    }

    /// When each slot is filled first, in their order.
    pub fn first_starts(&self) -> Vec<Moment> {
        let mut nth = vec![0u32; self.scenario.places.len()];
        let at = |slot: &Slot| {
            let place = &self.scenario.places[slot.place];
            let step = place.spread_s / f64::from(place.replicas);
            let at = place.start_s + step * f64::from(nth[slot.place]);
            nth[slot.place] += 1;
            Moment::from_s(at)
        };
        self.slots.iter().map(at).collect()
    }

    /// The place of each slot.
    pub fn slot_places(&self) -> Vec<usize> {
        self.slots.iter().map(|slot| slot.place).collect()
    }

    /// What was counted.
    pub fn census(&self) -> Census {
        self.census
    }

    /// Counts from now on. Replicas that live were started.
    pub fn begin(&mut self, now: Moment) {
        self.account.begin(now);
        self.presence.begin(self.environments.values().map(|environment| &environment.life), now);
        self.census = Census { started: self.environments.len() as u64, ..Census::default() };
    }

    /// What it has cost since.
    pub fn cost(&self, now: Moment) -> Option<Cost> {
        self.account.cost(now)
    }

    /// How long replicas were frozen since; none, if nobody freezes them.
    pub fn frozen_share(&self, now: Moment) -> Option<Frozen> {
        let lives = self.environments.values().map(|environment| &environment.life);
        (!self.stands()).then(|| self.presence.frozen(lives, now))
    }

    /// How many replicas there are.
    pub fn living(&self) -> usize {
        self.environments.len()
    }

    /// How many of them are not frozen.
    pub fn awake(&self) -> usize {
        self.environments.values().filter(|environment| environment.life.idle_since.is_none()).count()
    }

    fn stands(&self) -> bool {
        self.habits.stands
    }

    /// Fills a slot, unless it is filled, or there is no power.
    pub fn fill(&mut self, slot: usize, now: Moment, orders: &mut Orders) {
        self.slots[slot].is_begun = true;
        let place = self.slots[slot].place;
        if self.slots[slot].node.is_none() && self.has_power[place] {
            let id = self.start(place, now, orders);
            self.slots[slot].node = Some(id);
            if !self.stands() {
                let invocation = Invocation { id: self.next_id(), request: None, wants_body: false, follow: false };
                self.hand_over(id, invocation, now, orders);
            }
        }
    }

    fn next_id(&mut self) -> u64 {
        self.next_invocation += 1;
        self.next_invocation
    }

    /// The name of a replica.
    fn name(&self, place: usize, number: u32) -> String {
        let spot = &self.scenario.places[place];
        format!("{}-{}-{number}", spot.region, spot.zone)
    }

    /// An environment begins, with its replica.
    fn start(&mut self, place: usize, now: Moment, orders: &mut Orders) -> NodeId {
        let id = NodeId(self.next_node);
        self.next_node += 1;
        let spot = &self.scenario.places[place];
        let mut config = Config {
            name: Some(self.name(place, id.0)),
            region: spot.region.clone(),
            zone: spot.zone.clone(),
            ..self.config.clone()
        };
        if id.0 == 0 {
            // Nobody can be there already.
            config.bootstrap_ms = 0;
        }
        let seed = seed_for(self.seed, "replica", id.0.into());
        let mut node = Node::new(id, config, Arc::clone(&self.habits), self.runtime.clone(), seed);
        if let Some(overlay) = self.scenario.active_overlay() {
            let name = |other: usize| self.name(self.born_at[other], other as u32);
            let names = overlay.neighbours(id.0 as usize, self.born_at.len()).into_iter().map(name).collect();
            node = node.with_neighbours(Neighbours { names, interval_ms: overlay.interval_ms });
        }
        let platform = &self.scenario.platform;
        let born = now + self.distance + Moment::from_ms(platform.cold_start_ms);
        orders.born.push(Birth { node: Box::new(node), place, at: born });
        orders.reach.push((born, id, Input::Start));
        let life = match (platform.life_s, platform.mean_life_s) {
            (Some(life), _) => Some(life),
            (None, Some(mean)) => {
                let share = -(1.0 - self.chance.next_f64()).ln();
                Some(mean * share.min(LIFE_MAX))
            }
            (None, None) => None,
        };
        if let Some(life) = life {
            orders.reach.push((born + Moment::from_s(life), id, Input::Kill));
        }
        self.census.started += 1;
        let environment = Environment { place, life: Life::new(now), used: now, open: Vec::new(), is_doomed: false };
        self.environments.insert(id, environment);
        id
    }

    /// Gives a replica an invocation.
    fn hand_over(&mut self, id: NodeId, invocation: Invocation, now: Moment, orders: &mut Orders) {
        self.census.invocations += 1;
        let stands = self.stands();
        let environment = self.environments.get_mut(&id).expect("only who is there is given anything");
        environment.used = now;
        environment.open.push(invocation.id);
        if !stands {
            let was_idle = environment.life.wake(now);
            self.account.invoked(id, was_idle || environment.open.len() == 1, now);
        }
        orders.reach.push((now + self.distance, id, Input::Invoke(Box::new(invocation))));
    }

    /// Sends a request where it is to go. Gives the number by which its answer will be known.
    pub fn request(
        &mut self,
        target: Target,
        request: Invocation,
        now: Moment,
        orders: &mut Orders,
    ) -> Result<u64, Refused> {
        let id = match target {
            Target::Slot(slot) => self.slots[slot].node.ok_or(Refused::NoReplica),
            Target::Region(place) => self.choose(place, now, orders),
        };
        let id = id.inspect_err(|refused| match refused {
            Refused::NoReplica => self.census.no_replica += 1,
            Refused::Throttled => self.census.throttled += 1,
        })?;
        let number = self.next_id();
        self.hand_over(id, Invocation { id: number, ..request }, now, orders);
        Ok(number)
    }

    /// Chooses who takes a request: of the idle ones the last used, else one that is awake, if it may be shared, else a
    /// new one.
    fn choose(&mut self, place: usize, now: Moment, orders: &mut Orders) -> Result<NodeId, Refused> {
        let places = &self.scenario.places;
        let region = &places[place].region;
        let here = |environment: &&Environment| places[environment.place].region == *region && !environment.is_doomed;
        let of_here = || self.environments.iter().filter(|(_, environment)| here(environment));
        let idle = of_here().filter(|(_, environment)| environment.life.idle_since.is_some());
        if let Some((id, _)) = idle.max_by_key(|(_, environment)| environment.used) {
            return Ok(*id);
        }
        if self.scenario.platform.shares
            && let Some((id, _)) = of_here().min_by_key(|(_, environment)| environment.open.len())
        {
            return Ok(*id);
        }
        if !self.has_power[place] {
            return Err(Refused::NoReplica);
        }
        let span = now.0 / RAMP.0;
        if self.grown.0 != span {
            self.grown = (span, 0);
        }
        let platform = &self.scenario.platform;
        if self.environments.len() >= platform.environments as usize || self.grown.1 >= platform.ramp {
            return Err(Refused::Throttled);
        }
        self.grown.1 += 1;
        self.census.cold_starts += 1;
        Ok(self.start(place, now, orders))
    }

    /// An invocation was answered.
    pub fn answered(&mut self, id: NodeId, invocation: u64) {
        if let Some(environment) = self.environments.get_mut(&id) {
            environment.open.retain(|open| *open != invocation);
        }
    }

    /// A replica was frozen then.
    pub fn frozen(&mut self, id: NodeId, at: Moment, orders: &mut Orders) {
        let idle = Moment::from_s(self.scenario.platform.idle_s);
        if let Some(environment) = self.environments.get_mut(&id)
            // What it was given since then wakes it again.
            && environment.open.is_empty()
        {
            environment.life.idle_since = Some(at);
            self.account.frozen(id, at);
            orders.reclaim.push((at + idle, id, at));
        }
    }

    /// Reclaims an environment that has been idle since then.
    pub fn reclaim(&mut self, id: NodeId, since: Moment, now: Moment, orders: &mut Orders) {
        if let Some(environment) = self.environments.get_mut(&id)
            && environment.life.idle_since == Some(since)
            && !environment.is_doomed
        {
            environment.is_doomed = true;
            orders.reach.push((now + self.distance, id, Input::Kill));
        }
    }

    /// A replica has ended. Gives the invocations that nobody will answer.
    pub fn ended(&mut self, id: NodeId, at: Moment, is_killed: bool, now: Moment, orders: &mut Orders) -> Vec<u64> {
        let Some(environment) = self.environments.remove(&id) else { return Vec::new() };
        match (environment.is_doomed, is_killed) {
            (true, _) => self.census.reclaimed += 1,
            (false, true) => self.census.killed += 1,
            (false, false) => self.census.lost += 1,
        }
        self.account.frozen(id, at);
        self.presence.end(&environment.life, at);
        if let Some(slot) = self.slots.iter().position(|slot| slot.node == Some(id)) {
            self.slots[slot].node = None;
            if self.stands() && self.scenario.platform.replaces {
                self.fill(slot, now, orders);
            }
        }
        environment.open
    }

    /// What the keeper does each round: it fills slots, and wakes those that have slept long.
    pub fn keep(&mut self, now: Moment, orders: &mut Orders) {
        if self.stands() {
            return;
        }
        let wake_every = self.scenario.platform.wake_every_s.map(Moment::from_s);
        for slot in 0..self.slots.len() {
            if !self.slots[slot].is_begun {
                continue;
            }
            match self.slots[slot].node {
                None if self.scenario.platform.replaces => self.fill(slot, now, orders),
                None => {}
                Some(id) => {
                    let environment = &self.environments[&id];
                    let slept = environment.life.idle_since.map(|since| now - since);
                    if slept.zip(wake_every).is_some_and(|(slept, most)| slept >= most) && !environment.is_doomed {
                        let invocation =
                            Invocation { id: self.next_id(), request: None, wants_body: false, follow: false };
                        self.hand_over(id, invocation, now, orders);
                    }
                }
            }
        }
    }

    /// The power of a region fails, or comes back.
    pub fn power(&mut self, region: &str, on: bool, now: Moment, orders: &mut Orders) {
        for (place, spot) in self.scenario.places.iter().enumerate() {
            if spot.region == region {
                self.has_power[place] = on;
            }
        }
        if on {
            let dark = |slot: &Slot| slot.is_begun && slot.node.is_none();
            let slots: Vec<usize> = (0..self.slots.len()).filter(|slot| dark(&self.slots[*slot])).collect();
            if self.scenario.platform.replaces {
                slots.into_iter().for_each(|slot| self.fill(slot, now, orders));
            }
            return;
        }
        for (id, environment) in &self.environments {
            if self.scenario.places[environment.place].region == region {
                orders.reach.push((now + self.distance, *id, Input::Kill));
            }
        }
    }
}

#[cfg(test)]
mod tests;
