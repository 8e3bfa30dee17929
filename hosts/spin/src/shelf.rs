//! Where the replicas of Spin keep their state: a key-value store that several instances use at once and that cannot
//! compare and set. So no value is ever overwritten, and each may be read whenever it is found, since what stands there
//! joins:
//!
//! | key | value |
//! |---|---|
//! | `dayfly/CLUSTER/write/STAMP` | a frame of writes, stored before the writes are answered |
//! | `dayfly/CLUSTER/state/STAMP` | a bundle of checkpoint parts, which replaces earlier values |
//!
//! A value is deleted only by an instance that has it in its state and has stored bundles since that tell all that it
//! told. Of every writer that a deleted value speaks of, all that the instance knows is in those bundles: how a writer's
//! dots are cut into parts is each instance's own affair, so a part alone does not replace another's part of the same
//! name.
//!
//! Small bundles are merged into larger ones as in a log-structured merge tree: few values to read at a start, and a
//! write is stored again a logarithmic number of times.

mod bundle;

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;

pub use bundle::Part;

/// The most bytes of a bundle, unless one part alone is longer: what common stores take as a value.
pub const BUNDLE_BYTES_MAX: usize = 1 << 20;
/// How many frames of writes may stand by themselves before they are bundled.
pub const WRITES_MAX: usize = 32;
/// By how many bytes what is stored may exceed twice the state before all of it is written anew.
const WASTE_BYTES_MAX: usize = 1 << 20;

/// The operations of a key-value store. The text of an error is for people.
pub trait Values {
    /// The value of a key, if there is one.
    fn get(&self, key: &str) -> impl Future<Output = Result<Option<Vec<u8>>, String>>;
    /// Sets the value of a key.
    fn set(&self, key: &str, value: Vec<u8>) -> impl Future<Output = Result<(), String>>;
    /// Deletes a key, if it is there.
    fn delete(&self, key: &str) -> impl Future<Output = Result<(), String>>;
    /// All keys, in any order.
    fn keys(&self) -> impl Future<Output = Result<Vec<String>, String>>;
}

/// What a component's `checkpoint.save` gives.
pub struct Saved {
    /// To be given as `since` next time.
    pub version: u64,
    /// The parts that changed.
    pub parts: Vec<Part>,
}

/// The stored state of a cluster, as one instance knows it.
pub struct Shelf<V> {
    values: V,
    prefix: String,
    /// Makes the keys of this instance differ from all others.
    instance: String,
    next: Cell<u64>,
    /// The values whose content is in this instance's state.
    known: RefCell<BTreeMap<String, Value>>,
    /// What the component called its state when it was last stored.
    version: Cell<u64>,
}

struct Value {
    bytes: usize,
    /// Of a bundle: which writers it tells of, as they stand in the names of parts.
    writers: Option<BTreeSet<String>>,
}

/// What was stored.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Loaded {
    /// Chunks for `checkpoint.load`.
    pub parts: Vec<Vec<u8>>,
    /// Frames for `checkpoint.replay`, to be handed in after the parts.
    pub writes: Vec<Vec<u8>>,
    /// Keys of values that are not what they should be. They are left alone.
    pub broken: Vec<String>,
}

impl<V: Values> Shelf<V> {
    /// The state of `cluster`. `instance` is a text without `/` that no other instance ever has.
    pub fn new(values: V, cluster: &str, instance: &str) -> Self {
        Self {
            values,
            prefix: format!("dayfly/{cluster}/"),
            instance: instance.to_owned(),
            next: Cell::new(0),
            known: RefCell::default(),
            version: Cell::new(0),
        }
    }

    /// Reads all that is stored, also while other instances store and bundle.
    ///
    /// # Errors
    /// The store fails. What was read before is lost; load again.
    pub async fn load(&self) -> Result<Loaded, String> {
        self.known.borrow_mut().clear();
        let mut loaded = Loaded::default();
        loop {
            let mut gone = false;
            for key in self.values.keys().await? {
                let Some(name) = key.strip_prefix(&self.prefix) else { continue };
                if self.known.borrow().contains_key(&key) || loaded.broken.contains(&key) {
                    continue;
                }
                let is_write = name.starts_with("write/");
                if !is_write && !name.starts_with("state/") {
                    continue;
                }
                // One that was listed and is not there has been bundled; what replaced it was stored before it went.
                let Some(value) = self.values.get(&key).await? else {
                    gone = true;
                    continue;
                };
                let bytes = value.len();
                if is_write {
                    loaded.writes.push(value);
                    self.known.borrow_mut().insert(key, Value { bytes, writers: None });
                } else if let Some(parts) = bundle::decode(&value) {
                    let writers = parts.iter().map(|part| part.writer().to_owned()).collect();
                    loaded.parts.extend(parts.into_iter().map(|part| part.chunk));
                    self.known.borrow_mut().insert(key, Value { bytes, writers: Some(writers) });
                } else {
                    loaded.broken.push(key);
                }
            }
            if !gone {
                return Ok(loaded);
            }
        }
    }

    /// The parts have been handed in, and the component gives its state this version: what changes from now on, by frames
    /// that are replayed, too, is not in a bundle.
    pub fn note_version(&self, version: u64) {
        self.version.set(version);
    }

    /// Stores a frame of writes.
    ///
    /// # Errors
    /// The store fails; it may have been stored.
    pub async fn store_write(&self, frame: &[u8]) -> Result<(), String> {
        let key = self.fresh_key("write");
        self.values.set(&key, frame.to_vec()).await?;
        self.known.borrow_mut().insert(key, Value { bytes: frame.len(), writers: None });
        Ok(())
    }

    /// Whether so many frames of writes stand by themselves that they should be bundled.
    pub fn has_many_writes(&self) -> bool {
        self.known.borrow().values().filter(|value| value.writers.is_none()).count() >= WRITES_MAX
    }

    /// Stores what has changed since it was last called, and bundles what is small. `save` is the component's
    /// `checkpoint.save`. Returns how many bytes were stored.
    ///
    /// # Errors
    /// The store fails. Nothing is lost: what was not stored is stored the next time.
    pub async fn bundle(&self, mut save: impl FnMut(u64) -> Saved) -> Result<usize, String> {
        let changed = save(self.version.get());
        let has_writes = self.known.borrow().values().any(|value| value.writers.is_none());
        if changed.parts.is_empty() && !has_writes {
            self.version.set(changed.version);
            return Ok(0);
        }
        // Both calls see the same state: nothing is awaited between them.
        let Saved { version, parts } = save(0);
        let live = parts.iter().map(Part::stored_bytes).sum();
        let merged = self.merged(live, changed.parts.iter().map(Part::stored_bytes).sum());
        let mut writers: BTreeSet<String> = changed.parts.iter().map(|part| part.writer().to_owned()).collect();
        writers.extend(merged.iter().filter_map(|key| self.known.borrow()[key].writers.clone()).flatten());
        let mut stored = 0;
        for bundle in bundle::encode(parts.into_iter().filter(|part| writers.contains(part.writer()))) {
            let key = self.fresh_key("state");
            let (bytes, writers) = (bundle.bytes.len(), Some(bundle.writers));
            self.values.set(&key, bundle.bytes).await?;
            self.known.borrow_mut().insert(key, Value { bytes, writers });
            stored += bytes;
        }
        self.version.set(version);
        for key in merged {
            self.values.delete(&key).await?;
            self.known.borrow_mut().remove(&key);
        }
        Ok(stored)
    }

    /// The values to replace, with so many bytes of state in all, of which so many have changed: all frames of writes, and
    /// the bundles that are small beside what is written anyway. All, if too much of what is stored is out of date.
    fn merged(&self, live: usize, changed: usize) -> BTreeSet<String> {
        let known = self.known.borrow();
        let stored: usize = known.values().map(|value| value.bytes).sum();
        if stored > 2 * live + WASTE_BYTES_MAX {
            return known.keys().cloned().collect();
        }
        let mut merged = BTreeSet::new();
        let mut written = changed;
        let mut bundles = Vec::new();
        for (key, value) in known.iter() {
            match value.writers {
                None => drop(merged.insert(key.clone())),
                Some(_) => bundles.push((value.bytes, key)),
            }
        }
        bundles.sort_unstable();
        for (bytes, key) in bundles {
            if bytes > 2 * written || bytes > BUNDLE_BYTES_MAX / 2 {
                break;
            }
            merged.insert(key.clone());
            written += bytes;
        }
        merged
    }

    fn fresh_key(&self, kind: &str) -> String {
        let number = self.next.replace(self.next.get() + 1);
        format!("{}{kind}/{}-{number:x}", self.prefix, self.instance)
    }
}
