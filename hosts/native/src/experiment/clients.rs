//! Clients: what is asked of the cluster, when, and what follows from the answers.

mod deed;
mod template;
mod zipf;

use std::collections::BTreeMap;
use std::sync::Arc;

use dayfly_engine::Chance;
use dayfly_engine::contract::Request;

pub use self::deed::number;
use self::zipf::Zipf;
use super::moment::Moment;
use super::platform::Target;
use super::scenario::{At, Does, PlatformKind, Rhythm, Scenario};
use super::trace::seed_for;

/// A request that a client wants to make now.
#[derive(Debug)]
pub struct Wanted {
    /// Whose.
    pub client: usize,
    /// What.
    pub request: Request,
    /// What the answer is for.
    pub then: Then,
}

/// What an answer is for.
#[derive(Clone, Debug, PartialEq)]
pub enum Then {
    /// Nothing follows.
    Nothing,
    /// The advertisements that are left: one is shown.
    Show,
    /// The advertisements that are left: their counters are looked at.
    LookAt,
    /// An advertisement's counter: perhaps it is taken down.
    Judge {
        /// Which.
        advertisement: String,
    },
    /// The followers of who posts: it goes to their timelines.
    Post {
        /// Who.
        user: u32,
        /// The client's how manyth deed it is.
        deed: u64,
    },
}

/// One client.
#[derive(Debug)]
struct Client {
    group: usize,
    /// Among those of its group.
    number: u64,
    target: Target,
    chance: Chance,
    deeds: u64,
}

/// All clients.
pub struct Clients {
    scenario: Arc<Scenario>,
    clients: Vec<Client>,
    /// How many are in each group.
    sizes: Vec<u64>,
    zipfs: BTreeMap<usize, Zipf>,
}

impl Clients {
    /// The clients of a scenario whose slots are in these places.
    pub fn new(scenario: &Arc<Scenario>, slot_places: &[usize], seed: u64) -> Self {
        let mut clients = Vec::new();
        let mut sizes = Vec::new();
        let mut zipfs = BTreeMap::new();
        for (group, spec) in scenario.clients.iter().enumerate() {
            let mut number = 0;
            for (slot, place) in slot_places.iter().enumerate() {
                let is_there = match spec.at {
                    At::Every => true,
                    At::First => slot == 0,
                    At::Others => slot != 0,
                };
                let is_here = spec.region.as_ref().is_none_or(|region| *region == scenario.places[*place].region);
                if is_there && is_here {
                    let target = match scenario.platform.kind {
                        PlatformKind::Standing => Target::Slot(slot),
                        PlatformKind::Functions => Target::Region(*place),
                    };
                    let chance = Chance::new(seed_for(seed, &spec.name, number));
                    clients.push(Client { group, number, target, chance, deeds: 0 });
                    number += 1;
                }
            }
            sizes.push(number);
            if let Does::Retwis(retwis) = &spec.does {
                zipfs.insert(group, Zipf::new(retwis.users, retwis.zipf));
            }
        }
        Self { scenario: Arc::clone(scenario), clients, sizes, zipfs }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.clients.len()
    }

    /// In which group a client is.
    pub fn group(&self, client: usize) -> usize {
        self.clients[client].group
    }

    /// Where a client's requests go.
    pub fn target(&self, client: usize) -> Target {
        self.clients[client].target
    }

    /// When a client's first deed is; none: it has none.
    pub fn first(&mut self, client: usize) -> Option<Moment> {
        let client = &mut self.clients[client];
        let spec = &self.scenario.clients[client.group];
        let start = Moment::from_s(self.scenario.warmup_s + spec.start_s);
        let share = match spec.rhythm {
            Rhythm::Steady => client.chance.next_f64(),
            Rhythm::Poisson => waits(&mut client.chance),
        };
        let group = client.group;
        self.within(group, start + Moment::from_ms(spec.every_ms * share))
    }

    /// When its next deed is, after one now; none: that was the last.
    pub fn next(&mut self, client: usize, now: Moment) -> Option<Moment> {
        let client = &mut self.clients[client];
        let spec = &self.scenario.clients[client.group];
        let share = match spec.rhythm {
            Rhythm::Steady => 1.0,
            Rhythm::Poisson => waits(&mut client.chance),
        };
        if spec.deeds.is_some_and(|most| client.deeds >= most) {
            return None;
        }
        let group = client.group;
        self.within(group, now + Moment::from_ms(spec.every_ms * share))
    }

    /// This moment, if clients of this group are still active then.
    fn within(&self, group: usize, at: Moment) -> Option<Moment> {
        let spec = &self.scenario.clients[group];
        let for_s = spec.for_s.unwrap_or(self.scenario.seconds - spec.start_s);
        (at < Moment::from_s(self.scenario.warmup_s + spec.start_s + for_s)).then_some(at)
    }

    /// Of how many advertisements the counters are to be read at the end, and how often each was to be shown.
    pub fn advertised(&self) -> Option<(u32, u64)> {
        self.scenario.clients.iter().find_map(|spec| match spec.does {
            Does::TakeDown { advertisements, shown_per_replica } => {
                Some((advertisements, self.scenario.shown(shown_per_replica)))
            }
            Does::Requests(_) | Does::Advertise { .. } | Does::ChangeMap { .. } => None,
            Does::Retwis(_) | Does::Fill { .. } => None,
        })
    }
}

/// How long one waits for what happens at random once in a time of 1.
fn waits(chance: &mut Chance) -> f64 {
    -(1.0 - chance.next_f64()).ln()
}

#[cfg(test)]
mod tests;
