//! The conformance scenarios as data, and what plays them: on the core alone and on each host by the tests, on any
//! deployment by `dayfly conformance`. Nothing here knows the core or a host.

pub mod act;
pub mod expectation;
pub mod http;
pub mod player;
pub mod scenario;
pub mod shipped;
pub mod stage;
pub mod step;
pub mod text;
