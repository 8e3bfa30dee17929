//! Pages: which part of a list a request asks for.

use std::ops::RangeInclusive;

use crate::api::{check_key_name, hex, query};
use crate::cell::{Cell, DataType};
use crate::config::is_name;
use crate::refusal::{Refusal, quoted};

/// A page of `GET /v1/keys`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeysPage {
    /// What the names begin with; may be empty.
    pub prefix: String,
    /// The key before the first one asked for. It need not exist (any more).
    pub after: Option<KeyCursor>,
    /// At most how many keys: 1 to 1,000.
    pub limit: usize,
}

/// A page of `GET /v1/members`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MembersPage {
    /// The name before the first one asked for. Its member need not exist (any more).
    pub after: Option<String>,
    /// At most how many members: 1 to 10,000.
    pub limit: usize,
}

impl KeysPage {
    /// Parses a query; an empty `prefix` or `after` is as good as none.
    pub fn parse(query: &str) -> Result<Self, Refusal> {
        let [prefix, after, limit] = query::parameters(query, ["prefix", "after", "limit"])?;
        let after = after.filter(|text| !text.is_empty());
        Ok(Self {
            prefix: prefix.unwrap_or_default(),
            after: after.map(|text| KeyCursor::from_text(&text)).transpose()?,
            limit: limit_of(limit, 1..=1000, 100)?,
        })
    }

    /// The lower end of the cells to look at.
    pub fn first_cell(&self) -> Cell {
        let first = Cell::of_key(&self.prefix, DataType::ALL[0]);
        match &self.after {
            Some(cursor) => first.max(cursor.next_cell()),
            None => first,
        }
    }
}

impl MembersPage {
    /// Parses a query; an empty `after` is as good as none.
    pub fn parse(query: &str) -> Result<Self, Refusal> {
        let [after, limit] = query::parameters(query, ["after", "limit"])?;
        let after = after.filter(|text| !text.is_empty());
        if let Some(name) = after.as_deref().filter(|name| !is_name(name)) {
            return Err(Refusal::BadRequest(format!(
                "after takes the next of a previous answer, not {}",
                quoted(name)
            )));
        }
        Ok(Self { after, limit: limit_of(limit, 1..=10_000, 1000)? })
    }
}

fn limit_of(text: Option<String>, bounds: RangeInclusive<usize>, absent: usize) -> Result<usize, Refusal> {
    let Some(text) = text else { return Ok(absent) };
    // `parse` alone would take a sign.
    let number = text.parse().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()));
    number.filter(|number| bounds.contains(number)).ok_or_else(|| {
        let (low, high) = (bounds.start(), bounds.end());
        Refusal::BadRequest(format!("limit takes an integer from {low} to {high}, not {}", quoted(&text)))
    })
}

/// A place in the list of keys. It stays right whatever is written or deleted meanwhile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyCursor {
    /// A key's name: 1 to 1,024 bytes.
    pub name: String,
    /// Its type.
    pub data_type: DataType,
}

/// The first byte of a cursor.
const VERSION: u8 = 1;

impl KeyCursor {
    /// The text that clients carry: opaque, of `0-9` and `a-f`.
    pub fn to_text(&self) -> String {
        hex::encode(&[&[VERSION, self.data_type as u8], self.name.as_bytes()].concat())
    }

    /// The cursor of a text.
    pub fn from_text(text: &str) -> Result<Self, Refusal> {
        let refusal = || Refusal::BadRequest("after takes the next of a previous answer, unchanged".into());
        let bytes = hex::decode(text).ok_or_else(refusal)?;
        let [VERSION, number, name @ ..] = &bytes[..] else { return Err(refusal()) };
        let data_type = DataType::from_number(*number).ok_or_else(refusal)?;
        let name = str::from_utf8(name).map_err(|_| refusal())?;
        check_key_name(name).map_err(|_| refusal())?;
        Ok(Self { name: name.to_owned(), data_type })
    }

    /// The lower end of the cells of all later keys. It leaps over the leaves of a map, however many.
    pub fn next_cell(&self) -> Cell {
        match DataType::from_number(self.data_type as u8 + 1) {
            Some(next) => Cell::of_key(&self.name, next),
            // No type comes after, and no name comes between a name and the same with a zero byte behind it.
            None => Cell::of_key(&format!("{}\0", self.name), DataType::ALL[0]),
        }
    }
}
