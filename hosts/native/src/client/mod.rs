//! The client: commands that ask a cluster over HTTP and print what it answers.

pub mod agents;
pub mod arguments;
pub mod backoff;
pub mod data;
pub mod failure;
pub mod listing;
pub mod operation;
pub mod path;
pub mod refusal;
pub mod server;
pub mod status;
pub mod table;
pub mod text;

pub use failure::Failure;
