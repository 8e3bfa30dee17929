//! The root tells states apart, also those that differ in nothing that can be read.

use dayfly_core::cell::{Cell, DataType};
use dayfly_core::dot::WriterId;
use dayfly_core::store::{Range, Store, Write};

#[test]
fn a_dot_that_was_seen_and_is_gone_is_part_of_the_state() {
    let mut store = Store::new();
    let cell = Cell::of_key("k", DataType::OrSet);
    let mut write = Write::begin(&mut store, WriterId(1), usize::MAX);
    write.put(&cell, b"x").expect("there is room");
    write.commit();
    let mut behind = Store::new();
    behind.join(&store.extract(&store.describe(Range::ALL).seen));
    assert_eq!(store.root(), behind.root());
    // Both learn of a dot that is gone already, and one of another such: what can be read is the same.
    let mut gone = Store::new();
    for _ in 0..3 {
        let mut write = Write::begin(&mut gone, WriterId(2), usize::MAX);
        write.replace(&cell, b"y").expect("there is room");
        write.commit();
    }
    let mut dots = dayfly_core::intervals::DotSet::default();
    dots.insert_span(WriterId(2), 1, 1);
    behind.join(&gone.extract(&dots));
    dots.insert_span(WriterId(2), 2, 2);
    store.join(&gone.extract(&dots));
    assert_eq!(store.entry_count(), behind.entry_count());
    assert_ne!(store.root(), behind.root());
}
