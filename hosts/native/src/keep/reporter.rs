//! What the keeper says: a live table on a terminal, else lines, or JSON.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::Value;

use super::standing::Standing;

/// How often the live table is drawn.
const REDRAW: Duration = Duration::from_secs(1);

/// Tells what happens.
pub struct Reporter {
    shown: Shown,
    every: Duration,
    /// When the standing is told next.
    next: Duration,
}

/// How it is shown.
enum Shown {
    Json,
    Lines,
    Table(ProgressBar),
}

impl Reporter {
    /// A reporter that tells the standing so often, unless it is a live table.
    pub fn new(json: bool, every: Duration) -> Self {
        let shown = if json {
            Shown::Json
        } else if io::stdout().is_terminal() {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stdout());
            bar.set_style(ProgressStyle::with_template("{msg}").expect("the template is well formed"));
            Shown::Table(bar)
        } else {
            Shown::Lines
        };
        let every = if matches!(shown, Shown::Table(_)) { REDRAW } else { every };
        Self { shown, every, next: Duration::ZERO }
    }

    /// Tells of a happening: an object for programs; for people a text, or nothing. What goes wrong is `loud`, and goes
    /// to stderr.
    pub fn say(&self, loud: bool, text: Option<&str>, object: &Value) -> io::Result<()> {
        match (&self.shown, text) {
            (Shown::Json, _) => write(&object.to_string()),
            (_, None) => Ok(()),
            (Shown::Lines, Some(text)) if loud => {
                eprintln!("dayfly: {text}");
                Ok(())
            }
            (Shown::Lines, Some(text)) => write(text),
            (Shown::Table(bar), Some(text)) => {
                bar.suspend(|| if loud { eprintln!("dayfly: {text}") } else { println!("{text}") });
                Ok(())
            }
        }
    }

    /// When the standing is to be told next.
    pub fn next(&self) -> Duration {
        self.next
    }

    /// Tells the standing of now.
    pub fn show(&mut self, now: Duration, standing: &Standing) -> io::Result<()> {
        self.next = now + self.every;
        match &self.shown {
            Shown::Json => write(&standing.to_json().to_string()),
            Shown::Lines => write(&standing.to_lines()),
            Shown::Table(bar) => {
                bar.set_message(standing.to_table());
                bar.tick();
                Ok(())
            }
        }
    }

    /// Tells the standing for the last time; a live table stays as it is.
    pub fn end(&mut self, standing: &Standing) -> io::Result<()> {
        match &self.shown {
            Shown::Json => write(&standing.to_json().to_string()),
            Shown::Lines => write(&standing.to_lines()),
            Shown::Table(bar) => {
                bar.finish_and_clear();
                write(&standing.to_table())
            }
        }
    }
}

fn write(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{text}")?;
    out.flush()
}
