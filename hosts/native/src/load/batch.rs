//! Consecutive lines that are sent together.

use super::item::Item;

/// The most operations that the API takes in one batch.
pub const MOST_OPERATIONS: i64 = 10_000;

/// How large a batch is made, in bytes of JSON, to begin with. What the replica makes of a batch must fit one frame of
/// usually 72 KiB, and is shorter than its JSON unless the operations replace very much; if it does not fit, the batch
/// is halved, and so is this.
pub const BATCH_BYTES: usize = 56 * 1024;

/// The operations of a range of lines. Lines of the range without an operation (blank, bad) are done with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// The first line.
    pub first: u64,
    /// The last line.
    pub last: u64,
    /// How many bytes the lines take in the file.
    pub bytes: u64,
    /// The operations, in the order of their lines.
    pub items: Vec<Item>,
    /// Whether an earlier attempt to send it got no answer, so that it may have been applied already.
    pub doubtful: bool,
}

impl Batch {
    /// The body of `POST /v1/batch`, with one operation more at its end, if there is one.
    pub fn body(&self, more: Option<&str>) -> String {
        let operations = || self.items.iter().map(|item| item.json.as_str()).chain(more);
        let mut body = String::with_capacity(operations().map(|json| json.len() + 1).sum::<usize>() + 2);
        for (index, json) in operations().enumerate() {
            body.push(if index == 0 { '[' } else { ',' });
            body.push_str(json);
        }
        body.push(']');
        body
    }

    /// Cuts it before the line of the operation of this index; neither part may be without operations. Together the
    /// parts speak of the same lines.
    pub fn split(mut self, index: usize) -> (Self, Self) {
        assert!(0 < index && index < self.items.len(), "both parts of a batch have operations");
        let items = self.items.split_off(index);
        let cut = items[0].line - 1;
        // As near as it can be told: blank lines count for the back.
        let front_bytes = self.items.iter().map(|item| item.json.len() as u64 + 1).sum::<u64>().min(self.bytes);
        let bytes = self.bytes - front_bytes;
        let back = Self { first: cut + 1, last: self.last, bytes, items, doubtful: self.doubtful };
        self.last = cut;
        self.bytes = front_bytes;
        (self, back)
    }

    /// Whether it may be sent again although it may have been applied.
    pub fn repeatable(&self) -> bool {
        self.items.iter().all(|item| item.repeatable)
    }
}

/// Makes batches of lines that come one by one, without a gap.
#[derive(Debug)]
pub struct Cutter {
    most_items: usize,
    open: Option<Batch>,
    json_bytes: usize,
}

impl Cutter {
    /// Batches of at most so many operations, at least one.
    pub fn new(most_items: usize) -> Self {
        Self { most_items: most_items.max(1), open: None, json_bytes: 0 }
    }

    /// Takes the next line, with its operation if it has one. Gives the batch before it if the line does not go into
    /// that: one more operation than allowed, or more than `most_bytes` of JSON. A line that is longer goes alone.
    pub fn push(&mut self, number: u64, bytes: u64, item: Option<Item>, most_bytes: usize) -> Option<Batch> {
        let length = item.as_ref().map_or(0, |item| item.json.len() + 1);
        let full = item.is_some()
            && self.open.as_ref().is_some_and(|open| {
                open.items.len() >= self.most_items || (!open.items.is_empty() && self.json_bytes + length > most_bytes)
            });
        let finished = if full { self.flush() } else { None };
        let empty = || Batch { first: number, last: number, bytes: 0, items: Vec::new(), doubtful: false };
        let open = self.open.get_or_insert_with(empty);
        open.last = number;
        open.bytes += bytes;
        open.items.extend(item);
        self.json_bytes += length;
        finished
    }

    /// The batch that is being filled, if it has lines.
    pub fn flush(&mut self) -> Option<Batch> {
        self.json_bytes = 0;
        self.open.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(line: u64, length: usize) -> Item {
        Item { line, json: "j".repeat(length), repeatable: true }
    }

    /// First line, last line and operations of each batch.
    fn cut(lines: &[Option<usize>], most_items: usize, most_bytes: usize) -> Vec<(u64, u64, usize)> {
        let mut cutter = Cutter::new(most_items);
        let mut batches = Vec::new();
        for (number, length) in (1..).zip(lines) {
            batches.extend(cutter.push(number, 1, length.map(|length| item(number, length)), most_bytes));
        }
        batches.extend(cutter.flush());
        assert_eq!(batches.iter().map(|batch| batch.bytes).sum::<u64>(), lines.len() as u64);
        batches.into_iter().map(|batch| (batch.first, batch.last, batch.items.len())).collect()
    }

    #[test]
    fn batches_hold_so_many_operations_and_bytes() {
        assert_eq!(cut(&[], 2, 100), []);
        assert_eq!(cut(&[Some(9); 5], 2, 100), [(1, 2, 2), (3, 4, 2), (5, 5, 1)]);
        assert_eq!(cut(&[Some(9); 5], 100, 30), [(1, 3, 3), (4, 5, 2)]);
        assert_eq!(cut(&[Some(9), Some(500), Some(9)], 100, 30), [(1, 1, 1), (2, 2, 1), (3, 3, 1)]);
    }

    #[test]
    fn lines_without_operation_belong_to_a_batch_and_do_not_fill_it() {
        assert_eq!(cut(&[None, Some(9), None, Some(9), None, None], 1, 100), [(1, 3, 1), (4, 6, 1)]);
        assert_eq!(cut(&[None, None], 1, 100), [(1, 2, 0)]);
    }

    #[test]
    fn the_parts_of_a_batch_speak_of_the_same_lines() {
        let items = vec![item(2, 9), item(5, 9), item(9, 9)];
        let whole = Batch { first: 1, last: 12, bytes: 50, items, doubtful: true };
        let (front, back) = whole.split(2);
        assert_eq!((front.first, front.last, front.items.len()), (1, 8, 2));
        assert_eq!((back.first, back.last, back.items.len()), (9, 12, 1));
        assert_eq!(front.bytes + back.bytes, 50);
        assert!(front.doubtful && back.doubtful);
    }

    #[test]
    fn the_body_is_a_json_array_of_the_lines() {
        let items = ["{\"a\":1.0}", "{}"].map(|json| Item { line: 1, json: json.to_owned(), repeatable: true });
        let batch = Batch { first: 1, last: 1, bytes: 0, items: items.to_vec(), doubtful: false };
        assert_eq!(batch.body(None), "[{\"a\":1.0},{}]");
        assert_eq!(batch.body(Some("{\"m\":1}")), "[{\"a\":1.0},{},{\"m\":1}]");
    }
}
