//! Counts of what was published.

use std::collections::{BTreeMap, BTreeSet};

use dayfly_core::effect::Route;
use dayfly_core::frame::{Body, Frame};

use super::cluster::{Cluster, Published};
use super::node::NodeId;

/// Frames of repair, and their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Repairs {
    /// Requests.
    pub asks: u64,
    /// Their bytes.
    pub ask_bytes: u64,
    /// Pieces of answers.
    pub answers: u64,
    /// Their bytes.
    pub answer_bytes: u64,
    /// Entries in them.
    pub entries: u64,
    /// The bytes of what these entries hold.
    pub entry_bytes: u64,
    /// Round trips: how often in a row somebody asked, at most. What is asked at the same time is one.
    pub rounds: u64,
}

impl Repairs {
    /// The bytes that were spent beyond the entries themselves.
    pub fn beyond(self) -> u64 {
        self.ask_bytes + self.answer_bytes - self.entry_bytes
    }
}

impl Cluster<'_> {
    /// Begins to keep what is published, anew.
    pub fn tap(&mut self) {
        self.published = Some(Vec::new());
    }

    /// The frames that were published since [`Self::tap`], decoded.
    pub fn tapped(&self) -> Vec<(&Published, Frame)> {
        let published = self.published.iter().flatten();
        let decoded = |frame: &Published| Frame::decode(&frame.body, &self.plan.config.cluster).expect("frames decode");
        published.map(|frame| (frame, decoded(frame))).collect()
    }

    /// How many frames were published since [`Self::tap`] that have nothing to do with a snapshot (asking for one, its pieces,
    /// and from then on the news that it is written) and are no mere sign of life in an overlay.
    pub fn tapped_but_snapshots(&self) -> usize {
        let mut is_written = false;
        let is_other = |(published, frame): &(&Published, Frame)| {
            is_written |= published.route == Route::Log;
            match &frame.body {
                Body::SnapshotDue => false,
                Body::Beat => !is_written,
                Body::Share(chunk) | Body::Combined(_, chunk) => !(is_written && chunk.is_empty()),
                Body::Delta(_) => published.route != Route::Log,
                // Who is in an overlay says now and then that it lives.
                Body::Link(link) => !link.chunk.is_empty(),
                Body::Wake | Body::Ask(_) | Body::Answer(_) | Body::Members(_) => true,
            }
        };
        self.tapped().into_iter().filter(is_other).count()
    }

    /// Counts the frames of repair that were published since [`Self::tap`]; all, or those of one node's sessions.
    pub fn repairs(&self, of: Option<NodeId>) -> Repairs {
        let mut count = Repairs::default();
        let mut sessions = BTreeSet::new();
        let mut times: BTreeMap<NodeId, BTreeSet<u64>> = BTreeMap::new();
        for (published, frame) in self.tapped() {
            match frame.body {
                Body::Ask(ask) if of.is_none_or(|of| of == published.from) => {
                    sessions.insert(ask.session);
                    times.entry(published.from).or_default().insert(published.at);
                    count.asks += 1;
                    count.ask_bytes += published.body.len() as u64;
                }
                Body::Answer(answer) if sessions.contains(&answer.session) => {
                    count.answers += 1;
                    count.answer_bytes += published.body.len() as u64;
                    let entries = answer.chunk.parts.iter().flat_map(|part| &part.entries);
                    for entry in entries {
                        count.entries += 1;
                        count.entry_bytes += entry.payload.len() as u64;
                    }
                }
                Body::Ask(_) | Body::Answer(_) | Body::Beat | Body::Wake | Body::Delta(_) | Body::Members(_) => {}
                Body::Share(_) | Body::Combined(..) | Body::SnapshotDue | Body::Link(_) => {}
            }
        }
        count.rounds = times.values().map(|times| times.len() as u64).max().unwrap_or(0);
        count
    }
}
