//! Stored state: handed in before the replica first wakes, saved now and then while it is awake, and before it is frozen
//! or leaves. The vault works beside the loop.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::{Drive, End};
use crate::broker::BoxFuture;
use crate::checkpoint::VaultError;
use crate::instance::CallError;

/// Parts on their way into the vault, and the version that they make with what it has.
pub(super) type Saving = BoxFuture<'static, (u64, Result<(), VaultError>)>;

/// Waits for the vault; forever, if it has nothing to do.
pub(super) async fn saved(saving: Option<&mut Saving>) -> (u64, Result<(), VaultError>) {
    match saving {
        Some(saving) => saving.await,
        None => std::future::pending().await,
    }
}

impl Drive {
    /// Hands in stored state. A vault that fails or a part that is broken costs only what repair will bring.
    pub(super) async fn load(&mut self) -> Result<(), End> {
        let Some(vault) = self.options.vault.clone().filter(|_| !self.loaded) else { return Ok(()) };
        self.loaded = true;
        // A component that started anew counts its versions anew.
        self.saved_version = 0;
        let loaded = match vault.load().await {
            Ok(loaded) => loaded,
            Err(error) => {
                self.note_vault_error(error.0);
                return Ok(());
            }
        };
        for error in loaded.broken {
            self.note_vault_error(error.0);
        }
        for part in &loaded.parts {
            match self.instance.load(part) {
                Ok(effects) => self.carry_out(effects),
                Err(CallError::Refused(reason)) => self.note_vault_error(format!("part {}: {reason}", part.key)),
                Err(CallError::Lost(lost)) => return Err(lost.into()),
            }
        }
        Ok(())
    }

    /// When to save next; none while that is under way, or if it is not to happen by itself.
    pub(super) fn next_save(&self) -> Option<Instant> {
        let by_itself = self.options.vault.is_some() && self.options.save_every_ms > 0 && self.saving.is_none();
        by_itself.then_some(self.saved_at + Duration::from_millis(self.options.save_every_ms))
    }

    /// Begins to save what has changed, if it is time.
    pub(super) fn save_if_due(&mut self) -> Result<(), End> {
        if self.next_save().is_some_and(|at| at <= Instant::now()) {
            self.begin_saving()?;
        }
        Ok(())
    }

    fn begin_saving(&mut self) -> Result<(), End> {
        let Some(vault) = self.options.vault.as_ref().map(Arc::clone) else { return Ok(()) };
        self.saved_at = Instant::now();
        let saved = self.instance.save(self.saved_version)?;
        if saved.parts.is_empty() {
            self.saved_version = saved.version;
        } else {
            self.saving = Some(Box::pin(async move { (saved.version, vault.store(saved.parts).await) }));
        }
        Ok(())
    }

    /// The vault has finished. What it could not store is given to it again the next time.
    pub(super) fn note_saved(&mut self, (version, outcome): (u64, Result<(), VaultError>)) {
        self.saving = None;
        match outcome {
            Ok(()) => self.saved_version = version,
            Err(error) => self.note_vault_error(error.0),
        }
    }

    fn note_vault_error(&mut self, error: String) {
        self.vault_errors += 1;
        self.vault_error = Some(error);
    }

    /// Saves all that has changed, and waits for it.
    pub(super) async fn save(&mut self) -> Result<(), End> {
        self.finish_saving().await;
        self.begin_saving()?;
        self.finish_saving().await;
        Ok(())
    }

    async fn finish_saving(&mut self) {
        if self.saving.is_some() {
            let outcome = saved(self.saving.as_mut()).await;
            self.note_saved(outcome);
        }
    }
}
