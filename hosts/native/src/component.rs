//! The replica component, which the program carries within it.

/// Its bytes, as build.rs found them.
pub static COMPONENT: &[u8] = include_bytes!(env!("DAYFLY_COMPONENT_PATH"));
