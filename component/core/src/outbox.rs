//! What goes out: bursts of writes that share a frame, and frames whose outcome is not known yet.

use std::collections::BTreeMap;

use crate::cell::DataType;
use crate::effect::{Frame, FrameId, Receipt, Route, Verdict};
use crate::intervals::DotSet;
use crate::time::Timestamp;
use crate::types::operation::Operation;

/// The most writes that may wait for the broker; more are refused.
pub const UNSETTLED_MAX_WRITES: usize = 10_000;
/// The most bytes that may wait for the broker.
pub const UNSETTLED_MAX_BYTES: usize = 4 << 20;
/// How many requests and answers are remembered for the case that their inbox is gone.
const ADDRESSED_MAX: usize = 1024;
/// How long a failed frame waits for being sent again: doubled each time, up to the maximum.
const RESEND_MIN_MS: u64 = 100;
const RESEND_MAX_MS: u64 = 5_000;

/// What one request wrote, kept until the broker has it: after a freeze beyond the retention it may have to be done again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// The dots that the request's chunk speaks of.
    pub dots: DotSet,
    /// Its operations.
    pub operations: Vec<(String, DataType, Operation)>,
    /// Upper bound of its chunk in bytes.
    pub wire_bytes: usize,
}

/// Writes that are to share the next frame.
#[derive(Clone, Debug)]
struct Burst {
    /// The id that the frame will have.
    id: FrameId,
    writes: Vec<Written>,
    wire_bytes: usize,
}

/// A frame that the broker has not confirmed, and that must not be lost.
#[derive(Clone, Debug)]
struct Unsettled {
    route: Route,
    body: Vec<u8>,
    /// For a combiner, the number of the first message that it is made of.
    first_message: Option<u64>,
    writes: Vec<Written>,
    /// When to send it again, if it failed.
    resend_at: Option<Timestamp>,
    /// How long it waits if it fails again.
    wait_ms: u64,
}

/// The outbox of one incarnation.
#[derive(Clone, Debug, Default)]
pub struct Outbox {
    next_id: u64,
    burst: Option<Burst>,
    /// When the last burst went out.
    burst_sent: Option<Timestamp>,
    unsettled: BTreeMap<FrameId, Unsettled>,
    unsettled_bytes: usize,
    unsettled_writes: usize,
    /// To whom a frame went that was meant for one inbox.
    addressed: BTreeMap<FrameId, String>,
}

impl Outbox {
    /// The next frame's id.
    fn next_id(&mut self) -> FrameId {
        self.next_id += 1;
        FrameId(self.next_id)
    }

    /// A frame that carries no writes: if it is lost, the protocol asks again.
    pub fn frame(&mut self, route: Route, body: Vec<u8>, ttl_ms: Option<u32>) -> Frame {
        let id = self.next_id();
        self.address(id, &route);
        Frame { id, route, body, ttl_ms }
    }

    fn address(&mut self, id: FrameId, route: &Route) {
        if let Route::One(name) = route {
            if self.addressed.len() >= ADDRESSED_MAX {
                self.addressed.pop_first();
            }
            self.addressed.insert(id, name.clone());
        }
    }

    /// Whether writes must be refused because the broker does not keep up.
    pub fn is_busy(&self) -> bool {
        let waiting = self.burst.as_ref().map_or((0, 0), |burst| (burst.writes.len(), burst.wire_bytes));
        self.unsettled_writes + waiting.0 >= UNSETTLED_MAX_WRITES
            || self.unsettled_bytes + waiting.1 >= UNSETTLED_MAX_BYTES
    }

    /// Whether a write of this size must wait for the next frame.
    pub fn is_full_for(&self, wire_bytes: usize, fill_bytes: usize) -> bool {
        self.burst.as_ref().is_some_and(|burst| burst.wire_bytes + wire_bytes > fill_bytes)
    }

    /// Adds a write to the burst; gives the id of the frame that will carry it.
    pub fn add(&mut self, written: Written) -> FrameId {
        let id = match &self.burst {
            Some(burst) => burst.id,
            None => self.next_id(),
        };
        let burst = self.burst.get_or_insert_with(|| Burst { id, writes: Vec::new(), wire_bytes: 0 });
        burst.wire_bytes += written.wire_bytes;
        burst.writes.push(written);
        id
    }

    /// When the burst has to go out: at once if none went out within `burst_ms`, else when that time is over.
    pub fn burst_due(&self, burst_ms: u32, now: Timestamp) -> Option<Timestamp> {
        self.burst.as_ref()?;
        Some(match self.burst_sent {
            // A clock that jumped back must not hold writes up.
            Some(sent) if sent <= now => sent.plus_ms(burst_ms.into()),
            _ => now,
        })
    }

    /// An upper bound for the burst in bytes; 0 without one.
    pub fn burst_bytes(&self) -> usize {
        self.burst.as_ref().map_or(0, |burst| burst.wire_bytes)
    }

    /// The dots of the burst.
    pub fn burst_dots(&self) -> Option<DotSet> {
        let burst = self.burst.as_ref()?;
        let mut dots = DotSet::default();
        burst.writes.iter().for_each(|written| dots.extend(&written.dots));
        Some(dots)
    }

    /// Sends the burst, whose dots `body` speaks of.
    ///
    /// # Panics
    /// If there is no burst.
    pub fn send_burst(&mut self, route: Route, body: Vec<u8>, now: Timestamp) -> Frame {
        let burst = self.burst.take().expect("the caller made the body from the burst's dots");
        self.burst_sent = Some(now);
        self.send(burst.id, route, body, burst.writes, None)
    }

    /// Sends what a combiner gathered from this message on.
    pub fn send_gathered(&mut self, body: Vec<u8>, first_message: u64) -> Frame {
        let id = self.next_id();
        self.send(id, Route::Everyone, body, Vec::new(), Some(first_message))
    }

    /// Sends writes of others along a link: it is sent again if it fails.
    pub fn pass_on(&mut self, route: Route, body: Vec<u8>) -> Frame {
        let id = self.next_id();
        self.send(id, route, body, Vec::new(), None)
    }

    /// An inbox is gone: what was sent to it and not confirmed is sent to another, as it was made, if own writes are in it.
    pub fn redirect(&mut self, from: &str, to: &str, now: Timestamp) {
        let is_meant = |unsettled: &Unsettled| matches!(&unsettled.route, Route::One(name) if name == from);
        let meant: Vec<FrameId> =
            self.unsettled.iter().filter(|(_, unsettled)| is_meant(unsettled)).map(|(id, _)| *id).collect();
        for id in meant {
            let Some(mut unsettled) = self.release(id) else { continue };
            if !unsettled.writes.is_empty() {
                unsettled.route = Route::One(to.to_owned());
                unsettled.resend_at = Some(now);
                self.hold(id, unsettled);
            }
        }
    }

    fn send(
        &mut self,
        id: FrameId,
        route: Route,
        body: Vec<u8>,
        writes: Vec<Written>,
        first_message: Option<u64>,
    ) -> Frame {
        self.address(id, &route);
        let frame = Frame { id, route: route.clone(), body: body.clone(), ttl_ms: None };
        self.hold(id, Unsettled { route, body, first_message, writes, resend_at: None, wait_ms: RESEND_MIN_MS });
        frame
    }

    /// The number of the first message that a frame is made of which is not confirmed.
    pub fn first_message(&self) -> Option<u64> {
        self.unsettled.values().filter_map(|unsettled| unsettled.first_message).min()
    }

    fn hold(&mut self, id: FrameId, unsettled: Unsettled) {
        self.unsettled_bytes += unsettled.body.len();
        self.unsettled_writes += unsettled.writes.len();
        self.unsettled.insert(id, unsettled);
    }

    fn release(&mut self, id: FrameId) -> Option<Unsettled> {
        let unsettled = self.unsettled.remove(&id)?;
        self.unsettled_bytes -= unsettled.body.len();
        self.unsettled_writes -= unsettled.writes.len();
        Some(unsettled)
    }

    /// Takes in an outcome. Gives the name of the member whose inbox is gone, if that is what it says.
    pub fn settle(&mut self, receipt: Receipt, now: Timestamp) -> Option<String> {
        let addressee = self.addressed.remove(&receipt.id);
        match receipt.verdict {
            Verdict::Confirmed => {
                self.release(receipt.id);
                None
            }
            Verdict::Failed | Verdict::Unroutable => {
                if let Some(unsettled) = self.unsettled.get_mut(&receipt.id) {
                    unsettled.resend_at = Some(now.plus_ms(unsettled.wait_ms));
                }
                addressee.filter(|_| receipt.verdict == Verdict::Unroutable)
            }
        }
    }

    /// When a failed frame has to be sent again.
    pub fn resend_due(&self) -> Option<Timestamp> {
        self.unsettled.values().filter_map(|unsettled| unsettled.resend_at).min()
    }

    /// The failed frames whose time has come, under new ids.
    pub fn resend(&mut self, now: Timestamp) -> Vec<Frame> {
        let is_due = |unsettled: &Unsettled| unsettled.resend_at.is_some_and(|at| at <= now);
        let due: Vec<FrameId> =
            self.unsettled.iter().filter(|(_, unsettled)| is_due(unsettled)).map(|(id, _)| *id).collect();
        due.into_iter()
            .map(|id| {
                let mut unsettled = self.release(id).expect("it was found above");
                unsettled.resend_at = None;
                unsettled.wait_ms = (unsettled.wait_ms * 2).min(RESEND_MAX_MS);
                let (id, route, body) = (self.next_id(), unsettled.route.clone(), unsettled.body.clone());
                self.address(id, &route);
                self.hold(id, unsettled);
                Frame { id, route, body, ttl_ms: None }
            })
            .collect()
    }

    /// Whether all writes are with the broker.
    pub fn is_settled(&self) -> bool {
        self.burst.is_none() && self.unsettled.is_empty()
    }

    /// How many writes are not with the broker.
    pub fn unsettled_writes(&self) -> usize {
        self.unsettled_writes + self.burst.as_ref().map_or(0, |burst| burst.writes.len())
    }

    /// Empties the outbox for a new incarnation. Gives the writes of which nobody knows whether they went out, oldest
    /// first. Ids go on ascending, so that a late receipt names no new frame.
    pub fn start_anew(&mut self) -> Vec<Written> {
        let unsettled = std::mem::take(&mut self.unsettled).into_values().flat_map(|unsettled| unsettled.writes);
        let writes = unsettled.chain(self.burst.take().into_iter().flat_map(|burst| burst.writes)).collect();
        *self = Self { next_id: self.next_id, ..Self::default() };
        writes
    }
}
