//! The broker over AMQP, on a real RabbitMQ: each route, bound and failure. `cargo xtask test` runs one and tells where
//! it is; without it these tests fail, and say so.

#[path = "../guest/mod.rs"]
mod guest;
mod inboxes;
mod journal;
mod refusals;
mod replicas;
mod rig;
mod routes;
mod silence;
