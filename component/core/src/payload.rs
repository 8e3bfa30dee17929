//! The bytes of an entry.

use std::ops::Deref;

/// Up to this many bytes stand in the entry itself, so that a set of short elements costs no heap block an element.
const INLINE_BYTES: usize = 22;

/// Immutable bytes, short ones inline. 24 bytes in size.
#[derive(Clone)]
pub struct Payload(Repr);

#[derive(Clone)]
enum Repr {
    Inline { len: u8, bytes: [u8; INLINE_BYTES] },
    Heap(Box<[u8]>),
}

impl Payload {
    /// Bytes on the heap.
    pub fn heap_bytes(&self) -> usize {
        match &self.0 {
            Repr::Inline { .. } => 0,
            Repr::Heap(bytes) => bytes.len(),
        }
    }
}

impl From<&[u8]> for Payload {
    fn from(source: &[u8]) -> Self {
        if source.len() <= INLINE_BYTES {
            let mut bytes = [0; INLINE_BYTES];
            bytes[..source.len()].copy_from_slice(source);
            // The cast holds: the length is at most 22.
            Self(Repr::Inline { len: source.len() as u8, bytes })
        } else {
            Self(Repr::Heap(source.into()))
        }
    }
}

impl Default for Payload {
    fn default() -> Self {
        Self::from(&[][..])
    }
}

impl Deref for Payload {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.0 {
            Repr::Inline { len, bytes } => &bytes[..usize::from(*len)],
            Repr::Heap(bytes) => bytes,
        }
    }
}

impl PartialEq for Payload {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for Payload {}

impl std::fmt::Debug for Payload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.escape_ascii())
    }
}
