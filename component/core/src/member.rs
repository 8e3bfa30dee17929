//! Membership: a replicated map from names to the greatest lease that was heard of. DESIGN section 6.
//!
//! A freeze is announced, not suspected: who is awake says until when. Nothing here asks anybody whether it is alive.

mod directory;

use std::rc::Rc;

use crate::codec::{CodecError, Reader, Writer};
use crate::config::is_name;
use crate::digest::Digest;
use crate::time::Timestamp;
use directory::Directory;

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

/// A member as this replica knows it, without its name. Large clusters have many, so it is small: 32 bytes in the component.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Which of its lives.
    pub incarnation: u64,
    /// Until when it is awake.
    pub awake_until: Timestamp,
    /// Where it is.
    pub place: Rc<Place>,
    /// It has said farewell in this life.
    pub left: bool,
    /// Whether it said, when last heard, that it has the whole database.
    pub complete: bool,
    /// Whether it did not answer, and nothing was heard of it since.
    pub is_silent: bool,
    /// Whether its root was last told by what it sent as combiner.
    pub is_combiner: bool,
    /// What is known of its state. Where a combiner speaks for all, hardly anybody tells.
    roots: Option<Box<Roots>>,
}

/// Where a member is. Many share one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Kind of host.
    pub host: String,
    /// Region.
    pub region: String,
    /// Zone.
    pub zone: String,
}

/// What is known of a member's state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Roots {
    /// The root that it last told.
    told: Option<Digest>,
    /// The root that it had when all of its state was last known to be here as well.
    included: Option<Digest>,
}

impl Member {
    /// The root that it last told.
    pub fn root(&self) -> Option<Digest> {
        self.roots().told
    }

    /// The root that it had when all of its state was last known to be here as well.
    pub fn included(&self) -> Option<Digest> {
        self.roots().included
    }

    /// What it says of itself.
    pub fn record(&self, name: &str) -> Record {
        Record {
            name: name.to_owned(),
            incarnation: self.incarnation,
            left: self.left,
            awake_until: self.awake_until,
            host: self.place.host.clone(),
            region: self.place.region.clone(),
            zone: self.place.zone.clone(),
        }
    }

    /// The order of the join, as [`Record::order`].
    fn order(&self) -> (u64, bool, Timestamp) {
        (self.incarnation, self.left, self.awake_until)
    }

    fn roots(&self) -> Roots {
        self.roots.as_deref().copied().unwrap_or_default()
    }

    fn set_roots(&mut self, roots: Roots) {
        self.roots = (roots != Roots::default()).then(|| Box::new(roots));
    }
}

/// The table of members, oneself included.
#[derive(Clone, Debug)]
pub struct Members {
    table: Directory,
    /// Places of members, to be shared: at most [`PLACES_MAX`].
    places: Vec<Rc<Place>>,
    retention_ms: u64,
    skew_ms: u64,
    /// When to look for records to drop.
    expire_at: Timestamp,
    /// Names that found no place.
    pub refused: u64,
}

/// So many places are shared among members; those of members beyond are their own.
const PLACES_MAX: usize = 64;
/// How long a record whose retention is over may still take room. Nothing shows it meanwhile.
const EXPIRE_EVERY_MS: u64 = 10_000;

impl Members {
    /// An empty table.
    pub fn new(retention_ms: u64, skew_ms: u64) -> Self {
        Self {
            table: Directory::default(),
            places: Vec::new(),
            retention_ms,
            skew_ms,
            expire_at: Timestamp(0),
            refused: 0,
        }
    }

    /// Joins a record; whether that changed anything. Old gossip of one that is gone does not, because a record carries its
    /// own expiry.
    pub fn observe(&mut self, mut record: Record, now: Timestamp) -> bool {
        record.awake_until = record.awake_until.min(now.plus_ms(LEASE_MAX_MS + self.skew_ms));
        if self.is_expired(record.awake_until, now) {
            return false;
        }
        match self.table.get(&record.name) {
            Some(known) if record.order() <= known.order() => return false,
            Some(_) => {}
            None if self.table.len() < MEMBERS_MAX => {}
            None => {
                self.refused += 1;
                return false;
            }
        }
        let Record { name, incarnation, left, awake_until, host, region, zone } = record;
        let place = self.place(Place { host, region, zone });
        let news = Member {
            incarnation,
            awake_until,
            place,
            left,
            complete: false,
            is_silent: false,
            is_combiner: false,
            roots: None,
        };
        match self.table.get_mut(&name) {
            Some(known) => {
                let Member { complete, is_silent, is_combiner, .. } = *known;
                *known = Member { complete, is_silent, is_combiner, roots: known.roots.take(), ..news };
            }
            None => self.table.insert(&name, news),
        }
        true
    }

    /// A place, shared with those that are there as well.
    fn place(&mut self, place: Place) -> Rc<Place> {
        if let Some(known) = self.places.iter().find(|known| ***known == place) {
            return known.clone();
        }
        let place = Rc::new(place);
        if self.places.len() < PLACES_MAX {
            self.places.push(place.clone());
        }
        place
    }

    /// Joins a record that another member told, with what that one knew of its state; whether it was news.
    pub fn observe_told(&mut self, record: Record, complete: bool, now: Timestamp) -> bool {
        let name = record.name.clone();
        let is_news = self.observe(record, now);
        // What it told itself counts more.
        if let Some(member) = self.table.get_mut(&name).filter(|member| member.root().is_none()) {
            member.complete = complete;
        }
        is_news
    }

    /// Takes note of a frame of a member: whether it has the whole database, and its root, if that is worth comparing.
    pub fn heard(&mut self, name: &str, complete: bool, root: Option<Digest>) {
        if let Some(member) = self.table.get_mut(name) {
            member.complete = complete;
            if root.is_some() {
                member.set_roots(Roots { told: root, ..member.roots() });
            }
            member.is_combiner &= root.is_none();
            member.is_silent = false;
        }
    }

    /// All that a member had when it told this root is here.
    pub fn include(&mut self, name: &str, root: Digest) {
        if let Some(member) = self.table.get_mut(name) {
            // Where a combiner speaks for all, this may be the only way to hear that an earlier root has been passed.
            member.set_roots(Roots { told: Some(root), included: Some(root) });
        }
    }

    /// A combiner told its root: it hears nobody's, so it is to be asked while that differs, though all that it had may be
    /// here. Only a question tells it what it lacks.
    pub fn heard_combiner(&mut self, name: &str) {
        if let Some(member) = self.table.get_mut(name) {
            member.set_roots(Roots { included: None, ..member.roots() });
            member.is_combiner = true;
        }
    }

    /// Of the members whose last root is such a one all that they had is here. Not of combiners.
    pub fn include_where(&mut self, is_here: impl Fn(Digest) -> bool, mut with: impl FnMut(&str)) {
        self.table.for_each_mut(|name, member| {
            let Roots { told, included } = member.roots();
            if !member.is_combiner && told.is_some_and(|root| included != told && is_here(root)) {
                member.set_roots(Roots { told, included: told });
                with(name);
            }
        });
    }

    /// What roots were told counts no longer: those that matter will be told again.
    pub fn forget_roots(&mut self) {
        self.table.for_each_mut(|_, member| member.set_roots(Roots { told: None, ..member.roots() }));
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
    ) -> impl Iterator<Item = (&'a str, &'a Member)> + 'a {
        self.awake_peers(own, now).filter(move |(_, member)| {
            let Roots { told, included } = member.roots();
            let is_told = told.is_some_and(|root| root != own_root && included != told);
            is_told && !member.is_silent
        })
    }

    /// Forgets a member whose inbox is gone. A farewell is kept, or old gossip could bring its member back.
    pub fn forget(&mut self, name: &str) {
        if self.table.get(name).is_some_and(|member| !member.left) {
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
        self.table.retain(|member| !expired(member.awake_until, now, retention_ms, skew_ms));
        self.places.retain(|place| Rc::strong_count(place) > 1);
    }

    fn is_expired(&self, awake_until: Timestamp, now: Timestamp) -> bool {
        expired(awake_until, now, self.retention_ms, self.skew_ms)
    }

    /// Whether a member is awake.
    pub fn presence(&self, member: &Member, now: Timestamp) -> Presence {
        if member.left {
            Presence::Gone
        } else if now <= member.awake_until.plus_ms(self.skew_ms) {
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
    pub fn current(&self, now: Timestamp) -> impl Iterator<Item = (&str, &Member)> + '_ {
        self.table.iter().filter(move |(_, member)| !self.is_expired(member.awake_until, now))
    }

    /// How many members the table holds.
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether the table is empty.
    pub fn is_empty(&self) -> bool {
        self.table.len() == 0
    }

    /// Those that are awake, without `own`.
    pub fn awake_peers<'a>(&'a self, own: &'a str, now: Timestamp) -> impl Iterator<Item = (&'a str, &'a Member)> + 'a {
        let awake = move |(_, member): &(&str, &Member)| self.presence(member, now) == Presence::Awake;
        self.current(now).filter(awake).filter(move |(name, _)| *name != own)
    }
}

fn expired(awake_until: Timestamp, now: Timestamp, retention_ms: u64, skew_ms: u64) -> bool {
    awake_until.plus_ms(retention_ms + skew_ms) < now
}
