//! The HTTP API of `wit/http-api.md` as a layer of its own: [`parse`] makes a checked [`Call`] of a request, [`Answer`] has
//! the bytes of an answer. Neither knows a replica; what lies between is `replica.rs`.
//!
//! A request with several faults is refused for the first one in this order: path, method, parameters, type and key, body
//! (size, content type, nesting, JSON, operations), tokens.

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
pub use view::{DroppedView, MemberView, RepairView, StatusView, TrafficView};

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
