//! A replica: the composition of the layers. Calls in, effects out.

use crate::codec::CodecError;
use crate::config::{Config, ConfigError};
use crate::effect::{Effects, Receipt};
use crate::http::{Request, Response};
use crate::time::{Timestamp, Turn};

/// A live replica.
pub struct Replica {
    config: Config,
}

/// A piece of the state, to be stored under its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// `a-z`, `0-9`, `-`; at most 64 characters.
    pub key: String,
    /// An encoded chunk.
    pub chunk: Vec<u8>,
}

/// What changed since a version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Saved {
    /// To be given as `since` next time.
    pub version: u64,
    /// The pieces that changed.
    pub parts: Vec<Part>,
}

impl Replica {
    /// Begins an incarnation.
    pub fn start(config: Config, _turn: &mut Turn<'_>) -> Result<(Self, Effects), ConfigError> {
        config.check()?;
        Ok((Self { config }, Effects::default()))
    }

    /// The replica's name.
    pub fn name(&self) -> &str {
        self.config.name.as_deref().unwrap_or_default()
    }

    /// Greater than that of any earlier incarnation of the same name, as far as clocks go.
    pub fn incarnation(&self) -> u64 {
        0
    }

    /// Begins or prolongs an awake period.
    pub fn wake(&mut self, _awake_until: Timestamp, _turn: &mut Turn<'_>) -> Effects {
        Effects::default()
    }

    /// Does what is due.
    pub fn tick(&mut self, _turn: &mut Turn<'_>) -> Effects {
        Effects::default()
    }

    /// Ends an awake period.
    pub fn suspend(&mut self, _turn: &mut Turn<'_>) -> Effects {
        Effects::default()
    }

    /// Says farewell.
    pub fn leave(&mut self, _turn: &mut Turn<'_>) -> Effects {
        Effects::default()
    }

    /// Takes in frames.
    pub fn receive(&mut self, _bodies: &[Vec<u8>], _turn: &mut Turn<'_>) -> Effects {
        Effects::default()
    }

    /// Takes in the outcomes of publishes.
    pub fn settle(&mut self, _receipts: &[Receipt], _turn: &mut Turn<'_>) -> Effects {
        Effects::default()
    }

    /// Answers a request.
    pub fn invoke(&mut self, _request: &Request, _turn: &mut Turn<'_>) -> Response {
        Response { status: 503, headers: Vec::new(), body: Vec::new(), after: None, effects: Effects::default() }
    }

    /// The pieces that changed since a version.
    pub fn save(&self, _since: u64) -> Saved {
        Saved { version: 0, parts: Vec::new() }
    }

    /// Joins a stored piece.
    pub fn load(&mut self, _chunk: &[u8], _turn: &mut Turn<'_>) -> Result<Effects, CodecError> {
        Ok(Effects::default())
    }
}
