//! A growing list in pages, so that growth neither copies nor leaves half of the memory unused.

/// Elements a page holds.
const PAGE: usize = 128;

/// A list whose elements stay where they are.
#[derive(Clone, Debug)]
pub struct Pages<T> {
    /// All but the last are full.
    pages: Vec<Vec<T>>,
}

impl<T> Default for Pages<T> {
    fn default() -> Self {
        Self { pages: Vec::new() }
    }
}

impl<T> Pages<T> {
    /// How many elements.
    pub fn len(&self) -> usize {
        self.pages.last().map_or(0, |last| (self.pages.len() - 1) * PAGE + last.len())
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.pages.is_empty()
    }

    /// Appends an element and gives its index.
    pub fn push(&mut self, element: T) -> u32 {
        let index = self.len();
        if index.is_multiple_of(PAGE) {
            self.pages.push(Vec::with_capacity(PAGE));
        }
        self.pages.last_mut().expect("one was pushed").push(element);
        u32::try_from(index).expect("so many do not fit into memory")
    }

    /// Takes the last element away.
    pub fn pop(&mut self) {
        if let Some(last) = self.pages.last_mut() {
            last.pop();
            if last.is_empty() {
                self.pages.pop();
            }
        }
    }

    /// Swaps two elements.
    pub fn swap(&mut self, one: u32, other: u32) {
        let (one, other) = (one.min(other) as usize, one.max(other) as usize);
        if one / PAGE == other / PAGE {
            self.pages[one / PAGE].swap(one % PAGE, other % PAGE);
        } else {
            let (before, from) = self.pages.split_at_mut(other / PAGE);
            std::mem::swap(&mut before[one / PAGE][one % PAGE], &mut from[0][other % PAGE]);
        }
    }

    /// The last element.
    pub fn last(&self) -> Option<&T> {
        self.pages.last().and_then(|page| page.last())
    }

    /// The element at an index.
    pub fn get(&self, index: u32) -> &T {
        let index = index as usize;
        &self.pages[index / PAGE][index % PAGE]
    }

    /// The same, to be changed.
    pub fn get_mut(&mut self, index: u32) -> &mut T {
        let index = index as usize;
        &mut self.pages[index / PAGE][index % PAGE]
    }

    /// The elements, in order.
    pub fn iter(&self) -> impl Iterator<Item = &T> + '_ {
        self.pages.iter().flatten()
    }

    /// Bytes that the list itself takes on the heap.
    pub fn heap_bytes(&self) -> usize {
        self.pages.len() * PAGE * size_of::<T>() + self.pages.capacity() * size_of::<Vec<T>>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_a_list() {
        let mut pages = Pages::default();
        assert!(pages.is_empty());
        let count = 2 * PAGE as u32 + 1;
        for n in 0..count {
            assert_eq!(pages.push(n), n);
        }
        assert!(pages.iter().copied().eq(0..count));
        *pages.get_mut(PAGE as u32) += 1;
        assert_eq!((*pages.get(PAGE as u32), pages.last()), (PAGE as u32 + 1, Some(&(count - 1))));
        pages.swap(0, 1);
        pages.swap(1, count - 1);
        assert_eq!((*pages.get(0), *pages.get(1), *pages.get(count - 1)), (1, count - 1, 0));
        pages.pop();
        assert_eq!((pages.len(), pages.last()), (2 * PAGE, Some(&(count - 2))), "the page that it had is gone");
    }
}
