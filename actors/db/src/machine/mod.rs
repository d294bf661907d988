//! Applies commands to the rows of a shard.
//!
//! The same commands at the same indexes and times give the same rows on every replica: nothing
//! here reads a clock, a random number or the order of a hash map. Changes are gathered over the
//! rows that are there and written once for many commands.

mod apply;
mod count;
mod keys;
mod lease;
mod overlay;
mod row;
mod session;
#[cfg(test)]
mod tests;

pub(crate) use self::apply::forget_events;
pub use self::apply::{EVENTS_KEPT, apply};
pub(crate) use self::keys::{event_revision, events_after, row_key, row_range, system_key};
pub use self::lease::{LEASES_MAX, Lease, TTL_MIN_MS, lease, leases_after};
pub use self::overlay::Overlay;
pub use self::row::{Event, EventKind, Stored};
pub(crate) use self::row::{decode_events, encode_events};
pub use self::session::{SESSION_IDLE_MS, SESSIONS_MAX};

/// A row that is none, read from a shard's own store. Nothing more is taken from it.
pub(crate) fn damaged(what: &str, why: impl std::fmt::Display) -> crate::StoreError {
    crate::StoreError::Damaged { what: format!("{what} ({why})") }
}
