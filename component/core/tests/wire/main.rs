//! What stands on the wire, by version: golden vectors in the folders `wire-N` beside this one, bytes with what they say. A
//! vector of a version is never edited: replicas that were deployed with it go on speaking it. Whoever changes what is
//! encoded raises the version of frames and begins a new folder; the README in `wire-1` tells how.
//!
//! `cargo xtask test --bless` adds vectors of samples that have none. It rewrites nothing.

mod folder;
mod samples;
mod shown;

use std::collections::BTreeSet;

use dayfly_core::api::Token;
use dayfly_core::chunk::Chunk;
use dayfly_core::codec::CodecError;
use dayfly_core::frame::{Frame, Refused, VERSION};
use dayfly_core::intervals::DotSet;
use dayfly_core::store::Store;
use serde_json::Value;

use crate::folder::{Folder, Vector, from_hex};
use crate::shown::KINDS;

/// The versions whose frames this core takes in. Those of every other folder must be dropped as of an unknown version: then
/// replicas of that version cannot be in one cluster with this one, and the changelog has to say so.
const UNDERSTOOD: [u8; 1] = [VERSION];

fn text<'v>(vector: &'v Vector, member: &str) -> &'v str {
    vector.value[member].as_str().unwrap_or_else(|| panic!("{} has no {member}", vector.name))
}

fn bytes(vector: &Vector, member: &str) -> Vec<u8> {
    from_hex(text(vector, member)).unwrap_or_else(|| panic!("{}: {member} is not hexadecimal", vector.name))
}

fn store_of(chunk: &Chunk) -> Store {
    let mut store = Store::new();
    store.join(chunk);
    store
}

/// A vector decodes to what it says; of the present version, what was decoded encodes to the very bytes.
fn check(vector: &Vector, is_present: bool) {
    let name = &vector.name;
    let says = |member: &str, value: Value| assert_eq!(value, vector.value[member], "{name}: {member}");
    match text(vector, "kind") {
        "frame" => {
            let (bytes, cluster) = (bytes(vector, "bytes"), text(vector, "cluster"));
            let frame = Frame::decode(&bytes, cluster).unwrap_or_else(|error| panic!("{name} is refused: {error:?}"));
            says("frame", shown::frame(&frame));
            assert!(!is_present || frame.encode(cluster) == bytes, "{name} is encoded otherwise");
        }
        "chunk" => {
            let bytes = bytes(vector, "bytes");
            let chunk = Chunk::decode(&bytes).unwrap_or_else(|error| panic!("{name} is refused: {error}"));
            says("chunk", shown::chunk(&chunk));
            // Replicas compare their roots and show their values, so these are part of what versions agree on.
            let store = store_of(&chunk);
            says("root", shown::root(store.root()));
            says("values", shown::values(&store));
            assert!(!is_present || chunk.encode() == bytes, "{name} is encoded otherwise");
        }
        "sketch" => {
            let [theirs, mine] = ["state", "compared_with"].map(|member| {
                let chunk = Chunk::decode(&bytes(vector, member));
                store_of(&chunk.unwrap_or_else(|error| panic!("{name}: {member} is refused: {error}")))
            });
            let sketch = dayfly_core::sketch::Sketch::from_bytes(&bytes(vector, "bytes"));
            let sketch = sketch.unwrap_or_else(|error| panic!("{name} is refused: {error}"));
            let lack = mine.lack_by_sketch(&sketch, &DotSet::default()).expect("the sketch is large enough");
            says("lacks", shown::dots(lack.dots.iter()));
            let again = theirs.sketch(sketch.symbols(), &DotSet::default());
            assert!(!is_present || again == sketch, "{name}: the sketch of this state is another");
        }
        "token" => {
            let token = Token::from_text(text(vector, "bytes")).unwrap_or_else(|| panic!("{name} is refused"));
            says("token", shown::token(&token));
            assert!(!is_present || token.to_text() == text(vector, "bytes"), "{name} is encoded otherwise");
        }
        kind => panic!("{name} is of the unknown kind {kind}"),
    }
}

#[test]
fn vectors_decode_to_what_they_say_and_are_encoded_so() {
    for folder in Folder::all() {
        for vector in folder.vectors() {
            if UNDERSTOOD.contains(&folder.version) {
                check(vector, folder.version == VERSION);
            } else if text(vector, "kind") == "frame" {
                let refused = Frame::decode(&bytes(vector, "bytes"), text(vector, "cluster"));
                let expected = Refused::Codec(CodecError::Version(folder.version));
                assert_eq!(refused, Err(expected), "{} of version {}", vector.name, folder.version);
            }
        }
    }
}

#[test]
fn the_newest_folder_is_of_the_version_that_frames_have() {
    let versions: Vec<u8> = Folder::all().iter().map(|folder| folder.version).collect();
    assert!(versions.is_sorted() && versions.first() == Some(&1), "the folders are of versions {versions:?}");
    assert_eq!(
        versions.last(),
        Some(&VERSION),
        "a version of the wire begins a folder of its own and leaves the others"
    );
    assert!(UNDERSTOOD.iter().all(|version| versions.contains(version)), "what is understood has vectors");
    for vector in Folder::all().iter().flat_map(Folder::vectors).filter(|vector| vector.value["kind"] == "frame") {
        assert_eq!(bytes(vector, "bytes")[0], vector.version, "{} stands in another version's folder", vector.name);
    }
}

#[test]
fn no_vector_was_changed_or_taken_away() {
    Folder::all().iter().for_each(Folder::check_sums);
}

#[test]
fn everything_that_can_be_said_has_a_vector() {
    let folder = Folder::all().last().expect("there is a folder");
    let mut said = BTreeSet::new();
    for vector in folder.vectors() {
        match text(vector, "kind") {
            "frame" => {
                let frame = Frame::decode(&bytes(vector, "bytes"), text(vector, "cluster")).expect("a frame");
                said.extend(shown::kinds(&frame));
            }
            "chunk" => {
                let chunk = Chunk::decode(&bytes(vector, "bytes")).expect("a chunk");
                said.extend(chunk.cells.iter().map(|cell| cell.leaf.name()));
                said.extend(chunk.cells.iter().map(|cell| cell.key_type.name()));
            }
            _ => {}
        }
    }
    let missing: Vec<_> = KINDS.iter().filter(|kind| !said.contains(*kind)).collect();
    assert!(missing.is_empty(), "no vector says {missing:?}: add a sample and bless");
}
