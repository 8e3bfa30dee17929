//! The thread that reads the file. It hands lines over in groups, ahead of those who send them by a bounded amount.

use std::io::Read;
use std::sync::mpsc::SyncSender;

use super::item::{self, Item};
use super::line::{LINE_BYTES, Lines};

/// How large a group becomes, in bytes of the file, unless one line is longer.
const GROUP_BYTES: u64 = 64 * 1024;

/// How many groups are read ahead.
pub const GROUPS_AHEAD: usize = 4;

/// One line of the range to load.
#[derive(Debug)]
pub struct Entry {
    /// Its number, from 1.
    pub number: u64,
    /// How many bytes it takes in the file.
    pub bytes: u64,
    /// Its operation, if it has one; or what is bad about it.
    pub content: Result<Option<Item>, String>,
}

/// What the reader tells.
#[derive(Debug)]
pub enum Message {
    /// So many bytes stood before the first line to load.
    Passed(u64),
    /// The next lines.
    Lines(Vec<Entry>),
    /// The last line to load has been told, or the file has ended; it has at least so many lines.
    End(u64),
    /// The file cannot be read further.
    Failed(String),
}

/// Reads the lines `from` to `to` and tells of them, until the end or until nobody listens.
pub fn read(input: impl Read, from: u64, to: Option<u64>, messages: &SyncSender<Message>) {
    let mut lines = Lines::new(input);
    let mut passed = 0;
    let mut count = 0;
    let mut group = Vec::new();
    let mut group_bytes = 0;
    let end = loop {
        if to.is_some_and(|to| count >= to) {
            break Message::End(count);
        }
        let line = match lines.next() {
            Ok(Some(line)) => line,
            Ok(None) => break Message::End(count),
            Err(error) => break Message::Failed(error.to_string()),
        };
        count = line.number;
        if line.number < from {
            passed += line.bytes;
            continue;
        }
        if line.number == from && passed > 0 && messages.send(Message::Passed(passed)).is_err() {
            return;
        }
        let content = match line.text {
            Some(text) => item::parse(line.number, text),
            None => Err(format!("longer than {LINE_BYTES} bytes")),
        };
        group.push(Entry { number: line.number, bytes: line.bytes, content });
        group_bytes += line.bytes;
        // Whoever waits for lines that come slowly shall have those that are here.
        if group_bytes >= GROUP_BYTES || !lines.ready() {
            group_bytes = 0;
            if messages.send(Message::Lines(std::mem::take(&mut group))).is_err() {
                return;
            }
        }
    };
    // If nobody listens any more, nobody needs to know of the end.
    if group.is_empty() || messages.send(Message::Lines(group)).is_ok() {
        let _ = messages.send(end);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::sync_channel;

    /// The numbers of the lines told, the bytes passed, and the end.
    fn told(input: &'static [u8], from: u64, to: Option<u64>) -> (Vec<u64>, u64, Option<u64>) {
        let (sender, messages) = sync_channel(GROUPS_AHEAD);
        let reader = std::thread::spawn(move || read(input, from, to, &sender));
        let (mut numbers, mut bytes, mut end) = (Vec::new(), 0, None);
        for message in messages {
            match message {
                Message::Passed(passed) => bytes += passed,
                Message::Lines(entries) => numbers.extend(entries.iter().map(|entry| entry.number)),
                Message::End(count) => end = Some(count),
                Message::Failed(reason) => panic!("a slice can be read: {reason}"),
            }
        }
        reader.join().expect("the reader ends");
        (numbers, bytes, end)
    }

    #[test]
    fn a_range_of_lines_is_read() {
        let input = b"#1\n#2\n#3\n#4\n#5";
        assert_eq!(told(input, 1, None), (vec![1, 2, 3, 4, 5], 0, Some(5)));
        assert_eq!(told(input, 3, None), (vec![3, 4, 5], 6, Some(5)));
        assert_eq!(told(input, 2, Some(3)), (vec![2, 3], 3, Some(3)));
        assert_eq!(told(input, 5, Some(99)), (vec![5], 12, Some(5)));
        assert_eq!(told(input, 9, None), (vec![], 0, Some(5)));
    }
}
