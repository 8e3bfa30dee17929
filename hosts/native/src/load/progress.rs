//! What is told on stderr while a run lasts: a bar on a terminal, else a line every few seconds, or nothing.

use std::io::{self, IsTerminal};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::summary::Counts;
use crate::client::text;

/// How often a line is printed where there is no bar.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// The progress of a run.
pub struct Progress {
    begun: Instant,
    shown: Shown,
}

/// How it is shown.
enum Shown {
    Bar(ProgressBar),
    /// With the time of the last line.
    Lines(Mutex<Instant>),
    Nothing,
}

impl Progress {
    /// Begins now; `bytes` is the size of the file, if it is known.
    pub fn begin(quiet: bool, bytes: Option<u64>) -> Self {
        let begun = Instant::now();
        let shown = if quiet {
            Shown::Nothing
        } else if !io::stderr().is_terminal() {
            Shown::Lines(Mutex::new(begun))
        } else {
            let template = match bytes {
                Some(_) => "{wide_bar} {percent:>3}%  {msg}  {elapsed}, {eta} left",
                None => "{spinner} {msg}  {elapsed}",
            };
            let bar = ProgressBar::with_draw_target(bytes, ProgressDrawTarget::stderr());
            bar.set_style(ProgressStyle::with_template(template).expect("the templates above are well formed"));
            bar.enable_steady_tick(Duration::from_millis(200));
            Shown::Bar(bar)
        };
        Self { begun, shown }
    }

    /// How long the run has lasted.
    pub fn elapsed(&self) -> Duration {
        self.begun.elapsed()
    }

    /// Tells how far the run has come: bytes of the file that are done, and counts.
    pub fn update(&self, bytes: u64, counts: &Counts) {
        match &self.shown {
            Shown::Bar(bar) => {
                bar.set_position(bytes);
                bar.set_message(self.message(counts));
            }
            Shown::Lines(last) => {
                let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
                if last.elapsed() >= LINE_EVERY {
                    *last = Instant::now();
                    eprintln!("dayfly: {}", self.message(counts));
                }
            }
            Shown::Nothing => {}
        }
    }

    /// Prints a line for people that is not to be missed, also with `--quiet`.
    pub fn say(&self, line: &str) {
        match &self.shown {
            Shown::Bar(bar) => bar.suspend(|| eprintln!("dayfly: {line}")),
            Shown::Lines(_) | Shown::Nothing => eprintln!("dayfly: {line}"),
        }
    }

    /// Takes the bar away.
    pub fn end(&self) {
        if let Shown::Bar(bar) = &self.shown {
            bar.finish_and_clear();
        }
    }

    fn message(&self, counts: &Counts) -> String {
        let bad = if counts.bad == 0 { String::new() } else { format!(", {} bad", text::grouped(counts.bad)) };
        let rate = counts.rate(self.begun.elapsed());
        format!("{} operations, {}/s{bad}", text::grouped(counts.applied), text::grouped(rate))
    }
}
