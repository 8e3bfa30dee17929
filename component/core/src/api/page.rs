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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn is_bad_request<T: std::fmt::Debug>(result: Result<T, Refusal>) -> bool {
        matches!(result, Err(Refusal::BadRequest(_)))
    }

    #[test]
    fn what_is_absent_or_empty_has_its_default() {
        let all = KeysPage { prefix: String::new(), after: None, limit: 100 };
        assert_eq!(KeysPage::parse(""), Ok(all.clone()));
        assert_eq!(KeysPage::parse("prefix=&after="), Ok(all));
        let all = MembersPage { after: None, limit: 1000 };
        assert_eq!(MembersPage::parse(""), Ok(all.clone()));
        assert_eq!(MembersPage::parse("after="), Ok(all));
    }

    #[test]
    fn limits_are_bounded() {
        for (text, limit) in [("1", 1), ("1000", 1000), ("007", 7)] {
            assert_eq!(KeysPage::parse(&format!("limit={text}")).map(|page| page.limit), Ok(limit));
        }
        assert_eq!(MembersPage::parse("limit=10000").map(|page| page.limit), Ok(10_000));
        assert!(is_bad_request(MembersPage::parse("limit=10001")));
        for text in ["", "0", "1001", "-1", "%2B1", "1.0", "1e2", "ten", "99999999999999999999999", "%20 1", "١"] {
            assert!(is_bad_request(KeysPage::parse(&format!("limit={text}"))), "{text:?}");
            assert!(text == "1001" || is_bad_request(MembersPage::parse(&format!("limit={text}"))), "{text:?}");
        }
    }

    #[test]
    fn a_cursor_is_a_previous_next() {
        let cursor = KeyCursor { name: "a/b é".into(), data_type: DataType::OrSet };
        let page = KeysPage::parse(&format!("prefix=a%2F&after={}&limit=2", cursor.to_text()));
        assert_eq!(page, Ok(KeysPage { prefix: "a/".into(), after: Some(cursor), limit: 2 }));
        let longest = KeyCursor { name: "x".repeat(1024), data_type: DataType::Map };
        assert_eq!(KeyCursor::from_text(&longest.to_text()), Ok(longest.clone()));
        for bad in [
            "x".into(),
            "0".into(),
            "01".into(),
            // No name; no such type; another version; no UTF-8; upper case; a name that is too long.
            "0104".into(),
            "010061".into(),
            "010d61".into(),
            "020461".into(),
            "0104ff".into(),
            "01046A".into(),
            format!("{}61", longest.to_text()),
        ] {
            let bad: String = bad;
            assert!(is_bad_request(KeysPage::parse(&format!("after={bad}"))), "{bad}");
        }
        assert!(KeysPage::parse("after=010461").is_ok());
    }

    #[test]
    fn members_come_after_a_name() {
        assert_eq!(
            MembersPage::parse("after=eu-1.b_2&limit=3"),
            Ok(MembersPage { after: Some("eu-1.b_2".into()), limit: 3 })
        );
        for bad in ["a%20b", "A", "%00", &"x".repeat(65)] {
            assert!(is_bad_request(MembersPage::parse(&format!("after={bad}"))), "{bad:?}");
        }
        assert!(is_bad_request(MembersPage::parse("prefix=a")));
    }

    #[test]
    fn a_page_begins_at_its_prefix_or_behind_its_cursor() {
        let first = |prefix: &str, after: Option<(&str, DataType)>| {
            let after = after.map(|(name, data_type)| KeyCursor { name: name.into(), data_type });
            KeysPage { prefix: prefix.into(), after, limit: 1 }.first_cell()
        };
        assert_eq!(first("p", None), Cell::of_key("p", DataType::GCounter));
        assert_eq!(first("p", Some(("a", DataType::GSet))), Cell::of_key("p", DataType::GCounter));
        assert_eq!(first("p", Some(("pq", DataType::GSet))), Cell::of_key("pq", DataType::OrSet));
        assert_eq!(first("p", Some(("z", DataType::Map))), Cell::of_key("z\0", DataType::GCounter));
    }

    proptest! {
        #[test]
        fn a_cursor_is_its_text(name in "\\PC{1,20}", number in 1..=12_u8) {
            let cursor = KeyCursor { name, data_type: DataType::from_number(number).unwrap() };
            prop_assert_eq!(KeyCursor::from_text(&cursor.to_text()), Ok(cursor));
        }

        #[test]
        fn any_text_is_a_cursor_in_one_form_or_none(bytes in any::<Vec<u8>>(), text in any::<String>()) {
            for text in [hex::encode(&bytes), hex::encode(&[&[VERSION], &bytes[..]].concat()), text] {
                if let Ok(cursor) = KeyCursor::from_text(&text) {
                    prop_assert_eq!(cursor.to_text(), text);
                }
            }
        }

        /// Behind all cells of its own key, not behind any cell of a later one.
        #[test]
        fn the_next_cell_parts_a_key_from_the_later_ones(
            here in ("[\0ab]{1,3}", 1..=12_u8),
            there in ("[\0ab]{1,3}", 1..=12_u8),
            field in "[\0ab\u{10ffff}]{1,3}",
        ) {
            let cell = |(name, number): &(String, u8)| {
                let mut cell = Cell::of_key(name, DataType::from_number(*number).unwrap());
                if cell.key_type == DataType::Map {
                    cell.path = vec![field.as_str().into()];
                    cell.leaf = DataType::MinRegister;
                }
                cell
            };
            let cursor = KeyCursor { name: here.0.clone(), data_type: DataType::from_number(here.1).unwrap() };
            prop_assert!(cell(&here) < cursor.next_cell());
            prop_assert_eq!(cell(&there) >= cursor.next_cell(), there > here);
        }
    }
}
