//! Bytes: the only module that knows `bincode`, which nobody maintains any more (RUSTSEC-2025-0141).
//!
//! Everything variable stands in columns, byte strings of numbers and texts that a [`Reader`] walks. So decoding allocates
//! only for what it has read, and a few hostile bytes cannot ask for a gigabyte. Numbers are bincode 2's variable-length
//! integers; a longer form than needed is refused, so that there is one encoding of each value.

use std::fmt;

use bincode::config::{Configuration, standard};
use bincode::error::DecodeError;

const CONFIG: Configuration = standard();
/// The greatest number that takes one byte; greater bytes say how long the number behind them is.
const ONE_BYTE_MAX: u8 = 250;

/// Why bytes were refused. Nothing of them was used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CodecError {
    /// They end before they should.
    Short,
    /// They go on after they should end.
    Long,
    /// They are no encoding of what was expected; the text names the part.
    Broken(&'static str),
    /// They are of a version that this replica does not know.
    Version(u8),
}

impl fmt::Display for CodecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Short => write!(f, "the bytes end too early"),
            Self::Long => write!(f, "the bytes go on after the end"),
            Self::Broken(part) => write!(f, "the bytes are broken: {part}"),
            Self::Version(version) => write!(f, "version {version} is not known here: update this replica"),
        }
    }
}

impl std::error::Error for CodecError {}

/// Walks bytes from the front.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// A reader of these bytes.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// Whether all was read.
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// How many bytes are left.
    pub fn len(&self) -> usize {
        self.rest.len()
    }

    /// Ends the reading; an error if something is left.
    pub fn end(self) -> Result<(), CodecError> {
        if self.is_empty() { Ok(()) } else { Err(CodecError::Long) }
    }

    /// A byte.
    pub fn byte(&mut self) -> Result<u8, CodecError> {
        let (first, rest) = self.rest.split_first().ok_or(CodecError::Short)?;
        self.rest = rest;
        Ok(*first)
    }

    /// So many bytes.
    pub fn take(&mut self, count: usize) -> Result<&'a [u8], CodecError> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or(CodecError::Short)?;
        self.rest = rest;
        Ok(taken)
    }

    /// A number.
    #[inline]
    pub fn number(&mut self) -> Result<u64, CodecError> {
        // Nearly all numbers are their only byte.
        if let Some((&first @ 0..=ONE_BYTE_MAX, rest)) = self.rest.split_first() {
            self.rest = rest;
            return Ok(first.into());
        }
        self.long_number()
    }

    #[cold]
    fn long_number(&mut self) -> Result<u64, CodecError> {
        let (number, used): (u64, usize) =
            bincode::decode_from_slice(self.rest, CONFIG).map_err(|error| match error {
                DecodeError::UnexpectedEnd { .. } => CodecError::Short,
                _ => CodecError::Broken("a number"),
            })?;
        if used != number_bytes(number) {
            return Err(CodecError::Broken("a number is not in its shortest form"));
        }
        self.rest = &self.rest[used..];
        Ok(number)
    }

    /// A number that fits 32 bits.
    pub fn small(&mut self) -> Result<u32, CodecError> {
        u32::try_from(self.number()?).map_err(|_| CodecError::Broken("a number is too large"))
    }

    /// A number of 128 bits, at full length.
    pub fn wide(&mut self) -> Result<u128, CodecError> {
        let bytes = self.take(16)?;
        Ok(u128::from_be_bytes(bytes.try_into().expect("16 bytes were taken")))
    }

    /// A byte string with its length before it.
    pub fn bytes(&mut self) -> Result<&'a [u8], CodecError> {
        let count = usize::try_from(self.number()?).map_err(|_| CodecError::Short)?;
        self.take(count)
    }

    /// A text with its length before it.
    pub fn text(&mut self) -> Result<&'a str, CodecError> {
        str::from_utf8(self.bytes()?).map_err(|_| CodecError::Broken("a text is not UTF-8"))
    }

    /// A byte that is 0 or 1.
    pub fn flag(&mut self) -> Result<bool, CodecError> {
        match self.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(CodecError::Broken("a flag")),
        }
    }
}

/// Appends what a [`Reader`] reads.
#[derive(Clone, Debug, Default)]
pub struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    /// A writer with nothing in it.
    pub fn new() -> Self {
        Self::default()
    }

    /// What was written.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// How many bytes were written.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether nothing was written.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// A byte.
    pub fn byte(&mut self, byte: u8) {
        self.bytes.push(byte);
    }

    /// Bytes as they are.
    pub fn raw(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// A number.
    pub fn number(&mut self, number: u64) {
        if number <= ONE_BYTE_MAX.into() {
            return self.byte(number as u8);
        }
        let mut buffer = [0; 9];
        let used = bincode::encode_into_slice(number, &mut buffer, CONFIG).expect("a number takes at most 9 bytes");
        self.raw(&buffer[..used]);
    }

    /// A number of 128 bits, at full length.
    pub fn wide(&mut self, number: u128) {
        self.raw(&number.to_be_bytes());
    }

    /// A byte string with its length before it.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.raw(bytes);
    }

    /// A text with its length before it.
    pub fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    /// What another writer wrote, with its length before it.
    pub fn column(&mut self, column: Self) {
        self.bytes(&column.bytes);
    }

    /// A byte that is 0 or 1.
    pub fn flag(&mut self, flag: bool) {
        self.byte(flag.into());
    }
}

/// How many bytes a number takes.
fn number_bytes(number: u64) -> usize {
    match number {
        0..=250 => 1,
        251..=0xffff => 3,
        0x1_0000..=0xffff_ffff => 5,
        0x1_0000_0000.. => 9,
    }
}
