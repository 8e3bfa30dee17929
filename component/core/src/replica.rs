//! A replica: the composition of the layers. Calls in, effects out.

use crate::api::{self, Answer, Call, Kind, MemberView, StatusView, Token, WriteAnswer};
use crate::api::{DroppedView, RepairView, TrafficView};
use crate::cell::DataType;
use crate::chunk::Chunk;
use crate::clock::{Clock, Stamp};
use crate::codec::CodecError;
use crate::config::{Config, ConfigError, FRAME_SLACK_BYTES};
use crate::digest::Digest;
use crate::dot::{Era, Seq, WriterId};
use crate::effect::{Effects, Frame as Outgoing, FrameId, Receipt, Route};
use crate::frame::{Body, Frame, HEADER_MAX_BYTES, Refused, Want};
use crate::http::{Request, Response};
use crate::intervals::DotSet;
use crate::member::{LEASE_MAX_MS, Member, Members, Presence, Record};
use crate::outbox::{Outbox, Written};
use crate::refusal::Refusal;
use crate::repair::{Bounds, Peers, Repair, Reply};
use crate::serve::serve;
use crate::store::{Range, Store, Write};
use crate::time::{Timestamp, Turn};
use crate::types;
use crate::types::operation::Operation;

/// How long after its last frame of writes a replica tells its root once more, so that a peer that missed the frame notices.
const CLOSING_BEAT_MS: u64 = 500;
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
    members: Members,
    clock: Clock,
    writer: Option<OwnWriter>,
    outbox: Outbox,
    repair: Repair,
    /// Until when this replica has said that it is awake.
    awake_until: Timestamp,
    is_awake: bool,
    has_left: bool,
    /// The time of the last call. After a pause longer than the retention the replica starts anew.
    last_call: Timestamp,
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
            members: Members::new(config.retention_ms, config.skew_ms),
            clock: Clock::default(),
            writer: None,
            outbox: Outbox::default(),
            repair: Self::new_repair(&config),
            awake_until: turn.now,
            is_awake: false,
            has_left: false,
            last_call: turn.now,
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
        self.has_left = false;
        self.awake_until = awake_until.min(turn.now.plus_ms(LEASE_MAX_MS)).max(turn.now);
        let own = self.record();
        self.members.observe(own, turn.now);
        let is_new_period = !was_awake || started_anew;
        let body = if is_new_period { Body::Wake } else { Body::Beat };
        let mut frames = vec![self.frame(Route::Everyone, body, None, turn)];
        if is_new_period {
            self.repair.wake(turn, &self.store);
            // By then the inbox is drained, and the root worth comparing.
            self.beat_at = Some(turn.now.plus_ms(WAKE_BEAT_MS));
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
        self.flush(&mut frames, turn);
        if self.beat_at.take().is_some() {
            frames.push(self.frame(Route::Everyone, Body::Beat, None, turn));
        }
        self.is_awake = false;
        Effects { started_anew, ..self.effects(frames, turn) }
    }

    /// Says farewell.
    pub fn leave(&mut self, turn: &mut Turn<'_>) -> Effects {
        let started_anew = self.begin(turn);
        let mut frames = Vec::new();
        self.flush(&mut frames, turn);
        self.is_awake = false;
        self.has_left = true;
        let own = self.record();
        self.members.observe(own, turn.now);
        frames.push(self.frame(Route::Everyone, Body::Beat, None, turn));
        Effects { started_anew, ..self.effects(frames, turn) }
    }

    /// Takes in frames.
    pub fn receive(&mut self, bodies: &[Vec<u8>], turn: &mut Turn<'_>) -> Effects {
        let started_anew = self.begin(turn);
        let mut frames = Vec::new();
        for body in bodies {
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
                self.members.forget(&gone);
                self.repair.lose_peer(&gone, turn.now);
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
        self.join(&chunk, turn);
        Ok(Effects { started_anew, ..self.effects(Vec::new(), turn) })
    }

    /// Takes in messages of the log.
    pub fn replay(&mut self, bodies: &[Vec<u8>], end: bool, turn: &mut Turn<'_>) -> Effects {
        let started_anew = self.begin(turn);
        for body in bodies {
            let Some(frame) = self.decode(body) else { continue };
            match frame.body {
                Body::Delta(chunk) => {
                    self.join(&chunk, turn);
                }
                // Leases of then, questions and answers of then.
                Body::Beat | Body::Wake | Body::Ask(_) | Body::Answer(_) | Body::Members(_) => {}
            }
        }
        let mut frames = Vec::new();
        if end {
            self.repair.end_replay();
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
            return false;
        }
        self.incarnation = turn.now.0.max(self.incarnation + 1);
        self.store = Store::new();
        self.members = Members::new(self.config.retention_ms, self.config.skew_ms);
        self.writer = None;
        let unsettled = self.outbox.start_anew();
        self.to_redo.extend(unsettled);
        // Whoever founded the cluster long ago is a newcomer now.
        let bootstrap_ms = self.config.bootstrap_ms.max(1000);
        self.repair = Self::new_repair(&Config { bootstrap_ms, ..self.config.clone() });
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
        if self.outbox.burst_due(self.config.burst_ms, turn.now).is_some_and(|due| due <= turn.now) {
            self.flush(frames, turn);
        }
        let again = self.outbox.resend(turn.now);
        again.iter().for_each(|frame| self.count_sent(frame));
        if !again.is_empty() {
            // They tell a root of long ago.
            self.beat_at = Some(turn.now.plus_ms(CLOSING_BEAT_MS));
        }
        frames.extend(again);
        if self.is_awake {
            if self.repair.due().is_some_and(|due| due <= turn.now) {
                let peers = self.peers(turn.now);
                for (route, ask) in self.repair.tick(turn, &self.store, &peers) {
                    let ttl_ms = u32::try_from(Timestamp(ask.until_ms).since_ms(turn.now)).ok();
                    frames.push(self.frame(route, Body::Ask(ask), ttl_ms, turn));
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
        if self.is_awake && self.repair.is_complete() && !self.has_told_complete {
            self.has_told_complete = true;
            self.beat_at = Some(turn.now);
        }
        if self.beat_at.is_some_and(|at| at <= turn.now) {
            self.beat_at = None;
            frames.push(self.frame(Route::Everyone, Body::Beat, None, turn));
        }
    }

    fn effects(&self, frames: Vec<Outgoing>, turn: &Turn<'_>) -> Effects {
        let repair = self.repair.due().filter(|_| self.is_awake);
        let burst = self.outbox.burst_due(self.config.burst_ms, turn.now);
        // Often enough that a replica that is awake never mistakes idleness for a freeze.
        let alive = self.is_awake.then(|| turn.now.plus_ms(self.config.retention_ms / 4));
        let next_tick = [repair, burst, self.outbox.resend_due(), self.beat_at, alive].into_iter().flatten().min();
        Effects {
            frames,
            next_tick,
            serve_anyone: self.is_awake && self.repair.is_complete(),
            quiet: !self.repair.is_suspicious()
                && self.repair.is_complete()
                && self.repair.is_idle()
                && self.outbox.is_settled()
                && self.beat_at.is_none()
                && self.to_redo.is_empty(),
            started_anew: false,
            replay: self.is_awake && self.repair.wants_replay(),
        }
    }

    // --- frames out ---

    fn record(&self) -> Record {
        Record {
            name: self.name.clone(),
            incarnation: self.incarnation,
            left: self.has_left,
            awake_until: self.awake_until,
            host: self.config.host.clone(),
            region: self.config.region.clone(),
            zone: self.config.zone.clone(),
        }
    }

    fn encode(&self, body: Body, turn: &Turn<'_>) -> Vec<u8> {
        let frame = Frame {
            era: Era::at(turn.now),
            sender: self.record(),
            complete: self.repair.is_complete(),
            root: self.store.root(),
            body,
        };
        frame.encode(&self.config.cluster)
    }

    fn frame(&mut self, route: Route, body: Body, ttl_ms: Option<u32>, turn: &Turn<'_>) -> Outgoing {
        let body = self.encode(body, turn);
        let frame = self.outbox.frame(route, body, ttl_ms);
        self.count_sent(&frame);
        frame
    }

    fn count_sent(&mut self, frame: &Outgoing) {
        self.counts.sent_frames += 1;
        self.counts.sent_bytes += frame.body.len() as u64;
    }

    /// Sends the burst of writes, if there is one.
    fn flush(&mut self, frames: &mut Vec<Outgoing>, turn: &Turn<'_>) {
        if let Some(dots) = self.outbox.burst_dots() {
            let chunk = self.store.extract(&dots);
            let body = self.encode(Body::Delta(chunk), turn);
            let frame = self.outbox.send_burst(body, turn.now);
            self.count_sent(&frame);
            frames.push(frame);
            self.beat_at = Some(turn.now.plus_ms(CLOSING_BEAT_MS));
        }
    }

    /// The most bytes of a frame besides its header.
    fn frame_max_bytes(&self) -> usize {
        (self.config.frame_bytes + FRAME_SLACK_BYTES) as usize
    }

    fn peers(&self, now: Timestamp) -> Peers {
        let mut peers = Peers::default();
        for member in self.members.awake_peers(&self.name, now) {
            let list = if member.complete { &mut peers.complete } else { &mut peers.others };
            list.push(member.record.name.clone());
        }
        peers.with_news = self.news(now).map(|member| member.record.name.clone()).collect();
        peers
    }

    // --- frames in ---

    /// A frame of this cluster and version; what is none is counted.
    fn decode(&mut self, body: &[u8]) -> Option<Frame> {
        self.counts.received_frames += 1;
        self.counts.received_bytes += body.len() as u64;
        let frame = if body.len() > self.frame_max_bytes() + HEADER_MAX_BYTES {
            Err(Refused::Codec(CodecError::Long))
        } else {
            Frame::decode(body, &self.config.cluster)
        };
        match frame {
            Ok(frame) => return Some(frame),
            Err(Refused::OtherCluster) => self.counts.other_cluster += 1,
            Err(Refused::Codec(CodecError::Version(_))) => self.counts.other_version += 1,
            Err(Refused::Codec(CodecError::Short | CodecError::Long | CodecError::Broken(_))) => {
                self.counts.broken += 1;
            }
        }
        None
    }

    fn take_in(&mut self, frame: Frame, bytes: usize, frames: &mut Vec<Outgoing>, turn: &mut Turn<'_>) {
        let Frame { era: _, sender, complete, root, body } = frame;
        if sender.name == self.name && sender.incarnation == self.incarnation {
            self.counts.own += 1;
            return;
        }
        let (from, incarnation) = (sender.name.clone(), sender.incarnation);
        if from != self.name {
            self.members.observe(sender, turn.now);
            // A replica that has just woken tells a root as old as its sleep.
            let is_fresh = !matches!(body, Body::Wake);
            self.members.heard(&from, complete, is_fresh.then_some(root));
            self.repair.hear(&from, turn.now);
        }
        match body {
            Body::Wake => {}
            Body::Beat => self.compare(&from, complete, root, turn),
            Body::Delta(chunk) => {
                self.join(&chunk, turn);
                self.compare(&from, complete, root, turn);
            }
            Body::Ask(ask) => {
                if ask.until_ms < turn.now.0 {
                    return;
                }
                self.counts.asks_answered += 1;
                if let Want::All { members: true, .. } = ask.want {
                    self.send_members(&from, frames, turn);
                }
                let served = if root == self.store.root() {
                    serve_equal(&ask)
                } else {
                    serve(&self.store, &ask, self.config.frame_bytes as usize)
                };
                for answer in served.answers {
                    let ttl_ms = u32::try_from(Timestamp(ask.until_ms).since_ms(turn.now)).ok();
                    frames.push(self.frame(Route::One(from.clone()), Body::Answer(answer), ttl_ms, turn));
                }
                if served.knows_more {
                    self.repair.suspect(&from, turn);
                }
            }
            Body::Answer(answer) => {
                self.observe_clocks(&answer.chunk, turn);
                let mut removals = DotSet::default();
                let joined = self.store.join_piece(&answer.chunk, &mut removals);
                let removals = self.repair.hold_back(&answer, &from, incarnation, root, &removals);
                let changed = joined.changed() | self.store.remove(removals).changed();
                let equal = self.store.root() == root;
                let reply = Reply { from: &from, complete, root, changed, equal, bytes };
                if let Some((peer, root)) = self.repair.answered(&answer, reply, turn, &self.store) {
                    self.members.include(&peer, root);
                }
                // A piece in the midst of an answer says nothing about the whole.
                if answer.last && self.repair.is_idle() {
                    self.compare(&from, complete, root, turn);
                    self.look_further(turn);
                }
            }
            Body::Members(records) => {
                // Nobody tells anybody of themselves.
                for (record, complete) in records.into_iter().filter(|(record, _)| record.name != self.name) {
                    self.members.observe_told(record, complete, turn.now);
                }
            }
        }
    }

    /// Compares a peer's root with ours.
    fn compare(&mut self, from: &str, complete: bool, root: Digest, turn: &mut Turn<'_>) {
        if root == self.store.root() {
            self.members.include(from, root);
            self.repair.agree(from);
        } else if (complete || !self.repair.is_complete())
            && self.members.get(from).is_none_or(|member| member.included != Some(root))
        {
            self.repair.suspect(from, turn);
        }
    }

    /// Looks for others that may know more, once a repair has ended.
    fn look_further(&mut self, turn: &mut Turn<'_>) {
        let next = self.news(turn.now).next().map(|member| member.record.name.clone());
        if let Some(next) = next {
            self.repair.suspect(&next, turn);
        }
    }

    /// The awake members that may know something that is not here.
    fn news(&self, now: Timestamp) -> impl Iterator<Item = &Member> + '_ {
        let of_all = !self.repair.is_complete();
        let news = self.members.with_news(&self.name, self.store.root(), now);
        news.filter(move |member| of_all || member.complete)
    }

    fn join(&mut self, chunk: &Chunk, turn: &Turn<'_>) -> bool {
        self.observe_clocks(chunk, turn);
        self.store.join(chunk).changed()
    }

    fn observe_clocks(&mut self, chunk: &Chunk, turn: &Turn<'_>) {
        for entry in chunk.parts.iter().flat_map(|part| &part.entries) {
            if chunk.cells[entry.cell as usize].leaf == DataType::LwwRegister {
                self.clock.observe(Stamp::of_payload(&entry.payload), turn.now);
            }
        }
    }

    fn send_members(&mut self, to: &str, frames: &mut Vec<Outgoing>, turn: &Turn<'_>) {
        let own_complete = self.repair.is_complete();
        let told = |member: &Member| {
            let is_own = member.record.name == self.name;
            (member.record.clone(), if is_own { own_complete } else { member.complete })
        };
        let records: Vec<(Record, bool)> = self.members.current(turn.now).map(told).collect();
        // A record takes at most 191 bytes.
        for records in records.chunks((self.config.frame_bytes / 191) as usize) {
            frames.push(self.frame(Route::One(to.to_owned()), Body::Members(records.to_vec()), Some(60_000), turn));
        }
    }

    // --- requests ---

    fn answer(
        &mut self,
        call: Call,
        frames: &mut Vec<Outgoing>,
        turn: &mut Turn<'_>,
    ) -> Result<(Answer, Option<FrameId>), Refusal> {
        if call.after.is_some_and(|token| !self.has_all_of(&token, turn.now)) {
            return Err(Refusal::NotYet);
        }
        let answer = match call.kind {
            Kind::Write { operations, answer } => {
                return self.write(operations, answer, call.context, frames, turn);
            }
            Kind::Read { name, data_type } => {
                let mut value = String::new();
                if !types::read(&self.store, &name, data_type, &mut value) {
                    return Err(Refusal::NoSuchKey);
                }
                Answer::value(&name, data_type, Some(value))
            }
            Kind::Keys(page) => Answer::keys(&self.store, &page),
            Kind::Members(page) => {
                let views = self.members.current(turn.now).map(|member| MemberView {
                    name: &member.record.name,
                    state: match self.members.presence(member, turn.now) {
                        Presence::Awake => "awake",
                        Presence::Dormant => "dormant",
                        Presence::Gone => "gone",
                    },
                    host: &member.record.host,
                    region: &member.record.region,
                    zone: &member.record.zone,
                    awake_until: member.record.awake_until.0,
                    incarnation: member.record.incarnation,
                });
                Answer::members(views, &page)
            }
            Kind::Status => Answer::status(&self.status(turn)),
        };
        Ok((answer, None))
    }

    /// Whether what this token names is here, with all that its writers wrote before.
    fn has_all_of(&self, token: &Token, now: Timestamp) -> bool {
        // In the midst of a repair a dot may be here before the removals that came with it.
        if self.repair.is_partial() {
            return false;
        }
        // A gap may be filled as long as a frame of its writer can still come out of somebody's inbox or memory: a writer
        // is used for an hour, and what is older than the retention is no more.
        let span_ms = WRITER_MAX_MS + self.config.retention_ms + self.config.skew_ms;
        token.is_seen_by(&self.store)
            && token.uncovered_by(&self.store).all(|writer| writer.era().end().plus_ms(span_ms) < now)
    }

    fn write(
        &mut self,
        operations: Vec<(String, DataType, Operation)>,
        kind: WriteAnswer,
        mut context: Token,
        frames: &mut Vec<Outgoing>,
        turn: &mut Turn<'_>,
    ) -> Result<(Answer, Option<FrameId>), Refusal> {
        if self.outbox.is_busy() {
            return Err(Refusal::Busy);
        }
        let writer = self.own_writer(turn);
        // Refused before anything is applied.
        context.check_room(writer)?;
        let first = operations.first().map(|(name, data_type, _)| (name.clone(), *data_type));
        let count = operations.len();
        let after = self.apply(operations, kind == WriteAnswer::Batch, frames, turn)?;
        let (name, data_type) = first.expect("a parsed write has an operation");
        let mut answer = match kind {
            WriteAnswer::Value => {
                let mut value = String::new();
                let exists = types::read(&self.store, &name, data_type, &mut value);
                Answer::value(&name, data_type, exists.then_some(value))
            }
            WriteAnswer::Minimal => Answer::no_content(),
            WriteAnswer::Batch => Answer::applied(count),
        };
        if after.is_some() {
            let tail = self.store.seen(writer).map_or(0, |seen| seen.max());
            context.insert(writer, Seq(tail));
        }
        answer.headers.push(("dayfly-context".into(), context.to_text()));
        Ok((answer, after))
    }

    /// Applies operations, all or none. Gives the frame that will carry them; `None` if they changed nothing.
    fn apply(
        &mut self,
        operations: Vec<(String, DataType, Operation)>,
        is_batch: bool,
        frames: &mut Vec<Outgoing>,
        turn: &mut Turn<'_>,
    ) -> Result<Option<FrameId>, Refusal> {
        let writer = self.own_writer(turn);
        let stamp = self.clock.tick(turn.now);
        let limit = usize::try_from(self.config.store_bytes).unwrap_or(usize::MAX);
        let bound = self.frame_max_bytes();
        let fill = self.config.frame_bytes as usize;
        let (wire_bytes, dots) = loop {
            let mut write = Write::begin(&mut self.store, writer, limit);
            for (index, (name, data_type, operation)) in operations.iter().enumerate() {
                types::apply(&mut write, name, *data_type, operation, stamp)
                    .map_err(|refusal| if is_batch { Refusal::InBatch(index, Box::new(refusal)) } else { refusal })?;
                if write.wire_bytes() > bound {
                    return Err(Refusal::BatchTooLarge);
                }
            }
            let wire_bytes = write.wire_bytes();
            if !self.outbox.is_full_for(wire_bytes, fill) {
                break (wire_bytes, write.commit());
            }
            // The burst goes out as it was before this write: what the write replaces must not be missing in a frame that
            // confirms it, since the write's own frame may never come.
            drop(write);
            self.flush(frames, turn);
        };
        if dots.is_empty() {
            return Ok(None);
        }
        Ok(Some(self.outbox.add(Written { dots, operations, wire_bytes })))
    }

    /// The writer id for a write now: made at the first write, and anew when it is an era old.
    fn own_writer(&mut self, turn: &mut Turn<'_>) -> WriterId {
        match self.writer {
            Some(own) if turn.now.since_ms(own.made) < WRITER_MAX_MS => own.id,
            _ => {
                let id = WriterId::fresh(Era::at(turn.now), turn.chance);
                self.writer = Some(OwnWriter { id, made: turn.now });
                id
            }
        }
    }

    /// Does the writes of an earlier incarnation again that nobody has seen.
    fn redo(&mut self, frames: &mut Vec<Outgoing>, turn: &mut Turn<'_>) {
        for written in std::mem::take(&mut self.to_redo) {
            if self.store.has_seen_all(&written.dots) {
                // It went out after all.
                continue;
            }
            // A refusal now (a counter at its bound, a full store) has no client to go to any more: it is counted.
            match self.apply(written.operations, false, frames, turn) {
                Ok(_) => self.counts.redone += 1,
                Err(_) => self.counts.redo_refused += 1,
            }
        }
    }

    fn status(&self, turn: &Turn<'_>) -> StatusView<'_> {
        let counts = &self.counts;
        StatusView {
            name: &self.name,
            cluster: &self.config.cluster,
            root: self.store.root().to_string(),
            entries: self.store.entry_count() as u64,
            keys: self.store.key_count() as u64,
            writers: self.store.writer_count() as u64,
            members: self.members.len() as u64,
            complete: self.repair.is_complete(),
            incarnation: self.incarnation,
            host: &self.config.host,
            region: &self.config.region,
            zone: &self.config.zone,
            component: &self.config.component_hash,
            version: env!("CARGO_PKG_VERSION"),
            awake_until: self.awake_until.0,
            now: turn.now.0,
            store_bytes: self.store.bytes() as u64,
            unsettled: self.outbox.unsettled_writes() as u64,
            redone: counts.redone,
            redo_refused: counts.redo_refused,
            repair: RepairView {
                sessions: self.repair.session_count() as u64,
                pending_ranges: self.repair.pending_ranges() as u64,
                received_bytes: self.repair.received_bytes,
                asked: self.repair.asked,
                answered: counts.asks_answered,
            },
            dropped: DroppedView {
                broken: counts.broken,
                other_cluster: counts.other_cluster,
                other_version: counts.other_version,
                own: counts.own,
            },
            sent: TrafficView { frames: counts.sent_frames, bytes: counts.sent_bytes },
            received: TrafficView { frames: counts.received_frames, bytes: counts.received_bytes },
        }
    }
}

/// The answer to one whose root is ours: there is nothing to say.
fn serve_equal(ask: &crate::frame::Ask) -> crate::serve::Served {
    let answer = crate::frame::Answer {
        session: ask.session,
        covers: Range::ALL,
        last: true,
        undecoded: false,
        outline: Vec::new(),
        chunk: Chunk::default(),
    };
    crate::serve::Served { answers: vec![answer], knows_more: false }
}
