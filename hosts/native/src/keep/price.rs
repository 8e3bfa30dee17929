//! What AWS Lambda costs.
//!
//! The figures are those of AWS's price list (aws.amazon.com/lambda/pricing) for us-east-1, first tier, as of November
//! 2025; most regions have the same. They exclude taxes, data transfer, logs and the broker.

use clap::ValueEnum;

/// USD for a GB-second on x86-64.
const X86_64_GB_S: f64 = 0.000_016_666_7;
/// USD for a GB-second on arm64.
const ARM64_GB_S: f64 = 0.000_013_333_4;
/// USD for a million requests.
const MILLION_REQUESTS: f64 = 0.20;
/// GB-seconds that an account has free in each month.
pub const FREE_GB_S: f64 = 400_000.0;
/// Requests that an account has free in each month.
pub const FREE_REQUESTS: f64 = 1_000_000.0;
/// Seconds in a month of 30 days, which figures "a month" mean.
pub const MONTH_S: f64 = 30.0 * 86_400.0;

/// The processor of a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Architecture {
    /// x86-64.
    #[value(name = "x86-64")]
    X86,
    /// arm64.
    #[value(name = "arm64")]
    Arm,
}

/// What is paid.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Prices {
    /// USD for a GB-second.
    pub gb_s: f64,
    /// USD for a million requests.
    pub million_requests: f64,
}

impl Prices {
    /// The prices of an architecture, but for those that are given.
    pub fn new(architecture: Architecture, gb_s: Option<f64>, million_requests: Option<f64>) -> Self {
        let listed = match architecture {
            Architecture::X86 => X86_64_GB_S,
            Architecture::Arm => ARM64_GB_S,
        };
        Self { gb_s: gb_s.unwrap_or(listed), million_requests: million_requests.unwrap_or(MILLION_REQUESTS) }
    }

    /// USD for so much, nothing of it free.
    pub fn cost(&self, use_: Use) -> f64 {
        use_.gb_s * self.gb_s + use_.requests / 1e6 * self.million_requests
    }

    /// USD for so much in a month, beyond what is free.
    pub fn cost_beyond_free(&self, use_: Use) -> f64 {
        let beyond = Use { gb_s: (use_.gb_s - FREE_GB_S).max(0.0), requests: (use_.requests - FREE_REQUESTS).max(0.0) };
        self.cost(beyond)
    }
}

/// What is paid for.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Use {
    /// Memory, in GiB, times seconds.
    pub gb_s: f64,
    /// Invocations.
    pub requests: f64,
}

impl Use {
    /// So many times as much.
    pub fn times(self, factor: f64) -> Self {
        Self { gb_s: self.gb_s * factor, requests: self.requests * factor }
    }

    /// Both together.
    pub fn plus(self, other: Self) -> Self {
        Self { gb_s: self.gb_s + other.gb_s, requests: self.requests + other.requests }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_known_month_costs_what_the_list_says() {
        // 128 MiB, always on, renewed each half minute.
        let month = Use { gb_s: MONTH_S / 8.0, requests: MONTH_S / 30.0 };
        let prices = Prices::new(Architecture::X86, None, None);
        assert_eq!(month, Use { gb_s: 324_000.0, requests: 86_400.0 });
        assert_eq!(format!("{:.4}", prices.cost(month)), "5.4173");
        assert_eq!(prices.cost_beyond_free(month), 0.0);
        // Four of them: 896,000 GB-s and no request are beyond.
        assert_eq!(format!("{:.4}", prices.cost_beyond_free(month.times(4.0))), "14.9334");
        let own = Prices::new(Architecture::Arm, None, Some(1.0));
        assert_eq!(own, Prices { gb_s: 0.000_013_333_4, million_requests: 1.0 });
    }
}
