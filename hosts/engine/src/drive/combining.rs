//! When a message of the queue `combiner` may be forgotten.
//!
//! What a message brought is sent to everyone by the component, in frames of its own, at latest at the tick that comes
//! `combine-ms` after it was taken in. So a message may be acknowledged once every frame to everyone is confirmed that
//! was made from the call that took it in up to and including the first tick at or after that time. A frame that
//! failed comes again with its bytes unchanged under another id (`outbox.settle`), at a time of the component's
//! choosing: frames are therefore told apart by their bytes, and a message waits for the bytes, whichever id brings them.
//! Not every frame that fails comes again, only those of writes; which those are the host cannot tell. If one does not
//! within [`AGAIN_MAX`], the link is given up, and the broker delivers the message once more, here or elsewhere.
//!
//! Messages are kept in groups, since each frame is looked up in every group: those that come while a group gathers
//! make the next one, so that at most two gather at a time.

use std::collections::{BTreeMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use tokio::time::Instant;

use crate::contract::{Frame, FrameId, Receipt, Route, Timestamp, Verdict};

/// How long a failed frame may take to come again: three times the longest pause that a component makes.
const AGAIN_MAX: Duration = Duration::from_secs(15);

/// Tells bodies apart, not against malice: they are our own component's.
type Fingerprint = u64;

/// Messages that were taken in and are not acknowledged.
#[derive(Debug)]
pub(super) struct Combining {
    combine_ms: u64,
    groups: VecDeque<Group>,
    /// The frames under way to everyone. Empty without groups.
    under_way: BTreeMap<FrameId, Fingerprint>,
}

#[derive(Debug)]
struct Group {
    tags: Vec<u64>,
    /// The first tick at or after this is the last call that may make a frame of them.
    due_ms: Timestamp,
    /// That tick has been.
    closed: bool,
    /// What has to be confirmed, and since when it has failed, if it has.
    awaited: BTreeMap<Fingerprint, Option<Instant>>,
}

impl Combining {
    pub(super) fn new(combine_ms: u32) -> Self {
        Self { combine_ms: combine_ms.into(), groups: VecDeque::new(), under_way: BTreeMap::new() }
    }

    /// Messages were taken in by a call that has just returned, at this time; its effects are carried out next.
    pub(super) fn take(&mut self, tags: Vec<u64>, now_ms: Timestamp) {
        if tags.is_empty() {
            return;
        }
        let due_ms = now_ms.saturating_add(self.combine_ms);
        let gathering = self.groups.iter().filter(|group| !group.closed).count();
        match self.groups.back_mut().filter(|_| gathering == 2) {
            Some(group) => {
                group.tags.extend(tags);
                group.due_ms = group.due_ms.max(due_ms);
            }
            None => self.groups.push_back(Group { tags, due_ms, closed: false, awaited: BTreeMap::new() }),
        }
    }

    /// These frames are handed to the broker.
    pub(super) fn publish(&mut self, frames: &[Frame]) {
        if self.groups.is_empty() {
            return;
        }
        for frame in frames.iter().filter(|frame| matches!(frame.route, Route::Everyone)) {
            let mut hasher = DefaultHasher::new();
            frame.body.hash(&mut hasher);
            let body = hasher.finish();
            self.under_way.insert(frame.id, body);
            for group in &mut self.groups {
                if !group.closed {
                    group.awaited.insert(body, None);
                } else if let Some(failed_since) = group.awaited.get_mut(&body) {
                    *failed_since = None;
                }
            }
        }
    }

    /// The broker has answered.
    pub(super) fn settle(&mut self, receipts: &[Receipt], now: Instant) {
        for receipt in receipts {
            let Some(body) = self.under_way.remove(&receipt.id) else { continue };
            for group in &mut self.groups {
                match receipt.verdict {
                    Verdict::Confirmed => {
                        group.awaited.remove(&body);
                    }
                    Verdict::Failed | Verdict::Unroutable => {
                        if let Some(failed_since) = group.awaited.get_mut(&body) {
                            *failed_since = Some(now);
                        }
                    }
                }
            }
        }
    }

    /// A tick that was called at this time has returned, and its effects are carried out.
    pub(super) fn tick(&mut self, called_ms: Timestamp) {
        for group in self.groups.iter_mut().filter(|group| group.due_ms <= called_ms) {
            group.closed = true;
        }
    }

    /// When a tick is needed, whatever the component asks for.
    pub(super) fn next_tick_ms(&self) -> Option<Timestamp> {
        self.groups.iter().filter(|group| !group.closed).map(|group| group.due_ms).min()
    }

    /// Takes out what may be acknowledged.
    pub(super) fn done(&mut self) -> Vec<u64> {
        let mut done = Vec::new();
        self.groups.retain_mut(|group| {
            let over = group.closed && group.awaited.is_empty();
            if over {
                done.append(&mut group.tags);
            }
            !over
        });
        if self.groups.is_empty() {
            self.under_way.clear();
        }
        done
    }

    /// Whether a frame has failed and does not come again.
    pub(super) fn is_stuck(&self, now: Instant) -> bool {
        let mut failures = self.groups.iter().flat_map(|group| group.awaited.values()).flatten();
        failures.any(|since| now.duration_since(*since) > AGAIN_MAX)
    }

    /// The link is gone, and the messages with it: they are delivered again.
    pub(super) fn clear(&mut self) {
        self.groups.clear();
        self.under_way.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(id: FrameId, body: &str) -> Frame {
        Frame { id, route: Route::Everyone, body: body.as_bytes().to_vec(), ttl_ms: None }
    }

    fn confirmed(id: FrameId) -> [Receipt; 1] {
        [Receipt { id, verdict: Verdict::Confirmed }]
    }

    #[tokio::test]
    async fn a_message_waits_for_what_was_made_up_to_its_tick_and_for_nothing_later() {
        let mut combining = Combining::new(100);
        let now = Instant::now();
        combining.publish(&[frame(1, "before")]);
        combining.take(vec![10], 1_000);
        combining.publish(&[frame(2, "taken in")]);
        // Too early to be the last one that may make a frame of it.
        combining.tick(1_050);
        combining.settle(&confirmed(2), now);
        assert_eq!(combining.done(), []);
        assert_eq!(combining.next_tick_ms(), Some(1_100));
        combining.publish(&[frame(3, "combined"), Frame { route: Route::Log, ..frame(4, "snapshot") }]);
        combining.tick(1_100);
        combining.publish(&[frame(5, "later")]);
        assert_eq!((combining.done(), combining.next_tick_ms()), (vec![], None));
        combining.settle(&confirmed(3), now);
        assert_eq!(combining.done(), [10]);
        assert_eq!(combining.done(), []);
    }

    #[tokio::test]
    async fn a_frame_that_failed_is_waited_for_under_its_new_id() {
        let mut combining = Combining::new(100);
        let now = Instant::now();
        combining.take(vec![10], 1_000);
        combining.publish(&[frame(1, "combined")]);
        combining.tick(1_100);
        combining.settle(&[Receipt { id: 1, verdict: Verdict::Failed }], now);
        assert_eq!(combining.done(), []);
        combining.publish(&[frame(2, "another")]);
        combining.settle(&confirmed(2), now);
        assert_eq!(combining.done(), []);
        assert!(!combining.is_stuck(now + AGAIN_MAX));
        assert!(combining.is_stuck(now + 2 * AGAIN_MAX));
        combining.publish(&[frame(3, "combined")]);
        assert!(!combining.is_stuck(now + 2 * AGAIN_MAX));
        combining.settle(&confirmed(3), now);
        assert_eq!(combining.done(), [10]);
    }

    #[tokio::test]
    async fn under_constant_traffic_messages_are_let_go_all_the_same() {
        let mut combining = Combining::new(100);
        let now = Instant::now();
        let mut done = 0;
        for round in 0..1_000 {
            combining.take(vec![round], round);
            combining.publish(&[frame(round, &round.to_string())]);
            combining.tick(round);
            // Each frame is confirmed ten rounds later, so that some is always under way.
            if round >= 10 {
                combining.settle(&confirmed(round - 10), now);
            }
            done += combining.done().len();
            assert!(combining.groups.len() <= 3, "{}", combining.groups.len());
        }
        assert!(done > 700, "{done}");
    }
}
