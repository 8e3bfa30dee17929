//! Bodies: JSON that is checked before and while it is taken in, so that no body makes the replica allocate much more
//! than the body's length, or recurse deeper than [`NESTING_MAX`].

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::error::Category;
use serde_json::{Map, Number, Value};

use crate::api::{check_key_name, header};
use crate::cell::DataType;
use crate::http::Request;
use crate::refusal::{Refusal, quoted};
use crate::types::operation::{Operation, take_type};

/// The longest body, in bytes.
pub const BODY_MAX_BYTES: usize = 2 * 1024 * 1024;
/// How deep arrays and objects may nest.
pub const NESTING_MAX: usize = 64;
/// The most operations of a batch.
pub const BATCH_MAX_OPERATIONS: usize = 10_000;

/// How much memory one operation's JSON may take, in bytes. An object takes up to a hundred times the length of its
/// text; without a bound a body of many small ones would exhaust the memory of the instance. The largest payload stays
/// far below.
const PARSED_MAX_BYTES: usize = 32 * 1024 * 1024;
/// What a value takes in an array that grows, what the first member of an object takes, and what each member takes.
const VALUE_BYTES: usize = 64;
const OBJECT_BYTES: usize = 640;
const MEMBER_BYTES: usize = 128;

/// Refuses a body where none belongs.
pub fn refuse_any(request: &Request) -> Result<(), Refusal> {
    if request.body.is_empty() {
        return Ok(());
    }
    Err(Refusal::BadRequest(format!("a {} takes no body; operations are sent with POST", request.method)))
}

/// The operation in the body of a request for one key.
pub fn operation(request: &Request, data_type: DataType) -> Result<Operation, Refusal> {
    let mut reading = Reading::new();
    let document = read(request, &mut reading, |json, reading| Document { reading }.deserialize(json))?;
    let Value::Object(members) = document else {
        return Err(Refusal::BadRequest("the body must be an object with exactly one operation".into()));
    };
    Operation::parse(data_type, members, false)
}

/// The operations of a batch, one after the other, so that the JSON of only one is held at a time.
pub fn batch(request: &Request) -> Result<Vec<(String, DataType, Operation)>, Refusal> {
    let mut reading = Reading::new();
    let operations = read(request, &mut reading, |json, reading| Batch { reading }.deserialize(json))?;
    if operations.is_empty() {
        return Err(Refusal::BadRequest(format!("a batch holds 1 to {BATCH_MAX_OPERATIONS} operations, not 0")));
    }
    Ok(operations)
}

type Json<'r> = serde_json::Deserializer<serde_json::de::SliceRead<'r>>;

/// Checks a body and reads all of it.
fn read<T>(
    request: &Request,
    reading: &mut Reading,
    with: impl FnOnce(&mut Json<'_>, &mut Reading) -> serde_json::Result<T>,
) -> Result<T, Refusal> {
    if request.body.len() > BODY_MAX_BYTES {
        return Err(Refusal::BodyTooLarge);
    }
    header::check_content_type(&request.headers)?;
    check_nesting(&request.body)?;
    let mut json = serde_json::Deserializer::from_slice(&request.body);
    let read = with(&mut json, reading).and_then(|read| json.end().map(|()| read));
    read.map_err(|error| {
        reading.refusal.take().unwrap_or_else(|| match error.classify() {
            // Only a batch expects a form; and serde's text would repeat the whole body if that is a text.
            Category::Data => Refusal::BadRequest("the body must be an array of operations".into()),
            Category::Syntax | Category::Eof | Category::Io => {
                Refusal::BadJson(format!("the body is not JSON: {error}"))
            }
        })
    })
}

/// Refuses JSON that nests too deep, without recursion. Up to the first fault in the JSON, which the parser finds, this
/// sees the same strings and brackets as the parser.
fn check_nesting(json: &[u8]) -> Result<(), Refusal> {
    let (mut depth, mut line, mut column) = (0_usize, 1, 0);
    let (mut in_string, mut escaped) = (false, false);
    for byte in json {
        column += 1;
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            _ if in_string => {}
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.saturating_sub(1),
            b'\n' => (line, column) = (line + 1, 0),
            _ => {}
        }
        if depth > NESTING_MAX {
            let place = format!("line {line} column {column}");
            return Err(Refusal::BadJson(format!("the body nests more than {NESTING_MAX} deep at {place}")));
        }
    }
    Ok(())
}

/// What is known while a body is read.
struct Reading {
    /// How much more memory the present operation's JSON may take.
    left_bytes: usize,
    /// Why the reading stopped, if not for the parser's own reasons.
    refusal: Option<Refusal>,
}

impl Reading {
    fn new() -> Self {
        Self { left_bytes: PARSED_MAX_BYTES, refusal: None }
    }

    fn refuse<E: serde::de::Error>(&mut self, refusal: Refusal) -> E {
        self.refusal = Some(refusal);
        E::custom("refused")
    }

    fn spend<E: serde::de::Error>(&mut self, bytes: usize) -> Result<(), E> {
        match self.left_bytes.checked_sub(bytes) {
            Some(left) => {
                self.left_bytes = left;
                Ok(())
            }
            None => Err(self.refuse(Refusal::PayloadTooLarge)),
        }
    }
}

/// Any JSON value. Unlike `Value` itself it refuses an object in which a member stands twice: of two operations, or two
/// fields of a map, one would be dropped in silence.
struct Document<'r> {
    reading: &'r mut Reading,
}

impl<'de> DeserializeSeed<'de> for Document<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Value, D::Error> {
        self.reading.spend(VALUE_BYTES)?;
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Document<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("a number is too large"))
    }

    fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<Value, E> {
        self.reading.spend(value.len())?;
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut json: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = json.next_element_seed(Document { reading: self.reading })? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut json: A) -> Result<Value, A::Error> {
        let mut members = Map::new();
        while let Some(name) = json.next_key::<String>()? {
            let first = if members.is_empty() { OBJECT_BYTES } else { 0 };
            self.reading.spend(first + MEMBER_BYTES + name.len())?;
            let value = json.next_value_seed(Document { reading: self.reading })?;
            if members.contains_key(&name) {
                let name = quoted(&name);
                let twice = format!("the member {name} stands twice in one object");
                return Err(self.reading.refuse(Refusal::BadRequest(twice)));
            }
            members.insert(name, value);
        }
        Ok(Value::Object(members))
    }
}

/// An array of operations with their keys.
struct Batch<'r> {
    reading: &'r mut Reading,
}

impl<'de> DeserializeSeed<'de> for Batch<'_> {
    type Value = Vec<(String, DataType, Operation)>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Self::Value, D::Error> {
        json.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Batch<'_> {
    type Value = Vec<(String, DataType, Operation)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an array of operations")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut json: A) -> Result<Self::Value, A::Error> {
        let mut operations = Vec::new();
        loop {
            let index = operations.len();
            self.reading.left_bytes = PARSED_MAX_BYTES;
            let item = json.next_element_seed(Document { reading: self.reading }).inspect_err(|_| {
                let refusal = self.reading.refusal.take();
                self.reading.refusal = refusal.map(|refusal| Refusal::InBatch(index, refusal.into()));
            })?;
            let Some(item) = item else { break };
            if index == BATCH_MAX_OPERATIONS {
                return Err(self.reading.refuse(Refusal::BatchTooLarge));
            }
            match keyed_operation(item) {
                Ok(operation) => operations.push(operation),
                Err(refusal) => return Err(self.reading.refuse(Refusal::InBatch(index, refusal.into()))),
            }
        }
        Ok(operations)
    }
}

/// An item of a batch: exactly `type`, `key` and one operation.
fn keyed_operation(item: Value) -> Result<(String, DataType, Operation), Refusal> {
    let Value::Object(mut members) = item else {
        return Err(Refusal::BadRequest("it must be an object with type, key and exactly one operation".into()));
    };
    let data_type = take_type(&mut members)?;
    let name = match members.remove("key") {
        Some(Value::String(name)) => name,
        Some(_) => return Err(Refusal::BadRequest("key must be a text".into())),
        None => return Err(Refusal::BadRequest("the member key is missing".into())),
    };
    check_key_name(&name)?;
    Ok((name, data_type, Operation::parse(data_type, members, true)?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn request(body: impl Into<Vec<u8>>) -> Request {
        Request { method: "POST".into(), body: body.into(), ..Request::default() }
    }

    fn set(body: impl Into<Vec<u8>>) -> Result<Operation, Refusal> {
        operation(&request(body), DataType::MvRegister)
    }

    fn many(body: &str) -> Result<Vec<(String, DataType, Operation)>, Refusal> {
        batch(&request(body))
    }

    fn message_of_bad_json<T: std::fmt::Debug>(result: Result<T, Refusal>) -> String {
        match result {
            Err(Refusal::BadJson(message)) => message,
            other => panic!("not refused as bad JSON: {other:?}"),
        }
    }

    #[test]
    fn malformed_json_is_refused_with_its_place() {
        for (body, place) in [
            ("", "line 1 column 0"),
            (" ", "line 1 column 1"),
            ("{", "line 1 column 1"),
            (r#"{"set":}"#, "line 1 column 8"),
            ("{\n \"set\": 1,\n}", "line 3 column 1"),
            (r#"{"set":1} x"#, "line 1 column 11"),
            (r#"{"set":1}{"set":1}"#, "line 1 column 10"),
            (r#"{"set":01}"#, "line 1 column 9"),
            (r#"{"set":NaN}"#, "line 1 column 8"),
            (r#"{"set":'x'}"#, "line 1 column 8"),
            (r#"{set:1}"#, "line 1 column 2"),
            ("{\"set\":\"\n\"}", "line 2 column 0"),
            (r#"{"set":"\x"}"#, "line 1 column 10"),
            (r#"{"set":"\ud800"}"#, "line 1 column 15"),
            (r#"{"set":1e999}"#, "line 1 column"),
            ("\u{feff}{\"set\":1}", "line 1 column 1"),
            (r#"{"set":[1,2}"#, "line 1 column 12"),
            (r#"{"set":1}]"#, "line 1 column 10"),
        ] {
            let message = message_of_bad_json(set(body));
            assert!(message.contains(place), "{body:?}: {message}");
        }
        let mut bytes = br#"{"set":"x"}"#.to_vec();
        bytes[8] = 0xff;
        assert!(message_of_bad_json(set(bytes)).contains("line 1 column"));
        assert!(message_of_bad_json(many("[")).contains("line 1 column 1"));
        assert!(message_of_bad_json(many("")).contains("line 1 column 0"));
    }

    #[test]
    fn a_body_is_one_object_with_one_operation() {
        assert_eq!(set(r#" { "set" : [ 1 ] } "#), Ok(Operation::Set("[1]".into())));
        for body in ["null", "1", "[]", r#"[{"set":1}]"#, r#""set""#, "{}", r#"{"set":1,"x":1}"#, r#"{"type":"gset"}"#]
        {
            assert!(matches!(set(body), Err(Refusal::BadRequest(_))), "{body}");
        }
        assert!(matches!(set(r#"{"delete":true}"#), Err(Refusal::BadRequest(_))), "that is what DELETE is for");
    }

    #[test]
    fn a_member_that_stands_twice_is_refused_wherever_it_is() {
        for (data_type, body) in [
            (DataType::GCounter, r#"{"increment":1,"increment":1}"#),
            (DataType::MvRegister, r#"{"set":[{"a":1,"\u0061":2}]}"#),
            (DataType::Map, r#"{"update":{"f":{"type":"gcounter","increment":1},"f":{"type":"orset","add":[]}}}"#),
        ] {
            let refused = operation(&request(body), data_type);
            assert!(matches!(&refused, Err(Refusal::BadRequest(text)) if text.contains("twice")), "{refused:?}");
        }
        let refused = many(r#"[{"type":"gset","key":"k","add":[]},{"type":"gset","key":"k","key":"l","add":[]}]"#);
        assert!(matches!(refused, Err(Refusal::InBatch(1, inner)) if matches!(*inner, Refusal::BadRequest(_))));
    }

    #[test]
    fn a_body_takes_at_most_two_mebibytes() {
        let padded = |length: usize| {
            let body = br#"{"set":1}"#.to_vec();
            let space = vec![b' '; length - body.len()];
            [body, space].concat()
        };
        assert!(set(padded(BODY_MAX_BYTES)).is_ok());
        assert_eq!(set(padded(BODY_MAX_BYTES + 1)), Err(Refusal::BodyTooLarge));
        assert_eq!(batch(&request(padded(BODY_MAX_BYTES + 1))), Err(Refusal::BodyTooLarge));
    }

    #[test]
    fn the_content_type_is_checked() {
        let typed = |body: &str| Request {
            headers: vec![("content-type".into(), "text/plain".into())],
            ..request(body.as_bytes())
        };
        assert_eq!(operation(&typed(r#"{"set":1}"#), DataType::MvRegister), Err(Refusal::BadContentType));
        assert_eq!(batch(&typed("[]")), Err(Refusal::BadContentType));
    }

    #[test]
    fn json_nests_at_most_64_deep() {
        let nested = |open: &str, close: &str, depth: usize| {
            // The operation's own object is the first level.
            format!(r#"{{"set":{}1{}}}"#, open.repeat(depth - 1), close.repeat(depth - 1))
        };
        for (open, close) in [("[", "]"), (r#"{"a":"#, "}")] {
            assert!(set(nested(open, close, NESTING_MAX)).is_ok());
            let message = message_of_bad_json(set(nested(open, close, NESTING_MAX + 1)));
            assert!(message.contains("64 deep at line 1 column"), "{message}");
            for depth in [10_000, 300_000] {
                message_of_bad_json(set(nested(open, close, depth)));
                message_of_bad_json(batch(&request(nested(open, close, depth))));
            }
        }
        let unclosed = format!("{{\n\"set\":{}", "[".repeat(1_000_000));
        assert!(message_of_bad_json(set(unclosed)).contains("line 2 column 70"));
    }

    #[test]
    fn brackets_within_texts_do_not_nest() {
        let brackets = "[{".repeat(1000);
        for text in [brackets.clone(), format!(r#"\"{brackets}"#), format!(r#"\\\"{brackets}\\"#)] {
            assert!(set(format!(r#"{{"set":"{text}"}}"#)).is_ok(), "{}", &text[..8]);
        }
        // The text ends at the second quote, which an even number of backslashes does not escape.
        message_of_bad_json(set(format!(r#"{{"set":["\\",{brackets}"#)));
        // Side by side is not within each other.
        assert!(set(format!(r#"{{"set":[{}1]}}"#, "[],{},".repeat(1000))).is_ok());
    }

    #[test]
    fn many_small_objects_do_not_exhaust_the_memory() {
        let small = r#"{"":0},"#.repeat(250_000);
        let elements = format!(r#"{{"add":[{small}0]}}"#);
        assert_eq!(operation(&request(elements), DataType::GSet), Err(Refusal::PayloadTooLarge));
        let item = format!(r#"[{{"type":"gset","key":"k","add":[]}},{{"type":"gset","key":"k","add":[{small}0]}}]"#);
        assert_eq!(many(&item), Err(Refusal::InBatch(1, Refusal::PayloadTooLarge.into())));
        let numbers = "0,".repeat(BODY_MAX_BYTES / 2 - 10);
        let numbers = format!(r#"{{"add":[{numbers}0]}}"#);
        assert_eq!(operation(&request(numbers), DataType::GSet), Err(Refusal::PayloadTooLarge));
        // What a payload can hold is far from that bound.
        let most: Vec<String> = (0..7000).map(|n| format!(r#"{{"":{n}}}"#)).collect();
        assert!(most.iter().map(String::len).sum::<usize>() > 60_000);
        assert!(operation(&request(format!(r#"{{"add":[{}]}}"#, most.join(","))), DataType::GSet).is_ok());
    }

    #[test]
    fn the_bound_on_memory_is_each_operations_own() {
        let item = |key: usize| {
            let elements: Vec<String> = (0..2000).map(|n| format!(r#"{{"":{n}}}"#)).collect();
            format!(r#"{{"type":"gset","key":"{key}","add":[{}]}}"#, elements.join(","))
        };
        let body = format!("[{}]", (0..80).map(item).collect::<Vec<_>>().join(","));
        const { assert!(80 * 2000 * OBJECT_BYTES > PARSED_MAX_BYTES, "together they exceed it") }
        assert_eq!(many(&body).map(|operations| operations.len()), Ok(80));
    }

    #[test]
    fn a_batch_keeps_its_order() {
        let body = r#"[
            {"type":"gcounter","key":"a/%2F é","increment":1},
            {"set":null,"key":"b","type":"lwwregister"},
            {"key":"a","delete":true,"type":"map"}
        ]"#;
        assert_eq!(
            many(body),
            Ok(vec![
                ("a/%2F é".into(), DataType::GCounter, Operation::Increment(1)),
                ("b".into(), DataType::LwwRegister, Operation::Set("null".into())),
                ("a".into(), DataType::Map, Operation::Delete),
            ])
        );
    }

    #[test]
    fn a_batch_is_an_array_of_1_to_10000_operations() {
        for body in ["null", "{}", "1", r#""x""#, r#"{"type":"gset","key":"k","add":[]}"#, "[]"] {
            assert!(matches!(many(body), Err(Refusal::BadRequest(_))), "{body}");
        }
        let long = format!("\"{}\"", "x".repeat(1 << 20));
        assert!(many(&long).unwrap_err().message().len() < 300);
        let of = |count: usize| {
            let item = r#"{"type":"gcounter","key":"k","increment":1}"#;
            format!("[{}]", vec![item; count].join(","))
        };
        assert_eq!(many(&of(1)).map(|operations| operations.len()), Ok(1));
        assert_eq!(many(&of(10_000)).map(|operations| operations.len()), Ok(10_000));
        assert_eq!(many(&of(10_001)), Err(Refusal::BatchTooLarge));
    }

    #[test]
    fn a_bad_operation_is_named_by_its_index() {
        let good = r#"{"type":"gcounter","key":"k","increment":1}"#;
        let long_key = format!(r#"{{"type":"gset","key":"{}","add":[]}}"#, "x".repeat(1025));
        for (bad, code) in [
            ("1", "bad_request"),
            ("[]", "bad_request"),
            ("{}", "bad_request"),
            (r#"{"key":"k","increment":1}"#, "bad_request"),
            (r#"{"type":"gcounter","increment":1}"#, "bad_request"),
            (r#"{"type":"gcounter","key":"k"}"#, "bad_request"),
            (r#"{"type":"gcounter","key":"k","increment":1,"value":1}"#, "bad_request"),
            (r#"{"type":"pncounter","key":"k","increment":1,"decrement":1}"#, "bad_request"),
            (r#"{"type":"gcounter","key":"k","bump":1}"#, "bad_request"),
            (r#"{"type":1,"key":"k","increment":1}"#, "bad_request"),
            (r#"{"type":"gcounter","key":1,"increment":1}"#, "bad_request"),
            (r#"{"type":"gcounter","key":null,"increment":1}"#, "bad_request"),
            (r#"{"type":"gcounter","key":"","increment":1}"#, "bad_key"),
            (&long_key, "bad_key"),
            (r#"{"type":"counter","key":"k","increment":1}"#, "unknown_type"),
            (r#"{"type":"gcounter","key":"k","decrement":1}"#, "wrong_operation"),
            (r#"{"type":"gcounter","key":"k","increment":-1}"#, "bad_value"),
            (r#"{"type":"gcounter","key":"k","delete":false}"#, "bad_value"),
        ] {
            let refusal = many(&format!("[{good},{good},{bad},{good}]")).unwrap_err();
            assert!(matches!(refusal, Refusal::InBatch(2, _)), "{bad}: {refusal:?}");
            assert_eq!(refusal.status_and_code().1, code, "{bad}");
            assert!(refusal.message().starts_with("operation 2: "), "{}", refusal.message());
        }
        // Broken JSON has a place of its own.
        assert!(matches!(many(&format!("[{good},{{]")), Err(Refusal::BadJson(_))));
    }

    #[test]
    fn no_body_is_the_only_one_that_belongs_nowhere() {
        assert_eq!(refuse_any(&request("")), Ok(()));
        for body in ["x", " ", "{}"] {
            assert!(matches!(refuse_any(&request(body)), Err(Refusal::BadRequest(_))), "{body:?}");
        }
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_filter_map("finite", |number| Number::from_f64(number).map(Value::Number)),
            any::<String>().prop_map(Value::from),
            r#"[\[\]{}"\\]{0,8}"#.prop_map(Value::from),
        ];
        leaf.prop_recursive(6, 64, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                prop::collection::btree_map(any::<String>(), inner, 0..6)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    fn depth(value: &Value) -> usize {
        match value {
            Value::Array(values) => 1 + values.iter().map(depth).max().unwrap_or(0),
            Value::Object(members) => 1 + members.values().map(depth).max().unwrap_or(0),
            _ => 0,
        }
    }

    proptest! {
        #[test]
        fn a_value_is_taken_in_as_it_is(value in value()) {
            let body = format!(r#"{{"set":{value}}}"#);
            prop_assert_eq!(set(body), Ok(Operation::Set(value.to_string())));
        }

        /// Around a value of some depth, exactly as many arrays as there is room for.
        #[test]
        fn nesting_counts_as_the_parser_does(value in value()) {
            let wrapped = |times: usize| format!(r#"{{"set":{}{value}{}}}"#, "[".repeat(times), "]".repeat(times));
            let room = NESTING_MAX - 1 - depth(&value);
            prop_assert!(set(wrapped(room)).is_ok());
            prop_assert!(matches!(set(wrapped(room + 1)), Err(Refusal::BadJson(_))));
        }

        #[test]
        fn any_bytes_are_taken_in_or_refused(bytes in any::<Vec<u8>>(), text in r#"[\[\]{}"\\:, 0-9a-z]{0,60}"#) {
            for body in [bytes, text.into_bytes()] {
                let _ = set(body.clone());
                let _ = batch(&request(body));
            }
        }
    }
}
