//! Replicas that are kept awake while scenarios are played, as `dayfly keep` does it, but without its plan: one replica a
//! target, woken again before its time is over.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{self, Sender};
use std::thread;
use std::time::{Duration, Instant};

use crate::client::Failure;
use crate::keep::call::{Caller, Outcome};
use crate::keep::target::Target;

/// For so many seconds a replica is woken.
const SECONDS: u64 = 30;
/// So long before its end it is woken again.
const OVERLAP: Duration = Duration::from_secs(5);
/// The pause after a wake that failed.
const PAUSE: Duration = Duration::from_secs(1);

/// Wakes a replica of each target and keeps it awake until the program ends. Returns when all have answered.
///
/// # Errors
/// One of them cannot be woken.
pub fn keep_awake(targets: &[Target]) -> Result<(), Failure> {
    let (tell, told) = mpsc::channel();
    for target in targets {
        let (target, tell) = (target.clone(), tell.clone());
        thread::spawn(move || wake_on_and_on(&target, &tell));
    }
    drop(tell);
    for _ in targets {
        // Each thread tells of its first wake, and lives as long as the program.
        let first = told.recv().unwrap_or_else(|_| Err(Failure::Foreign("nobody was woken".to_owned())));
        first?;
    }
    Ok(())
}

/// Tells how the first wake went, and goes on.
fn wake_on_and_on(target: &Target, tell: &Sender<Result<(), Failure>>) {
    let caller = Caller::new(SECONDS, None);
    let lingers = Arc::new(AtomicBool::new(false));
    loop {
        let begun = Instant::now();
        let mut failed = false;
        caller.wake(target, &lingers, |outcome| {
            let first = match outcome {
                Outcome::Answered(_) => Ok(()),
                Outcome::Failed(trouble) => {
                    failed = true;
                    Err(Failure::NoAnswer { url: target.to_string(), reason: trouble.message })
                }
                Outcome::Ended => return,
            };
            // After the first nobody listens any more, and a replica that is asleep is found out by the scenarios.
            tell.send(first).unwrap_or_default();
        });
        let until = if failed { PAUSE } else { Duration::from_secs(SECONDS) - OVERLAP };
        thread::sleep(until.saturating_sub(begun.elapsed()));
    }
}
