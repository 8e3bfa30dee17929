//! What is told on stderr while a run lasts: a bar on a terminal, else a line every few seconds, or nothing.

use std::io::{self, IsTerminal};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// How often a line is printed where there is no bar.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// The progress of a run.
pub struct Progress {
    begun: Instant,
    total_s: f64,
    shown: Shown,
}

enum Shown {
    Bar(ProgressBar),
    /// With the time of the last line.
    Lines(Mutex<Instant>),
    Nothing,
}

impl Progress {
    /// Begins now; the run is so many virtual seconds long.
    pub fn begin(quiet: bool, total_s: f64) -> Self {
        let begun = Instant::now();
        let shown = if quiet {
            Shown::Nothing
        } else if !io::stderr().is_terminal() {
            Shown::Lines(Mutex::new(begun))
        } else {
            let bar = ProgressBar::with_draw_target(Some(milliseconds(total_s)), ProgressDrawTarget::stderr());
            let style = ProgressStyle::with_template("{wide_bar} {percent:>3}%  {msg}");
            bar.set_style(style.expect("the template is well formed"));
            Shown::Bar(bar)
        };
        Self { begun, total_s, shown }
    }

    /// Tells how far the run has come, in virtual seconds, and how many replicas live.
    pub fn update(&self, virtual_s: f64, replicas: usize) {
        match &self.shown {
            Shown::Bar(bar) => {
                bar.set_position(milliseconds(virtual_s));
                bar.set_message(self.message(virtual_s, replicas));
            }
            Shown::Lines(last) => {
                let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
                if last.elapsed() >= LINE_EVERY {
                    *last = Instant::now();
                    eprintln!("dayfly: {}", self.message(virtual_s, replicas));
                }
            }
            Shown::Nothing => {}
        }
    }

    /// Takes the bar away.
    pub fn end(&self) {
        if let Shown::Bar(bar) = &self.shown {
            bar.finish_and_clear();
        }
    }

    fn message(&self, virtual_s: f64, replicas: usize) -> String {
        told(virtual_s, self.total_s, self.begun.elapsed().as_secs_f64(), replicas)
    }
}

fn milliseconds(seconds: f64) -> u64 {
    (seconds * 1_000.0) as u64
}

/// The line: simulated time, real time, and how long it will go on if it goes on as it did.
fn told(virtual_s: f64, total_s: f64, real_s: f64, replicas: usize) -> String {
    let left = if virtual_s > 0.0 {
        format!("about {} left", clock(real_s / virtual_s * (total_s - virtual_s)))
    } else {
        "the end is not known yet".to_owned()
    };
    let (virtual_time, total, real) = (clock(virtual_s), clock(total_s), clock(real_s));
    format!("{virtual_time} of {total} simulated, {replicas} replicas, {real} real, {left}")
}

/// Seconds as minutes and seconds, or hours and minutes.
fn clock(seconds: f64) -> String {
    let whole = seconds.max(0.0).round() as u64;
    match whole {
        0..3_600 => format!("{}:{:02} min", whole / 60, whole % 60),
        _ => format!("{}:{:02} h", whole / 3_600, whole / 60 % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_tells_both_times_and_an_estimate() {
        let line = told(600.0, 1_800.0, 30.0, 1_024);
        assert_eq!(line, "10:00 min of 30:00 min simulated, 1024 replicas, 0:30 min real, about 1:00 min left");
        assert!(told(0.0, 7_320.0, 1.0, 0).contains("of 2:02 h simulated"));
        assert!(told(0.0, 10.0, 1.0, 0).ends_with("the end is not known yet"));
    }
}
