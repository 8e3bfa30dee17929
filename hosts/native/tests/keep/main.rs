//! `dayfly keep` as its users see it, against an Invoke API, a linger request's server, and real replicas.

mod functions;
mod invoke_api;
mod keeping;
mod schedule;
mod server;
mod urls;
