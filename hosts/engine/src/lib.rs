//! Loads the replica component and drives it. No protocol logic stands here: what a replica says is opaque.
//!
//! The cargo feature `compiler` (on unless turned off) brings wasmtime's compiler. Without it a component is run only as
//! machine code that was made elsewhere ([`Runtime::map`]), which starts sooner and is a third of the size.

pub mod amqp;
pub mod artefact;
pub mod broker;
pub mod bus;
pub mod checkpoint;
pub mod contract;
mod drive;
pub mod instance;
pub mod replica;
pub mod runtime;
mod stopwatch;
#[cfg(feature = "compiler")]
pub mod target;
pub mod world;

pub use amqp::{AmqpBroker, AmqpConfig};
pub use artefact::Artefact;
pub use broker::{Attachment, Broker, BrokerError, Delivery, Event, Link, LogReader, Source};
pub use bus::{Bus, BusConfig, BusLink, BusStats, Faults};
pub use checkpoint::{DirectoryVault, Loaded, MemoryVault, Vault, VaultError};
pub use drive::{Latency, Received, Sent, Traffic, Volume};
pub use instance::{CallError, Cause, Instance, Lost, usual_config};
pub use replica::{Confirm, Ended, Grant, InvokeError, Lease, Phase, Replica, ReplicaOptions, Report, StartError};
pub use runtime::{Limits, Runtime, RuntimeError};
#[cfg(feature = "compiler")]
pub use target::Target;
pub use world::{Chance, SystemWorld, VirtualClock, VirtualWorld, World};
