//! How long replicas live, and how long of that they are frozen.

use crate::experiment::moment::Moment;

/// Shares of the time that replicas lived in which they were frozen, of a hundred.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Frozen {
    /// Of all their time together.
    pub percent: f64,
    /// The least and the most of a replica whose whole life was counted; none, if there was none.
    pub of_whole_lives: Option<(f64, f64)>,
}

/// The life of one replica.
#[derive(Clone, Copy, Debug)]
pub struct Life {
    begun: Moment,
    /// How long it was frozen, up to the last time that it was woken.
    slept: Moment,
    /// Since when it has been frozen; none: it is not.
    pub idle_since: Option<Moment>,
}

impl Life {
    /// One that begins, awake.
    pub fn new(begun: Moment) -> Self {
        Self { begun, slept: Moment::ZERO, idle_since: None }
    }

    /// It is woken. Gives whether it was frozen.
    pub fn wake(&mut self, now: Moment) -> bool {
        let since = self.idle_since.take();
        since.into_iter().for_each(|since| self.slept = self.slept + (now - since));
        since.is_some()
    }

    /// How long it has lived, and how long of that it was frozen.
    fn times(&self, now: Moment) -> (Moment, Moment) {
        let idle = self.idle_since.map_or(Moment::ZERO, |since| now - since);
        (now - self.begun, self.slept + idle)
    }
}

/// The sums of many lives.
#[derive(Clone, Debug, Default)]
pub struct Presence {
    /// Of those that have ended.
    ended: (Moment, Moment),
    /// Since when it counts, and what there was before.
    since: Moment,
    before: (Moment, Moment),
    of_whole_lives: Option<(f64, f64)>,
}

fn percent((lived, slept): (Moment, Moment)) -> f64 {
    if lived == Moment::ZERO { 0.0 } else { (slept.0 as f64 / lived.0 as f64 * 1e5).round() / 1e3 }
}

impl Presence {
    /// Counts from now on, with those that live.
    pub fn begin<'a>(&mut self, living: impl Iterator<Item = &'a Life>, now: Moment) {
        *self = Self { since: now, before: self.sum(living, now), ended: self.ended, of_whole_lives: None };
    }

    /// One has ended.
    pub fn end(&mut self, life: &Life, at: Moment) {
        let times = life.times(at);
        self.ended = (self.ended.0 + times.0, self.ended.1 + times.1);
        if life.begun >= self.since {
            let share = percent(times);
            let (least, most) = self.of_whole_lives.unwrap_or((share, share));
            self.of_whole_lives = Some((least.min(share), most.max(share)));
        }
    }

    /// What it amounts to, with those that live.
    pub fn frozen<'a>(&self, living: impl Iterator<Item = &'a Life>, now: Moment) -> Frozen {
        let (lived, slept) = self.sum(living, now);
        let counted = (lived - self.before.0, slept - self.before.1);
        Frozen { percent: percent(counted), of_whole_lives: self.of_whole_lives }
    }

    fn sum<'a>(&self, living: impl Iterator<Item = &'a Life>, now: Moment) -> (Moment, Moment) {
        living.map(|life| life.times(now)).fold(self.ended, |sum, times| (sum.0 + times.0, sum.1 + times.1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_slept_before_counting_began_is_not_counted() {
        let at = Moment::from_s;
        let mut presence = Presence::default();
        let mut old = Life::new(at(0.0));
        old.idle_since = Some(at(2.0));
        presence.begin([&old].into_iter(), at(10.0));
        assert_eq!(presence.frozen([&old].into_iter(), at(10.0)), Frozen { percent: 0.0, of_whole_lives: None });
        // Asleep for 5 s of the next 10, awake for the others.
        assert!(old.wake(at(15.0)) && !old.wake(at(16.0)));
        assert_eq!(presence.frozen([&old].into_iter(), at(20.0)).percent, 50.0);
        // One of 40 s, frozen for 10 and then for another 20, until it ends; the old one is awake for all that time.
        let mut young = Life::new(at(20.0));
        young.idle_since = Some(at(20.0));
        young.wake(at(30.0));
        young.idle_since = Some(at(40.0));
        presence.end(&young, at(60.0));
        let frozen = presence.frozen([&old].into_iter(), at(60.0));
        // 5 and 30 of 50 and 40 s. Only the young one's whole life was counted.
        assert_eq!((frozen.percent, frozen.of_whole_lives), (38.889, Some((75.0, 75.0))));
        presence.end(&old, at(60.0));
        assert_eq!(presence.frozen([].into_iter(), at(60.0)), frozen);
    }
}
