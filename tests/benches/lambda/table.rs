//! What was measured, for people.

use std::fmt::Write;

use dayfly_tests::platform::Memory;

use crate::Outcome;
use crate::hour::{Hour, MEMORY_MIB, REPLICAS};

const LABEL_WIDTH: usize = 40;
const COLUMN_WIDTH: usize = 10;

/// A line of the table of hours.
type Line = (&'static str, fn(&Hour) -> String);

/// All of it.
pub fn table(outcome: &Outcome) -> String {
    let mut text = String::new();
    let shown = |load: Option<f64>| load.map_or_else(|| "unknown".to_owned(), |load| format!("{load:.1}"));
    let [before, after] = outcome.load_average;
    // Writing to a string does not fail; so below.
    let _ = writeln!(
        text,
        "\nThe packaged function on {} cores. Load average: {} before, {} after.\n",
        outcome.cores,
        shown(before),
        shown(after)
    );
    let mut line = |label: &str, value: String| {
        let _ = writeln!(text, "{label:<LABEL_WIDTH$} {value}");
    };
    if let Some(bytes) = outcome.zip_bytes {
        line("zip", format!("{:.2} MB", bytes as f64 / 1e6));
    }
    if let Some(start) = &outcome.start {
        let times = format!("p50 {:.1} ms, max {:.1} ms of {} runs", start.p50_ms, start.max_ms, start.runs);
        line("process start to first call for an event", times);
        line("memory then", memory(start.memory));
    }
    if let Some(held) = &outcome.memory {
        line("memory after a first write", memory(held.first_write));
        line(&format!("memory with {} entries", held.entries), memory(held.loaded));
    }
    if outcome.hours.is_empty() {
        return text;
    }
    let _ = writeln!(
        text,
        "\n{REPLICAS} replicas of {MEMORY_MIB} MiB on x86-64, each invoked once a minute with a write. Counted \
         for {} s.",
        outcome.hours[0].window_s
    );
    let lines: [Line; 9] = [
        ("lingers after the answer", |hour| hour.shown.to_owned()),
        ("invocations counted", |hour| hour.counted.requests.to_string()),
        ("event to answer, p50, ms", |hour| format!("{:.1}", hour.answer_p50_ms)),
        ("event to answer, max, ms", |hour| format!("{:.1}", hour.answer_max_ms)),
        ("billed for an invocation, ms", |hour| format!("{:.0}", hour.billed_ms_each)),
        ("GB-s an hour", |hour| format!("{:.1}", hour.hour_gb_s)),
        ("requests an hour", |hour| format!("{:.0}", hour.hour_requests)),
        ("USD an hour", |hour| format!("{:.6}", hour.hour_usd)),
        ("USD a month, nothing of it free", |hour| format!("{:.2}", hour.month_usd)),
    ];
    for (label, cell) in lines {
        let _ = write!(text, "{label:<LABEL_WIDTH$}");
        for hour in &outcome.hours {
            let _ = write!(text, " {:>COLUMN_WIDTH$}", cell(hour));
        }
        text.push('\n');
    }
    text
}

fn memory(memory: Memory) -> String {
    let mib = |kib: u64| kib as f64 / 1_024.0;
    format!("{:.1} MiB resident, {:.1} MiB at most", mib(memory.resident_kib), mib(memory.peak_kib))
}
