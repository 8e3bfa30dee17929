//! Sets of sequence numbers as intervals: the causal context of one writer, nearly always a single one. [`DotSet`] is the
//! same over all writers.

use std::collections::BTreeMap;

use smallvec::{SmallVec, smallvec};

use crate::dot::{Dot, Seq, WriterId};

/// A set of sequence numbers.
///
/// Invariant: the intervals are inclusive, ascending, and neither overlap nor touch, so equal sets have equal intervals.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Intervals {
    spans: Spans,
}

/// A single interval, as nearly all sets have, takes no heap.
type Spans = SmallVec<[(u64, u64); 1]>;

/// So many intervals are added one by one; more are merged.
const FEW_SPANS: usize = 4;

impl Intervals {
    /// The set of all numbers from `low` to `high`, both included.
    pub fn span(low: u64, high: u64) -> Self {
        assert!(low <= high, "an interval ends before it begins");
        Self { spans: smallvec![(low, high)] }
    }

    /// Whether the set is empty.
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// The intervals, ascending.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (u64, u64)> + '_ {
        self.spans.iter().copied()
    }

    /// How many intervals.
    pub fn interval_count(&self) -> usize {
        self.spans.len()
    }

    /// How many numbers.
    pub fn len(&self) -> u64 {
        self.spans.iter().map(|(low, high)| high - low + 1).sum()
    }

    /// The greatest number; 0 for the empty set, since sequences begin at 1.
    pub fn max(&self) -> u64 {
        self.spans.last().map_or(0, |span| span.1)
    }

    /// The only interval, as nearly all sets have.
    pub fn only(&self) -> Option<(u64, u64)> {
        match self.spans[..] {
            [only] => Some(only),
            [..] => None,
        }
    }

    /// Whether the set holds this number.
    pub fn contains(&self, n: u64) -> bool {
        if let Some((low, high)) = self.only() {
            return (low..=high).contains(&n);
        }
        let at = self.spans.partition_point(|span| span.1 < n);
        self.spans.get(at).is_some_and(|span| span.0 <= n)
    }

    /// Whether the set holds a number of this interval.
    pub fn intersects(&self, low: u64, high: u64) -> bool {
        let at = self.spans.partition_point(|span| span.1 < low);
        self.spans.get(at).is_some_and(|span| span.0 <= high)
    }

    /// Whether the set holds every number of this interval.
    pub fn covers(&self, low: u64, high: u64) -> bool {
        let at = self.spans.partition_point(|span| span.1 < low);
        self.spans.get(at).is_some_and(|span| span.0 <= low && high <= span.1)
    }

    /// Adds an interval; true if that added a number.
    pub fn insert_span(&mut self, low: u64, high: u64) -> bool {
        assert!(low <= high, "an interval ends before it begins");
        if let Some(last) = self.spans.last_mut() {
            // The usual case: a writer's next write.
            if last.0 <= low && low <= last.1.saturating_add(1) {
                let added = high > last.1;
                last.1 = last.1.max(high);
                return added;
            }
        }
        let from = self.spans.partition_point(|span| span.1 < low.saturating_sub(1));
        let to = self.spans.partition_point(|span| span.0 <= high.saturating_add(1));
        if from == to {
            self.spans.insert(from, (low, high));
            return true;
        }
        let merged = (low.min(self.spans[from].0), high.max(self.spans[to - 1].1));
        let added = to - from > 1 || merged != self.spans[from];
        self.spans[from] = merged;
        self.spans.drain(from + 1..to);
        added
    }

    /// Adds a number; true if it was absent.
    pub fn insert(&mut self, n: u64) -> bool {
        self.insert_span(n, n)
    }

    /// Takes an interval away.
    pub fn remove_span(&mut self, low: u64, high: u64) {
        let from = self.spans.partition_point(|span| span.1 < low);
        let to = self.spans.partition_point(|span| span.0 <= high);
        if from >= to {
            return;
        }
        let (first, last) = (self.spans[from].0, self.spans[to - 1].1);
        let left = (first < low).then(|| (first, low - 1));
        let right = (last > high).then(|| (high + 1, last));
        self.spans.drain(from..to);
        self.spans.insert_many(from, left.into_iter().chain(right));
    }

    /// The part of the set within an interval.
    pub fn clip(&self, low: u64, high: u64) -> Self {
        let from = self.spans.partition_point(|span| span.1 < low);
        let spans = self.spans[from..].iter().take_while(|span| span.0 <= high);
        Self { spans: spans.map(|&(a, b)| (a.max(low), b.min(high))).collect() }
    }

    /// Adds all numbers of another set, in time proportional to the intervals of both.
    pub fn extend(&mut self, other: &Self) {
        if other.spans.len() <= FEW_SPANS {
            for (low, high) in other.iter() {
                self.insert_span(low, high);
            }
            return;
        }
        let mut union = Spans::with_capacity(self.spans.len() + other.spans.len());
        let (mut mine, mut theirs) = (self.spans.iter().peekable(), other.spans.iter().peekable());
        loop {
            let is_mine = match (mine.peek(), theirs.peek()) {
                (Some(a), Some(b)) => a <= b,
                (Some(_), None) => true,
                (None, Some(_)) => false,
                (None, None) => break,
            };
            let Some(&(low, high)) = (if is_mine { mine.next() } else { theirs.next() }) else { break };
            match union.last_mut() {
                Some(last) if low <= last.1.saturating_add(1) => last.1 = last.1.max(high),
                Some(_) | None => union.push((low, high)),
            }
        }
        union.shrink_to_fit();
        self.spans = union;
    }

    /// What both sets hold.
    pub fn intersect(&self, other: &Self) -> Self {
        let mut both = Self::default();
        let (mut mine, mut theirs) = (self.spans.iter().peekable(), other.spans.iter().peekable());
        while let (Some(a), Some(b)) = (mine.peek(), theirs.peek()) {
            let (low, high) = (a.0.max(b.0), a.1.min(b.1));
            if low <= high {
                both.spans.push((low, high));
            }
            if a.1 < b.1 {
                mine.next()
            } else {
                theirs.next()
            };
        }
        both
    }

    /// What this set holds and the other does not.
    pub fn subtract(&self, other: &Self) -> Self {
        let mut rest = Self::default();
        let mut theirs = other.spans.iter().peekable();
        for &(mut low, high) in &self.spans {
            let mut is_used_up = false;
            while let Some(&&(their_low, their_high)) = theirs.peek() {
                if their_high < low {
                    theirs.next();
                    continue;
                }
                if their_low > high {
                    break;
                }
                if low < their_low {
                    rest.spans.push((low, their_low - 1));
                }
                if their_high >= high {
                    is_used_up = true;
                    break;
                }
                low = their_high + 1;
                theirs.next();
            }
            if !is_used_up {
                rest.spans.push((low, high));
            }
        }
        rest
    }

    /// What is missing between 1 and the greatest number: dots that exist and were not seen.
    pub fn gaps(&self) -> Self {
        let mut next = 1;
        let mut gaps = Self::default();
        for (low, high) in self.iter() {
            if next < low {
                gaps.spans.push((next, low - 1));
            }
            next = high.saturating_add(1);
        }
        gaps
    }

    /// Bytes on the heap.
    pub fn heap_bytes(&self) -> usize {
        if self.spans.spilled() { self.spans.capacity() * size_of::<(u64, u64)>() } else { 0 }
    }
}

impl FromIterator<(u64, u64)> for Intervals {
    fn from_iter<I: IntoIterator<Item = (u64, u64)>>(spans: I) -> Self {
        let mut set = Self::default();
        spans.into_iter().for_each(|(low, high)| {
            set.insert_span(low, high);
        });
        set
    }
}

/// A set of dots.
///
/// Invariant: no writer stands with an empty set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DotSet {
    writers: BTreeMap<WriterId, Intervals>,
}

impl FromIterator<(WriterId, Intervals)> for DotSet {
    fn from_iter<I: IntoIterator<Item = (WriterId, Intervals)>>(writers: I) -> Self {
        Self { writers: writers.into_iter().filter(|(_, intervals)| !intervals.is_empty()).collect() }
    }
}

impl DotSet {
    /// Whether the set is empty.
    pub fn is_empty(&self) -> bool {
        self.writers.is_empty()
    }

    /// Adds a dot.
    pub fn insert(&mut self, dot: Dot) -> bool {
        self.insert_span(dot.writer, dot.seq.0, dot.seq.0)
    }

    /// Adds an interval of a writer's dots.
    pub fn insert_span(&mut self, writer: WriterId, low: u64, high: u64) -> bool {
        self.writers.entry(writer).or_default().insert_span(low, high)
    }

    /// Adds all dots of another set.
    pub fn extend(&mut self, other: &Self) {
        other.iter().for_each(|(writer, intervals)| self.extend_writer(writer, intervals));
    }

    /// Adds these dots of a writer.
    pub fn extend_writer(&mut self, writer: WriterId, dots: &Intervals) {
        if !dots.is_empty() {
            self.writers.entry(writer).or_default().extend(dots);
        }
    }

    /// Whether the set holds this dot.
    pub fn contains(&self, dot: Dot) -> bool {
        self.writers.get(&dot.writer).is_some_and(|intervals| intervals.contains(dot.seq.0))
    }

    /// The dots of one writer.
    pub fn of(&self, writer: WriterId) -> Option<&Intervals> {
        self.writers.get(&writer)
    }

    /// The writers with their dots, ascending.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (WriterId, &Intervals)> + '_ {
        self.writers.iter().map(|(writer, intervals)| (*writer, intervals))
    }

    /// How many writers.
    pub fn writer_count(&self) -> usize {
        self.writers.len()
    }

    /// The greatest dot.
    pub fn max_seq(&self, writer: WriterId) -> Seq {
        Seq(self.of(writer).map_or(0, Intervals::max))
    }
}
