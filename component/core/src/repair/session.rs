//! A session: what it asks, whom, and what of it is still pending.

use crate::digest::Digest;
use crate::frame::Want;
use crate::intervals::DotSet;
use crate::store::{Range, Ranges, Store};
use crate::time::Timestamp;

/// Symbols of a sketch. With 46, a difference of 20 is told in 97 of 100 cases, for 468 bytes.
const SKETCH_SYMBOLS: usize = 46;
/// Gaps named in one request, at most; the others are found by description.
const GAPS_MAX: usize = 2_000;

/// What a session asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Fetch,
    Sketch,
    Describe,
}

/// A session.
#[derive(Clone, Debug)]
pub(super) struct Session {
    pub(super) id: u64,
    pub(super) kind: Kind,
    /// Whom it asks; `None`: anyone.
    pub(super) peer: Option<String>,
    /// What no answer has dealt with. Never empty.
    pub(super) pending: Ranges,
    /// When to ask again if no piece comes.
    pub(super) renew_at: Timestamp,
    pub(super) patience_ms: u64,
    pub(super) tries: u32,
    /// Whether it brought anything.
    pub(super) useful: bool,
    /// Whether a piece has come.
    pub(super) is_begun: bool,
    /// Whether it asks for the members as well.
    pub(super) members: bool,
    /// Who has answered so far, with its root; `None` once there was another, or another root.
    pub(super) source: Option<(String, Digest)>,
}

impl Session {
    /// What it asks for now.
    pub(super) fn want(&self, store: &Store) -> Want {
        match self.kind {
            Kind::Fetch => Want::All { ranges: self.pending.clone(), members: self.members },
            Kind::Sketch => {
                let gaps = some_gaps(store);
                Want::Sketched { sketch: store.sketch(SKETCH_SYMBOLS, &gaps), gaps }
            }
            Kind::Describe => {
                let mut ranges = self.pending.iter();
                let first = ranges.next().expect("a session without pending ranges is closed");
                let range = Range { low: first.low, high: ranges.next_back().map_or(first.high, |last| last.high) };
                Want::Described { range, description: store.describe(range) }
            }
        }
    }
}

/// Whether there are more gaps than a request names.
pub(super) fn has_too_many_gaps(store: &Store) -> bool {
    store.gaps().iter().map(|(_, spans)| spans.interval_count()).sum::<usize>() > GAPS_MAX
}

/// The known gaps, as many as a request may name.
fn some_gaps(store: &Store) -> DotSet {
    let gaps = store.gaps();
    let mut some = DotSet::default();
    let spans = gaps.iter().flat_map(|(writer, spans)| spans.iter().map(move |span| (writer, span)));
    for (writer, (low, high)) in spans.take(GAPS_MAX) {
        some.insert_span(writer, low, high);
    }
    some
}
