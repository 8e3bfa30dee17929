//! How many requests were answered, by the class of their status.

use std::sync::atomic::{AtomicU64, Ordering};

/// The classes, as a label's values.
const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// Counts of answers.
#[derive(Debug, Default)]
pub struct Answers([AtomicU64; CLASSES.len()]);

impl Answers {
    /// Counts an answer of this status.
    pub fn count(&self, status: u16) {
        let class = usize::from(status / 100).clamp(1, CLASSES.len()) - 1;
        self.0[class].fetch_add(1, Ordering::Relaxed);
    }

    /// Each class and its count.
    pub fn by_class(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        CLASSES.into_iter().zip(self.0.iter().map(|count| count.load(Ordering::Relaxed)))
    }
}
