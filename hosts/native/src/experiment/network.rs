//! How long messages take: latencies between places, and lines on which they queue.

use super::moment::Moment;
use super::scenario::{Network, Scenario};

/// A region and a zone in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spot {
    /// The region.
    pub region: String,
    /// The zone.
    pub zone: String,
}

/// The latencies of a scenario.
#[derive(Clone, Debug)]
pub struct Distances {
    /// From each place to the broker, one way.
    pub to_broker: Vec<Moment>,
    /// The line of each replica of a place, in megabits a second.
    pub mbit: Vec<f64>,
    /// From a client, or the platform, to the replicas of its region, one way.
    pub to_client: Moment,
    /// What chance adds to a latency at most, as a share of it.
    pub jitter: f64,
}

impl Distances {
    /// As the scenario says.
    pub fn of(scenario: &Scenario) -> Self {
        let first = &scenario.places[0];
        let broker = Spot {
            region: scenario.broker.region.clone().unwrap_or_else(|| first.region.clone()),
            zone: scenario.broker.zone.clone().unwrap_or_else(|| first.zone.clone()),
        };
        let network = &scenario.network;
        let to_broker = scenario.places.iter().map(|place| {
            let spot = Spot { region: place.region.clone(), zone: place.zone.clone() };
            latency(network, &spot, &broker)
        });
        let mbit = scenario.places.iter().map(|place| place.mbit.unwrap_or(network.replica_mbit));
        Self {
            to_broker: to_broker.collect(),
            mbit: mbit.collect(),
            to_client: Moment::from_ms(network.same_region_ms),
            jitter: network.jitter,
        }
    }

    /// The least time that anything takes from one actor to another: so far ahead can each be run by itself.
    pub fn least(&self) -> Moment {
        self.to_broker.iter().copied().fold(self.to_client, Moment::min)
    }
}

fn latency(network: &Network, a: &Spot, b: &Spot) -> Moment {
    let is_between = |pair: &&super::scenario::Pair| {
        let [one, other] = &pair.between;
        (*one == a.region && *other == b.region) || (*one == b.region && *other == a.region)
    };
    let ms = if a == b {
        network.same_zone_ms
    } else if a.region == b.region {
        network.same_region_ms
    } else {
        network.pairs.iter().find(is_between).map_or(network.other_region_ms, |pair| pair.ms)
    };
    Moment::from_ms(ms)
}

/// What a message takes on a line beyond its body: headers of AMQP, TCP and IP.
pub const MESSAGE_OVERHEAD_BYTES: usize = 64;

/// A line on which one message after the other is sent.
#[derive(Clone, Copy, Debug, Default)]
pub struct Line {
    free_at: Moment,
}

impl Line {
    /// Sends so many bytes at the earliest then. Gives when the last of them is gone.
    pub fn send(&mut self, now: Moment, bytes: usize, mbit: f64) -> Moment {
        // A megabit a second is a bit a microsecond.
        let takes_us = ((bytes + MESSAGE_OVERHEAD_BYTES) as f64 * 8.0 / mbit).ceil() as u64;
        self.free_at = self.free_at.max(now) + Moment(takes_us);
        self.free_at
    }

    /// Is busy for so long with something else. Gives when that is over.
    pub fn occupy(&mut self, now: Moment, time: Moment) -> Moment {
        self.free_at = self.free_at.max(now) + time;
        self.free_at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_follow_region_and_zone() {
        let text = "title = 'x'\nseconds = 1\nnetwork.pairs = [{ between = ['us', 'eu'], ms = 45 }]\nplaces = [\
             { region = 'eu', replicas = 1 }, { region = 'eu', zone = 'b', replicas = 1 }, \
             { region = 'us', replicas = 1 }, { region = 'ap', replicas = 1, mbit = 2 }]";
        let distances = Distances::of(&Scenario::read(text).expect("it is well"));
        assert_eq!(distances.to_broker, [Moment(250), Moment(750), Moment(45_000), Moment(40_000)]);
        assert_eq!(distances.mbit, [600.0, 600.0, 600.0, 2.0]);
        assert_eq!((distances.least(), distances.to_client), (Moment(250), Moment(750)));
    }

    #[test]
    fn a_line_sends_one_after_the_other() {
        let mut line = Line::default();
        // 936 bytes and 64 are 8,000 bits.
        assert_eq!(line.send(Moment(10), 936, 8.0), Moment(1_010));
        assert_eq!(line.send(Moment(500), 936, 8.0), Moment(2_010));
        assert_eq!(line.send(Moment(5_000), 936, 16.0), Moment(5_500));
        assert_eq!(line.occupy(Moment(5_100), Moment(7)), Moment(5_507));
    }
}
