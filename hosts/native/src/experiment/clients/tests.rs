//! Clients by themselves: when they ask, what, and what they make of answers.

use std::sync::Arc;

use super::{Clients, Then};
use crate::experiment::moment::Moment;
use crate::experiment::platform::Target;
use crate::experiment::scenario::Scenario;

/// Clients of such a kind, at replicas in two regions.
fn clients(spec: &str) -> Clients {
    let text = format!(
        "title = 'x'\nseconds = 100\nwarmup_s = 10\n\
         places = [{{ region = 'eu', replicas = 2 }}, {{ region = 'us', replicas = 1 }}]\n\
         [[clients]]\nname = 'c'\n{spec}"
    );
    let scenario = Arc::new(Scenario::read(&text).unwrap_or_else(|error| panic!("{error}")));
    Clients::new(&scenario, &[0, 0, 1], 1)
}

/// What a client's next deed asks for: method, path, body.
fn asked(clients: &mut Clients, client: usize) -> (String, String, serde_json::Value) {
    let mut wanted = clients.deed(client);
    let request = wanted.remove(0).request;
    let body = serde_json::from_slice(&request.body).unwrap_or_default();
    (request.method, request.path, body)
}

#[test]
fn clients_are_where_they_are_to_be_and_keep_their_times() {
    let ask = "does.requests = [{ type = 'gset', key = 'k' }]";
    let slots = |spec: &str| -> Vec<Target> {
        let clients = clients(spec);
        (0..clients.len()).map(|client| clients.target(client)).collect()
    };
    assert_eq!(slots(&format!("every_ms = 10\n{ask}")), [0, 1, 2].map(Target::Slot));
    assert_eq!(slots(&format!("every_ms = 10\nat = 'first'\n{ask}")), [Target::Slot(0)]);
    assert_eq!(slots(&format!("every_ms = 10\nat = 'others'\nregion = 'eu'\n{ask}")), [Target::Slot(1)]);

    let mut steady = clients(&format!("every_ms = 1000\nstart_s = 5\nfor_s = 10\n{ask}"));
    let first = steady.first(0).expect("there is time");
    assert!((15.0..16.0).contains(&first.as_s()), "{first:?}");
    assert_eq!(steady.next(0, first), Some(first + Moment::from_s(1.0)));
    assert_eq!(steady.next(0, Moment::from_s(24.5)), None, "its ten seconds are over");

    let mut twice = clients(&format!("every_ms = 1000\ndeeds = 2\n{ask}"));
    twice.deed(0);
    assert!(twice.next(0, Moment::from_s(20.0)).is_some());
    twice.deed(0);
    assert_eq!(twice.next(0, Moment::from_s(21.0)), None);

    let mut random = clients(&format!("every_ms = 1000\nrhythm = 'poisson'\n{ask}"));
    let at = Moment::from_s(20.0);
    let waits: Vec<f64> = (0..2_000).filter_map(|_| Some((random.next(0, at)? - at).as_s())).collect();
    let mean = waits.iter().sum::<f64>() / waits.len() as f64;
    assert!((0.93..1.07).contains(&mean), "{mean}");
}

#[test]
fn requests_are_filled_in() {
    let spec = "every_ms = 10\ndoes.requests = [{ type = 'gset', key = 'a/{client}', operation = { add = ['{n}'] } }]";
    let mut clients = clients(spec);
    asked(&mut clients, 2);
    let (method, path, body) = asked(&mut clients, 2);
    assert_eq!((method.as_str(), path.as_str()), ("POST", "/v1/data/gset/a%2F2"));
    assert_eq!(body, serde_json::json!({ "add": ["1"] }));
}

#[test]
fn a_viewer_shows_what_is_left_and_a_watch_takes_down_what_was_shown_enough() {
    let mut viewers = clients("every_ms = 10\ndoes.advertise.advertisements = 2");
    let mut wanted = viewers.deed(0);
    assert_eq!(wanted.remove(0).then, Then::Show);
    let now = Moment::ZERO;
    let shown = viewers.follow_up(0, Then::Show, true, br#"{"value":["1"]}"#, now);
    assert_eq!(shown[0].request.path, "/v1/data/gcounter/shown-1");
    assert_eq!(shown[0].request.body, br#"{"increment":1}"#);
    assert!(viewers.follow_up(0, Then::Show, false, b"", now).is_empty(), "none is left");

    // Three replicas, two and a half times each.
    let mut watch = clients("every_ms = 10\ndoes.take-down = { advertisements = 2, shown_per_replica = 2.5 }");
    assert_eq!(watch.advertised(), Some((2, 8)));
    let looks = watch.follow_up(0, Then::LookAt, true, br#"{"value":["0","1"]}"#, now);
    assert_eq!(looks.len(), 2);
    let judge = looks[1].then.clone();
    assert!(watch.follow_up(0, judge.clone(), true, br#"{"value":7}"#, now).is_empty());
    let taken = watch.follow_up(0, judge, true, br#"{"value":8}"#, now);
    assert_eq!(taken[0].request.body, br#"{"remove":["1"]}"#);
}

#[test]
fn a_map_is_changed_only_where_the_client_owns_it() {
    let mut clients = clients("every_ms = 10\ndoes.change-map = { keys = 10, percent = 50 }");
    let (_, _, body) = asked(&mut clients, 1);
    // Of ten keys the second of three clients has 1, 4 and 7; half of them are two.
    let fields = body["update"].as_object().expect("an object");
    assert_eq!(fields.len(), 2);
    assert!(fields.keys().all(|key| ["k1", "k4", "k7"].contains(&key.as_str())), "{fields:?}");
}

#[test]
fn a_post_goes_to_the_wall_and_to_the_timelines_of_the_followers() {
    let retwis = "{ users = 10, zipf = 1, follow = 0, post = 100, post_bytes = 270, id_bytes = 31 }";
    let mut clients = clients(&format!("every_ms = 10\ndoes.retwis = {retwis}"));
    let wanted = clients.deed(0).remove(0);
    let Then::Post { user, deed: 0 } = wanted.then else { panic!("{wanted:?}") };
    let posts = clients.follow_up(0, Then::Post { user, deed: 0 }, true, br#"{"value":["3","4"]}"#, Moment::ZERO);
    let body: serde_json::Value = serde_json::from_slice(&posts[0].request.body).expect("JSON");
    assert_eq!((posts[0].request.path.as_str(), body.as_array().map(Vec::len)), ("/v1/batch", Some(3)));
    let wall = body[0]["update"].as_object().expect("an object");
    let (id, value) = wall.iter().next().expect("one post");
    assert_eq!((id.len(), value["set"].as_str().map(str::len)), (31, Some(270)));
    assert_eq!(body[1]["key"], "timeline-3");
}

#[test]
fn a_working_set_is_written_to_its_end() {
    let mut clients = clients("at = 'first'\nevery_ms = 10\ndoes.fill = { entries = 5, bytes = 20, batch = 2 }");
    let sizes: Vec<usize> = (0..4)
        .map(|_| {
            clients.deed(0).first().map_or(0, |wanted| {
                let body: serde_json::Value = serde_json::from_slice(&wanted.request.body).expect("JSON");
                assert_eq!(body[0]["set"].as_str().map(str::len), Some(20));
                body.as_array().map_or(0, Vec::len)
            })
        })
        .collect();
    assert_eq!(sizes, [2, 2, 1, 0]);
}
