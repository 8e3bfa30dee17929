//! The settings of `up`, `node`, `doctor` and `purge`: flags over environment over a file over defaults.
//!
//! `table` (with `ephemeral`) is the only place that knows a setting: its flag, its variable (`DAYFLY_` and the flag's
//! name in capitals), its key in the file, its bounds, its default and its help all come from one entry there. `kind`
//! reads values, `file` reads the file, `given` takes what clap has found, `values` puts the layers together and
//! remembers where each value came from, and `show` prints them (`dayfly config`).

mod ephemeral;
mod file;
mod given;
mod kind;
mod origin;
mod secret;
mod show;
pub mod table;
mod values;

pub use given::{Doctor, Given, Node, Purge, Up};
pub use secret::masked;
pub use show::{ConfigArgs, config};
pub use values::Values;
#[cfg(test)]
pub use values::tests;
