//! The table: a line a quantity, a column a case, so that the ways stand side by side.

use std::fmt::Write;

use crate::measured::{Cost, Measured, Trouble};
use crate::spread::Spread;

/// What of a cost a line shows.
type Quantity = (&'static str, fn(Cost) -> f64);

const LABEL_WIDTH: usize = 37;
const COLUMN_WIDTH: usize = 9;

/// The table of these cases.
pub fn table(cases: &[Measured]) -> String {
    let mut table = Table { cases, text: String::new() };
    table.line("replicas", |case| case.replicas.to_string());
    table.line("", |case| case.way.clone());
    table.heading("one write at a time, ms");
    table.line("  writes timed", |case| or_none(case.latency.to_all, |spread| spread.samples.to_string()));
    table.spread("  request to answer", |case| case.latency.to_confirmed);
    table.spread("  answer to presence on all", |case| case.latency.confirmed_to_all);
    table.spread("  request to presence on all", |case| case.latency.to_all);
    table.heading("a write that comes alone");
    table.cost(|case| case.spaced);
    table.heading("writes as fast as they are confirmed");
    table.line("  clients", |case| case.load.clients.to_string());
    table.line("  writes/s, confirmed", |case| number(case.load.confirmed_a_second));
    table.line("  writes/s, until all replicas have all", |case| or_none(case.load.everywhere_a_second, number));
    table.spread("  request to answer, ms", |case| case.load.to_confirmed);
    table.line("  until all replicas have all, s", |case| or_none(case.load.catch_up_s, number));
    table.line("  then until nothing is left to do, s", |case| or_none(case.load.rest_s, number));
    table.line("  messages waiting at the end", |case| case.load.waiting.to_string());
    table.line("  longest without frame to all, ms", |case| number(case.load.longest_pause_ms));
    table.line("  writes refused", |case| case.load.refused.to_string());
    table.line("  repairs asked for", |case| case.load.repairs_asked.to_string());
    table.cost(|case| Some(case.load.cost));
    table.heading("should be zero");
    table.trouble("  repairs at one write at a time", |trouble| trouble.repairs_at_leisure);
    table.trouble("  frames failed or returned", |trouble| trouble.unsent);
    table.trouble("  messages delivered again", |trouble| trouble.redelivered);
    table.trouble("  messages never delivered", |trouble| trouble.undelivered);
    table.trouble("  links broken", |trouble| trouble.reconnections);
    table.trouble("  process stopped for 2 s", |trouble| trouble.freeze_gaps);
    table.heading("the benchmark itself, s");
    table.line("  start of the cluster", |case| number(case.start_s));
    table.line("  all of it", |case| number(case.took_s));
    table.text
}

struct Table<'a> {
    cases: &'a [Measured],
    text: String,
}

impl Table<'_> {
    fn heading(&mut self, heading: &str) {
        // Writing to a string does not fail; so below.
        let _ = writeln!(self.text, "{heading}");
    }

    fn line(&mut self, label: &str, cell: impl Fn(&Measured) -> String) {
        let _ = write!(self.text, "{label:<LABEL_WIDTH$}");
        for case in self.cases {
            let _ = write!(self.text, " {:>COLUMN_WIDTH$}", cell(case));
        }
        self.text.push('\n');
    }

    fn spread(&mut self, label: &str, spread: impl Fn(&Measured) -> Option<Spread>) {
        self.line(&format!("{label}, p50"), |case| or_none(spread(case), |spread| number(spread.p50_ms)));
        self.line(&format!("{label}, p99"), |case| or_none(spread(case), |spread| number(spread.p99_ms)));
    }

    fn cost(&mut self, cost: impl Fn(&Measured) -> Option<Cost>) {
        let quantities: [Quantity; 5] = [
            ("  messages published a write", |cost| cost.published),
            ("  messages delivered a write", |cost| cost.delivered),
            ("  bytes published a write", |cost| cost.published_bytes),
            ("  bytes delivered a write", |cost| cost.delivered_bytes),
            ("    of these, by repair", |cost| cost.repair_bytes),
        ];
        for (label, quantity) in quantities {
            self.line(label, |case| or_none(cost(case), |cost| number(quantity(cost))));
        }
    }

    fn trouble(&mut self, label: &str, count: impl Fn(&Trouble) -> u64) {
        self.line(label, |case| count(&case.trouble).to_string());
    }
}

fn or_none<T>(value: Option<T>, shown: impl Fn(T) -> String) -> String {
    value.map_or_else(|| "none".to_owned(), shown)
}

/// Three digits that matter, and no more after the point.
fn number(value: f64) -> String {
    match value {
        value if value < 0.000_5 => "0".to_owned(),
        value if value < 1.0 => format!("{value:.3}"),
        value if value < 10.0 => format!("{value:.2}"),
        value if value < 100.0 => format!("{value:.1}"),
        value => format!("{value:.0}"),
    }
}
