//! A run: load and faults, checkpoints, samples, and the report.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::checkpoint::{clear, compare, components, settle};
use super::client::{FIRST_GENERATION, Session, Tally};
use super::faults::Faults;
use super::finding::{Finding, Kind};
use super::fleet::Fleet;
use super::report::{Report, Table};
use super::sample::{Sample, judge};
use super::settings::Settings;
use crate::chance::Chance;

/// How often it is looked whether something is to be done.
const TURN: Duration = Duration::from_millis(50);
/// The time between two lines of progress.
const PROGRESS_EVERY: Duration = Duration::from_secs(10);
/// How long the load goes on at most for want of faults.
const FAULTS_PATIENCE: Duration = Duration::from_secs(180);
/// How long a client waits longer where it was not served.
const REFUSED_PAUSE: Duration = Duration::from_millis(200);

/// How a run stands.
#[derive(Clone, Debug)]
pub struct Progress {
    /// Seconds since it began.
    pub second: u64,
    /// Confirmed writes.
    pub confirmed: u64,
    /// Writes that are in doubt.
    pub in_doubt: u64,
    /// Faults.
    pub faults: u64,
    /// Checkpoints that are over.
    pub checkpoints: u64,
    /// What was found.
    pub findings: usize,
}

/// Runs it until its time is over or it is told to stop, and tells now and then how it stands.
///
/// # Errors
/// The cluster cannot be started, or cannot be asked any more. What is found wrong with it is in the report instead.
pub fn run(settings: &Settings, stop: &AtomicBool, tell: &mut dyn FnMut(&Progress)) -> Result<Report> {
    let begun = Instant::now();
    let fleet = Fleet::start(settings)?;
    let sessions = (0..settings.clients).map(|number| Mutex::new(Session::new(number, settings.seed, begun)));
    let run = Run {
        settings,
        begun,
        fleet: &fleet,
        sessions: sessions.collect(),
        faults: Mutex::new(Faults::new(settings)),
        ends: AtomicBool::new(false),
    };
    thread::scope(|scope| {
        for session in &run.sessions {
            scope.spawn(|| run.load(session));
        }
        scope.spawn(|| run.trouble());
        let outcome = run.conduct(stop, tell);
        run.ends.store(true, Ordering::Relaxed);
        outcome
    })
}

struct Run<'a> {
    settings: &'a Settings,
    begun: Instant,
    fleet: &'a Fleet,
    /// A client holds its own while it asks; who holds all has nobody ask.
    sessions: Vec<Mutex<Session>>,
    /// Held while a fault is brought about; who holds it has none come.
    faults: Mutex<Faults>,
    ends: AtomicBool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Run<'_> {
    fn load(&self, session: &Mutex<Session>) {
        while !self.ends.load(Ordering::Relaxed) {
            let mut held = lock(session);
            let was_served = held.act(self.fleet);
            let pause = held.pause(self.settings.pause);
            drop(held);
            thread::sleep(if was_served { pause } else { pause + REFUSED_PAUSE });
        }
    }

    fn trouble(&self) {
        while !self.ends.load(Ordering::Relaxed) {
            lock(&self.faults).step(self.fleet);
            thread::sleep(TURN);
        }
    }

    fn conduct(&self, stop: &AtomicBool, tell: &mut dyn FnMut(&Progress)) -> Result<Report> {
        let settings = self.settings;
        let mut report = Report::new(settings.seed, settings.lasts.as_secs());
        let mut chance = Chance::new(settings.seed, "checkpoints");
        let mut generation = FIRST_GENERATION;
        let until = Instant::now() + settings.lasts;
        let mut checkpoint = Instant::now() + settings.checkpoint_every;
        let (mut sample, mut progress) = (Instant::now(), Instant::now() + PROGRESS_EVERY);
        loop {
            let now = Instant::now();
            report.was_ended_early = now < until && stop.load(Ordering::Relaxed);
            if now >= sample {
                // The broker may be away just now.
                report.samples.extend(Sample::take(self.fleet, self.begun));
                sample = now + settings.sample_every;
            }
            if now >= progress {
                tell(&self.progress(&report));
                progress = now + PROGRESS_EVERY;
            }
            let is_over = now >= until && self.has_had_faults(now >= until + FAULTS_PATIENCE);
            let is_last = is_over || report.was_ended_early;
            if is_last || now >= checkpoint {
                self.checkpoint(&mut report, &mut chance, &mut generation, is_last);
                checkpoint = Instant::now() + settings.checkpoint_every;
            }
            if is_last {
                break;
            }
            thread::sleep(TURN);
        }
        self.finish(&mut report);
        Ok(report)
    }

    /// Whether there were as many faults as there are to be, or they are waited for no longer.
    fn has_had_faults(&self, is_too_late: bool) -> bool {
        is_too_late || lock(&self.faults).played >= self.settings.faults_min
    }

    /// Has load and faults stand still, compares everything, and begins anew. What goes wrong is a finding.
    fn checkpoint(&self, report: &mut Report, chance: &mut Chance, generation: &mut u64, is_last: bool) {
        let mut sessions: Vec<MutexGuard<'_, Session>> = self.sessions.iter().map(lock).collect();
        let mut faults = lock(&self.faults);
        faults.end(self.fleet);
        if let Err(error) = self.judge(report, &sessions, chance, is_last) {
            let second = self.begun.elapsed().as_secs();
            let told = format!("{error:#}");
            let about = "a checkpoint".to_owned();
            report.findings.push(Finding { kind: Kind::Disagreement, about, told, at: String::new(), second });
        }
        // What is left of this one, if anything, is not to be taken for something of the next.
        *generation += 1;
        let generation = *generation;
        sessions.iter_mut().for_each(|session| session.begin(generation));
        if is_last {
            self.ends.store(true, Ordering::Relaxed);
        }
    }

    fn judge(
        &self,
        report: &mut Report,
        sessions: &[MutexGuard<'_, Session>],
        chance: &mut Chance,
        is_last: bool,
    ) -> Result<()> {
        let agreed = settle(self.fleet)?;
        let second = self.begun.elapsed().as_secs();
        let sessions: Vec<&Session> = sessions.iter().map(|session| &**session).collect();
        let (compared, findings) = compare(self.fleet, &sessions, chance, second)?;
        report.findings.extend(findings);
        report.keys += compared.keys as u64;
        report.lanes += compared.lanes as u64;
        report.replicas = agreed.replicas as u64;
        report.checkpoints += 1;
        if is_last {
            report.components = components(self.fleet)?;
        }
        report.findings.extend(clear(self.fleet, chance, second)?);
        Ok(())
    }

    fn progress(&self, report: &Report) -> Progress {
        let mut progress = Progress {
            second: self.begun.elapsed().as_secs(),
            confirmed: 0,
            in_doubt: 0,
            faults: 0,
            checkpoints: report.checkpoints,
            findings: report.findings.len(),
        };
        // Those who are asking just now are counted as well; they take a moment.
        for session in &self.sessions {
            let session = lock(session);
            let ended = |outcome: &str| session.by_host.values().filter_map(|ended| ended.get(outcome)).sum::<u64>();
            progress.confirmed += ended("confirmed");
            progress.in_doubt += ended("unconfirmed") + ended("unanswered");
            progress.findings += session.findings.len();
        }
        let faults = lock(&self.faults);
        progress.faults = faults.tally.values().flat_map(BTreeMap::values).sum();
        progress.findings += faults.findings.len();
        progress
    }

    fn finish(&self, report: &mut Report) {
        for session in &self.sessions {
            let session = lock(session);
            add(&mut report.writes, &session.writes);
            add(&mut report.writes_by_host, &session.by_host);
            add(&mut report.reads, &session.reads);
            report.findings.extend(session.findings.iter().cloned());
        }
        let faults = lock(&self.faults);
        add(&mut report.faults, &faults.tally);
        report.findings.extend(faults.findings.iter().cloned());
        let bill = self.fleet.functions.standing().bill;
        // Each invocation ends in a freeze, but for those in which the environment ends.
        let freezes = bill.requests.saturating_sub(bill.died);
        let of_functions = report.faults.entry("lambda".to_owned()).or_default();
        of_functions.insert("freeze by the platform".to_owned(), freezes);
        of_functions.insert("reclaim by the platform".to_owned(), bill.reclaimed);
        report.lives = BTreeMap::from([
            ("native".to_owned(), self.fleet.native_lives()),
            ("lambda".to_owned(), bill.cold_starts),
            ("spin".to_owned(), self.fleet.instances_started()),
        ]);
        report.growth = judge(&report.samples);
        report.seconds = self.begun.elapsed().as_secs();
    }
}

fn add(table: &mut Table, tally: &Tally) {
    for (row, cells) in tally {
        let row = table.entry((*row).to_owned()).or_default();
        for (column, number) in cells {
            *row.entry((*column).to_owned()).or_default() += number;
        }
    }
}
