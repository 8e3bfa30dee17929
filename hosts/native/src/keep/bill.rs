//! What a target has used so far, as AWS Lambda bills it.

use std::collections::BTreeMap;
use std::time::Duration;

use super::price::Use;

/// The books of one target. Times are counted from the keeper's start.
///
/// An environment is billed from its invocation to the end of its linger, to the next whole millisecond. (The first
/// start of an environment, the init phase, is billed too, and is part of that time.) What was refused before it ran is
/// not billed; what got no answer is, from the call to when it was given up.
#[derive(Clone, Debug, Default)]
pub struct Bill {
    /// Invocations that were begun, refused ones too.
    pub invocations: u64,
    /// Of these, those that were throttled.
    pub throttled: u64,
    /// Of these, those that failed otherwise.
    pub failed: u64,
    /// Those that are billed and over.
    billed: u64,
    /// Their time.
    billed_ms: u64,
    /// Begin and end of those that run; no end: there is no answer yet.
    running: BTreeMap<u64, (Duration, Option<Duration>)>,
}

impl Bill {
    /// An invocation is begun.
    pub fn begun(&mut self, id: u64, now: Duration) {
        self.invocations += 1;
        self.running.insert(id, (now, None));
    }

    /// It was answered, and its environment is busy until then.
    pub fn answered(&mut self, id: u64, until: Duration) {
        if let Some((_, end)) = self.running.get_mut(&id) {
            *end = Some(until);
        }
    }

    /// It is over, and billed until now or its announced end, if that is earlier.
    pub fn ended(&mut self, id: u64, now: Duration) {
        if let Some((begun, end)) = self.running.remove(&id) {
            self.billed += 1;
            self.billed_ms += whole_ms(end.map_or(now, |end| end.min(now)).saturating_sub(begun));
        }
    }

    /// It never ran.
    pub fn refused(&mut self, id: u64) {
        self.running.remove(&id);
    }

    /// Closes what is over by now.
    pub fn settle(&mut self, now: Duration) {
        let over =
            |(id, (_, end)): (&u64, &(Duration, Option<Duration>))| end.is_some_and(|end| end <= now).then_some(*id);
        let over: Vec<u64> = self.running.iter().filter_map(over).collect();
        for id in over {
            self.ended(id, now);
        }
    }

    /// What is used up to now, with this memory.
    pub fn used(&self, now: Duration, memory_mib: u32) -> Use {
        let running = self.running.values();
        let running_ms: u64 =
            running.map(|(begun, end)| whole_ms(end.map_or(now, |end| end.min(now)).saturating_sub(*begun))).sum();
        Use {
            gb_s: (self.billed_ms + running_ms) as f64 / 1_000.0 * f64::from(memory_mib) / 1_024.0,
            requests: (self.billed + self.running.len() as u64) as f64,
        }
    }
}

/// Milliseconds, a begun one counted as a whole one.
fn whole_ms(time: Duration) -> u64 {
    time.as_nanos().div_ceil(1_000_000) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn an_environment_is_billed_from_its_invocation_to_the_end_of_its_linger() {
        let mut bill = Bill::default();
        bill.begun(1, ms(1_000));
        assert_eq!(bill.used(ms(1_500), 1_024), Use { gb_s: 0.5, requests: 1.0 });
        bill.answered(1, ms(31_000));
        assert_eq!(bill.used(ms(11_000), 512), Use { gb_s: 5.0, requests: 1.0 });
        bill.settle(ms(40_000));
        assert_eq!(bill.used(ms(50_000), 128), Use { gb_s: 3.75, requests: 1.0 });
        // One that was not taken costs nothing, one that failed the time that it took, begun milliseconds in full.
        bill.begun(2, ms(50_000));
        bill.refused(2);
        bill.begun(3, ms(50_000));
        bill.ended(3, ms(50_099) + Duration::from_nanos(1));
        assert_eq!(bill.used(ms(60_000), 1_024), Use { gb_s: 30.1, requests: 2.0 });
        assert_eq!(bill.invocations, 3);
    }
}
