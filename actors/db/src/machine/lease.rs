//! Leases: rows that go when their holder stops saying that it is there.
//!
//! When a lease has passed is the leader's to see, by its own clock; that it ended is a command.

use bytes::{BufMut, Bytes};

use super::damaged;
use super::keys::{ATTACHED_PLACE, attached_key, attached_range, lease_key, place_of, row_key};
use super::overlay::Overlay;
use super::row::Event;
use crate::StoreError;
use crate::command::{Answer, Place};
use crate::state::ShardState;

/// Rows of a lease that one command takes away; the lease itself goes with the last of them.
const REVOKED_AT_ONCE: usize = 1024;

/// Begins a lease.
pub(super) fn grant<S: ShardState>(rows: &mut Overlay<S>, lease: u64, ttl_ms: u32) -> Answer {
    let mut out = Vec::with_capacity(4);
    out.put_u32_le(ttl_ms);
    rows.put(lease_key(lease), out.into());
    Answer::Granted { lease }
}

pub(super) fn exists<S: ShardState>(rows: &Overlay<S>, lease: u64) -> Result<bool, StoreError> {
    Ok(rows.get(&lease_key(lease))?.is_some())
}

/// The row belongs to the lease from now on.
pub(super) fn attach<S: ShardState>(rows: &mut Overlay<S>, lease: u64, place: &Place) {
    rows.put(attached_key(lease, place), Bytes::new());
}

/// The row belongs to the lease no longer.
pub(super) fn detach<S: ShardState>(rows: &mut Overlay<S>, lease: u64, place: &Place) {
    rows.delete(attached_key(lease, place));
}

/// Ends a lease with its rows. Of a lease with very many it takes the first and stays: it is
/// revoked again.
pub(super) fn revoke<S: ShardState>(
    rows: &mut Overlay<S>,
    lease: u64,
    revision: u64,
    events: &mut Vec<Event>,
) -> Result<Answer, StoreError> {
    if !exists(rows, lease)? {
        return Ok(Answer::NoLease { lease });
    }
    let (from, to) = attached_range(lease);
    let attached = rows.scan(&from, &to, REVOKED_AT_ONCE)?;
    if attached.len() < REVOKED_AT_ONCE {
        rows.delete(lease_key(lease));
    }
    for (key, _nothing) in attached {
        let place = place_of(&key, ATTACHED_PLACE).ok_or_else(|| damaged("a lease", "a key"))?;
        rows.delete(row_key(&place));
        rows.delete(key);
        events.push(Event { place, is_delete: true });
    }
    Ok(Answer::Done { revision })
}
