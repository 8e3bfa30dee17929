//! Membership: a replicated map from names to the greatest lease that was heard of. DESIGN section 6.
//!
//! A freeze is announced, not suspected: who is awake says until when. Nothing here asks anybody whether it is alive.

use std::collections::BTreeMap;

use crate::codec::{CodecError, Reader, Writer};
use crate::config::is_name;
use crate::digest::Digest;
use crate::time::Timestamp;

/// The most members that a replica keeps. Names beyond are not taken in, and counted.
pub const MEMBERS_MAX: usize = 65_536;
/// A lease ends at most this far ahead, so that a wrong clock makes nobody immortal.
pub const LEASE_MAX_MS: u64 = 3_600_000;

/// What a replica says of itself: what members gossip.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its name.
    pub name: String,
    /// Which of its lives.
    pub incarnation: u64,
    /// It has said farewell in this life.
    pub left: bool,
    /// Until when it is awake.
    pub awake_until: Timestamp,
    /// Kind of host.
    pub host: String,
    /// Region.
    pub region: String,
    /// Zone.
    pub zone: String,
}

impl Record {
    /// The order of the join: a later life, then farewell over life, then the longer lease.
    fn order(&self) -> (u64, bool, Timestamp) {
        (self.incarnation, self.left, self.awake_until)
    }

    /// Appends the record.
    pub fn write(&self, out: &mut Writer) {
        out.text(&self.name);
        out.number(self.incarnation);
        out.flag(self.left);
        out.number(self.awake_until.0);
        out.text(&self.host);
        out.text(&self.region);
        out.text(&self.zone);
    }

    /// Reads a record; texts are within the bounds of the configuration.
    pub fn read(reader: &mut Reader<'_>) -> Result<Self, CodecError> {
        let name = reader.text()?;
        if !is_name(name) {
            return Err(CodecError::Broken("a member's name"));
        }
        let incarnation = reader.number()?;
        let left = reader.flag()?;
        let awake_until = Timestamp(reader.number()?);
        let mut text = || match reader.text() {
            Ok(text) if text.len() <= 32 => Ok(text.to_owned()),
            Ok(_) => Err(CodecError::Broken("a member's host, region or zone")),
            Err(error) => Err(error),
        };
        let (host, region, zone) = (text()?, text()?, text()?);
        Ok(Self { name: name.to_owned(), incarnation, left, awake_until, host, region, zone })
    }
}

/// Whether a member is awake, as anyone can tell from its record and the time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// Its lease lasts.
    Awake,
    /// Its lease is over, but not longer than the retention.
    Dormant,
    /// It has said farewell. A member whose retention is over is not in the table at all.
    Gone,
}

/// A member as this replica knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// What it says of itself.
    pub record: Record,
    /// Whether it said, when last heard, that it has the whole database.
    pub complete: bool,
    /// The root that it last told.
    pub root: Option<Digest>,
    /// The root that it had when all of its state was last known to be here as well.
    pub included: Option<Digest>,
    /// Whether it did not answer, and nothing was heard of it since.
    pub is_silent: bool,
    /// Whether its root was last told by what it sent as combiner.
    pub is_combiner: bool,
}

/// The table of members, oneself included.
#[derive(Clone, Debug)]
pub struct Members {
    table: BTreeMap<String, Member>,
    retention_ms: u64,
    skew_ms: u64,
    /// When to look for records to drop.
    expire_at: Timestamp,
    /// Names that found no place.
    pub refused: u64,
}

/// How long a record whose retention is over may still take room. Nothing shows it meanwhile.
const EXPIRE_EVERY_MS: u64 = 10_000;

impl Members {
    /// An empty table.
    pub fn new(retention_ms: u64, skew_ms: u64) -> Self {
        Self { table: BTreeMap::new(), retention_ms, skew_ms, expire_at: Timestamp(0), refused: 0 }
    }

    /// Joins a record; whether that changed anything. Old gossip of one that is gone does not, because a record carries its
    /// own expiry.
    pub fn observe(&mut self, mut record: Record, now: Timestamp) -> bool {
        record.awake_until = record.awake_until.min(now.plus_ms(LEASE_MAX_MS + self.skew_ms));
        if self.is_expired(&record, now) {
            return false;
        }
        if let Some(known) = self.table.get_mut(&record.name) {
            let is_news = record.order() > known.record.order();
            if is_news {
                known.record = record;
            }
            is_news
        } else if self.table.len() < MEMBERS_MAX {
            let name = record.name.clone();
            self.table.insert(
                name,
                Member { record, complete: false, root: None, included: None, is_silent: false, is_combiner: false },
            );
            true
        } else {
            self.refused += 1;
            false
        }
    }

    /// Joins a record that another member told, with what that one knew of its state; whether it was news.
    pub fn observe_told(&mut self, record: Record, complete: bool, now: Timestamp) -> bool {
        let name = record.name.clone();
        let is_news = self.observe(record, now);
        // What it told itself counts more.
        if let Some(member) = self.table.get_mut(&name).filter(|member| member.root.is_none()) {
            member.complete = complete;
        }
        is_news
    }

    /// Takes note of a frame of a member: whether it has the whole database, and its root, if that is worth comparing.
    pub fn heard(&mut self, name: &str, complete: bool, root: Option<Digest>) {
        if let Some(member) = self.table.get_mut(name) {
            member.complete = complete;
            member.root = root.or(member.root);
            member.is_combiner &= root.is_none();
            member.is_silent = false;
        }
    }

    /// All that a member had when it told this root is here.
    pub fn include(&mut self, name: &str, root: Digest) {
        if let Some(member) = self.table.get_mut(name) {
            // Where a combiner speaks for all, this may be the only way to hear that an earlier root has been passed.
            member.root = Some(root);
            member.included = Some(root);
        }
    }

    /// A combiner told its root: it hears nobody's, so it is to be asked while that differs, though all that it had may be
    /// here. Only a question tells it what it lacks.
    pub fn heard_combiner(&mut self, name: &str) {
        if let Some(member) = self.table.get_mut(name) {
            member.included = None;
            member.is_combiner = true;
        }
    }

    /// Of the members whose last root is such a one all that they had is here. Not of combiners.
    pub fn include_where(&mut self, is_here: impl Fn(Digest) -> bool, mut with: impl FnMut(&str)) {
        for (name, member) in self.table.iter_mut().filter(|(_, member)| !member.is_combiner) {
            if let Some(root) = member.root.filter(|root| member.included != Some(*root) && is_here(*root)) {
                member.included = Some(root);
                with(name);
            }
        }
    }

    /// What roots were told counts no longer: those that matter will be told again.
    pub fn forget_roots(&mut self) {
        self.table.values_mut().for_each(|member| member.root = None);
    }

    /// A member does not answer: what it may know cannot be had until it is heard again.
    pub fn silence(&mut self, name: &str) {
        if let Some(member) = self.table.get_mut(name) {
            member.is_silent = true;
        }
    }

    /// Awake members, without `own`, that may know something which a state with this root does not.
    pub fn with_news<'a>(
        &'a self,
        own: &'a str,
        own_root: Digest,
        now: Timestamp,
    ) -> impl Iterator<Item = &'a Member> + 'a {
        self.awake_peers(own, now).filter(move |member| {
            let is_told = member.root.is_some_and(|root| root != own_root && member.included != Some(root));
            is_told && !member.is_silent
        })
    }

    /// Forgets a member whose inbox is gone. A farewell is kept, or old gossip could bring its member back.
    pub fn forget(&mut self, name: &str) {
        if self.table.get(name).is_some_and(|member| !member.record.left) {
            self.table.remove(name);
        }
    }

    /// Drops those whose retention is over, now and then.
    pub fn expire(&mut self, now: Timestamp) {
        if now < self.expire_at && self.expire_at <= now.plus_ms(EXPIRE_EVERY_MS) {
            return;
        }
        self.expire_at = now.plus_ms(EXPIRE_EVERY_MS);
        let (retention_ms, skew_ms) = (self.retention_ms, self.skew_ms);
        self.table.retain(|_, member| !expired(&member.record, now, retention_ms, skew_ms));
    }

    fn is_expired(&self, record: &Record, now: Timestamp) -> bool {
        expired(record, now, self.retention_ms, self.skew_ms)
    }

    /// Whether a member is awake.
    pub fn presence(&self, member: &Member, now: Timestamp) -> Presence {
        if member.record.left {
            Presence::Gone
        } else if now <= member.record.awake_until.plus_ms(self.skew_ms) {
            Presence::Awake
        } else {
            Presence::Dormant
        }
    }

    /// The member of this name.
    pub fn get(&self, name: &str) -> Option<&Member> {
        self.table.get(name)
    }

    /// The members whose retention is not over, by name.
    pub fn current(&self, now: Timestamp) -> impl Iterator<Item = &Member> + '_ {
        self.table.values().filter(move |member| !self.is_expired(&member.record, now))
    }

    /// How many members the table holds.
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether the table is empty.
    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// Those that are awake, without `own`.
    pub fn awake_peers<'a>(&'a self, own: &'a str, now: Timestamp) -> impl Iterator<Item = &'a Member> + 'a {
        let awake = move |member: &&Member| self.presence(member, now) == Presence::Awake;
        self.current(now).filter(awake).filter(move |member| member.record.name != own)
    }
}

fn expired(record: &Record, now: Timestamp, retention_ms: u64, skew_ms: u64) -> bool {
    record.awake_until.plus_ms(retention_ms + skew_ms) < now
}
