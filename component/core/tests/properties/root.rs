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
    // One learns of another dot, which is gone already: what can be read is the same.
    let mut gone = Store::new();
    for _ in 0..2 {
        let mut write = Write::begin(&mut gone, WriterId(2), usize::MAX);
        write.replace(&cell, b"y").expect("there is room");
        write.commit();
    }
    let mut first = dayfly_core::intervals::DotSet::default();
    first.insert_span(WriterId(2), 1, 1);
    store.join(&gone.extract(&first));
    assert_eq!(store.entry_count(), behind.entry_count());
    assert_ne!(store.root(), behind.root());
}
