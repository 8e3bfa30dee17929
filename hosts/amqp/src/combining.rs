//! When a message of the queue `combiner` may be forgotten: once the component is done with it (`effects.done-with`),
//! since what was made of it has been confirmed then. Until then the broker keeps it for the next combiner.

use std::collections::VecDeque;

use crate::Source;

/// The messages that were taken in, counted, and those of `combiner` among them that are not acknowledged.
///
/// A host gives each message that it hands to `inbox.receive` to [`Combining::take`], in that order.
#[derive(Debug, Default)]
pub struct Combining {
    /// How many messages of all queues were given to `inbox.receive` since the start, over all links.
    received: u64,
    /// Which of them are of `combiner`, counted from 1, with their tags; ascending.
    taken: VecDeque<(u64, u64)>,
}

impl Combining {
    /// These were given to the component, in this order: where each came from, and its tag. Gives the tags of what may
    /// be acknowledged at once.
    pub fn take(&mut self, deliveries: impl IntoIterator<Item = (Source, u64)>) -> Vec<u64> {
        let mut others = Vec::new();
        for (source, tag) in deliveries {
            self.received += 1;
            match source {
                Source::Inbox | Source::Anyone => others.push(tag),
                Source::Combiner => self.taken.push_back((self.received, tag)),
            }
        }
        others
    }

    /// So many more were given to the component, which no link delivered. Gives the number of the last.
    pub fn count(&mut self, more: usize) -> u64 {
        self.received += more as u64;
        self.received
    }

    /// The component is done with so many messages from the first on. Gives the tags of what may be acknowledged now.
    pub fn done_with(&mut self, count: u64) -> Vec<u64> {
        let still = self.taken.iter().position(|(number, _)| *number > count).unwrap_or(self.taken.len());
        self.taken.drain(..still).map(|(_, tag)| tag).collect()
    }

    /// The link is gone, and its tags with it: the messages are delivered again, and counted again.
    pub fn clear(&mut self) {
        self.taken.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_counted_over_all_queues_and_links() {
        let mut combining = Combining::default();
        let first = [(Source::Combiner, 0), (Source::Inbox, 1), (Source::Combiner, 2)];
        assert_eq!(combining.take(first), [1]);
        assert!(combining.done_with(0).is_empty());
        assert_eq!(combining.done_with(2), [0]);
        assert!(combining.done_with(2).is_empty());
        combining.clear();
        // Another link gives its own tags, and perhaps the same message.
        assert_eq!(combining.take([(Source::Anyone, 0), (Source::Combiner, 1)]), [0]);
        assert!(combining.done_with(4).is_empty());
        assert_eq!(combining.done_with(5), [1]);
    }

    #[test]
    fn what_a_host_hands_in_is_counted_and_not_acknowledged() {
        let mut combining = Combining::default();
        combining.take([(Source::Combiner, 0)]);
        assert_eq!(combining.count(2), 3);
        combining.take([(Source::Combiner, 1)]);
        assert_eq!(combining.done_with(3), [0]);
        assert_eq!(combining.done_with(4), [1]);
    }
}
