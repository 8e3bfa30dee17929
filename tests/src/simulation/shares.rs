//! What a combiner gathered and sent on, as the witness knows it from the outside: which messages a frame is made of is not
//! told, but it must be made of some of them from the first on, in their order, and of nothing else.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use anyhow::{Result, bail, ensure};
use dayfly_core::chunk::Chunk;
use dayfly_core::dot::{Dot, Seq};
use dayfly_core::effect::{Frame, FrameId};

use super::witness::spoken;

/// What one combiner gathered and sent.
#[derive(Clone, Debug, Default)]
pub struct Shares {
    /// What shares speak of that may not have been sent on, in their order, with the dots that are live in them.
    gathered: VecDeque<(BTreeSet<Dot>, BTreeSet<Dot>)>,
    /// How many of them may have been sent: frames can often be made in more than one way.
    sent: BTreeSet<usize>,
    /// Frames that are not confirmed: their bodies, and what they speak of.
    unsettled: BTreeMap<FrameId, (Vec<u8>, BTreeSet<Dot>)>,
}

impl Shares {
    /// A share was taken in.
    pub fn add(&mut self, share: &Chunk) {
        if self.sent.is_empty() {
            self.sent.insert(0);
        }
        self.gathered.push_back((spoken(share), live(share)));
    }

    /// A frame was sent, with these own writes in it: besides them it must speak of shares that were gathered.
    ///
    /// # Errors
    /// It does not.
    pub fn sent(&mut self, frame: &Frame, chunk: &Chunk, own: &BTreeSet<Dot>, all: &BTreeSet<Dot>) -> Result<()> {
        let (mut ends, mut is_live_wrong) = (BTreeSet::new(), false);
        // Shares may be the same, and so may what is made of them: then nobody can tell whether a frame is sent again.
        if self.unsettled.values().any(|(body, _)| *body == frame.body) {
            ends.extend(&self.sent);
        }
        for begin in &self.sent {
            let (mut told, mut dead, mut alive) = (own.clone(), BTreeSet::new(), BTreeSet::new());
            for (at, (share, live)) in self.gathered.iter().enumerate().skip(*begin) {
                told.extend(share);
                dead.extend(share.difference(live));
                alive.extend(live);
                if !told.is_subset(all) {
                    break;
                }
                if told == *all {
                    let expected: BTreeSet<Dot> =
                        alive.difference(&dead).filter(|dot| !own.contains(dot)).copied().collect();
                    let found: BTreeSet<Dot> = self::live(chunk).difference(own).copied().collect();
                    if expected == found {
                        ends.insert(at + 1);
                    } else {
                        is_live_wrong = true;
                    }
                }
            }
        }
        ensure!(!ends.is_empty() || !is_live_wrong, "it does not tell as the shares did what is live and what is not");
        if ends.is_empty() {
            bail!("it speaks of {all:?}; gathered, from {:?} on, were {:?}", self.sent, self.gathered);
        }
        let first = *ends.first().expect("there is one");
        self.gathered.drain(..first);
        self.sent = ends.into_iter().map(|end| end - first).collect();
        self.unsettled.insert(frame.id, (frame.body.clone(), all.clone()));
        Ok(())
    }

    /// A frame was confirmed: gives what it told everyone.
    pub fn confirmed(&mut self, frame: FrameId) -> BTreeSet<Dot> {
        self.unsettled.remove(&frame).map(|(_, dots)| dots).unwrap_or_default()
    }
}

/// The dots that are live in a chunk.
fn live(chunk: &Chunk) -> BTreeSet<Dot> {
    let parts = chunk.parts.iter();
    let entries = parts.flat_map(|part| part.entries.iter().map(|entry| (part.writer, entry.seq)));
    entries.map(|(writer, seq)| Dot { writer, seq: Seq(seq) }).collect()
}
