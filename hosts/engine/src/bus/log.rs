//! The log: what was sent to everyone, kept to be read again when all replicas are dead.

use std::collections::VecDeque;

use bytes::Bytes;

use super::queue::MESSAGE_OVERHEAD_BYTES;

/// Bodies, oldest first. `body_bytes` is the sum of their lengths; with the overhead of each it is at most `bound_bytes`
/// after each push.
#[derive(Debug)]
pub(super) struct Log {
    bodies: VecDeque<Bytes>,
    body_bytes: usize,
    bound_bytes: usize,
}

impl Log {
    pub(super) fn new(bound_bytes: usize) -> Self {
        Self { bodies: VecDeque::new(), body_bytes: 0, bound_bytes }
    }

    /// Adds at the end, and drops from the front until the bound holds. What is larger than the bound is dropped itself,
    /// after all others.
    pub(super) fn push(&mut self, body: Bytes) {
        self.body_bytes += body.len();
        self.bodies.push_back(body);
        while self.body_bytes + self.bodies.len() * MESSAGE_OVERHEAD_BYTES > self.bound_bytes {
            let Some(oldest) = self.bodies.pop_front() else { return };
            self.body_bytes -= oldest.len();
        }
    }

    /// All that is kept; the bodies are shared.
    pub(super) fn read(&self) -> Vec<Bytes> {
        self.bodies.iter().cloned().collect()
    }

    pub(super) fn len(&self) -> usize {
        self.bodies.len()
    }

    pub(super) fn body_bytes(&self) -> usize {
        self.body_bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_goes_at_the_bound() {
        let mut log = Log::new(3 * MESSAGE_OVERHEAD_BYTES + 30);
        for number in 0..10_u8 {
            log.push(Bytes::from(vec![number; 10]));
        }
        assert_eq!((log.len(), log.body_bytes()), (3, 30));
        assert_eq!(log.read(), [7, 8, 9].map(|number| Bytes::from(vec![number; 10])));
        log.push(Bytes::from(vec![0; 1_000]));
        assert_eq!((log.len(), log.body_bytes()), (0, 0));
    }
}
