//! Prometheus' text format, version 0.0.4: families of samples, each with its help and its type.

use std::fmt::Write;

/// What a family's values mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    /// A number that only grows, until its process or replica ends. Its name ends in `_total`.
    Counter,
    /// A number that goes up and down.
    Gauge,
    /// How often a quantity was at most so large.
    Histogram,
}

impl Type {
    fn word(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// A label and its value.
pub type Label<'a> = (&'a str, &'a str);

/// A text that grows by families. All samples of a family have to be written before the next family begins.
#[derive(Debug, Default)]
pub struct Exposition {
    text: String,
}

impl Exposition {
    /// Begins a family.
    pub fn family(&mut self, name: &str, kind: Type, help: &str) {
        let help = help.replace('\\', "\\\\").replace('\n', "\\n");
        self.line(&format!("# HELP {name} {help}"));
        self.line(&format!("# TYPE {name} {}", kind.word()));
    }

    /// Writes a sample of the family that was begun last. Of a histogram the name has the suffix of the part.
    pub fn sample(&mut self, name: &str, labels: &[Label<'_>], value: f64) {
        let mut line = name.to_owned();
        if !labels.is_empty() {
            line.push('{');
            for (index, (label, value)) in labels.iter().enumerate() {
                let separator = if index > 0 { "," } else { "" };
                let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
                // Writing to a text does not fail.
                let _ = write!(line, "{separator}{label}=\"{value}\"");
            }
            line.push('}');
        }
        self.line(&format!("{line} {}", number(value)));
    }

    /// Writes a histogram's samples: the upper bounds, ascending, with how many fell into each bucket and not into an
    /// earlier one; how many were greater than all; and the sum of all.
    pub fn histogram(&mut self, name: &str, labels: &[Label<'_>], buckets: &[(f64, u64)], beyond: u64, sum: f64) {
        let mut count = 0;
        let with_bound = |bound: &str| -> Vec<(String, String)> {
            let given = labels.iter().map(|(label, value)| ((*label).to_owned(), (*value).to_owned()));
            given.chain([("le".to_owned(), bound.to_owned())]).collect()
        };
        let infinite = (f64::INFINITY, beyond);
        for (bound, within) in buckets.iter().copied().chain([infinite]) {
            count += within;
            let labels = with_bound(&number(bound));
            let labels: Vec<Label<'_>> = labels.iter().map(|(label, value)| (label.as_str(), value.as_str())).collect();
            self.sample(&format!("{name}_bucket"), &labels, count as f64);
        }
        self.sample(&format!("{name}_sum"), labels, sum);
        self.sample(&format!("{name}_count"), labels, count as f64);
    }

    /// The text.
    pub fn into_text(self) -> String {
        self.text
    }

    fn line(&mut self, line: &str) {
        self.text.push_str(line);
        self.text.push('\n');
    }
}

fn number(value: f64) -> String {
    if value == f64::INFINITY { "+Inf".to_owned() } else { value.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_samples_and_histograms_have_their_form() {
        let mut page = Exposition::default();
        page.family("a_total", Type::Counter, "back\\slash\nand line");
        page.sample("a_total", &[("x", "say \"hi\"\n\\"), ("y", "z")], 3.0);
        page.family("b_seconds", Type::Histogram, "h");
        page.histogram("b_seconds", &[("x", "y")], &[(0.5, 2), (1.0, 1)], 4, 12.5);
        assert_eq!(
            page.into_text(),
            "# HELP a_total back\\\\slash\\nand line\n\
             # TYPE a_total counter\n\
             a_total{x=\"say \\\"hi\\\"\\n\\\\\",y=\"z\"} 3\n\
             # HELP b_seconds h\n\
             # TYPE b_seconds histogram\n\
             b_seconds_bucket{x=\"y\",le=\"0.5\"} 2\n\
             b_seconds_bucket{x=\"y\",le=\"1\"} 3\n\
             b_seconds_bucket{x=\"y\",le=\"+Inf\"} 7\n\
             b_seconds_sum{x=\"y\"} 12.5\n\
             b_seconds_count{x=\"y\"} 7\n"
        );
    }
}
