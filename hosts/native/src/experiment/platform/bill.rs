//! What the platform charges, by the keeper's books and price list.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use crate::experiment::message::NodeId;
use crate::experiment::moment::Moment;
use crate::experiment::scenario::{Platform, PlatformKind, Processor};
use crate::keep::bill::Bill;
use crate::keep::price::{Architecture, FREE_GB_S, FREE_REQUESTS, MONTH_S, Prices, Use};

/// What a run has cost, and what a month of the same would.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Cost {
    /// Invocations that are billed.
    pub requests: f64,
    /// GiB-seconds that are billed.
    pub gb_s: f64,
    /// USD, nothing of it free.
    pub usd: f64,
    /// USD for a month of 30 days at this rate, nothing of it free.
    pub usd_a_month: f64,
    /// The same beyond what an account has free each month.
    pub usd_a_month_beyond_free: f64,
    /// How much of the free GiB-seconds a month would use.
    pub free_gb_s_share: f64,
    /// How much of the free requests.
    pub free_requests_share: f64,
}

/// The books. Only functions are billed.
#[derive(Clone, Debug)]
pub struct Account {
    bill: Bill,
    memory_mib: u32,
    prices: Prices,
    is_open: bool,
    /// The billed period that each environment is in.
    periods: BTreeMap<NodeId, u64>,
    next: u64,
    /// Since when it counts, and what was used before.
    since: (Moment, Use),
}

fn duration(moment: Moment) -> Duration {
    Duration::from_micros(moment.0)
}

impl Account {
    /// Books without entries.
    pub fn new(platform: &Platform) -> Self {
        let architecture = match platform.processor {
            Processor::Arm64 => Architecture::Arm,
            Processor::X86 => Architecture::X86,
        };
        Self {
            bill: Bill::default(),
            memory_mib: platform.memory_mib,
            prices: Prices::new(architecture, None, None),
            is_open: platform.kind == PlatformKind::Functions,
            periods: BTreeMap::new(),
            next: 0,
            since: (Moment::ZERO, Use::default()),
        }
    }

    /// Counts from now on.
    pub fn begin(&mut self, now: Moment) {
        self.since = (now, self.used(now));
    }

    /// An environment was invoked. With the first of a period it runs, and is billed, until it is frozen; those that it
    /// takes besides are billed as requests.
    pub fn invoked(&mut self, id: NodeId, is_first: bool, now: Moment) {
        self.next += 1;
        self.bill.begun(self.next, duration(now));
        if is_first && !self.periods.contains_key(&id) {
            self.periods.insert(id, self.next);
        } else {
            self.bill.ended(self.next, duration(now));
        }
    }

    /// An environment was frozen, or has ended.
    pub fn frozen(&mut self, id: NodeId, at: Moment) {
        if let Some(period) = self.periods.remove(&id) {
            self.bill.ended(period, duration(at));
        }
    }

    /// What it amounts to; none, if nothing is billed.
    pub fn cost(&self, now: Moment) -> Option<Cost> {
        let (since, before) = self.since;
        let used = self.used(now).plus(before.times(-1.0));
        self.is_open.then(|| self.cost_of(used, now - since))
    }

    fn used(&self, now: Moment) -> Use {
        self.bill.used(duration(now), self.memory_mib)
    }

    fn cost_of(&self, used: Use, span: Moment) -> Cost {
        let month = used.times(if span == Moment::ZERO { 0.0 } else { MONTH_S / span.as_s() });
        Cost {
            requests: used.requests,
            gb_s: used.gb_s,
            usd: self.prices.cost(used),
            usd_a_month: self.prices.cost(month),
            usd_a_month_beyond_free: self.prices.cost_beyond_free(month),
            free_gb_s_share: month.gb_s / FREE_GB_S,
            free_requests_share: month.requests / FREE_REQUESTS,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_period_is_billed_until_the_freeze() {
        let platform = Platform {
            kind: PlatformKind::Functions,
            memory_mib: 1_024,
            processor: Processor::X86,
            ..Platform::default()
        };
        let mut account = Account::new(&platform);
        let id = NodeId(0);
        account.invoked(id, true, Moment::from_s(1.0));
        account.invoked(id, false, Moment::from_s(2.0));
        account.frozen(id, Moment::from_s(31.0));
        account.frozen(id, Moment::from_s(32.0));
        let cost = account.cost(Moment::from_s(60.0)).expect("functions are billed");
        assert_eq!((cost.requests, cost.gb_s), (2.0, 30.0));
        // 43,200 such minutes: 1,296,000 GB-s and 86,400 requests, of which 896,000 and none are not free.
        assert_eq!(format!("{:.3} {:.3}", cost.usd_a_month, cost.usd_a_month_beyond_free), "21.617 14.933");
        // From here on nothing has been used.
        account.begin(Moment::from_s(60.0));
        assert_eq!(account.cost(Moment::from_s(120.0)).map(|cost| cost.usd_a_month), Some(0.0));
        assert_eq!(Account::new(&Platform::default()).cost(Moment::ZERO), None);
    }
}
