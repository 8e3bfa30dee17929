//! Which lines are done, and from which one to go on.

use std::fmt;

/// A range of lines, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Range {
    /// The first line.
    pub first: u64,
    /// The last line.
    pub last: u64,
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last {
            write!(f, "line {}", self.first)
        } else {
            write!(f, "lines {} to {}", self.first, self.last)
        }
    }
}

/// The state of the lines of a run. It is as large as there are batches under way at once.
#[derive(Clone, Debug)]
pub struct Ledger {
    /// The line that the run began with.
    start: u64,
    /// Ranges that are done: ascending, apart by at least one line.
    done: Vec<Range>,
    /// Ranges that have been sent and whose answer is awaited.
    under_way: Vec<Range>,
    /// Ranges that have been sent and may have been applied.
    in_doubt: Vec<Range>,
    /// How many bytes of the file are done.
    pub bytes: u64,
}

/// What is left to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rest {
    /// Ranges that are not done although later lines are: only where several connections overtook each other.
    pub gaps: Vec<Range>,
    /// The line from which on nothing is done.
    pub from: u64,
    /// Ranges that may have been applied; each lies in a gap or at `from` and after.
    pub in_doubt: Vec<Range>,
}

impl Ledger {
    /// A run that begins with this line.
    pub fn starting_at(start: u64) -> Self {
        Self { start, done: Vec::new(), under_way: Vec::new(), in_doubt: Vec::new(), bytes: 0 }
    }

    /// Lines are being sent.
    pub fn sent(&mut self, range: Range) {
        self.under_way.push(range);
    }

    /// The answer to lines that were sent has come, or will not come any more. They are as they were before, unless
    /// [`Ledger::done`] or [`Ledger::doubt`] says otherwise.
    pub fn answered(&mut self, range: Range) {
        self.under_way.retain(|&other| other != range);
    }

    /// Lines are done: applied, or known to be bad.
    pub fn done(&mut self, range: Range, bytes: u64) {
        self.bytes += bytes;
        let at = self.done.partition_point(|other| other.first < range.first);
        self.done.insert(at, range);
        let mut merged: Vec<Range> = Vec::with_capacity(self.done.len());
        for &range in &self.done {
            match merged.last_mut() {
                Some(before) if before.last + 1 >= range.first => before.last = before.last.max(range.last),
                _ => merged.push(range),
            }
        }
        self.done = merged;
    }

    /// Lines may have been applied, and will not be sent again in this run.
    pub fn doubt(&mut self, range: Range) {
        self.in_doubt.push(range);
    }

    /// What is left. What is under way is in doubt.
    pub fn rest(&self) -> Rest {
        let mut gaps = Vec::new();
        let mut from = self.start;
        for range in &self.done {
            if range.first > from {
                gaps.push(Range { first: from, last: range.first - 1 });
            }
            from = range.last + 1;
        }
        let mut in_doubt = [&self.in_doubt[..], &self.under_way[..]].concat();
        in_doubt.sort();
        Rest { gaps, from, in_doubt }
    }
}

impl Rest {
    /// The first line that is not done: all before it are.
    pub fn first(&self) -> u64 {
        self.gaps.first().map_or(self.from, |gap| gap.first)
    }

    /// How to go on, in lines for people; with a mark if there is one.
    pub fn advice(&self, marked: bool) -> Vec<String> {
        let mut advice = vec![format!("every line before {} is done", self.first())];
        for range in &self.in_doubt {
            advice.push(format!("{range} may have been applied or not, together"));
        }
        if marked {
            advice.push("go on with the same --mark: it tells from which line".to_owned());
            return advice;
        }
        match (&self.gaps[..], &self.in_doubt[..]) {
            ([], []) => advice.push(format!("go on with --from-line {}", self.from)),
            ([], [range]) if range.first == self.from => advice.push(format!(
                "if they were not, go on with --from-line {}, else with --from-line {}",
                range.first,
                range.last + 1
            )),
            (gaps, in_doubt) => {
                if !in_doubt.is_empty() {
                    advice.push("go on as follows, without those that were applied".to_owned());
                }
                for gap in gaps {
                    advice.push(format!("go on with --from-line {} --to-line {}", gap.first, gap.last));
                }
                advice.push(format!("go on with --from-line {}", self.from));
            }
        }
        advice
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(first: u64, last: u64) -> Range {
        Range { first, last }
    }

    #[test]
    fn in_order_nothing_but_the_next_line_is_left() {
        let mut ledger = Ledger::starting_at(5);
        assert_eq!(ledger.rest(), Rest { gaps: vec![], from: 5, in_doubt: vec![] });
        for first in [5, 8, 11] {
            ledger.sent(range(first, first + 2));
            ledger.answered(range(first, first + 2));
            ledger.done(range(first, first + 2), 10);
        }
        assert_eq!(ledger.rest(), Rest { gaps: vec![], from: 14, in_doubt: vec![] });
        assert_eq!(ledger.done.len(), 1, "ranges that meet are one");
        assert_eq!(ledger.rest().advice(false), ["every line before 14 is done", "go on with --from-line 14"]);
    }

    #[test]
    fn what_was_overtaken_is_a_gap() {
        let mut ledger = Ledger::starting_at(1);
        ledger.done(range(21, 30), 0);
        ledger.done(range(1, 10), 0);
        ledger.done(range(41, 50), 0);
        let rest = ledger.rest();
        assert_eq!(rest, Rest { gaps: vec![range(11, 20), range(31, 40)], from: 51, in_doubt: vec![] });
        assert_eq!(rest.first(), 11);
        assert_eq!(
            rest.advice(false),
            [
                "every line before 11 is done",
                "go on with --from-line 11 --to-line 20",
                "go on with --from-line 31 --to-line 40",
                "go on with --from-line 51"
            ]
        );
        ledger.done(range(31, 40), 0);
        ledger.done(range(11, 20), 0);
        assert_eq!(ledger.rest(), Rest { gaps: vec![], from: 51, in_doubt: vec![] });
    }

    #[test]
    fn what_is_under_way_at_the_end_is_in_doubt() {
        let mut ledger = Ledger::starting_at(1);
        ledger.done(range(1, 10), 0);
        ledger.sent(range(11, 20));
        let advice = ledger.rest().advice(false);
        assert_eq!(advice[1], "lines 11 to 20 may have been applied or not, together");
        assert_eq!(advice[2], "if they were not, go on with --from-line 11, else with --from-line 21");
        let marked = ledger.rest().advice(true);
        assert_eq!((&marked[..2], marked.len()), (&advice[..2], 3));
        assert!(marked[2].contains("--mark") && !marked[2].contains("--from-line"), "{marked:?}");
        ledger.answered(range(11, 20));
        assert_eq!(ledger.rest().in_doubt, []);
        ledger.doubt(range(11, 20));
        assert_eq!(ledger.rest().in_doubt, [range(11, 20)]);
    }
}
