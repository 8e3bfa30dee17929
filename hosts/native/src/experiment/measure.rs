//! What is measured while a run goes on.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::broker::{Flow, Tally};
use super::message::{NodeId, Way};
use super::moment::Moment;

/// Many times, to be summed up.
#[derive(Clone, Debug, Default)]
pub struct Times(Vec<u64>);

/// Times summed up, in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize, Serialize)]
pub struct Spread {
    /// How many there are.
    pub count: u64,
    /// Half of them are at most this.
    pub p50_ms: f64,
    /// 99 of a hundred are at most this.
    pub p99_ms: f64,
    /// The longest.
    pub max_ms: f64,
    /// The mean.
    pub mean_ms: f64,
}

impl Times {
    /// One more.
    pub fn add(&mut self, time: Moment) {
        self.0.push(time.0);
    }

    /// Sums them up: percentiles are times that occurred (nearest rank). All are 0 where there are none.
    pub fn spread(&self) -> Spread {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        let Some(max) = sorted.last() else { return Spread::default() };
        let rank = |share: f64| {
            let at = (sorted.len() as f64 * share).ceil() as usize;
            Moment(sorted[at.clamp(1, sorted.len()) - 1]).as_ms()
        };
        let sum: u128 = sorted.iter().map(|time| u128::from(*time)).sum();
        Spread {
            count: sorted.len() as u64,
            p50_ms: rank(0.5),
            p99_ms: rank(0.99),
            max_ms: Moment(*max).as_ms(),
            mean_ms: (sum as f64 / sorted.len() as f64).round() / 1_000.0,
        }
    }

    /// How they are distributed, in milliseconds: the least, and for each hundredth of them the time that it took at
    /// most (nearest rank). None where there are none.
    pub fn percentiles_ms(&self) -> Vec<f64> {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        if sorted.is_empty() {
            return Vec::new();
        }
        let at = |hundredth: usize| (hundredth * sorted.len()).div_ceil(100).max(1) - 1;
        (0..=100).map(|hundredth| Moment(sorted[at(hundredth)]).as_ms()).collect()
    }
}

/// What became of the requests of one kind of clients.
#[derive(Clone, Debug, Default)]
pub struct Requests {
    /// Those that were to be sent.
    pub asked: u64,
    /// Writes that were answered with success, and what was not found by a reader.
    pub succeeded: u64,
    /// Those that the replica refused (a status of 400 or more), by status.
    pub refused: BTreeMap<u16, u64>,
    /// Those for which there was no replica, or none that was free.
    pub turned_away: u64,
    /// Those whose replica ended before it answered.
    pub lost: u64,
    /// From the request to its answer, of those that succeeded.
    pub times: Times,
}

/// A write that is followed.
#[derive(Debug)]
struct Followed {
    applied: Moment,
    /// Who has not told of it.
    pending: BTreeSet<NodeId>,
    seen: u64,
    last: Moment,
}

/// Who sees which write when.
#[derive(Debug, Default)]
pub struct Sight {
    writes: BTreeMap<u64, Followed>,
    next: u64,
    /// Of each write: until everybody had seen it who was awake when it was made and stayed so.
    pub convergence: Times,
    /// Of each write and replica: until that had seen it.
    pub staleness: Times,
    /// Replicas that were asleep, or went to sleep or ended before they had seen it.
    pub gone: u64,
    /// The times of `staleness`, by the interval of the write.
    by_interval: BTreeMap<u64, Times>,
    interval: Moment,
    begun: Moment,
}

impl Sight {
    /// Follows writes from `begun` on, in intervals of this length.
    pub fn new(begun: Moment, interval: Moment) -> Self {
        Self { begun, interval, ..Self::default() }
    }

    /// A write was applied, and is followed at these. Gives its number.
    pub fn follow(&mut self, applied: Moment, at: impl Iterator<Item = NodeId>) -> u64 {
        self.next += 1;
        let followed = Followed { applied, pending: at.collect(), seen: 0, last: applied };
        self.writes.insert(self.next, followed);
        self.close(self.next);
        self.next
    }

    /// A replica has seen it.
    pub fn seen(&mut self, write: u64, id: NodeId, at: Moment) {
        if let Some(followed) = self.writes.get_mut(&write)
            && followed.pending.remove(&id)
        {
            followed.seen += 1;
            followed.last = followed.last.max(at);
            let time = at - followed.applied;
            self.staleness.add(time);
            let interval = (followed.applied - self.begun).0 / self.interval.0.max(1);
            self.by_interval.entry(interval).or_default().add(time);
            self.close(write);
        }
    }

    /// A replica will not see it in this awake period.
    pub fn gone(&mut self, write: u64, id: NodeId) {
        if let Some(followed) = self.writes.get_mut(&write)
            && followed.pending.remove(&id)
        {
            self.gone += 1;
            self.close(write);
        }
    }

    /// A replica has ended.
    pub fn ended(&mut self, id: NodeId) {
        let concerned: Vec<u64> = self.writes.keys().copied().collect();
        concerned.into_iter().for_each(|write| self.gone(write, id));
    }

    fn close(&mut self, write: u64) {
        if self.writes.get(&write).is_some_and(|followed| followed.pending.is_empty())
            && let Some(followed) = self.writes.remove(&write)
            && followed.seen > 0
        {
            self.convergence.add(followed.last - followed.applied);
        }
    }

    /// How many writes some replica has still not seen.
    pub fn open(&self) -> u64 {
        self.writes.len() as u64
    }

    /// How stale what was written in an interval was elsewhere.
    pub fn spread_of(&self, interval: u64) -> Option<Spread> {
        self.by_interval.get(&interval).map(Times::spread)
    }
}

/// An interval of the series.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Interval {
    /// When it ended, in seconds since counting began.
    pub to_s: f64,
    /// How many replicas lived then.
    pub replicas: u64,
    /// How many of them were not frozen.
    #[serde(default)]
    pub awake: u64,
    /// Requests of clients in it that succeeded.
    pub succeeded: u64,
    /// What replicas published in it.
    pub published: Flow,
    /// What the broker delivered in it.
    pub delivered: Flow,
    /// Of that, what went to one by name or to anyone: repair and bootstrap.
    pub repair: Flow,
    /// The bytes that the broker delivered in it, by route.
    #[serde(default)]
    pub delivered_bytes: BTreeMap<String, u64>,
    /// How long it took others to see the writes that were made in it and followed; none, if none was.
    pub staleness: Option<Spread>,
}

/// The sums of a tally that the series is made of.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sums {
    /// Published, whichever way.
    pub published: Flow,
    /// Delivered, whichever way.
    pub delivered: Flow,
    /// Delivered by name or to anyone.
    pub repair: Flow,
    /// Delivered, by route.
    ways: [Flow; Way::ALL.len()],
}

impl Sums {
    /// Of a tally.
    pub fn of(tally: &Tally) -> Self {
        let sum = |flows: &[Flow]| flows.iter().fold(Flow::default(), |sum, flow| sum.plus(*flow));
        Self {
            published: sum(&tally.published),
            delivered: sum(&tally.delivered),
            repair: sum(&tally.delivered[1..3]),
            ways: tally.delivered,
        }
    }

    /// The bytes that were delivered since, by route.
    pub fn delivered_bytes_since(&self, earlier: &Self) -> BTreeMap<String, u64> {
        let of = |way: Way| self.ways[way as usize].since(earlier.ways[way as usize]).bytes;
        Way::ALL.into_iter().map(|way| (way.name().to_owned(), of(way))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_times_that_occurred() {
        let mut times = Times::default();
        assert_eq!(times.spread(), Spread::default());
        (1..=200).rev().for_each(|ms| times.add(Moment(ms * 1_000)));
        let spread = times.spread();
        assert_eq!((spread.count, spread.p50_ms, spread.p99_ms), (200, 100.0, 198.0));
        assert_eq!((spread.max_ms, spread.mean_ms), (200.0, 100.5));
        let percentiles = times.percentiles_ms();
        assert_eq!((percentiles.len(), percentiles[0], percentiles[1]), (101, 1.0, 2.0));
        assert_eq!((percentiles[50], percentiles[99], percentiles[100]), (100.0, 198.0, 200.0));
        let mut single = Times::default();
        assert!(single.percentiles_ms().is_empty());
        single.add(Moment(500));
        assert_eq!(single.percentiles_ms(), [0.5; 101]);
    }

    #[test]
    fn a_write_has_converged_when_all_who_stay_awake_have_seen_it() {
        let ids = [NodeId(1), NodeId(2), NodeId(3)];
        let mut sight = Sight::new(Moment(1_000), Moment(10_000));
        let write = sight.follow(Moment(12_000), ids.into_iter());
        sight.seen(write, NodeId(1), Moment(15_000));
        sight.seen(write, NodeId(1), Moment(99_000));
        sight.seen(write, NodeId(3), Moment(14_000));
        assert_eq!((sight.open(), sight.convergence.spread().count), (1, 0));
        sight.ended(NodeId(2));
        sight.gone(write, NodeId(3));
        assert_eq!((sight.open(), sight.gone), (0, 1));
        let spread = sight.convergence.spread();
        assert_eq!((spread.count, spread.max_ms), (1, 3.0));
        assert_eq!(sight.staleness.spread().count, 2);
        assert_eq!(sight.spread_of(1).map(|spread| spread.max_ms), Some(3.0));
        assert_eq!(sight.spread_of(0), None);
        // Where there is nobody else, there is nothing to see.
        sight.follow(Moment(0), std::iter::empty());
        assert_eq!((sight.open(), sight.convergence.spread().count), (0, 1));
    }
}
