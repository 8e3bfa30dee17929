//! The Spin host: an HTTP component around the replica component.

// One source for both: the macros of the SDK name it by its path from the root.
#[cfg(all(target_arch = "wasm32", feature = "sdk-6"))]
extern crate spin_sdk_6 as spin_sdk;
#[cfg(all(target_arch = "wasm32", feature = "sdk-7"))]
extern crate spin_sdk_7 as spin_sdk;

#[cfg(target_arch = "wasm32")]
mod guest;

pub mod session;
