//! Whole sessions, fed by hand with what a broker sends, in every cut, and with what none would.

mod broker;

use amq_protocol::frame::{AMQPFrame, parse_frame};
use amq_protocol::protocol::basic::{AMQPMethod as Basic, AMQPProperties};
use amq_protocol::protocol::connection::AMQPMethod as Connecting;
use amq_protocol::protocol::{AMQPClass, basic, channel, connection, queue};
use dayfly_amqp::{Birth, Bounds, Names, Route, Source};

use self::broker::*;
use super::reader::AROUND;
use super::*;

const LOG_RANDOM: u64 = 7;

fn opening() -> Opening {
    Opening {
        address: Address::read("amqp://u:s3cret@h/v").expect("it is a URL"),
        names: Names::new("c").expect("it is a name"),
        bounds: Bounds { log_bytes: 32 << 20, ..Bounds::default() },
        name: "a".to_owned(),
        inbox_expires_ms: 60_000,
        retention_ms: 60_000,
        heartbeat_s: 10,
        connect_ms: 5_000,
        birth: Birth { ms: 1_000, random: 5 },
    }
}

fn events(session: &mut Session) -> Vec<Event> {
    std::iter::from_fn(|| session.next_event()).collect()
}

fn ready() -> Session {
    let mut session = Session::new(opening(), 0);
    session.take_in(&until_ready(), 0);
    assert_eq!(events(&mut session), [Event::Ready { backlog: 3, servers: 2 }]);
    session.outgoing();
    session
}

/// What is written, as frames.
fn sent(session: &mut Session) -> Vec<AMQPFrame> {
    let bytes = session.outgoing();
    let (mut rest, mut frames) = (bytes.as_slice(), Vec::new());
    while !rest.is_empty() {
        let (left, frame) = parse_frame(rest).expect("it is AMQP");
        frames.push(frame);
        rest = left;
    }
    frames
}

fn frame(id: u64, route: Route<'_>, body: &[u8]) -> Frame<'static> {
    let route = match route {
        Route::Anyone => Route::Anyone,
        Route::Log => Route::Log,
        _ => Route::Everyone,
    };
    Frame { id, route, body: body.to_vec(), ttl_ms: None }
}

/// A conversation with a bit of everything, and what is to come of it.
fn conversation() -> (Vec<u8>, Vec<Event>) {
    let long: Vec<u8> = (0..2_500_u32).map(|number| number.to_le_bytes()[0]).collect();
    let bytes = [
        until_ready(),
        plain("inbox", 1, b"one"),
        written(&AMQPFrame::Heartbeat(0)),
        plain("combiner", 2, &long),
        returned("2"),
        acked(PUBLISH, 3, true),
        plain("inbox", 3, b""),
        connection_close(320, "CONNECTION_FORCED"),
    ]
    .concat();
    let settled = vec![(1, Verdict::Confirmed), (2, Verdict::Unroutable), (3, Verdict::Confirmed)];
    let broken = "consuming: CONNECTION_FORCED".to_owned();
    let events = vec![Event::Ready { backlog: 3, servers: 2 }, Event::Settled(settled), Event::Broken(broken)];
    (bytes, events)
}

/// Plays it, and gives the events: deliveries apart, since they are worth nothing after the end.
fn play(pieces: &[&[u8]]) -> (Vec<Event>, Vec<Delivery>) {
    let mut session = Session::new(opening(), 0);
    for id in 1..=3 {
        session.publish(frame(id, Route::Anyone, b"x"));
    }
    let (mut told, mut delivered) = (Vec::new(), Vec::new());
    for piece in pieces {
        session.take_in(piece, 1);
        for event in events(&mut session) {
            match event {
                Event::Delivered(delivery) => delivered.push(delivery),
                event => told.push(event),
            }
        }
    }
    (told, delivered)
}

#[test]
fn every_cut_of_a_conversation_is_understood_alike() {
    let (bytes, expected) = conversation();
    let before_the_end = bytes.len() - connection_close(320, "CONNECTION_FORCED").len();
    let (told, all) = play(&[&bytes[..before_the_end], &bytes[before_the_end..]]);
    assert_eq!(told, expected);
    let shape: Vec<_> = all.iter().map(|it| (it.tag, it.source, it.body.len(), it.redelivered)).collect();
    let expected_shape =
        [(1, Source::Inbox, 3, false), (2, Source::Combiner, 2_500, true), (3, Source::Inbox, 0, false)];
    assert_eq!(shape, expected_shape);
    for cut in 1..before_the_end {
        let (told, delivered) = play(&[&bytes[..cut], &bytes[cut..before_the_end], &bytes[before_the_end..]]);
        assert_eq!(told, expected, "cut at {cut}");
        assert_eq!(delivered, all, "cut at {cut}");
    }
    let bytewise: Vec<&[u8]> = bytes.chunks(1).collect();
    assert_eq!(play(&bytewise), (expected, all));
}

#[test]
fn no_bytes_panic() {
    let (bytes, _) = conversation();
    // Any stream of numbers will do.
    let mut state = 0x2545_F491_4F6C_DD1D_u64;
    let mut random = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    for _ in 0..3_000 {
        let mut bytes = bytes.clone();
        for _ in 0..=random() % 4 {
            let at = usize::try_from(random()).unwrap_or(0) % bytes.len();
            bytes[at] = random().to_le_bytes()[0];
        }
        let cut = usize::try_from(random()).unwrap_or(0) % bytes.len();
        play(&[&bytes[..cut], &bytes[cut..]]);
    }
    for length in 0..200 {
        let noise: Vec<u8> = (0..length).map(|_| random().to_le_bytes()[0]).collect();
        play(&[&noise]);
        play(&[&until_ready(), &noise]);
    }
}

/// A table in a table, so often.
fn nested(depth: usize) -> Vec<u8> {
    let mut table = Vec::new();
    for _ in 0..depth {
        let mut outer = vec![1, b'k', b'F'];
        outer.extend(u32::try_from(table.len()).expect("it is short").to_be_bytes());
        outer.extend(table);
        table = outer;
    }
    table
}

fn raw(kind: u8, channel: u16, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![kind];
    bytes.extend(channel.to_be_bytes());
    bytes.extend(u32::try_from(payload.len()).expect("it is short").to_be_bytes());
    bytes.extend(payload);
    bytes.push(0xCE);
    bytes
}

#[test]
fn tables_in_tables_do_not_exhaust_the_stack() {
    let table = nested(15_000);
    let length = u32::try_from(table.len()).expect("it is short").to_be_bytes();
    let mut payload = vec![0, 10, 0, 10, 0, 9];
    payload.extend(length);
    payload.extend(&table);
    payload.extend([0, 0, 0, 5]);
    payload.extend(b"PLAIN");
    payload.extend([0, 0, 0, 0]);
    let mut session = Session::new(opening(), 0);
    session.outgoing();
    session.take_in(&raw(1, 0, &payload), 0);
    session.take_in(&[tune(128 << 10, 0), open_ok(), declared(0, 0, 0), both_consuming()].concat(), 0);
    assert_eq!(events(&mut session), [Event::Ready { backlog: 0, servers: 0 }]);

    // The headers of a message, before what we read of it.
    let mut payload = vec![0, 60, 0, 0];
    payload.extend(1_u64.to_be_bytes());
    payload.extend((1_u16 << 13 | 1 << 7).to_be_bytes());
    payload.extend(length);
    payload.extend(&table);
    payload.extend([1, b'i']);
    let deliver = basic::Deliver { consumer_tag: "inbox".into(), delivery_tag: 1, ..Default::default() };
    session.take_in(&method(CONSUME, AMQPClass::Basic(Basic::Deliver(deliver))), 0);
    session.take_in(&raw(2, CONSUME, &payload), 0);
    session.take_in(&raw(3, CONSUME, b"b"), 0);
    let told = events(&mut session);
    assert!(matches!(told.as_slice(), [Event::Delivered(delivery)] if delivery.body == b"b"), "{told:?}");
}

#[test]
fn what_is_larger_than_agreed_is_a_fault_before_it_has_come() {
    let mut session = ready();
    session.take_in(&[3, 0, 2, 0xFF, 0xFF, 0xFF, 0xFF], 0);
    let told = events(&mut session);
    assert!(matches!(told.as_slice(), [Event::Broken(reason)] if reason.contains("larger")), "{told:?}");

    // A header may promise anything: nothing is set aside for it.
    let mut session = ready();
    let deliver = basic::Deliver { consumer_tag: "inbox".into(), delivery_tag: 1, ..Default::default() };
    session.take_in(&method(CONSUME, AMQPClass::Basic(Basic::Deliver(deliver))), 0);
    let mut payload = vec![0, 60, 0, 0];
    payload.extend(u64::MAX.to_be_bytes());
    payload.extend([0, 0]);
    session.take_in(&raw(2, CONSUME, &payload), 0);
    session.take_in(&raw(3, CONSUME, b"b"), 0);
    assert_eq!(events(&mut session), []);
}

#[test]
fn what_speaks_something_else_is_told_apart() {
    for bytes in [&b"HTTP/1.1 400 Bad Request\r\n"[..], b"AMQP\0\0\x09\x01", b"\x15\x03\x03\0\x02\x02", b"H"] {
        let mut session = Session::new(opening(), 0);
        session.take_in(bytes, 0);
        let told = events(&mut session);
        assert!(matches!(told.as_slice(), [Event::Refused(it)] if it.contains("does not speak AMQP")), "{told:?}");
    }
    let mut session = Session::new(opening(), 0);
    session.socket_ended("reset");
    let told = events(&mut session);
    assert!(matches!(told.as_slice(), [Event::Broken(it)] if it.contains("TLS")), "{told:?}");
}

#[test]
fn what_waits_is_published_when_ready_and_cut_to_the_broker_s_frames() {
    let mut session = Session::new(opening(), 0);
    let body: Vec<u8> = (0..10_000_u32).map(|number| number.to_be_bytes()[3]).collect();
    session.publish(frame(1, Route::Everyone, &body));
    session.publish(frame(2, Route::Anyone, b""));
    assert_eq!(session.outgoing(), b"AMQP\0\0\x09\x01");
    session.take_in(&until_ready(), 0);
    let frames = sent(&mut session);
    let at = frames.iter().position(|it| matches!(it, AMQPFrame::Header(PUBLISH, ..))).expect("it is published");
    let AMQPFrame::Header(_, _, header) = &frames[at] else { panic!("it is one") };
    assert_eq!(header.body_size, 10_000);
    assert_eq!(header.properties.delivery_mode(), &Some(2));
    let pieces: Vec<&Vec<u8>> = frames[at + 1..]
        .iter()
        .map_while(|it| if let AMQPFrame::Body(PUBLISH, piece) = it { Some(piece) } else { None })
        .collect();
    assert_eq!(pieces.len(), 3);
    assert!(pieces.iter().all(|piece| piece.len() <= 4_096 - AROUND));
    assert_eq!(pieces.into_iter().flatten().copied().collect::<Vec<u8>>(), body);
    // An empty one has no pieces, and its number since it may come back.
    let Some(AMQPFrame::Header(_, _, last)) = frames.last() else { panic!("an empty one ends with its header") };
    assert_eq!(last.properties.message_id().as_ref().map(|id| id.as_str()), Some("2"));
    assert_eq!(session.in_flight(), 2);
    session.take_in(&acked(PUBLISH, 2, true), 0);
    let told = vec![(1, Verdict::Confirmed), (2, Verdict::Confirmed)];
    assert_eq!(events(&mut session), [Event::Ready { backlog: 3, servers: 2 }, Event::Settled(told)]);
    assert_eq!(session.in_flight(), 0);
}

#[test]
fn a_broker_that_is_full_is_not_published_to() {
    let mut session = ready();
    session.take_in(&connecting(Connecting::Blocked(connection::Blocked { reason: "low on disk".into() })), 0);
    assert_eq!(session.blocked(), Some("low on disk"));
    session.publish(frame(1, Route::Everyone, b"x"));
    assert_eq!(session.outgoing(), b"");
    assert_eq!(session.in_flight(), 1);
    session.take_in(&connecting(Connecting::Unblocked(connection::Unblocked {})), 0);
    assert_eq!(session.blocked(), None);
    assert_eq!(sent(&mut session).len(), 3);
}

#[test]
fn the_password_is_told_to_nobody_but_the_broker() {
    let mut session = Session::new(opening(), 0);
    assert!(!format!("{session:?}").contains("s3cret"));
    session.outgoing();
    session.take_in(&start(), 0);
    let told = session.outgoing();
    assert!(told.windows(9).any(|window| window == b"\0u\0s3cret"));
    session.take_in(&connection_close(403, "ACCESS_REFUSED"), 0);
    let told = events(&mut session);
    let [Event::Refused(reason)] = told.as_slice() else { panic!("{told:?}") };
    assert!(reason.contains("`broker`") && reason.contains("user u") && !reason.contains("s3cret"), "{reason}");
    assert_eq!(sent(&mut session).len(), 1, "it is answered");
}

#[test]
fn a_refusal_names_the_request_and_the_setting() {
    let upto = [start(), tune(0, 0), open_ok()].concat();
    let bind_ok = method(CONSUME, AMQPClass::Queue(queue::AMQPMethod::BindOk(queue::BindOk {})));
    let all = declared(0, 0, 0);
    let before_inbox = all.len() - declare_ok("dayfly.c.node.a", 0, 0).len() - bind_ok.len();
    let mut session = Session::new(opening(), 0);
    session.take_in(&upto, 0);
    session.take_in(&all[..before_inbox], 0);
    session.take_in(&channel_close(CONSUME, 406, "inequivalent arg 'x-expires'"), 0);
    let told = events(&mut session);
    let [Event::Refused(reason)] = told.as_slice() else { panic!("{told:?}") };
    assert!(reason.contains("declaring the queue dayfly.c.node.a") && reason.contains("`inbox_mib`"), "{reason}");

    let mut session = ready();
    session.publish(frame(4, Route::Everyone, b"x"));
    session.take_in(&channel_close(PUBLISH, 404, "no exchange"), 0);
    assert_eq!(events(&mut session), [Event::Broken("publishing: no exchange".to_owned())]);
    assert_eq!(session.give_up(), [4]);
}

#[test]
fn a_consumer_may_deliver_while_another_is_made() {
    let mut session = Session::new(opening(), 0);
    session.take_in(&[start(), tune(0, 0), open_ok(), declared(3, 0, 2)].concat(), 0);
    // The broker answers for a consumer when its queue has it.
    let qos_ok = || method(CONSUME, AMQPClass::Basic(Basic::QosOk(basic::QosOk {})));
    let consume_ok = |tag: &str| {
        let ok = basic::ConsumeOk { consumer_tag: tag.into() };
        method(CONSUME, AMQPClass::Basic(Basic::ConsumeOk(ok)))
    };
    let early = [qos_ok(), qos_ok(), consume_ok("combiner"), plain("combiner", 1, b"x")].concat();
    session.take_in(&early, 0);
    assert_eq!(events(&mut session), []);
    session.take_in(&consume_ok("inbox"), 0);
    let told = events(&mut session);
    assert!(matches!(told.as_slice(), [Event::Ready { .. }, Event::Delivered(_)]), "{told:?}");
}

#[test]
fn a_later_session_takes_the_inbox_over() {
    let mut session = Session::new(opening(), 0);
    session.take_in(&[start(), tune(0, 0), open_ok()].concat(), 0);
    session.outgoing();
    session.take_in(&declared(1, 1, 0), 100);
    let frames = sent(&mut session);
    let id = frames.iter().find_map(|it| match it {
        AMQPFrame::Header(PUBLISH, _, header) => header.properties.message_id().as_ref().map(|id| id.to_string()),
        _ => None,
    });
    assert_eq!(id.as_deref(), Some("1000-5"));
    // It looks again and again, and not without an end.
    let mut now_ms = 100;
    let mut looks = 0;
    loop {
        now_ms = session.next_tick_ms().expect("it waits").max(now_ms);
        session.tick(now_ms);
        let frames = sent(&mut session);
        if !frames.iter().any(|it| matches!(it, AMQPFrame::Method(_, AMQPClass::Queue(_)))) {
            break;
        }
        looks += 1;
        session.take_in(&declare_ok("dayfly.c.node.a", 7, 1), now_ms);
    }
    assert!(now_ms >= 1_100 && looks > 10, "{looks} looks until {now_ms} ms");
    session.take_in(&both_consuming(), now_ms);
    assert_eq!(events(&mut session), [Event::Ready { backlog: 7, servers: 0 }]);

    // And gives it up to one that is later still.
    let told = |id: &str| AMQPProperties::default().with_type("dayfly.take-over".into()).with_message_id(id.into());
    session.take_in(&delivery(CONSUME, "inbox", 1, told("1000-4"), b"x"), now_ms);
    assert_eq!(events(&mut session), []);
    session.take_in(&delivery(CONSUME, "inbox", 2, told("1000-6"), b"x"), now_ms);
    assert_eq!(events(&mut session), [Event::TakenOver]);
}

#[test]
fn what_was_not_passed_on_of_anyone_goes_back() {
    let mut session = ready();
    session.serve_anyone(true);
    assert_eq!(sent(&mut session).len(), 2);
    session.take_in(&consuming(CONSUME, "anyone"), 0);
    session.take_in(&[plain("anyone", 1, b"a"), plain("inbox", 2, b"b"), plain("anyone", 3, b"c")].concat(), 0);
    let first = session.next_event();
    assert!(matches!(first, Some(Event::Delivered(Delivery { tag: 1, source: Source::Anyone, .. }))), "{first:?}");
    session.serve_anyone(false);
    session.take_in(&plain("anyone", 4, b"d"), 0);
    let nacked: Vec<u64> = sent(&mut session)
        .iter()
        .filter_map(|it| match it {
            AMQPFrame::Method(_, AMQPClass::Basic(Basic::Nack(nack))) => Some(nack.delivery_tag),
            _ => None,
        })
        .collect();
    assert_eq!(nacked, [3, 4]);
    let rest = events(&mut session);
    assert!(matches!(rest.as_slice(), [Event::Delivered(Delivery { tag: 2, .. })]), "{rest:?}");
    // What is not known is passed over: the broker would end the channel.
    session.acknowledge(&[1, 2, 99]);
    let ack = basic::Ack { delivery_tag: 2, multiple: true };
    assert_eq!(sent(&mut session), [AMQPFrame::Method(CONSUME, AMQPClass::Basic(Basic::Ack(ack)))]);
    // It is begun again only after its end.
    session.serve_anyone(true);
    assert_eq!(session.outgoing(), b"");
    let ok = basic::CancelOk { consumer_tag: "anyone".into() };
    session.take_in(&method(CONSUME, AMQPClass::Basic(Basic::CancelOk(ok))), 0);
    assert_eq!(sent(&mut session).len(), 2);
}

#[test]
fn a_consumer_that_the_broker_ends_breaks_the_session() {
    let cancel = |tag: &str| {
        let cancel = basic::Cancel { consumer_tag: tag.into(), nowait: true };
        method(CONSUME, AMQPClass::Basic(Basic::Cancel(cancel)))
    };
    let mut session = ready();
    session.take_in(&cancel("combiner"), 0);
    let told = events(&mut session);
    assert!(matches!(told.as_slice(), [Event::Broken(it)] if it.contains("dayfly.c.combiner")), "{told:?}");
    let mut session = ready();
    session.delete_inbox();
    session.take_in(&cancel("inbox"), 0);
    assert_eq!(events(&mut session), []);
}

#[test]
fn signs_of_life_are_given_and_missed() {
    let mut session = ready();
    assert_eq!(session.next_tick_ms(), Some(5_000));
    session.tick(4_999);
    assert_eq!(session.outgoing(), b"");
    session.tick(5_000);
    assert_eq!(sent(&mut session), [AMQPFrame::Heartbeat(0)]);
    assert_eq!(session.next_tick_ms(), Some(10_000));
    session.take_in(&written(&AMQPFrame::Heartbeat(0)), 9_000);
    session.tick(28_999);
    assert_eq!(events(&mut session), []);
    session.tick(29_000);
    let told = events(&mut session);
    assert!(matches!(told.as_slice(), [Event::Broken(it)] if it.contains("silent")), "{told:?}");
    assert_eq!(session.next_tick_ms(), None);
}

#[test]
fn a_broker_that_does_not_answer_is_given_up() {
    let mut session = Session::new(opening(), 1_000);
    session.take_in(&start(), 2_000);
    assert_eq!(session.next_tick_ms(), Some(6_000));
    session.tick(6_000);
    let told = events(&mut session);
    assert!(matches!(told.as_slice(), [Event::Broken(it)] if it.contains("5000 ms")), "{told:?}");
}

#[test]
fn the_log_is_read_in_batches_to_its_mark() {
    let mut session = ready();
    session.read_log(LOG_RANDOM);
    assert_eq!(sent(&mut session).len(), 5);
    session.take_in(&[channel_open_ok(LOG), select_ok(LOG), acked(LOG, 1, false)].concat(), 0);
    assert_eq!(sent(&mut session).len(), 2);
    session.take_in(&consuming(LOG, "log"), 0);
    let mark = |random: u64| {
        AMQPProperties::default().with_type("dayfly.log-end".into()).with_message_id(format!("{random:016x}").into())
    };
    session.take_in(&delivery(LOG, "log", 1, mark(6), b"end"), 0);
    assert_eq!(sent(&mut session).len(), 1, "a foreign mark is acknowledged");
    let none = AMQPProperties::default;
    for tag in 2..=300 {
        session.take_in(&delivery(LOG, "log", tag, none(), b"m"), 0);
    }
    assert_eq!(session.outgoing(), b"", "nothing has been taken");
    let batch = session.next_event();
    assert!(matches!(&batch, Some(Event::LogBatch(it)) if it.len() == LOG_BATCH_MESSAGES_MAX), "{batch:?}");
    let batch = session.next_event();
    assert!(matches!(&batch, Some(Event::LogBatch(it)) if it.len() == 299 - LOG_BATCH_MESSAGES_MAX), "{batch:?}");
    let ack = basic::Ack { delivery_tag: 300, multiple: true };
    assert_eq!(sent(&mut session), [AMQPFrame::Method(LOG, AMQPClass::Basic(Basic::Ack(ack)))]);
    session.take_in(&delivery(LOG, "log", 301, mark(LOG_RANDOM), b"end"), 0);
    session.take_in(&delivery(LOG, "log", 302, none(), b"later"), 0);
    assert_eq!(events(&mut session), [Event::LogEnd]);
    // Once more, as soon as the first has ended.
    session.outgoing();
    session.read_log(LOG_RANDOM);
    assert_eq!(session.outgoing(), b"");
    let ok = channel::AMQPMethod::CloseOk(channel::CloseOk {});
    session.take_in(&method(LOG, AMQPClass::Channel(ok)), 0);
    assert_eq!(sent(&mut session).len(), 5);
}

#[test]
fn an_end_in_good_order() {
    let mut session = ready();
    session.take_in(&plain("inbox", 1, b"late"), 0);
    session.close();
    assert_eq!(sent(&mut session).len(), 1);
    session.take_in(&plain("inbox", 2, b"later"), 0);
    session.take_in(&connecting(Connecting::CloseOk(connection::CloseOk {})), 0);
    assert_eq!(events(&mut session), [Event::Closed]);
    session.close();
    session.socket_ended("done");
    session.take_in(&[1, 2, 3], 0);
    assert_eq!(events(&mut session), []);
}
