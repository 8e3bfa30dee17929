//! What is known of the writers: of each the dots seen, the live ones, and its digest.

use std::borrow::Cow;

use hashbrown::HashTable;
use smallvec::{SmallVec, smallvec};

use super::SAVE_BLOCK;
use super::live::Live;
use crate::blocks::{self, Blocks, Position};
use crate::digest::{Digest, Words, mix};
use crate::dot::WriterId;
use crate::intervals::Intervals;
use crate::pages::Pages;

/// All writers, and their order.
#[derive(Default)]
pub(super) struct Writers {
    writers: Pages<Writer>,
    /// Their indices, by id.
    order: Blocks<u32>,
    /// Their indices, to be found at once: a search in the order goes through as much memory as its path is long.
    found: HashTable<u32>,
    /// How many are more than [`State::Plain`], as of their last [`Self::refresh`].
    full_count: usize,
}

/// Ids are random, all but their era.
fn hash(id: WriterId) -> u64 {
    mix(id.0 as u64)
}

impl Writers {
    /// How many.
    pub fn len(&self) -> usize {
        self.order.len()
    }

    /// The index of a writer.
    pub fn find(&self, id: WriterId) -> Option<u32> {
        self.found.find(hash(id), |index| self.get(*index).id == id).copied()
    }

    /// The index of a writer, which is made if it is new.
    pub fn find_or_insert(&mut self, id: WriterId) -> u32 {
        self.find(id).unwrap_or_else(|| {
            let place = self.search(id).expect_err("it was not found");
            let index = self.writers.push(Writer::new(id));
            self.order.insert_at(place, index);
            self.found.insert_unique(hash(id), index, |index| hash(self.writers.get(*index).id));
            index
        })
    }

    /// Forgets the writer that was made last, if it is this one and nothing is known of it.
    pub fn forget_unused(&mut self, id: WriterId) {
        if self.writers.last().is_some_and(|last| last.id == id && last.is_unused()) {
            let place = self.search(id).expect("all are in the order");
            let index = self.order.remove_at(place);
            self.found.find_entry(hash(id), |other| *other == index).expect("all are found").remove();
            self.writers.pop();
        }
    }

    /// The writer with this index.
    pub fn get(&self, index: u32) -> &Writer {
        self.writers.get(index)
    }

    /// The same, to be changed.
    pub fn get_mut(&mut self, index: u32) -> &mut Writer {
        self.writers.get_mut(index)
    }

    /// How many take more than their place in the list.
    pub fn full_count(&self) -> usize {
        self.full_count
    }

    /// Brings a writer's digest up to date, and its form.
    pub fn refresh(&mut self, index: u32) -> &Writer {
        let writer = self.writers.get_mut(index);
        writer.refresh(&mut self.full_count);
        writer
    }

    /// The indices, by id.
    pub fn iter(&self) -> blocks::Iter<'_, u32> {
        self.order.iter()
    }

    /// The indices of those from one id to another, both included, by id.
    pub fn range(&self, low: WriterId, high: WriterId) -> blocks::Iter<'_, u32> {
        let from = self.search(low).unwrap_or_else(|place| place);
        let to = self.order.search(|index| self.get(*index).id.cmp(&high).then(std::cmp::Ordering::Less));
        self.order.range(from, to.unwrap_or_else(|place| place).max(from))
    }

    fn search(&self, id: WriterId) -> Result<Position, Position> {
        self.order.search(|index| self.get(*index).id.cmp(&id))
    }

    /// Checks the invariants by brute force.
    pub fn assert_sound(&self) {
        self.writers.iter().for_each(Writer::assert_sound);
        assert!(self.iter().map(|index| self.get(index).id).is_sorted_by(|a, b| a < b), "writers stand in order");
        assert!(self.iter().all(|index| self.find(self.get(index).id) == Some(index)), "each is found");
        assert_eq!(self.writers.len(), self.order.len(), "each stands in the order");
        assert_eq!(
            self.writers.iter().filter(|writer| writer.is_full()).count(),
            self.full_count,
            "the full are counted"
        );
    }

    /// Bytes on the heap.
    pub fn heap_bytes(&self) -> usize {
        self.writers.heap_bytes()
            + self.order.heap_bytes()
            + self.found.allocation_size()
            + self.writers.iter().map(Writer::heap_bytes).sum::<usize>()
    }
}

/// What is known of one writer's dots. 32 bytes in the component, and the heap if it is more than [`State::Plain`].
pub(super) struct Writer {
    id: WriterId,
    state: State,
}

enum State {
    /// Of most writers in a large cluster: all dots up to the newest were seen, none but that is live, and they are saved as
    /// one block.
    Plain {
        /// The newest dot; 0: none was seen.
        newest: u32,
        /// The slot of the newest dot's entry, or [`NO_SLOT`].
        slot: u32,
        /// The save version of the last change; 0: none.
        changed: u32,
    },
    Full(Box<Full>),
}

/// No entry has this slot.
const NO_SLOT: u32 = u32::MAX;

struct Full {
    /// The dots seen. Every live entry's dot is among them, except while a write is not yet committed.
    seen: Intervals,
    /// The live entries, by sequence number.
    live: Blocks<Live>,
    /// Sum of the digests of the live dots.
    live_digest: Digest,
    /// What this writer contributes to the root.
    digest: Digest,
    changed: Changed,
    /// Whether it is among [`Writers::full_count`].
    is_counted: bool,
}

/// Blocks of dots, ascending, and the save version in which each last changed. A block that is absent never changed by
/// itself; its dots are saved with the nearest block before it.
pub(super) type Changed = SmallVec<[(u64, u32); 1]>;

impl Writer {
    fn new(id: WriterId) -> Self {
        Self { id, state: State::Plain { newest: 0, slot: NO_SLOT, changed: 0 } }
    }

    /// Whose dots.
    pub fn id(&self) -> WriterId {
        self.id
    }

    /// The dots seen.
    pub fn seen(&self) -> Cow<'_, Intervals> {
        match &self.state {
            State::Plain { newest: 0, .. } => Cow::Owned(Intervals::default()),
            State::Plain { newest, .. } => Cow::Owned(Intervals::span(1, (*newest).into())),
            State::Full(full) => Cow::Borrowed(&full.seen),
        }
    }

    /// Whether this dot was seen.
    pub fn has_seen(&self, seq: u64) -> bool {
        match &self.state {
            State::Plain { newest, .. } => (1..=(*newest).into()).contains(&seq),
            State::Full(full) => full.seen.contains(seq),
        }
    }

    /// The greatest dot seen; 0: none was.
    pub fn tail(&self) -> u64 {
        match &self.state {
            State::Plain { newest, .. } => (*newest).into(),
            State::Full(full) => full.seen.max(),
        }
    }

    /// The live entries, by sequence number.
    pub fn live(&self) -> LiveIter<'_> {
        self.live_within(0, u64::MAX)
    }

    /// Those from one sequence number to another, both included.
    pub fn live_within(&self, low: u64, high: u64) -> LiveIter<'_> {
        match &self.state {
            State::Plain { .. } => {
                LiveIter::Plain(self.plain_live().filter(|live| (low..=high).contains(&live.seq())).into_iter())
            }
            State::Full(full) => {
                let to = high.checked_add(1).map_or(full.live.end(), |behind| full.place(behind));
                LiveIter::Full(full.live.range(full.place(low), to))
            }
        }
    }

    /// The newest live entry.
    pub fn last_live(&self) -> Option<Live> {
        match &self.state {
            State::Plain { .. } => self.plain_live(),
            State::Full(full) => full.live.iter().next_back(),
        }
    }

    fn plain_live(&self) -> Option<Live> {
        match self.state {
            State::Plain { newest, slot, .. } if slot != NO_SLOT => Some(Live::new(newest.into(), slot)),
            State::Plain { .. } | State::Full(_) => None,
        }
    }

    /// Whether nothing is known of it.
    pub fn is_unused(&self) -> bool {
        matches!(self.state, State::Plain { newest: 0, slot: NO_SLOT, .. })
            || matches!(&self.state, State::Full(full) if full.seen.is_empty() && full.live.is_empty())
    }

    /// What the writer contributes to the root, as of the last [`Self::refresh`].
    pub fn digest(&self) -> Digest {
        match &self.state {
            State::Plain { newest: 0, .. } => Digest::default(),
            State::Plain { newest, .. } => {
                let live_digest = self.plain_live().map_or(Digest::default(), |live| dot_digest(self.id, live.seq()));
                digest(self.id, live_digest, [(1, (*newest).into())].into_iter())
            }
            State::Full(full) => full.digest,
        }
    }

    /// When each block of dots changed.
    pub fn changed(&self) -> Cow<'_, Changed> {
        match &self.state {
            State::Plain { changed: 0, .. } => Cow::Owned(Changed::new()),
            State::Plain { changed, .. } => Cow::Owned(smallvec![(0, *changed)]),
            State::Full(full) => Cow::Borrowed(&full.changed),
        }
    }

    /// Adds a live entry. The digest is stale until [`Self::refresh`].
    pub fn insert_live(&mut self, live: Live, version: u32) {
        let id = self.id;
        let full = self.full();
        let place = full.place(live.seq());
        full.live.insert_at(place, live);
        full.live_digest.add(dot_digest(id, live.seq()));
        full.touch(live.seq(), version);
    }

    /// Takes a live entry away, which must be there. The digest is stale until [`Self::refresh`].
    pub fn remove_live(&mut self, seq: u64, version: u32) -> Live {
        let id = self.id;
        let full = self.full();
        let place = full.place(seq);
        let removed = full.live.remove_at(place);
        assert_eq!(removed.seq(), seq, "a live entry is missing in its writer's order");
        full.live_digest.subtract(dot_digest(id, seq));
        full.touch(seq, version);
        removed
    }

    /// Takes these dots for seen. Gives how many of them were new. The digest is stale until [`Self::refresh`].
    pub fn see(&mut self, dots: &Intervals, version: u32) -> u64 {
        let full = self.full();
        let before = full.seen.len();
        full.seen.extend(dots);
        let new = full.seen.len() - before;
        if new > 0 {
            dots.iter().for_each(|(low, high)| full.touch_span(low, high, version));
        }
        new
    }

    /// A live entry gets a later sequence number than all, and these dots, which that is among, are taken for seen. Gives how
    /// many of them were new. The digest is stale until [`Self::refresh`].
    pub fn move_live(&mut self, old: Live, seq: u64, dots: &Intervals, version: u32) -> u64 {
        self.remove_live(old.seq(), version);
        self.insert_live(old.at(seq), version);
        self.see(dots, version)
    }

    /// The slot of the newest dot's entry, if the dots from `low` to `high` make a plain writer's newest live dot an old one
    /// and leave no hole.
    pub fn slot_before(&self, (low, high): (u64, u64)) -> Option<u32> {
        match self.state {
            State::Plain { newest, slot, .. }
                if slot != NO_SLOT && low <= newest.into() && u64::from(newest) < high && high < SAVE_BLOCK =>
            {
                Some(slot)
            }
            State::Plain { .. } | State::Full(_) => None,
        }
    }

    /// Goes on to this dot, whose entry takes the slot that [`Self::slot_before`] gave. Gives how many dots are new, and what
    /// the writer contributed to the root and does now.
    pub fn advance(&mut self, high: u64, version: u32) -> (u64, Digest, Digest) {
        let State::Plain { newest, changed, .. } = &mut self.state else { unreachable!("it has a slot before") };
        let before = u64::from(*newest);
        // The cast holds: a block has less dots.
        (*newest, *changed) = (high as u32, version);
        let [was, is] = digests_of_newest(self.id, [before, high]);
        (high - before, was, is)
    }

    fn refresh(&mut self, full_count: &mut usize) {
        if let State::Full(full) = &mut self.state {
            full.digest = match full.seen.is_empty() {
                true => Digest::default(),
                false => digest(self.id, full.live_digest, full.seen.iter()),
            };
            let plain = full.as_plain();
            match (plain.is_none(), full.is_counted) {
                (true, false) => *full_count += 1,
                (false, true) => *full_count -= 1,
                (true, true) | (false, false) => {}
            }
            full.is_counted = plain.is_none();
            if let Some(plain) = plain {
                self.state = plain;
            }
        }
    }

    /// The state in a form in which everything can be changed.
    fn full(&mut self) -> &mut Full {
        if let State::Plain { .. } = self.state {
            let plain = self.plain_live();
            let mut live = Blocks::new();
            plain.into_iter().for_each(|entry| live.insert_at(live.end(), entry));
            self.state = State::Full(Box::new(Full {
                seen: self.seen().into_owned(),
                live,
                live_digest: plain.map_or(Digest::default(), |live| dot_digest(self.id, live.seq())),
                digest: self.digest(),
                changed: self.changed().into_owned(),
                is_counted: false,
            }));
        }
        match &mut self.state {
            State::Full(full) => full,
            State::Plain { .. } => unreachable!("it was made full"),
        }
    }

    fn heap_bytes(&self) -> usize {
        match &self.state {
            State::Plain { .. } => 0,
            State::Full(full) => size_of::<Full>() + full.live.heap_bytes() + full.seen.heap_bytes(),
        }
    }

    /// Whether it takes the heap.
    fn is_full(&self) -> bool {
        matches!(self.state, State::Full(_))
    }

    /// Checks the invariants by brute force.
    fn assert_sound(&self) {
        assert!(self.live().map(Live::seq).is_sorted_by(|a, b| a < b), "live entries stand in order");
        assert!(self.changed().is_sorted_by(|a, b| a.0 < b.0), "blocks to be saved ascend");
        let mut live_digest = Digest::default();
        for live in self.live() {
            assert!(self.has_seen(live.seq()), "every live dot was seen");
            live_digest.add(dot_digest(self.id, live.seq()));
        }
        let now =
            if self.seen().is_empty() { Digest::default() } else { digest(self.id, live_digest, self.seen().iter()) };
        assert_eq!(now, self.digest(), "a writer's digest is up to date");
        if let State::Full(full) = &self.state {
            assert_eq!(live_digest, full.live_digest, "the digest of the live dots follows them");
            assert!(full.as_plain().is_none(), "a plain writer takes no heap");
        }
    }
}

impl Full {
    /// Where a sequence number stands, or would stand.
    fn place(&self, seq: u64) -> Position {
        // Nearly always a writer's next write, which stands behind all others.
        if self.live.iter().next_back().is_none_or(|last| last.seq() < seq) {
            return self.live.end();
        }
        self.live.search(|live| live.seq().cmp(&seq)).unwrap_or_else(|place| place)
    }

    /// Remembers that the block of this dot has to be saved.
    fn touch(&mut self, seq: u64, version: u32) {
        let block = seq / SAVE_BLOCK;
        match self.changed.binary_search_by_key(&block, |(block, _)| *block) {
            Ok(at) => self.changed[at].1 = version,
            Err(at) => self.changed.insert(at, (block, version)),
        }
    }

    /// Remembers that an interval of dots has to be saved: with the block of its first dot, and with the blocks behind
    /// that are saved by themselves.
    fn touch_span(&mut self, low: u64, high: u64, version: u32) {
        self.touch(low, version);
        let from = self.changed.partition_point(|(block, _)| *block < low / SAVE_BLOCK);
        let behind = self.changed[from..].iter_mut().take_while(|(block, _)| *block <= high / SAVE_BLOCK);
        behind.for_each(|(_, at)| *at = version);
    }

    /// The same as a plain state, if it is one.
    fn as_plain(&self) -> Option<State> {
        let newest = self.seen.max();
        let is_whole = self.seen.is_empty() || self.seen.covers(1, newest);
        let mut live = self.live.iter();
        let slot = match (live.next(), live.next()) {
            (None, _) => Some(NO_SLOT),
            (Some(only), None) if only.seq() == newest => Some(only.slot()),
            (Some(_), _) => None,
        };
        let changed = match self.changed[..] {
            [] => Some(0),
            [(0, version)] => Some(version),
            [..] => None,
        };
        if !is_whole || newest >= SAVE_BLOCK {
            return None;
        }
        // The cast holds: a block has less dots.
        Some(State::Plain { newest: newest as u32, slot: slot?, changed: changed? })
    }
}

/// A writer's live entries, ascending.
pub(super) enum LiveIter<'a> {
    Plain(std::option::IntoIter<Live>),
    Full(blocks::Iter<'a, Live>),
}

impl Iterator for LiveIter<'_> {
    type Item = Live;

    fn next(&mut self) -> Option<Live> {
        match self {
            Self::Plain(live) => live.next(),
            Self::Full(live) => live.next(),
        }
    }
}

impl DoubleEndedIterator for LiveIter<'_> {
    fn next_back(&mut self) -> Option<Live> {
        match self {
            Self::Plain(live) => live.next_back(),
            Self::Full(live) => live.next_back(),
        }
    }
}

/// The digests of a writer of which all dots up to the newest were seen and none but that is live, for two that this may be.
fn digests_of_newest(writer: WriterId, newest: [u64; 2]) -> [Digest; 2] {
    // As [`dot_digest`] and [`digest`] have it, from where they begin alike.
    let dot = Words::NONE.and(writer.0 as u64);
    let all = dot.and((writer.0 >> 64) as u64);
    newest.map(|newest| {
        let Digest([one, other]) = dot.and(newest).digest();
        all.and(one).and(other).and(1).and(newest).digest()
    })
}

/// The digest of one live dot.
fn dot_digest(writer: WriterId, seq: u64) -> Digest {
    Digest::of([writer.0 as u64, seq])
}

/// The digest of what is known of a writer. `seen` is not empty.
fn digest(writer: WriterId, live: Digest, seen: impl Iterator<Item = (u64, u64)>) -> Digest {
    let id = [writer.0 as u64, (writer.0 >> 64) as u64];
    Digest::of(id.into_iter().chain(live.0).chain(seen.flat_map(|(low, high)| [low, high])))
}
