//! Properties of the core: the laws of the join, pieces and their order, reconciliation, what each type means, rollback,
//! checkpoints, and the encodings. Everything is made from *executions*: several replicas' stores that write and tell each
//! other, whole or in part. `allocation.rs` beside this folder is a binary of its own, since it counts memory.

mod contents;
mod cut;
mod encoding;
mod execution;
mod history;
mod join;
mod meaning;
mod model;
mod reconcile;
mod rollback;
mod root;
mod save;
mod sets;
mod wire;
