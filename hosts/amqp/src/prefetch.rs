//! How much a consumer holds unacknowledged, in messages.

/// Of an inbox, and of `combiner`: at 64 KiB each, 32 MiB.
pub const PREFETCH: u16 = 512;

/// Of `anyone`: few, so that a busy replica does not keep them from others.
pub const ANYONE_PREFETCH: u16 = 16;

/// Of the log, which the broker sends ahead of its reader: two batches.
pub const LOG_PREFETCH: u16 = 512;
