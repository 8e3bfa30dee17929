//! How many tests ran, read off what Rust's test harness prints.

use std::ops::AddAssign;

/// Counts of tests, over all test programs of a run.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Tally {
    /// Tests that passed.
    pub passed: u64,
    /// Tests that failed.
    pub failed: u64,
    /// Tests that were not run; each says why beside its name.
    pub ignored: u64,
}

impl Tally {
    /// Adds what one line tells: `test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; …` once a test program,
    /// from Rust's own harness and from those that print as it does. Other lines tell nothing.
    pub fn add_line(&mut self, line: &str) {
        let Some(counts) = line.strip_prefix("test result: ") else { return };
        self.passed += number_before(counts, " passed");
        self.failed += number_before(counts, " failed");
        self.ignored += number_before(counts, " ignored");
    }
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.ignored += other.ignored;
    }
}

/// The number that ends where a word begins; 0 if there is none.
fn number_before(text: &str, word: &str) -> u64 {
    let Some(end) = text.find(word) else { return 0 };
    let digits_at = text[..end].trim_end_matches(|c: char| c.is_ascii_digit()).len();
    text[digits_at..end].parse().unwrap_or(0)
}

/// Makes lines of an output that comes in pieces, and counts them.
#[derive(Default)]
pub struct LineCounter {
    /// What has been counted.
    pub tally: Tally,
    /// The beginning of a line whose end has not come yet.
    unfinished: Vec<u8>,
}

impl LineCounter {
    /// Takes in the next piece.
    pub fn add(&mut self, piece: &[u8]) {
        for part in piece.split_inclusive(|byte| *byte == b'\n') {
            self.unfinished.extend_from_slice(part);
            if part.ends_with(b"\n") {
                self.tally.add_line(&String::from_utf8_lossy(&self.unfinished));
                self.unfinished.clear();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{LineCounter, Tally};

    const OUTPUT: &str = "\
running 3 tests
test a ... ok
test result: ok. 12 passed; 0 failed; 3 ignored; 0 measured; 7 filtered out; finished in 0.10s

test result: \u{1b}[31mFAILED\u{1b}[m. 1 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s
a line of a test: test result: 9 passed
";

    #[test]
    fn summaries_are_summed_and_other_lines_are_not() {
        let mut counter = LineCounter::default();
        counter.add(OUTPUT.as_bytes());
        assert_eq!(counter.tally, Tally { passed: 13, failed: 2, ignored: 3 });
    }

    #[test]
    fn pieces_may_end_anywhere() {
        for length in 1..OUTPUT.len() {
            let mut counter = LineCounter::default();
            OUTPUT.as_bytes().chunks(length).for_each(|piece| counter.add(piece));
            assert_eq!(counter.tally, Tally { passed: 13, failed: 2, ignored: 3 }, "pieces of {length}");
        }
    }
}
