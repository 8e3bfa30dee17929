//! Frames of writes on their way into the key-value store and to the broker.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use super::bindings::dayfly::replica::outbox::Verdict;
use super::host::Host;
use super::life::tell;
use crate::settings::Confirm;

/// The frames of writes that are not done with, by their ids.
#[derive(Default)]
pub struct Writes(BTreeMap<u64, Rc<Write>>);

/// A frame of writes.
#[derive(Default)]
pub struct Write(RefCell<Progress>);

#[derive(Default)]
struct Progress {
    /// None: the component has not made it yet, or it is stored.
    body: Option<Vec<u8>>,
    /// A task stores it.
    is_storing: bool,
    is_stored: bool,
    /// Why it could not be stored the last time.
    trouble: Option<String>,
    /// What the broker said.
    verdict: Option<Verdict>,
}

/// How far a frame of writes has got.
pub enum Outcome {
    /// As far as was asked for.
    Safe,
    /// Not yet.
    Open,
    /// The broker did not take it. The component sends it again, under another id.
    Unconfirmed,
    /// The store did not take it. It will be stored later.
    Unstored(String),
}

impl Writes {
    /// A frame of this id will come, or has come already: several writes may share one.
    pub fn expect(&mut self, id: u64) {
        self.0.entry(id).or_default();
    }

    /// To see how far it gets. Only for one that is expected.
    pub fn watch(&self, id: u64) -> Rc<Write> {
        Rc::clone(&self.0[&id])
    }

    /// The component has made a frame; of writes, if it is expected.
    pub fn note_frame(&mut self, id: u64, body: &[u8]) {
        if let Some(write) = self.0.get(&id) {
            write.0.borrow_mut().body = Some(body.to_vec());
        }
    }

    /// The broker has said what became of it.
    pub fn note_verdict(&mut self, id: u64, verdict: Verdict) {
        if let Some(write) = self.0.get(&id) {
            write.0.borrow_mut().verdict = Some(verdict);
            if write.0.borrow().is_stored {
                self.0.remove(&id);
            }
        }
    }

    /// One that is to be stored, with its bytes. It is the caller's now.
    fn take(&self) -> Option<(u64, Rc<Write>, Vec<u8>)> {
        self.0.iter().find_map(|(id, write)| {
            let mut progress = write.0.borrow_mut();
            let body = progress.body.clone().filter(|_| !progress.is_storing)?;
            progress.is_storing = true;
            Some((*id, Rc::clone(write), body))
        })
    }

    fn note_stored(&mut self, id: u64) {
        if self.0.get(&id).is_some_and(|write| write.0.borrow().verdict.is_some()) {
            self.0.remove(&id);
        }
    }
}

impl Write {
    /// How far it has got, where so much is asked for.
    pub fn outcome(&self, confirm: Confirm) -> Outcome {
        let progress = self.0.borrow();
        let confirmed = progress.verdict == Some(Verdict::Confirmed);
        if confirm.by_broker() && progress.verdict.is_some() && !confirmed {
            return Outcome::Unconfirmed;
        }
        if let Some(trouble) = progress.trouble.clone().filter(|_| confirm.by_store()) {
            return Outcome::Unstored(trouble);
        }
        let safe = (progress.is_stored || !confirm.by_store()) && (confirmed || !confirm.by_broker());
        if safe { Outcome::Safe } else { Outcome::Open }
    }
}

/// Gives a frame back if the task that stores it is cancelled.
struct Storing(Rc<Write>);

impl Drop for Storing {
    fn drop(&mut self) {
        self.0.0.borrow_mut().is_storing = false;
    }
}

impl Host {
    /// Stores the frames of writes that are not stored and that no other task is about to store.
    pub async fn store_writes(&self) {
        let replica = self.replica();
        loop {
            let taken = self.state.borrow().writes.take();
            let Some((id, write, body)) = taken else { return };
            let _storing = Storing(Rc::clone(&write));
            let stored = replica.shelf.store_write(&body).await;
            let mut progress = write.0.borrow_mut();
            match stored {
                Ok(()) => {
                    (progress.is_stored, progress.body, progress.trouble) = (true, None, None);
                    drop(progress);
                    self.state.borrow_mut().writes.note_stored(id);
                }
                // Those who wait hear of it; the next one to come by tries again.
                Err(trouble) => {
                    if progress.trouble.as_ref() != Some(&trouble) {
                        tell(&trouble);
                    }
                    progress.trouble = Some(trouble);
                    return;
                }
            }
        }
    }
}
