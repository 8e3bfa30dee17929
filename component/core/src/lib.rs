//! The logic of a Dayfly replica: a CRDT store, membership, gossip and the HTTP API, without I/O, clock, randomness or
//! hash-map order. ARCHITECTURE.md has the map.

pub mod api;
pub mod blocks;
pub mod brief;
pub mod cell;
pub mod chunk;
pub mod clock;
pub mod codec;
pub mod combining;
pub mod config;
pub mod digest;
pub mod dot;
pub mod effect;
pub mod frame;
pub mod holdback;
pub mod http;
pub mod intervals;
pub mod member;
pub mod outbox;
pub mod overlay;
pub mod pages;
pub mod past;
pub mod payload;
pub mod refusal;
pub mod repair;
pub mod replica;
pub mod serve;
pub mod sketch;
pub mod snapshot;
pub mod store;
pub mod suspicion;
pub mod time;
pub mod types;
