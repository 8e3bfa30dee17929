//! How all targets fare at a moment, as text and as JSON.

use serde_json::{Value, json};

use super::planner::View;
use super::price::{FREE_GB_S, FREE_REQUESTS, Prices, Use};
use crate::client::table::Table;
use crate::client::text::grouped;

/// How one target fares.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// The target.
    pub target: String,
    /// Its replicas.
    pub view: View,
    /// Invocations in all, refused ones too.
    pub invocations: u64,
    /// Of these, throttled.
    pub throttled: u64,
    /// Of these, failed otherwise.
    pub failed: u64,
    /// What it has used so far.
    pub used: Use,
    /// What it would use in a month at the rate so far.
    pub month: Use,
    /// Whether that costs anything.
    pub billed: bool,
}

/// How all fare.
#[derive(Clone, Debug, PartialEq)]
pub struct Standing {
    /// Seconds since the keeper began.
    pub second: u64,
    /// The targets.
    pub rows: Vec<Row>,
    /// For how many milliseconds successors overlap.
    pub overlap_ms: u64,
    /// Whether a complete replica is awake.
    pub holds: bool,
    /// Whether one ever was.
    pub ever_held: bool,
    /// What is paid.
    pub prices: Prices,
}

impl Standing {
    /// A table, and a line below it.
    pub fn to_table(&self) -> String {
        let mut table = Table::titled([
            "TARGET",
            "WANTED",
            "AWAKE",
            "WAKING",
            "HANDED ON",
            "INVOKED",
            "THROTTLED",
            "FAILED",
            "GB-S",
            "USD",
            "USD A MONTH",
        ]);
        for row in &self.rows {
            let [cost, month] = [row.used, row.month].map(|use_| self.cost(row, use_));
            table.push([
                row.target.clone(),
                row.view.wanted.to_string(),
                row.view.awake.to_string(),
                row.view.waking.to_string(),
                grouped(row.view.handed_on),
                grouped(row.invocations),
                grouped(row.throttled),
                grouped(row.failed),
                decimals(row.used.gb_s, 1),
                cost.map_or("-".to_owned(), |cost| decimals(cost, 6)),
                month.map_or("-".to_owned(), |month| decimals(month, 2)),
            ]);
        }
        let mut text = Vec::new();
        table.print(&mut text).expect("a vector takes all");
        String::from_utf8_lossy(&text).into_owned() + &self.total_text()
    }

    /// A line for each target, and one for all.
    pub fn to_lines(&self) -> String {
        let mut text = String::new();
        for row in &self.rows {
            let View { wanted, awake, waking, handed_on, .. } = row.view;
            let cost = self.cost(row, row.used).map_or(String::new(), |cost| format!(", USD {}", decimals(cost, 6)));
            text += &format!(
                "{:>5}s  {}  {awake} awake of {wanted}, {waking} waking, {} handed on; {} invocations, {} throttled, \
                 {} failed; {} GB-s{cost}\n",
                self.second,
                row.target,
                grouped(handed_on),
                grouped(row.invocations),
                grouped(row.throttled),
                grouped(row.failed),
                decimals(row.used.gb_s, 1),
            );
        }
        text + &format!("{:>5}s  {}", self.second, self.total_text())
    }

    /// The same as an object.
    pub fn to_json(&self) -> Value {
        let row = |row: &Row| {
            json!({
                "target": row.target,
                "wanted": row.view.wanted,
                "awake": row.view.awake,
                "waking": row.view.waking,
                "handed_on": row.view.handed_on,
                "invocations": row.invocations,
                "throttled": row.throttled,
                "failed": row.failed,
                "paused": row.view.paused_until.is_some(),
                "gb_s": row.used.gb_s,
                "cost_usd": self.cost(row, row.used),
                "month_usd": self.cost(row, row.month),
            })
        };
        let (used, month) = self.total();
        json!({
            "event": "status",
            "second": self.second,
            "held": self.holds,
            "overlap_ms": self.overlap_ms,
            "targets": self.rows.iter().map(row).collect::<Vec<_>>(),
            "total": {
                "gb_s": used.gb_s,
                "requests": used.requests,
                "cost_usd": self.prices.cost(used),
                "month_gb_s": month.gb_s,
                "month_requests": month.requests,
                "month_usd": self.prices.cost(month),
                "month_beyond_free_usd": self.prices.cost_beyond_free(month),
            },
        })
    }

    fn cost(&self, row: &Row, use_: Use) -> Option<f64> {
        row.billed.then(|| self.prices.cost(use_))
    }

    /// What those that are billed use: so far, and in a month.
    fn total(&self) -> (Use, Use) {
        let billed = self.rows.iter().filter(|row| row.billed);
        billed.fold((Use::default(), Use::default()), |(used, month), row| (used.plus(row.used), month.plus(row.month)))
    }

    fn total_text(&self) -> String {
        let held = match (self.holds, self.ever_held) {
            (true, _) => "",
            (false, true) => "NOBODY HOLDS THE DATABASE: no complete replica is awake. ",
            (false, false) => "nobody is awake yet; ",
        };
        if !self.rows.iter().any(|row| row.billed) {
            return format!("{held}successors overlap for {} s; nothing here is billed", seconds(self.overlap_ms));
        }
        let (used, month) = self.total();
        format!(
            "{held}successors overlap for {} s; USD {} so far; {}",
            seconds(self.overlap_ms),
            decimals(self.prices.cost(used), 6),
            month_text(&self.prices, month),
        )
    }
}

/// What a month costs, against what is free.
pub fn month_text(prices: &Prices, month: Use) -> String {
    format!(
        "a month at this rate: {} GB-s ({} free), {} requests ({} free): USD {}, beyond what is free USD {}",
        decimals(month.gb_s, 0),
        decimals(FREE_GB_S, 0),
        decimals(month.requests, 0),
        decimals(FREE_REQUESTS, 0),
        decimals(prices.cost(month), 2),
        decimals(prices.cost_beyond_free(month), 2),
    )
}

/// A number with so many decimals, and its thousands apart.
pub fn decimals(number: f64, decimals: usize) -> String {
    let text = format!("{number:.decimals$}");
    let (whole, rest) = text.split_at(text.find('.').unwrap_or(text.len()));
    format!("{}{rest}", whole.parse().map_or(whole.to_owned(), grouped))
}

fn seconds(ms: u64) -> String {
    decimals(ms as f64 / 1_000.0, 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keep::price::Architecture;

    fn standing(holds: bool) -> Standing {
        let view = View { wanted: 2, awake: 3, waking: 1, handed_on: 1_234, paused_until: None };
        let used = Use { gb_s: 60.5, requests: 17.0 };
        let row = Row {
            target: "lambda:f@eu-west-1".to_owned(),
            view,
            invocations: 18,
            throttled: 1,
            failed: 0,
            used,
            month: Use { gb_s: 648_000.0, requests: 185_000.0 },
            billed: true,
        };
        let nearby = Row { target: "http://127.0.0.1:1".to_owned(), billed: false, ..row.clone() };
        let prices = Prices::new(Architecture::X86, None, None);
        Standing { second: 240, rows: vec![row, nearby], overlap_ms: 2_000, holds, ever_held: true, prices }
    }

    #[test]
    fn the_table_tells_what_is_kept_and_what_it_costs() {
        assert_eq!(
            standing(true).to_table(),
            "\
TARGET              WANTED  AWAKE  WAKING  HANDED ON  INVOKED  THROTTLED  FAILED  GB-S  USD       USD A MONTH
lambda:f@eu-west-1  2       3      1       1,234      18       1          0       60.5  0.001012  10.84
http://127.0.0.1:1  2       3      1       1,234      18       1          0       60.5  -         -
successors overlap for 2.0 s; USD 0.001012 so far; a month at this rate: 648,000 GB-s (400,000 free), 185,000 requests \
             (1,000,000 free): USD 10.84, beyond what is free USD 4.13"
        );
    }

    #[test]
    fn nobody_awake_is_said_loudly() {
        assert!(standing(false).to_lines().contains("NOBODY HOLDS THE DATABASE"));
        assert!(!standing(true).to_lines().contains("NOBODY"));
        let begins = Standing { ever_held: false, ..standing(false) };
        assert!(begins.to_lines().contains("nobody is awake yet"), "before anybody was there is nothing to fear");
        assert_eq!(standing(false).to_json()["held"], false);
        assert_eq!(standing(true).to_json()["targets"][1]["cost_usd"], Value::Null);
    }
}
