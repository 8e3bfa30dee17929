//! What `/v1/members` and `/v1/status` show. The names of the fields are the API's.

use serde::Serialize;

/// A member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct MemberView<'a> {
    /// The replica's name.
    pub name: &'a str,
    /// `awake`, `dormant` or `gone`.
    pub state: &'static str,
    /// The kind of host.
    pub host: &'a str,
    /// The region; may be empty.
    pub region: &'a str,
    /// The zone within the region; may be empty.
    pub zone: &'a str,
    /// Until when it said that it is awake, in milliseconds since 1970.
    pub awake_until: u64,
    /// Its incarnation.
    pub incarnation: u64,
}

/// The replica's status.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StatusView<'a> {
    /// The replica's name.
    pub name: &'a str,
    /// The cluster's name.
    pub cluster: &'a str,
    /// The digest of the state: equal roots, equal states.
    pub root: String,
    /// How many live entries.
    pub entries: u64,
    /// How many writers the context holds.
    pub writers: u64,
    /// How many members are known, of any state.
    pub members: u64,
    /// Whether the replica is no longer being filled.
    pub complete: bool,
    /// The incarnation.
    pub incarnation: u64,
    /// The kind of host.
    pub host: &'a str,
    /// The region; may be empty.
    pub region: &'a str,
    /// The zone within the region; may be empty.
    pub zone: &'a str,
    /// The hash of the component's bytes, as the host gave it.
    pub component: &'a str,
    /// The version of the component's code.
    pub version: &'a str,
    /// Until when the replica said that it is awake, in milliseconds since 1970.
    pub awake_until: u64,
    /// The wall clock of the replica's host, in milliseconds since 1970.
    pub now: u64,
    /// How many keys.
    pub keys: u64,
    /// The memory that the state takes, in bytes, estimated from counts.
    pub store_bytes: u64,
    /// Writes that the broker has not confirmed.
    pub unsettled: u64,
    /// Writes of an earlier incarnation that were made again.
    pub redone: u64,
    /// Writes of an earlier incarnation that could not be made again.
    pub redo_refused: u64,
    /// Repairs.
    pub repair: RepairView,
    /// Frames that were dropped on receipt.
    pub dropped: DroppedView,
    /// Combining.
    pub combining: CombiningView,
    /// The log.
    pub log: LogView,
    /// What was handed to the broker.
    pub sent: TrafficView,
    /// What the broker brought.
    pub received: TrafficView,
}

/// Repairs, in the status.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct RepairView {
    /// Sessions under way.
    pub sessions: u64,
    /// Ranges that are still to be asked for.
    pub pending_ranges: u64,
    /// While it is being filled, how many entries those who fill it have, as far as it knows: what `entries` will be, about.
    pub expected_entries: u64,
    /// Bytes that answers brought in this incarnation.
    pub received_bytes: u64,
    /// Requests sent in this incarnation.
    pub asked: u64,
    /// Requests answered in this incarnation.
    pub answered: u64,
}

/// Combining, in the status.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct CombiningView {
    /// Whether what this replica has for everyone goes through the combiner now.
    pub active: bool,
    /// Shares that it took in as combiner in this incarnation.
    pub shares: u64,
    /// Frames that it made of them.
    pub sent: u64,
}

/// The log, in the status.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct LogView {
    /// How much the broker keeps, in bytes; 0: the cluster has no log.
    pub bound_bytes: u64,
    /// How much is new in it since the last snapshot, in bytes, about.
    pub new_bytes: u64,
    /// When the last snapshot was begun, in milliseconds since 1970; 0: there was none.
    pub snapshot: u64,
    /// How many snapshots this replica has written in this incarnation.
    pub written: u64,
    /// Whether the replica waits for what the log tells.
    pub replaying: bool,
}

/// Frames dropped in this incarnation, in the status.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct DroppedView {
    /// No frames at all, or broken ones.
    pub broken: u64,
    /// Of another cluster.
    pub other_cluster: u64,
    /// Of a version that this replica does not know.
    pub other_version: u64,
    /// Its own, which came back.
    pub own: u64,
}

/// Traffic of this incarnation, in the status.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct TrafficView {
    /// How many frames.
    pub frames: u64,
    /// The bytes of their bodies.
    pub bytes: u64,
}
