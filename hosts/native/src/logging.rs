//! Logs: events of `tracing`, written to stderr as text or JSON. Standard output is for what a command is asked for.

use std::io;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::settings::Values;
use crate::settings::table::{LOG_FORMAT, LOG_LEVEL};

/// Begins to log as the settings say, at this level if they say none. To be called once.
pub fn start(values: &Values, level: LevelFilter) {
    let level = values.text_given(&LOG_LEVEL).map_or(level, |word| match word.parse() {
        Ok(level) => level,
        // The table of settings names the words that are levels.
        Err(_) => unreachable!("{word} is no level"),
    });
    // What others log of their inner life is of use only to those who ask for everything.
    let others = if level == LevelFilter::TRACE { level } else { level.min(LevelFilter::ERROR) };
    // What it calls an error is a link that broke, which the replica tells and mends.
    let amqp = if level == LevelFilter::TRACE { level } else { LevelFilter::OFF };
    let targets = Targets::new()
        .with_default(others)
        .with_target("lapin", amqp)
        .with_target("dayfly", level)
        .with_target("dayfly_engine", level);
    let registry = tracing_subscriber::registry().with(targets);
    if values.text(&LOG_FORMAT) == "json" {
        registry.with(fmt::layer().json().flatten_event(true).with_writer(io::stderr)).init();
    } else {
        registry.with(fmt::layer().with_target(false).with_writer(io::stderr)).init();
    }
}
