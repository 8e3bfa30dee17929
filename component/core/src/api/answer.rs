//! Answers: status, headers and JSON. What every answer carries (`dayfly-replica`, `dayfly-complete`) and what a
//! write's answer carries (`dayfly-context`) is the caller's to add.

use serde::Serialize;

use crate::api::page::{KeyCursor, KeysPage, MembersPage};
use crate::api::view::{MemberView, StatusView};
use crate::cell::DataType;
use crate::refusal::Refusal;
use crate::store::Store;
use crate::types::empty_value;

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// Headers, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Answer {
    /// A key with its value, which is JSON; without one, with the value of a key that has no entry.
    pub fn value(name: &str, data_type: DataType, value: Option<String>) -> Self {
        let value = value.as_deref().unwrap_or_else(|| empty_value(data_type));
        let mut body = b"{\"key\":".to_vec();
        body.extend(to_json(name));
        body.extend(format!(",\"type\":\"{}\",\"value\":{value}}}", data_type.name()).into_bytes());
        Self::json(200, body)
    }

    /// 204, without a body.
    pub fn no_content() -> Self {
        Self { status: 204, headers: Vec::new(), body: Vec::new() }
    }

    /// How many operations of a batch were applied: all of them.
    pub fn applied(operations: usize) -> Self {
        #[derive(Serialize)]
        struct Body {
            applied: usize,
        }
        Self::of(200, &Body { applied: operations })
    }

    /// A page of the keys. It takes time in proportion to the page, not to the database or to the size of a map.
    pub fn keys(store: &Store, page: &KeysPage) -> Self {
        #[derive(Serialize)]
        struct Key<'s> {
            key: &'s str,
            #[serde(rename = "type")]
            data_type: &'static str,
        }
        #[derive(Serialize)]
        struct Body<'s> {
            keys: Vec<Key<'s>>,
            #[serde(skip_serializing_if = "Option::is_none")]
            next: Option<String>,
        }
        let mut body = Body { keys: Vec::new(), next: None };
        let mut last: Option<KeyCursor> = None;
        loop {
            let from = last.as_ref().map_or_else(|| page.first_cell(), KeyCursor::next_cell);
            let Some((cell, _)) =
                store.cells_from(&from).next().filter(|(cell, _)| cell.name.starts_with(&page.prefix))
            else {
                break;
            };
            if body.keys.len() == page.limit {
                body.next = last.as_ref().map(KeyCursor::to_text);
                break;
            }
            body.keys.push(Key { key: &cell.name, data_type: cell.key_type.name() });
            last = Some(KeyCursor { name: cell.name.to_string(), data_type: cell.key_type });
        }
        Self::of(200, &body)
    }

    /// A page of the members, which must come in the order of their names.
    pub fn members<'m>(members: impl IntoIterator<Item = MemberView<'m>>, page: &MembersPage) -> Self {
        #[derive(Serialize)]
        struct Body<'m> {
            members: Vec<MemberView<'m>>,
            #[serde(skip_serializing_if = "Option::is_none")]
            next: Option<&'m str>,
        }
        let mut rest =
            members.into_iter().filter(|member| page.after.as_deref().is_none_or(|after| member.name > after));
        let listed: Vec<MemberView<'m>> = rest.by_ref().take(page.limit).collect();
        debug_assert!(listed.is_sorted_by(|a, b| a.name < b.name), "members come in the order of their names");
        let next = rest.next().and(listed.last()).map(|member| member.name);
        Self::of(200, &Body { members: listed, next })
    }

    /// The replica's status.
    pub fn status(status: &StatusView<'_>) -> Self {
        Self::of(200, status)
    }

    /// A refusal, with `allow` on 405 and `retry-after` on 503.
    pub fn refusal(refusal: &Refusal) -> Self {
        #[derive(Serialize)]
        struct Fault {
            code: &'static str,
            message: String,
        }
        #[derive(Serialize)]
        struct Body {
            error: Fault,
        }
        let (status, code) = refusal.status_and_code();
        let mut answer = Self::of(status, &Body { error: Fault { code, message: refusal.message() } });
        if let Refusal::BadMethod(allowed) = refusal {
            answer.headers.push(("allow".to_owned(), (*allowed).to_owned()));
        }
        if status == 503 {
            answer.headers.push(("retry-after".to_owned(), "1".to_owned()));
        }
        answer
    }

    fn json(status: u16, body: Vec<u8>) -> Self {
        Self { status, headers: vec![("content-type".to_owned(), "application/json".to_owned())], body }
    }

    fn of(status: u16, body: &impl Serialize) -> Self {
        Self::json(status, to_json(body))
    }
}

fn to_json(value: &(impl Serialize + ?Sized)) -> Vec<u8> {
    serde_json::to_vec(value).expect("texts, numbers and lists of them can all be JSON")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::api::view::{CombiningView, DroppedView, LogView, RepairView, TrafficView};
    use crate::cell::Cell;
    use crate::dot::WriterId;
    use crate::store::Write;

    const JSON: (&str, &str) = ("content-type", "application/json");

    fn headers(answer: &Answer) -> Vec<(&str, &str)> {
        answer.headers.iter().map(|(name, value)| (&**name, &**value)).collect()
    }

    fn body(answer: &Answer) -> Value {
        assert_eq!(headers(answer)[0], JSON);
        serde_json::from_slice(&answer.body).expect("a body is JSON")
    }

    #[test]
    fn a_value_stands_with_its_key_and_type() {
        let answer = Answer::value("a/b", DataType::OrSet, Some("[1,{\"x\":null}]".into()));
        assert_eq!(answer.status, 200);
        assert_eq!(answer.body, br#"{"key":"a/b","type":"orset","value":[1,{"x":null}]}"#);
        assert_eq!(headers(&answer), [JSON]);
    }

    #[test]
    fn a_key_without_an_entry_has_the_empty_value() {
        for data_type in DataType::ALL {
            let expected = match data_type {
                DataType::GSet | DataType::OrSet | DataType::RwSet | DataType::MvRegister => json!([]),
                DataType::Map => json!({}),
                _ => Value::Null,
            };
            assert_eq!(body(&Answer::value("k", data_type, None))["value"], expected, "{data_type:?}");
        }
    }

    #[test]
    fn no_content_is_empty() {
        assert_eq!(Answer::no_content(), Answer { status: 204, headers: Vec::new(), body: Vec::new() });
    }

    #[test]
    fn applied_is_a_count() {
        let answer = Answer::applied(10_000);
        assert_eq!((answer.status, &answer.body[..]), (200, &br#"{"applied":10000}"#[..]));
    }

    #[test]
    fn a_refusal_has_its_status_code_and_message() {
        let inner = Refusal::BadValue("n\"o\n".into());
        for (refusal, status, code) in [
            (Refusal::BadJson("x".into()), 400, "bad_json"),
            (Refusal::BadRequest("x".into()), 400, "bad_request"),
            (Refusal::BadKey("x".into()), 400, "bad_key"),
            (Refusal::UnknownType("x".into()), 400, "unknown_type"),
            (Refusal::BadContext("x".into()), 400, "bad_context"),
            (Refusal::NoSuchKey, 404, "no_such_key"),
            (Refusal::NoSuchPath, 404, "no_such_path"),
            (Refusal::Overflow, 409, "overflow"),
            (Refusal::PayloadTooLarge, 413, "payload_too_large"),
            (Refusal::BatchTooLarge, 413, "batch_too_large"),
            (Refusal::BodyTooLarge, 413, "body_too_large"),
            (Refusal::BadContentType, 415, "bad_content_type"),
            (Refusal::WrongOperation("x".into()), 422, "wrong_operation"),
            (inner.clone(), 422, "bad_value"),
            (Refusal::StoreFull, 507, "store_full"),
            (Refusal::InBatch(3, Refusal::Overflow.into()), 409, "overflow"),
            (Refusal::InBatch(0, inner.into()), 422, "bad_value"),
        ] {
            let answer = Answer::refusal(&refusal);
            assert_eq!(answer.status, status, "{refusal:?}");
            assert_eq!(body(&answer), json!({"error": {"code": code, "message": refusal.message()}}));
            assert_eq!(headers(&answer), [JSON], "{refusal:?}");
            assert!(!refusal.message().is_empty());
        }
        let answer = Answer::refusal(&Refusal::InBatch(3, Refusal::Overflow.into()));
        assert!(body(&answer)["error"]["message"].as_str().unwrap().starts_with("operation 3: "));
    }

    #[test]
    fn what_can_be_tried_again_says_when() {
        for refusal in [Refusal::NotYet, Refusal::Busy] {
            let answer = Answer::refusal(&refusal);
            assert_eq!(answer.status, 503);
            assert_eq!(headers(&answer), [JSON, ("retry-after", "1")]);
        }
    }

    #[test]
    fn a_bad_method_says_which_are_good() {
        let answer = Answer::refusal(&Refusal::BadMethod("GET, POST, DELETE"));
        assert_eq!(answer.status, 405);
        assert_eq!(headers(&answer), [JSON, ("allow", "GET, POST, DELETE")]);
        assert_eq!(body(&answer)["error"]["code"], "bad_method");
    }

    fn member(name: &str) -> MemberView<'_> {
        MemberView {
            name,
            state: "dormant",
            host: "native",
            region: "eu",
            zone: "",
            awake_until: u64::MAX,
            incarnation: 1_700_000_000_000,
        }
    }

    fn member_names(answer: &Answer) -> (Vec<String>, Option<String>) {
        let body = body(answer);
        let names =
            body["members"].as_array().unwrap().iter().map(|member| member["name"].as_str().unwrap().to_owned());
        (names.collect(), body.get("next").map(|next| next.as_str().unwrap().to_owned()))
    }

    #[test]
    fn a_member_has_the_fields_of_the_api() {
        let page = MembersPage { after: None, limit: 10 };
        assert_eq!(
            body(&Answer::members([member("a")], &page)),
            json!({"members": [{
                "name": "a", "state": "dormant", "host": "native", "region": "eu", "zone": "",
                "awake_until": u64::MAX, "incarnation": 1_700_000_000_000_u64,
            }]})
        );
        assert_eq!(body(&Answer::members([], &page)), json!({"members": []}));
    }

    #[test]
    fn pages_of_members_follow_each_other() {
        let names = ["a", "a-1", "a1", "b", "c"];
        let page = |after: Option<&str>, limit| {
            let page = MembersPage { after: after.map(str::to_owned), limit };
            member_names(&Answer::members(names.map(member), &page))
        };
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        assert_eq!(page(None, 2), (owned(&["a", "a-1"]), Some("a-1".into())));
        assert_eq!(page(Some("a-1"), 2), (owned(&["a1", "b"]), Some("b".into())));
        assert_eq!(page(Some("b"), 2), (owned(&["c"]), None));
        assert_eq!(page(Some("c"), 2), (owned(&[]), None));
        // The last page is full, and nothing is left.
        assert_eq!(page(Some("a1"), 2), (owned(&["b", "c"]), None));
        // The member of that name is gone.
        assert_eq!(page(Some("a0"), 1), (owned(&["a1"]), Some("a1".into())));
    }

    #[test]
    fn the_status_has_the_fields_of_the_api() {
        let status = StatusView {
            name: "n",
            cluster: "c",
            root: "00ff".into(),
            entries: 1,
            writers: 2,
            members: 3,
            complete: true,
            incarnation: 4,
            host: "h",
            region: "r",
            zone: "z",
            component: "hash",
            version: "0.1.0",
            awake_until: 5,
            now: 6,
            keys: 7,
            store_bytes: 8,
            unsettled: 9,
            redone: 10,
            redo_refused: 11,
            repair: RepairView {
                sessions: 12,
                pending_ranges: 13,
                expected_entries: 31,
                received_bytes: 14,
                asked: 15,
                answered: 16,
            },
            dropped: DroppedView { broken: 17, other_cluster: 18, other_version: 19, own: 20 },
            combining: CombiningView { active: true, shares: 25, sent: 26 },
            log: LogView { bound_bytes: 27, new_bytes: 28, snapshot: 29, written: 30, replaying: false },
            sent: TrafficView { frames: 21, bytes: 22 },
            received: TrafficView { frames: 23, bytes: 24 },
        };
        let answer = Answer::status(&status);
        assert_eq!(answer.status, 200);
        assert_eq!(
            body(&answer),
            json!({
                "name": "n", "cluster": "c", "root": "00ff", "entries": 1, "writers": 2, "members": 3, "complete": true,
                "incarnation": 4, "host": "h", "region": "r", "zone": "z", "component": "hash", "version": "0.1.0",
                "awake_until": 5, "now": 6, "keys": 7, "store_bytes": 8, "unsettled": 9, "redone": 10, "redo_refused": 11,
                "repair": {"sessions": 12, "pending_ranges": 13, "expected_entries": 31, "received_bytes": 14, "asked": 15, "answered": 16},
                "dropped": {"broken": 17, "other_cluster": 18, "other_version": 19, "own": 20},
                "combining": {"active": true, "shares": 25, "sent": 26},
                "log": {"bound_bytes": 27, "new_bytes": 28, "snapshot": 29, "written": 30, "replaying": false},
                "sent": {"frames": 21, "bytes": 22}, "received": {"frames": 23, "bytes": 24},
            })
        );
    }

    /// A store with these keys; a map has several leaves.
    fn store_of(keys: &BTreeSet<(String, DataType)>) -> Store {
        let mut store = Store::new();
        let mut write = Write::begin(&mut store, WriterId(1), usize::MAX);
        for (name, data_type) in keys {
            let cell = Cell::of_key(name, *data_type);
            if *data_type == DataType::Map {
                for (field, leaf) in [("a", DataType::GSet), ("a", DataType::OrSet), ("b", DataType::GSet)] {
                    write.put(&Cell { path: vec![field.into()], leaf, ..cell.clone() }, b"1").unwrap();
                }
                write.put(&Cell { path: vec!["b".into(), "c".into()], leaf: DataType::GSet, ..cell }, b"1").unwrap();
            } else {
                // Counters parse what they are given.
                let payload: &[u8] = if *data_type == DataType::PnCounter { &[1, 0] } else { &[1] };
                write.put(&cell, payload).unwrap();
            }
        }
        write.commit();
        store
    }

    /// What a page lists, and the text of its `next`.
    fn listed(store: &Store, page: &KeysPage) -> (Vec<(String, DataType)>, Option<String>) {
        let body = body(&Answer::keys(store, page));
        let keys = body["keys"].as_array().unwrap().iter().map(|key| {
            assert_eq!(key.as_object().unwrap().len(), 2);
            let data_type = DataType::from_name(key["type"].as_str().unwrap()).unwrap();
            (key["key"].as_str().unwrap().to_owned(), data_type)
        });
        (keys.collect(), body.get("next").map(|next| next.as_str().unwrap().to_owned()))
    }

    fn first_page(prefix: &str, limit: usize) -> KeysPage {
        KeysPage { prefix: prefix.to_owned(), after: None, limit }
    }

    #[test]
    fn keys_of_all_types_are_listed_once_each() {
        let keys: BTreeSet<_> = DataType::ALL.map(|data_type| ("k".to_owned(), data_type)).into_iter().collect();
        let (listed, next) = listed(&store_of(&keys), &first_page("", 12));
        assert_eq!((listed.into_iter().collect::<BTreeSet<_>>(), next), (keys, None));
        assert_eq!(Answer::keys(&Store::new(), &first_page("", 1)).body, br#"{"keys":[]}"#);
    }

    #[test]
    fn a_cursor_outlives_its_key() {
        let key = |name: &str| (name.to_owned(), DataType::GSet);
        let mut store = store_of(&["a", "b", "d"].map(key).into_iter().collect());
        let (first, next) = listed(&store, &first_page("", 2));
        assert_eq!(first, [key("a"), key("b")]);
        let mut write = Write::begin(&mut store, WriterId(1), usize::MAX);
        let gone = write.store().find(&Cell::of_key("b", DataType::GSet)).unwrap();
        let gone = write.store().entries(gone).next().unwrap();
        write.drop_entry(gone);
        write.put(&Cell::of_key("a2", DataType::GSet), b"1").unwrap();
        write.put(&Cell::of_key("c", DataType::GSet), b"1").unwrap();
        write.commit();
        let page = KeysPage::parse(&format!("limit=2&after={}", next.unwrap())).unwrap();
        assert_eq!(listed(&store, &page), (vec![key("c"), key("d")], None));
    }

    #[test]
    fn the_leaves_of_a_large_map_are_leapt_over() {
        // Were they walked, these pages would look at each of the 20,000 leaves a thousand times.
        let mut store = Store::new();
        let mut write = Write::begin(&mut store, WriterId(1), usize::MAX);
        for field in 0..20_000 {
            let path = vec![format!("{field}").as_str().into()];
            let leaf = Cell { path, leaf: DataType::GSet, ..Cell::of_key("m", DataType::Map) };
            write.put(&leaf, b"1").unwrap();
        }
        write.put(&Cell::of_key("n", DataType::GSet), b"1").unwrap();
        write.commit();
        let expected = vec![("m".to_owned(), DataType::Map), ("n".to_owned(), DataType::GSet)];
        for _ in 0..1000 {
            assert_eq!(listed(&store, &first_page("", 2)), (expected.clone(), None));
        }
    }

    fn key() -> impl Strategy<Value = (String, DataType)> {
        let name =
            prop_oneof!["[ab\0\u{10ffff}]{1,3}", any::<String>().prop_filter("not empty", |name| !name.is_empty())];
        (name, prop::sample::select(DataType::ALL.to_vec()))
    }

    proptest! {
        #[test]
        fn any_key_and_value_make_json(name in any::<String>(), text in any::<String>()) {
            let answer = Answer::value(&name, DataType::LwwRegister, Some(Value::from(&*text).to_string()));
            prop_assert_eq!(body(&answer), json!({"key": name, "type": "lwwregister", "value": text}));
        }

        #[test]
        fn any_message_makes_json(message in any::<String>()) {
            let answer = Answer::refusal(&Refusal::BadKey(message.clone()));
            prop_assert_eq!(body(&answer), json!({"error": {"code": "bad_key", "message": message}}));
        }

        #[test]
        fn pages_list_every_key_once_in_order(
            keys in prop::collection::btree_set(key(), 0..30),
            prefix in "[ab]{0,2}",
            limit in 1..8_usize,
        ) {
            let store = store_of(&keys);
            let mut seen = Vec::new();
            let mut page = first_page(&prefix, limit);
            loop {
                let (listed, next) = listed(&store, &page);
                prop_assert!(listed.len() <= limit);
                prop_assert!(next.is_none() || listed.len() == limit, "a page is full or the last");
                seen.extend(listed);
                let Some(next) = next else { break };
                // Read back from its text, as it comes from a client.
                page = KeysPage::parse(&format!("limit={limit}&after={next}")).unwrap();
                page.prefix = prefix.clone();
            }
            let expected: Vec<_> = keys.into_iter().filter(|(name, _)| name.starts_with(&prefix)).collect();
            prop_assert_eq!(seen, expected);
        }
    }
}
