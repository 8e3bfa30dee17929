//! Putting a message together from its method, its header and the pieces of its body.

use amq_protocol::protocol::basic::Deliver;

use super::header::Header;
use super::reader::Fault;

/// Larger bodies come as empty ones, which the component counts among the broken: no frame of Dayfly is as large, and
/// what others publish into its queues must not fill the guest's memory.
pub(super) const BODY_BYTES_MAX: u64 = 2 << 20;

/// A message on its way.
#[derive(Debug, Default)]
pub(super) enum Content {
    #[default]
    None,
    /// Its header comes next.
    Begun(Whence),
    /// So many bytes of it are still to come.
    Partly(Message, u64),
}

/// Why there is a message.
#[derive(Debug, PartialEq)]
pub(super) enum Whence {
    Delivered(Deliver),
    Returned,
}

/// A whole message.
#[derive(Debug, PartialEq)]
pub(super) struct Message {
    pub(super) whence: Whence,
    pub(super) header: Header,
    pub(super) body: Vec<u8>,
}

const OUT_OF_ORDER: Fault = Fault("a message's frames come out of order");

impl Content {
    /// Whether another method may come.
    pub(super) fn is_none(&self) -> bool {
        matches!(self, Self::None)
    }

    pub(super) fn begin(&mut self, whence: Whence) -> Result<(), Fault> {
        if !self.is_none() {
            return Err(OUT_OF_ORDER);
        }
        *self = Self::Begun(whence);
        Ok(())
    }

    /// Gives the message if it is whole: an empty one has no pieces.
    pub(super) fn take_header(&mut self, header: Header) -> Result<Option<Message>, Fault> {
        let Self::Begun(whence) = std::mem::take(self) else { return Err(OUT_OF_ORDER) };
        let missing = header.size;
        *self = Self::Partly(Message { whence, header, body: Vec::new() }, missing);
        Ok(self.whole())
    }

    /// As before.
    pub(super) fn take_piece(&mut self, piece: &[u8]) -> Result<Option<Message>, Fault> {
        let Self::Partly(message, missing) = self else { return Err(OUT_OF_ORDER) };
        let left = missing.checked_sub(piece.len() as u64);
        *missing = left.ok_or(Fault("a message is longer than it said"))?;
        if message.header.size <= BODY_BYTES_MAX {
            message.body.extend_from_slice(piece);
        }
        Ok(self.whole())
    }

    fn whole(&mut self) -> Option<Message> {
        match std::mem::take(self) {
            Self::Partly(message, 0) => Some(message),
            other => {
                *self = other;
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(size: u64) -> Header {
        Header { size, kind: None, id: None }
    }

    #[test]
    fn a_body_comes_in_pieces_or_not_at_all() {
        let mut content = Content::default();
        content.begin(Whence::Returned).expect("nothing is under way");
        assert_eq!(content.take_header(header(5)), Ok(None));
        assert_eq!(content.take_piece(b"abc"), Ok(None));
        let message = content.take_piece(b"de").expect("it is in order").expect("it is whole");
        assert_eq!(message.body, b"abcde");
        content.begin(Whence::Returned).expect("nothing is under way");
        assert!(content.take_header(header(0)).expect("it is in order").is_some_and(|message| message.body.is_empty()));
        assert!(content.is_none());
    }

    #[test]
    fn a_body_too_large_comes_empty() {
        let mut content = Content::default();
        content.begin(Whence::Returned).expect("nothing is under way");
        let piece = vec![0; 1 << 20];
        assert_eq!(content.take_header(header((2 << 20) + 1)), Ok(None));
        assert_eq!(content.take_piece(&piece), Ok(None));
        assert_eq!(content.take_piece(&piece), Ok(None));
        let message = content.take_piece(&piece[..1]).expect("it is in order").expect("it is whole");
        assert!(message.body.is_empty());
    }

    #[test]
    fn what_is_out_of_order_is_a_fault() {
        assert!(Content::default().take_piece(b"a").is_err());
        assert!(Content::default().take_header(header(1)).is_err());
        let mut content = Content::Begun(Whence::Returned);
        assert!(content.begin(Whence::Returned).is_err());
        assert!(content.take_piece(b"a").is_err());
        let mut content = Content::Begun(Whence::Returned);
        content.take_header(header(1)).expect("it is in order");
        assert!(content.take_piece(b"ab").is_err());
    }
}
