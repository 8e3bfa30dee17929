//! The conformance suite: scenarios as data, and the runners that play them on the core alone and on each host.

pub mod act;
pub mod actor;
pub mod broker;
pub mod chance;
pub mod client;
pub mod component;
pub mod control;
pub mod expectation;
pub mod gate;
pub mod life;
pub mod native;
pub mod node;
pub mod package_index;
pub mod plain;
pub mod player;
pub mod process;
pub mod program;
pub mod scenario;
pub mod simulation;
pub mod stage;
pub mod status;
pub mod step;
pub mod stepped;
pub mod text;
pub mod trace;
pub mod world;
