//! The session on a real RabbitMQ, over a plain socket: each route, outcome and refusal. `cargo xtask test` runs one
//! and tells where it is; without it these tests fail, and say so.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use dayfly_amqp::{Birth, Bounds, Names, Route, Source};
use dayfly_spin::session::{Address, Delivery, Event, Frame, Opening, Session, Verdict};

/// Long enough for anything that is awaited, on a machine that does other things too.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long one waits to see that nothing comes.
const A_WHILE: Duration = Duration::from_millis(400);
/// How long a read waits at most, so that what is due is done meanwhile.
const GLANCE: Duration = Duration::from_millis(10);

fn url() -> String {
    std::env::var("DAYFLY_TEST_BROKER").unwrap_or_else(|_| {
        panic!(
            "DAYFLY_TEST_BROKER is not set: these tests need a RabbitMQ of their own, which `cargo xtask test` brings"
        )
    })
}

/// A number that nobody else has: of this process by its count, of others by the time of its start.
fn unique() -> u64 {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is right");
    (u64::from(since.subsec_nanos()) << 20 | COUNT.fetch_add(1, Ordering::Relaxed))
        ^ u64::from(std::process::id()) << 50
}

/// A cluster of its own for each test. What it leaves on the broker vanishes with the broker.
fn opening(test: &str) -> Opening {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is right");
    let ms = u64::try_from(since.as_millis()).expect("it is short");
    Opening {
        address: Address::read(&url()).expect("it is a URL"),
        names: Names::new(&format!("spin-{test}-{:016x}", unique())).expect("it is a name"),
        bounds: Bounds::default(),
        name: "a".to_owned(),
        inbox_expires_ms: 60_000,
        retention_ms: 60_000,
        heartbeat_s: 20,
        connect_ms: 20_000,
        birth: Birth { ms, random: unique() },
    }
}

fn called(opening: &Opening, name: &str) -> Opening {
    Opening { name: name.to_owned(), ..opening.clone() }
}

/// A session, its socket, and what has happened and nobody asked for yet.
struct Peer {
    session: Session,
    socket: TcpStream,
    began: Instant,
    events: VecDeque<Event>,
    next_id: u64,
}

impl Peer {
    fn new(opening: Opening) -> Self {
        let socket = TcpStream::connect((opening.address.host.as_str(), opening.address.port)).expect("it listens");
        socket.set_read_timeout(Some(GLANCE)).expect("it is not zero");
        socket.set_nodelay(true).expect("it is a socket");
        let session = Session::new(opening, 0);
        Self { session, socket, began: Instant::now(), events: VecDeque::new(), next_id: 1 }
    }

    /// One that is ready, with its backlog and how many served `anyone` before.
    fn ready(opening: Opening) -> (Self, u32, u32) {
        let mut peer = Self::new(opening);
        match peer.next() {
            Event::Ready { backlog, servers } => (peer, backlog, servers),
            other => panic!("{other:?}"),
        }
    }

    fn of(opening: &Opening) -> Self {
        Self::ready(opening.clone()).0
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).expect("it is short")
    }

    fn write(&mut self) {
        let bytes = self.session.outgoing();
        // Who was refused may find the socket closed.
        let _ = self.socket.write_all(&bytes);
    }

    /// Reads and writes once, and gathers events.
    fn turn(&mut self) {
        self.write();
        let mut piece = [0; 9_999];
        match self.socket.read(&mut piece) {
            Ok(0) => self.session.socket_ended("it was closed"),
            Ok(length) => self.session.take_in(&piece[..length], self.now_ms()),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(error) => self.session.socket_ended(&error.to_string()),
        }
        if self.session.next_tick_ms().is_some_and(|tick_ms| self.now_ms() >= tick_ms) {
            self.session.tick(self.now_ms());
        }
        self.events.extend(std::iter::from_fn(|| self.session.next_event()));
        self.write();
    }

    fn next_within(&mut self, limit: Duration) -> Option<Event> {
        let until = Instant::now() + limit;
        while self.events.is_empty() && Instant::now() < until && !self.session.is_over() {
            self.turn();
        }
        self.events.pop_front()
    }

    fn next(&mut self) -> Event {
        self.next_within(PATIENCE).expect("something happens")
    }

    /// The next event of a kind; the others are kept.
    fn find<T>(&mut self, what: &str, pick: impl Fn(&Event) -> Option<T>) -> T {
        let until = Instant::now() + PATIENCE;
        let mut others = VecDeque::new();
        while Instant::now() < until {
            let Some(event) = self.next_within(GLANCE) else { continue };
            match pick(&event) {
                Some(found) => {
                    others.append(&mut self.events);
                    self.events = others;
                    return found;
                }
                None => others.push_back(event),
            }
        }
        panic!("there is no {what}: {others:?}");
    }

    fn delivered(&mut self) -> Delivery {
        self.find("delivery", |event| if let Event::Delivered(it) = event { Some(it.clone()) } else { None })
    }

    fn bodies(&mut self, count: usize) -> Vec<Vec<u8>> {
        let deliveries: Vec<Delivery> = (0..count).map(|_| self.delivered()).collect();
        self.session.acknowledge(&deliveries.iter().map(|it| it.tag).collect::<Vec<_>>());
        self.write();
        deliveries.into_iter().map(|it| it.body).collect()
    }

    fn publish_all(&mut self, frames: Vec<(Route<'_>, Vec<u8>)>) -> Vec<Verdict> {
        let (first, count) = (self.next_id, frames.len());
        for (route, body) in frames {
            self.session.publish(Frame { id: self.next_id, route, body, ttl_ms: None });
            self.next_id += 1;
        }
        let mut settled = Vec::new();
        while settled.len() < count {
            settled.extend(
                self.find("outcome", |event| if let Event::Settled(it) = event { Some(it.clone()) } else { None }),
            );
        }
        let ids: Vec<u64> = settled.iter().map(|(id, _)| *id).collect();
        assert_eq!(ids, (first..self.next_id).collect::<Vec<_>>(), "each is settled once, in order");
        assert_eq!(self.session.in_flight(), 0);
        settled.into_iter().map(|(_, verdict)| verdict).collect()
    }

    fn publish(&mut self, route: Route<'_>, body: &[u8]) -> Verdict {
        self.publish_all(vec![(route, body.to_vec())])[0]
    }

    fn nothing_comes(&mut self) {
        let came = self.next_within(A_WHILE);
        assert_eq!(came, None);
    }

    fn serve(&mut self) {
        self.session.serve_anyone(true);
        self.write();
    }

    fn close(mut self) {
        self.session.close();
        self.find("end", |event| (*event == Event::Closed).then_some(()));
    }
}

#[test]
fn everyone_hears_what_is_for_everyone() {
    let opening = opening("everyone");
    let (mut a, mut b) = (Peer::of(&opening), Peer::of(&called(&opening, "b")));
    // More than the broker takes in a frame, and nothing at all.
    let large: Vec<u8> = (0..600_000_u32).map(|number| number.to_le_bytes()[1]).collect();
    let frames = vec![(Route::Everyone, large.clone()), (Route::Everyone, Vec::new())];
    assert_eq!(a.publish_all(frames), [Verdict::Confirmed; 2]);
    for peer in [&mut a, &mut b] {
        let bodies = peer.bodies(2);
        assert!(bodies[0] == large && bodies[1].is_empty());
    }
    a.close();
    b.close();
}

#[test]
fn one_is_one_inbox_and_tells_when_it_is_gone() {
    let opening = opening("one");
    let (mut a, mut b) = (Peer::of(&opening), Peer::of(&called(&opening, "b")));
    let frames = [("b", "1"), ("nobody", "2"), ("b", "3"), ("nobody", "4")]
        .map(|(name, body)| (Route::One(name), body.as_bytes().to_vec()));
    let verdicts = a.publish_all(frames.to_vec());
    assert_eq!(verdicts, [Verdict::Confirmed, Verdict::Unroutable, Verdict::Confirmed, Verdict::Unroutable]);
    assert_eq!(b.bodies(2), [b"1", b"3"]);
    // Without a log there is no place for what is for it, in its turn.
    let verdicts = a.publish_all(vec![(Route::Log, vec![1]), (Route::One("b"), vec![2])]);
    assert_eq!(verdicts, [Verdict::Unroutable, Verdict::Confirmed]);
    b.bodies(1);
    b.session.delete_inbox();
    b.close();
    assert_eq!(a.publish(Route::One("b"), b"5"), Verdict::Unroutable);
    a.nothing_comes();
}

#[test]
fn anyone_is_some_one_who_serves() {
    let opening = opening("anyone");
    let (mut a, _, servers) = Peer::ready(opening.clone());
    assert_eq!(servers, 0);
    assert_eq!(a.publish(Route::Anyone, b"waits"), Verdict::Confirmed);
    a.nothing_comes();
    a.serve();
    let delivery = a.delivered();
    assert_eq!((delivery.body.as_slice(), delivery.source), (&b"waits"[..], Source::Anyone));
    a.session.acknowledge(&[delivery.tag]);
    let (mut b, _, servers) = Peer::ready(called(&opening, "b"));
    assert_eq!(servers, 1);

    // Who ends gives back what was not passed on.
    assert_eq!(b.publish(Route::Anyone, b"1"), Verdict::Confirmed);
    let until = Instant::now() + PATIENCE;
    let mut piece = [0; 4_096];
    let length = loop {
        assert!(Instant::now() < until, "it is delivered");
        if let Ok(length) = a.socket.read(&mut piece) {
            break length;
        }
    };
    a.session.take_in(&piece[..length], 1);
    a.session.serve_anyone(false);
    b.serve();
    a.turn();
    let delivery = b.delivered();
    assert_eq!(delivery.body, b"1");
    b.session.acknowledge(&[delivery.tag]);
    a.nothing_comes();
    // And may begin again.
    a.serve();
    b.session.serve_anyone(false);
    b.turn();
    assert_eq!(a.publish(Route::Anyone, b"2"), Verdict::Confirmed);
    let mut both = [&mut a, &mut b];
    let until = Instant::now() + PATIENCE;
    let taken = loop {
        assert!(Instant::now() < until, "it is delivered");
        let found = both.iter_mut().find_map(|peer| peer.next_within(GLANCE));
        if let Some(Event::Delivered(delivery)) = found {
            break delivery;
        }
    };
    assert_eq!(taken.body, b"2");
}

#[test]
fn what_does_not_fit_is_refused() {
    let mut opening = opening("full");
    opening.bounds.anyone_bytes = 1_000;
    let mut a = Peer::of(&opening);
    let verdicts = a.publish_all((0..40).map(|_| (Route::Anyone, vec![0; 100])).collect());
    assert!(verdicts.contains(&Verdict::Confirmed) && verdicts.contains(&Verdict::Failed), "{verdicts:?}");
}

#[test]
fn one_combines_at_a_time_and_another_goes_on() {
    let opening = opening("combiner");
    let (mut a, mut b) = (Peer::of(&opening), Peer::of(&called(&opening, "b")));
    assert_eq!(b.publish_all(vec![(Route::Combiner, vec![1]), (Route::Combiner, vec![2])]), [Verdict::Confirmed; 2]);
    let first = a.delivered();
    assert_eq!((first.body.as_slice(), first.source, first.redelivered), (&[1][..], Source::Combiner, false));
    let second = a.delivered();
    assert_eq!(second.body, [2]);
    b.nothing_comes();
    // What it has not acknowledged goes to the next when it is killed.
    a.session.acknowledge(&[first.tag]);
    a.write();
    a.nothing_comes();
    drop(a);
    let again = b.delivered();
    assert_eq!((again.body.as_slice(), again.source, again.redelivered), (&[2][..], Source::Combiner, true));
}

#[test]
fn a_dropped_socket_loses_nothing() {
    let opening = opening("dropped");
    let mut a = Peer::of(&opening);
    let mut b = Peer::of(&called(&opening, "b"));
    assert_eq!(b.publish_all((1..=3).map(|number| (Route::One("a"), vec![number])).collect()), [Verdict::Confirmed; 3]);
    let first = a.delivered();
    a.delivered();
    a.session.acknowledge(&[first.tag]);
    a.write();
    a.delivered();
    a.nothing_comes();
    drop(a);
    assert_eq!(b.publish(Route::One("a"), &[4]), Verdict::Confirmed);
    // The broker sees the end of a socket in its own time, so the backlog is at least what was never delivered.
    let later = Birth { ms: opening.birth.ms + 1, ..opening.birth };
    let (mut a, backlog, _) = Peer::ready(Opening { birth: later, ..opening });
    assert!((1..=3).contains(&backlog), "{backlog}");
    let mut deliveries: Vec<(u8, bool)> =
        (0..3).map(|_| a.delivered()).map(|it| (it.body[0], it.redelivered)).collect();
    deliveries.sort_unstable();
    // And so the last may have been sent down the dead socket once before.
    let last_redelivered = deliveries[2].1;
    assert_eq!(deliveries, [(2, true), (3, true), (4, last_redelivered)]);
    a.nothing_comes();
}

#[test]
fn the_later_of_two_takes_the_inbox() {
    let opening = opening("take-over");
    let mut early = Peer::of(&opening);
    let later = Birth { ms: opening.birth.ms + 1, ..opening.birth };
    let mut late = Peer::new(Opening { birth: later, ..opening.clone() });
    let until = Instant::now() + PATIENCE;
    while late.events.is_empty() {
        assert!(Instant::now() < until, "it is ready");
        late.turn();
        if !early.session.is_over() {
            early.turn();
        }
    }
    assert!(matches!(late.next(), Event::Ready { .. }));
    assert_eq!(early.next(), Event::TakenOver);
    assert_eq!(late.publish(Route::One("a"), b"mine"), Verdict::Confirmed);
    assert_eq!(late.bodies(1), [b"mine"]);

    // One that is frozen is not waited for without an end, and hears of it when it reads on.
    let latest = Birth { ms: opening.birth.ms + 2, ..opening.birth };
    let mut latest = Peer::of(&Opening { birth: latest, ..opening });
    assert_eq!(late.next(), Event::TakenOver);
    assert_eq!(latest.publish(Route::Everyone, b"mine"), Verdict::Confirmed);
    assert_eq!(latest.bodies(1), [b"mine"]);
}

#[test]
fn the_log_is_read_from_its_beginning_to_its_end() {
    let mut opening = opening("log");
    opening.bounds.log_bytes = 32 << 20;
    let mut a = Peer::of(&opening);
    let read = |peer: &mut Peer| {
        peer.session.read_log(unique());
        let mut bodies = Vec::new();
        loop {
            let batch = peer.find("log", |event| match event {
                Event::LogBatch(batch) => Some(Some(batch.clone())),
                Event::LogEnd => Some(None),
                _ => None,
            });
            match batch {
                Some(batch) => bodies.extend(batch),
                None => return bodies,
            }
        }
    };
    assert!(read(&mut a).is_empty());
    let count = 1_500_u32;
    let frames = (0..count).map(|number| (Route::Everyone, number.to_be_bytes().to_vec())).collect();
    assert!(a.publish_all(frames).iter().all(|verdict| *verdict == Verdict::Confirmed));
    assert_eq!(a.publish(Route::Log, b"into the log alone"), Verdict::Confirmed);
    let mut expected: Vec<Vec<u8>> = (0..count).map(|number| number.to_be_bytes().to_vec()).collect();
    expected.push(b"into the log alone".to_vec());
    let mut b = Peer::of(&called(&opening, "b"));
    assert!(read(&mut b) == expected, "all is read, in order");
    assert!(read(&mut b) == expected, "and once more");
    assert_eq!(b.publish(Route::One("b"), b"goes on"), Verdict::Confirmed);
    assert_eq!(b.bodies(1), [b"goes on"]);
}

#[test]
fn a_session_that_gives_signs_of_life_is_kept_and_a_silent_one_is_not() {
    let mut opening = opening("alive");
    opening.heartbeat_s = 1;
    let (mut a, mut silent) = (Peer::of(&opening), Peer::of(&called(&opening, "silent")));
    // It reads, and says nothing: the broker gives it up after two intervals and something.
    let until = Instant::now() + PATIENCE;
    let mut piece = [0; 4_096];
    loop {
        assert!(Instant::now() < until, "the broker ends what is silent");
        if a.next_within(GLANCE).is_some() || a.session.is_over() {
            panic!("it is kept");
        }
        match silent.socket.read(&mut piece) {
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Ok(0) | Err(_) => break,
            Ok(_) => {}
        }
    }
    assert_eq!(a.publish(Route::One("a"), b"alive"), Verdict::Confirmed);
}

/// What it is refused with.
fn refused(opening: Opening) -> String {
    let mut peer = Peer::new(opening);
    match peer.next() {
        Event::Refused(reason) => reason,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_wrong_password() {
    let mut opening = opening("password");
    opening.address.password = "s3cret".to_owned();
    let reason = refused(opening);
    assert!(reason.contains("password") && reason.contains("user guest") && reason.contains("`broker`"), "{reason}");
    assert!(!reason.contains("s3cret"), "{reason}");
}

#[test]
fn an_unknown_vhost() {
    let mut opening = opening("vhost");
    opening.address.vhost = "no-such-vhost".to_owned();
    let reason = refused(opening);
    assert!(reason.contains("vhost no-such-vhost") && reason.contains("`broker`"), "{reason}");
}

#[test]
fn queues_that_exist_with_other_settings() {
    let opening = opening("settings");
    Peer::of(&opening).close();
    let reason = refused(Opening { inbox_expires_ms: 30_000, ..opening.clone() });
    let queue = opening.names.inbox("a");
    assert!(reason.contains(&queue) && reason.contains("x-expires") && reason.contains("`retention`"), "{reason}");
    let mut other = called(&opening, "b");
    other.bounds.combiner_bytes = 5_000;
    let reason = refused(other);
    assert!(reason.contains(".combiner") && reason.contains("x-max-length-bytes"), "{reason}");
}

#[test]
fn a_queue_that_is_deleted_breaks_the_session() {
    let opening = opening("deleted");
    let mut a = Peer::of(&opening);
    // The other declares the same inbox, and takes it with it.
    let mut b = Peer::of(&Opening { birth: Birth { ms: 0, ..opening.birth }, ..opening.clone() });
    b.session.delete_inbox();
    b.close();
    let reason = a.find("end", |event| if let Event::Broken(it) = event { Some(it.clone()) } else { None });
    assert!(reason.contains(&opening.names.inbox("a")) && reason.contains("deleted"), "{reason}");
    let mut a = Peer::of(&opening);
    assert_eq!(a.publish(Route::Everyone, b"again"), Verdict::Confirmed);
    assert_eq!(a.bodies(1), [b"again"]);
}
