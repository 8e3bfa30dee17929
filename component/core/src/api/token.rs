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
        self.check_room_for(new)?;
        other.iter().for_each(|(writer, seq)| self.raise(writer, seq));
        Ok(())
    }

    /// Whether [`Token::insert`] can take up this writer: to be asked before anything is written that could then not be
    /// answered.
    pub fn check_room(&self, writer: WriterId) -> Result<(), Refusal> {
        self.check_room_for(usize::from(!self.writers.contains_key(&writer)))
    }

    fn check_room_for(&self, new_writers: usize) -> Result<(), Refusal> {
        if self.writers.len() + new_writers <= TOKEN_MAX_WRITERS {
            return Ok(());
        }
        Err(Refusal::BadContext(format!(
            "the context would hold more than {TOKEN_MAX_WRITERS} writers; leave out dayfly-context to begin anew"
        )))
    }

    /// Takes up a writer's sequence number, which is at least 1. There must be room: see [`Token::check_room`].
    pub fn insert(&mut self, writer: WriterId, seq: Seq) {
        assert!(seq.0 > 0, "sequences begin at 1");
        self.raise(writer, seq);
        assert!(self.writers.len() <= TOKEN_MAX_WRITERS, "the caller has made sure of room");
    }

    fn raise(&mut self, writer: WriterId, seq: Seq) {
        let greatest = self.writers.entry(writer).or_insert(seq);
        *greatest = seq.max(*greatest);
    }

    /// Whether this state has seen each of the dots. (Earlier dots of the same writers can still be missing, see
    /// [`Self::is_covered_by`].)
    pub fn is_seen_by(&self, store: &Store) -> bool {
        self.iter().all(|(writer, seq)| store.has_seen(Dot { writer, seq }))
    }

    /// The writers of which this state has not seen all dots up to the one named.
    pub fn uncovered_by<'a>(&'a self, store: &'a Store) -> impl Iterator<Item = WriterId> + 'a {
        let uncovered =
            |(writer, seq): &(WriterId, Seq)| !store.seen(*writer).is_some_and(|seen| seen.covers(1, seq.0));
        self.iter().filter(uncovered).map(|(writer, _)| writer)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::cell::{Cell, DataType};
    use crate::store::Write;

    fn token(dots: &[(u128, u64)]) -> Token {
        let mut token = Token::default();
        dots.iter().for_each(|(writer, seq)| token.insert(WriterId(*writer), Seq(*seq)));
        token
    }

    fn of_writers(writers: std::ops::Range<u128>) -> Token {
        token(&writers.map(|writer| (writer, 1)).collect::<Vec<_>>())
    }

    /// The text of these bytes, which need not be a token's.
    fn text(fill: impl FnOnce(&mut Writer)) -> String {
        let mut bytes = Writer::new();
        fill(&mut bytes);
        hex::encode(&bytes.into_bytes())
    }

    #[test]
    fn the_join_keeps_the_greatest_of_each_writer() {
        let mut joined = token(&[(1, 5), (2, 9)]);
        joined.join(&token(&[(1, 7), (2, 8), (3, 1)])).unwrap();
        assert_eq!(joined, token(&[(1, 7), (2, 9), (3, 1)]));
        joined.insert(WriterId(1), Seq(6));
        joined.insert(WriterId(3), Seq(2));
        assert_eq!(joined, token(&[(1, 7), (2, 9), (3, 2)]));
    }

    #[test]
    fn a_seventeenth_writer_is_refused_and_changes_nothing() {
        let full = of_writers(0..16);
        let mut joined = full.clone();
        joined.join(&token(&[(15, 9)])).unwrap();
        let before = joined.clone();
        assert!(matches!(joined.join(&token(&[(15, 10), (16, 1)])), Err(Refusal::BadContext(_))));
        assert_eq!(joined, before);
        let mut other = of_writers(8..24);
        assert!(matches!(other.join(&full), Err(Refusal::BadContext(_))));
        assert_eq!(other, of_writers(8..24));
    }

    #[test]
    fn the_longest_text_is_as_long_as_said() {
        let longest = token(&(0..16).map(|writer| (u128::MAX - writer, u64::MAX)).collect::<Vec<_>>());
        assert_eq!(longest.to_text().len(), 802);
        assert_eq!(Token::from_text(&longest.to_text()), Some(longest));
    }

    #[test]
    fn no_writer_is_a_token_too() {
        assert_eq!(Token::default().to_text(), "01");
        assert_eq!(Token::from_text("01"), Some(Token::default()));
    }

    #[test]
    fn what_to_text_never_makes_is_refused() {
        let good = token(&[(1, 5), (2, 300)]).to_text();
        assert!(Token::from_text(&good).is_some());
        let pair = |bytes: &mut Writer, writer, seq| {
            bytes.wide(writer);
            bytes.number(seq);
        };
        for (bad, why) in [
            (String::new(), "no version"),
            (good.replacen("01", "02", 1), "another version"),
            (good.to_uppercase() + "A", "an odd number of digits"),
            (good[..good.len() - 2].to_owned(), "cut short"),
            (good.clone() + "00", "a byte too many"),
            (format!(" {good}"), "white space"),
            (
                text(|bytes| {
                    bytes.byte(1);
                    pair(bytes, 2, 1);
                    pair(bytes, 1, 1);
                }),
                "descending writers",
            ),
            (
                text(|bytes| {
                    bytes.byte(1);
                    pair(bytes, 1, 1);
                    pair(bytes, 1, 2);
                }),
                "a writer twice",
            ),
            (
                text(|bytes| {
                    bytes.byte(1);
                    pair(bytes, 1, 0);
                }),
                "a sequence number 0",
            ),
            (
                text(|bytes| {
                    bytes.byte(1);
                    bytes.wide(1);
                    bytes.raw(&[251, 5, 0]);
                }),
                "a number in a longer form",
            ),
            (
                text(|bytes| {
                    bytes.byte(1);
                    (0..17).for_each(|writer| pair(bytes, writer, 1));
                }),
                "17 writers",
            ),
            ("01".repeat(1 << 20), "a megabyte"),
        ] {
            assert_eq!(Token::from_text(&bad), None, "{why}");
        }
    }

    #[test]
    fn a_state_has_seen_a_token_if_it_has_seen_each_dot() {
        let mut store = Store::new();
        for payload in [b"1", b"2"] {
            let mut write = Write::begin(&mut store, WriterId(7), usize::MAX);
            write.put(&Cell::of_key("key", DataType::GSet), payload).unwrap();
            write.commit();
        }
        assert!(Token::default().is_seen_by(&store));
        assert!(token(&[(7, 1)]).is_seen_by(&store));
        assert!(token(&[(7, 2)]).is_seen_by(&store));
        assert!(!token(&[(7, 3)]).is_seen_by(&store));
        assert!(!token(&[(7, 2), (8, 1)]).is_seen_by(&store));
        assert!(!token(&[(7, 1)]).is_seen_by(&Store::new()));
    }

    proptest! {
        #[test]
        fn a_token_is_its_text(dots in prop::collection::btree_map(any::<u128>(), 1..=u64::MAX, 0..=16)) {
            let dots: Vec<(u128, u64)> = dots.into_iter().collect();
            let token = token(&dots);
            prop_assert_eq!(Token::from_text(&token.to_text()), Some(token));
        }

        #[test]
        fn any_bytes_are_a_token_in_one_form_or_none(bytes in any::<Vec<u8>>(), versioned in any::<bool>()) {
            let bytes = if versioned { [&[VERSION], &bytes[..]].concat() } else { bytes };
            let text = hex::encode(&bytes);
            if let Some(token) = Token::from_text(&text) {
                prop_assert_eq!(token.to_text(), text);
            }
        }

        #[test]
        fn any_text_is_a_token_or_none(text in any::<String>()) {
            if let Some(token) = Token::from_text(&text) {
                prop_assert_eq!(token.to_text(), text);
            }
        }
    }
}
