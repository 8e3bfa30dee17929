//! A component that was compiled ahead of time, together with the hash of what it was compiled from.

use sha2::{Digest, Sha256};

/// The SHA-256 of some bytes as 64 hex digits.
pub fn hash_hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Machine code of a component. [`crate::Runtime::precompile`] makes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Artefact {
    /// The SHA-256 of the component's bytes as 64 hex digits.
    pub component_hash: String,
    /// What the compiler made of them.
    pub code: Vec<u8>,
}

/// What an artefact's file begins with: the form's version, then the hash of the component.
const MAGIC: &[u8] = b"dayfly-artefact-1\n";
const HASH_HEX_LEN: usize = 64;

impl Artefact {
    /// The form it has in a file.
    pub fn to_bytes(&self) -> Vec<u8> {
        [MAGIC, self.component_hash.as_bytes(), &self.code].concat()
    }

    /// Reads what [`Artefact::to_bytes`] gave; none if the bytes do not have that form. It cannot tell whether the code
    /// is what the compiler made: see [`crate::Runtime::from_artefact`].
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (hash, code) = bytes.strip_prefix(MAGIC)?.split_at_checked(HASH_HEX_LEN)?;
        let component_hash = std::str::from_utf8(hash).ok()?.to_owned();
        component_hash.bytes().all(|b| b.is_ascii_hexdigit()).then(|| Self { component_hash, code: code.to_vec() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_those_of_sha_256() {
        assert_eq!(hash_hex(b"abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }

    #[test]
    fn an_artefact_comes_back_from_its_bytes_and_nothing_else_does() {
        let artefact = Artefact { component_hash: hash_hex(b"abc"), code: vec![1, 2, 3] };
        let bytes = artefact.to_bytes();
        assert_eq!(Artefact::from_bytes(&bytes), Some(artefact));
        assert_eq!(Artefact::from_bytes(&bytes[1..]), None);
        assert_eq!(Artefact::from_bytes(&bytes[..MAGIC.len() + 10]), None);
        assert_eq!(Artefact::from_bytes(b""), None);
    }
}
