//! Why a request was refused. Nothing of a refused request is applied.

use crate::store::StoreFull;

/// The longest part of a request that a message repeats, in characters.
const QUOTE_MAX_CHARS: usize = 64;

/// What a request said, quoted for a message; of a long text only the beginning.
pub fn quoted(text: &str) -> String {
    match text.char_indices().nth(QUOTE_MAX_CHARS) {
        Some((end, _)) => format!("{:?}…", &text[..end]),
        None => format!("{text:?}"),
    }
}

/// A refusal, as `wit/http-api.md` lists them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The body is not JSON, or nests too deep.
    BadJson(String),
    /// The request has the wrong form.
    BadRequest(String),
    /// The key's name is out of bounds.
    BadKey(String),
    /// There is no type of this name.
    UnknownType(String),
    /// The `dayfly-context` or `dayfly-after` header is malformed or would hold too many writers.
    BadContext(String),
    /// The key has no live entry.
    NoSuchKey,
    /// There is nothing at this path.
    NoSuchPath,
    /// The path takes other methods; the text is for the `allow` header.
    BadMethod(&'static str),
    /// A counter would leave its bounds.
    Overflow,
    /// One operation's payload is too large.
    PayloadTooLarge,
    /// The operations of one request do not fit one frame.
    BatchTooLarge,
    /// The body is too large.
    BodyTooLarge,
    /// The body is not JSON by its content type.
    BadContentType,
    /// The type has no such operation.
    WrongOperation(String),
    /// The operation's argument is of the wrong kind.
    BadValue(String),
    /// This replica has not seen what the request asks for.
    NotYet,
    /// Too many writes wait for the broker.
    Busy,
    /// The store is at its bound.
    StoreFull,
    /// An operation of a batch was refused, at this index.
    InBatch(usize, Box<Refusal>),
}

impl From<StoreFull> for Refusal {
    fn from(_: StoreFull) -> Self {
        Self::StoreFull
    }
}

impl Refusal {
    /// The HTTP status and the code.
    pub fn status_and_code(&self) -> (u16, &'static str) {
        match self {
            Self::BadJson(_) => (400, "bad_json"),
            Self::BadRequest(_) => (400, "bad_request"),
            Self::BadKey(_) => (400, "bad_key"),
            Self::UnknownType(_) => (400, "unknown_type"),
            Self::BadContext(_) => (400, "bad_context"),
            Self::NoSuchKey => (404, "no_such_key"),
            Self::NoSuchPath => (404, "no_such_path"),
            Self::BadMethod(_) => (405, "bad_method"),
            Self::Overflow => (409, "overflow"),
            Self::PayloadTooLarge => (413, "payload_too_large"),
            Self::BatchTooLarge => (413, "batch_too_large"),
            Self::BodyTooLarge => (413, "body_too_large"),
            Self::BadContentType => (415, "bad_content_type"),
            Self::WrongOperation(_) => (422, "wrong_operation"),
            Self::BadValue(_) => (422, "bad_value"),
            Self::NotYet => (503, "not_yet"),
            Self::Busy => (503, "busy"),
            Self::StoreFull => (507, "store_full"),
            Self::InBatch(_, inner) => inner.status_and_code(),
        }
    }

    /// What is wrong and what to do.
    pub fn message(&self) -> String {
        match self {
            Self::BadJson(text)
            | Self::BadRequest(text)
            | Self::BadKey(text)
            | Self::UnknownType(text)
            | Self::BadContext(text)
            | Self::WrongOperation(text)
            | Self::BadValue(text) => text.clone(),
            Self::NoSuchKey => "the key does not exist here; write to it to make it".into(),
            Self::NoSuchPath => "there is nothing at this path; the API has /v1/data/TYPE/KEY, /v1/batch, /v1/keys, \
                                 /v1/members and /v1/status"
                .into(),
            Self::BadMethod(allowed) => format!("this path takes {allowed}"),
            Self::Overflow => "the counter would leave its bounds; nothing was counted".into(),
            Self::PayloadTooLarge => "one operation's values take more than 65536 bytes; split it".into(),
            Self::BatchTooLarge => {
                "the operations are more than 10000 or do not fit one frame; send fewer at a time".into()
            }
            Self::BodyTooLarge => "the body takes more than 2097152 bytes; send less at a time".into(),
            Self::BadContentType => "send JSON, with content-type application/json".into(),
            Self::NotYet => {
                "this replica has not yet seen what dayfly-after names; try again, here or elsewhere".into()
            }
            Self::Busy => "too many writes wait for the broker, or its log for a snapshot; try again later".into(),
            Self::StoreFull => "the store is full; delete keys or run replicas with a larger store".into(),
            Self::InBatch(index, inner) => format!("operation {index}: {}", inner.message()),
        }
    }
}
