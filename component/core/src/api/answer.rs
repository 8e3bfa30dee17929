//! Answers: status, headers and JSON. What every answer carries (`dayfly-replica`, `dayfly-complete`) and what a write's
//! answer carries (`dayfly-context`) is the caller's to add.

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
