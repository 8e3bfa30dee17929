//! Messages that the host took from the broker by itself: given to the component like others, and answered for when it
//! is done with them (`effects.done-with`).

use std::collections::VecDeque;

use bytes::Bytes;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::{Drive, End};
use crate::broker::{BATCH_BYTES_MAX, BATCH_MESSAGES_MAX};

/// Who waits until the component is done with what they handed in.
#[derive(Debug, Default)]
pub(super) struct HandedIn {
    /// The number of the last message of each, counted as in [`dayfly_amqp::Combining`]; ascending.
    waiting: VecDeque<(u64, oneshot::Sender<()>)>,
}

impl HandedIn {
    fn add(&mut self, last: u64, done: oneshot::Sender<()>) {
        self.waiting.push_back((last, done));
    }

    /// The component is done with so many messages from the first on.
    pub(super) fn done_with(&mut self, count: u64) {
        while self.waiting.front().is_some_and(|(last, _)| *last <= count) {
            if let Some((_, done)) = self.waiting.pop_front() {
                // Who waited may be gone, and hands them in once more: they join.
                let _ = done.send(());
            }
        }
    }

    /// Nothing will be made of them here: whoever waits hears it from the dropped channel.
    pub(super) fn clear(&mut self) {
        self.waiting.clear();
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }
}

impl Drive {
    /// Gives bodies to the component, unless it is frozen.
    pub(super) fn deliver(&mut self, bodies: &[Bytes], done: oneshot::Sender<()>) -> Result<(), End> {
        if self.awake_until_ms.is_none() {
            return Ok(());
        }
        self.idle_since = Instant::now();
        let mut done = Some(done);
        let mut rest = bodies;
        while !rest.is_empty() || done.is_some() {
            let (batch, others) = rest.split_at(batch_len(rest));
            rest = others;
            let bodies: Vec<&[u8]> = batch.iter().map(AsRef::as_ref).collect();
            let effects = self.instance.receive(&bodies)?;
            let last = self.combining.count(batch.len());
            if rest.is_empty()
                && let Some(done) = done.take()
            {
                // Before the effects: they may be what it waits for.
                self.handed_in.add(last, done);
            }
            self.carry_out(effects);
        }
        Ok(())
    }
}

/// How many of these bodies make a batch: at most as many as of a link at once.
fn batch_len(bodies: &[Bytes]) -> usize {
    let mut bytes = 0;
    let fits = bodies.iter().take(BATCH_MESSAGES_MAX).take_while(|body| {
        bytes += body.len();
        bytes <= BATCH_BYTES_MAX
    });
    // One that is longer than a batch may be goes alone.
    fits.count().max(bodies.len().min(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_handed_in_hears_when_the_last_is_done_with() {
        let mut handed_in = HandedIn::default();
        let (first, mut first_done) = oneshot::channel();
        let (second, mut second_done) = oneshot::channel();
        handed_in.add(2, first);
        handed_in.add(5, second);
        handed_in.done_with(1);
        assert!(first_done.try_recv().is_err() && handed_in.len() == 2);
        handed_in.done_with(4);
        assert_eq!(first_done.try_recv(), Ok(()));
        handed_in.clear();
        assert_eq!(second_done.try_recv(), Err(oneshot::error::TryRecvError::Closed));
    }

    #[test]
    fn batches_are_bounded_in_number_and_bytes() {
        assert_eq!(batch_len(&[]), 0);
        assert_eq!(batch_len(&vec![Bytes::from_static(b"x"); 300]), BATCH_MESSAGES_MAX);
        let large = Bytes::from(vec![0; BATCH_BYTES_MAX / 2]);
        assert_eq!(batch_len(&[large.clone(), large.clone(), large]), 2);
        assert_eq!(batch_len(&[Bytes::from(vec![0; BATCH_BYTES_MAX + 1]), Bytes::new()]), 1);
    }
}
