//! The queues, and how each is declared.

use crate::{Birth, Bounds, Names};

/// The value of an argument of a queue or a consumer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Argument {
    /// In AMQP a signed number of 64 bits; it is never negative here.
    Number(u64),
    /// In AMQP a long string.
    Word(&'static str),
    /// In AMQP a boolean.
    Flag(bool),
}

impl Argument {
    /// A number as AMQP has it: what is too large for it is the largest.
    pub fn signed(number: u64) -> i64 {
        i64::try_from(number).unwrap_or(i64::MAX)
    }
}

/// Arguments by their names.
pub type Arguments = Vec<(&'static str, Argument)>;

/// A queue as it has to be declared: durable, neither exclusive nor deleted with its last consumer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Queue {
    /// Its name on the broker.
    pub name: String,
    /// What it is declared with. The broker compares: a queue that exists with others is refused.
    pub arguments: Arguments,
    /// Whether it is then bound to the exchange [`Names::everyone`] (a durable fan-out), with an empty routing key.
    pub hears_everyone: bool,
}

/// A segment is what the broker drops of the log at once: a sixteenth, within what it can work with.
const SEGMENTS: u64 = 16;
const SEGMENT_BYTES: (u64, u64) = (1 << 20, 500 << 20);

impl Queue {
    /// What all replicas of the cluster share: `anyone`, `combiner`, and the log if there is one. The exchange is to be
    /// declared first.
    pub fn shared(names: &Names, bounds: &Bounds) -> Vec<Self> {
        let bounded = |bytes| {
            vec![("x-max-length-bytes", Argument::Number(bytes)), ("x-overflow", Argument::Word("reject-publish"))]
        };
        let anyone = bounded(bounds.anyone_bytes);
        let mut combiner = bounded(bounds.combiner_bytes);
        combiner.push(("x-single-active-consumer", Argument::Flag(true)));
        let mut queues = vec![
            Self { name: names.anyone.clone(), arguments: anyone, hears_everyone: false },
            Self { name: names.combiner.clone(), arguments: combiner, hears_everyone: false },
        ];
        if bounds.log_bytes > 0 {
            let segment_bytes = (bounds.log_bytes / SEGMENTS).clamp(SEGMENT_BYTES.0, SEGMENT_BYTES.1);
            let log = vec![
                ("x-queue-type", Argument::Word("stream")),
                ("x-max-length-bytes", Argument::Number(bounds.log_bytes)),
                ("x-stream-max-segment-size-bytes", Argument::Number(segment_bytes)),
            ];
            queues.push(Self { name: names.log.clone(), arguments: log, hears_everyone: true });
        }
        queues
    }

    /// The inbox of the replica of this name, which vanishes when nobody has used it for so many milliseconds: the
    /// retention, or less for replicas that never come back.
    pub fn inbox(names: &Names, name: &str, bounds: &Bounds, expires_ms: u64) -> Self {
        let arguments = vec![
            ("x-expires", Argument::Number(expires_ms)),
            ("x-max-length-bytes", Argument::Number(bounds.inbox_bytes)),
            ("x-overflow", Argument::Word("drop-head")),
        ];
        Self { name: names.inbox(name), arguments, hears_everyone: true }
    }

    /// What an inbox is consumed with: the later born of two consumers has all of it.
    pub fn inbox_consumer(birth: &Birth) -> Arguments {
        vec![("x-priority", Argument::Number(birth.ms))]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_without_a_log_has_two_queues_and_inboxes() {
        let names = Names::new("c").expect("it is a name");
        let bounds = Bounds { inbox_bytes: 1, anyone_bytes: 2, combiner_bytes: 3, log_bytes: 0 };
        let shared = Queue::shared(&names, &bounds);
        let told: Vec<_> = shared.iter().map(|queue| (queue.name.as_str(), queue.hears_everyone)).collect();
        assert_eq!(told, [("dayfly.c.anyone", false), ("dayfly.c.combiner", false)]);
        assert_eq!(shared[0].arguments[0], ("x-max-length-bytes", Argument::Number(2)));
        assert!(shared[1].arguments.contains(&("x-single-active-consumer", Argument::Flag(true))));
        let inbox = Queue::inbox(&names, "a", &bounds, 9);
        assert!(inbox.hears_everyone && inbox.name == "dayfly.c.node.a");
        assert_eq!(inbox.arguments[0], ("x-expires", Argument::Number(9)));
        assert_eq!(inbox.arguments[1], ("x-max-length-bytes", Argument::Number(1)));
    }

    #[test]
    fn a_log_is_cut_into_segments_that_the_broker_can_work_with() {
        let names = Names::new("c").expect("it is a name");
        for (log_bytes, segment) in [(1, 1 << 20), (32 << 20, 2 << 20), (1 << 40, 500 << 20)] {
            let log = Queue::shared(&names, &Bounds { log_bytes, ..Bounds::default() }).pop().expect("there are some");
            assert!(log.hears_everyone && log.name == names.log);
            assert_eq!(log.arguments[2], ("x-stream-max-segment-size-bytes", Argument::Number(segment)));
        }
    }
}
