//! Lines of a file, one at a time, in bounded memory.

use std::io::{self, BufRead, BufReader, Read};

/// The longest line, in bytes without its end: sixteen times the largest payload.
pub const LINE_BYTES: usize = 1 << 20;

/// How much is read at once, in bytes.
const BUFFER_BYTES: usize = 64 * 1024;

/// One line.
#[derive(Debug, PartialEq, Eq)]
pub struct Line {
    /// Its number, from 1.
    pub number: u64,
    /// How many bytes it takes in the file, its end included.
    pub bytes: u64,
    /// Its text without its end; none if it is longer than [`LINE_BYTES`].
    pub text: Option<Vec<u8>>,
}

/// Reads lines. The last one may lack its end.
pub struct Lines<R> {
    input: BufReader<R>,
    number: u64,
}

impl<R: Read> Lines<R> {
    /// Reads from here on; the first line has the number 1.
    pub fn new(input: R) -> Self {
        Self { input: BufReader::with_capacity(BUFFER_BYTES, input), number: 0 }
    }

    /// Whether the next line stands in the buffer already, so that reading it cannot block.
    pub fn ready(&self) -> bool {
        self.input.buffer().contains(&b'\n')
    }

    /// The next line; none at the end.
    pub fn next(&mut self) -> io::Result<Option<Line>> {
        let mut text = Vec::new();
        let mut bytes = 0_u64;
        let mut too_long = false;
        loop {
            let available = match self.input.fill_buf() {
                Ok(available) => available,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            if available.is_empty() {
                break;
            }
            let end = available.iter().position(|&byte| byte == b'\n');
            let part = &available[..end.unwrap_or(available.len())];
            too_long |= text.len() + part.len() > LINE_BYTES;
            if too_long {
                text = Vec::new();
            } else {
                text.extend_from_slice(part);
            }
            let taken = part.len() + usize::from(end.is_some());
            self.input.consume(taken);
            bytes += taken as u64;
            if end.is_some() {
                break;
            }
        }
        if bytes == 0 {
            return Ok(None);
        }
        self.number += 1;
        Ok(Some(Line { number: self.number, bytes, text: (!too_long).then_some(text) }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(input: &[u8]) -> Vec<(u64, u64, Option<usize>)> {
        let mut lines = Lines::new(input);
        let mut read = Vec::new();
        while let Some(line) = lines.next().expect("a slice can be read") {
            read.push((line.number, line.bytes, line.text.map(|text| text.len())));
        }
        read
    }

    #[test]
    fn every_line_is_counted_with_its_bytes() {
        assert_eq!(read(b""), []);
        assert_eq!(read(b"\n"), [(1, 1, Some(0))]);
        assert_eq!(read(b"ab\n\nc"), [(1, 3, Some(2)), (2, 1, Some(0)), (3, 1, Some(1))]);
    }

    #[test]
    fn a_line_that_is_too_long_is_passed_over_and_those_after_it_are_read() {
        let mut input = vec![b'x'; LINE_BYTES];
        input.push(b'\n');
        input.extend(vec![b'y'; LINE_BYTES + 1]);
        input.extend(b"\nz\n");
        let longest = LINE_BYTES as u64;
        assert_eq!(read(&input), [(1, longest + 1, Some(LINE_BYTES)), (2, longest + 2, None), (3, 2, Some(1))]);
    }

    #[test]
    fn it_is_known_whether_reading_may_block() {
        let mut lines = Lines::new(&b"a\nb\nc"[..]);
        assert!(!lines.ready(), "nothing is read yet");
        lines.next().expect("a slice can be read");
        assert!(lines.ready());
        lines.next().expect("a slice can be read");
        assert!(!lines.ready(), "the end of line 3 is missing");
    }
}
