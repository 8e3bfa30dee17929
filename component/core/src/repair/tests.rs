use super::*;
use crate::cell::{Cell, DataType};
use crate::dot::{Seq, WriterId};
use crate::store::Write;

const BOUNDS: Bounds = Bounds { repair_bytes: 262_144, frame_bytes: 65_536, bootstrap_ms: 1_000, has_log: false };

fn tick(repair: &mut Repair, now_ms: u64, peers: &Peers) -> Vec<(Route, Ask)> {
    let mut store = Store::new();
    let mut write = Write::begin(&mut store, WriterId(1), usize::MAX);
    write.put(&Cell::of_key("k", DataType::GSet), b"x").expect("there is room");
    write.commit();
    repair.tick(&mut Turn { now: Timestamp(now_ms), chance: &mut || 3 }, &store, peers)
}

/// Ticks when it is due until it has asked so often.
fn ask(repair: &mut Repair, times: u64, peers: &Peers) -> Timestamp {
    let mut now = Timestamp(0);
    while repair.asked < times {
        now = now.max(repair.due().expect("it goes on"));
        tick(repair, now.0, peers);
    }
    now
}

#[test]
fn a_peer_that_gives_a_sign_of_life_is_not_given_up() {
    let name = "frozen".to_owned();
    let peers = Peers { complete: vec![name.clone()], with_news: vec![name.clone()], ..Peers::default() };
    let mut repair = Repair::founder(BOUNDS);
    repair.suspect(&name, &mut Turn { now: Timestamp(0), chance: &mut || 3 });
    let asked_last = ask(&mut repair, NEWS_TRIES_MAX.into(), &peers);
    repair.hear(&name, asked_last.plus_ms(10));
    let again = repair.due().expect("it is asked again");
    assert_eq!(again, asked_last.plus_ms(10 + RENEW_MS), "soon");
    assert_eq!(tick(&mut repair, again.0, &peers).len(), 1);
    assert!(repair.take_silent().is_empty());
}

#[test]
fn a_peer_that_does_not_answer_is_given_up() {
    let name = "dead".to_owned();
    let peers = Peers { complete: vec![name.clone()], with_news: vec![name.clone()], ..Peers::default() };
    let mut repair = Repair::founder(BOUNDS);
    repair.suspect(&name, &mut Turn { now: Timestamp(0), chance: &mut || 3 });
    ask(&mut repair, NEWS_TRIES_MAX.into(), &peers);
    let due = repair.due().expect("its patience ends");
    assert!(tick(&mut repair, due.0, &peers).is_empty());
    assert_eq!(repair.take_silent(), [name]);
    assert!(repair.is_idle());
}

fn answer(session: u64, undecoded: bool) -> Answer {
    Answer {
        session,
        covers: Range::ALL,
        last: true,
        undecoded,
        entries: 0,
        outline: Vec::new(),
        chunk: Default::default(),
    }
}

fn removals(seqs: std::ops::RangeInclusive<u64>) -> DotSet {
    let mut dots = DotSet::default();
    dots.insert_span(WriterId(2), *seqs.start(), *seqs.end());
    dots
}

#[test]
fn what_a_description_brings_is_not_mixed_with_what_came_before_it() {
    let name = "server".to_owned();
    let peers = Peers { complete: vec![name.clone()], with_news: vec![name.clone()], ..Peers::default() };
    let mut repair = Repair::founder(BOUNDS);
    repair.suspect(&name, &mut Turn { now: Timestamp(0), chance: &mut || 3 });
    let (mut store, mut now) = (Store::new(), repair.due().expect("it is looked into").0);
    let mut write = Write::begin(&mut store, WriterId(1), usize::MAX);
    write.put(&Cell::of_key("k", DataType::GSet), b"x").expect("there is room");
    write.commit();
    let mut told = Vec::new();
    for (undecoded, root, gone) in [(true, Digest([1, 1]), removals(1..=2)), (false, Digest([1, 2]), removals(3..=4))] {
        let (_, ask) = tick(&mut repair, now, &peers).remove(0);
        let answer = answer(ask.session, undecoded);
        told.push(repair.hold_back(&answer, &name, 7, root, &gone));
        let reply = Reply { from: &name, complete: true, root, changed: true, equal: false, bytes: 9 };
        repair.answered(&answer, reply, &mut Turn { now: Timestamp(now), chance: &mut || 3 }, &store);
        now += 1;
    }
    // The second state may have lost what took the place of what was gone in the first.
    assert_eq!(told, [DotSet::default(), removals(3..=4)]);
}

#[test]
fn a_state_is_partial_until_a_comparison_brings_what_was_left_out() {
    let name = "server".to_owned();
    let peers = Peers { complete: vec![name.clone()], with_news: vec![name.clone()], ..Peers::default() };
    let mut repair = Repair::founder(BOUNDS);
    let turn = |now: u64, act: &mut dyn FnMut(&mut Turn<'_>)| act(&mut Turn { now: Timestamp(now), chance: &mut || 3 });
    let late = answer(99, false);
    assert!(repair.hold_back(&late, &name, 7, Digest([1, 1]), &removals(1..=1)).is_empty());
    assert!(repair.is_partial(), "what came late was joined but for what it removes");
    turn(0, &mut |turn| repair.suspect(&name, turn));
    let now = repair.due().expect("it is looked into").0;
    let (_, ask) = tick(&mut repair, now, &peers).remove(0);
    let whole = answer(ask.session, false);
    assert_eq!(repair.hold_back(&whole, &name, 7, Digest([1, 1]), &removals(1..=1)), removals(1..=1));
    let reply = Reply { from: &name, complete: true, root: Digest([1, 1]), changed: true, equal: false, bytes: 9 };
    turn(now, &mut |turn| drop(repair.answered(&whole, reply, turn, &Store::new())));
    assert!(!repair.is_partial());
}

#[test]
fn a_newcomer_does_not_take_a_part_for_the_whole_however_long_that_takes_and_however_often_it_is_frozen() {
    let name = "server".to_owned();
    let peers = Peers { complete: vec![name.clone()], ..Peers::default() };
    let mut repair = Repair::newcomer(BOUNDS);
    let (store, mut now) = (Store::new(), 0);
    repair.wake(&mut Turn { now: Timestamp(now), chance: &mut || 3 }, &store);
    let session = tick(&mut repair, now, &peers).remove(0).1.session;
    for round in 0..100 {
        // Slower than it waits for anybody, and stopped every now and then.
        now += 2 * BOUNDS.bootstrap_ms;
        if round % 5 == 0 {
            now += 20_000;
            repair.stood_still(Timestamp(now));
        }
        tick(&mut repair, now, &peers);
        let low = Dot { writer: WriterId(1), seq: Seq(1_000 - round) };
        let piece =
            Answer { covers: Range { low, high: Dot { seq: Seq(1_001 - round), ..low } }, ..answer(session, false) };
        let piece = Answer { last: false, ..piece };
        let reply = Reply { from: &name, complete: true, root: Digest([1, 1]), changed: true, equal: false, bytes: 9 };
        repair.answered(&piece, reply, &mut Turn { now: Timestamp(now), chance: &mut || 3 }, &store);
        assert!(!repair.is_complete(), "in round {round}");
    }
    // When nothing comes any more, it makes do with what it has.
    while !repair.is_complete() {
        now = now.max(repair.due().expect("it goes on").0);
        tick(&mut repair, now, &peers);
    }
}

#[test]
fn with_a_log_nobody_is_complete_before_it_was_read() {
    let mut repair = Repair::newcomer(Bounds { has_log: true, ..BOUNDS });
    let peers = Peers::default();
    repair.wake(&mut Turn { now: Timestamp(0), chance: &mut || 3 }, &Store::new());
    tick(&mut repair, 1_000, &peers);
    assert!(repair.wants_replay() && !repair.is_complete());
    repair.end_replay();
    assert!(!repair.wants_replay() && repair.is_complete());
    let founder = Repair::founder(Bounds { has_log: true, ..BOUNDS });
    assert!(founder.wants_replay() && !founder.is_complete());
}

#[test]
fn of_many_with_news_none_is_asked_before_the_combiner_has_told_its_root() {
    let names = ["a".to_owned(), "b".to_owned()];
    let peers = Peers { complete: names.to_vec(), with_news: names.to_vec(), are_combining: true, ..Peers::default() };
    let mut repair = Repair::founder(BOUNDS);
    let suspect = |repair: &mut Repair, now| {
        repair.suspect("a", &mut Turn { now, chance: &mut || 3 });
        repair.due().expect("it is looked into")
    };
    let due = suspect(&mut repair, Timestamp(0));
    assert!(tick(&mut repair, due.0, &peers).is_empty());
    assert!(repair.take_wants_telling() && !repair.take_wants_telling());
    // Those who had news have said so again.
    let due = suspect(&mut repair, due);
    assert_eq!(tick(&mut repair, due.0, &peers).len(), 1);
    assert!(!repair.take_wants_telling());
}
