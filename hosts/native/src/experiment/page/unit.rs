//! What figures are counted in, and how they are written where there is little room.

use crate::client::text::grouped;

/// A unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Bytes; 1 MB is a million of them.
    Bytes,
    /// Bytes in a second.
    BytesPerSecond,
    /// How many.
    Count,
    /// Milliseconds.
    Milliseconds,
    /// Seconds.
    Seconds,
    /// Of a hundred.
    Percent,
    /// US dollars.
    Dollars,
}

impl Unit {
    /// The unit of a figure, as its name ends.
    pub fn of(figure: &str) -> Self {
        match figure {
            _ if figure.contains("_bytes") => Self::Bytes,
            _ if figure.ends_with("_ms") => Self::Milliseconds,
            _ if figure.contains("_usd") => Self::Dollars,
            _ if figure.contains("_percent") => Self::Percent,
            _ => Self::Count,
        }
    }

    /// A value in it, with three digits that count.
    pub fn told(self, value: f64) -> String {
        match self {
            Self::Bytes => scaled(value, &["B", "kB", "MB", "GB", "TB"]),
            Self::BytesPerSecond => scaled(value, &["B/s", "kB/s", "MB/s", "GB/s", "TB/s"]),
            Self::Count if value.abs() < 100_000.0 && value.fract() == 0.0 && value >= 0.0 => grouped(value as u64),
            Self::Count => scaled(value, &["", "thousand", "million", "billion", "trillion"]),
            Self::Milliseconds if value >= 1_000.0 => format!("{} s", digits(value / 1_000.0)),
            Self::Milliseconds => format!("{} ms", digits(value)),
            Self::Seconds => format!("{} s", digits(value)),
            Self::Percent => format!("{} %", digits(value)),
            Self::Dollars => format!("${}", digits(value)),
        }
    }
}

fn scaled(value: f64, names: &[&str]) -> String {
    let (mut value, mut names) = (value, names.iter());
    let mut name = names.next().copied().unwrap_or_default();
    while value.abs() >= 999.5
        && let Some(next) = names.next()
    {
        (value, name) = (value / 1_000.0, *next);
    }
    format!("{} {name}", digits(value)).trim_end().to_owned()
}

/// Three digits that count, without zeros at the end of a fraction.
fn digits(value: f64) -> String {
    if value == 0.0 {
        return "0".to_owned();
    }
    let fraction = (2.0 - value.abs().log10().floor()).clamp(0.0, 9.0) as usize;
    let text = format!("{value:.fraction$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_digits_of_each_unit_count() {
        for (unit, value, told) in [
            (Unit::Bytes, 0.0, "0 B"),
            (Unit::Bytes, 999.0, "999 B"),
            (Unit::Bytes, 999.9, "1 kB"),
            (Unit::Bytes, 41_600_000_000.0, "41.6 GB"),
            (Unit::BytesPerSecond, 1_234.0, "1.23 kB/s"),
            (Unit::Count, 21_000.0, "21,000"),
            (Unit::Count, 4_601_128.0, "4.6 million"),
            (Unit::Count, 0.5, "0.5"),
            (Unit::Milliseconds, 0.25, "0.25 ms"),
            (Unit::Milliseconds, 5_012.0, "5.01 s"),
            (Unit::Percent, 100.0, "100 %"),
            (Unit::Dollars, 0.001_234, "$0.00123"),
        ] {
            assert_eq!(unit.told(value), told, "{unit:?} {value}");
        }
        assert_eq!(Unit::of("replica_memory_bytes_max"), Unit::Bytes);
        assert_eq!(Unit::of("convergence_p99_ms"), Unit::Milliseconds);
        assert_eq!(Unit::of("cost_usd_a_month"), Unit::Dollars);
        assert_eq!(Unit::of("frozen_percent_min"), Unit::Percent);
        assert_eq!(Unit::of("replica_entries_max"), Unit::Count);
    }
}
