//! Leases: rows that go when their holder stops saying that it is there.
//!
//! When a lease has passed is the leader's to see, by its own clock; that it ended is a command.

use bytes::{BufMut, Bytes};

use super::count::{number, read_number};
use super::damaged;
use super::keys::{
    ATTACHED_PLACE, attached_key, attached_range, lease_key, lease_of, leases_range, place_of,
    row_key, system_key,
};
use super::overlay::Overlay;
use super::row::{Event, EventKind};
use crate::StoreError;
use crate::command::{Answer, Place};
use crate::encoding::{DecodeError, Reader};
use crate::state::ShardState;

/// Leases that a shard can have.
pub const LEASES_MAX: u64 = 65_536;
/// The shortest time that a lease may last, milliseconds.
pub const TTL_MIN_MS: u32 = 100;
/// Rows of a lease that one command takes away; the lease itself goes with the last of them.
const REVOKED_AT_ONCE: usize = 1024;

/// A lease that there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    /// Its number: the revision that granted it.
    pub number: u64,
    /// How long it lasts without being kept alive, milliseconds.
    pub ttl_ms: u32,
}

impl Lease {
    fn read(number: u64, bytes: Bytes) -> Result<Self, StoreError> {
        let mut from = Reader::new(bytes);
        let ttl_ms = from.u32().and_then(|ttl_ms| from.end().map(|()| ttl_ms));
        let ttl_ms = ttl_ms.map_err(|why: DecodeError| damaged("a lease", why))?;
        Ok(Self { number, ttl_ms })
    }
}

/// A lease, if it is there.
///
/// # Errors
///
/// As the store says.
pub fn lease<S: ShardState>(rows: &S, number: u64) -> Result<Option<Lease>, StoreError> {
    rows.get(&lease_key(number))?.map(|bytes| Lease::read(number, bytes)).transpose()
}

/// The first `most` leases with numbers past this one.
///
/// # Errors
///
/// As the store says.
pub fn leases_after<S: ShardState>(
    rows: &S,
    number: u64,
    most: usize,
) -> Result<Vec<Lease>, StoreError> {
    let (from, to) = leases_range(number);
    let found = rows.scan(&from, &to, most, usize::MAX)?.into_iter();
    let lease = |(key, value): (Bytes, Bytes)| {
        let number = lease_of(&key).ok_or_else(|| damaged("a lease", "its key"))?;
        Lease::read(number, value)
    };
    found.map(lease).collect()
}

/// Begins a lease.
pub(super) fn grant<S: ShardState>(
    rows: &mut Overlay<S>,
    lease: u64,
    ttl_ms: u32,
) -> Result<Answer, StoreError> {
    let count = count(rows)?;
    if count >= LEASES_MAX {
        return Ok(Answer::TooManyLeases);
    }
    rows.put(system_key("leases"), number(count + 1));
    let mut out = Vec::with_capacity(4);
    out.put_u32_le(ttl_ms);
    rows.put(lease_key(lease), out.into());
    Ok(Answer::Granted { lease })
}

pub(super) fn exists<S: ShardState>(rows: &Overlay<S>, lease: u64) -> Result<bool, StoreError> {
    Ok(rows.get(&lease_key(lease))?.is_some())
}

/// Whether there is any, and so a row that belongs to one.
pub(super) fn is_any<S: ShardState>(rows: &mut Overlay<S>) -> Result<bool, StoreError> {
    Ok(count(rows)? > 0)
}

fn count<S: ShardState>(rows: &mut Overlay<S>) -> Result<u64, StoreError> {
    read_number(rows, "leases")
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
    let is_all = attached.len() < REVOKED_AT_ONCE;
    if is_all {
        rows.delete(lease_key(lease));
        let count = count(rows)?;
        rows.put(system_key("leases"), number(count.saturating_sub(1)));
    }
    for (key, _nothing) in attached {
        let place = place_of(&key, ATTACHED_PLACE).ok_or_else(|| damaged("a lease", "a key"))?;
        rows.delete(row_key(&place));
        rows.delete(key);
        events.push(Event { place, kind: EventKind::Expired });
    }
    Ok(if is_all { Answer::Done { revision } } else { Answer::Partly { revision } })
}
