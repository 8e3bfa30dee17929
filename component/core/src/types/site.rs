//! A store with a writer of its own, for tests: several sites are replicas without a network.

use serde_json::Value;

use crate::cell::DataType;
use crate::clock::Stamp;
use crate::dot::WriterId;
use crate::intervals::DotSet;
use crate::refusal::Refusal;
use crate::store::{Range, Store, Write};
use crate::types::operation::Operation;
use crate::types::{apply, read};

/// The key that all tests use.
const NAME: &str = "key";

/// A replica as far as types know one.
pub struct Site {
    /// The state.
    pub store: Store,
    /// What its next write is stamped with.
    pub stamp: Stamp,
    writer: WriterId,
}

impl Site {
    /// An empty one; a greater number makes a greater writer.
    pub fn new(writer: u128) -> Self {
        Self { store: Store::new(), stamp: Stamp(1), writer: WriterId(writer) }
    }

    /// Parses and applies an operation. Gives the dots that it wrote or dropped: none if it wrote nothing.
    pub fn run(&mut self, data_type: DataType, operation: &str) -> Result<DotSet, Refusal> {
        let Value::Object(members) = serde_json::from_str(operation).expect("the test gives JSON") else {
            panic!("the test gives an object");
        };
        let operation = Operation::parse(data_type, members, true)?;
        let mut write = Write::begin(&mut self.store, self.writer, usize::MAX);
        apply(&mut write, NAME, data_type, &operation, self.stamp)?;
        self.stamp = Stamp(self.stamp.0 + 1);
        let dots = write.commit();
        self.store.assert_sound();
        Ok(dots)
    }

    /// The value; `None` if the key does not exist.
    pub fn read(&self, data_type: DataType) -> Option<String> {
        let mut json = String::new();
        let exists = read(&self.store, NAME, data_type, &mut json);
        assert_eq!(exists, !json.is_empty(), "what does not exist appends nothing");
        exists.then_some(json)
    }

    /// Joins all that another site knows.
    pub fn take(&mut self, other: &Self) {
        for piece in other.store.walk_down(Range::ALL, None, usize::MAX) {
            self.store.join(&piece.chunk);
        }
        self.store.assert_sound();
    }

    /// Two sites that have both run the same operations so far.
    pub fn pair(data_type: DataType, operations: &[&str]) -> (Self, Self) {
        let (mut left, mut right) = (Self::new(1), Self::new(2));
        for operation in operations {
            left.run(data_type, operation).expect("the test gives a good operation");
        }
        right.take(&left);
        right.stamp = left.stamp;
        (left, right)
    }

    /// Joins two sites, both ways, and gives the value on which they agree.
    pub fn agree(left: &mut Self, right: &mut Self, data_type: DataType) -> Option<String> {
        left.take(right);
        right.take(left);
        assert_eq!(left.store.root(), right.store.root(), "joined both ways, states are equal");
        let value = left.read(data_type);
        assert_eq!(value, right.read(data_type), "equal states read alike");
        value
    }
}
