//! What the arguments of `dayfly up` come to.

use std::time::Duration;

use anyhow::{Result, bail, ensure};
use dayfly_engine::{BusConfig, Lease, Limits, usual_config};

use super::UpArgs;
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
    /// The broker's bounds.
    pub bus: BusConfig,
}

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
    pub fn of(args: &UpArgs, seed: u64) -> Result<Self> {
        let regions = regions(&args.regions, args.replicas)?;
        let is_name = |text: &str| {
            (1..=64).contains(&text.len())
                && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_.".contains(&b))
        };
        ensure!(is_name(&args.cluster), "--cluster must be 1 to 64 characters of a-z, 0-9, '-', '_', '.'");
        let mut config = usual_config(&args.cluster);
        config.store_bytes = args.store_mib << 20;
        config.retention_ms = 1_000 * args.retention.unwrap_or(if args.ephemeral { 60 } else { 7_200 });
        let replicas_max = match (args.ephemeral, args.max_replicas) {
            (true, Some(max)) if max < args.replicas => {
                bail!("--max-replicas must be at least --replicas, {}", args.replicas)
            }
            (true, max) => max.unwrap_or(2 * args.replicas),
            (false, _) => args.replicas,
        };
        let awake_ms = (args.awake * 1_000.0) as u64;
        let lease = if args.ephemeral {
            Lease::Invoked { awake_ms, quiet_ms: Some(QUIET_MS.min(awake_ms)) }
        } else {
            let lease_ms = (args.replicas as u64).saturating_mul(LEASE_MS_EACH);
            Lease::Standing { lease_ms: lease_ms.clamp(LEASE_MS.0, LEASE_MS.1) }
        };
        let mean_life = (args.mean_life > 0.0).then(|| Duration::from_secs_f64(args.mean_life));
        let mortality = Mortality { idle: Duration::from_secs_f64(args.idle), mean_life };
        if args.ephemeral {
            ensure!(
                config.retention_ms > awake_ms + mortality.idle.as_millis() as u64,
                "--retention must be longer than --awake and --idle together, or the living would be forgotten"
            );
        }
        let policy = Policy {
            wake_within: Duration::from_secs_f64(args.wake_within.unwrap_or(args.idle / 2.0)),
            awake_min: AWAKE_MIN.min(args.replicas),
            renew_age: Duration::from_secs_f64(args.renew),
        };
        Ok(Self {
            limits: Limits {
                instances: (replicas_max + replicas_max / 2 + INSTANCES_SPARE) as u32,
                // What wit/lifecycle.wit asks for: three times the store.
                memory_bytes: 3 * config.store_bytes,
                ..Limits::default()
            },
            settings: Settings {
                config,
                regions,
                confirm: args.confirm.into(),
                lease,
                mortality: args.ephemeral.then_some(mortality),
                replicas_max,
                queue_max: args.queue,
                seed,
            },
            policy: args.ephemeral.then_some(policy),
            bus: BusConfig { inbox_bytes: args.inbox_mib << 20, ..BusConfig::default() },
        })
    }
}

/// Spreads replicas over regions, the first ones getting what is left over.
fn regions(names: &[String], replicas: usize) -> Result<Vec<Region>> {
    for (index, name) in names.iter().enumerate() {
        let is_name = (1..=32).contains(&name.len())
            && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_.".contains(&b));
        ensure!(is_name, "a region must be 1 to 32 characters of a-z, 0-9, '-', '_', '.', not `{name}`");
        ensure!(!names[..index].contains(name), "the region {name} stands twice");
    }
    ensure!(names.len() <= replicas, "{} regions need at least as many replicas", names.len());
    let (each, left_over) = (replicas / names.len(), replicas % names.len());
    let number = |index| each + usize::from(index < left_over);
    Ok(names.iter().enumerate().map(|(index, name)| Region { name: name.clone(), number: number(index) }).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        up: UpArgs,
    }

    fn plan(args: &[&str]) -> Result<Plan> {
        let command = Command::try_parse_from([&["up"], args].concat())?;
        Plan::of(&command.up, 1)
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
            &["--awake", "3"],
            &["--listen", "nowhere"],
            &["--store-mib", "4000"],
        ] {
            assert!(plan(args).is_err(), "{args:?}");
        }
    }
}
