//! An overlay: replicas that speak to given neighbours alone, once an interval, in place of everyone.
//!
//! Writes go along the links of a spanning tree ([`tree`]): what is new to a replica, its own or received, is gathered for each
//! of them but the one that it came from. So nobody is told anything twice. Over the other links a replica only says now and
//! then where it is in the tree and what its root is, and these take over when one of the tree breaks: epidemic broadcast
//! trees (Leitão, Pereira, Rodrigues, SRDS 2007), but with a tree that is agreed on and not found by what came twice.
//!
//! While there are writes, no two replicas have the same root. That something was lost shows therefore by the numbers of a
//! link's frames; roots are compared once they stand still. Who lacks something asks that neighbour by the usual repair.

mod link;
mod tree;

use std::collections::BTreeMap;
use std::fmt;

use crate::brief::Head;
use crate::chunk::{CHUNK_BYTES, Chunk, ChunkPart, INTERVAL_BYTES, PART_BYTES, entry_wire_bytes};
use crate::config::is_name;
use crate::digest::Digest;
use crate::dot::WriterId;
use crate::frame::{self, Claim};
use crate::intervals::{DotSet, Intervals};
use crate::member::Record;
use crate::store::Store;
use crate::time::Timestamp;

use link::Link;
use tree::Tree;

/// The most neighbours of a replica.
pub const NEIGHBOURS_MAX: usize = 64;
/// The least and the greatest interval, in milliseconds.
pub const INTERVAL_MIN_MS: u32 = 10;
/// See [`INTERVAL_MIN_MS`].
pub const INTERVAL_MAX_MS: u32 = 60_000;

// In intervals:
/// After so long without a word a replica says where it is. As a root it beats as often.
const SAY_AFTER: u64 = 8;
/// So long after its last writes it tells its root once more.
const CLOSE_AFTER: u64 = 2;
/// A neighbour that was not heard for so long is not reckoned with.
const SILENT_AFTER: u64 = 20;
/// A difference of roots that both stand still for so long is looked into.
const CALM_AFTER: u64 = 16;
/// A parent whose root never was one of this replica's for so long is asked once, whatever is written meanwhile.
const AGREE_WITHIN: u64 = 128;
/// So long what was told of a root is remembered.
const REMEMBER: u64 = 64;
/// Of an interval, how long a change of the tree waits for others before it is told.
const HURRY: u64 = 8;

/// The most records of members in one frame.
pub const RECORDS_MAX: usize = 16;

/// Why neighbours were refused; those of before are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OverlayError(String);

impl fmt::Display for OverlayError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for OverlayError {}

impl OverlayError {
    /// For a replica that has a log.
    pub fn of_log() -> Self {
        Self("neighbours cannot be given to a replica with a log, since what they are told does not get there; log-bytes must be 0".into())
    }
}

/// What is to be said to a neighbour.
pub struct Parcel {
    /// To whom.
    pub to: String,
    /// The writes that are new, joined among themselves and with nothing else.
    pub writes: Store,
    /// The members of whom there is news.
    pub records: Vec<(Record, bool)>,
}

/// The overlay of one replica.
pub struct Overlay {
    interval_ms: u64,
    /// When within an interval it sends, so that not all do at once.
    phase_ms: u64,
    links: BTreeMap<String, Link>,
    tree: Tree,
    /// When to send what was gathered; none: there is nothing.
    sync_at: Option<Timestamp>,
    /// Whether an own write waits for that.
    expects: bool,
    /// No link's number was ever greater, those included that are no more.
    numbers: u64,
    /// The writers that are known, by their heads; none for a head that several share.
    heads: BTreeMap<Head, Option<WriterId>>,
}

/// Refuses neighbours and an interval that are out of bounds; without neighbours, any interval will do.
pub fn check(own: &str, neighbours: &[String], interval_ms: u32) -> Result<(), OverlayError> {
    let refuse = |reason: String| Err(OverlayError(reason));
    if neighbours.len() > NEIGHBOURS_MAX {
        return refuse(format!("neighbours must be at most {NEIGHBOURS_MAX}, not {}", neighbours.len()));
    }
    if let Some(name) = neighbours.iter().find(|name| !is_name(name)) {
        return refuse(format!(
            "neighbours must be names of 1 to 64 characters of a-z, 0-9, '-', '_', '.', not {name:?}"
        ));
    }
    if neighbours.iter().any(|name| name == own) {
        return refuse(format!("neighbours must not have the replica itself, {own:?}, among them"));
    }
    if let Some((at, name)) = neighbours.iter().enumerate().find(|(at, name)| neighbours[..*at].contains(name)) {
        return refuse(format!("neighbours must each be named once; {name:?} stands again at place {at}"));
    }
    if !neighbours.is_empty() && !(INTERVAL_MIN_MS..=INTERVAL_MAX_MS).contains(&interval_ms) {
        return refuse(format!("interval-ms must be {INTERVAL_MIN_MS} to {INTERVAL_MAX_MS}, not {interval_ms}"));
    }
    Ok(())
}

impl Overlay {
    /// With these neighbours, of which nothing was heard. `numbers`: of an overlay that this incarnation was in before,
    /// [`Self::numbers`], so that no frame looks like a late one; else 0.
    pub fn new(own: &str, neighbours: &[String], interval_ms: u32, numbers: u64, chance: u64, now: Timestamp) -> Self {
        let interval_ms = u64::from(interval_ms);
        let mut overlay = Self {
            interval_ms,
            phase_ms: chance % interval_ms,
            links: BTreeMap::new(),
            tree: Tree::new(own.to_owned(), now),
            sync_at: None,
            expects: false,
            numbers,
            heads: BTreeMap::new(),
        };
        overlay.set(neighbours, interval_ms as u32, now);
        overlay
    }

    /// Takes other neighbours. Links to those that stay go on.
    pub fn set(&mut self, neighbours: &[String], interval_ms: u32, now: Timestamp) {
        self.interval_ms = interval_ms.into();
        self.phase_ms %= self.interval_ms;
        self.numbers = self.numbers();
        self.links.retain(|name, _| neighbours.contains(name));
        for name in neighbours {
            self.links.entry(name.clone()).or_insert_with(|| Link::new(self.numbers, now));
        }
    }

    /// The greatest number that any link has or had.
    pub fn numbers(&self) -> u64 {
        self.links.values().map(Link::number).max().unwrap_or(0).max(self.numbers)
    }

    /// Begins a new incarnation: nothing is known of anybody.
    pub fn start_anew(&mut self, own: &str, now: Timestamp) {
        let neighbours: Vec<String> = self.links.keys().cloned().collect();
        self.set(&[], self.interval_ms as u32, now);
        self.tree = Tree::new(own.to_owned(), now);
        self.sync_at = None;
        self.expects = false;
        self.heads.clear();
        self.set(&neighbours, self.interval_ms as u32, now);
    }

    /// If it was to be called long ago, the replica stood still, and nothing could be heard meanwhile.
    pub fn look_at_clock(&mut self, now: Timestamp) {
        let late_ms = self.due().map_or(0, |due| now.since_ms(due));
        if late_ms > 2 * self.interval_ms {
            self.links.values_mut().for_each(|link| link.stood_still(late_ms, now));
        }
    }

    /// Whether somebody is a neighbour.
    pub fn has(&self, name: &str) -> bool {
        self.links.contains_key(name)
    }

    /// The neighbours along whose links writes go now.
    pub fn branches(&self) -> impl Iterator<Item = &str> + '_ {
        self.links.iter().filter(|(_, link)| link.is_branch).map(|(name, _)| name.as_str())
    }

    /// The root of the tree that this replica is in.
    pub fn root(&self) -> String {
        self.tree.claim_for("").root
    }

    /// All is to be told to all neighbours, now.
    pub fn say_to_all(&mut self, now: Timestamp) {
        self.links.values_mut().for_each(|link| link.say_at = now);
    }

    /// Takes note of a frame of a neighbour but for its writes. Gives whether something that it sent may be missing.
    pub fn hear(&mut self, sender: &Record, complete: bool, root: Digest, frame: &frame::Link, now: Timestamp) -> bool {
        let hurry_at = now.plus_ms(self.interval_ms / HURRY);
        let claim = self.tree.claim_for(&sender.name);
        let Some(link) = self.links.get_mut(&sender.name) else { return false };
        let (is_new_life, is_gap) = link.hear(sender.incarnation, complete, root, frame, now);
        let is_elsewhere = frame.claim.as_ref().is_some_and(|theirs| theirs.root != claim.root);
        if is_new_life || (is_elsewhere && link.told.as_ref() != Some(&claim)) {
            link.say_at = link.say_at.min(hurry_at);
        }
        is_gap
    }

    /// A neighbour's inbox is gone, and so is the neighbour until it is heard again.
    pub fn lose(&mut self, name: &str) {
        if let Some(link) = self.links.get_mut(name) {
            link.forget();
        }
    }

    /// What a neighbour last told of itself: whether it has the whole database, and its root.
    pub fn told_by(&self, name: &str) -> Option<(bool, Digest)> {
        let link = self.links.get(name)?;
        Some((link.complete, link.root?))
    }

    /// Chooses the place in the tree anew, among the neighbours that are heard and that `is_there` does not exclude. Gives
    /// those along whose links writes go from now on and did not before.
    pub fn tend(&mut self, now: Timestamp, is_there: impl Fn(&str) -> bool) -> Vec<String> {
        let silent_ms = SILENT_AFTER * self.interval_ms;
        for (name, link) in &mut self.links {
            link.mind_clock(now, SAY_AFTER * self.interval_ms);
            if link.is_silent(now, silent_ms) || !is_there(name) {
                link.claim = None;
            }
        }
        let claims = self.links.iter().filter_map(|(name, link)| Some((name.as_str(), link.claim.as_ref()?)));
        self.tree.choose(claims, SAY_AFTER * self.interval_ms, REMEMBER * self.interval_ms, now);
        let hurry_at = now.plus_ms(self.interval_ms / HURRY);
        let mut grafted = Vec::new();
        for (name, link) in &mut self.links {
            let claim = self.tree.claim_for(name);
            let is_branch = link.claim.as_ref().is_some_and(|theirs| theirs.is_child || claim.is_child);
            if is_branch && !link.is_branch {
                grafted.push(name.clone());
            }
            link.set_branch(is_branch);
            if link.told.as_ref().is_none_or(|told| is_elsewhere(told, &claim)) {
                link.say_at = link.say_at.min(hurry_at);
            }
        }
        if !self.expects && self.links.values().all(Link::has_nothing) {
            self.sync_at = None;
        }
        self.sync_at = self.sync_at.map(|at| at.min(now.plus_ms(self.interval_ms)));
        grafted
    }

    /// The neighbours that may have what is not here: both roots stand still and differ, or have differed for very long.
    pub fn differing(&mut self, own: Digest, is_past: impl Fn(Digest) -> bool, now: Timestamp) -> Vec<String> {
        let (calm_ms, most_ms) = (CALM_AFTER * self.interval_ms, AGREE_WITHIN * self.interval_ms);
        let parent = self.tree.parent().map(str::to_owned);
        let mut differing = Vec::new();
        for (name, link) in self.links.iter_mut().filter(|(_, link)| link.claim.is_some()) {
            let most_ms = if parent.as_ref() == Some(name) { most_ms } else { u64::MAX };
            if link.differs(own, &is_past, (calm_ms, most_ms), now) {
                differing.push(name.clone());
            }
        }
        differing
    }

    /// Whether all neighbours had nothing, when they were last heard, that is not here.
    pub fn agrees(&self) -> bool {
        self.links.values().all(|link| link.claim.is_none() || link.differs_since.is_none())
    }

    /// When [`Self::tend`], [`Self::differing`] or [`Self::take`] has something to do.
    pub fn due(&self) -> Option<Timestamp> {
        let (silent_ms, calm_ms) = (SILENT_AFTER * self.interval_ms, CALM_AFTER * self.interval_ms);
        let links = self.links.values().map(|link| link.due(silent_ms, calm_ms));
        links.chain(self.sync_at).min()
    }

    // --- what is gathered ---

    /// Whether nothing waits to be sent.
    pub fn is_idle(&self) -> bool {
        self.sync_at.is_none()
    }

    /// Whether, with so much more, some neighbour would have to be told more than fits a frame.
    pub fn is_full_for(&self, weight: usize, fill_bytes: usize) -> bool {
        self.links.values().any(|link| link.weight > 0 && link.weight + weight > fill_bytes)
    }

    /// Gathers writes for all that writes go to but the one that they came from.
    pub fn gather(&mut self, chunk: &Chunk, from: Option<&str>, now: Timestamp) {
        if chunk.is_empty() {
            return;
        }
        let weight = weight(chunk);
        let others = self.links.iter_mut().filter(|(name, link)| link.is_branch && Some(name.as_str()) != from);
        for (_, link) in others {
            link.gathered.join(chunk);
            link.weight += weight;
            self.sync_at = self.sync_at.or(Some(next_turn(now, self.interval_ms, self.phase_ms)));
        }
    }

    /// An own write waits to be sent.
    pub fn expect(&mut self, now: Timestamp) {
        self.expects = true;
        self.sync_at = self.sync_at.or(Some(next_turn(now, self.interval_ms, self.phase_ms)));
    }

    /// Something came that was not gathered: by repair, whose pieces are not to be parted. A number that no frame has lets all
    /// that writes go to compare, soon, and ask for it likewise.
    pub fn skip(&mut self, now: Timestamp) {
        let hurry_at = now.plus_ms(self.interval_ms / HURRY);
        for link in self.links.values_mut() {
            if link.is_branch {
                link.skip();
            }
            link.say_at = link.say_at.min(hurry_at);
        }
    }

    /// Gathers news of a member.
    pub fn tell(&mut self, record: &Record, complete: bool, from: Option<&str>, now: Timestamp) {
        let others = self
            .links
            .iter_mut()
            .filter(|(name, link)| link.is_branch && Some(name.as_str()) != from && **name != record.name);
        for (_, link) in others {
            link.records.insert(record.name.clone(), (record.clone(), complete));
            self.sync_at = self.sync_at.or(Some(next_turn(now, self.interval_ms, self.phase_ms)));
        }
    }

    /// A neighbour along whose link writes go from now on is to hear of these members.
    pub fn introduce(&mut self, to: &str, members: impl Iterator<Item = (Record, bool)>, now: Timestamp) {
        let Some(link) = self.links.get_mut(to) else { return };
        link.records.extend(members.map(|(record, complete)| (record.name.clone(), (record, complete))));
        self.sync_at = self.sync_at.or(Some(next_turn(now, self.interval_ms, self.phase_ms)));
    }

    /// When to send what was gathered.
    pub fn turn_at(&self) -> Option<Timestamp> {
        self.sync_at
    }

    /// Takes what was gathered for each.
    pub fn take(&mut self) -> Vec<Parcel> {
        self.sync_at = None;
        self.expects = false;
        let full = self.links.iter_mut().filter(|(_, link)| !link.has_nothing());
        full.map(|(name, link)| link.take(name)).collect()
    }

    /// The neighbours that are to hear where this replica is, and that it lives.
    pub fn to_greet(&self, now: Timestamp) -> Vec<String> {
        self.links.iter().filter(|(_, link)| link.say_at <= now).map(|(name, _)| name.clone()).collect()
    }

    /// The number of the next frame to a neighbour, and what it is to tell of the tree. `has_writes`: as a frame with writes.
    pub fn number(&mut self, to: &str, has_writes: bool, now: Timestamp) -> (u64, Option<Claim>) {
        let claim = self.tree.claim_for(to);
        let after_ms = self.interval_ms * if has_writes { CLOSE_AFTER } else { SAY_AFTER };
        let Some(link) = self.links.get_mut(to) else { return (0, Some(claim)) };
        link.say_at = now.plus_ms(after_ms);
        (link.next_number(has_writes), link.tell_claim(claim, has_writes))
    }

    // --- writers ---

    /// The neighbour knows these writers, since it told of them, or is being told.
    pub fn knows(&mut self, name: &str, writers: impl Iterator<Item = WriterId>) {
        if let Some(link) = self.links.get_mut(name) {
            link.knows.extend(writers);
        }
    }

    /// Whether the head of a writer's id will do for a neighbour.
    pub fn is_head_enough(&mut self, name: &str, writer: WriterId, store: &Store) -> bool {
        self.links.get(name).is_some_and(|link| link.knows.contains(&writer))
            && self.find(Head::of(writer), store) == Some(writer)
    }

    /// The one known writer with this head.
    pub fn find(&mut self, head: Head, store: &Store) -> Option<WriterId> {
        if !self.heads.contains_key(&head) {
            // Looked up only when somebody names one that is not there: writers come one by one, and seldom.
            self.heads.clear();
            for (writer, _) in store.context() {
                let known = self.heads.entry(Head::of(writer)).or_insert(Some(writer));
                *known = known.filter(|known| *known == writer);
            }
        }
        self.heads.get(&head).copied().flatten()
    }
}

/// The end of the interval that a time is in.
fn next_turn(now: Timestamp, interval_ms: u64, phase_ms: u64) -> Timestamp {
    let past_ms = (now.0 + interval_ms - phase_ms) % interval_ms;
    now.plus_ms(interval_ms - past_ms)
}

/// Whether two claims are of other places in the tree; a later beat alone is none.
fn is_elsewhere(one: &Claim, other: &Claim) -> bool {
    (&one.root, one.distance, one.is_child) != (&other.root, other.distance, other.is_child)
}

/// What of a chunk is to be passed on by a replica whose state is about to join it: what is new to that. If it tells that
/// something is gone, all of it, since what took the place of that may be known here, from a repair, and not elsewhere. It is
/// passed on as it was told: the state may know that something in it is gone too, whose reason nobody has been told.
pub fn news(store: &Store, chunk: &Chunk) -> Chunk {
    let (mut news, mut known) = (DotSet::default(), DotSet::default());
    for part in &chunk.parts {
        let unseen = store.seen(part.writer).map_or_else(|| part.context.clone(), |seen| part.context.subtract(&seen));
        known.extend_writer(part.writer, &part.context.subtract(&unseen));
        news.extend_writer(part.writer, &unseen);
    }
    if known.is_empty() {
        return chunk.clone();
    }
    let is_live = |part: &ChunkPart, seq: u64| part.entries.binary_search_by(|entry| entry.seq.cmp(&seq)).is_ok();
    let tells_of_removals = chunk.parts.iter().any(|part| {
        let unseen = news.of(part.writer).into_iter().flat_map(Intervals::iter);
        unseen.flat_map(|(low, high)| low..=high).any(|seq| !is_live(part, seq))
    });
    let removes = |part: &ChunkPart| {
        let told = chunk.parts.binary_search_by(|other| other.writer.cmp(&part.writer)).map(|at| &chunk.parts[at]);
        part.entries.iter().any(|entry| told.is_ok_and(|told| !is_live(told, entry.seq)))
    };
    if tells_of_removals || store.extract(&known).parts.iter().any(removes) {
        return chunk.clone();
    }
    let mut told = Store::new();
    told.join(chunk);
    told.extract(&news)
}

/// An upper bound of what a chunk takes in a frame, however its writers are named.
pub fn weight(chunk: &Chunk) -> usize {
    let mut used = vec![false; chunk.cells.len()];
    let mut weight = CHUNK_BYTES;
    for part in &chunk.parts {
        weight += PART_BYTES + part.context.interval_count() * INTERVAL_BYTES;
        for entry in &part.entries {
            let is_first = !std::mem::replace(&mut used[entry.cell as usize], true);
            let cell = is_first.then(|| &chunk.cells[entry.cell as usize]);
            weight += entry_wire_bytes(cell, entry.payload.len());
        }
    }
    weight
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cell::{Cell, DataType};
    use crate::store::Write;

    fn put(store: &mut Store, writer: u128, element: &[u8]) -> Chunk {
        let mut write = Write::begin(store, WriterId(writer), usize::MAX);
        write.replace(&Cell::of_key("k", DataType::OrSet), element).expect("there is room");
        let dots = write.commit();
        store.extract(&dots)
    }

    fn join(mut of: Store, with: &Chunk) -> Store {
        of.join(with);
        of
    }

    #[test]
    fn only_what_is_new_is_passed_on() {
        let mut source = Store::new();
        let (first, second) = (put(&mut source, 1, b"a"), put(&mut source, 2, b"b"));
        let both = source.extract(&source.describe(crate::store::Range::ALL).seen);
        let knows_one = join(Store::new(), &first);
        assert_eq!(news(&knows_one, &both), second);
        assert_eq!(news(&Store::new(), &both), both);
        assert!(news(&join(knows_one, &second), &both).is_empty());
    }

    #[test]
    fn a_removal_is_passed_on_with_what_took_the_place_though_that_is_known() {
        let mut source = Store::new();
        let before = put(&mut source, 1, b"a");
        let after = put(&mut source, 2, b"a");
        assert_eq!((after.parts.len(), after.entry_count()), (2, 1), "it speaks of the entry that it replaces");
        // A repair has brought what took the place, and holds the removal back.
        let mut state = join(Store::new(), &before);
        let mut removals = DotSet::default();
        state.join_piece(&after, &mut removals);
        assert!(!removals.is_empty());
        assert_eq!(news(&state, &after), after);
    }

    #[test]
    fn the_end_of_an_interval_is_within_it() {
        for now in [0, 1, 99, 100, 12_345_678] {
            for phase_ms in [0, 1, 42, 99] {
                let next = next_turn(Timestamp(now), 100, phase_ms);
                assert!(
                    (1..=100).contains(&next.since_ms(Timestamp(now))) && next.0 % 100 == phase_ms,
                    "{now} {next:?}"
                );
            }
        }
    }
}
