//! A component that was compiled ahead of time, together with the hash of what it was compiled from: two files of one
//! folder. The machine code stands alone in its file, as wasmtime wants it, so that it is mapped and not read.

use std::io;
use std::path::Path;

use sha2::{Digest, Sha256};

/// The file with the machine code.
pub const CODE_FILE: &str = "replica.cwasm";
/// The file with the hash: 64 hex digits and the end of the line.
pub const HASH_FILE: &str = "replica.sha256";

const HASH_HEX_LEN: usize = 64;

/// The SHA-256 of some bytes as 64 hex digits.
pub fn hash_hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Machine code of a component. [`crate::Runtime::precompile`] makes it, [`crate::Runtime::map`] runs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Artefact {
    /// The SHA-256 of the component's bytes as 64 hex digits.
    pub component_hash: String,
    /// What the compiler made of them.
    pub code: Vec<u8>,
}

impl Artefact {
    /// Writes both files into this folder, which must be there. Each is renamed into its place: a process that has the
    /// former code mapped keeps it, and nobody reads half a file.
    ///
    /// # Errors
    /// As the file system says; what was written of the two by then is whole.
    pub fn write(&self, folder: &Path) -> io::Result<()> {
        let hash = format!("{}\n", self.component_hash);
        for (name, bytes) in [(CODE_FILE, self.code.as_slice()), (HASH_FILE, hash.as_bytes())] {
            let written = folder.join(format!("{name}.new"));
            std::fs::write(&written, bytes)?;
            std::fs::rename(&written, folder.join(name))?;
        }
        Ok(())
    }

    /// The hash that stands in this folder.
    ///
    /// # Errors
    /// The file cannot be read, or holds something else.
    pub fn hash_in(folder: &Path) -> io::Result<String> {
        let text = std::fs::read_to_string(folder.join(HASH_FILE))?;
        let hash = text.trim_end();
        let is_hash = hash.len() == HASH_HEX_LEN && hash.bytes().all(|byte| byte.is_ascii_hexdigit());
        let reason = || io::Error::new(io::ErrorKind::InvalidData, "it does not hold 64 hex digits");
        is_hash.then(|| hash.to_owned()).ok_or_else(reason)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_those_of_sha_256() {
        assert_eq!(hash_hex(b"abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }
}
