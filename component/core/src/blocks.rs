//! An ordered sequence of small values that costs little more memory than the values themselves.
//!
//! The store keeps several orders over one table of entries (all slots by dot, the slots of a key, …). Each order is a
//! sequence of slot numbers, and what orders two slot numbers stands in the table, not in the sequence; so nothing here
//! compares elements: every search brings its comparison, and the caller inserts where the search sent it.
//!
//! The shape is a B+-tree of two levels: a list of blocks of at most `B` elements. Most sequences are tiny, a few are
//! huge, hence three forms: to three elements stand in the value itself, to `B` in one growing block, more in the list.
//!
//! Costs, `n` elements: search `log2 n + 2` comparisons; insert and remove move at most `B` elements, and once in about
//! `B / 2` times also the list of `n / B` block headers. Memory follows the content both ways: a block has room for a
//! quarter more than it holds when it grows, never for more than twice as much (or 8) when it shrinks, and neighbours
//! that fit into half a block together are merged.

use std::cmp::Ordering;
use std::fmt;
use std::iter::FusedIterator;
use std::slice;

/// Elements a block holds at most, unless the type says otherwise.
///
/// Chosen by measurement for `u32`: see the ignored test `choice_of_block_size`.
pub const BLOCK: usize = 256;

/// An ordered sequence of `T`, in blocks of at most `B` elements (at least 8, at most 65,536).
///
/// `Blocks<u32>` takes 16 bytes, plus no heap to three elements. The caller keeps the order: [`search`](Self::search)
/// and [`insert_at`](Self::insert_at) must be used with one and the same total order, or searches miss what is there
/// (and do no other harm).
#[derive(Clone)]
pub struct Blocks<T: Copy, const B: usize = BLOCK> {
    form: Form<T>,
}

/// The form is a function of the content's history: inline when, and only when, there are at most three elements.
#[derive(Clone)]
enum Form<T> {
    Empty,
    One([T; 1]),
    Two([T; 2]),
    Three([T; 3]),
    /// More than three elements, at most `B`.
    Few(Box<Block<T>>),
    /// At least two blocks.
    Many(Box<List<T>>),
}

#[derive(Clone)]
struct List<T> {
    /// None is empty or longer than `B`; any two neighbours have more than `B / 2` elements together.
    blocks: Vec<Block<T>>,
    /// Sum of the blocks' lengths.
    len: usize,
}

#[derive(Clone)]
struct Block<T> {
    items: Vec<T>,
}

/// A place in a [`Blocks`]: the gap before an element, or the end.
///
/// Valid until the sequence next changes. One made for another sequence or another state of it leads to a wrong element
/// or to a panic. Positions of one state of a sequence are ordered as the elements are, except that the gap between two
/// blocks has two positions, which mean the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    block: u32,
    index: u32,
}

impl Position {
    fn new(block: usize, index: usize) -> Self {
        // 2^32 blocks do not fit into memory; an index is at most `B`.
        Self { block: block as u32, index: index as u32 }
    }

    fn block(self) -> usize {
        self.block as usize
    }

    fn index(self) -> usize {
        self.index as usize
    }
}

impl<T: Copy, const B: usize> Blocks<T, B> {
    /// The empty sequence; no heap.
    pub const fn new() -> Self {
        // A block that is split must leave more than the inline form holds, and an index must fit a position.
        const { assert!(B >= 8 && B <= 1 << 16, "block size out of bounds") };
        Self { form: Form::Empty }
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        match &self.form {
            Form::Many(list) => list.len,
            _ => self.block(0).len(),
        }
    }

    /// Whether there is no element.
    pub fn is_empty(&self) -> bool {
        matches!(self.form, Form::Empty)
    }

    /// Bytes that the sequence asked of the allocator (which may round up), beside `size_of::<Self>()`.
    pub fn heap_bytes(&self) -> usize {
        match &self.form {
            Form::Empty | Form::One(_) | Form::Two(_) | Form::Three(_) => 0,
            Form::Few(block) => size_of::<Block<T>>() + block.heap_bytes(),
            Form::Many(list) => {
                let headers = list.blocks.capacity() * size_of::<Block<T>>();
                size_of::<List<T>>() + headers + list.blocks.iter().map(Block::heap_bytes).sum::<usize>()
            }
        }
    }

    /// The position before the first element.
    pub fn start(&self) -> Position {
        Position::new(0, 0)
    }

    /// The position behind the last element.
    pub fn end(&self) -> Position {
        let last = self.block_count() - 1;
        Position::new(last, self.block(last).len())
    }

    /// Finds an element by binary search: `order` tells how an element stands to the one sought, as in
    /// [`slice::binary_search_by`].
    ///
    /// `Ok` is the position of an element that is `Equal`, `Err` the one where it would have to be inserted. A closure
    /// that never says `Equal` finds a bound of a range.
    pub fn search(&self, mut order: impl FnMut(&T) -> Ordering) -> Result<Position, Position> {
        let (number, items) = match &self.form {
            Form::Many(list) => {
                let up_to = list.blocks.partition_point(|block| order(&block.items[0]) != Ordering::Greater);
                let number = up_to.saturating_sub(1);
                (number, list.blocks[number].items.as_slice())
            }
            _ => (0, self.block(0)),
        };
        match items.binary_search_by(order) {
            Ok(index) => Ok(Position::new(number, index)),
            Err(index) => Err(Position::new(number, index)),
        }
    }

    /// The element right behind `at`; none at the end.
    pub fn get(&self, at: Position) -> Option<T> {
        let at = self.forward(at);
        self.block(at.block()).get(at.index()).copied()
    }

    /// Puts another element in the place of the one right behind `at`, and returns that one.
    ///
    /// # Panics
    /// At the end.
    pub fn replace_at(&mut self, at: Position, with: T) -> T {
        let at = self.forward(at);
        let items = match &mut self.form {
            Form::Empty => &mut [],
            Form::One(items) => items.as_mut_slice(),
            Form::Two(items) => items,
            Form::Three(items) => items,
            Form::Few(block) => &mut block.items,
            Form::Many(list) => &mut list.blocks[at.block()].items,
        };
        std::mem::replace(&mut items[at.index()], with)
    }

    /// Inserts an element into the gap at `at`.
    ///
    /// A full block is split in halves, unless it looks as if elements come in order: ascending insertion, also in the
    /// midst of others, and descending insertion at the front leave full blocks behind.
    ///
    /// # Panics
    /// When `at` is not a position of this sequence.
    pub fn insert_at(&mut self, at: Position, element: T) {
        let index = at.index();
        self.form = match std::mem::replace(&mut self.form, Form::Empty) {
            Form::Empty => {
                assert!(index == 0, "a position of another sequence");
                Form::One([element])
            }
            Form::One(items) => Form::Two(with(items, index, element)),
            Form::Two(items) => Form::Three(with(items, index, element)),
            Form::Three(items) => Form::Few(Box::new(Block { items: with::<T, 3, 4>(items, index, element).to_vec() })),
            Form::Few(mut block) if block.items.len() < B => {
                block.insert(index, element, B);
                Form::Few(block)
            }
            Form::Few(block) => {
                let mut list = Box::new(List { len: block.items.len(), blocks: vec![*block] });
                list.insert::<B>(at, element);
                Form::Many(list)
            }
            Form::Many(mut list) => {
                list.insert::<B>(at, element);
                Form::Many(list)
            }
        };
    }

    /// Removes the element right behind `at`, and returns it.
    ///
    /// # Panics
    /// At the end.
    pub fn remove_at(&mut self, at: Position) -> T {
        let at = self.forward(at);
        let index = at.index();
        let (form, removed) = match std::mem::replace(&mut self.form, Form::Empty) {
            Form::Empty => panic!("nothing to remove from an empty sequence"),
            Form::One(items) => (Form::Empty, items[index]),
            Form::Two(items) => (Form::One(without(items, index)), items[index]),
            Form::Three(items) => (Form::Two(without(items, index)), items[index]),
            Form::Few(mut block) => {
                let removed = block.remove(index);
                (Form::Few(block), removed)
            }
            Form::Many(mut list) => {
                let removed = list.remove::<B>(at);
                (Form::Many(list), removed)
            }
        };
        self.form = form.settled();
        removed
    }

    /// Of the elements from `from` to before `to`, keeps those that `keep` names, called once for each in order;
    /// `|_| false` removes the whole range.
    ///
    /// # Panics
    /// When `from` or `to` is not a position of this sequence.
    pub fn retain(&mut self, from: Position, to: Position, mut keep: impl FnMut(T) -> bool) {
        if from >= to {
            return;
        }
        self.form = match std::mem::replace(&mut self.form, Form::Empty) {
            Form::Many(mut list) => {
                list.retain::<B>(from, to, keep);
                Form::Many(list)
            }
            Form::Few(mut block) => {
                block.retain(from.index(), to.index(), &mut keep);
                Form::Few(block)
            }
            inline => {
                let mut items = inline.inline().to_vec();
                let mut index = 0;
                items.retain(|&item| {
                    let stays = index < from.index() || index >= to.index() || keep(item);
                    index += 1;
                    stays
                });
                Form::Few(Box::new(Block { items }))
            }
        }
        .settled();
    }

    /// All elements in order; also backwards.
    pub fn iter(&self) -> Iter<'_, T> {
        match &self.form {
            Form::Many(list) => Iter { front: [].iter(), middle: list.blocks.iter(), back: [].iter() },
            _ => Iter { front: self.block(0).iter(), middle: [].iter(), back: [].iter() },
        }
    }

    /// The elements from `from` to before `to`; also backwards. Nothing when `from` is behind `to`.
    ///
    /// Forwards from a position: `range(position, blocks.end())`; backwards: `range(blocks.start(), position).rev()`.
    ///
    /// # Panics
    /// When `from` or `to` is not a position of this sequence.
    pub fn range(&self, from: Position, to: Position) -> Iter<'_, T> {
        if from >= to {
            return Iter { front: [].iter(), middle: [].iter(), back: [].iter() };
        }
        let (first, last) = (self.block(from.block()), self.block(to.block()));
        if from.block == to.block {
            return Iter { front: first[from.index()..to.index()].iter(), middle: [].iter(), back: [].iter() };
        }
        let middle = match &self.form {
            Form::Many(list) => &list.blocks[from.block() + 1..to.block()],
            _ => unreachable!("only a list has a block after its first"),
        };
        Iter { front: first[from.index()..].iter(), middle: middle.iter(), back: last[..to.index()].iter() }
    }

    /// The same gap as `at`, told by the block of the element right behind it if there is one.
    fn forward(&self, at: Position) -> Position {
        match &self.form {
            Form::Many(list) if at.block() + 1 < list.blocks.len() => {
                let behind = at.index() >= list.blocks[at.block()].items.len();
                if behind { Position::new(at.block() + 1, 0) } else { at }
            }
            _ => at,
        }
    }

    /// Number of blocks; the inline forms count as one.
    fn block_count(&self) -> usize {
        match &self.form {
            Form::Many(list) => list.blocks.len(),
            _ => 1,
        }
    }

    fn block(&self, number: usize) -> &[T] {
        match &self.form {
            Form::Many(list) => &list.blocks[number].items,
            _ if number > 0 => panic!("a position of another sequence"),
            Form::Few(block) => &block.items,
            inline => inline.inline(),
        }
    }
}

impl<T: Copy> Form<T> {
    /// The elements of an inline form.
    fn inline(&self) -> &[T] {
        match self {
            Form::Empty => &[],
            Form::One(items) => items,
            Form::Two(items) => items,
            Form::Three(items) => items,
            Form::Few(_) | Form::Many(_) => unreachable!("not an inline form"),
        }
    }

    /// After a removal: the form that befits what is left.
    fn settled(self) -> Self {
        let block = match self {
            Form::Many(mut list) if list.blocks.len() < 2 => match list.blocks.pop() {
                Some(block) => Box::new(block),
                None => return Form::Empty,
            },
            Form::Few(block) => block,
            other => return other,
        };
        match *block.items {
            [] => Form::Empty,
            [a] => Form::One([a]),
            [a, b] => Form::Two([a, b]),
            [a, b, c] => Form::Three([a, b, c]),
            _ => Form::Few(block),
        }
    }
}

impl<T: Copy> List<T> {
    fn insert<const B: usize>(&mut self, at: Position, element: T) {
        let (mut number, mut index) = (at.block(), at.index());
        let len = self.blocks[number].items.len();
        if len == B {
            // Whatever small block arises here must not get a small neighbour: the two would have to be one.
            let alone = self.blocks.get(number + 1).is_none_or(|next| next.items.len() >= B / 2);
            if index == len {
                if alone {
                    self.insert_block(number + 1, Block { items: Vec::new() });
                }
                (number, index) = (number + 1, 0);
            } else if index == 0 && number == 0 {
                self.insert_block(0, Block { items: Vec::new() });
            } else {
                // Near the end, likely a run of ascending insertions goes on: it shall leave this block full.
                let cut = if alone && index >= B - B / 8 { index } else { B / 2 };
                let upper = self.blocks[number].items.split_off(cut);
                self.blocks[number].items.shrink_to(cut + cut / 4);
                self.insert_block(number + 1, Block { items: upper });
                if index > cut {
                    (number, index) = (number + 1, index - cut);
                }
            }
        }
        self.blocks[number].insert(index, element, B);
        self.len += 1;
    }

    fn insert_block(&mut self, number: usize, block: Block<T>) {
        reserve_one(&mut self.blocks, usize::MAX);
        self.blocks.insert(number, block);
    }

    fn remove<const B: usize>(&mut self, at: Position) -> T {
        let number = at.block();
        let removed = self.blocks[number].remove(at.index());
        self.len -= 1;
        if self.blocks[number].items.is_empty() {
            self.blocks.remove(number);
        } else {
            self.merge::<B>(number);
        }
        if number > 0 {
            self.merge::<B>(number - 1);
        }
        give_back(&mut self.blocks);
        removed
    }

    /// Makes one block of `number` and the next, if there is one and half a block holds both.
    fn merge<const B: usize>(&mut self, number: usize) {
        let Some([left, right]) = self.blocks.get(number..number + 2) else { return };
        if left.items.len() + right.items.len() <= B / 2 {
            let right = self.blocks.remove(number + 1);
            self.blocks[number].append(right);
        }
    }

    fn retain<const B: usize>(&mut self, from: Position, to: Position, mut keep: impl FnMut(T) -> bool) {
        for number in from.block()..=to.block() {
            let block = &mut self.blocks[number];
            let before = block.items.len();
            let first = if number == from.block() { from.index() } else { 0 };
            let last = if number == to.block() { to.index() } else { before };
            block.retain(first, last, &mut keep);
            self.len -= before - block.items.len();
        }
        // One more on either side, because what is left at the edges may now fit into a neighbour.
        let touched = from.block().saturating_sub(1)..self.blocks.len().min(to.block() + 2);
        let mut merged: Vec<Block<T>> = Vec::with_capacity(touched.len());
        for block in self.blocks.drain(touched.clone()) {
            match merged.last_mut() {
                _ if block.items.is_empty() => {}
                Some(last) if last.items.len() + block.items.len() <= B / 2 => last.append(block),
                _ => merged.push(block),
            }
        }
        self.blocks.splice(touched.start..touched.start, merged);
        give_back(&mut self.blocks);
    }
}

impl<T: Copy> Block<T> {
    fn heap_bytes(&self) -> usize {
        self.items.capacity() * size_of::<T>()
    }

    fn insert(&mut self, index: usize, element: T, most: usize) {
        reserve_one(&mut self.items, most);
        self.items.insert(index, element);
    }

    fn remove(&mut self, index: usize) -> T {
        let removed = self.items.remove(index);
        give_back(&mut self.items);
        removed
    }

    fn append(&mut self, other: Block<T>) {
        self.items.reserve_exact(other.items.len());
        self.items.extend_from_slice(&other.items);
    }

    fn retain(&mut self, from: usize, to: usize, keep: &mut impl FnMut(T) -> bool) {
        assert!(from <= to && to <= self.items.len(), "a position of another sequence");
        let mut index = 0;
        self.items.retain(|&item| {
            let stays = index < from || index >= to || keep(item);
            index += 1;
            stays
        });
        give_back(&mut self.items);
    }
}

/// Room for one more: by a quarter, at least by four (what an allocator rounds to anyhow), to at most `most`.
fn reserve_one<T>(items: &mut Vec<T>, most: usize) {
    let len = items.len();
    if len == items.capacity() {
        items.reserve_exact((len / 4).max(4).min(most - len).max(1));
    }
}

/// Gives memory back once more than half of it is unused, all but a quarter, so that growing again does not cost at
/// once.
fn give_back<T>(items: &mut Vec<T>) {
    let len = items.len();
    if items.capacity() > 2 * len.max(4) {
        items.shrink_to(len + len / 4);
    }
}

/// `items` with `element` before the one at `index`; `M` is `N + 1`.
fn with<T: Copy, const N: usize, const M: usize>(items: [T; N], index: usize, element: T) -> [T; M] {
    const { assert!(M == N + 1) };
    let mut longer = [element; M];
    longer[..index].copy_from_slice(&items[..index]);
    longer[index + 1..].copy_from_slice(&items[index..]);
    longer
}

/// `items` without the one at `index`; `M` is `N - 1`.
fn without<T: Copy, const N: usize, const M: usize>(items: [T; N], index: usize) -> [T; M] {
    const { assert!(M + 1 == N) };
    assert!(index < N, "nothing to remove at the end");
    std::array::from_fn(|place| items[if place < index { place } else { place + 1 }])
}

/// Iterator over a stretch of a [`Blocks`], from either end.
#[derive(Clone)]
pub struct Iter<'a, T> {
    front: slice::Iter<'a, T>,
    middle: slice::Iter<'a, Block<T>>,
    back: slice::Iter<'a, T>,
}

impl<T: Copy> Iterator for Iter<'_, T> {
    type Item = T;

    #[inline]
    fn next(&mut self) -> Option<T> {
        loop {
            if let Some(&item) = self.front.next() {
                return Some(item);
            }
            match self.middle.next() {
                Some(block) => self.front = block.items.iter(),
                None => return self.back.next().copied(),
            }
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let ends = self.front.len() + self.back.len();
        // No block is empty, and none longer than an index can tell.
        (ends + self.middle.len(), self.middle.as_slice().is_empty().then_some(ends))
    }
}

impl<T: Copy> DoubleEndedIterator for Iter<'_, T> {
    #[inline]
    fn next_back(&mut self) -> Option<T> {
        loop {
            if let Some(&item) = self.back.next_back() {
                return Some(item);
            }
            match self.middle.next_back() {
                Some(block) => self.back = block.items.iter(),
                None => return self.front.next_back().copied(),
            }
        }
    }
}

impl<T: Copy> FusedIterator for Iter<'_, T> {}

impl<'a, T: Copy, const B: usize> IntoIterator for &'a Blocks<T, B> {
    type Item = T;
    type IntoIter = Iter<'a, T>;

    fn into_iter(self) -> Iter<'a, T> {
        self.iter()
    }
}

impl<T: Copy, const B: usize> FromIterator<T> for Blocks<T, B> {
    /// Takes the elements in the order in which they come, which must be the caller's.
    fn from_iter<I: IntoIterator<Item = T>>(items: I) -> Self {
        let mut blocks = Self::new();
        for item in items {
            blocks.insert_at(blocks.end(), item);
        }
        blocks
    }
}

impl<T: Copy, const B: usize> Default for Blocks<T, B> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: Copy + fmt::Debug, const B: usize> fmt::Debug for Blocks<T, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Small blocks, so that short sequences have many.
    type Small = Blocks<u32, 8>;

    /// What every operation must leave true.
    fn check<const B: usize>(blocks: &Blocks<u32, B>) {
        match &blocks.form {
            Form::Empty | Form::One(_) | Form::Two(_) | Form::Three(_) => assert_eq!(blocks.heap_bytes(), 0),
            Form::Few(block) => {
                assert!(block.items.len() > 3 && block.items.len() <= B);
                check_capacity(&block.items);
            }
            Form::Many(list) => {
                assert!(list.blocks.len() > 1);
                assert_eq!(list.len, list.blocks.iter().map(|block| block.items.len()).sum::<usize>());
                for block in &list.blocks {
                    assert!(!block.items.is_empty() && block.items.len() <= B);
                    check_capacity(&block.items);
                }
                for pair in list.blocks.windows(2) {
                    assert!(pair[0].items.len() + pair[1].items.len() > B / 2, "neighbours not merged");
                }
            }
        }
    }

    fn check_capacity(items: &Vec<u32>) {
        assert!(items.capacity() <= 2 * items.len().max(4), "{} of {}", items.len(), items.capacity());
    }

    /// The position of the element with this index.
    fn position<const B: usize>(blocks: &Blocks<u32, B>, mut index: usize) -> Position {
        for block in 0..blocks.block_count() {
            let len = blocks.block(block).len();
            if index <= len {
                return Position::new(block, index);
            }
            index -= len;
        }
        panic!("index out of bounds");
    }

    #[test]
    fn tiny_sequences_are_tiny() {
        assert!(size_of::<Blocks<u32>>() <= 16);
        let mut blocks = Blocks::<u32>::new();
        let sizes: Vec<usize> = (0..12)
            .map(|n| {
                blocks.insert_at(blocks.end(), n);
                check(&blocks);
                blocks.heap_bytes()
            })
            .collect();
        let header = size_of::<Block<u32>>();
        assert_eq!(sizes[..3], [0, 0, 0]);
        assert_eq!(sizes[3..8], [16, 32, 32, 32, 32].map(|bytes| header + bytes));
        assert_eq!(sizes[8..], [48; 4].map(|bytes| header + bytes));
    }

    #[test]
    fn a_single_block_shrinks() {
        let mut blocks: Blocks<u32> = (0..BLOCK as u32).collect();
        assert!(matches!(blocks.form, Form::Few(_)));
        while !blocks.is_empty() {
            blocks.remove_at(blocks.start());
            check(&blocks);
        }
    }

    #[test]
    fn orderly_insertion_fills_blocks() {
        let n = 64 * BLOCK as u32;
        let ascending: Blocks<u32> = (0..n).collect();
        let mut descending = Blocks::<u32>::new();
        let mut inside: Blocks<u32> = [0, n + 1].into_iter().collect();
        for item in 0..n {
            descending.insert_at(descending.start(), n - 1 - item);
            let at = inside.search(|&other| other.cmp(&(item + 1))).unwrap_err();
            inside.insert_at(at, item + 1);
        }
        for (blocks, surplus) in [(ascending, 0), (descending, 0), (inside, 2)] {
            check(&blocks);
            assert_eq!(blocks.len(), n as usize + surplus);
            assert!(blocks.iter().is_sorted());
            assert!(blocks.block_count() <= 64 + 2, "{} blocks", blocks.block_count());
            assert!(blocks.heap_bytes() <= 4 * n as usize * 105 / 100, "{} bytes", blocks.heap_bytes());
        }
    }

    #[test]
    fn memory_follows_the_content() {
        let n = 50_000_u32;
        let scattered = |i: u32| i.wrapping_mul(0x9E37_79B1);
        let mut blocks = Blocks::<u32>::new();
        for item in (0..n).map(scattered) {
            let at = blocks.search(|other| other.cmp(&item)).unwrap_err();
            blocks.insert_at(at, item);
        }
        check(&blocks);
        assert!(blocks.iter().is_sorted());
        assert!(blocks.heap_bytes() <= 4 * n as usize * 130 / 100, "{} bytes", blocks.heap_bytes());
        for item in (100..n).map(scattered) {
            let at = blocks.search(|other| other.cmp(&item)).unwrap();
            assert_eq!(blocks.remove_at(at), item);
        }
        check(&blocks);
        assert_eq!(blocks.len(), 100);
        assert!(blocks.heap_bytes() <= 900, "{} bytes", blocks.heap_bytes());
        blocks.retain(blocks.start(), blocks.end(), |_| false);
        assert!(blocks.is_empty() && blocks.heap_bytes() == 0);
    }

    #[test]
    #[should_panic(expected = "nothing to remove")]
    fn nothing_is_removed_at_the_end() {
        let mut blocks: Small = [1, 2].into_iter().collect();
        blocks.remove_at(blocks.end());
    }

    #[derive(Clone, Debug)]
    enum Step {
        /// Adds the value, or removes it if it is there.
        Toggle(u32),
        /// Adds a run of values from this one up.
        Ascend(u32, u32),
        /// Removes a run of values from this one up.
        Clear(u32, u32),
        /// Keeps of a run those whose bit is set.
        Keep(u32, u32, u64),
        Replace(u32),
    }

    fn step(values: u32) -> impl Strategy<Value = Step> {
        prop_oneof![
            6 => (0..values).prop_map(Step::Toggle),
            1 => (0..values, 0..40_u32).prop_map(|(from, len)| Step::Ascend(from, len)),
            1 => (0..values, 0..40_u32).prop_map(|(from, len)| Step::Clear(from, len)),
            1 => (0..values, 0..200_u32, any::<u64>()).prop_map(|(from, len, mask)| Step::Keep(from, len, mask)),
            1 => (0..values).prop_map(Step::Replace),
        ]
    }

    fn add(blocks: &mut Small, model: &mut Vec<u32>, value: u32) {
        match (blocks.search(|other| other.cmp(&value)), model.binary_search(&value)) {
            (Err(at), Err(index)) => {
                blocks.insert_at(at, value);
                model.insert(index, value);
            }
            (Ok(at), Ok(_)) => assert_eq!(blocks.get(at), Some(value)),
            found => panic!("search disagrees: {found:?}"),
        }
    }

    fn remove(blocks: &mut Small, model: &mut Vec<u32>, value: u32) {
        match (blocks.search(|other| other.cmp(&value)), model.binary_search(&value)) {
            (Ok(at), Ok(index)) => {
                assert_eq!(blocks.remove_at(at), value);
                model.remove(index);
            }
            (Err(at), Err(index)) => assert_eq!(blocks.get(at), model.get(index).copied()),
            found => panic!("search disagrees: {found:?}"),
        }
    }

    proptest! {
        #[test]
        fn behaves_as_a_sorted_vec(steps in prop_oneof![
            prop::collection::vec(step(8), 0..40),
            prop::collection::vec(step(300), 0..150),
            prop::collection::vec(step(2000), 0..300),
        ], cut in any::<(prop::sample::Index, prop::sample::Index)>()) {
            let mut blocks = Small::new();
            let mut model: Vec<u32> = Vec::new();
            for step in steps {
                match step {
                    Step::Toggle(v) if model.binary_search(&v).is_ok() => remove(&mut blocks, &mut model, v),
                    Step::Toggle(v) => add(&mut blocks, &mut model, v),
                    Step::Ascend(from, len) => (from..from + len).for_each(|v| add(&mut blocks, &mut model, v)),
                    Step::Clear(from, len) => (from..from + len).for_each(|v| remove(&mut blocks, &mut model, v)),
                    Step::Keep(from, len, mask) => {
                        let bound = |value: u32| {
                            blocks.search(|&other| if other < value { Ordering::Less } else { Ordering::Greater })
                        };
                        let (start, end) = (bound(from).unwrap_err(), bound(from + len).unwrap_err());
                        let keeps = |value: u32| mask >> (value % 64) & 1 == 1;
                        let mut asked = Vec::new();
                        blocks.retain(start, end, |value| { asked.push(value); keeps(value) });
                        let expected = model.iter().copied().filter(|v| (from..from + len).contains(v));
                        prop_assert!(expected.eq(asked));
                        model.retain(|&v| !(from..from + len).contains(&v) || keeps(v));
                    }
                    Step::Replace(value) => {
                        if let Ok(at) = blocks.search(|other| other.cmp(&value)) {
                            prop_assert_eq!(blocks.replace_at(at, value), value);
                        }
                    }
                }
                check(&blocks);
                prop_assert_eq!(blocks.len(), model.len());
                prop_assert_eq!(blocks.is_empty(), model.is_empty());
            }
            prop_assert!(blocks.iter().eq(model.iter().copied()));
            prop_assert!(blocks.iter().rev().eq(model.iter().rev().copied()));
            prop_assert!(model.iter().copied().collect::<Small>().iter().eq(blocks.iter()));

            let (from, to) = (cut.0.index(model.len() + 1), cut.1.index(model.len() + 1));
            let (start, end) = (position(&blocks, from), position(&blocks, to));
            prop_assert_eq!(blocks.get(start), model.get(from).copied());
            let expected = model.get(from..to).unwrap_or_default();
            prop_assert!(blocks.range(start, end).eq(expected.iter().copied()));
            prop_assert!(blocks.range(start, end).rev().eq(expected.iter().rev().copied()));
            let (low, high) = blocks.range(start, end).size_hint();
            prop_assert!(low <= expected.len() && high.is_none_or(|high| high == expected.len()));
            // Both ends at once meet without repeating or leaving out an element.
            let mut both = blocks.range(start, end);
            let (mut forwards, mut backwards) = (Vec::new(), Vec::new());
            while let Some(item) = both.next() {
                forwards.push(item);
                backwards.extend(both.next_back());
            }
            forwards.extend(backwards.into_iter().rev());
            prop_assert_eq!(forwards, expected);
        }

        /// An element may be replaced by another, if the order stays.
        #[test]
        fn replaces(n in 1..100_u32, index in any::<prop::sample::Index>()) {
            let mut blocks: Small = (0..n).map(|v| 2 * v).collect();
            let index = index.index(n as usize);
            let at = position(&blocks, index);
            prop_assert_eq!(blocks.replace_at(at, 2 * index as u32 + 1), 2 * index as u32);
            prop_assert!(blocks.iter().eq((0..n).map(|v| 2 * v + u32::from(v as usize == index))));
        }
    }

    /// Prints, for several block sizes, what operations on 100,000 elements cost: run it with `--release --ignored
    /// --nocapture` to choose [`BLOCK`].
    #[test]
    #[ignore = "a measurement, which needs a release build and a person to read it"]
    fn choice_of_block_size() {
        measure::<64>();
        measure::<128>();
        measure::<256>();
        measure::<512>();
        measure::<1024>();
    }

    fn measure<const B: usize>() {
        const N: u32 = 100_000;
        let scattered: Vec<u32> = (0..N).map(|i| i.wrapping_mul(0x9E37_79B1)).collect();
        let per_element = |start: std::time::Instant| start.elapsed().as_nanos() / u128::from(N);

        let start = std::time::Instant::now();
        let mut blocks = Blocks::<u32, B>::new();
        for item in &scattered {
            let at = blocks.search(|other| other.cmp(item)).unwrap_err();
            blocks.insert_at(at, *item);
        }
        let insert = per_element(start);
        let bytes = blocks.heap_bytes() as f64 / f64::from(N);
        let start = std::time::Instant::now();
        let found = scattered.iter().rev().filter(|&item| blocks.search(|other| other.cmp(item)).is_ok()).count();
        let search = per_element(start);
        assert_eq!(found, N as usize);
        let start = std::time::Instant::now();
        let sum: u64 = blocks.iter().map(u64::from).sum();
        let iterate = start.elapsed().as_micros();
        assert_eq!(sum, scattered.iter().copied().map(u64::from).sum::<u64>());
        let start = std::time::Instant::now();
        for item in &scattered {
            let at = blocks.search(|other| other.cmp(item)).unwrap();
            blocks.remove_at(at);
        }
        let remove = per_element(start);
        let start = std::time::Instant::now();
        let ascending: Blocks<u32, B> = (0..N).collect();
        let append = per_element(start);
        println!(
            "{B:4}: insert {insert} ns, {bytes:.2} B each; search {search} ns; iterate all {iterate} us; \
             remove {remove} ns; append {append} ns, {:.2} B each",
            ascending.heap_bytes() as f64 / f64::from(N)
        );
    }
}
