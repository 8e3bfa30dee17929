//! Stored state in a folder: a file for each part, named by its key.
//!
//! A file is `MAGIC`, the SHA-256 of the part, the part. It is written beside its place, flushed to the disk, and moved
//! into place, so that whatever happens at whatever moment, a part's file is the last that was stored in full or the one
//! before. There is no list of the files: parts join, so any mixture of them is a sound state.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use sha2::{Digest, Sha256};

use super::{Loaded, Vault, VaultError};
use crate::broker::BoxFuture;
use crate::contract::Part;

/// What a part's file begins with: the form's version.
const MAGIC: &[u8] = b"dayfly-part-1\n";
const HASH_LEN: usize = 32;
/// How a part's file is called: its key and this.
const PART: &str = "part";
/// Of a file that is being written. What has this name when the folder is opened was left by a crash.
const TORN: &str = "torn";
/// Added to the name of a file whose bytes are not those that were written.
const BROKEN: &str = "broken";
/// The file whose lock a process holds as long as it uses the folder.
const LOCK: &str = "lock";
/// The longest key of the contract.
const KEY_LEN_MAX: usize = 64;

/// A vault in a folder of a file system. It can be open once at a time, in whichever process; clones are the same vault.
#[derive(Clone, Debug)]
pub struct DirectoryVault(Arc<Directory>);

#[derive(Debug)]
struct Directory {
    path: PathBuf,
    /// Given up by the system when the process ends, however it does.
    _lock: File,
    /// Held while files are written: two who write one part would share its torn file. A cancelled store goes on.
    writing: Mutex<()>,
}

impl DirectoryVault {
    /// Opens a folder, and makes it if it is not there. Blocks for as long as the disk takes.
    ///
    /// # Errors
    /// It is open already, here or in another process, or it cannot be made, read or written; the text names the path.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, VaultError> {
        let path = path.into();
        fs::create_dir_all(&path).map_err(|error| failed(&path, "cannot be made", &error))?;
        let lock_path = path.join(LOCK);
        let mut options = OpenOptions::new();
        let lock = options.create(true).truncate(false).write(true).open(&lock_path);
        let lock = lock.map_err(|error| failed(&lock_path, "cannot be opened", &error))?;
        lock.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => VaultError(format!("{} is in use by another process", path.display())),
            TryLockError::Error(error) => failed(&lock_path, "cannot be locked", &error),
        })?;
        let directory = Directory { path, _lock: lock, writing: Mutex::new(()) };
        for torn in directory.files(TORN)? {
            fs::remove_file(&torn).map_err(|error| failed(&torn, "cannot be removed", &error))?;
        }
        Ok(Self(Arc::new(directory)))
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.0.path
    }

    /// Does something with the disk, beside the tasks of the runtime.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Directory) -> Result<T, VaultError> + Send + 'static,
    ) -> Result<T, VaultError> {
        let directory = Arc::clone(&self.0);
        let done = tokio::task::spawn_blocking(move || work(&directory)).await;
        done.unwrap_or_else(|_| Err(VaultError("the process is ending".to_owned())))
    }
}

impl Vault for DirectoryVault {
    /// A file whose bytes are not those that were written is set aside, under its name and `.broken`.
    fn load(&self) -> BoxFuture<'_, Result<Loaded, VaultError>> {
        Box::pin(self.blocking(Directory::load))
    }

    fn store(&self, parts: Vec<Part>) -> BoxFuture<'_, Result<(), VaultError>> {
        Box::pin(self.blocking(move |directory| directory.store(&parts)))
    }
}

impl Directory {
    /// The files with this extension, in the order of their names.
    fn files(&self, extension: &str) -> Result<Vec<PathBuf>, VaultError> {
        let unreadable = |error| failed(&self.path, "cannot be read", &error);
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.path).map_err(unreadable)? {
            let path = entry.map_err(unreadable)?.path();
            if path.extension().is_some_and(|found| found == extension) {
                files.push(path);
            }
        }
        files.sort();
        Ok(files)
    }

    fn load(&self) -> Result<Loaded, VaultError> {
        let mut loaded = Loaded::default();
        for path in self.files(PART)? {
            let bytes = match fs::read(&path) {
                Ok(bytes) => bytes,
                // Not even readable: where it is, whoever looks after the disk finds it.
                Err(error) => {
                    loaded.broken.push(failed(&path, "cannot be read", &error));
                    continue;
                }
            };
            match parse(&path, &bytes) {
                Some(part) => loaded.parts.push(part),
                None => {
                    let mut aside = path.clone().into_os_string();
                    aside.push(".");
                    aside.push(BROKEN);
                    loaded.broken.push(match fs::rename(&path, &aside) {
                        Ok(()) => VaultError(format!("{} is broken; it was set aside", path.display())),
                        Err(error) => failed(&path, "is broken, and cannot be set aside", &error),
                    });
                }
            }
        }
        Ok(loaded)
    }

    fn store(&self, parts: &[Part]) -> Result<(), VaultError> {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        for part in parts {
            if !is_key(&part.key) {
                return Err(VaultError(format!("{:?} is no key of a part", part.key)));
            }
            let place = self.path.join(&part.key).with_extension(PART);
            let torn = self.path.join(&part.key).with_extension(TORN);
            write(&torn, &part.chunk).map_err(|error| failed(&torn, "cannot be written", &error))?;
            fs::rename(&torn, &place).map_err(|error| failed(&place, "cannot be put in place", &error))?;
        }
        // Names are the folder's content: they too have to reach the disk before anything counts as stored.
        let flushed = File::open(&self.path).and_then(|folder| folder.sync_all());
        flushed.map_err(|error| failed(&self.path, "cannot be flushed", &error))
    }
}

fn write(path: &Path, chunk: &[u8]) -> std::io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(MAGIC)?;
    file.write_all(&Sha256::digest(chunk))?;
    file.write_all(chunk)?;
    file.sync_all()
}

/// The part in a file; none if its bytes are not those that were written.
fn parse(path: &Path, bytes: &[u8]) -> Option<Part> {
    let key = path.file_stem().and_then(|stem| stem.to_str()).filter(|key| is_key(key))?;
    let (hash, chunk) = bytes.strip_prefix(MAGIC)?.split_at_checked(HASH_LEN)?;
    (Sha256::digest(chunk).as_slice() == hash).then(|| Part { key: key.to_owned(), chunk: chunk.to_vec() })
}

/// Keys become names of files, so nothing else may pass for one.
fn is_key(key: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=KEY_LEN_MAX).contains(&key.len()) && key.bytes().all(allowed)
}

fn failed(path: &Path, what: &str, error: &std::io::Error) -> VaultError {
    VaultError(format!("{} {what}: {error}", path.display()))
}
