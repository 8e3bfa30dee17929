//! The plan on a virtual clock.

use std::collections::BTreeMap;

use super::*;

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

const POLICY: Policy = Policy { awake: Duration::from_secs(30), overlap_min: Duration::from_secs(2) };

/// What the simulated targets do.
struct World {
    chance: Chance,
    /// A bootstrap takes from half of this to this, in milliseconds.
    bootstrap_ms: u64,
    /// Awake periods are cut short by up to so many milliseconds, as the answer says.
    cut_ms: u64,
    /// One in so many wakes is refused, but never more than two that follow each other; 0: none.
    refused_one_in: u64,
}

/// What a run of the plan came to.
#[derive(Default)]
struct Ran {
    wakes: u64,
    refused: u64,
    handed_on: u64,
    /// When wakes were begun.
    begun: Vec<Duration>,
}

enum Happening {
    Answered { id: u64, awake: Awake },
    Refused { id: u64 },
}

/// Runs the plan for so long. From the first answer on, a complete replica must be awake at every moment: it is only
/// complete if one was awake all the while that it was filled.
fn run(planner: &mut Planner, world: &mut World, lasts: Duration) -> Ran {
    let mut ran = Ran::default();
    let mut now = Duration::ZERO;
    let mut happenings: BTreeMap<(Duration, u64), Happening> = BTreeMap::new();
    // Ends of complete periods.
    let mut held_until = None;
    let mut refused_in_a_row = 0;
    while now < lasts {
        while let Some(first) = happenings.first_entry().filter(|first| first.key().0 <= now) {
            match first.remove() {
                Happening::Answered { id, awake } => {
                    assert!(held_until.is_none_or(|until| until >= now), "nobody held the database at {now:?}");
                    held_until = held_until.max(Some(awake.until));
                    ran.handed_on += u64::from(planner.answered(id, now, awake));
                }
                Happening::Refused { id } => {
                    ran.refused += 1;
                    let again = planner.failed(id, now, None);
                    assert!(again > now && again <= now + ms(10_000));
                }
            }
            assert!(held_until.is_none_or(|until| planner.holds(now) == (until > now)));
        }
        for wake in planner.due(now) {
            ran.wakes += 1;
            ran.begun.push(now);
            let refuse = world.refused_one_in > 0 && refused_in_a_row < 2 && ran.wakes > 1;
            if refuse && world.chance.below(world.refused_one_in) == 0 {
                refused_in_a_row += 1;
                happenings.insert((now + ms(20), wake.id), Happening::Refused { id: wake.id });
                continue;
            }
            refused_in_a_row = 0;
            let bootstrap = ms(world.bootstrap_ms / 2 + world.chance.below(world.bootstrap_ms / 2 + 1));
            let until = now + POLICY.awake - ms(world.chance.below(world.cut_ms + 1));
            let awake = Awake { until, complete: true, filled: Some(bootstrap / 2) };
            happenings.insert((now + bootstrap, wake.id), Happening::Answered { id: wake.id, awake });
        }
        let next = happenings.first_key_value().map(|((at, _), _)| *at);
        let next = next.into_iter().chain(planner.next(now)).min().expect("there is always something to come");
        // What is due at this very moment has been begun.
        assert!(next > now, "{next:?} is not after {now:?}");
        now = next;
        assert!(held_until.is_none_or(|until| until > now || now >= lasts), "nobody holds the database at {now:?}");
    }
    ran
}

fn planner(wanted: &[usize], seed: u64) -> Planner {
    let mut planner = Planner::new(POLICY, seed);
    for wanted in wanted {
        planner.add(*wanted);
    }
    planner
}

#[test]
fn at_every_moment_some_complete_replica_is_awake() {
    for seed in 0..200 {
        let mut chance = Chance::new(seed);
        let wanted: Vec<usize> = (0..=chance.below(3)).map(|_| 1 + chance.below(4) as usize).collect();
        let bootstrap_ms = 2 + chance.below(5_000);
        let cut_ms = chance.below(7_000);
        let mut world = World { chance, bootstrap_ms, cut_ms, refused_one_in: 0 };
        let mut planner = planner(&wanted, seed);
        let ran = run(&mut planner, &mut world, ms(600_000));
        let chains: usize = wanted.iter().sum();
        // Each wake but the first of a chain hands on.
        let waking = planner.waking() as u64;
        assert_eq!(ran.handed_on, ran.wakes - chains as u64 - waking, "{wanted:?} {bootstrap_ms} {cut_ms}");
        for (target, wanted) in wanted.iter().enumerate() {
            let view = planner.view(target, ms(600_000));
            assert!(view.awake >= *wanted && view.awake <= 3 * wanted, "{view:?}");
        }
    }
}

#[test]
fn refused_wakes_are_tried_again_in_time() {
    let mut refused = 0;
    for seed in 0..200 {
        let mut world = World { chance: Chance::new(seed), bootstrap_ms: 200, cut_ms: 0, refused_one_in: 4 };
        refused += run(&mut planner(&[1], seed), &mut world, ms(600_000)).refused;
    }
    assert!(refused > 200, "{refused}");
}

#[test]
fn the_overlap_follows_the_longest_bootstrap_seen() {
    let mut planner = planner(&[1], 1);
    assert_eq!(planner.overlap(), ms(15_000), "nothing was seen: as much as may be");
    let mut now = ms(0);
    let mut wake_taking = |planner: &mut Planner, took: Duration| {
        let wake = loop {
            // Ends of periods come as well.
            if let Some(wake) = planner.due(now).pop() {
                break wake;
            }
            now = planner.next(now).expect("there is a wake");
        };
        let awake = Awake { until: now + POLICY.awake, complete: true, filled: None };
        now += took;
        planner.answered(wake.id, now, awake);
        planner.overlap()
    };
    assert_eq!(wake_taking(&mut planner, ms(100)), ms(2_000), "the least");
    assert_eq!(wake_taking(&mut planner, ms(3_000)), ms(7_000), "twice and a second");
    assert_eq!(wake_taking(&mut planner, ms(100)), ms(7_000), "the longest of the last");
    assert_eq!(wake_taking(&mut planner, ms(12_000)), ms(15_000), "half a period at most");
}

#[test]
fn renewals_are_spread_evenly_over_a_round() {
    for wanted in [&[2][..], &[5], &[3, 4], &[1, 1, 1, 1]] {
        let mut world = World { chance: Chance::new(3), bootstrap_ms: 400, cut_ms: 0, refused_one_in: 0 };
        let ran = run(&mut planner(wanted, 1), &mut world, ms(900_000));
        let number: usize = wanted.iter().sum();
        let wanted_gap = 28_000 / number as u128;
        let late: Vec<Duration> = ran.begun.into_iter().filter(|at| *at > ms(200_000)).collect();
        for pair in late.windows(2) {
            let gap = (pair[1] - pair[0]).as_millis();
            assert!(gap * 2 >= wanted_gap && gap <= wanted_gap * 2, "{wanted:?}: {gap} ms beside {wanted_gap} ms");
        }
        // And no more wakes than it takes.
        let most = (700_000 / 28_000 + 1) * number;
        assert!(late.len() <= most, "{wanted:?}: {} wakes, {most} would do", late.len());
    }
}

/// Wakes what is due and answers at once.
fn answer_all(planner: &mut Planner, now: Duration) -> usize {
    let wakes = planner.due(now);
    for wake in &wakes {
        planner.answered(wake.id, now, Awake { until: now + POLICY.awake, complete: true, filled: None });
    }
    wakes.len()
}

#[test]
fn numbers_change_while_it_runs() {
    let mut planner = planner(&[2, 1], 1);
    assert_eq!(answer_all(&mut planner, ms(0)), 3);
    planner.want(0, 4);
    assert_eq!(answer_all(&mut planner, ms(1_000)), 2, "those that are new come at once");
    planner.want(0, 1);
    planner.want(1, 0);
    assert_eq!(planner.view(0, ms(2_000)).awake, 4, "who is awake is left awake");
    let mut wakes = 0;
    for second in 2..60 {
        wakes += answer_all(&mut planner, ms(1_000 * second));
    }
    assert_eq!(wakes, 2, "one is renewed");
    assert_eq!((planner.view(0, ms(60_000)).awake, planner.view(1, ms(60_000)).awake), (1, 0));
    planner.want(0, 0);
    for second in 60..120 {
        assert_eq!(answer_all(&mut planner, ms(1_000 * second)), 0);
    }
    assert!(!planner.holds(ms(120_000)));
    assert_eq!(planner.next(ms(120_000)), None);
}

#[test]
fn a_period_that_ends_early_is_renewed_and_one_that_ends_at_once_is_not_hammered() {
    let mut planner = planner(&[1], 1);
    let wake = planner.due(ms(0))[0];
    planner.answered(wake.id, ms(0), Awake { until: POLICY.awake, complete: true, filled: None });
    planner.ended(wake.id, ms(10_000));
    assert!(!planner.holds(ms(10_000)));
    let wake = planner.due(ms(10_000))[0];
    planner.answered(wake.id, ms(10_000), Awake { until: ms(40_000), complete: true, filled: None });
    planner.ended(wake.id, ms(10_001));
    assert_eq!(planner.due(ms(10_001)), []);
    let again = planner.next(ms(10_001)).expect("it is tried again");
    assert!((ms(10_251)..=ms(10_501)).contains(&again), "{again:?}");
    assert_eq!(planner.due(again).len(), 1);
}

#[test]
fn what_is_not_complete_holds_nothing() {
    let mut planner = planner(&[1], 1);
    let wake = planner.due(ms(0))[0];
    assert!(!planner.holds(ms(0)));
    planner.answered(wake.id, ms(15_000), Awake { until: POLICY.awake, complete: false, filled: None });
    assert!(!planner.holds(ms(15_000)));
    assert_eq!(planner.view(0, ms(15_000)).awake, 1);
    let wake = planner.due(ms(15_000))[0];
    let handed_on = planner.answered(wake.id, ms(16_000), Awake { until: ms(45_000), complete: true, filled: None });
    assert!(planner.holds(ms(16_000)) && !handed_on, "an incomplete one had nothing to hand on");
}
