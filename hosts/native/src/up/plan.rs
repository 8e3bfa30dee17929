//! What the settings of `dayfly up` come to.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use dayfly_engine::{Lease, Limits, SystemWorld, World};

use crate::client::Failure;
use crate::replica::{self, Brokerage};
use crate::settings::Values;
use crate::settings::table::{
    AWAKE_SECONDS, DATA, EPHEMERAL, IDLE, MAX_REPLICAS, MEAN_LIFE, QUEUE, REGIONS, RENEW, REPLICAS_NUMBER, RETENTION,
    SAVE_SECONDS, WAKE_WITHIN,
};

use super::estate::Estate;
use super::keeper::Policy;
use super::platform::{Mortality, Region, Settings};

/// Everything that is to be set up.
pub struct Plan {
    /// The platform's settings.
    pub settings: Settings,
    /// What the keeper goes by; none: replicas are not frozen.
    pub policy: Option<Policy>,
    /// What instances may use.
    pub limits: Limits,
    /// Which broker.
    pub broker: Brokerage,
}

/// How long the retention of ephemeral replicas is, so that the inboxes of the dead go soon.
const EPHEMERAL_RETENTION_MS: u64 = 60_000;
/// How long ephemeral replicas are awake after a request.
const EPHEMERAL_AWAKE_S: f64 = 3.0;
/// Replicas that have ended and are not yet cleared away need room too.
const INSTANCES_SPARE: usize = 32;
/// How many complete replicas a keeper keeps awake.
const AWAKE_MIN: usize = 2;
/// A frozen replica that has had nothing to do for so long is frozen before its time.
const QUIET_MS: u64 = 500;
/// The shortest and the longest lease of standing replicas.
const LEASE_MS: (u64, u64) = (60_000, 3_600_000);
/// How long the lease is for each replica there is, so that announcements stay few.
const LEASE_MS_EACH: u64 = 600;

impl Plan {
    /// Refuses what does not go together.
    pub fn of(values: &Values, seed: u64) -> Result<Self> {
        let replicas = values.number(&REPLICAS_NUMBER) as usize;
        let ephemeral = values.switch(&EPHEMERAL);
        let mut config = replica::config(values)?;
        if ephemeral && values.number_given(&RETENTION).is_none() {
            config.retention_ms = EPHEMERAL_RETENTION_MS;
        }
        let max = values.number_given(&MAX_REPLICAS).map(|max| max as usize).filter(|_| ephemeral);
        let replicas_max = match max {
            Some(max) if max < replicas => {
                return Err(values.refuse(&MAX_REPLICAS, &format!("must be at least replicas, {replicas}")).into());
            }
            Some(max) => max,
            None if ephemeral => 2 * replicas,
            None => replicas,
        };
        let idle = Duration::from_secs_f64(values.seconds(&IDLE));
        let mean_life = values.seconds(&MEAN_LIFE);
        let mean_life = (mean_life > 0.0).then(|| Duration::from_secs_f64(mean_life));
        let lease = if ephemeral {
            let awake_ms = (values.seconds_given(&AWAKE_SECONDS).unwrap_or(EPHEMERAL_AWAKE_S) * 1_000.0) as u64;
            if config.retention_ms <= awake_ms + idle.as_millis() as u64 {
                let must = "must be longer than awake-seconds and idle together, or the living would be forgotten";
                return Err(values.refuse(&RETENTION, must).into());
            }
            Lease::Invoked { awake_ms, quiet_ms: Some(QUIET_MS.min(awake_ms)) }
        } else {
            let usual_ms = (replicas as u64).saturating_mul(LEASE_MS_EACH).clamp(LEASE_MS.0, LEASE_MS.1);
            let lease_ms = replica::lease(values)?.map_or(usual_ms, |lease| lease.as_millis() as u64);
            Lease::Standing { lease_ms }
        };
        let policy = Policy {
            wake_within: values.seconds_given(&WAKE_WITHIN).map_or(idle / 2, Duration::from_secs_f64),
            awake_min: AWAKE_MIN.min(replicas),
            renew_age: Duration::from_secs_f64(values.seconds(&RENEW)),
        };
        let broker = Brokerage::of(values);
        Ok(Self {
            limits: replica::limits(&config, (replicas_max + replicas_max / 2 + INSTANCES_SPARE) as u32),
            settings: Settings {
                config,
                regions: regions(values, replicas)?,
                founds: broker.is_private(),
                name_mark: if broker.is_private() { String::new() } else { name_mark() },
                confirm: replica::confirm(values),
                lease,
                mortality: ephemeral.then_some(Mortality { idle, mean_life }),
                replicas_max,
                queue_max: values.number(&QUEUE) as usize,
                seed,
                estate: values.text_given(&DATA).map(Estate::open).transpose()?.map(Arc::new),
                save_every_ms: (values.seconds(&SAVE_SECONDS) * 1_000.0) as u64,
            },
            policy: ephemeral.then_some(policy),
            broker,
        })
    }
}

/// Six hexadecimal digits that no other process has, as far as chance goes.
fn name_mark() -> String {
    format!("{:06x}-", SystemWorld.random_u64() >> 40)
}

/// Spreads replicas over regions, the first ones getting what is left over.
fn regions(values: &Values, replicas: usize) -> Result<Vec<Region>, Failure> {
    let names = values.list(&REGIONS);
    if let Some(twice) = names.iter().enumerate().find(|(index, name)| names[..*index].contains(name)) {
        return Err(values.refuse(&REGIONS, &format!("must not name {} twice", twice.1)));
    }
    if names.len() > replicas {
        return Err(
            values.refuse(&REPLICAS_NUMBER, &format!("must be at least {}, the number of regions", names.len()))
        );
    }
    let (each, left_over) = (replicas / names.len(), replicas % names.len());
    let number = |index| each + usize::from(index < left_over);
    Ok(names.iter().enumerate().map(|(index, name)| Region { name: name.clone(), number: number(index) }).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Up;
    use crate::settings::tests::values;

    fn plan(args: &[&str]) -> Result<Plan> {
        Plan::of(&values::<Up>(args)?, 1)
    }

    #[test]
    fn replicas_are_spread_over_the_regions() {
        let plan = plan(&["--replicas", "8", "--regions", "eu,us,ap"]).expect("it goes together");
        let numbers: Vec<_> =
            plan.settings.regions.iter().map(|region| (region.name.as_str(), region.number)).collect();
        assert_eq!(numbers, [("eu", 3), ("us", 3), ("ap", 2)]);
    }

    #[test]
    fn standing_replicas_are_not_ended_and_ephemeral_ones_are() {
        let standing = plan(&[]).expect("it goes together");
        assert!(standing.settings.mortality.is_none() && standing.policy.is_none());
        assert_eq!(standing.settings.replicas_max, 3);
        let ephemeral = plan(&["--ephemeral", "--mean-life", "0"]).expect("it goes together");
        assert_eq!(ephemeral.settings.mortality.expect("they end").mean_life, None);
        assert_eq!(ephemeral.settings.replicas_max, 6);
        assert!(ephemeral.policy.is_some());
    }

    #[test]
    fn what_does_not_go_together_is_refused() {
        for args in [
            &["--replicas", "0"][..],
            &["--replicas", "1", "--regions", "eu,us"],
            &["--regions", "eu,eu"],
            &["--regions", "EU"],
            &["--cluster", "Not A Name"],
            &["--ephemeral", "--max-replicas", "2"],
            &["--ephemeral", "--retention", "5"],
            &["--ephemeral", "--awake", "0"],
            &["--idle", "3"],
            &["--awake", "0.5"],
            &["--frame-kib", "512"],
            &["--listen", "nowhere"],
            &["--store-mib", "4000"],
        ] {
            assert!(plan(args).is_err(), "{args:?}");
        }
    }
}
