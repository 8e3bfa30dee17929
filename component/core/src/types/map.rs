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
