//! Chunks cut anywhere.

use std::collections::BTreeSet;

use dayfly_core::chunk::Chunk;
use dayfly_core::dot::{Dot, Seq, WriterId};
use dayfly_core::intervals::DotSet;
use dayfly_core::store::{Piece, Range, Store};
use proptest::prelude::*;

use crate::contents::{Contents, whole};
use crate::execution::{Chance, Execution};
use crate::history::{REPLICAS, any_history, fill_bytes};
use crate::reconcile::check_tiling;

/// What an encoded chunk may take beyond its fill: lengths of columns, and the first of everything.
const SURPLUS_BYTES: usize = 64;

/// A range whose ends are near dots that exist, or at the ends of all.
fn range(store: &Store, chance: &mut Chance) -> Range {
    let dots: Vec<Dot> = Contents::of(store).dots().collect();
    let mut end = || match chance.below(4) {
        0 => [Range::ALL.low, Range::ALL.high][chance.below(2)],
        _ if dots.is_empty() => Range::ALL.low,
        1 => {
            let writer = dots[chance.below(dots.len())].writer;
            [Dot { writer, seq: Seq(0) }, Dot { writer: WriterId(writer.0 + 1), seq: Seq(0) }][chance.below(2)]
        }
        _ => {
            let dot = dots[chance.below(dots.len())];
            Dot { seq: Seq(dot.seq.0 + chance.below(2) as u64), ..dot }
        }
    };
    let (one, other) = (end(), end());
    let range = Range { low: one.min(other), high: one.max(other) };
    if range.is_empty() { Range::ALL } else { range }
}

/// Some dots that the store has seen, some that only others have, and one that nobody has.
fn only(execution: &Execution, chance: &mut Chance) -> DotSet {
    let dots: BTreeSet<Dot> =
        execution.peers.iter().flat_map(|peer| Contents::of(&peer.store).dots().collect::<Vec<_>>()).collect();
    let mut set = DotSet::default();
    for dot in dots {
        if chance.below(2) == 0 {
            set.insert(dot);
        }
    }
    set.insert(Dot { writer: WriterId(chance.draw().into()), seq: Seq(7) });
    set
}

proptest! {
    /// Pieces say all that is known of their range (of the dots asked for), the truth, and nothing else; and they leave no
    /// gap and have the size that was asked for.
    #[test]
    fn pieces_cover_what_they_say(
        history in any_history(), from in 0..REPLICAS, fill in fill_bytes(), seed in any::<u64>(), all in any::<bool>(),
    ) {
        let execution = Execution::of(&history);
        let mut chance = Chance(seed);
        let store = &execution.peers[from].store;
        let (range, only) = (range(store, &mut chance), (!all).then(|| only(&execution, &mut chance)));
        let contents = Contents::of(store);
        let pieces: Vec<Piece> = store.walk_down(range, only.as_ref(), fill).collect();
        let covers: Vec<Range> = pieces.iter().rev().map(|piece| piece.covers).collect();
        check_tiling(&covers, range);
        for piece in &pieces {
            contents.check_chunk(&piece.chunk, |dot| {
                piece.covers.low <= dot && dot < piece.covers.high && only.as_ref().is_none_or(|only| only.contains(dot))
            });
            let encoded = piece.chunk.encode();
            prop_assert_eq!(Chunk::decode(&encoded), Ok(piece.chunk.clone()));
            let small = encoded.len() <= fill.saturating_add(SURPLUS_BYTES) || piece.chunk.entry_count() <= 1;
            prop_assert!(small, "{} bytes, but the fill is {}", encoded.len(), fill);
        }
    }

    /// A state that is cut anywhere and arrives in any order, some of it twice, is the state. What arrives before is kept,
    /// so that only the rest must come later.
    #[test]
    fn pieces_in_any_order_make_the_whole(
        history in any_history(), from in 0..REPLICAS, to in 0..REPLICAS, fill in fill_bytes(), seed in any::<u64>(),
    ) {
        let execution = Execution::of(&history);
        let mut chance = Chance(seed);
        let source = &execution.peers[from].store;
        let target = whole(&execution.peers[to].store);
        let mut expected = Store::new();
        expected.join(&target);
        expected.join(&whole(source));
        let mut store = Store::new();
        store.join(&target);
        let mut rest: Vec<Range> = Vec::new();
        for piece in chance.shuffled(source.walk_down(Range::ALL, None, fill)) {
            if chance.below(4) == 0 {
                // Lost. Its range is asked for again, in smaller pieces.
                rest.push(piece.covers);
            } else {
                store.join(&piece.chunk);
            }
        }
        for range in rest {
            for piece in source.walk_down(range, None, 1 + fill / 2) {
                store.join(&piece.chunk);
            }
        }
        prop_assert_eq!(Contents::of(&store), Contents::of(&expected));
    }

    /// The same with removals put off to the end. Until then nothing that was live is lost, and nothing but what the pieces
    /// say is removed.
    #[test]
    fn removals_put_off_make_the_same_whole(
        history in any_history(), from in 0..REPLICAS, to in 0..REPLICAS, fill in fill_bytes(), seed in any::<u64>(),
    ) {
        let execution = Execution::of(&history);
        let source = &execution.peers[from].store;
        let target = whole(&execution.peers[to].store);
        let mut expected = Store::new();
        expected.join(&target);
        let before = Contents::of(&expected);
        expected.join(&whole(source));
        let (mut store, mut removals) = (Store::new(), DotSet::default());
        store.join(&target);
        for piece in Chance(seed).shuffled(source.walk_down(Range::ALL, None, fill)) {
            prop_assert_eq!(store.join_piece(&piece.chunk, &mut removals).removed, 0);
            let now = Contents::of(&store);
            prop_assert!(before.entries.keys().all(|dot| now.entries.contains_key(dot)));
        }
        store.remove(removals);
        prop_assert_eq!(Contents::of(&store), Contents::of(&expected));
    }

    /// Cut by dots instead of ranges: any two halves make the whole.
    #[test]
    fn two_sets_of_dots_make_the_whole(history in any_history(), from in 0..REPLICAS, seed in any::<u64>()) {
        let execution = Execution::of(&history);
        let source = &execution.peers[from].store;
        let mut chance = Chance(seed);
        let mut halves = [DotSet::default(), DotSet::default()];
        for dot in Contents::of(source).dots() {
            halves[chance.below(2)].insert(dot);
        }
        let mut store = Store::new();
        for half in chance.shuffled(&halves) {
            store.join(&source.extract(half));
        }
        prop_assert_eq!(Contents::of(&store), Contents::of(source));
    }
}
