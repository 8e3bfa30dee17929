//! What there is to know, and what each replica knows of it: plain sets of dots, joined dot by dot. It is told of each write
//! when it is answered and of each chunk when it is received, and is asked after each call whether the replica agrees.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use anyhow::{Context, Result, bail, ensure};
use dayfly_core::brief::Head;
use dayfly_core::cell::{Cell, DataType};
use dayfly_core::chunk::Chunk;
use dayfly_core::dot::{Dot, Seq, WriterId};
use dayfly_core::store::Store;
use serde_json::Value;

use super::types::Content;
use super::value::{self, Cells};

/// What a dot put.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fact {
    /// Where.
    pub cell: Cell,
    /// What.
    pub content: Content,
}

/// All dots that were ever made.
#[derive(Clone, Debug, Default)]
pub struct Model {
    /// What each dot put; `None` for the dot of a write that only dropped.
    facts: BTreeMap<Dot, Option<Rc<Fact>>>,
    /// The dots whose entries some write dropped, with the own dots of each write that did.
    dropped: BTreeMap<Dot, Vec<(WriterId, std::ops::Range<u64>)>>,
}

impl Model {
    /// Takes note of what a write made: all its dots, with what they put, and what it dropped.
    pub fn made(
        &mut self,
        writer: WriterId,
        seqs: std::ops::Range<u64>,
        puts: &BTreeMap<Dot, Rc<Fact>>,
        drops: &BTreeSet<Dot>,
    ) {
        for dot in seqs.clone().map(|seq| Dot { writer, seq: Seq(seq) }) {
            let before = self.facts.insert(dot, puts.get(&dot).cloned());
            assert!(before.is_none(), "the dot {dot:?} was made twice");
        }
        for dot in drops {
            self.dropped.entry(*dot).or_default().push((writer, seqs.clone()));
        }
    }

    /// Whether a dot of this writer was made.
    pub fn knows_writer(&self, writer: WriterId) -> bool {
        self.facts.range(Dot { writer, seq: Seq(0) }..).next().is_some_and(|(dot, _)| dot.writer == writer)
    }

    /// Whether some write dropped a dot's entry.
    pub fn is_dropped(&self, dot: Dot) -> bool {
        self.dropped.contains_key(&dot)
    }

    /// What a dot put.
    pub fn fact(&self, dot: Dot) -> Option<&Rc<Fact>> {
        self.facts.get(&dot)?.as_ref()
    }

    /// How many dots there are.
    pub fn len(&self) -> usize {
        self.facts.len()
    }

    /// Whether there is no dot.
    pub fn is_empty(&self) -> bool {
        self.facts.is_empty()
    }

    /// Whether everything that a chunk says is true.
    pub fn check(&self, chunk: &Chunk) -> Result<()> {
        for part in &chunk.parts {
            let mut entries = part.entries.iter().peekable();
            for seq in part.context.iter().flat_map(|(low, high)| low..=high) {
                let dot = Dot { writer: part.writer, seq: Seq(seq) };
                let fact = self.facts.get(&dot).with_context(|| format!("a chunk speaks of {dot:?}: never made"))?;
                match (entries.next_if(|entry| entry.seq == seq), fact) {
                    (Some(entry), Some(fact)) => {
                        let cell = &chunk.cells[entry.cell as usize];
                        let content = Content::of_payload(cell.leaf, &entry.payload);
                        ensure!(
                            *cell == fact.cell && content.as_ref().is_some_and(|content| fact.content.fits(content)),
                            "a chunk says {dot:?} put {content:?} into {cell:?}; it was {fact:?}"
                        );
                    }
                    (Some(_), None) => bail!("a chunk says {dot:?} put something; it only dropped"),
                    (None, Some(fact)) => {
                        ensure!(
                            self.dropped.contains_key(&dot),
                            "a chunk says {dot:?} is no more; nobody dropped {fact:?}"
                        );
                    }
                    (None, None) => {}
                }
            }
            ensure!(entries.next().is_none(), "a chunk has an entry outside its context");
        }
        Ok(())
    }
}

/// What one replica knows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct View {
    seen: BTreeMap<WriterId, BTreeSet<u64>>,
    live: BTreeMap<Dot, Rc<Fact>>,
    cells: BTreeMap<Cell, BTreeSet<Dot>>,
}

impl View {
    /// Whether a dot was seen.
    pub fn has_seen(&self, dot: Dot) -> bool {
        self.seen.get(&dot.writer).is_some_and(|seen| seen.contains(&dot.seq.0))
    }

    /// Whether a dot's entry is live.
    pub fn is_live(&self, dot: Dot) -> bool {
        self.live.contains_key(&dot)
    }

    /// The greatest sequence number of a writer that was seen; 0 if none was.
    pub fn tail(&self, writer: WriterId) -> u64 {
        self.seen.get(&writer).and_then(BTreeSet::last).copied().unwrap_or(0)
    }

    /// The one writer of whose dots some were seen and whose id begins so.
    pub fn writer_with(&self, head: Head) -> Option<WriterId> {
        let mut found = self.seen.keys().copied().filter(|writer| Head::of(*writer) == head);
        found.next().filter(|_| found.next().is_none())
    }

    /// All dots that were seen.
    pub fn dots(&self) -> impl Iterator<Item = Dot> + '_ {
        let of = |(writer, seqs): (&WriterId, &BTreeSet<u64>)| {
            let writer = *writer;
            seqs.iter().map(move |seq| Dot { writer, seq: Seq(*seq) }).collect::<Vec<_>>()
        };
        self.seen.iter().flat_map(of)
    }

    /// The live entries of a cell.
    pub fn of_cell(&self, cell: &Cell) -> impl Iterator<Item = (Dot, &Rc<Fact>)> + '_ {
        let dots = self.cells.get(cell).into_iter().flatten();
        dots.map(|dot| (*dot, &self.live[dot]))
    }

    /// The cells that have live entries.
    pub fn cells(&self) -> impl Iterator<Item = &Cell> + '_ {
        self.cells.keys()
    }

    /// The value of a key.
    pub fn read(&self, name: &str, data_type: DataType) -> Option<Value> {
        let of_key = |cell: &&Cell| *cell.name == *name && cell.key_type == data_type;
        let entries = |cell: &Cell| self.of_cell(cell).map(|(dot, fact)| (dot, fact.content.clone())).collect();
        let cells: Cells = self.cells().filter(of_key).map(|cell| (cell.clone(), entries(cell))).collect();
        value::of_key(data_type, &cells)
    }

    /// Takes in what a write of this replica's own did.
    pub fn write(
        &mut self,
        writer: WriterId,
        seqs: std::ops::Range<u64>,
        puts: &BTreeMap<Dot, Rc<Fact>>,
        drops: &BTreeSet<Dot>,
    ) {
        if seqs.is_empty() {
            return;
        }
        self.seen.entry(writer).or_default().extend(seqs);
        drops.iter().for_each(|dot| self.unlink(*dot));
        for (dot, fact) in puts.iter().filter(|(dot, _)| !drops.contains(dot)) {
            self.link(*dot, fact.clone());
        }
    }

    /// Joins a chunk whose truth was checked.
    pub fn join(&mut self, model: &Model, chunk: &Chunk) {
        let dead = self.join_piece(model, chunk);
        dead.iter().for_each(|dot| self.bury(*dot));
    }

    /// Joins what is live in a chunk, and gives what it says is dead.
    pub fn join_piece(&mut self, model: &Model, chunk: &Chunk) -> BTreeSet<Dot> {
        let mut dead = BTreeSet::new();
        for part in &chunk.parts {
            for seq in part.context.iter().flat_map(|(low, high)| low..=high) {
                let dot = Dot { writer: part.writer, seq: Seq(seq) };
                if part.entries.binary_search_by_key(&seq, |entry| entry.seq).is_err() {
                    dead.insert(dot);
                } else if self.seen.entry(part.writer).or_default().insert(seq) {
                    self.link(dot, model.fact(dot).expect("a live entry was made").clone());
                }
            }
        }
        dead
    }

    /// Takes in of these dead dots those that a store knows to be dead; gives the others.
    pub fn follow(&mut self, dead: BTreeSet<Dot>, store: &Store) -> BTreeSet<Dot> {
        let mut live: BTreeMap<WriterId, BTreeSet<u64>> = BTreeMap::new();
        for dot in &dead {
            live.entry(dot.writer).or_insert_with(|| store.live(dot.writer).collect());
        }
        let is_dead = |dot: &Dot| store.has_seen(*dot) && !live[&dot.writer].contains(&dot.seq.0);
        let (known, held): (BTreeSet<Dot>, BTreeSet<Dot>) = dead.into_iter().partition(is_dead);
        known.iter().for_each(|dot| self.bury(*dot));
        held
    }

    fn bury(&mut self, dot: Dot) {
        self.seen.entry(dot.writer).or_default().insert(dot.seq.0);
        self.unlink(dot);
    }

    /// Joins what another replica knows.
    pub fn join_view(&mut self, other: &Self) {
        for (writer, seqs) in &other.seen {
            for seq in seqs {
                let dot = Dot { writer: *writer, seq: Seq(*seq) };
                let is_new = self.seen.entry(*writer).or_default().insert(*seq);
                match other.live.get(&dot) {
                    Some(fact) if is_new => self.link(dot, fact.clone()),
                    Some(_) => {}
                    None => self.unlink(dot),
                }
            }
        }
    }

    fn link(&mut self, dot: Dot, fact: Rc<Fact>) {
        self.cells.entry(fact.cell.clone()).or_default().insert(dot);
        self.live.insert(dot, fact);
    }

    fn unlink(&mut self, dot: Dot) {
        let Some(fact) = self.live.remove(&dot) else { return };
        let dots = self.cells.get_mut(&fact.cell).expect("a live entry is in its cell");
        dots.remove(&dot);
        if dots.is_empty() {
            self.cells.remove(&fact.cell);
        }
    }

    /// Whether for all that is gone a write is known that took it, or one that took what that one wrote. Where none is,
    /// what took its place can be lost, and others that still have what is gone would lose it too.
    pub fn check_reasons(&self, model: &Model) -> Result<()> {
        for dot in self.dots().filter(|dot| !self.is_live(*dot) && model.fact(*dot).is_some()) {
            ensure!(self.has_reason(model, dot, &mut BTreeSet::new()), "{dot:?} is gone, and nobody knows why");
        }
        Ok(())
    }

    /// Whether a write is known that dropped a dot; `asked` are those that were asked before.
    fn has_reason(&self, model: &Model, dot: Dot, asked: &mut BTreeSet<Dot>) -> bool {
        asked.insert(dot)
            && model.dropped.get(&dot).into_iter().flatten().any(|(writer, seqs)| {
                let mut own = seqs.clone().map(|seq| Dot { writer: *writer, seq: Seq(seq) });
                own.clone().any(|own| self.has_seen(own)) || own.any(|own| self.has_reason(model, own, asked))
            })
    }

    /// Whether a replica's store is exactly this.
    pub fn check(&self, model: &Model, store: &Store) -> Result<()> {
        let writers = store.context().map(|(writer, _)| writer);
        ensure!(writers.eq(self.seen.keys().copied()), "the store has seen other writers than it was told of");
        for (writer, seen) in store.context() {
            let expected = &self.seen[&writer];
            let seqs = seen.iter().flat_map(|(low, high)| low..=high);
            ensure!(seqs.eq(expected.iter().copied()), "of {writer:?} the store has seen {seen:?}, not {expected:?}");
            let expected = self.live_of(writer).map(|dot| dot.seq.0);
            if !store.live(writer).eq(expected) {
                let live: BTreeSet<Dot> = store.live(writer).map(|seq| Dot { writer, seq: Seq(seq) }).collect();
                let expected: BTreeSet<Dot> = self.live_of(writer).collect();
                let differing: Vec<_> =
                    live.symmetric_difference(&expected).map(|dot| (dot, model.fact(*dot))).collect();
                bail!("of {writer:?} other dots are live in the store than should be: {differing:?}");
            }
        }
        Ok(())
    }

    fn live_of(&self, writer: WriterId) -> impl Iterator<Item = Dot> + '_ {
        let range = Dot { writer, seq: Seq(0) }..=Dot { writer, seq: Seq(u64::MAX) };
        self.live.range(range).map(|(dot, _)| *dot)
    }

    /// Whether a replica's store holds exactly these contents, where exactly these dots are live.
    pub fn check_contents(&self, store: &Store) -> Result<()> {
        let mut count = 0;
        for (cell, found) in store.cells_from(&Cell::of_key("", DataType::ALL[0])) {
            for entry in store.entries(found) {
                let dot = store.dot(entry);
                let content = Content::of_payload(cell.leaf, store.payload(entry));
                let fact = self.live.get(&dot).with_context(|| format!("{dot:?} is live in the store"))?;
                ensure!(
                    *cell == fact.cell && content.as_ref().is_some_and(|content| fact.content.fits(content)),
                    "{dot:?} holds {content:?} in {cell:?} of the store, not {fact:?}"
                );
                count += 1;
            }
        }
        ensure!(count == self.live.len(), "the store's cells hold {count} entries, not {}", self.live.len());
        Ok(())
    }
}
