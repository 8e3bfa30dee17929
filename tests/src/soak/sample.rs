//! What must not grow: memory, queues, members. Samples of it, and the verdict on them.

use std::time::Instant;

use anyhow::{Context, Result};
use serde::Serialize;

use super::fleet::{Fleet, Target};
use super::write::Host;
use crate::chance::Chance;
use crate::control::control;
use crate::platform::Pid;
use crate::simulation::client::get_request;

/// What was measured at one time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Sample {
    /// Seconds since the run began.
    pub second: u64,
    /// Resident memory of the native replica that is never killed, in KiB.
    pub first_native_kib: u64,
    /// That of the largest native replica.
    pub native_kib: u64,
    /// That of the largest environment of functions.
    pub lambda_kib: u64,
    /// That of the largest platform of an application, with all instances in it.
    pub spin_kib: u64,
    /// What the broker's virtual machine has taken, in KiB.
    pub broker_kib: u64,
    /// The cluster's queues.
    pub queues: u64,
    /// Messages that lie in its inboxes.
    pub inbox_messages: u64,
    /// Members that a replica knows of, the dormant and those that have left included.
    pub members: u64,
    /// Live entries.
    pub entries: u64,
    /// Writers that a replica has seen.
    pub writers: u64,
}

impl Sample {
    /// Measures.
    ///
    /// # Errors
    /// The broker or the system does not tell.
    pub fn take(fleet: &Fleet, begun: Instant) -> Result<Self> {
        let (natives, spins) = fleet.sizes();
        let resident =
            |id: Option<u32>| id.and_then(|id| Pid::new(id).memory().ok()).map_or(0, |memory| memory.resident_kib);
        let native = |slot| resident(fleet.native(slot).node.as_ref().map(|node| node.id()));
        let spin = |slot| resident(fleet.spin(slot).application.as_ref().map(|application| application.id()));
        let environments = fleet.functions.standing().environments;
        let lambda = environments.iter().filter_map(|environment| environment.pid.memory().ok());
        let mut sample = Self {
            second: begun.elapsed().as_secs(),
            first_native_kib: native(0),
            native_kib: (0..natives).map(native).max().unwrap_or(0),
            lambda_kib: lambda.map(|memory| memory.resident_kib).max().unwrap_or(0),
            spin_kib: (0..spins).map(spin).max().unwrap_or(0),
            ..Self::default()
        };
        sample.ask_broker(&fleet.cluster)?;
        sample.ask_replica(fleet)?;
        Ok(sample)
    }

    fn ask_broker(&mut self, cluster: &str) -> Result<()> {
        let told = control(&["-q", "list_queues", "name", "messages", "--no-table-headers"])?;
        let (prefix, inboxes) = (format!("dayfly.{cluster}."), format!("dayfly.{cluster}.node."));
        for line in told.lines().filter(|line| line.starts_with(&prefix)) {
            self.queues += 1;
            let messages = line.split('\t').nth(1).and_then(|number| number.trim().parse::<u64>().ok());
            if line.starts_with(&inboxes) {
                self.inbox_messages += messages.unwrap_or(0);
            }
        }
        let total = control(&["-q", "eval", "erlang:memory(total)."])?;
        self.broker_kib = total.trim().parse::<u64>().with_context(|| format!("no number: {total}"))? / 1_024;
        Ok(())
    }

    fn ask_replica(&mut self, fleet: &Fleet) -> Result<()> {
        let target: Target =
            fleet.pick(Host::Native, &mut Chance::new(self.second, "sample")).context("no node is awake")?;
        let status = fleet.ask(&target, &get_request("/v1/status"))?.json()?;
        let number = |name: &str| status[name].as_u64().with_context(|| format!("no {name}: {status}"));
        (self.members, self.entries, self.writers) = (number("members")?, number("entries")?, number("writers")?);
        Ok(())
    }
}

/// The least samples that tell growth from chance, those of the beginning left out.
const SAMPLES_MIN: usize = 6;
/// Samples of the beginning, in which everything is started and filled for the first time.
const WARM_UP: usize = 2;

/// Whether one measure grows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Growth {
    /// What was measured, with its unit.
    pub what: &'static str,
    /// The first sample.
    pub first: u64,
    /// The median of the samples after the warm-up.
    pub median: u64,
    /// The last sample.
    pub last: u64,
    /// The median of the first third after the warm-up.
    pub early: u64,
    /// The median of the last third.
    pub late: u64,
    /// What the late median may be at most; none: it is told and not judged.
    pub bound: Option<u64>,
    /// Why that is the bound.
    pub reason: &'static str,
}

impl Growth {
    /// Whether it grows beyond its bound.
    pub fn is_growth(&self) -> bool {
        self.bound.is_some_and(|bound| self.late > bound)
    }
}

/// How a measure is judged.
struct Measure {
    what: &'static str,
    of: fn(&Sample) -> u64,
    /// What the late median may be, by the early one; none: it is not judged.
    bound: Option<fn(u64) -> u64>,
    reason: &'static str,
}

/// Of one replica in one process.
fn memory_of_one(early_kib: u64) -> u64 {
    early_kib + early_kib / 8 + (6 << 10)
}

const MEMORY_OF_ONE: &str = "an eighth and 6 MiB above the first third: state is as large as before, pages are taken in turn, \
                             and the id of each life that wrote takes some 100 bytes";

const MEASURES: [Measure; 10] = [
    Measure {
        what: "memory of the native replica that is never killed, KiB",
        of: |sample| sample.first_native_kib,
        bound: Some(memory_of_one),
        reason: MEMORY_OF_ONE,
    },
    Measure {
        what: "memory of the largest native replica, KiB",
        of: |sample| sample.native_kib,
        bound: Some(memory_of_one),
        reason: MEMORY_OF_ONE,
    },
    Measure {
        what: "memory of the largest function, KiB",
        of: |sample| sample.lambda_kib,
        bound: Some(memory_of_one),
        reason: MEMORY_OF_ONE,
    },
    Measure {
        what: "memory of the largest platform for Spin, KiB",
        of: |sample| sample.spin_kib,
        bound: Some(|early| early + early / 4 + (16 << 10)),
        reason: "a quarter and 16 MiB above the first third: how many instances there are at once varies",
    },
    Measure {
        what: "memory of the broker, KiB",
        of: |sample| sample.broker_kib,
        bound: Some(|early| early + early / 4 + (48 << 10)),
        reason: "a quarter and 48 MiB above the first third: its garbage is collected when it likes",
    },
    Measure {
        what: "queues of the cluster",
        of: |sample| sample.queues,
        bound: Some(|early| early + early / 4 + 16),
        reason: "a quarter and 16 above the first third: those of the dead go within the retention",
    },
    Measure {
        what: "messages in inboxes",
        of: |sample| sample.inbox_messages,
        bound: Some(|early| early + early / 4 + 20_000),
        reason: "a quarter and 20,000 above the first third: those of the frozen and the dead wait for the retention",
    },
    Measure {
        what: "members",
        of: |sample| sample.members,
        bound: Some(|early| early + early / 4 + 32),
        reason: "a quarter and 32 above the first third: the dead are dropped after the retention",
    },
    Measure {
        what: "live entries",
        of: |sample| sample.entries,
        bound: Some(|early| early + early / 4 + 10_000),
        reason: "a quarter and 10,000 above the first third: all keys are deleted at each checkpoint",
    },
    Measure {
        what: "writers",
        of: |sample| sample.writers,
        bound: None,
        reason: "not judged: each life that writes takes one, and this version keeps all",
    },
];

/// Judges samples; empty: they are too few.
pub fn judge(samples: &[Sample]) -> Vec<Growth> {
    let warm = samples.get(WARM_UP..).unwrap_or_default();
    if warm.len() < SAMPLES_MIN {
        return Vec::new();
    }
    let third = warm.len() / 3;
    let growth = |measure: &Measure| {
        let median = |samples: &[Sample]| {
            let mut values: Vec<u64> = samples.iter().map(measure.of).collect();
            values.sort_unstable();
            values[values.len() / 2]
        };
        let early = median(&warm[..third]);
        Growth {
            what: measure.what,
            first: (measure.of)(&samples[0]),
            median: median(warm),
            last: (measure.of)(&samples[samples.len() - 1]),
            early,
            late: median(&warm[warm.len() - third..]),
            bound: measure.bound.map(|bound| bound(early)),
            reason: measure.reason,
        }
    };
    MEASURES.iter().map(growth).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(count: u64, kib: impl Fn(u64) -> u64) -> Vec<Sample> {
        (0..count).map(|at| Sample { second: 60 * at, first_native_kib: kib(at), ..Sample::default() }).collect()
    }

    #[test]
    fn what_grows_is_told_from_what_varies() {
        let grows = |samples: &[Sample]| judge(samples).iter().any(Growth::is_growth);
        assert!(grows(&samples(60, |at| 40_000 + at * 1_000)));
        assert!(!grows(&samples(60, |at| 40_000 + (at % 7) * 1_000)));
        // A start that takes long is none.
        assert!(!grows(&samples(60, |at| if at < 2 { 1_000 } else { 60_000 })));
    }

    #[test]
    fn too_few_samples_are_not_judged() {
        assert!(judge(&samples(7, |at| at << 30)).is_empty());
        assert!(!judge(&samples(8, |at| at)).is_empty());
    }
}
