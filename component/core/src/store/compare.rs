//! Finding out what two stores do not share, without sending either.
//!
//! A *sketch* of the state is small whatever its size, and tells the difference if that is small too. Its items are the
//! live dots, and for each writer the greatest sequence number that was seen (its *tail*). A *description* lists what was
//! seen and what is live, as intervals, and always tells the difference.

use std::collections::BTreeMap;

use crate::digest::mix;
use crate::dot::{Dot, Seq, WriterId};
use crate::intervals::{DotSet, Intervals};
use crate::sketch::Sketch;
use crate::store::live::Live;
use crate::store::{Range, Store};

/// What another store lacks, as far as this one can tell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lack {
    /// Dots of which this store has something to say that the other does not know.
    pub dots: DotSet,
    /// Whether the other knows something that this store does not.
    pub knows_more: bool,
}

/// What a store knows of a range.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Description {
    /// The dots seen.
    pub seen: DotSet,
    /// The dots of them that are live.
    pub live: DotSet,
}

/// A sketch's item: 27 bits that stand for the writer, a bit that tells a tail from a live dot, 36 bits of sequence
/// number. Two writers may share a tag: whoever reads an item takes it for the dots of all of them, which is never wrong
/// because a chunk tells the truth about any dot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Item {
    tag: u32,
    is_tail: bool,
    seq: u64,
}

const SEQ_BITS: u32 = 36;

impl Item {
    fn to_word(self) -> u64 {
        u64::from(self.tag) << (SEQ_BITS + 1) | u64::from(self.is_tail) << SEQ_BITS | self.seq
    }

    fn of_word(word: u64) -> Self {
        let seq = word & ((1 << SEQ_BITS) - 1);
        Self { tag: (word >> (SEQ_BITS + 1)) as u32, is_tail: word >> SEQ_BITS & 1 == 1, seq }
    }
}

fn tag(writer: WriterId) -> u32 {
    (mix(writer.0 as u64) >> (SEQ_BITS + 1)) as u32
}

impl Store {
    /// A sketch of the state, without the dots of `except`.
    pub fn sketch(&self, symbols: usize, except: &DotSet) -> Sketch {
        let items = self.writers.iter().flat_map(|index| {
            let writer = self.writers.get(index);
            let (tag, except) = (tag(writer.id()), except.of(writer.id()));
            let kept = move |seq: &u64| except.is_none_or(|except| !except.contains(*seq));
            let live = writer.live().map(Live::seq).filter(kept);
            let live = live.map(move |seq| Item { tag, is_tail: false, seq }.to_word());
            let tail = writer.tail();
            let tail = (tail > 0).then(|| Item { tag, is_tail: true, seq: tail }.to_word());
            live.chain(tail)
        });
        Sketch::of(items, symbols)
    }

    /// What the store behind a sketch lacks, when it also lacks `gaps` and left them out of the sketch. `None`: the
    /// difference is too large for the sketch.
    pub fn lack_by_sketch(&self, theirs: &Sketch, gaps: &DotSet) -> Option<Lack> {
        let mut writers: BTreeMap<u32, Vec<WriterId>> = BTreeMap::new();
        for (id, _) in self.context() {
            writers.entry(tag(id)).or_default().push(id);
        }
        let of_tag = |tag: u32| writers.get(&tag).into_iter().flatten().copied();
        let difference = self.sketch(theirs.symbols(), gaps).subtract(theirs).decode(|word| {
            let item = Item::of_word(word);
            of_tag(item.tag)
                .any(|writer| if item.is_tail { self.tail(writer) == item.seq } else { self.is_live(writer, item.seq) })
        })?;
        let mut lack = Lack { dots: gaps.clone(), knows_more: false };
        let mut their_tails: BTreeMap<u32, u64> = BTreeMap::new();
        for item in difference.theirs.iter().map(|word| Item::of_word(*word)) {
            if item.is_tail {
                // Of two writers with one tag the lesser tail: telling too much does no harm.
                their_tails.entry(item.tag).and_modify(|tail| *tail = item.seq.min(*tail)).or_insert(item.seq);
                lack.knows_more |= !of_tag(item.tag).any(|writer| self.tail(writer) >= item.seq);
            } else {
                // Live there and not here. If it was seen here, it is no more: that is what they lack.
                let seen = of_tag(item.tag).filter(|writer| self.knows(*writer, item.seq));
                let dots: Vec<Dot> = seen.map(|writer| Dot { writer, seq: Seq(item.seq) }).collect();
                lack.knows_more |= dots.is_empty();
                dots.into_iter().for_each(|dot| {
                    lack.dots.insert(dot);
                });
            }
        }
        let mine = || difference.mine.iter().map(|word| Item::of_word(*word));
        // A tail of ours that differs and has no counterpart: they know nothing of that writer.
        mine().filter(|item| item.is_tail).for_each(|item| {
            their_tails.entry(item.tag).or_insert(0);
        });
        for item in mine() {
            for writer in of_tag(item.tag) {
                let their_tail = their_tails.get(&item.tag).copied().unwrap_or_else(|| self.tail(writer));
                if item.is_tail {
                    if their_tail < item.seq {
                        lack.dots.insert_span(writer, their_tail + 1, item.seq);
                    }
                } else if self.knows(writer, item.seq) {
                    // Live here and not there: they have not seen it, or they know that it is no more.
                    let dot = Dot { writer, seq: Seq(item.seq) };
                    lack.knows_more |= item.seq <= their_tail && !gaps.contains(dot);
                    lack.dots.insert(dot);
                }
            }
        }
        let none = Intervals::default();
        lack.knows_more |= self.gaps().iter().any(|(writer, unseen)| {
            // Seen there, and shown by no sketch if it is no more.
            let their_tail = their_tails.get(&tag(writer)).copied().unwrap_or_else(|| self.tail(writer));
            !unseen.subtract(gaps.of(writer).unwrap_or(&none)).clip(1, their_tail).is_empty()
        });
        Some(lack)
    }

    /// What is known of a range.
    pub fn describe(&self, range: Range) -> Description {
        let mut description = Description::default();
        for index in self.writers.range(range.low.writer, range.high.writer) {
            let writer = self.writers.get(index);
            let Some((low, high)) = range.span_of(writer.id()) else { continue };
            for (low, high) in writer.seen().clip(low, high).iter() {
                description.seen.insert_span(writer.id(), low, high);
                for live in writer.live_within(low, high) {
                    description.live.insert(Dot { writer: writer.id(), seq: Seq(live.seq()) });
                }
            }
        }
        description
    }

    /// What the store behind a description of a range lacks.
    pub fn lack_by_description(&self, range: Range, theirs: &Description) -> Lack {
        let mine = self.describe(range);
        let none = Intervals::default();
        let mut lack = Lack::default();
        for (writer, seen) in mine.seen.iter() {
            let live = mine.live.of(writer).unwrap_or(&none);
            let their_live = theirs.live.of(writer).unwrap_or(&none);
            let unseen = seen.subtract(theirs.seen.of(writer).unwrap_or(&none));
            let dropped = seen.subtract(live).intersect(their_live);
            for (low, high) in unseen.iter().chain(dropped.iter()) {
                lack.dots.insert_span(writer, low, high);
            }
        }
        lack.knows_more = theirs.seen.iter().any(|(writer, their_seen)| {
            let seen = mine.seen.of(writer).unwrap_or(&none);
            let their_dead = their_seen.subtract(theirs.live.of(writer).unwrap_or(&none));
            let live = mine.live.of(writer).unwrap_or(&none);
            !their_seen.subtract(seen).is_empty() || !their_dead.intersect(live).is_empty()
        });
        lack
    }

    /// Cuts a range so that each piece has about `weight` of what is known in it: a live entry weighs 1, an interval 2, a
    /// writer 8. Gives the pieces, ascending, without a gap between them.
    pub fn cut(&self, range: Range, weight: usize) -> Vec<Range> {
        let mut pieces = Vec::new();
        let (mut low, mut weighed) = (range.low, 0);
        let mut cut_at = |dot: Dot, weighed: &mut usize| {
            if *weighed >= weight && dot > low {
                pieces.push(Range { low, high: dot });
                low = dot;
                *weighed = 0;
            }
        };
        for index in self.writers.range(range.low.writer, range.high.writer) {
            let writer = self.writers.get(index);
            let Some((first, last)) = range.span_of(writer.id()) else { continue };
            weighed += 8;
            for (first, last) in writer.seen().clip(first, last).iter() {
                cut_at(Dot { writer: writer.id(), seq: Seq(first) }, &mut weighed);
                weighed += 2;
                for live in writer.live_within(first, last) {
                    cut_at(Dot { writer: writer.id(), seq: Seq(live.seq()) }, &mut weighed);
                    weighed += 1;
                }
            }
        }
        pieces.push(Range { low, high: range.high });
        pieces
    }

    fn tail(&self, writer: WriterId) -> u64 {
        self.writers.find(writer).map_or(0, |index| self.writers.get(index).tail())
    }

    fn knows(&self, writer: WriterId, seq: u64) -> bool {
        self.has_seen(Dot { writer, seq: Seq(seq) })
    }

    fn is_live(&self, writer: WriterId, seq: u64) -> bool {
        let index = self.writers.find(writer);
        index.is_some_and(|index| self.writers.get(index).live_within(seq, seq).next().is_some())
    }
}
