//! What replicas leave behind: a folder with a subfolder for the stored state of each.
//!
//! Replicas of `up` have names that begin anew with each run, so a name says nothing about who was whose successor.
//! What a former run, or a replica that died, left is therefore taken over by the next replica that starts, whichever
//! it is: it loads the parts, since parts join, and once its own folder holds them all, those it came from are removed.
//! Nothing is removed before that, and if the heir dies first, the next one inherits.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use dayfly_engine::broker::BoxFuture;
use dayfly_engine::contract::Part;
use dayfly_engine::{DirectoryVault, Loaded, Vault, VaultError};
use tracing::{info, warn};

/// Between a replica's name and a number, in the name of a folder that somebody inherits. No name has it.
const LEFT: char = '~';

/// The file whose lock a process holds while it takes folders: between the look at a folder and its renaming, or its
/// making and its locking, nobody else does either. No replica's folder can have this name.
const TAKING: &str = "~lock";

/// The folder. It may be shared with other processes: what they use is theirs.
#[derive(Debug)]
pub struct Estate {
    root: PathBuf,
    taken: AtomicU64,
}

impl Estate {
    /// Makes the folder if it is not there.
    ///
    /// # Errors
    /// It cannot be made or read; the text names it.
    pub fn open(root: impl Into<PathBuf>) -> Result<Self, VaultError> {
        let root = root.into();
        let failed = |error: io::Error| VaultError(format!("{}: {error}", root.display()));
        fs::create_dir_all(&root).map_err(failed)?;
        fs::read_dir(&root).map_err(failed)?;
        Ok(Self { root, taken: AtomicU64::new(0) })
    }

    /// The vault of a replica that starts: its own folder, and what others left. Blocks for as long as the disk takes.
    ///
    /// # Errors
    /// The replica's own folder, or the lock of the whole, cannot be used.
    pub fn vault(&self, name: &str) -> Result<Heir, VaultError> {
        let _taking = self.lock()?;
        let inherited = self.take_over();
        if !inherited.is_empty() {
            info!(replica = name, "takes over the stored state that {} replicas left", inherited.len());
        }
        let own = DirectoryVault::open(self.root.join(name))?;
        Ok(Heir { own, inherited: Arc::new(Mutex::new(inherited)) })
    }

    /// Waits until nobody else takes folders, in whichever process; until the file is dropped, nobody does.
    fn lock(&self) -> Result<File, VaultError> {
        let path = self.root.join(TAKING);
        let locked = File::create(&path).and_then(|file| file.lock().map(|()| file));
        locked.map_err(|error| VaultError(format!("{} cannot be locked: {error}", path.display())))
    }

    /// Opens all subfolders that nobody uses, under new names, so that theirs are free.
    fn take_over(&self) -> Vec<DirectoryVault> {
        let folders = fs::read_dir(&self.root).into_iter().flatten().filter_map(|entry| {
            let entry = entry.ok()?;
            let name = entry.file_name().into_string().ok()?;
            let whose = name.split_once(LEFT).map_or(name.as_str(), |(whose, _)| whose).to_owned();
            (is_name(&whose) && entry.file_type().ok()?.is_dir()).then(|| (entry.path(), whose))
        });
        folders.filter_map(|(path, whose)| self.take(&path, &whose)).collect()
    }

    fn take(&self, path: &Path, whose: &str) -> Option<DirectoryVault> {
        // Whoever uses a folder has it locked.
        DirectoryVault::open(path).ok().map(drop)?;
        let number = self.taken.fetch_add(1, Ordering::Relaxed);
        let taken = self.root.join(format!("{whose}{LEFT}{}.{number}", std::process::id()));
        if path != taken {
            fs::rename(path, &taken).ok()?;
        }
        DirectoryVault::open(taken).ok()
    }
}

fn is_name(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_.".contains(&b))
}

/// The vault of a replica that takes over what others left.
#[derive(Clone, Debug)]
pub struct Heir {
    own: DirectoryVault,
    /// What is still to be removed.
    inherited: Arc<Mutex<Vec<DirectoryVault>>>,
}

impl Heir {
    fn inherited(&self) -> Vec<DirectoryVault> {
        self.inherited.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Vault for Heir {
    fn load(&self) -> BoxFuture<'_, Result<Loaded, VaultError>> {
        Box::pin(async move {
            let mut loaded = self.own.load().await?;
            for vault in self.inherited() {
                match vault.load().await {
                    Ok(Loaded { parts, broken }) => {
                        loaded.parts.extend(parts);
                        loaded.broken.extend(broken);
                    }
                    Err(error) => {
                        loaded.broken.push(error);
                        // What could not be read is not removed.
                        let mut inherited = self.inherited.lock().unwrap_or_else(PoisonError::into_inner);
                        inherited.retain(|other| other.path() != vault.path());
                    }
                }
            }
            Ok(loaded)
        })
    }

    fn store(&self, parts: Vec<Part>) -> BoxFuture<'_, Result<(), VaultError>> {
        Box::pin(async move {
            self.own.store(parts).await?;
            // The first store after a load has everything (`checkpoint.save` with a version of 0), also what was
            // inherited.
            let inherited = std::mem::take(&mut *self.inherited.lock().unwrap_or_else(PoisonError::into_inner));
            for vault in inherited {
                if let Err(error) = fs::remove_dir_all(vault.path()) {
                    warn!("{} is held elsewhere now and cannot be removed: {error}", vault.path().display());
                }
            }
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder that is removed with this value.
    struct Folder(PathBuf);

    impl Drop for Folder {
        fn drop(&mut self) {
            // A folder that stays behind fails no test.
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn folder(name: &str) -> Folder {
        Folder(std::env::temp_dir().join(format!("dayfly-estate-{}-{name}", std::process::id())))
    }

    fn part(key: &str) -> Part {
        Part { key: key.to_owned(), chunk: vec![1, 2, 3] }
    }

    fn keys(loaded: &Loaded) -> Vec<&str> {
        let mut keys: Vec<&str> = loaded.parts.iter().map(|part| part.key.as_str()).collect();
        keys.sort_unstable();
        keys
    }

    #[tokio::test]
    async fn what_is_left_is_inherited_and_removed_once_it_is_held_elsewhere() {
        let folder = folder("inherited");
        let estate = Estate::open(&folder.0).expect("it can be made");
        for name in ["a-1", "a-2"] {
            let heir = estate.vault(name).expect("it is free");
            // Both live at first, so neither inherits from the other.
            heir.own.store(vec![part(name)]).await.expect("it can be written");
        }
        let unlucky = estate.vault("a-1").expect("it is free");
        assert_eq!(keys(&unlucky.load().await.expect("it can be read")), ["a-1", "a-2"]);
        drop(unlucky);
        // The heir died before it stored anything: the next one inherits.
        let heir = estate.vault("a-3").expect("it is free");
        let loaded = heir.load().await.expect("it can be read");
        assert_eq!(keys(&loaded), ["a-1", "a-2"]);
        let neighbour = estate.vault("a-4").expect("it is free");
        assert_eq!(keys(&neighbour.load().await.expect("it can be read")), [""; 0], "they are taken");
        heir.store(loaded.parts).await.expect("it can be written");
        let mut left: Vec<String> = fs::read_dir(&folder.0)
            .expect("it can be read")
            .map(|entry| entry.expect("it can be read").file_name().into_string().expect("UTF-8"))
            .collect();
        left.sort_unstable();
        assert_eq!(left, ["a-3", "a-4", TAKING]);
    }

    #[test]
    fn many_start_at_once_and_none_loses_its_folder_to_another() {
        let folder = folder("at-once");
        let estate = Estate::open(&folder.0).expect("it can be made");
        for _ in 0..50 {
            let heirs: Vec<Heir> = std::thread::scope(|scope| {
                let estate = &estate;
                let starts = ["a-1", "a-2", "a-3", "a-4"].map(|name| scope.spawn(move || estate.vault(name)));
                starts.map(|start| start.join().expect("it does not panic").expect("its folder is its own")).into()
            });
            for heir in &heirs {
                assert!(heir.own.path().is_dir(), "{} is its own", heir.own.path().display());
            }
        }
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_named() {
        let folder = folder("file");
        fs::write(&folder.0, "").expect("it can be written");
        let error = Estate::open(folder.0.join("x")).expect_err("there is a file").to_string();
        assert!(error.contains("dayfly-estate"), "{error}");
        fs::remove_file(&folder.0).expect("it can be removed");
    }
}
