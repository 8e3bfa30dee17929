//! HTTP in front of replicas: `server` gives requests to whoever has the replicas, `connection` bounds the sockets,
//! `refusal` is what the host answers by itself, `wake` its answer to keepers, `request_id` tells requests apart in the
//! logs.

pub mod connection;
mod refusal;
mod request_id;
mod server;
pub mod signals;
mod wake;

pub use refusal::Refusal;
pub use server::{House, Readiness, router};
pub use wake::Woken;
