//! Maps: a leaf is a cell of its own, with the path from the map's root. So fields merge by their own types, and a map
//! costs nothing but its leaves.

use std::collections::BTreeMap;
use std::rc::Rc;

use crate::cell::{Cell, DataType, PATH_MAX_BYTES, PATH_MAX_FIELDS};
use crate::clock::Stamp;
use crate::refusal::Refusal;
use crate::store::{Store, Write};
use crate::types::operation::Operation;
use crate::types::{apply_to_cell, drop_all, read_cell};

/// Applies an operation to the map, or nested map, at `at.path`.
pub fn apply(write: &mut Write<'_>, at: &Cell, operation: &Operation, stamp: Stamp) -> Result<(), Refusal> {
    match operation {
        Operation::Update(fields) => {
            for (field, data_type, operation) in fields {
                let mut inner = at.clone();
                inner.path.push(field.as_str().into());
                inner.leaf = *data_type;
                let path_bytes: usize = inner.path.iter().map(|field| field.len()).sum();
                if inner.path.len() > PATH_MAX_FIELDS || path_bytes > PATH_MAX_BYTES {
                    let bounds = format!("at most {PATH_MAX_FIELDS} fields and {PATH_MAX_BYTES} bytes on a path");
                    return Err(Refusal::BadValue(format!("the map nests too deep: {bounds}")));
                }
                match data_type {
                    DataType::Map => apply(write, &inner, operation, stamp)?,
                    _ => apply_to_cell(write, &inner, operation, stamp)?,
                }
            }
        }
        Operation::RemoveFields(fields) => {
            for field in fields {
                let path: Vec<Rc<str>> = at.path.iter().cloned().chain([field.as_str().into()]).collect();
                for cell in leaves_under(write.store(), &at.name, &path) {
                    drop_all(write, &cell);
                }
            }
        }
        Operation::Increment(_)
        | Operation::Decrement(_)
        | Operation::Add(_)
        | Operation::Remove(_)
        | Operation::Set(_)
        | Operation::Flag(_)
        | Operation::Delete => unreachable!("parsing lets these reach no map"),
    }
    Ok(())
}

fn leaves_under(store: &Store, name: &Rc<str>, path: &[Rc<str>]) -> Vec<Cell> {
    // The least leaf type makes this the lower end of the subtree's range.
    let from = Cell { name: name.clone(), key_type: DataType::Map, path: path.to_vec(), leaf: DataType::GCounter };
    store
        .cells_from(&from)
        .map(|(cell, _)| cell)
        .take_while(|cell| cell.name == *name && cell.key_type == DataType::Map && cell.is_under(path))
        .cloned()
        .collect()
}

/// A map in the making: by field name, the leaves under it and the map under it.
#[derive(Default)]
struct Tree {
    fields: BTreeMap<Rc<str>, Field>,
}

#[derive(Default)]
struct Field {
    /// Type and value as JSON.
    leaves: Vec<(DataType, String)>,
    map: Tree,
}

/// Appends the tree; false if the map has no leaf.
pub fn read(store: &Store, name: &str, json: &mut String) -> bool {
    let mut tree = Tree::default();
    for (cell, found) in store.cells_of_key(name, DataType::Map) {
        let (last, way) = cell.path.split_last().expect("a map's cells have a path");
        let inner = way.iter().fold(&mut tree, |tree, field| &mut tree.fields.entry(field.clone()).or_default().map);
        let mut value = String::new();
        read_cell(store, found, cell.leaf, &mut value);
        inner.fields.entry(last.clone()).or_default().leaves.push((cell.leaf, value));
    }
    let exists = !tree.fields.is_empty();
    if exists {
        tree.render(json);
    }
    exists
}

impl Tree {
    fn render(&self, json: &mut String) {
        json.push('{');
        for (name, field) in &self.fields {
            separate(json);
            json.push_str(&serde_json::Value::from(&**name).to_string());
            json.push_str(":{");
            for (data_type, value) in &field.leaves {
                separate(json);
                json.push_str(&format!("\"{}\":{value}", data_type.name()));
            }
            if !field.map.fields.is_empty() {
                separate(json);
                json.push_str("\"map\":");
                field.map.render(json);
            }
            json.push('}');
        }
        json.push('}');
    }
}

/// A comma, except after an opening brace.
fn separate(json: &mut String) {
    if !json.ends_with('{') {
        json.push(',');
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::site::Site;

    fn update(site: &mut Site, fields: &str) -> Result<bool, Refusal> {
        let dots = site.run(DataType::Map, &format!(r#"{{"update":{{{fields}}}}}"#))?;
        Ok(!dots.is_empty())
    }

    fn read_map(site: &Site) -> Option<String> {
        site.read(DataType::Map)
    }

    #[test]
    fn it_reads_as_fields_by_type() {
        let mut site = Site::new(1);
        update(
            &mut site,
            r#""visits":{"type":"gcounter","increment":3},
               "tags":{"type":"orset","add":["a"]},
               "by-day":{"type":"map","update":{"mon":{"type":"gcounter","increment":1}}}"#,
        )
        .unwrap();
        let expected = r#"{"by-day":{"map":{"mon":{"gcounter":1}}},"tags":{"orset":["a"]},"visits":{"gcounter":3}}"#;
        assert_eq!(read_map(&site).as_deref(), Some(expected));
    }

    #[test]
    fn every_type_can_be_a_field() {
        let mut site = Site::new(1);
        for (data_type, operation, value) in [
            (DataType::GCounter, r#""increment":1"#, "1"),
            (DataType::PnCounter, r#""decrement":1"#, "-1"),
            (DataType::GSet, r#""add":[1]"#, "[1]"),
            (DataType::OrSet, r#""add":[1]"#, "[1]"),
            (DataType::RwSet, r#""add":[1]"#, "[1]"),
            (DataType::LwwRegister, r#""set":null"#, "null"),
            (DataType::MvRegister, r#""set":null"#, "[null]"),
            (DataType::EwFlag, r#""enable":true"#, "true"),
            (DataType::DwFlag, r#""disable":true"#, "false"),
            (DataType::MaxRegister, r#""set":7"#, "7"),
            (DataType::MinRegister, r#""set":7"#, "7"),
            (DataType::Map, r#""update":{"in":{"type":"gcounter","increment":1}}"#, r#"{"in":{"gcounter":1}}"#),
        ] {
            let name = data_type.name();
            update(&mut site, &format!(r#""f":{{"type":"{name}",{operation}}}"#)).unwrap();
            let read = read_map(&site).unwrap();
            assert!(read.contains(&format!(r#""{name}":{value}"#)), "{name}: {read}");
        }
        let types = DataType::ALL.map(|data_type| format!("\"{}\":", data_type.name()));
        let read = read_map(&site).unwrap();
        let places: Vec<usize> = types.iter().map(|name| read.find(name).unwrap()).collect();
        assert_eq!(read.matches("\"f\":").count(), 1, "types under one name share its object");
        // The inner counter comes after the place of the outer one, which `find` gives.
        assert!(places.is_sorted(), "types stand in their order");
    }

    #[test]
    fn names_of_fields_are_escaped() {
        let mut site = Site::new(1);
        update(&mut site, r#""a\"\\\n\u0000é{":{"type":"ewflag","enable":true}"#).unwrap();
        let value: serde_json::Value = serde_json::from_str(&read_map(&site).unwrap()).unwrap();
        assert_eq!(value["a\"\\\n\0é{"]["ewflag"], true);
        // A name that ends like an opening brace must not hide a comma.
        update(&mut site, r#""b":{"type":"lwwregister","set":"{"},"c":{"type":"ewflag","enable":true}"#).unwrap();
        let value: serde_json::Value = serde_json::from_str(&read_map(&site).unwrap()).unwrap();
        assert_eq!(value.as_object().unwrap().len(), 3);
    }

    #[test]
    fn what_changes_nothing_writes_nothing() {
        let mut site = Site::new(1);
        for fields in [
            "",
            r#""f":{"type":"map","update":{}}"#,
            r#""f":{"type":"gcounter","increment":0}"#,
            r#""f":{"type":"orset","add":[]}"#,
            r#""f":{"type":"map","remove":["x"]}"#,
        ] {
            assert!(!update(&mut site, fields).unwrap(), "{fields}");
        }
        assert!(site.run(DataType::Map, r#"{"remove":["f"]}"#).unwrap().is_empty());
        assert!(site.run(DataType::Map, r#"{"remove":[]}"#).unwrap().is_empty());
        assert_eq!(read_map(&site), None);
        assert!(site.store.is_empty());
    }

    #[test]
    fn remove_drops_all_under_a_name_and_nothing_else() {
        let mut site = Site::new(1);
        for name in ["f", "f\u{0}", "fa", "e"] {
            let name = serde_json::Value::from(name);
            update(&mut site, &format!(r#"{name}:{{"type":"gcounter","increment":1}}"#)).unwrap();
            update(&mut site, &format!(r#"{name}:{{"type":"orset","add":[1,2]}}"#)).unwrap();
            let inner = r#"{"x":{"type":"map","update":{"f":{"type":"ewflag","enable":true}}}}"#;
            update(&mut site, &format!(r#"{name}:{{"type":"map","update":{inner}}}"#)).unwrap();
        }
        site.run(DataType::Map, r#"{"remove":["f"]}"#).unwrap();
        let value: serde_json::Value = serde_json::from_str(&read_map(&site).unwrap()).unwrap();
        let names: Vec<&String> = value.as_object().unwrap().keys().collect();
        assert_eq!(names, ["e", "f\u{0}", "fa"]);
        assert_eq!(value["fa"]["map"]["x"]["map"]["f"]["ewflag"], true);
        // Within a nested map, through `update`.
        update(&mut site, r#""fa":{"type":"map","remove":["x"]}"#).unwrap();
        let value: serde_json::Value = serde_json::from_str(&read_map(&site).unwrap()).unwrap();
        assert_eq!(value["fa"].as_object().unwrap().len(), 2, "the map is gone, counter and set are left");
        site.run(DataType::Map, r#"{"remove":["e","f\u0000","fa"]}"#).unwrap();
        assert_eq!(read_map(&site), None, "without leaves it does not exist");
    }

    #[test]
    fn fields_merge_by_their_own_types() {
        let (mut left, mut right) =
            Site::pair(DataType::Map, &[r#"{"update":{"n":{"type":"gcounter","increment":1}}}"#]);
        update(&mut left, r#""n":{"type":"gcounter","increment":2},"s":{"type":"rwset","add":["x"]}"#).unwrap();
        update(&mut right, r#""n":{"type":"gcounter","increment":4},"s":{"type":"rwset","remove":["x"]}"#).unwrap();
        let value = Site::agree(&mut left, &mut right, DataType::Map);
        assert_eq!(value.as_deref(), Some(r#"{"n":{"gcounter":7},"s":{"rwset":[]}}"#));
    }

    #[test]
    fn removal_spares_what_was_written_beside_it() {
        for removal in [r#"{"remove":["f"]}"#, r#"{"delete":true}"#] {
            let before = r#"{"update":{"f":{"type":"orset","add":["seen"]}}}"#;
            let (mut left, mut right) = Site::pair(DataType::Map, &[before]);
            left.run(DataType::Map, removal).unwrap();
            assert_eq!(read_map(&left), None);
            update(&mut right, r#""f":{"type":"orset","add":["beside"]}"#).unwrap();
            let value = Site::agree(&mut left, &mut right, DataType::Map);
            assert_eq!(value.as_deref(), Some(r#"{"f":{"orset":["beside"]}}"#), "{removal}");
        }
    }

    /// An operation on a counter under this path.
    fn nested(path: &[String]) -> String {
        let mut field = r#"{"type":"gcounter","increment":1}"#.to_owned();
        for (depth, name) in path.iter().enumerate().rev() {
            field = format!(r#"{{"{name}":{field}}}"#);
            if depth > 0 {
                field = format!(r#"{{"type":"map","update":{field}}}"#);
            }
        }
        format!(r#"{{"update":{field}}}"#)
    }

    #[test]
    fn paths_are_bounded() {
        let names = |count: usize, bytes: usize| vec!["f".repeat(bytes); count];
        for (path, fits) in [
            (names(PATH_MAX_FIELDS, 1), true),
            (names(PATH_MAX_FIELDS + 1, 1), false),
            (names(PATH_MAX_FIELDS, PATH_MAX_BYTES / PATH_MAX_FIELDS), true),
            (names(2, PATH_MAX_BYTES / 2), true),
            ([names(2, PATH_MAX_BYTES / 2 - 1), names(1, 3)].concat(), false),
        ] {
            let mut site = Site::new(1);
            let written = site.run(DataType::Map, &nested(&path));
            let bytes: usize = path.iter().map(String::len).sum();
            match written {
                Ok(_) => assert!(fits, "{} fields, {bytes} bytes", path.len()),
                Err(Refusal::BadValue(_)) => assert!(!fits, "{} fields, {bytes} bytes", path.len()),
                Err(other) => panic!("{other:?}"),
            }
            assert_eq!(read_map(&site).is_some(), fits);
        }
    }

    #[test]
    fn one_bad_field_refuses_the_whole_update() {
        let mut site = Site::new(1);
        let good = r#""a":{"type":"gcounter","increment":18446744073709551615}"#;
        update(&mut site, good).unwrap();
        let before = (site.store.root(), read_map(&site));
        let mixed = r#""0":{"type":"orset","add":["x"]},"a":{"type":"gcounter","increment":1}"#;
        assert_eq!(update(&mut site, mixed), Err(Refusal::Overflow));
        assert_eq!((site.store.root(), read_map(&site)), before);
        site.store.assert_sound();
    }
}
