//! The folders of vectors, and what keeps them as they were.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use dayfly_core::frame::VERSION;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::samples;

/// Beside the vectors: the SHA-256 of each as it was committed, in the form of `sha256sum`.
const SUMS: &str = "SHA256SUMS";

/// A vector: bytes and what they say.
pub struct Vector {
    /// Its file's name.
    pub name: String,
    /// Of which version of the wire.
    pub version: u8,
    /// What stands in the file.
    pub value: Value,
}

/// The vectors of one version.
pub struct Folder {
    /// Which version.
    pub version: u8,
    path: PathBuf,
    vectors: Vec<Vector>,
}

impl Folder {
    /// All folders, by version. To bless adds to that of the present version first, whichever test comes first.
    pub fn all() -> &'static [Self] {
        static FOLDERS: LazyLock<Vec<Folder>> = LazyLock::new(|| {
            if std::env::var_os("DAYFLY_BLESS").is_some() {
                add_samples();
            }
            read_all()
        });
        &FOLDERS
    }

    /// What stands in it, by name.
    pub fn vectors(&self) -> &[Vector] {
        &self.vectors
    }

    /// Each vector is the one whose sum was committed, and none is missing.
    pub fn check_sums(&self) {
        let (sums, shown) = (read_sums(&self.path), self.path.display());
        for (name, sum) in &sums {
            let bytes = fs::read(self.path.join(name)).unwrap_or_else(|error| {
                panic!("{shown}/{name} was taken away ({error}). Vectors are never edited: get it back from git.")
            });
            assert_eq!(
                sum_of(&bytes),
                *sum,
                "{shown}/{name} was edited. Vectors of version {} stay as they were: get it back from git, and if the \
                 encoding is meant to change, raise `frame::VERSION` and begin a folder for it.",
                self.version
            );
        }
        for vector in &self.vectors {
            assert!(sums.contains_key(&vector.name), "{shown}/{SUMS} has no {}: bless adds it", vector.name);
        }
    }
}

fn tests() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests")
}

fn path_of(version: u8) -> PathBuf {
    tests().join(format!("wire-{version}"))
}

fn read_all() -> Vec<Folder> {
    let entries = fs::read_dir(tests()).expect("the tests stand in a folder");
    let names = entries.map(|entry| entry.expect("a folder can be read").file_name());
    let version = |name: std::ffi::OsString| name.to_str()?.strip_prefix("wire-")?.parse().ok();
    let mut versions: Vec<u8> = names.filter_map(version).collect();
    versions.sort_unstable();
    versions.into_iter().map(read).collect()
}

fn read(version: u8) -> Folder {
    let path = path_of(version);
    let entries = fs::read_dir(&path).expect("a folder of vectors can be read");
    let names = entries.map(|entry| entry.expect("a folder can be read").file_name().into_string());
    let mut names: Vec<String> = names.map(|name| name.expect("names of vectors are UTF-8")).collect();
    names.retain(|name| name.ends_with(".json"));
    names.sort_unstable();
    let vector = |name: String| {
        let text = fs::read_to_string(path.join(&name)).expect("a vector can be read");
        let value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{name} is no JSON: {error}"));
        Vector { name, version, value }
    };
    let vectors = names.into_iter().map(vector).collect();
    Folder { version, path, vectors }
}

/// Writes the samples whose names have no sum yet, with their sums. A vector that is there, or that was and is missing, is
/// left alone: [`Folder::check_sums`] tells.
fn add_samples() {
    let path = path_of(VERSION);
    fs::create_dir_all(&path).expect("a folder can be made");
    let mut sums = read_sums(&path);
    for (name, value) in samples::all() {
        let file = path.join(&name);
        if sums.contains_key(&name) || file.exists() {
            continue;
        }
        let text = serde_json::to_string_pretty(&value).expect("JSON can be written") + "\n";
        fs::write(&file, &text).expect("a vector can be written");
        sums.insert(name, sum_of(text.as_bytes()));
    }
    let lines: String = sums.iter().map(|(name, sum)| format!("{sum}  {name}\n")).collect();
    fs::write(path.join(SUMS), lines).expect("the sums can be written");
}

fn read_sums(folder: &Path) -> BTreeMap<String, String> {
    let Ok(text) = fs::read_to_string(folder.join(SUMS)) else { return BTreeMap::new() };
    let line = |line: &str| {
        let (sum, name) = line.split_once("  ").unwrap_or_else(|| panic!("{SUMS} has the line {line:?}"));
        (name.to_owned(), sum.to_owned())
    };
    text.lines().map(line).collect()
}

fn sum_of(bytes: &[u8]) -> String {
    to_hex(&Sha256::digest(bytes))
}

/// Two digits a byte.
pub fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("texts grow");
        text
    })
}

/// The bytes of such a text.
pub fn from_hex(text: &str) -> Option<Vec<u8>> {
    let pairs = text.as_bytes().chunks(2);
    pairs.map(|pair| u8::from_str_radix(str::from_utf8(pair).ok()?, 16).ok().filter(|_| pair.len() == 2)).collect()
}
