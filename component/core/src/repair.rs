//! The asking side of repair and bootstrap, which are one protocol (DESIGN section 5).
//!
//! A session asks for something about a range of dots and remembers what of it is still *pending*. Each piece of an answer
//! says which range it deals with, and that is taken off. So a lost piece is just a range that stays pending, and a session
//! that was cut off anywhere goes on from there: later, with another peer, in another awake period.
//!
//! Three kinds of session follow each other as needed. *Fetch*: everything, for a newcomer; cut up and asked of several
//! peers at once when the first answer brings an outline. *Sketch*: what a small sketch tells. *Describe*: exact, when the
//! difference was too large for the sketch; one session for each part of the state.

mod session;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use crate::digest::Digest;
use crate::dot::Dot;
use crate::effect::Route;
use crate::frame::{Answer, Ask};
use crate::holdback::Holdback;
use crate::intervals::DotSet;
use crate::store::{Range, Ranges, Store};
use crate::suspicion::Suspicion;
use crate::time::{Timestamp, Turn};

use session::{Kind, Session};

/// Sessions under way at once; further ranges wait.
pub const SESSIONS_MAX: usize = 8;
/// The weight of what one description speaks of, as [`Store::cut`] counts: at most three bytes each, so it fits a frame.
const DESCRIBED_WEIGHT: usize = 12_000;
/// How long a session waits for a piece, at first and at most.
const PATIENCE_MS: u64 = 1_000;
const PATIENCE_MAX_MS: u64 = 8_000;
/// How long after a freeze a session waits for what its inbox brings before it asks again.
const DRAIN_MS: u64 = 250;
/// A session that nobody answered so many times in a row is given up; a difference that remains starts a new one.
const TRIES_MAX: u32 = 5;
/// How many times in a row a newcomer waits in vain for those who said that they have the database.
const WAITS_MAX: u32 = 10;
/// A peer that was asked for its news so many times in vain is not asked again before it is heard.
const NEWS_TRIES_MAX: u32 = 3;
/// How soon a peer that gave a sign of life is asked again what it has not answered.
const RENEW_MS: u64 = 500;

/// Names of awake members.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Peers {
    /// Those that said, when last heard, that they have the whole database.
    pub complete: Vec<String>,
    /// The others.
    pub others: Vec<String>,
    /// Those of all that may know something that is not here.
    pub with_news: Vec<String>,
    /// Whether what is for everyone goes through the combiner.
    pub are_combining: bool,
}

impl Peers {
    /// Some peer, those with the whole database before others; nobody if none is known.
    fn pick(&self, turn: &mut Turn<'_>) -> Option<String> {
        let names = if self.complete.is_empty() { &self.others } else { &self.complete };
        let index = (turn.chance)().checked_rem(names.len() as u64)?;
        names.get(index as usize).cloned()
    }

    fn contains(&self, name: &String) -> bool {
        self.complete.contains(name) || self.others.contains(name)
    }
}

/// Bounds from the configuration.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// What one request may bring, in bytes.
    pub repair_bytes: u32,
    /// Bytes of a frame.
    pub frame_bytes: u32,
    /// How long a newcomer waits for anybody, in milliseconds.
    pub bootstrap_ms: u64,
    /// Whether there is a log that may have the database when nobody has.
    pub has_log: bool,
}

/// The repair of one incarnation.
#[derive(Clone, Debug)]
pub struct Repair {
    bounds: Bounds,
    /// Whether this replica has the whole database, as far as it can know.
    complete: bool,
    /// Whether nobody could hand over the database, so that the log is to be read.
    wants_replay: bool,
    sessions: Vec<Session>,
    /// Ranges that wait for a session, and who is to be asked; `None`: any peer.
    backlog: VecDeque<(Kind, Range, Option<String>)>,
    held: Holdback,
    suspicion: Suspicion,
    /// Peers that did not answer.
    silent: Vec<String>,
    /// Whether the combiner is to tell its root: a difference was to be looked into, and nobody is known who might have what is
    /// missing, or too many are.
    wants_telling: bool,
    /// Whether that was the last that was done about a difference.
    has_told: bool,
    /// When a newcomer stops waiting for somebody to hand it the database.
    give_up_at: Option<Timestamp>,
    /// Whether a replica that has the whole database has answered this newcomer.
    was_served: bool,
    /// When the last piece of an answer came.
    heard_at: Option<Timestamp>,
    /// How many times a newcomer has waited since it was last told anything by one that has the whole database.
    waits: u32,
    /// Whether pieces of an answer are here of which others are not, be it that they are under way or were given up.
    is_partial: bool,
    /// Whether a session was given up after a piece had come, or removals were left out, since the last one that began with
    /// nothing under way.
    was_given_up: bool,
    /// The most entries that somebody who answered has.
    pub expected_entries: u64,
    /// Bytes of answers received.
    pub received_bytes: u64,
    /// Requests sent.
    pub asked: u64,
}

impl Repair {
    /// For a founder, which has the whole database: an empty one, or what the log tells.
    pub fn founder(bounds: Bounds) -> Self {
        Self {
            bounds,
            complete: !bounds.has_log,
            wants_replay: bounds.has_log,
            sessions: Vec::new(),
            backlog: VecDeque::new(),
            held: Holdback::default(),
            suspicion: Suspicion::default(),
            silent: Vec::new(),
            wants_telling: false,
            has_told: false,
            give_up_at: None,
            was_served: false,
            heard_at: None,
            waits: 0,
            is_partial: false,
            was_given_up: false,
            expected_entries: 0,
            received_bytes: 0,
            asked: 0,
        }
    }

    /// For a newcomer.
    pub fn newcomer(bounds: Bounds) -> Self {
        Self { complete: false, wants_replay: false, ..Self::founder(bounds) }
    }

    /// Whether this replica has the whole database, as far as it can know.
    pub fn is_complete(&self) -> bool {
        self.complete
    }

    /// Whether nobody could hand over the database, so that the log is to be read.
    pub fn wants_replay(&self) -> bool {
        self.wants_replay
    }

    /// The log has been read to its end: what it told is the database.
    pub fn end_replay(&mut self) {
        if std::mem::take(&mut self.wants_replay) {
            self.finish_bootstrap();
        }
    }

    /// Whether nothing is under way.
    pub fn is_idle(&self) -> bool {
        self.sessions.is_empty() && self.backlog.is_empty()
    }

    /// Whether the state may hold a write of which a part (a removal that came with it) is still missing.
    pub fn is_partial(&self) -> bool {
        self.is_partial
    }

    /// How many sessions are under way.
    pub fn session_count(&self) -> usize {
        self.sessions.len()
    }

    /// How many ranges are still to be dealt with.
    pub fn pending_ranges(&self) -> usize {
        self.sessions.iter().map(|session| session.pending.len()).sum::<usize>() + self.backlog.len()
    }

    /// When [`Self::tick`] has something to do.
    pub fn due(&self) -> Option<Timestamp> {
        let has_room = self.sessions.len() < SESSIONS_MAX && !self.backlog.is_empty();
        let renew = self.sessions.iter().map(|session| session.renew_at).chain(has_room.then_some(Timestamp(0))).min();
        let check = self.suspicion.due().filter(|_| self.is_idle());
        let give_up = self.give_up_at.filter(|_| !self.complete && !self.wants_replay);
        [renew, check, give_up].into_iter().flatten().min()
    }

    /// A newcomer that wakes asks for the database; an unfinished session goes on at once.
    pub fn wake(&mut self, turn: &mut Turn<'_>, store: &Store) {
        if self.complete || self.wants_replay || !self.is_idle() {
            // What was asked before the freeze may have been answered, and wait in the inbox. What was not is asked again.
            self.sessions.iter_mut().for_each(|session| session.renew_at = turn.now.plus_ms(DRAIN_MS));
            return;
        }
        self.give_up_at = Some(turn.now.plus_ms(self.bounds.bootstrap_ms));
        self.held.forget();
        let kind = if store.is_empty() { Kind::Fetch } else { Kind::Sketch };
        self.open(kind, Ranges::all(), None, turn);
        self.sessions.iter_mut().for_each(|session| session.members = true);
    }

    /// Nothing was heard for a while, and nothing could be: answers may wait in the inbox. They are taken in before anything
    /// is asked again.
    pub fn stood_still(&mut self, now: Timestamp) {
        let drained_at = now.plus_ms(DRAIN_MS);
        self.sessions.iter_mut().for_each(|session| session.renew_at = session.renew_at.max(drained_at));
        if self.give_up_at.is_some_and(|at| at.plus_ms(self.bounds.bootstrap_ms) < now) {
            // It was not even called when its wait was over: it did not wait meanwhile.
            self.give_up_at = Some(now.plus_ms(self.bounds.bootstrap_ms));
            self.waits = 0;
        }
    }

    /// Whether a difference was noticed that may have to be looked into.
    pub fn is_suspicious(&self) -> bool {
        self.suspicion.due().is_some()
    }

    /// A peer's root differs from ours although all its frames should be here soon.
    pub fn suspect(&mut self, peer: &str, turn: &mut Turn<'_>) {
        self.suspicion.suspect(peer, turn);
    }

    /// The same, but the peer's next frame, which may come so much later, may bring what differs.
    pub fn suspect_after(&mut self, peer: &str, next_ms: u32, turn: &mut Turn<'_>) {
        self.suspicion.suspect_after(peer, next_ms, turn);
    }

    /// All that a peer had when it last told its root is here.
    pub fn dismiss(&mut self, peer: &str) {
        self.suspicion.agree(peer);
    }

    /// A peer's root equals ours; `complete`: and it has the whole database. So whatever was asked for is here.
    pub fn agree(&mut self, peer: &str, complete: bool) {
        self.suspicion.agree(peer);
        if complete && !self.complete {
            // Nobody has told the members yet to one whose first question is still open.
            self.sessions.retain(|session| session.members && !session.is_begun);
            self.backlog.clear();
            self.is_partial = false;
            self.finish_bootstrap();
        }
        if self.is_idle() {
            self.is_partial = false;
            self.was_given_up = false;
        }
    }

    /// A member's inbox is gone: ask somebody else, now. Its news are gone with it, and others may have others.
    pub fn lose_peer(&mut self, name: &str, now: Timestamp) {
        let complete = self.complete;
        let (was_given_up, silent) = (&mut self.was_given_up, &mut self.silent);
        self.sessions.retain_mut(|session| {
            if session.peer.as_deref() != Some(name) {
                return true;
            }
            session.renew_at = now;
            let is_in_vain = complete && session.kind == Kind::Sketch;
            if is_in_vain {
                *was_given_up |= session.is_begun;
                silent.extend(session.peer.take());
            }
            session.peer = None;
            !is_in_vain
        });
    }

    /// A peer gave a sign of life: a question to it that nobody has answered is asked again soon, and not given up.
    pub fn hear(&mut self, peer: &str, now: Timestamp) {
        for session in self.sessions.iter_mut().filter(|session| session.tries > 1) {
            if session.peer.as_deref() == Some(peer) {
                session.tries = 1;
                session.patience_ms = PATIENCE_MS;
                session.renew_at = session.renew_at.min(now.plus_ms(RENEW_MS));
            }
        }
    }

    /// The peers that did not answer since this was last asked.
    pub fn take_silent(&mut self) -> Vec<String> {
        std::mem::take(&mut self.silent)
    }

    /// Whether, since this was last asked, a difference was to be looked into that shows best when the combiner tells its root.
    pub fn take_wants_telling(&mut self) -> bool {
        std::mem::take(&mut self.wants_telling)
    }

    fn open(&mut self, kind: Kind, pending: Ranges, peer: Option<String>, turn: &mut Turn<'_>) {
        self.sessions.push(Session {
            id: (turn.chance)(),
            kind,
            peer,
            pending,
            renew_at: turn.now,
            patience_ms: PATIENCE_MS,
            tries: 0,
            useful: false,
            is_begun: false,
            members: false,
            source: None,
        });
    }

    /// Does what is due. Gives the requests to send.
    pub fn tick(&mut self, turn: &mut Turn<'_>, store: &Store, peers: &Peers) -> Vec<(Route, Ask)> {
        let now = turn.now;
        self.give_up_waiting(now, peers);
        if self.is_idle() && self.suspicion.take_due(now) {
            let nth = (turn.chance)().checked_rem(peers.with_news.len() as u64);
            // One by one they would take long, and most have no news but what is on its way: whoever has others when the
            // combiner tells its root asks, and is asked the next time.
            self.has_told = peers.are_combining && peers.with_news.len() > 1 && !self.has_told;
            if self.has_told {
                self.wants_telling = true;
            } else if let Some(peer) = nth.map(|nth| peers.with_news[nth as usize].clone()) {
                // It compares everything, so it makes good what was given up.
                self.was_given_up = false;
                self.held.forget();
                if store.is_empty() {
                    self.open(Kind::Fetch, Ranges::all(), Some(peer), turn);
                } else if session::has_too_many_gaps(store) {
                    // A sketch does not show what lies in gaps that the request does not name.
                    self.describe(&peer, store);
                } else {
                    self.open(Kind::Sketch, Ranges::all(), Some(peer), turn);
                }
            } else {
                self.wants_telling = peers.are_combining;
            }
        }
        while self.sessions.len() < SESSIONS_MAX
            && let Some((kind, range, peer)) = self.backlog.pop_front()
        {
            let peer = peer.or_else(|| peers.pick(turn));
            self.open(kind, Ranges::from_iter([range]), peer, turn);
        }
        let mut asks = Vec::new();
        let complete = self.complete;
        let (was_given_up, silent) = (&mut self.was_given_up, &mut self.silent);
        self.sessions.retain(|session| {
            // Who is asked for news is not replaced by another, who may not have them.
            let tries_max = if session.kind == Kind::Sketch { NEWS_TRIES_MAX } else { TRIES_MAX };
            let given_up = session.renew_at <= now && session.tries >= tries_max && complete;
            if given_up {
                *was_given_up |= session.is_begun;
                silent.extend(session.peer.clone().filter(|_| session.kind == Kind::Sketch));
            }
            !given_up
        });
        let bounds = self.bounds;
        for session in self.sessions.iter_mut().filter(|session| session.renew_at <= now) {
            if session.tries > 0 || session.peer.as_ref().is_some_and(|peer| !peers.contains(peer)) {
                if !(complete && session.kind == Kind::Sketch && session.peer.is_some()) {
                    session.peer = peers.pick(turn);
                }
                session.patience_ms = (session.patience_ms * 2).min(PATIENCE_MAX_MS);
            }
            session.tries += 1;
            // A newcomer whose first question falls on deaf ears must be able to ask again before it gives up waiting.
            let patience_ms = match self.give_up_at {
                Some(_) if !complete => session.patience_ms.min((bounds.bootstrap_ms / 3).max(50)),
                _ => session.patience_ms,
            };
            session.renew_at = now.plus_ms(patience_ms);
            let want = session.want(store);
            let ask = Ask {
                session: session.id,
                budget_bytes: bounds.repair_bytes,
                until_ms: now.plus_ms(2 * patience_ms).0,
                want,
            };
            let route = session.peer.clone().map_or(Route::Anyone, Route::One);
            asks.push((route, ask));
        }
        self.asked += asks.len() as u64;
        asks
    }

    /// Ends a newcomer's wait when nobody who has the database seems to exist, or nobody answers however often it asks.
    fn give_up_waiting(&mut self, now: Timestamp, peers: &Peers) {
        if self.complete || self.wants_replay || self.give_up_at.is_none_or(|at| at > now) {
            return;
        }
        let is_heard = self.heard_at.is_some_and(|at| now.since_ms(at) < self.bounds.bootstrap_ms);
        self.waits += 1;
        if is_heard || (!peers.complete.is_empty() && self.waits < WAITS_MAX) {
            self.give_up_at = Some(now.plus_ms(self.bounds.bootstrap_ms));
            return;
        }
        self.sessions.clear();
        self.backlog.clear();
        if self.bounds.has_log {
            // Also one that was served a part: whoever has the rest may be dead.
            self.wants_replay = true;
        } else {
            self.finish_bootstrap();
        }
    }

    fn finish_bootstrap(&mut self) {
        self.complete = true;
        self.wants_replay = false;
        self.give_up_at = None;
    }

    /// Takes note of the removals in a piece of an answer, which have not been done. Gives those to be done now: those that
    /// [`Holdback`] releases, when this piece ends what is under way.
    pub fn hold_back(
        &mut self,
        answer: &Answer,
        from: &str,
        incarnation: u64,
        root: Digest,
        removals: &DotSet,
    ) -> DotSet {
        let Some(session) = self.sessions.iter().find(|session| session.id == answer.session) else {
            // It came late. What it would remove shows at the next comparison.
            self.leave_out(!removals.is_empty());
            return DotSet::default();
        };
        self.held.add(from, incarnation, root, removals);
        let mut pending = session.pending.clone();
        pending.remove(answer.covers);
        let is_end = self.sessions.len() == 1 && self.backlog.is_empty() && pending.is_empty() && !answer.undecoded;
        if !is_end || self.was_given_up {
            return DotSet::default();
        }
        let is_short = self.held.is_short();
        // Whoever fetches everything compares right after. A description of a large state, though, may never be answered
        // from one state alone where there are always writes, and what is gone has to be told some time.
        let released = if session.kind == Kind::Fetch { self.held.release_if_whole() } else { self.held.release() };
        self.leave_out(is_short);
        released
    }

    /// Entries are here, perhaps, of whose writes the removals are not: till a comparison has made that good.
    fn leave_out(&mut self, is_short: bool) {
        self.was_given_up |= is_short;
        self.is_partial |= is_short;
    }

    /// Takes note of a piece of an answer whose chunk has been joined: from whom it came, whether the sender has the
    /// whole database, whether it changed anything, and whether the roots are equal now.
    ///
    /// Gives the peer, with its root, of whose state all is here now, if a session ended that tells.
    pub fn answered(
        &mut self,
        answer: &Answer,
        reply: Reply<'_>,
        turn: &mut Turn<'_>,
        store: &Store,
    ) -> Option<(String, Digest)> {
        let mut included = None;
        self.received_bytes += reply.bytes as u64;
        self.expected_entries = self.expected_entries.max(answer.entries);
        self.heard_at = Some(turn.now);
        if reply.complete {
            self.waits = 0;
        }
        let Some(at) = self.sessions.iter().position(|session| session.id == answer.session) else {
            // A piece that came late: joined all the same.
            return None;
        };
        self.was_served |= reply.complete;
        if reply.equal {
            // Whatever else was asked for is here as well.
            self.sessions.clear();
            self.backlog.clear();
            self.is_partial = false;
            self.agree(reply.from, reply.complete);
            return Some((reply.from.to_owned(), reply.root));
        }
        // While pieces come, those of other sessions may wait behind them on a thin line: asking again would lengthen the queue.
        let patient_until = turn.now.plus_ms(PATIENCE_MS);
        for waiting in self.sessions.iter_mut().filter(|session| session.renew_at > turn.now) {
            waiting.renew_at = waiting.renew_at.max(patient_until);
        }
        let session = &mut self.sessions[at];
        session.useful |= reply.changed;
        let source = (reply.from.to_owned(), reply.root);
        session.source = Some(source).filter(|source| !session.is_begun || session.source.as_ref() == Some(source));
        session.is_begun = true;
        self.is_partial = true;
        session.tries = 0;
        session.patience_ms = PATIENCE_MS;
        session.renew_at = turn.now.plus_ms(PATIENCE_MS);
        // Pieces that follow need not be asked of anyone again.
        session.peer = Some(reply.from.to_owned());
        if !answer.undecoded {
            session.pending.remove(answer.covers);
        }
        if answer.last && !session.pending.is_empty() {
            session.renew_at = turn.now;
        }
        if session.pending.is_empty() {
            let session = self.sessions.swap_remove(at);
            included = session.source.filter(|_| session.kind == Kind::Sketch && !session::has_too_many_gaps(store));
            self.suspicion.looked(session.useful);
            if session.kind == Kind::Fetch && self.is_idle() && self.was_given_up {
                // The entries are here, but several states told what is gone: one is asked for that, before others are served
                // from a state that has gaps.
                self.was_given_up = false;
                self.describe(reply.from, store);
            }
        } else if answer.undecoded && answer.last {
            self.sessions.swap_remove(at);
            // What the pieces so far said is gone is told again, by the state of then.
            self.describe(reply.from, store);
        } else if session.kind == Kind::Fetch && !answer.outline.is_empty() {
            self.split(at, &answer.outline);
        }
        if self.is_idle() && !self.was_given_up {
            self.is_partial = false;
        }
        if !self.complete && self.is_idle() {
            if self.was_served {
                self.finish_bootstrap();
            } else {
                // Served only by others that are new: what they had is here, but it may not be all.
                self.suspect(reply.from, turn);
            }
        }
        included
    }

    /// Asks one peer, by describing what is here, for all that it knows besides. All of one, so that the pieces go together.
    fn describe(&mut self, peer: &str, store: &Store) {
        self.held.forget();
        let parts = store.cut(Range::ALL, DESCRIBED_WEIGHT).into_iter();
        self.backlog.extend(parts.map(|range| (Kind::Describe, range, Some(peer.to_owned()))));
    }

    /// Cuts what a session still has to fetch, so that several peers are asked at once. The first part stays with it.
    fn split(&mut self, at: usize, outline: &[Dot]) {
        let session = &mut self.sessions[at];
        let mut parts = Vec::new();
        for range in session.pending.iter() {
            let mut low = range.low;
            for cut in outline.iter().filter(|cut| range.low < **cut && **cut < range.high) {
                parts.push(Range { low, high: *cut });
                low = *cut;
            }
            parts.push(Range { low, high: range.high });
        }
        // Newest first.
        parts.sort_unstable_by(|a, b| b.cmp(a));
        let own = parts.remove(0);
        session.pending = Ranges::from_iter([own]);
        self.backlog.extend(parts.into_iter().map(|part| (Kind::Fetch, part, None)));
    }
}

/// What is known of an answer besides its text.
#[derive(Clone, Copy, Debug)]
pub struct Reply<'a> {
    /// Who sent it.
    pub from: &'a str,
    /// Whether the sender has the whole database.
    pub complete: bool,
    /// The sender's root.
    pub root: Digest,
    /// Whether joining it changed the state.
    pub changed: bool,
    /// Whether the roots are equal now.
    pub equal: bool,
    /// The frame's length.
    pub bytes: usize,
}
