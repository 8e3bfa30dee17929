//! Several checkpoint parts in one value: a version, and for each part its name and its chunk, with their lengths before
//! them.

use std::collections::BTreeSet;

use super::BUNDLE_BYTES_MAX;

/// The first byte of a bundle.
const VERSION: u8 = 1;

/// A piece of a component's state (`checkpoint.part` of the WIT).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Its name: the writer, a hyphen, and which of the writer's parts it is.
    pub key: String,
    /// The encoded chunk.
    pub chunk: Vec<u8>,
}

impl Part {
    /// The writer whose dots it tells of.
    pub fn writer(&self) -> &str {
        self.key.split('-').next().unwrap_or_default()
    }

    /// How many bytes it takes in a bundle.
    pub fn stored_bytes(&self) -> usize {
        1 + self.key.len() + 4 + self.chunk.len()
    }
}

/// A bundle to be stored.
pub(super) struct Bundle {
    pub(super) bytes: Vec<u8>,
    pub(super) writers: BTreeSet<String>,
}

/// Puts parts into bundles, in their order.
pub(super) fn encode(parts: impl Iterator<Item = Part>) -> Vec<Bundle> {
    let mut bundles: Vec<Bundle> = Vec::new();
    for part in parts {
        let fits = |bundle: &&mut Bundle| bundle.bytes.len() + part.stored_bytes() <= BUNDLE_BYTES_MAX;
        let bundle = match bundles.last_mut().filter(fits) {
            Some(bundle) => bundle,
            None => {
                bundles.push(Bundle { bytes: vec![VERSION], writers: BTreeSet::new() });
                bundles.last_mut().expect("one was added")
            }
        };
        let key_length = u8::try_from(part.key.len()).expect("a name has at most 64 characters");
        let chunk_length = u32::try_from(part.chunk.len()).expect("an instance has less memory");
        bundle.bytes.push(key_length);
        bundle.bytes.extend_from_slice(part.key.as_bytes());
        bundle.bytes.extend_from_slice(&chunk_length.to_le_bytes());
        bundle.bytes.extend_from_slice(&part.chunk);
        bundle.writers.insert(part.writer().to_owned());
    }
    bundles
}

/// The parts of a bundle; none if it is broken or of another version.
pub(super) fn decode(bytes: &[u8]) -> Option<Vec<Part>> {
    let (version, mut rest) = bytes.split_first()?;
    if *version != VERSION {
        return None;
    }
    let mut parts = Vec::new();
    while !rest.is_empty() {
        let (key_length, behind) = rest.split_first()?;
        let (key, behind) = behind.split_at_checked(usize::from(*key_length))?;
        let (chunk_length, behind) = behind.split_first_chunk()?;
        let (chunk, behind) = behind.split_at_checked(u32::from_le_bytes(*chunk_length) as usize)?;
        parts.push(Part { key: String::from_utf8(key.to_vec()).ok()?, chunk: chunk.to_vec() });
        rest = behind;
    }
    Some(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(key: &str, length: usize) -> Part {
        Part { key: key.to_owned(), chunk: vec![7; length] }
    }

    #[test]
    fn parts_come_back_as_they_were() {
        let parts = vec![part("00ff-0", 0), part("00ff-1", 300), part("abcd-0", 70_000)];
        let bundles = encode(parts.clone().into_iter());
        assert_eq!(bundles.len(), 1);
        assert_eq!(bundles[0].writers, BTreeSet::from(["00ff".to_owned(), "abcd".to_owned()]));
        assert_eq!(decode(&bundles[0].bytes), Some(parts));
    }

    #[test]
    fn a_bundle_has_its_bound_and_a_long_part_one_of_its_own() {
        let half = BUNDLE_BYTES_MAX / 2;
        let parts = [part("a-0", half), part("a-1", 10), part("b-0", half), part("c-0", 3 * half), part("d-0", 1)];
        let bundles = encode(parts.clone().into_iter());
        assert_eq!(bundles.iter().map(|bundle| bundle.writers.len()).collect::<Vec<_>>(), [1, 1, 1, 1]);
        let all = bundles.iter().flat_map(|bundle| decode(&bundle.bytes).expect("a bundle"));
        assert_eq!(all.collect::<Vec<_>>(), parts);
    }

    #[test]
    fn what_is_broken_is_told_from_what_is_not() {
        let bytes = encode([part("00ff-0", 5), part("00ff-1", 9)].into_iter()).remove(0).bytes;
        let whole = [1, bytes.len() - 9 - 4 - 6 - 1, bytes.len()];
        for length in 0..=bytes.len() {
            assert_eq!(decode(&bytes[..length]).is_some(), whole.contains(&length), "{length}");
        }
        assert_eq!(decode(&[2]), None);
    }
}
