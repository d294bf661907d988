//! Under which keys a shard keeps what it keeps.
//!
//! | space | then | holds |
//! |---|---|---|
//! | 1 | table, key | a [row](super::Stored) |
//! | 2 | revision | what that revision [changed](super::Event) |
//! | 3 | session | what a session has answered, and when it was used |
//! | 4 | session, sequence | an answer that its client may ask for again |
//! | 5 | lease | how long it lasts |
//! | 6 | lease, table, key | nothing: the row belongs to the lease |
//! | 7 | counter | the next number |
//! | 8 | a name | the shard's own: what was applied, its members, counts |
//!
//! Numbers in keys are big-endian, so that their order is that of the keys.

use bytes::{BufMut, Bytes};

use crate::command::{Place, TableId};

const ROWS: u8 = 1;
const EVENTS: u8 = 2;
const SESSIONS: u8 = 3;
const ANSWERS: u8 = 4;
const LEASES: u8 = 5;
const ATTACHED: u8 = 6;
const COUNTERS: u8 = 7;
const SYSTEM: u8 = 8;

pub(crate) fn row_key(place: &Place) -> Bytes {
    placed(Vec::with_capacity(3 + place.key.len()), ROWS, place)
}

fn placed(mut key: Vec<u8>, space: u8, place: &Place) -> Bytes {
    key.put_u8(space);
    key.put_u16(place.table.0);
    key.put_slice(&place.key);
    key.into()
}

/// From where to where the rows `from <= key < to` of a table are; without `to`, to its end.
pub(crate) fn row_range(table: TableId, from: &[u8], to: Option<&[u8]>) -> (Bytes, Bytes) {
    let start = row_key(&Place { table, key: Bytes::copy_from_slice(from) });
    let end = match to {
        Some(to) => row_key(&Place { table, key: Bytes::copy_from_slice(to) }),
        None => {
            let mut end = vec![ROWS];
            match table.0.checked_add(1) {
                Some(next) => end.put_u16(next),
                None => end = vec![ROWS + 1],
            }
            end.into()
        }
    };
    (start, end)
}

/// What a row's key is called by clients.
pub(super) fn place_of(key: &Bytes, skipped: usize) -> Option<Place> {
    let table = key.get(skipped..skipped + 2)?;
    let table = TableId(u16::from_be_bytes(table.try_into().ok()?));
    Some(Place { table, key: key.slice(skipped + 2..) })
}

pub(crate) fn event_key(revision: u64) -> Bytes {
    numbered(EVENTS, &[revision])
}

/// The revision of a record of changes, from its key.
pub(crate) fn event_revision(key: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(key.get(1..)?.try_into().ok()?))
}

/// From where to where the records of changes behind a revision are.
pub(crate) fn events_after(revision: u64) -> (Bytes, Bytes) {
    (event_key(revision.saturating_add(1)), Bytes::from_static(&[EVENTS + 1]))
}

pub(super) fn session_key(session: u64) -> Bytes {
    numbered(SESSIONS, &[session])
}

/// The number of a session, from its key.
pub(super) fn session_of(key: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(key.get(1..)?.try_into().ok()?))
}

pub(super) fn session_range(after: u64) -> (Bytes, Bytes) {
    (session_key(after), Bytes::from_static(&[SESSIONS + 1]))
}

pub(super) fn answer_key(session: u64, sequence: u64) -> Bytes {
    numbered(ANSWERS, &[session, sequence])
}

pub(super) fn lease_key(lease: u64) -> Bytes {
    numbered(LEASES, &[lease])
}

/// The number of a lease, from its key.
pub(super) fn lease_of(key: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(key.get(1..)?.try_into().ok()?))
}

/// From where to where the leases past this one are.
pub(super) fn leases_range(after: u64) -> (Bytes, Bytes) {
    (lease_key(after.saturating_add(1)), Bytes::from_static(&[LEASES + 1]))
}

pub(super) fn attached_key(lease: u64, place: &Place) -> Bytes {
    let mut key = Vec::with_capacity(11 + place.key.len());
    key.put_u8(ATTACHED);
    key.put_u64(lease);
    key.put_u16(place.table.0);
    key.put_slice(&place.key);
    key.into()
}

/// How many bytes of an attached key stand before its place.
pub(super) const ATTACHED_PLACE: usize = 9;

pub(super) fn attached_range(lease: u64) -> (Bytes, Bytes) {
    let end = match lease.checked_add(1) {
        Some(next) => numbered(ATTACHED, &[next]),
        None => Bytes::from_static(&[ATTACHED + 1]),
    };
    (numbered(ATTACHED, &[lease]), end)
}

pub(super) fn counter_key(counter: &[u8]) -> Bytes {
    named(COUNTERS, counter)
}

pub(crate) fn system_key(name: &str) -> Bytes {
    named(SYSTEM, name.as_bytes())
}

fn named(space: u8, name: &[u8]) -> Bytes {
    let mut key = Vec::with_capacity(1 + name.len());
    key.put_u8(space);
    key.put_slice(name);
    key.into()
}

fn numbered(space: u8, numbers: &[u64]) -> Bytes {
    let mut key = Vec::with_capacity(1 + 8 * numbers.len());
    key.put_u8(space);
    numbers.iter().for_each(|number| key.put_u64(*number));
    key.into()
}
