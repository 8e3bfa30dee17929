//! `--dry-run`: what would be done, and what it would cost.

use std::time::Duration;

use serde_json::{Value, json};

use super::planner::{Awake, Planner, Policy};
use super::price::{MONTH_S, Prices, Use};
use super::standing::{decimals, month_text};
use super::target::Wish;
use crate::client::table::Table;

/// How long a bootstrap is taken to last.
const BOOTSTRAP: Duration = Duration::from_millis(500);
/// Of each target, so many wakes are listed in the text.
const LISTED_MAX: usize = 12;
/// A month in days.
const MONTH_DAYS: f64 = MONTH_S / 86_400.0;

/// What would be done.
#[derive(Clone, Debug, PartialEq)]
pub struct Schedule {
    policy: Policy,
    overlap: Duration,
    prices: Prices,
    rows: Vec<Row>,
}

/// What would be done at one target.
#[derive(Clone, Debug, PartialEq)]
struct Row {
    wish: Wish,
    /// When it is woken within the first awake period.
    wakes: Vec<Duration>,
    /// What it uses in a month.
    month: Use,
}

impl Schedule {
    /// Runs the plan on a clock of its own, as if each bootstrap took half a second and nothing failed.
    pub fn new(policy: Policy, wishes: &[Wish], memory_mib: u32, prices: Prices) -> Self {
        let mut planner = Planner::new(policy, 0);
        for wish in wishes {
            planner.add(wish.wanted);
        }
        let mut wakes = vec![Vec::new(); wishes.len()];
        let mut now = Duration::ZERO;
        while now <= policy.awake {
            let due = planner.due(now);
            for wake in &due {
                wakes[wake.target].push(now);
            }
            let awake = Awake { until: now + policy.awake, complete: true, filled: Some(BOOTSTRAP) };
            for wake in due {
                planner.answered(wake.id, now, awake);
            }
            // Nobody is wanted anywhere: then nothing comes.
            let Some(next) = planner.next(now) else { break };
            now = next.max(now + Duration::from_nanos(1));
        }
        let overlap = planner.overlap();
        let round_s = (policy.awake - overlap).as_secs_f64();
        let rows = wishes.iter().zip(wakes).map(|(wish, wakes)| {
            let requests = if wish.target.is_billed() { wish.wanted as f64 * MONTH_S / round_s } else { 0.0 };
            let gb_s = requests * policy.awake.as_secs_f64() * f64::from(memory_mib) / 1_024.0;
            Row { wish: wish.clone(), wakes, month: Use { gb_s, requests } }
        });
        Self { policy, overlap, prices, rows: rows.collect() }
    }

    fn month(&self) -> Use {
        self.rows.iter().fold(Use::default(), |all, row| all.plus(row.month))
    }

    /// For people.
    pub fn to_text(&self) -> String {
        let mut text = format!(
            "Nothing is sent. Each replica is woken for {} s, and its successor {} s before its end, while bootstraps \
             take up to {} s.\n\nWoken at these seconds of the first period; in those that follow the renewals are \
             spread out evenly:\n",
            self.policy.awake.as_secs(),
            decimals(self.overlap.as_secs_f64(), 1),
            decimals(self.overlap.saturating_sub(Duration::from_secs(1)).as_secs_f64() / 2.0, 1),
        );
        for row in &self.rows {
            let listed = row.wakes.iter().take(LISTED_MAX).map(|at| decimals(at.as_secs_f64(), 1));
            let listed = listed.collect::<Vec<_>>().join(" ");
            let more = row.wakes.len().saturating_sub(LISTED_MAX);
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            text += &format!("  {}={}: {listed}{more}\n", row.wish.target, row.wish.wanted);
        }
        let mut table = Table::titled(["TARGET", "WANTED", "GB-S A DAY", "REQUESTS A DAY", "USD A DAY", "USD A MONTH"]);
        for row in &self.rows {
            let day = row.month.times(1.0 / MONTH_DAYS);
            let cost = |use_: Use, digits| {
                if row.wish.target.is_billed() { decimals(self.prices.cost(use_), digits) } else { "-".to_owned() }
            };
            table.push([
                row.wish.target.to_string(),
                row.wish.wanted.to_string(),
                decimals(day.gb_s, 0),
                decimals(day.requests, 0),
                cost(day, 4),
                cost(row.month, 2),
            ]);
        }
        let mut rows = Vec::new();
        table.print(&mut rows).expect("a vector takes all");
        format!("{text}\n{}{}", String::from_utf8_lossy(&rows), month_text(&self.prices, self.month()))
    }

    /// For programs.
    pub fn to_json(&self) -> Value {
        let row = |row: &Row| {
            json!({
                "target": row.wish.target.to_string(),
                "wanted": row.wish.wanted,
                "wakes_s": row.wakes.iter().map(Duration::as_secs_f64).collect::<Vec<_>>(),
                "day_usd": self.prices.cost(row.month) / MONTH_DAYS,
                "month_gb_s": row.month.gb_s,
                "month_requests": row.month.requests,
                "month_usd": self.prices.cost(row.month),
            })
        };
        let month = self.month();
        json!({
            "event": "schedule",
            "seconds": self.policy.awake.as_secs(),
            "overlap_ms": self.overlap.as_millis() as u64,
            "targets": self.rows.iter().map(row).collect::<Vec<_>>(),
            "total": {
                "day_usd": self.prices.cost(month) / MONTH_DAYS,
                "month_gb_s": month.gb_s,
                "month_requests": month.requests,
                "month_usd": self.prices.cost(month),
                "month_beyond_free_usd": self.prices.cost_beyond_free(month),
            },
        })
    }
}
