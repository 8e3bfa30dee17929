//! The application's key-value store: one folder with a file a key, or memory.
//!
//! A value is written beside its place and renamed into it. So a value is there whole or not at all, and one that was
//! set stays when the platform is killed (not when the machine loses power, which nobody tests here).

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use anyhow::{Context, Result};

/// What the name of a file may have: less than file systems permit, so that a suffix fits.
const NAME_BYTES_MAX: usize = 240;
/// What no key begins with: what is being written.
const UNFINISHED: &str = "~";

/// A store. Cheap to clone: clones are the same store.
#[derive(Clone, Debug)]
pub struct Shelf {
    place: Arc<Place>,
}

#[derive(Debug)]
enum Place {
    Memory(Mutex<BTreeMap<String, Vec<u8>>>),
    Folder { path: PathBuf, written: AtomicU64 },
}

/// How much a store holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Holding {
    /// The keys.
    pub keys: u64,
    /// The bytes of their values.
    pub bytes: u64,
}

impl Shelf {
    /// A store that is empty, and ends with the process.
    pub fn in_memory() -> Self {
        Self { place: Arc::new(Place::Memory(Mutex::default())) }
    }

    /// The store in this folder, which is made if it is not there. Only one process may have it.
    ///
    /// # Errors
    /// As the file system says.
    pub fn in_folder(path: &Path) -> Result<Self> {
        let told = || path.display().to_string();
        fs::create_dir_all(path).with_context(told)?;
        for entry in fs::read_dir(path).with_context(told)? {
            let entry = entry.with_context(told)?;
            if entry.file_name().to_string_lossy().starts_with(UNFINISHED) {
                fs::remove_file(entry.path()).with_context(told)?;
            }
        }
        Ok(Self { place: Arc::new(Place::Folder { path: path.to_owned(), written: AtomicU64::new(0) }) })
    }

    /// The value of a key, if it has one.
    ///
    /// # Errors
    /// As the file system says. So with the others.
    pub fn get(&self, key: &str) -> io::Result<Option<Vec<u8>>> {
        match &*self.place {
            Place::Memory(values) => Ok(values.lock().unwrap().get(key).cloned()),
            Place::Folder { path, .. } => unless_missing(fs::read(path.join(file_name(key)?))),
        }
    }

    /// Stores a value in place of what the key had.
    ///
    /// # Errors
    /// What the key had is still there.
    pub fn set(&self, key: &str, value: Vec<u8>) -> io::Result<()> {
        match &*self.place {
            Place::Memory(values) => {
                values.lock().unwrap().insert(key.to_owned(), value);
                Ok(())
            }
            Place::Folder { path, written } => {
                let place = path.join(file_name(key)?);
                let beside = path.join(format!("{UNFINISHED}{}", written.fetch_add(1, Ordering::Relaxed)));
                fs::write(&beside, value)?;
                fs::rename(&beside, place)
            }
        }
    }

    /// Removes a key. That it is not there is no error.
    ///
    /// # Errors
    /// It is still there.
    pub fn delete(&self, key: &str) -> io::Result<()> {
        match &*self.place {
            Place::Memory(values) => {
                values.lock().unwrap().remove(key);
                Ok(())
            }
            Place::Folder { path, .. } => unless_missing(fs::remove_file(path.join(file_name(key)?))).map(drop),
        }
    }

    /// All keys, in their order.
    ///
    /// # Errors
    /// As the file system says.
    pub fn keys(&self) -> io::Result<Vec<String>> {
        match &*self.place {
            Place::Memory(values) => Ok(values.lock().unwrap().keys().cloned().collect()),
            Place::Folder { path, .. } => {
                let mut keys: Vec<_> = files(path)?.into_iter().map(|(key, _)| key).collect();
                keys.sort_unstable();
                Ok(keys)
            }
        }
    }

    /// How much is there.
    ///
    /// # Errors
    /// As the file system says.
    pub fn holding(&self) -> io::Result<Holding> {
        let sizes: Vec<u64> = match &*self.place {
            Place::Memory(values) => values.lock().unwrap().values().map(|value| value.len() as u64).collect(),
            Place::Folder { path, .. } => files(path)?.into_iter().map(|(_, bytes)| bytes).collect(),
        };
        Ok(Holding { keys: sizes.len() as u64, bytes: sizes.iter().sum() })
    }
}

/// The keys of a folder and the sizes of their values.
fn files(folder: &Path) -> io::Result<Vec<(String, u64)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        // What is removed meanwhile is not there any more.
        let Some(about) = unless_missing(entry.metadata())? else { continue };
        if let Some(key) = name.to_str().and_then(key_of) {
            found.push((key, about.len()));
        }
    }
    Ok(found)
}

fn unless_missing<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// The name of a key's file: letters, digits, `-` and `_` as they are, other bytes as `%` and two hex digits, so that
/// no two keys have one name, and `=` before all, so that the empty key has one as well.
fn file_name(key: &str) -> io::Result<String> {
    let mut name = String::from("=");
    for byte in key.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => name.push(char::from(byte)),
            other => name.push_str(&format!("%{other:02x}")),
        }
    }
    let reason = || format!("the key is too long for the name of a file: {key:?}");
    (name.len() <= NAME_BYTES_MAX).then_some(name).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, reason()))
}

/// The key whose file has this name.
fn key_of(name: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let mut rest = name.strip_prefix('=')?.as_bytes();
    while let [first, others @ ..] = rest {
        rest = others;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let (hex, others) = rest.split_at_checked(2)?;
        bytes.push(u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok()?);
        rest = others;
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder of this test alone, removed when it is dropped.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            Self(std::env::temp_dir().join(format!("dayfly-shelf-{name}-{}", std::process::id())))
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn check(shelf: &Shelf) {
        let keys = ["", ".", "..", "a/b", "%41", "A", "a", "~0", "\u{e9}", "writer-0123456789abcdef"];
        for (number, key) in keys.into_iter().enumerate() {
            assert_eq!(shelf.get(key).unwrap(), None, "{key:?}");
            shelf.set(key, vec![0; 7]).unwrap();
            shelf.set(key, vec![number as u8; number]).unwrap();
        }
        for (number, key) in keys.into_iter().enumerate() {
            assert_eq!(shelf.get(key).unwrap(), Some(vec![number as u8; number]), "{key:?}");
        }
        let mut sorted = keys.map(str::to_owned).to_vec();
        sorted.sort_unstable();
        assert_eq!(shelf.keys().unwrap(), sorted);
        assert_eq!(shelf.holding().unwrap(), Holding { keys: 10, bytes: 45 });
        shelf.delete("a/b").unwrap();
        shelf.delete("a/b").unwrap();
        assert_eq!(shelf.get("a/b").unwrap(), None);
        assert_eq!(shelf.holding().unwrap(), Holding { keys: 9, bytes: 42 });
    }

    #[test]
    fn in_memory_values_are_kept() {
        check(&Shelf::in_memory());
    }

    #[test]
    fn in_a_folder_values_outlive_the_platform() {
        let folder = Folder::new("kept");
        check(&Shelf::in_folder(&folder.0).unwrap());
        // What a kill left half-written is no key, and is removed.
        fs::write(folder.0.join("~17"), "half").unwrap();
        let again = Shelf::in_folder(&folder.0).unwrap();
        assert_eq!(again.get("A").unwrap(), Some(vec![5; 5]));
        assert_eq!(again.holding().unwrap(), Holding { keys: 9, bytes: 42 });
        assert!(!folder.0.join("~17").exists());
    }

    #[test]
    fn a_key_that_no_file_can_be_named_by_is_refused() {
        let folder = Folder::new("long");
        let shelf = Shelf::in_folder(&folder.0).unwrap();
        shelf.set(&"k".repeat(239), Vec::new()).unwrap();
        assert_eq!(shelf.set(&"k".repeat(240), Vec::new()).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }
}
