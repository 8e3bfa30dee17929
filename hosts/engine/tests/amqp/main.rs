//! The broker over AMQP, on a real RabbitMQ: each route, bound and failure. `cargo xtask test` runs one and tells where
//! it is; without it these tests fail, and say so.

// Of the guests that stand there, only the real one is used here.
#[allow(dead_code)]
#[path = "../guest/mod.rs"]
mod guest;
mod inboxes;
mod journal;
mod refusals;
mod replicas;
mod rig;
mod routes;
mod silence;
