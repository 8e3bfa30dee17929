//! Stored state: where a replica's parts are kept. To the replica it is a peer that never speaks.

mod directory;

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use crate::broker::BoxFuture;
use crate::contract::Part;

pub use directory::DirectoryVault;

/// Keeps parts under their keys. Parts join, so what several replicas stored may be mixed, and an old part does no
/// harm.
pub trait Vault: Send + Sync {
    /// All parts. On an error the replica starts without them, and is filled by its peers.
    fn load(&self) -> BoxFuture<'_, Result<Loaded, VaultError>>;

    /// Puts parts in place of what stood under their keys. On an error any of them may have been stored; they are given
    /// again the next time.
    fn store(&self, parts: Vec<Part>) -> BoxFuture<'_, Result<(), VaultError>>;
}

/// What a vault holds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Loaded {
    /// The parts that are sound.
    pub parts: Vec<Part>,
    /// What is wrong with each of the others.
    pub broken: Vec<VaultError>,
}

/// Why a vault could not be read or written, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VaultError(pub String);

impl std::fmt::Display for VaultError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "stored state: {}", self.0)
    }
}

impl std::error::Error for VaultError {}

/// A vault that lives as long as the process: it outlives replicas, and shows in tests what they store.
#[derive(Debug, Default)]
pub struct MemoryVault(Mutex<BTreeMap<String, Vec<u8>>>);

impl Vault for MemoryVault {
    fn load(&self) -> BoxFuture<'_, Result<Loaded, VaultError>> {
        Box::pin(async move {
            let stored = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let parts = stored.iter().map(|(key, chunk)| Part { key: key.clone(), chunk: chunk.clone() }).collect();
            Ok(Loaded { parts, broken: Vec::new() })
        })
    }

    fn store(&self, parts: Vec<Part>) -> BoxFuture<'_, Result<(), VaultError>> {
        Box::pin(async move {
            let mut stored = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            stored.extend(parts.into_iter().map(|part| (part.key, part.chunk)));
            Ok(())
        })
    }
}
