//! What is published, and what became of it.

use std::collections::{BTreeSet, VecDeque};

use amq_protocol::protocol::basic::{AMQPProperties, Publish};
use dayfly_amqp::{Birth, Names, Publication, Route, TAKE_OVER, TAKE_OVER_BODY, TAKE_OVER_TTL_MS};

use super::writer::Writer;
use super::{Frame, PUBLISH, Verdict};

/// The frames of a session that wait or are under way, in the order in which they were given. Outcomes are told in that
/// order too.
#[derive(Debug)]
pub(super) struct Outbox {
    /// Not written yet: the session is not ready, or the broker asked to wait.
    waiting: VecDeque<Waiting>,
    /// Their numbers ascend.
    under_way: VecDeque<UnderWay>,
    /// What was written last. The broker numbers what comes over a channel that confirms: 1, 2, ….
    last: u64,
    /// Numbers of those under way that came back.
    returned: BTreeSet<u64>,
}

#[derive(Debug)]
struct Waiting {
    id: u64,
    /// None: there is no such place.
    publication: Option<Publication>,
    body: Vec<u8>,
}

#[derive(Debug)]
struct UnderWay {
    /// None: it is not a frame of the host's.
    id: Option<u64>,
    /// What is not written has that of the one before.
    number: u64,
    verdict: Option<Verdict>,
}

/// What AMQP has room for in a name. The contract's are far shorter.
const NAME_BYTES_MAX: usize = 255;

impl Outbox {
    pub(super) fn new() -> Self {
        Self { waiting: VecDeque::new(), under_way: VecDeque::new(), last: 0, returned: BTreeSet::new() }
    }

    /// Takes a frame, to be written by [`Outbox::write`].
    pub(super) fn push(&mut self, frame: Frame<'_>, names: &Names, logged: bool, retention_ms: u64) {
        let publication = match frame.route {
            Route::One(name) if names.inbox(name).len() > NAME_BYTES_MAX => None,
            route => Publication::new(route, frame.ttl_ms, names, logged, retention_ms),
        };
        self.waiting.push_back(Waiting { id: frame.id, publication, body: frame.body });
    }

    /// Writes all that waits.
    pub(super) fn write(&mut self, writer: &mut Writer) {
        while let Some(Waiting { id, publication, body }) = self.waiting.pop_front() {
            let Some(publication) = publication else {
                let verdict = Some(Verdict::Unroutable);
                self.under_way.push_back(UnderWay { id: Some(id), number: self.last, verdict });
                continue;
            };
            let number = self.follow(Some(id));
            let mut properties = AMQPProperties::default()
                .with_delivery_mode(publication.delivery_mode())
                .with_expiration(publication.expiration_ms.to_string().into());
            if publication.mandatory {
                // By it one that is returned is known.
                properties = properties.with_message_id(number.to_string().into());
            }
            let publish = Publish {
                exchange: publication.exchange.into(),
                routing_key: publication.key.into(),
                mandatory: publication.mandatory,
                immediate: false,
            };
            writer.message(PUBLISH, publish, properties, &body);
        }
    }

    /// Tells an earlier session of this inbox to go.
    pub(super) fn take_over(&mut self, inbox: &str, birth: &Birth, writer: &mut Writer) {
        let properties = AMQPProperties::default()
            .with_type(TAKE_OVER.into())
            .with_message_id(birth.to_string().into())
            .with_expiration(TAKE_OVER_TTL_MS.to_string().into());
        let publish = Publish { routing_key: inbox.into(), ..Publish::default() };
        writer.message(PUBLISH, publish, properties, TAKE_OVER_BODY);
        self.follow(None);
    }

    fn follow(&mut self, id: Option<u64>) -> u64 {
        self.last += 1;
        self.under_way.push_back(UnderWay { id, number: self.last, verdict: None });
        self.last
    }

    /// The broker has answered for this number, or for all up to it; 0 with `multiple`: for all.
    pub(super) fn confirm(&mut self, number: u64, multiple: bool, verdict: Verdict) {
        let upto = if number == 0 && multiple { self.last } else { number };
        let from = if multiple { 0 } else { self.under_way.partition_point(|frame| frame.number < upto) };
        for frame in self.under_way.range_mut(from..) {
            if frame.number > upto {
                break;
            }
            frame.verdict = frame.verdict.or(Some(verdict));
        }
    }

    /// A message came back, of this `message-id`. The broker confirms it afterwards.
    pub(super) fn note_returned(&mut self, id: Option<&str>) {
        let number = id.and_then(|id| id.parse().ok());
        let oldest = self.under_way.front().map_or(self.last + 1, |frame| frame.number);
        self.returned.extend(number.filter(|number| (oldest..=self.last).contains(number)));
    }

    /// Outcomes that have come, in order.
    pub(super) fn settled(&mut self) -> Vec<(u64, Verdict)> {
        let mut settled = Vec::new();
        while let Some(UnderWay { id, number, verdict: Some(verdict) }) = self.under_way.front() {
            // One that was not written has the number of one that is settled already.
            let verdict = if self.returned.remove(number) { Verdict::Unroutable } else { *verdict };
            settled.extend(id.map(|id| (id, verdict)));
            self.under_way.pop_front();
        }
        settled
    }

    /// How many frames are not settled.
    pub(super) fn len(&self) -> usize {
        self.waiting.len() + self.under_way.iter().filter(|frame| frame.id.is_some()).count()
    }

    /// Gives up all that is not settled.
    pub(super) fn give_up(&mut self) -> Vec<u64> {
        self.returned.clear();
        let under_way = self.under_way.drain(..).filter_map(|frame| frame.id);
        under_way.chain(self.waiting.drain(..).map(|frame| frame.id)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Those of `anyone` may be returned; `log` is nowhere.
    fn outbox(routes: &[Route<'_>]) -> Outbox {
        let names = Names::new("c").expect("it is a name");
        let mut outbox = Outbox::new();
        for (id, route) in (10..).zip(routes) {
            outbox.push(Frame { id, route: *route, body: vec![1], ttl_ms: None }, &names, false, 1_000);
        }
        outbox.write(&mut Writer::new(4_096));
        outbox
    }

    #[test]
    fn outcomes_are_told_in_the_order_of_the_frames() {
        let mut outbox = outbox(&[Route::Anyone; 4]);
        outbox.confirm(2, false, Verdict::Failed);
        outbox.confirm(4, false, Verdict::Confirmed);
        assert_eq!(outbox.settled(), []);
        outbox.confirm(1, false, Verdict::Confirmed);
        assert_eq!(outbox.settled(), [(10, Verdict::Confirmed), (11, Verdict::Failed)]);
        outbox.confirm(3, false, Verdict::Confirmed);
        assert_eq!(outbox.settled(), [(12, Verdict::Confirmed), (13, Verdict::Confirmed)]);
        assert_eq!(outbox.len(), 0);
    }

    #[test]
    fn one_confirmation_may_be_for_many() {
        let mut outbox = outbox(&[Route::Anyone; 5]);
        outbox.confirm(1, false, Verdict::Failed);
        outbox.confirm(3, true, Verdict::Confirmed);
        let told = [(10, Verdict::Failed), (11, Verdict::Confirmed), (12, Verdict::Confirmed)];
        assert_eq!(outbox.settled(), told);
        outbox.confirm(0, true, Verdict::Failed);
        assert_eq!(outbox.settled(), [(13, Verdict::Failed), (14, Verdict::Failed)]);
        // What was never sent is confirmed to no effect.
        outbox.confirm(99, true, Verdict::Confirmed);
        outbox.confirm(99, false, Verdict::Confirmed);
        assert_eq!(outbox.settled(), []);
    }

    #[test]
    fn what_came_back_is_unroutable() {
        let mut outbox = outbox(&[Route::Anyone; 2]);
        for id in [None, Some("x"), Some("0"), Some("3"), Some("2")] {
            outbox.note_returned(id);
        }
        outbox.confirm(2, true, Verdict::Confirmed);
        assert_eq!(outbox.settled(), [(10, Verdict::Confirmed), (11, Verdict::Unroutable)]);
        outbox.note_returned(Some("2"));
        assert!(outbox.returned.is_empty());
    }

    #[test]
    fn what_has_no_place_is_unroutable_in_its_turn() {
        let long = "n".repeat(300);
        let mut outbox = outbox(&[Route::Log, Route::Anyone, Route::Log, Route::One(&long), Route::Anyone]);
        assert_eq!(outbox.settled(), [(10, Verdict::Unroutable)]);
        outbox.confirm(1, false, Verdict::Confirmed);
        let told = [(11, Verdict::Confirmed), (12, Verdict::Unroutable), (13, Verdict::Unroutable)];
        assert_eq!(outbox.settled(), told);
        assert_eq!(outbox.give_up(), [14]);
    }
}
