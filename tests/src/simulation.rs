//! A cluster in virtual time, everything in it decided by one seed: broker, platform, clients and their faults. What is
//! simulated are real replicas (the core natively, or the component itself); only what surrounds them is a model.
//!
//! `plan.rs` draws what a run is like, `cluster.rs` holds the nodes and the events, `call.rs` makes calls, `delivery.rs` carries frames, `platform.rs` freezes and kills,
//! `broker.rs` routes, `client.rs` makes requests that `drawn.rs` makes up. `model.rs` knows every dot that was ever made and what each replica can
//! know of it, and is asked after each call whether the replica agrees; `types.rs` says in plain words what an operation
//! does and what a key reads as; `finish.rs` ends the faults and judges what is left.
//!
//! # What is checked
//!
//! *Throughout*: no call panics; every frame keeps the bounds, decodes, and encodes to the same bytes; every chunk tells
//! the truth (a dot that it calls live was made with that content, one that it calls dead was dropped by some write); each
//! replica's state is exactly what the chunks that it received and the writes that it answered amount to; a write's answer
//! waits for a frame that carries the whole write; a refused request changes nothing; every value that is read is the one
//! that plain words give for what the replica has seen, and no counter is ever above what was counted; a read with
//! `dayfly-after` sees the writes it names; members are shown as awake, dormant or gone exactly as what they announced says.
//!
//! *At the end*, when faults have stopped and every replica that lives was woken once: within [`finish::CALM_MS`] all are
//! complete, agree and are quiet, and then nothing more is sent. What any of them had (its state, and what lay in its
//! inbox or was on the way to it) is in the state of all. Values follow from the history of requests alone.

pub mod broker;
mod call;
pub mod client;
pub mod cluster;
mod delivery;
pub mod drawn;
pub mod finish;
pub mod history;
pub mod model;
pub mod node;
pub mod plan;
pub mod platform;
pub mod run;
pub mod shares;
pub mod stock;
mod summary;
pub mod tap;
pub mod trace;
pub mod types;
pub mod value;
pub mod witness;
