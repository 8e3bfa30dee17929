//! Where a reader of the log has to stop.
//!
//! A stream tells nobody where its end is. So a reader publishes a mark to the log, waits until that is confirmed, and
//! reads from the beginning until it finds its own mark. Those of other readers are passed over.

use std::fmt;

/// The `type` of a mark; its `message-id` is the [`LogMark`].
pub const LOG_MARK: &str = "dayfly.log-end";

/// What a mark says, to people.
pub const LOG_MARK_BODY: &[u8] = b"end";

/// What the log is consumed with, so that it begins at its oldest message.
pub const LOG_START: [(&str, crate::Argument); 1] = [("x-stream-offset", crate::Argument::Word("first"))];

/// One reader's mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogMark {
    /// Tells it from the marks of others.
    pub random: u64,
}

/// What a message of the log is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Logged {
    /// What somebody sent to everyone, or into the log.
    Message,
    /// Where another reader was opened.
    ForeignMark,
    /// The end, to this reader.
    OwnMark,
}

impl LogMark {
    /// What a message of this `type` and `message-id` is to this reader.
    pub fn tell(&self, kind: Option<&str>, id: Option<&str>) -> Logged {
        match kind {
            Some(LOG_MARK) if id == Some(self.to_string().as_str()) => Logged::OwnMark,
            Some(LOG_MARK) => Logged::ForeignMark,
            Some(_) | None => Logged::Message,
        }
    }
}

impl fmt::Display for LogMark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.random)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_knows_its_own_mark() {
        let mark = LogMark { random: 10 };
        assert_eq!(mark.to_string(), "000000000000000a");
        assert_eq!(mark.tell(Some(LOG_MARK), Some("000000000000000a")), Logged::OwnMark);
        assert_eq!(mark.tell(Some(LOG_MARK), Some("000000000000000b")), Logged::ForeignMark);
        assert_eq!(mark.tell(Some(LOG_MARK), None), Logged::ForeignMark);
        assert_eq!(mark.tell(None, Some("000000000000000a")), Logged::Message);
        assert_eq!(mark.tell(Some("other"), None), Logged::Message);
    }
}
