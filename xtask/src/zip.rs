//! Zip archives of which equal inputs give equal bytes: no times, no owners. As PKWARE's APPNOTE describes them, without
//! what archives beyond 4 GiB need.

use anyhow::{Context, Result};

/// A file in an archive.
pub struct Entry<'a> {
    /// Its name, without folders.
    pub name: &'a str,
    /// What stands in it.
    pub bytes: &'a [u8],
    /// Whether it may be run as a program.
    pub is_executable: bool,
}

/// Deflated, at zlib's highest level.
const LEVEL: u8 = 9;
/// Version 2.0 of the format: the first with deflate.
const NEEDED: u16 = 20;
const DEFLATED: u16 = 8;
/// Midnight of 1980-01-01, the earliest that there is: time, then date.
const NO_TIME: [u16; 2] = [0, 1 << 5 | 1];
/// Made on Unix, which is whose permissions the archive holds.
const MADE_BY: u16 = 3 << 8 | NEEDED;

/// Makes an archive of these files, in this order.
///
/// # Errors
/// A name or a file is too long for the format.
pub fn archive(entries: &[Entry<'_>]) -> Result<Vec<u8>> {
    let mut archive = Vec::new();
    let mut directory = Vec::new();
    for entry in entries {
        let start = length(archive.len())?;
        let deflated = miniz_oxide::deflate::compress_to_vec(entry.bytes, LEVEL);
        // What both headers of a file have in common: from the needed version to the length of the extra field.
        let mut described = Vec::new();
        put16(&mut described, &[NEEDED, 0, DEFLATED]);
        put16(&mut described, &NO_TIME);
        put32(&mut described, &[crc32fast::hash(entry.bytes), length(deflated.len())?, length(entry.bytes.len())?]);
        put16(&mut described, &[entry.name.len().try_into().context("a name is too long")?, 0]);

        archive.extend_from_slice(b"PK\x03\x04");
        archive.extend_from_slice(&described);
        archive.extend_from_slice(entry.name.as_bytes());
        archive.extend_from_slice(&deflated);

        let mode = if entry.is_executable { 0o100_755 } else { 0o100_644 };
        directory.extend_from_slice(b"PK\x01\x02");
        put16(&mut directory, &[MADE_BY]);
        directory.extend_from_slice(&described);
        // No comment, the first disk, nothing known of its contents; permissions, and where the file begins.
        put16(&mut directory, &[0, 0, 0]);
        put32(&mut directory, &[mode << 16, start]);
        directory.extend_from_slice(entry.name.as_bytes());
    }
    let (count, start) = (entries.len().try_into().context("too many files")?, length(archive.len())?);
    archive.extend_from_slice(&directory);
    archive.extend_from_slice(b"PK\x05\x06");
    put16(&mut archive, &[0, 0, count, count]);
    put32(&mut archive, &[length(directory.len())?, start]);
    put16(&mut archive, &[0]);
    Ok(archive)
}

fn length(bytes: usize) -> Result<u32> {
    u32::try_from(bytes).context("4 GiB are too much")
}

fn put16(bytes: &mut Vec<u8>, numbers: &[u16]) {
    bytes.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
}

fn put32(bytes: &mut Vec<u8>, numbers: &[u32]) {
    bytes.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The fields of the format by their offsets, as APPNOTE gives them, and not as the code above happens to write them.
    #[test]
    fn a_file_is_found_by_the_directory_and_comes_back() {
        let entries = [
            Entry { name: "first", bytes: b"", is_executable: false },
            Entry { name: "bootstrap", bytes: &[7; 100_000], is_executable: true },
        ];
        let archive = archive(&entries).expect("it is small");
        let get16 = |at: usize| usize::from(u16::from_le_bytes([archive[at], archive[at + 1]]));
        let get32 = |at: usize| get16(at) | get16(at + 2) << 16;

        let end = archive.len() - 22;
        assert_eq!((&archive[end..end + 4], get16(end + 10)), (b"PK\x05\x06".as_slice(), 2));
        let mut at = get32(end + 16);
        assert_eq!(at + get32(end + 12), end);
        for entry in &entries {
            assert_eq!(&archive[at..at + 4], b"PK\x01\x02");
            assert_eq!(&archive[at + 46..at + 46 + get16(at + 28)], entry.name.as_bytes());
            assert_eq!(get32(at + 38) >> 16 & 0o111 != 0, entry.is_executable);
            assert_eq!(get32(at + 24), entry.bytes.len());
            let local = get32(at + 42);
            assert_eq!(&archive[local..local + 4], b"PK\x03\x04");
            let data = local + 30 + get16(local + 26) + get16(local + 28);
            let inflated = miniz_oxide::inflate::decompress_to_vec(&archive[data..data + get32(at + 20)]);
            assert!(inflated.is_ok_and(|inflated| inflated == entry.bytes), "{}", entry.name);
            at += 46 + get16(at + 28);
        }
        assert_eq!(at, end);
    }
}
