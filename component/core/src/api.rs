//! The HTTP API of `wit/http-api.md` as a layer of its own: [`parse`] makes a checked [`Call`] of a request, [`Answer`]
//! has the bytes of an answer. Neither knows a replica; what lies between is `replica.rs`.
//!
//! A request with several faults is refused for the first one in this order: path, method, a body where none belongs,
//! parameters, type and key, body (size, content type, nesting, JSON, operations), tokens.

mod answer;
mod body;
mod header;
mod hex;
mod page;
mod percent;
mod query;
mod token;
mod view;

use crate::cell::{DataType, NAME_MAX_BYTES};
use crate::http::Request;
use crate::refusal::Refusal;
use crate::types::operation::{Operation, type_of_name};

pub use answer::Answer;
pub use body::{BATCH_MAX_OPERATIONS, BODY_MAX_BYTES, NESTING_MAX};
pub use page::{KeyCursor, KeysPage, MembersPage};
pub use token::{TOKEN_MAX_WRITERS, Token};
pub use view::{CombiningView, DroppedView, LogView, MemberView, RepairView, StatusView, TrafficView};

/// A request that has the right form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// `dayfly-after`: what must have been seen before this call is answered.
    pub after: Option<Token>,
    /// `dayfly-context`: what the context of the answer to a write begins with; empty if the header is absent.
    pub context: Token,
    /// What is asked.
    pub kind: Kind,
}

/// What a request asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The value of a key.
    Read {
        /// The key's name.
        name: String,
        /// The key's type.
        data_type: DataType,
    },
    /// Operations to apply in this order, all or none: one, or those of a batch.
    Write {
        /// Key and operation; 1 to [`BATCH_MAX_OPERATIONS`].
        operations: Vec<(String, DataType, Operation)>,
        /// What the answer shows.
        answer: WriteAnswer,
    },
    /// A page of the keys.
    Keys(KeysPage),
    /// A page of the members.
    Members(MembersPage),
    /// The replica's status.
    Status,
}

/// What the answer to a write shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteAnswer {
    /// The key with its new value. Then there is one operation.
    Value,
    /// Nothing: `prefer: return=minimal`, or a `DELETE`. Then there is one operation.
    Minimal,
    /// How many operations were applied. A refusal names the operation by its index, with [`Refusal::InBatch`].
    Batch,
}

/// Checks a request as far as the request alone tells. Total: any bytes give a call or a refusal, in time and memory in
/// proportion to their number.
///
/// A body where none belongs (`GET`, `DELETE`) is refused rather than ignored: who sends `{"remove": ["x"]}` with a
/// `DELETE` did not mean to delete the whole key.
pub fn parse(request: &Request) -> Result<Call, Refusal> {
    let kind = match (Path::of(&request.path)?, request.method.as_str()) {
        (Path::Data { type_name, segment }, "GET") => {
            body::refuse_any(request)?;
            let (name, data_type) = key(request, type_name, segment)?;
            Kind::Read { name, data_type }
        }
        (Path::Data { type_name, segment }, "POST") => {
            let (name, data_type) = key(request, type_name, segment)?;
            let minimal = header::prefers_minimal(&request.headers);
            let answer = if minimal { WriteAnswer::Minimal } else { WriteAnswer::Value };
            Kind::Write { operations: vec![(name, data_type, body::operation(request, data_type)?)], answer }
        }
        (Path::Data { type_name, segment }, "DELETE") => {
            body::refuse_any(request)?;
            let (name, data_type) = key(request, type_name, segment)?;
            Kind::Write { operations: vec![(name, data_type, Operation::Delete)], answer: WriteAnswer::Minimal }
        }
        (Path::Data { .. }, _) => return Err(Refusal::BadMethod("GET, POST, DELETE")),
        (Path::Batch, "POST") => {
            query::parameters(&request.query, [])?;
            Kind::Write { operations: body::batch(request)?, answer: WriteAnswer::Batch }
        }
        (Path::Batch, _) => return Err(Refusal::BadMethod("POST")),
        (Path::Keys, "GET") => {
            body::refuse_any(request)?;
            Kind::Keys(KeysPage::parse(&request.query)?)
        }
        (Path::Members, "GET") => {
            body::refuse_any(request)?;
            Kind::Members(MembersPage::parse(&request.query)?)
        }
        (Path::Status, "GET") => {
            body::refuse_any(request)?;
            query::parameters(&request.query, [])?;
            Kind::Status
        }
        (Path::Keys | Path::Members | Path::Status, _) => return Err(Refusal::BadMethod("GET")),
    };
    let after = header::token(&request.headers, "dayfly-after")?;
    let context = header::token(&request.headers, "dayfly-context")?.unwrap_or_default();
    Ok(Call { after, context, kind })
}

/// Where a path leads. Segments other than the key are compared as sent.
enum Path<'r> {
    Data { type_name: &'r str, segment: &'r str },
    Batch,
    Keys,
    Members,
    Status,
}

impl<'r> Path<'r> {
    fn of(path: &'r str) -> Result<Self, Refusal> {
        let Some(rest) = path.strip_prefix("/v1/") else { return Err(Refusal::NoSuchPath) };
        let segments: Vec<&str> = rest.splitn(4, '/').collect();
        match segments[..] {
            ["data", type_name, segment] => Ok(Self::Data { type_name, segment }),
            ["batch"] => Ok(Self::Batch),
            ["keys"] => Ok(Self::Keys),
            ["members"] => Ok(Self::Members),
            ["status"] => Ok(Self::Status),
            _ => Err(Refusal::NoSuchPath),
        }
    }
}

/// The key that a path names, in a request that takes no parameters.
fn key(request: &Request, type_name: &str, segment: &str) -> Result<(String, DataType), Refusal> {
    query::parameters(&request.query, [])?;
    let data_type = type_of_name(type_name)?;
    let name = percent::decode(segment).map_err(|fault| Refusal::BadKey(format!("the key {fault}")))?;
    check_key_name(&name)?;
    Ok((name, data_type))
}

/// Refuses a key's name that is out of bounds.
fn check_key_name(name: &str) -> Result<(), Refusal> {
    if (1..=NAME_MAX_BYTES).contains(&name.len()) {
        return Ok(());
    }
    Err(Refusal::BadKey(format!("a key takes 1 to {NAME_MAX_BYTES} bytes, not {}", name.len())))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::dot::{Seq, WriterId};

    fn request(method: &str, path: &str) -> Request {
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        Request { method: method.into(), path: path.into(), query: query.into(), ..Request::default() }
    }

    fn get(path: &str) -> Result<Kind, Refusal> {
        parse(&request("GET", path)).map(|call| call.kind)
    }

    fn post(path: &str, body: &str) -> Result<Kind, Refusal> {
        parse(&Request { body: body.into(), ..request("POST", path) }).map(|call| call.kind)
    }

    fn code<T>(result: Result<T, Refusal>) -> &'static str {
        result.map_or_else(|refusal| refusal.status_and_code().1, |_| "ok")
    }

    #[test]
    fn each_request_of_the_table_is_known() {
        assert_eq!(get("/v1/data/orset/tags"), Ok(Kind::Read { name: "tags".into(), data_type: DataType::OrSet }));
        let increment = |answer| Kind::Write {
            operations: vec![("visits".into(), DataType::GCounter, Operation::Increment(3))],
            answer,
        };
        assert_eq!(post("/v1/data/gcounter/visits", r#"{"increment":3}"#), Ok(increment(WriteAnswer::Value)));
        let delete = parse(&request("DELETE", "/v1/data/gcounter/visits")).map(|call| call.kind);
        assert_eq!(
            delete,
            Ok(Kind::Write {
                operations: vec![("visits".into(), DataType::GCounter, Operation::Delete)],
                answer: WriteAnswer::Minimal,
            })
        );
        let batch = r#"[{"type":"gcounter","key":"visits","increment":3}]"#;
        assert_eq!(post("/v1/batch", batch), Ok(increment(WriteAnswer::Batch)));
        let page = KeysPage { prefix: "a/".into(), after: None, limit: 7 };
        assert_eq!(get("/v1/keys?prefix=a%2F&limit=7"), Ok(Kind::Keys(page)));
        let page = MembersPage { after: Some("eu-1".into()), limit: 1000 };
        assert_eq!(get("/v1/members?after=eu-1"), Ok(Kind::Members(page)));
        assert_eq!(get("/v1/status"), Ok(Kind::Status));
    }

    #[test]
    fn a_minimal_answer_is_for_one_key_only() {
        let preferring = |path: &str, body: &str| {
            let headers = vec![("Prefer".into(), "return=minimal".into())];
            match parse(&Request { headers, body: body.into(), ..request("POST", path) }).map(|call| call.kind) {
                Ok(Kind::Write { answer, .. }) => answer,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(preferring("/v1/data/gset/k", r#"{"add":[]}"#), WriteAnswer::Minimal);
        assert_eq!(preferring("/v1/batch", r#"[{"type":"gset","key":"k","add":[]}]"#), WriteAnswer::Batch);
    }

    #[test]
    fn other_paths_lead_nowhere() {
        for path in [
            "",
            "/",
            "/v1",
            "/v1/",
            "v1/status",
            "/V1/status",
            "/v2/status",
            "//v1/status",
            "/v1//status",
            "/v1/status/",
            "/v1/Status",
            "/v1/batch/x",
            "/v1/keys/",
            "/v1/data",
            "/v1/data/",
            "/v1/data/gset",
            "/v1/data/gset/a/b",
            "/v1/data/gset/a/",
            "/v1/data/gset//a",
            "/v1/data/gset/a/b%",
            "/v1/linger",
        ] {
            for method in ["GET", "POST", "DELETE", "PATCH"] {
                assert_eq!(parse(&request(method, path)), Err(Refusal::NoSuchPath), "{method} {path}");
            }
        }
    }

    #[test]
    fn other_methods_are_told_which_ones_go() {
        for (path, allowed) in [
            ("/v1/data/gset/k", "GET, POST, DELETE"),
            ("/v1/data/nonsense/%", "GET, POST, DELETE"),
            ("/v1/batch", "POST"),
            ("/v1/keys", "GET"),
            ("/v1/members", "GET"),
            ("/v1/status?x=1", "GET"),
        ] {
            for method in ["GET", "POST", "DELETE", "HEAD", "PUT", "PATCH", "OPTIONS", "get", "Post", "", "G\0"] {
                let refused = parse(&request(method, path)) == Err(Refusal::BadMethod(allowed));
                assert_eq!(refused, !allowed.split(", ").any(|good| good == method), "{method} {path}");
            }
        }
    }

    #[test]
    fn a_key_is_one_decoded_segment_of_1_to_1024_bytes() {
        let name = |segment: &str| match get(&format!("/v1/data/gset/{segment}")) {
            Ok(Kind::Read { name, .. }) => Ok(name),
            Ok(other) => panic!("{other:?}"),
            Err(refusal) => Err(refusal.status_and_code().1),
        };
        for (segment, decoded) in [
            ("a", "a"),
            ("a%2Fb%2f", "a/b/"),
            ("a+b", "a+b"),
            ("%25", "%"),
            ("%3F%23", "?#"),
            ("%00", "\0"),
            (".", "."),
            ("%2E%2E", ".."),
            ("%e2%82%ac€", "€€"),
        ] {
            assert_eq!(name(segment).as_deref(), Ok(decoded));
        }
        for segment in ["", "%", "%2", "%zz", "a%", "%ff", "%C3", "%ED%A0%80"] {
            assert_eq!(name(segment), Err("bad_key"), "{segment:?}");
        }
        for (segment, fits) in [
            ("x".repeat(1024), true),
            ("x".repeat(1025), false),
            ("%78".repeat(1024), true),
            ("%78".repeat(1025), false),
            ("%C3%A9".repeat(512), true),
            ("é".repeat(512) + "x", false),
        ] {
            assert_eq!(name(&segment).is_ok(), fits, "{} characters", segment.len());
        }
        assert!(matches!(get("/v1/data/gset/"), Err(Refusal::BadKey(text)) if text.contains("not 0")));
    }

    #[test]
    fn the_type_is_one_of_those_known() {
        for data_type in DataType::ALL {
            assert_eq!(code(get(&format!("/v1/data/{}/k", data_type.name()))), "ok");
        }
        for name in ["", "GSet", "set", "g%73et", "gset "] {
            assert_eq!(code(get(&format!("/v1/data/{name}/k"))), "unknown_type", "{name:?}");
        }
    }

    #[test]
    fn parameters_belong_only_where_the_table_has_them() {
        for path in ["/v1/data/gset/k", "/v1/status", "/v1/keys", "/v1/members"] {
            assert_eq!(code(get(&format!("{path}?x=1"))), "bad_request", "{path}");
            assert_eq!(code(get(&format!("{path}?"))), "ok", "{path}");
        }
        assert_eq!(code(get("/v1/members?prefix=a")), "bad_request");
        assert_eq!(code(get("/v1/data/gset/k?limit=1")), "bad_request");
        assert_eq!(code(post("/v1/data/gset/k?x=1", r#"{"add":[]}"#)), "bad_request");
        assert_eq!(code(post("/v1/batch?x=1", r#"[{"type":"gset","key":"k","add":[]}]"#)), "bad_request");
        assert_eq!(code(parse(&request("DELETE", "/v1/data/gset/k?x=1"))), "bad_request");
    }

    #[test]
    fn a_body_belongs_only_to_post() {
        for (method, path) in [
            ("GET", "/v1/data/gset/k"),
            ("DELETE", "/v1/data/gset/k"),
            ("GET", "/v1/keys"),
            ("GET", "/v1/members"),
            ("GET", "/v1/status"),
        ] {
            let with_body = Request { body: b"{}".to_vec(), ..request(method, path) };
            assert_eq!(code(parse(&with_body)), "bad_request", "{method} {path}");
            // Without a body its type does not matter.
            let headers = vec![("content-type".into(), "text/plain".into())];
            assert_eq!(code(parse(&Request { headers, ..request(method, path) })), "ok", "{method} {path}");
        }
    }

    #[test]
    fn tokens_come_in_their_headers() {
        let mut token = Token::default();
        token.insert(WriterId(7), Seq(3));
        let with = |name: &str, value: &str| {
            parse(&Request { headers: vec![(name.into(), value.into())], ..request("GET", "/v1/status") })
        };
        let plain = Call { after: None, context: Token::default(), kind: Kind::Status };
        assert_eq!(parse(&request("GET", "/v1/status")), Ok(plain.clone()));
        assert_eq!(with("Dayfly-After", &token.to_text()), Ok(Call { after: Some(token.clone()), ..plain.clone() }));
        assert_eq!(with("DAYFLY-CONTEXT", &token.to_text()), Ok(Call { context: token, ..plain }));
        for name in ["dayfly-after", "dayfly-context"] {
            for value in ["", "00", "nonsense"] {
                assert_eq!(code(with(name, value)), "bad_context", "{name}: {value:?}");
            }
        }
    }

    #[test]
    fn of_several_faults_the_first_in_order_is_told() {
        let mut broken = Request {
            method: "PUT".into(),
            path: "/v0/data/nonsense/%".into(),
            query: "x=1".into(),
            headers: vec![("content-type".into(), "text/plain".into()), ("dayfly-after".into(), "x".into())],
            body: vec![b'['; BODY_MAX_BYTES + 1],
        };
        let mut told = |mend: &dyn Fn(&mut Request)| {
            let told = code(parse(&broken));
            mend(&mut broken);
            told
        };
        assert_eq!(told(&|request| request.path = "/v1/data/nonsense/%".into()), "no_such_path");
        assert_eq!(told(&|request| request.method = "POST".into()), "bad_method");
        assert_eq!(told(&|request| request.query.clear()), "bad_request");
        assert_eq!(told(&|request| request.path = "/v1/data/gset/%".into()), "unknown_type");
        assert_eq!(told(&|request| request.path = "/v1/data/gset/k".into()), "bad_key");
        assert_eq!(told(&|request| request.body = vec![b'['; 65]), "body_too_large");
        assert_eq!(told(&|request| request.headers[0].1 = "application/json".into()), "bad_content_type");
        assert_eq!(told(&|request| request.body = b"{".to_vec()), "bad_json");
        assert_eq!(told(&|request| request.body = b"{}".to_vec()), "bad_json");
        assert_eq!(told(&|request| request.body = br#"{"set":1}"#.to_vec()), "bad_request");
        assert_eq!(told(&|request| request.body = br#"{"add":1}"#.to_vec()), "wrong_operation");
        assert_eq!(told(&|request| request.body = br#"{"add":[1]}"#.to_vec()), "bad_value");
        assert_eq!(told(&|request| request.headers[1].1 = "01".into()), "bad_context");
        assert_eq!(told(&|_| {}), "ok");
    }

    fn path() -> impl Strategy<Value = String> {
        prop_oneof![
            any::<String>(),
            any::<String>().prop_map(|rest| format!("/v1/{rest}")),
            any::<String>().prop_map(|rest| format!("/v1/data/gset/{rest}")),
            "/v1/data/[a-z]{0,3}(gset|orset|map|gcounter|lwwregister)/[%0-9a-f/]{0,8}",
            prop::sample::select(vec!["/v1/batch", "/v1/keys", "/v1/members", "/v1/status", "/v1/data/map/k"])
                .prop_map(str::to_owned),
        ]
    }

    fn query() -> impl Strategy<Value = String> {
        prop_oneof![
            3 => Just(String::new()),
            1 => any::<String>(),
            1 => "((prefix|after|limit)=[%0-9a-f]{0,6}&?){0,3}",
        ]
    }

    fn headers() -> impl Strategy<Value = Vec<(String, String)>> {
        let name = prop_oneof![
            prop::sample::select(vec!["content-type", "prefer", "dayfly-after", "Dayfly-Context"])
                .prop_map(str::to_owned),
            any::<String>(),
        ];
        let value = prop_oneof![any::<String>(), "(01)?[0-9a-f]{0,60}", Just("application/json".to_owned())];
        prop::collection::vec((name, value), 0..3)
    }

    fn body() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            Just(Vec::new()),
            any::<Vec<u8>>(),
            r#"(\[|\{|"|type|key|add|update|:|,|1|\]|\}|gset|map| ){0,30}"#.prop_map(String::into_bytes),
            r#"\{"(add|set|update|remove|increment)":(1|-1|\[1\]|\["a"\]|\{"f":\{"type":"gset","add":\[\]\}\})\}"#
                .prop_map(String::into_bytes),
            r#"\[(\{"type":"(gset|map|x)","key":"k?","(add|set|delete)":(true|\[1\])\},?){0,3}\]"#
                .prop_map(String::into_bytes),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        /// It never panics, and a refusal always makes a whole answer.
        #[test]
        fn any_request_is_a_call_or_is_refused(
            method in prop_oneof![
                4 => prop::sample::select(vec!["GET", "POST", "DELETE"]).prop_map(str::to_owned),
                1 => any::<String>(),
            ],
            path in path(),
            query in query(),
            headers in headers(),
            body in body(),
        ) {
            match parse(&Request { method, path, query, headers, body }) {
                Ok(Call { kind: Kind::Write { operations, answer }, .. }) => {
                    prop_assert!((1..=BATCH_MAX_OPERATIONS).contains(&operations.len()));
                    prop_assert!(answer == WriteAnswer::Batch || operations.len() == 1);
                    for (name, _, _) in operations {
                        prop_assert!(check_key_name(&name).is_ok());
                    }
                }
                Ok(_) => {}
                Err(refusal) => {
                    let answer = Answer::refusal(&refusal);
                    prop_assert!((400..600).contains(&answer.status));
                    prop_assert!(answer.body.len() < 2000, "a message repeats little of the request");
                    prop_assert!(serde_json::from_slice::<serde_json::Value>(&answer.body).is_ok());
                }
            }
        }

        #[test]
        fn any_name_is_a_key_once_encoded(name in any::<String>()) {
            let expected = match name.len() {
                1..=NAME_MAX_BYTES => Ok(Kind::Read { name: name.clone(), data_type: DataType::GSet }),
                _ => Err("bad_key"),
            };
            let parsed = get(&format!("/v1/data/gset/{}", percent::tests::encode(&name)));
            prop_assert_eq!(parsed.map_err(|refusal| refusal.status_and_code().1), expected);
        }
    }
}
