//! The contract in `wit/`, as Rust: made from the same files that the component is built against.
//!
//! The world's imports (`wasi:clocks`, `wasi:random`) do not stand in `wit/`, since the component takes them from the
//! crate `wasi`; [`crate::world`] gives them to it.

// The doc comments of wit/ are carried over; what the macro adds of its own has none.
#![allow(missing_docs)]

wasmtime::component::bindgen!({
    path: "../../wit",
    world: "replica",
    additional_derives: [PartialEq],
});

pub use exports::dayfly::replica::api::{Request, Response};
pub use exports::dayfly::replica::checkpoint::{Part, Saved};
pub use exports::dayfly::replica::lifecycle::{Config, Started};
pub use exports::dayfly::replica::outbox::{Receipt, Verdict};
pub use exports::dayfly::replica::types::{Effects, Frame, FrameId, Route, Timestamp};
