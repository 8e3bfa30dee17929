//! When which replica is woken: a pure plan, which is told the time and what happened.
//!
//! Each wanted replica is a **chain** of awake periods. The successor of a period is woken so long before its end that
//! it is complete before the predecessor freezes: the **overlap**. It is twice the longest of the last bootstraps seen
//! (from the wake to the answer "complete") and one second, but no less than the policy says and no more than half an
//! awake period, and as much as that before any bootstrap was seen. So a bootstrap may take twice as long as any before
//! it, and a wake that is refused may be tried again once or twice, before anything is lost.
//!
//! The renewals of all chains are spread evenly over a round (an awake period less the overlap), by waking some a
//! little earlier than they need; never later.
//!
//! All times are counted from the keeper's start.

use std::collections::VecDeque;
use std::time::Duration;

use dayfly_engine::Chance;

use super::pause::Pause;

/// How many bootstraps are remembered.
const BOOTSTRAPS: usize = 32;
/// Added to twice the longest bootstrap.
const MARGIN: Duration = Duration::from_secs(1);

/// What a plan goes by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// For how long a replica is woken. Not zero.
    pub awake: Duration,
    /// The least overlap.
    pub overlap_min: Duration,
}

/// Something to do: wake a replica of a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wake {
    /// Names this wake when its outcome is told.
    pub id: u64,
    /// The target's place.
    pub target: usize,
}

/// What a target's answer to a wake says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Awake {
    /// Until when the replica is awake.
    pub until: Duration,
    /// Whether it has the whole database.
    pub complete: bool,
    /// How long that took, where it is not the time from the wake to this answer.
    pub filled: Option<Duration>,
}

/// How a target fares.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct View {
    /// How many replicas are wanted.
    pub wanted: usize,
    /// How many are awake; during an overlap both count.
    pub awake: usize,
    /// How many wakes have no answer yet.
    pub waking: usize,
    /// How many successors were complete while their predecessors were awake.
    pub handed_on: u64,
    /// Until when it is left alone after failures, if it is.
    pub paused_until: Option<Duration>,
}

/// The plan.
#[derive(Clone, Debug)]
pub struct Planner {
    policy: Policy,
    targets: Vec<Kept>,
    /// How long the last bootstraps took, oldest first.
    bootstraps: VecDeque<Duration>,
    chance: Chance,
    /// Of the next wake.
    id: u64,
}

#[derive(Clone, Debug, Default)]
struct Kept {
    /// Those that are wanted come first.
    chains: Vec<Chain>,
    wanted: usize,
    pause: Pause,
    handed_on: u64,
}

/// Awake periods that follow one another.
#[derive(Clone, Debug, Default)]
struct Chain {
    /// The wake that has no answer yet: its id and when it was begun.
    flight: Option<(u64, Duration)>,
    /// Those that are not known to be over.
    periods: Vec<Period>,
}

#[derive(Clone, Copy, Debug)]
struct Period {
    id: u64,
    begun: Duration,
    until: Duration,
    complete: bool,
}

impl Chain {
    fn end(&self) -> Option<Duration> {
        self.periods.iter().map(|period| period.until).max()
    }
}

impl Planner {
    /// A plan without targets.
    pub fn new(policy: Policy, seed: u64) -> Self {
        Self { policy, targets: Vec::new(), bootstraps: VecDeque::new(), chance: Chance::new(seed), id: 0 }
    }

    /// Adds a target and gives its place.
    pub fn add(&mut self, wanted: usize) -> usize {
        self.targets.push(Kept::default());
        self.want(self.targets.len() - 1, wanted);
        self.targets.len() - 1
    }

    /// Changes how many replicas of a target are wanted. Those that are awake beyond that are not renewed.
    pub fn want(&mut self, target: usize, wanted: usize) {
        let kept = &mut self.targets[target];
        kept.wanted = wanted;
        if kept.chains.len() < wanted {
            kept.chains.resize_with(wanted, Chain::default);
        }
    }

    /// How long a successor overlaps its predecessor now.
    pub fn overlap(&self) -> Duration {
        let most = self.policy.awake / 2;
        let seen = self.bootstraps.iter().max();
        seen.map_or(most, |longest| (*longest * 2 + MARGIN).max(self.policy.overlap_min).min(most))
    }

    /// Takes what is to be begun now.
    pub fn due(&mut self, now: Duration) -> Vec<Wake> {
        for kept in &mut self.targets {
            for chain in &mut kept.chains {
                chain.periods.retain(|period| period.until > now);
            }
            let gone = |chain: &Chain| chain.periods.is_empty() && chain.flight.is_none();
            while kept.chains.len() > kept.wanted && kept.chains.last().is_some_and(gone) {
                kept.chains.pop();
            }
        }
        let mut wakes = Vec::new();
        for (target, chain, at) in self.schedule() {
            let kept = &mut self.targets[target];
            if at > now || kept.pause.until() > now {
                continue;
            }
            kept.pause.begun(now);
            self.id += 1;
            kept.chains[chain].flight = Some((self.id, now));
            wakes.push(Wake { id: self.id, target });
        }
        wakes
    }

    /// When something is to be done next, or somebody's awake period ends; none: only if something happens.
    pub fn next(&self, now: Duration) -> Option<Duration> {
        let wakes = self.schedule().into_iter().map(|(target, _, at)| at.max(self.targets[target].pause.until()));
        let ends = self.chains().flat_map(|chain| chain.periods.iter().map(|period| period.until));
        wakes.chain(ends.filter(|end| *end > now)).min()
    }

    /// When each wanted chain without a wake under way is to be renewed, by target and place.
    fn schedule(&self) -> Vec<(usize, usize, Duration)> {
        let overlap = self.overlap();
        let round = self.policy.awake - overlap;
        let wanted = || {
            let kept = self.targets.iter().enumerate();
            kept.flat_map(|(target, kept)| (0..kept.wanted).map(move |place| (target, place, &kept.chains[place])))
        };
        let number = wanted().count() as u32;
        // The first chain sets the pace; the others keep their distances from it.
        let pace = wanted().next().and_then(|(_, _, first)| match first.flight {
            Some((_, begun)) => Some(begun + round),
            None => first.end().map(|end| end.saturating_sub(overlap)),
        });
        let mut schedule = Vec::new();
        for (place_of_all, (target, place, chain)) in wanted().enumerate() {
            if chain.flight.is_some() {
                continue;
            }
            let Some(end) = chain.end() else {
                schedule.push((target, place, Duration::ZERO));
                continue;
            };
            let at = end.saturating_sub(overlap);
            let wished = pace.map(|pace| pace + round * place_of_all as u32 / number);
            schedule.push((
                target,
                place,
                at.saturating_sub(wished.map_or(Duration::ZERO, |wished| earlier(at, wished, round, round / number))),
            ));
        }
        schedule
    }

    fn chains(&self) -> impl Iterator<Item = &Chain> {
        self.targets.iter().flat_map(|kept| &kept.chains)
    }

    /// A wake was answered. Whether that handed the database on, and the bootstrap that it took part in.
    pub fn answered(&mut self, id: u64, now: Duration, awake: Awake) -> bool {
        let Some((target, place, begun)) = self.land(id) else { return false };
        let bootstrap = (now - begun).max(awake.filled.unwrap_or_default());
        if self.bootstraps.len() == BOOTSTRAPS {
            self.bootstraps.pop_front();
        }
        self.bootstraps.push_back(bootstrap);
        let kept = &mut self.targets[target];
        kept.pause.succeeded();
        let chain = &mut kept.chains[place];
        let handed_on = awake.complete && chain.periods.iter().any(|period| period.complete && period.until > now);
        chain.periods.push(Period { id, begun, until: awake.until, complete: awake.complete });
        kept.handed_on += u64::from(handed_on);
        handed_on
    }

    /// A wake failed; `asked` is how long the target asked to be left alone. When it is tried again, at the earliest.
    pub fn failed(&mut self, id: u64, now: Duration, asked: Option<Duration>) -> Duration {
        let Some((target, _, begun)) = self.land(id) else { return now };
        let pause = &mut self.targets[target].pause;
        pause.failed(now, begun, asked, &mut self.chance);
        pause.until()
    }

    /// An awake period that was answered has ended, perhaps earlier than was said. One that lasted for less than a
    /// quarter of what was asked for counts as a failure, so that such a target is not called without a pause.
    pub fn ended(&mut self, id: u64, now: Duration) {
        let short = self.policy.awake / 4;
        for kept in &mut self.targets {
            for period in kept.chains.iter_mut().flat_map(|chain| &mut chain.periods).filter(|period| period.id == id) {
                period.until = period.until.min(now);
                if now.saturating_sub(period.begun) < short {
                    kept.pause.failed(now, period.begun, None, &mut self.chance);
                }
            }
        }
    }

    /// The chain of a wake that has its outcome now, and when that was begun.
    fn land(&mut self, id: u64) -> Option<(usize, usize, Duration)> {
        for (target, kept) in self.targets.iter_mut().enumerate() {
            for (place, chain) in kept.chains.iter_mut().enumerate() {
                if let Some((_, begun)) = chain.flight.take_if(|(flight, _)| *flight == id) {
                    return Some((target, place, begun));
                }
            }
        }
        None
    }

    /// Whether a replica is awake that has the whole database.
    pub fn holds(&self, now: Duration) -> bool {
        self.chains().flat_map(|chain| &chain.periods).any(|period| period.complete && period.until > now)
    }

    /// How many wakes have no answer.
    pub fn waking(&self) -> usize {
        self.chains().filter(|chain| chain.flight.is_some()).count()
    }

    /// How many replicas of all targets are wanted.
    pub fn wanted(&self) -> usize {
        self.targets.iter().map(|kept| kept.wanted).sum()
    }

    /// How a target fares.
    pub fn view(&self, target: usize, now: Duration) -> View {
        let kept = &self.targets[target];
        let periods = kept.chains.iter().flat_map(|chain| &chain.periods);
        View {
            wanted: kept.wanted,
            awake: periods.filter(|period| period.until > now).count(),
            waking: kept.chains.iter().filter(|chain| chain.flight.is_some()).count(),
            handed_on: kept.handed_on,
            paused_until: Some(kept.pause.until()).filter(|until| *until > now),
        }
    }
}

/// How much earlier than needed a renewal is made so that it falls on a wished time of some round; a quarter of a
/// round at most, so that what varies by itself does not cost much.
/// Zero if it is near to it: up to an eighth of the distance between renewals early, and up to half of it late, since
/// from there the way back is nearly a round.
fn earlier(at: Duration, wished: Duration, round: Duration, distance: Duration) -> Duration {
    let (at, wished, round_ns) = (at.as_nanos(), wished.as_nanos(), round.as_nanos());
    // The remainder of a difference that may be negative.
    let beyond = (at % round_ns + round_ns - wished % round_ns) % round_ns;
    let distance = distance.as_nanos();
    if beyond <= distance / 8 || beyond >= round_ns - distance / 2 {
        return Duration::ZERO;
    }
    Duration::from_nanos(beyond.min(round_ns / 4) as u64)
}

#[cfg(test)]
#[path = "planner_tests.rs"]
mod tests;
