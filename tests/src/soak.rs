//! One cluster of native replicas, functions and applications for Spin over one RabbitMQ, under load and faults for as long
//! as one likes, and an oracle that knows what became of every write.
//!
//! `settings.rs` says how large and how long; `fleet.rs` holds the replicas of the three hosts, `faults.rs` does to them what
//! platforms do; `client.rs` draws operations and makes requests. The oracle is `lane.rs` (what one
//! client writes one after the other), `crowd.rs` (what all write at once) and `write.rs` (how a write ended).
//! `checkpoint.rs` waits until all agree, compares, and begins anew with other keys; `sample.rs` measures what must not grow;
//! `report.rs` tells all that; `run.rs` puts it together.
//!
//! Everything that is drawn (operations, whom they go to, faults and their times) is drawn from the seed. Processes are real
//! and so are their times, so a repeat draws the same and need not meet the same moment.
//!
//! # What is checked
//!
//! *While it runs*: a read with `dayfly-after` of a confirmed write, at another host, shows it (or says 503 `not_yet`); what
//! one operation puts into two fields of a map is in both or in neither, in every read.
//!
//! *At checkpoints*, when nothing is asked any more, all that was killed is replaced and all that was frozen is thawed: all
//! agree; what a client wrote one after the other, each write with `dayfly-after` of all before it, reads as a sequential
//! program computes it; of what all wrote at once each confirmed write is there whole, each refused one is not, and one in
//! doubt is there whole or not at all, which decides what counters, sets and registers must hold. Then all keys are
//! deleted, and nothing may be left of them, then or later.

pub mod checkpoint;
pub mod client;
pub mod crowd;
pub mod faults;
pub mod finding;
pub mod fleet;
pub mod lane;
pub mod report;
pub mod run;
pub mod sample;
pub mod settings;
pub mod write;
