//! Logs: events of `tracing` on stderr, which Lambda keeps.

use std::io;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::environment::Logging;

/// Begins to log. To be called once.
pub fn start(logging: &Logging) {
    // The environment names only words that are levels.
    let level = logging.level.parse().unwrap_or(LevelFilter::INFO);
    // What others log of their inner life is of use only to those who ask for everything.
    let others = if level == LevelFilter::TRACE { level } else { level.min(LevelFilter::ERROR) };
    // What it calls an error is a link that broke, which the replica tells and mends.
    let amqp = if level == LevelFilter::TRACE { level } else { LevelFilter::OFF };
    let targets = Targets::new()
        .with_default(others)
        .with_target("lapin", amqp)
        // It logs each error that an event is answered with, without the request's id; the host does so with it.
        .with_target("lambda_runtime::layers::api_response", amqp)
        .with_target("bootstrap", level)
        .with_target("dayfly_engine", level);
    let registry = tracing_subscriber::registry().with(targets);
    if logging.json {
        registry.with(fmt::layer().json().flatten_event(true).with_writer(io::stderr)).init();
    } else {
        // Lambda shows logs to people who have no terminal.
        registry.with(fmt::layer().with_target(false).with_ansi(false).with_writer(io::stderr)).init();
    }
}
