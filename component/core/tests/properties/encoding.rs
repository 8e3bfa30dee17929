//! What is encoded decodes to the same, and what decodes was encoded so: there is one encoding of each value.

use dayfly_core::api::{TOKEN_MAX_WRITERS, Token};
use dayfly_core::cell::{Cell, DataType};
use dayfly_core::chunk::{Chunk, ChunkEntries, ChunkEntry, ChunkPart, SEQ_END};
use dayfly_core::codec::CodecError;
use dayfly_core::digest::Digest;
use dayfly_core::dot::{Era, Seq, WriterId};
use dayfly_core::frame::{Body, Frame, HEADER_MAX_BYTES, Refused, VERSION};
use dayfly_core::intervals::Intervals;
use dayfly_core::member::Record;
use dayfly_core::snapshot::LogMark;
use dayfly_core::time::Timestamp;
use proptest::prelude::*;

use crate::contents::{Contents, store_of};
use crate::wire::{CLUSTER, chunk, frame, mutate, mutations};

fn token() -> impl Strategy<Value = Token> {
    let writers =
        prop::collection::btree_map(any::<u128>(), prop_oneof![1..300_u64, 1..=u64::MAX], 0..=TOKEN_MAX_WRITERS);
    writers.prop_map(|writers| {
        let mut token = Token::default();
        writers.into_iter().for_each(|(writer, seq)| token.insert(WriterId(writer), Seq(seq)));
        token
    })
}

proptest! {
    #[test]
    fn chunks_come_back_from_their_bytes(chunk in chunk()) {
        let bytes = chunk.encode();
        let decoded = Chunk::decode(&bytes);
        prop_assert_eq!(decoded.as_ref(), Ok(&chunk));
        prop_assert_eq!(Contents::of(&store_of([&decoded.unwrap()])), Contents::of(&store_of([&chunk])));
    }

    #[test]
    fn frames_come_back_from_their_bytes(frame in frame()) {
        let bytes = frame.encode(CLUSTER);
        prop_assert_eq!(Frame::decode(&bytes, CLUSTER), Ok(frame));
        prop_assert_eq!(Frame::decode(&bytes, "another"), Err(Refused::OtherCluster));
        let mut later = bytes;
        later[0] = VERSION + 1;
        prop_assert_eq!(Frame::decode(&later, CLUSTER), Err(Refused::Codec(CodecError::Version(VERSION + 1))));
    }

    #[test]
    fn headers_are_within_their_bound(frame in frame()) {
        let header = Frame { body: Body::Beat, ..frame }.encode(&"c".repeat(64));
        prop_assert!(header.len() <= HEADER_MAX_BYTES, "{} bytes", header.len());
    }

    #[test]
    fn tokens_come_back_from_their_texts(token in token()) {
        let text = token.to_text();
        prop_assert_eq!(Token::from_text(&text), Some(token));
        prop_assert!(text.len() <= 802);
    }

    #[test]
    fn whatever_decodes_to_a_chunk_is_its_encoding(chunk in chunk(), mutations in mutations()) {
        let mut bytes = chunk.encode();
        mutate(&mut bytes, &mutations);
        if let Ok(decoded) = Chunk::decode(&bytes) {
            prop_assert_eq!(decoded.encode(), bytes);
            // And it can be joined and read, whatever it says.
            Contents::of(&store_of([&decoded]));
        }
    }

    #[test]
    fn whatever_decodes_to_a_frame_is_its_encoding(frame in frame(), mutations in mutations()) {
        let mut bytes = frame.encode(CLUSTER);
        mutate(&mut bytes, &mutations);
        if let Ok(decoded) = Frame::decode(&bytes, CLUSTER) {
            prop_assert_eq!(decoded.encode(CLUSTER), bytes);
        }
    }

    #[test]
    fn whatever_decodes_to_a_token_is_its_text(token in token(), mutations in mutations()) {
        let mut bytes = token.to_text().into_bytes();
        mutate(&mut bytes, &mutations);
        if let Ok(text) = str::from_utf8(&bytes)
            && let Some(decoded) = Token::from_text(text)
        {
            prop_assert_eq!(decoded.to_text(), text);
        }
    }

    #[test]
    fn arbitrary_bytes_decode_to_what_they_encode(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(chunk) = Chunk::decode(&bytes) {
            prop_assert_eq!(chunk.encode(), &*bytes);
        }
        if let Ok(frame) = Frame::decode(&bytes, CLUSTER) {
            prop_assert_eq!(frame.encode(CLUSTER), &*bytes);
        }
        if let Some(token) = str::from_utf8(&bytes).ok().and_then(Token::from_text) {
            prop_assert_eq!(token.to_text().into_bytes(), bytes);
        }
    }
}

/// A parser that ignores what it reads does not look into texts; reading the value later would.
#[test]
fn values_that_are_not_utf_8_are_refused() {
    let chunk = |payload: &[u8]| Chunk {
        cells: vec![Cell::of_key("k", DataType::OrSet)],
        parts: vec![ChunkPart {
            writer: WriterId(1),
            context: Intervals::span(1, 1),
            entries: vec![ChunkEntry { seq: 1, cell: 0, payload: payload.into() }].into(),
        }],
    };
    assert_eq!(Chunk::decode(&chunk(b"\"\xc3\xa9\"").encode()), Ok(chunk(b"\"\xc3\xa9\"")));
    assert!(matches!(Chunk::decode(&chunk(b"\"\xff\"").encode()), Err(CodecError::Broken(_))));
}

/// A chunk of two writers and two cells, to be broken.
fn sample() -> Chunk {
    let entry = |seq, cell| ChunkEntry { seq, cell, payload: b"1"[..].into() };
    let part = |writer, entries: Vec<ChunkEntry>| {
        let context = Intervals::span(1, 3);
        ChunkPart { writer: WriterId(writer), context, entries: entries.into() }
    };
    Chunk {
        cells: vec![Cell::of_key("k", DataType::OrSet), Cell::of_key("l", DataType::MvRegister)],
        parts: vec![part(1, vec![entry(1, 0), entry(2, 1)]), part(2, vec![entry(3, 0)])],
    }
}

/// What breaks a chunk, and how.
type Break = (&'static str, fn(&mut Chunk));

/// Each of these says what another chunk says, or nothing that makes sense. Were they accepted, a state would have more
/// than one encoding.
#[test]
fn chunks_that_break_the_invariant_are_refused() {
    let breaks: [Break; 10] = [
        ("cells in another order than that of their use", |chunk| {
            chunk.cells.swap(0, 1);
            chunk.parts.iter_mut().flat_map(|part| &mut part.entries).for_each(|entry| entry.cell = 1 - entry.cell);
        }),
        ("a cell that is not used", |chunk| chunk.cells.push(Cell::of_key("m", DataType::OrSet))),
        ("a cell twice", |chunk| chunk.cells[1] = chunk.cells[0].clone()),
        ("a cell without a name", |chunk| chunk.cells[0].name = "".into()),
        ("a cell that is no leaf", |chunk| chunk.cells[0] = Cell::of_key("k", DataType::Map)),
        ("parts that descend", |chunk| chunk.parts.swap(0, 1)),
        ("a writer twice", |chunk| chunk.parts[1].writer = chunk.parts[0].writer),
        ("a part without dots", |chunk| {
            chunk.parts[1] =
                ChunkPart { writer: WriterId(2), context: Intervals::default(), entries: ChunkEntries::new() }
        }),
        ("an entry that the context does not name", |chunk| chunk.parts[1].context = Intervals::span(1, 2)),
        ("a sequence number at the end of all", |chunk| chunk.parts[1].context = Intervals::span(1, SEQ_END)),
    ];
    assert_eq!(Chunk::decode(&sample().encode()), Ok(sample()));
    for (what, break_it) in breaks {
        let mut chunk = sample();
        break_it(&mut chunk);
        assert!(Chunk::decode(&chunk.encode()).is_err(), "{what}");
    }
}

#[test]
fn numbers_have_one_form_and_frames_one_end() {
    let Ok(frame) = Frame::decode(&beat(&[7]), CLUSTER) else { panic!("the sample is a frame") };
    assert_eq!((frame.era, frame.encode(CLUSTER)), (Era(7), beat(&[7])));
    // The same number, as if it needed more bytes.
    for long in [&[251, 7, 0][..], &[252, 7, 0, 0, 0], &[253, 7, 0, 0, 0, 0, 0, 0, 0]] {
        assert!(Frame::decode(&beat(long), CLUSTER).is_err(), "{long:?}");
    }
    let longer = [&beat(&[7])[..], &[0]].concat();
    assert_eq!(Frame::decode(&longer, CLUSTER), Err(Refused::Codec(CodecError::Long)));
    for len in 0..beat(&[7]).len() {
        assert_eq!(Frame::decode(&beat(&[7])[..len], CLUSTER), Err(Refused::Codec(CodecError::Short)), "{len} bytes");
    }
}

/// The bytes of a beat with this encoding of its era.
fn beat(era: &[u8]) -> Vec<u8> {
    let sender = Record {
        name: "n".into(),
        incarnation: 1,
        left: false,
        awake_until: Timestamp(2),
        host: String::new(),
        region: String::new(),
        zone: String::new(),
    };
    let frame = Frame {
        era: Era(7),
        sender,
        complete: true,
        root: Digest::default(),
        log: LogMark::default(),
        body: Body::Beat,
    };
    let mut bytes = frame.encode(CLUSTER);
    let at = 2 + CLUSTER.len();
    bytes.splice(at..=at, era.iter().copied());
    bytes
}
