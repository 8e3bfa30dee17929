//! Tokens: what a client has written, to be carried to whichever replica answers it next.

use std::collections::BTreeMap;

use crate::api::hex;
use crate::codec::{Reader, Writer};
use crate::dot::{Dot, Seq, WriterId};
use crate::refusal::Refusal;
use crate::store::Store;

/// The most writers that a token holds, so that it fits a header.
pub const TOKEN_MAX_WRITERS: usize = 16;

/// The first byte of a token.
const VERSION: u8 = 1;
/// A version, and for each writer its id and the longest number.
const MAX_BYTES: usize = 1 + TOKEN_MAX_WRITERS * (16 + 9);

/// Of each writer the greatest sequence number that was written.
///
/// Invariant: at most [`TOKEN_MAX_WRITERS`] writers, and no sequence number is 0.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Token {
    writers: BTreeMap<WriterId, Seq>,
}

impl Token {
    /// The token of a text that [`Token::to_text`] made; `None` for any other text.
    pub fn from_text(text: &str) -> Option<Self> {
        if text.len() > 2 * MAX_BYTES {
            return None;
        }
        let bytes = hex::decode(text)?;
        let mut reader = Reader::new(&bytes);
        if reader.byte().ok()? != VERSION {
            return None;
        }
        let mut token = Self::default();
        while !reader.is_empty() {
            let writer = WriterId(reader.wide().ok()?);
            let seq = Seq(reader.number().ok()?);
            let ascends = token.writers.last_key_value().is_none_or(|(last, _)| *last < writer);
            if !ascends || seq.0 == 0 || token.writers.len() == TOKEN_MAX_WRITERS {
                return None;
            }
            token.writers.insert(writer, seq);
        }
        Some(token)
    }

    /// The text that clients carry: opaque, of `0-9` and `a-f`, at most 802 characters. Equal tokens have equal texts.
    pub fn to_text(&self) -> String {
        let mut bytes = Writer::new();
        bytes.byte(VERSION);
        for (writer, seq) in &self.writers {
            bytes.wide(writer.0);
            bytes.number(seq.0);
        }
        hex::encode(&bytes.into_bytes())
    }

    /// Whether nothing was written.
    pub fn is_empty(&self) -> bool {
        self.writers.is_empty()
    }

    /// The writers with their greatest sequence numbers, ascending.
    pub fn iter(&self) -> impl Iterator<Item = (WriterId, Seq)> + '_ {
        self.writers.iter().map(|(writer, seq)| (*writer, *seq))
    }

    /// Takes up what another token holds. If that makes too many writers it is refused, and the token is as before.
    pub fn join(&mut self, other: &Self) -> Result<(), Refusal> {
        let new = other.writers.keys().filter(|writer| !self.writers.contains_key(writer)).count();
        if self.writers.len() + new > TOKEN_MAX_WRITERS {
            return Err(Refusal::BadContext(format!(
                "the context would hold more than {TOKEN_MAX_WRITERS} writers; write without dayfly-context to begin anew"
            )));
        }
        for (writer, seq) in other.iter() {
            let greatest = self.writers.entry(writer).or_insert(seq);
            *greatest = seq.max(*greatest);
        }
        Ok(())
    }

    /// Takes up a writer's sequence number, which is at least 1. There must be room for the writer: [`Token::join`] tells,
    /// before anything is written that could then not be answered.
    pub fn insert(&mut self, writer: WriterId, seq: Seq) {
        assert!(seq.0 > 0, "sequences begin at 1");
        self.join(&Self { writers: BTreeMap::from([(writer, seq)]) }).expect("the caller has made sure of room");
    }

    /// Whether this state has seen each of the dots. (Earlier dots of the same writers can still be missing in the midst of
    /// a repair, which brings the newest first.)
    pub fn is_seen_by(&self, store: &Store) -> bool {
        self.iter().all(|(writer, seq)| store.has_seen(Dot { writer, seq }))
    }
}
