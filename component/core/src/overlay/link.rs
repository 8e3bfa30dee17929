//! A link of an overlay: what a neighbour told of itself, and what it is to be told.

use std::collections::{BTreeMap, BTreeSet};

use super::Parcel;
use crate::digest::Digest;
use crate::dot::WriterId;
use crate::frame::{self, Claim};
use crate::member::Record;
use crate::store::Store;
use crate::time::Timestamp;

/// A link to one neighbour.
pub(super) struct Link {
    // Of the neighbour:
    /// In which life it was last heard.
    incarnation: Option<u64>,
    heard_at: Timestamp,
    /// Where it says to be in the tree; none: it is not reckoned with.
    pub(super) claim: Option<Claim>,
    /// The greatest number of its frames.
    received: u64,
    pub(super) complete: bool,
    pub(super) root: Option<Digest>,
    /// Since when its root and this replica's, which is this, have been what they are, and differ.
    pub(super) differs_since: Option<(Timestamp, Digest)>,
    agreed_at: Timestamp,
    // Of this replica:
    number: u64,
    pub(super) told: Option<Claim>,
    pub(super) say_at: Timestamp,
    pub(super) is_branch: bool,
    /// What it is to be told, joined among itself and with nothing else: each chunk brings a removal together with what takes
    /// the place of the removed, and so does their join.
    pub(super) gathered: Store,
    /// An upper bound for `gathered`, in bytes.
    pub(super) weight: usize,
    pub(super) records: BTreeMap<String, (Record, bool)>,
    /// The writers that it knows.
    pub(super) knows: BTreeSet<WriterId>,
}

impl Link {
    pub(super) fn new(number: u64, now: Timestamp) -> Self {
        Self {
            incarnation: None,
            heard_at: now,
            claim: None,
            received: 0,
            complete: false,
            root: None,
            differs_since: None,
            agreed_at: now,
            number,
            told: None,
            say_at: now,
            is_branch: false,
            gathered: Store::new(),
            weight: 0,
            records: BTreeMap::new(),
            knows: BTreeSet::new(),
        }
    }

    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// Gives whether this is a life of the neighbour's that is new here, and whether something that it sent may be missing.
    pub(super) fn hear(
        &mut self,
        incarnation: u64,
        complete: bool,
        root: Digest,
        frame: &frame::Link,
        now: Timestamp,
    ) -> (bool, bool) {
        if self.incarnation.is_some_and(|known| known > incarnation) {
            // Late, from a former life.
            return (false, false);
        }
        let is_new_life = self.incarnation != Some(incarnation);
        if is_new_life {
            self.forget();
            self.incarnation = Some(incarnation);
            self.received = 0;
            self.agreed_at = now;
        }
        self.heard_at = now;
        let expected = self.received + u64::from(!frame.chunk.is_empty());
        if frame.number < expected && !is_new_life {
            // Late, or repeated: what it told of the sender is old.
            return (false, false);
        }
        self.received = frame.number;
        self.complete = complete;
        if self.root != Some(root) {
            self.root = Some(root);
            self.differs_since = None;
        }
        if let Some(claim) = &frame.claim {
            self.claim = Some(claim.clone());
        }
        (is_new_life, is_new_life || frame.number > expected)
    }

    /// It is gone, or another than it was.
    pub(super) fn forget(&mut self) {
        self.claim = None;
        self.root = None;
        self.differs_since = None;
        self.told = None;
        self.knows.clear();
        self.set_branch(false);
    }

    pub(super) fn stood_still(&mut self, pause_ms: u64, now: Timestamp) {
        self.heard_at = self.heard_at.plus_ms(pause_ms).min(now);
        self.say_at = now;
        // It may have been given up, and not been told what came meanwhile.
        self.received = self.received.saturating_sub(1);
    }

    /// A clock that went back must not silence anybody.
    pub(super) fn mind_clock(&mut self, now: Timestamp, say_ms: u64) {
        self.heard_at = self.heard_at.min(now);
        self.agreed_at = self.agreed_at.min(now);
        self.say_at = self.say_at.min(now.plus_ms(say_ms));
        self.differs_since = self.differs_since.map(|(since, own)| (since.min(now), own));
    }

    pub(super) fn is_silent(&self, now: Timestamp, silent_ms: u64) -> bool {
        now.since_ms(self.heard_at) > silent_ms
    }

    /// Leaves a number out.
    pub(super) fn skip(&mut self) {
        self.number += 1;
    }

    pub(super) fn set_branch(&mut self, is_branch: bool) {
        if is_branch && !self.is_branch {
            // What came before was not told along this link.
            self.skip();
        }
        if !is_branch {
            if self.weight > 0 {
                self.gathered = Store::new();
            }
            self.weight = 0;
            self.records.clear();
        }
        self.is_branch = is_branch;
    }

    /// Whether the roots have stood still and differed for the first time, or not been the same for the second.
    pub(super) fn differs(
        &mut self,
        own: Digest,
        is_past: impl Fn(Digest) -> bool,
        (calm_ms, most_ms): (u64, u64),
        now: Timestamp,
    ) -> bool {
        let Some(root) = self.root else { return false };
        if root == own || is_past(root) {
            self.differs_since = None;
            self.agreed_at = now;
            return false;
        }
        let since = match self.differs_since {
            Some((since, of)) if of == own => since,
            _ => now,
        };
        self.differs_since = Some((since, own));
        let is_calm = now.since_ms(since) >= calm_ms;
        let is_long = now.since_ms(self.agreed_at) >= most_ms;
        if is_calm || is_long {
            self.differs_since = Some((now, own));
            self.agreed_at = now;
        }
        is_calm || is_long
    }

    pub(super) fn due(&self, silent_ms: u64, calm_ms: u64) -> Timestamp {
        let silent_at = self.claim.is_some().then(|| self.heard_at.plus_ms(silent_ms + 1));
        let calm_at = self.differs_since.filter(|_| self.claim.is_some()).map(|(since, _)| since.plus_ms(calm_ms));
        [silent_at, calm_at].into_iter().flatten().fold(self.say_at, Timestamp::min)
    }

    pub(super) fn has_nothing(&self) -> bool {
        self.weight == 0 && self.records.is_empty()
    }

    pub(super) fn take(&mut self, name: &str) -> Parcel {
        self.weight = 0;
        let writes = std::mem::take(&mut self.gathered);
        let records = std::mem::take(&mut self.records).into_values().collect();
        Parcel { to: name.to_owned(), writes, records }
    }

    pub(super) fn next_number(&mut self, has_writes: bool) -> u64 {
        self.number += u64::from(has_writes);
        self.number
    }

    /// What is to be told of the place in the tree: always in a frame without writes, else if it is news.
    pub(super) fn tell_claim(&mut self, claim: Claim, has_writes: bool) -> Option<Claim> {
        let is_news = !has_writes || self.told.as_ref() != Some(&claim);
        self.told = Some(claim.clone());
        is_news.then_some(claim)
    }
}
