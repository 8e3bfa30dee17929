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

/// How much memory one operation's JSON may take, in bytes. An object takes up to a hundred times the length of its text;
/// without a bound a body of many small ones would exhaust the memory of the instance. The largest payload stays far below.
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
