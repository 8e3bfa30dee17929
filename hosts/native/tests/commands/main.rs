//! The commands of the client, as their users see them: the program itself is run against a cluster that answers as
//! `wit/http-api.md` says and fails as it is told to.

mod client;
mod cluster;
mod ephemeral;
mod load;
mod mark;
mod precompile;
mod program;
