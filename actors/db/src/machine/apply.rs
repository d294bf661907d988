//! One command.

use bytes::Bytes;

use super::keys::{counter_key, event_key, row_key};
use super::overlay::Overlay;
use super::row::{Event, EventKind, Stored, encode_events};
use super::{damaged, lease, session};
use crate::StoreError;
use crate::command::{Answer, Change, Command, Condition, Found, Operation, Place};
use crate::state::ShardState;

/// Revisions of which it is kept what they changed.
pub const EVENTS_KEPT: u64 = 65_536;

/// Does what a command asks, at the index that it has in the log and the time that its leader gave
/// it. Also gives which rows it changed.
///
/// # Errors
///
/// As the store says; also `Damaged` for a row that is none. The rows are not to be used further.
pub fn apply<S: ShardState>(
    rows: &mut Overlay<S>,
    index: u64,
    now_ms: u64,
    command: Command,
) -> Result<(Answer, Vec<Event>), StoreError> {
    forget_events(rows, index);
    let Command { attempt, operation } = command;
    if let Some(attempt) = attempt
        && let Some(answer) = session::begin(rows, attempt, now_ms)?
    {
        return Ok((answer, Vec::new()));
    }
    let mut events = Vec::new();
    let answer = perform(rows, index, now_ms, operation, &mut events)?;
    if let Some(attempt) = attempt {
        session::end(rows, attempt, &answer);
    }
    if !events.is_empty() {
        rows.put(event_key(index), encode_events(&events));
    }
    Ok((answer, events))
}

/// What every entry of the log does, whether it holds a command or not: the oldest record of
/// changes goes.
pub(crate) fn forget_events<S: ShardState>(rows: &mut Overlay<S>, index: u64) {
    if let Some(oldest) = index.checked_sub(EVENTS_KEPT) {
        rows.delete(event_key(oldest));
    }
}

fn perform<S: ShardState>(
    rows: &mut Overlay<S>,
    index: u64,
    now_ms: u64,
    operation: Operation,
    events: &mut Vec<Event>,
) -> Result<Answer, StoreError> {
    match operation {
        Operation::Transact { conditions, changes } => {
            transact(rows, index, &conditions, changes, events)
        }
        Operation::Allocate { counter, count } => allocate(rows, &counter, count),
        Operation::OpenSession => session::open(rows, index, now_ms),
        Operation::CloseSession { session } => Ok(match session::close(rows, session)? {
            Some(()) => Answer::Done { revision: index },
            None => Answer::NoSession,
        }),
        Operation::Grant { ttl_ms } => lease::grant(rows, index, ttl_ms),
        Operation::Revoke { lease } => lease::revoke(rows, lease, index, events),
    }
}

fn transact<S: ShardState>(
    rows: &mut Overlay<S>,
    revision: u64,
    conditions: &[Condition],
    changes: Vec<Change>,
    events: &mut Vec<Event>,
) -> Result<Answer, StoreError> {
    for (number, condition) in (0..).zip(conditions) {
        let found = read(rows, condition.place())?;
        let holds = match condition {
            Condition::Value { value, .. } => {
                found.as_ref().map(|row| &row.value) == value.as_ref()
            }
            Condition::Revision { revision, .. } => {
                found.as_ref().map_or(0, |row| row.revision) == *revision
            }
        };
        if !holds {
            let found = found.map(|row| Found { revision: row.revision, value: row.value });
            return Ok(Answer::Refused { condition: number, found });
        }
    }
    for change in &changes {
        if let Change::Put { lease: Some(lease), .. } = change
            && !lease::exists(rows, *lease)?
        {
            return Ok(Answer::NoLease { lease: *lease });
        }
    }
    for change in changes {
        make(rows, revision, change, events)?;
    }
    Ok(Answer::Done { revision })
}

fn make<S: ShardState>(
    rows: &mut Overlay<S>,
    revision: u64,
    change: Change,
    events: &mut Vec<Event>,
) -> Result<(), StoreError> {
    // What a put takes the place of matters only if it may belong to a lease.
    let before = match &change {
        Change::Put { .. } if !lease::is_any(rows)? => None,
        change => read(rows, change.place())?,
    };
    if let Some(lease) = before.as_ref().and_then(|row| row.lease) {
        lease::detach(rows, lease, change.place());
    }
    match change {
        Change::Put { place, value, lease } => {
            if let Some(lease) = lease {
                lease::attach(rows, lease, &place);
            }
            rows.put(row_key(&place), Stored { revision, lease, value }.encode());
            events.push(Event { place, kind: EventKind::Put });
        }
        Change::Delete { place } if before.is_some() => {
            rows.delete(row_key(&place));
            events.push(Event { place, kind: EventKind::Delete });
        }
        Change::Delete { .. } => {}
    }
    Ok(())
}

fn allocate<S: ShardState>(
    rows: &mut Overlay<S>,
    counter: &Bytes,
    count: u32,
) -> Result<Answer, StoreError> {
    let key = counter_key(counter);
    let first = match rows.get(&key)? {
        Some(next) => {
            let next = <[u8; 8]>::try_from(next.as_ref());
            u64::from_le_bytes(next.map_err(|why| damaged("a counter", why))?)
        }
        None => 1,
    };
    let Some(next) = first.checked_add(u64::from(count)) else { return Ok(Answer::Exhausted) };
    rows.put(key, Bytes::copy_from_slice(&next.to_le_bytes()));
    Ok(Answer::Allocated { first })
}

fn read<S: ShardState>(rows: &Overlay<S>, place: &Place) -> Result<Option<Stored>, StoreError> {
    let found = rows.get(&row_key(place))?.map(Stored::decode).transpose();
    found.map_err(|why| damaged("a row", why))
}
