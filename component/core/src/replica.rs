//! A replica: the composition of the layers. Calls in, effects out.

mod incoming;
mod outgoing;
mod overlaid;
mod requests;

use crate::api::{self, Answer};
use crate::chunk::Chunk;
use crate::clock::Clock;
use crate::codec::CodecError;
use crate::combining::Gathering;
use crate::config::{Config, ConfigError};
use crate::dot::WriterId;
use crate::effect::{Effects, Frame as Outgoing, Receipt, Route};
use crate::frame::Body;
use crate::http::{Request, Response};
use crate::member::{LEASE_MAX_MS, Members};
use crate::outbox::{Outbox, Written};
use crate::overlay::Overlay;
use crate::past::Past;
use crate::repair::{Bounds, Repair};
use crate::snapshot::Log;
use crate::store::Store;
use crate::time::{Timestamp, Turn};

/// How long after its last frame of writes a replica tells its root once more, so that a peer that missed the frame notices.
const CLOSING_BEAT_MS: u64 = 500;
/// After a longer pause between calls a replica takes in what its inbox has before it asks anything again.
const STILL_MS: u64 = 1_000;
/// How long after waking a replica tells its root: time to drain its inbox, and less than a repair of the others waits.
const WAKE_BEAT_MS: u64 = 250;
/// A writer id is used no longer than this, so that its era says when it wrote.
const WRITER_MAX_MS: u64 = 3_600_000;

/// A live replica.
pub struct Replica {
    config: Config,
    name: String,
    incarnation: u64,
    store: Store,
    past: Past,
    members: Members,
    clock: Clock,
    writer: Option<OwnWriter>,
    outbox: Outbox,
    repair: Repair,
    gathering: Gathering,
    log: Log,
    /// The neighbours that it speaks to in place of everyone; none: it speaks to everyone.
    overlay: Option<Overlay>,
    /// The greatest number of a link of an overlay that it was in before.
    link_numbers: u64,
    /// How many messages were received since the start.
    messages: u64,
    /// Until when this replica has said that it is awake.
    awake_until: Timestamp,
    is_awake: bool,
    has_left: bool,
    /// The time of the last call. After a pause longer than the retention the replica starts anew.
    last_call: Timestamp,
    /// Whether repair has brought something since it last ended.
    has_gained: bool,
    /// When to tell the root once more.
    beat_at: Option<Timestamp>,
    /// Whether it has told since that it has the whole database: till then nobody compares with its root.
    has_told_complete: bool,
    /// Writes of an earlier incarnation, to be done again once the database is back, unless they went out after all.
    to_redo: Vec<Written>,
    counts: Counts,
}

/// The writer id that this incarnation uses.
#[derive(Clone, Copy, Debug)]
struct OwnWriter {
    id: WriterId,
    made: Timestamp,
}

/// What `/v1/status` counts.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    broken: u64,
    other_cluster: u64,
    other_version: u64,
    own: u64,
    sent_frames: u64,
    sent_bytes: u64,
    received_frames: u64,
    received_bytes: u64,
    asks_answered: u64,
    shares: u64,
    combined: u64,
    redone: u64,
    redo_refused: u64,
}

/// A piece of the state, to be stored under its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// `a-z`, `0-9`, `-`; at most 64 characters.
    pub key: String,
    /// An encoded chunk.
    pub chunk: Vec<u8>,
}

/// What changed since a version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Saved {
    /// To be given as `since` next time.
    pub version: u64,
    /// The pieces that changed.
    pub parts: Vec<Part>,
}

impl Replica {
    /// Begins an incarnation.
    pub fn start(config: Config, turn: &mut Turn<'_>) -> Result<(Self, Effects), ConfigError> {
        config.check()?;
        let name = config.name.clone().unwrap_or_else(|| format!("r{:015x}", (turn.chance)() >> 4));
        let replica = Self {
            name,
            incarnation: turn.now.0,
            store: Store::new(),
            past: Past::default(),
            members: Members::new(config.retention_ms, config.skew_ms),
            clock: Clock::default(),
            writer: None,
            outbox: Outbox::default(),
            repair: Self::new_repair(&config),
            gathering: Gathering::default(),
            log: Log::new(config.log_bytes),
            overlay: None,
            link_numbers: 0,
            messages: 0,
            awake_until: turn.now,
            is_awake: false,
            has_left: false,
            last_call: turn.now,
            has_gained: false,
            beat_at: None,
            has_told_complete: config.bootstrap_ms == 0,
            to_redo: Vec::new(),
            counts: Counts::default(),
            config,
        };
        let effects = replica.effects(Vec::new(), turn);
        Ok((replica, effects))
    }

    fn new_repair(config: &Config) -> Repair {
        let bounds = Bounds {
            repair_bytes: config.repair_bytes,
            frame_bytes: config.frame_bytes,
            bootstrap_ms: config.bootstrap_ms.into(),
            has_log: config.log_bytes > 0,
        };
        if config.bootstrap_ms == 0 { Repair::founder(bounds) } else { Repair::newcomer(bounds) }
    }

    /// The replica's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Greater than that of any earlier incarnation of the same name, as far as clocks go.
    pub fn incarnation(&self) -> u64 {
        self.incarnation
    }

    /// The state. For tests.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Begins or prolongs an awake period.
    pub fn wake(&mut self, awake_until: Timestamp, turn: &mut Turn<'_>) -> Effects {
        let started_anew = self.begin(turn);
        let was_awake = self.is_awake;
        self.is_awake = true;
        if std::mem::take(&mut self.has_left) {
            // The farewell holds for the incarnation that said it. Another one has its own writer.
            self.incarnation = turn.now.0.max(self.incarnation + 1);
            self.writer = None;
        }
        self.awake_until = awake_until.min(turn.now.plus_ms(LEASE_MAX_MS)).max(turn.now);
        let own = self.record();
        self.members.observe(own, turn.now);
        let is_new_period = !was_awake || started_anew;
        let body = if is_new_period { Body::Wake } else { Body::Beat };
        let mut frames = Vec::new();
        self.announce(body, &mut frames, turn);
        if is_new_period {
            self.repair.wake(turn, &self.store);
            // By then the inbox is drained, and the root worth comparing. The combiner tells its own in any case.
            let is_told_later = !self.is_combining(turn.now) && self.overlay.is_none();
            self.beat_at = is_told_later.then(|| turn.now.plus_ms(WAKE_BEAT_MS));
        }
        self.work(&mut frames, turn);
        Effects { started_anew, ..self.effects(frames, turn) }
    }

    /// Does what is due.
    pub fn tick(&mut self, turn: &mut Turn<'_>) -> Effects {
        let started_anew = self.begin(turn);
        let mut frames = Vec::new();
        self.work(&mut frames, turn);
        Effects { started_anew, ..self.effects(frames, turn) }
    }

    /// Ends an awake period.
    pub fn suspend(&mut self, turn: &mut Turn<'_>) -> Effects {
        let started_anew = self.begin(turn);
        let mut frames = Vec::new();
        self.send_gathered(&mut frames, turn);
        self.flush_all(&mut frames, turn);
        if self.beat_at.take().is_some() {
            self.announce(Body::Beat, &mut frames, turn);
        }
        self.log.abandon();
        self.is_awake = false;
        Effects { started_anew, ..self.effects(frames, turn) }
    }

    /// Says farewell.
    pub fn leave(&mut self, turn: &mut Turn<'_>) -> Effects {
        let started_anew = self.begin(turn);
        let mut frames = Vec::new();
        self.send_gathered(&mut frames, turn);
        self.flush_all(&mut frames, turn);
        self.log.abandon();
        self.is_awake = false;
        self.has_left = true;
        let own = self.record();
        self.members.observe(own, turn.now);
        self.announce(Body::Beat, &mut frames, turn);
        Effects { started_anew, ..self.effects(frames, turn) }
    }

    /// Takes in frames.
    pub fn receive(&mut self, bodies: &[Vec<u8>], turn: &mut Turn<'_>) -> Effects {
        let started_anew = self.begin(turn);
        let mut frames = Vec::new();
        for body in bodies {
            self.messages += 1;
            if let Some(frame) = self.decode(body) {
                self.take_in(frame, body.len(), &mut frames, turn);
            }
        }
        self.work(&mut frames, turn);
        Effects { started_anew, ..self.effects(frames, turn) }
    }

    /// Takes in the outcomes of publishes.
    pub fn settle(&mut self, receipts: &[Receipt], turn: &mut Turn<'_>) -> Effects {
        let started_anew = self.begin(turn);
        for receipt in receipts {
            if let Some(gone) = self.outbox.settle(*receipt, turn.now) {
                self.lose(&gone, turn);
            }
            if self.log.settle(*receipt, turn.now) {
                // To tell that there is a new snapshot.
                self.beat_at = Some(turn.now);
            }
        }
        let mut frames = Vec::new();
        self.work(&mut frames, turn);
        Effects { started_anew, ..self.effects(frames, turn) }
    }

    /// Answers a request.
    pub fn invoke(&mut self, request: &Request, turn: &mut Turn<'_>) -> Response {
        let started_anew = self.begin(turn);
        let mut frames = Vec::new();
        let (mut answer, after) = match api::parse(request).and_then(|call| self.answer(call, &mut frames, turn)) {
            Ok(answered) => answered,
            Err(refusal) => (Answer::refusal(&refusal), None),
        };
        answer.headers.push(("dayfly-replica".into(), self.name.clone()));
        if !self.repair.is_complete() {
            answer.headers.push(("dayfly-complete".into(), "false".into()));
        }
        self.work(&mut frames, turn);
        let effects = Effects { started_anew, ..self.effects(frames, turn) };
        Response { status: answer.status, headers: answer.headers, body: answer.body, after, effects }
    }

    /// The pieces that changed since a version.
    pub fn save(&mut self, since: u64) -> Saved {
        let mut parts = Vec::new();
        for (block, range) in self.store.changed_since(since) {
            for piece in self.store.walk_down(range, None, usize::MAX).filter(|piece| !piece.chunk.is_empty()) {
                let key = format!("{:032x}-{block:x}", { range.low.writer.0 });
                parts.push(Part { key, chunk: piece.chunk.encode() });
            }
        }
        Saved { version: self.store.end_save_version(), parts }
    }

    /// Joins a stored piece.
    pub fn load(&mut self, chunk: &[u8], turn: &mut Turn<'_>) -> Result<Effects, CodecError> {
        let started_anew = self.begin(turn);
        let chunk = Chunk::decode(chunk)?;
        self.join(&chunk, None, turn);
        Ok(Effects { started_anew, ..self.effects(Vec::new(), turn) })
    }

    /// Takes in messages of the log.
    pub fn replay(&mut self, bodies: &[Vec<u8>], end: bool, turn: &mut Turn<'_>) -> Effects {
        let started_anew = self.begin(turn);
        for body in bodies {
            let Some(frame) = self.decode(body) else { continue };
            self.log.merge(frame.log);
            match frame.body {
                // No share is sent to the log, but a host may have stored one beside its checkpoint.
                Body::Delta(chunk) | Body::Combined(_, chunk) | Body::Share(chunk) => {
                    self.join(&chunk, None, turn);
                }
                // Leases of then, and what is not sent to the log.
                Body::Beat | Body::Wake | Body::Ask(_) | Body::Answer(_) | Body::Members(_) | Body::SnapshotDue => {}
                // No link ends in the log.
                Body::Link(_) => {}
            }
        }
        let mut frames = Vec::new();
        if end {
            self.repair.end_replay();
            self.log.end_replay();
            self.work(&mut frames, turn);
        }
        Effects { started_anew, ..self.effects(frames, turn) }
    }

    // --- what every call does ---

    /// Begins a call: after too long a pause the replica starts anew. True if it did.
    fn begin(&mut self, turn: &mut Turn<'_>) -> bool {
        let pause_ms = turn.now.since_ms(self.last_call);
        self.last_call = turn.now;
        if pause_ms <= self.config.retention_ms {
            if pause_ms > STILL_MS {
                self.repair.stood_still(turn.now);
            }
            if let Some(overlay) = &mut self.overlay {
                overlay.look_at_clock(turn.now);
            }
            return false;
        }
        self.incarnation = turn.now.0.max(self.incarnation + 1);
        self.store = Store::new();
        self.past = Past::default();
        self.members = Members::new(self.config.retention_ms, self.config.skew_ms);
        self.writer = None;
        let unsettled = self.outbox.start_anew();
        self.to_redo.extend(unsettled);
        // Whoever founded the cluster long ago is a newcomer now.
        let bootstrap_ms = self.config.bootstrap_ms.max(1000);
        self.repair = Self::new_repair(&Config { bootstrap_ms, ..self.config.clone() });
        // Messages of the combiner that were not acknowledged are with its successor.
        self.gathering = Gathering::default();
        self.log.abandon();
        if let Some(overlay) = &mut self.overlay {
            overlay.start_anew(&self.name, turn.now);
        }
        self.beat_at = None;
        self.has_told_complete = false;
        if self.is_awake {
            self.repair.wake(turn, &self.store);
        }
        true
    }

    /// Does what is due: bursts, frames to send again, beats, repair, expiry.
    fn work(&mut self, frames: &mut Vec<Outgoing>, turn: &mut Turn<'_>) {
        self.members.expire(turn.now);
        if self.gathering.due().is_some_and(|due| due <= turn.now) {
            self.send_gathered(frames, turn);
        }
        if self.burst_due(turn.now).is_some_and(|due| due <= turn.now) {
            self.flush(frames, turn);
        }
        let again = self.outbox.resend(turn.now);
        again.iter().for_each(|frame| self.count_sent(frame));
        if !again.is_empty() && self.overlay.is_none() {
            // They tell a root of long ago.
            self.beat_at = Some(turn.now.plus_ms(CLOSING_BEAT_MS));
        }
        frames.extend(again);
        if self.is_awake {
            if self.repair.due().is_some_and(|due| due <= turn.now) {
                self.recognise_past();
                let peers = self.peers(turn.now);
                for (route, ask) in self.repair.tick(turn, &self.store, &peers) {
                    let ttl_ms = u32::try_from(Timestamp(ask.until_ms).since_ms(turn.now)).ok();
                    frames.push(self.frame(route, Body::Ask(ask), ttl_ms, turn));
                }
                if self.repair.take_wants_telling() {
                    // The combiner of now tells its root, and who differs asks again.
                    self.members.forget_roots();
                    self.announce(Body::Beat, frames, turn);
                }
            }
            for name in self.repair.take_silent() {
                self.members.silence(&name);
                self.look_further(turn);
            }
            if self.repair.is_complete() && !self.to_redo.is_empty() {
                self.redo(frames, turn);
            }
        }
        if self.has_gained && self.repair.is_idle() {
            self.has_gained = false;
            if let Some(overlay) = &mut self.overlay {
                overlay.skip(turn.now);
            }
            if self.is_awake && self.overlay.is_none() {
                // The root that it told last was one that nobody else had, so each of the others would have to ask what is
                // behind it. Where there is a combiner nobody but that one hears whose root differs.
                self.beat_at = Some(turn.now.plus_ms(CLOSING_BEAT_MS));
            }
        }
        if self.is_awake && self.repair.is_complete() && !self.has_told_complete {
            self.has_told_complete = true;
            self.beat_at = Some(turn.now);
        }
        if self.beat_at.is_some_and(|at| at <= turn.now) {
            self.beat_at = None;
            self.announce(Body::Beat, frames, turn);
        }
        if self.is_awake {
            self.tend_overlay(frames, turn);
        }
        if self.is_awake && self.repair.is_complete() {
            if self.log.asks(turn) {
                frames.push(self.frame(Route::Combiner, Body::SnapshotDue, None, turn));
            }
            self.write_snapshot(frames, turn);
        }
    }

    fn effects(&self, frames: Vec<Outgoing>, turn: &Turn<'_>) -> Effects {
        let repair = self.repair.due().filter(|_| self.is_awake);
        let burst = self.burst_due(turn.now);
        let overlay = self.overlay.as_ref().filter(|_| self.is_awake).and_then(Overlay::due);
        let log = self.log.due().filter(|_| self.is_awake && self.repair.is_complete());
        // Often enough that a replica that is awake never mistakes idleness for a freeze.
        let alive = self.is_awake.then(|| turn.now.plus_ms(self.config.retention_ms / 4));
        let others = [self.gathering.due(), self.outbox.resend_due(), self.beat_at, log, overlay, alive];
        let next_tick = [repair, burst].into_iter().chain(others).flatten().min();
        let open = [self.gathering.first_message(), self.outbox.first_message(), self.log.first_message()];
        let done_with = open.into_iter().flatten().min().map_or(self.messages, |first| first - 1);
        Effects {
            frames,
            next_tick,
            serve_anyone: self.is_awake && self.repair.is_complete(),
            quiet: !self.repair.is_suspicious()
                && self.repair.is_complete()
                && self.repair.is_idle()
                && self.outbox.is_settled()
                && self.beat_at.is_none()
                && self.gathering.due().is_none()
                && self.log.first_message().is_none()
                && self.to_redo.is_empty()
                && self.overlay.as_ref().is_none_or(|overlay| overlay.is_idle() && overlay.agrees()),
            started_anew: false,
            replay: self.is_awake && (self.repair.wants_replay() || self.log.wants_replay()),
            done_with,
        }
    }
}
