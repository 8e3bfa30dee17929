//! Several replicas' stores that live through a history. No replica of the composed kind stands here: what they tell each
//! other is what `walk_down`, `extract`, `sketch` and `describe` say.

use std::collections::BTreeSet;

use dayfly_core::chunk::Chunk;
use dayfly_core::clock::Stamp;
use dayfly_core::dot::{Era, WriterId};
use dayfly_core::intervals::DotSet;
use dayfly_core::refusal::Refusal;
use dayfly_core::store::{Range, Store, Write};
use dayfly_core::types;

use crate::contents::{Contents, whole};
use crate::history::{Keyed, Part, REPLICAS, Step, Way};
use crate::reconcile;

/// A small random generator (splitmix64), for orders that proptest need not shrink.
#[derive(Clone, Debug)]
pub struct Chance(pub u64);

impl Chance {
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        dayfly_core::digest::mix(self.0)
    }

    pub fn below(&mut self, bound: usize) -> usize {
        (self.draw() % bound as u64) as usize
    }

    /// The items in some order, about every third of them twice.
    pub fn shuffled<T: Clone>(&mut self, items: impl IntoIterator<Item = T>) -> Vec<T> {
        let mut items: Vec<T> = items.into_iter().collect();
        for at in 0..items.len() {
            if self.below(3) == 0 {
                items.push(items[at].clone());
            }
        }
        for at in (1..items.len()).rev() {
            items.swap(at, self.below(at + 1));
        }
        items
    }
}

/// A replica: a store, and who writes to it.
pub struct Peer {
    pub store: Store,
    pub writer: WriterId,
    /// The writes that it knows, by their index in [`Execution::deltas`].
    pub known: BTreeSet<usize>,
}

/// What a history did.
pub struct Execution {
    pub peers: Vec<Peer>,
    /// The chunk of each write, as it was right after it.
    pub deltas: Vec<Chunk>,
    chance: Chance,
}

/// No bound that a test meets.
pub const NO_LIMIT: usize = usize::MAX / 2;

impl Execution {
    pub fn new() -> Self {
        let mut chance = Chance(1);
        let peer = |_| Peer { store: Store::new(), writer: fresh_writer(&mut chance), known: BTreeSet::new() };
        Self { peers: (0..REPLICAS).map(peer).collect(), deltas: Vec::new(), chance }
    }

    /// Lives through a history.
    pub fn of(history: &[Step]) -> Self {
        let mut execution = Self::new();
        execution.live(history);
        execution
    }

    /// Goes on.
    pub fn live(&mut self, history: &[Step]) {
        history.iter().for_each(|step| self.step(step));
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Write { replica, fresh, stamp, operations } => {
                if *fresh {
                    self.renew_writer(*replica);
                }
                // A refusal is as good a history as any other.
                let _ = self.write(*replica, *stamp, operations);
            }
            Step::Sync { from, to, way } => self.sync(*from, *to, way),
            Step::Leak { from, to, part } => self.leak(*from, *to, part),
        }
    }

    pub fn renew_writer(&mut self, replica: usize) {
        self.peers[replica].writer = fresh_writer(&mut self.chance);
    }

    /// Makes one write. Gives its index; `None` if it changed nothing.
    pub fn write(&mut self, replica: usize, stamp: u64, operations: &[Keyed]) -> Result<Option<usize>, Refusal> {
        let Peer { store, writer, known } = &mut self.peers[replica];
        let Written { dots, wire_bytes } = write(store, *writer, stamp, operations)?;
        if dots.is_empty() {
            return Ok(None);
        }
        let delta = store.extract(&dots);
        let encoded = delta.encode().len();
        assert!(encoded <= wire_bytes, "{wire_bytes} bytes were announced, but the chunk has {encoded}");
        self.deltas.push(delta);
        known.insert(self.deltas.len() - 1);
        Ok(Some(self.deltas.len() - 1))
    }

    /// `to` learns all that `from` knows.
    pub fn sync(&mut self, from: usize, to: usize, way: &Way) {
        if from == to {
            return;
        }
        let [sender, receiver] = self.peers.get_disjoint_mut([from, to]).expect("two peers");
        match way {
            Way::Whole => {
                receiver.store.join(&whole(&sender.store));
            }
            Way::Pieces { fill_bytes, order } => {
                let pieces = sender.store.walk_down(Range::ALL, None, *fill_bytes);
                for piece in Chance(*order).shuffled(pieces) {
                    receiver.store.join(&piece.chunk);
                }
            }
            Way::Deltas { order } => {
                let news: Vec<usize> = sender.known.difference(&receiver.known).copied().collect();
                for delta in Chance(*order).shuffled(news) {
                    receiver.store.join(&self.deltas[delta]);
                }
            }
            Way::Sketch => reconcile::by_sketch(&mut receiver.store, &sender.store),
            Way::Description { weight } => reconcile::by_description(&mut receiver.store, &sender.store, *weight),
        }
        receiver.known.extend(&sender.known);
    }

    /// `to` learns a part of what `from` knows.
    fn leak(&mut self, from: usize, to: usize, part: &Part) {
        let chunks = match part {
            Part::Delta { which } => {
                let known: Vec<&usize> = self.peers[from].known.iter().collect();
                if known.is_empty() { vec![] } else { vec![self.deltas[**which.get(&known)].clone()] }
            }
            Part::Pieces { fill_bytes, keep } => {
                let pieces = self.peers[from].store.walk_down(Range::ALL, None, *fill_bytes);
                let mut chance = Chance(*keep);
                pieces.map(|piece| piece.chunk).filter(|_| chance.below(2) == 0).collect()
            }
            Part::Dots { keep } => vec![some_dots(&self.peers[from].store, *keep)],
        };
        chunks.iter().for_each(|chunk| {
            self.peers[to].store.join(chunk);
        });
    }

    /// Chunks of all kinds that this execution could send: of writes, of states, of parts of them, and of states made of
    /// several of those.
    pub fn chunks(&self) -> Vec<Chunk> {
        let mut chunks = self.deltas.clone();
        for (index, peer) in self.peers.iter().enumerate() {
            chunks.push(whole(&peer.store));
            chunks.push(some_dots(&peer.store, index as u64));
            chunks.extend(peer.store.walk_down(Range::ALL, None, 60).map(|piece| piece.chunk));
        }
        let mut chance = Chance(chunks.len() as u64);
        for _ in 0..4 {
            let mut store = Store::new();
            for _ in 0..3 {
                store.join(&chunks[chance.below(chunks.len())]);
            }
            chunks.push(whole(&store));
        }
        chunks
    }
}

/// What a write did.
pub struct Written {
    pub dots: DotSet,
    /// What the write said that its chunk takes at most.
    pub wire_bytes: usize,
}

/// Makes one write in a store.
pub fn write(store: &mut Store, writer: WriterId, stamp: u64, operations: &[Keyed]) -> Result<Written, Refusal> {
    let mut write = Write::begin(store, writer, NO_LIMIT);
    for (name, data_type, operation) in operations {
        types::apply(&mut write, name, *data_type, operation, Stamp(stamp))?;
    }
    let wire_bytes = write.wire_bytes();
    Ok(Written { dots: write.commit(), wire_bytes })
}

fn fresh_writer(chance: &mut Chance) -> WriterId {
    // Of several eras, so that the order of writers is not that in which they were made.
    let era = Era(chance.below(3) as u32);
    WriterId::fresh(era, &mut || chance.draw())
}

/// The chunk of about half of the dots that a store has seen.
pub fn some_dots(store: &Store, keep: u64) -> Chunk {
    let mut chance = Chance(keep);
    let mut dots = DotSet::default();
    Contents::of(store).dots().filter(|_| chance.below(2) == 0).for_each(|dot| {
        dots.insert(dot);
    });
    store.extract(&dots)
}
