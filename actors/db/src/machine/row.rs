//! What stands in a row, and in the record of what a revision changed.

use bytes::{BufMut, Bytes};

use crate::command::{Place, TableId};
use crate::encoding::{DecodeError, Reader, put_bytes, put_option};

/// A client's row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// The revision that wrote it last.
    pub revision: u64,
    /// The lease with whose end it goes.
    pub lease: Option<u64>,
    /// Its value.
    pub value: Bytes,
}

impl Stored {
    pub(crate) fn encode(&self) -> Bytes {
        let mut out = Vec::with_capacity(17 + self.value.len());
        out.put_u64_le(self.revision);
        put_option(&mut out, self.lease);
        out.put_slice(&self.value);
        out.into()
    }

    pub(crate) fn decode(bytes: Bytes) -> Result<Self, DecodeError> {
        let mut from = Reader::new(bytes);
        let revision = from.u64()?;
        let lease = from.option("a lease")?;
        Ok(Self { revision, lease, value: from.rest() })
    }
}

/// What happened to a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum EventKind {
    /// It was written.
    Put = 0,
    /// It was taken away by a command that named it.
    Delete = 1,
    /// It went with its lease.
    Expired = 2,
}

/// One row that a revision changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Which row.
    pub place: Place,
    /// What happened to it.
    pub kind: EventKind,
}

/// The record of a revision's changes.
pub(crate) fn encode_events(events: &[Event]) -> Bytes {
    let keys: usize = events.iter().map(|event| event.place.key.len()).sum();
    let mut out = Vec::with_capacity(7 * events.len() + keys);
    for event in events {
        out.put_u8(event.kind as u8);
        out.put_u16_le(event.place.table.0);
        put_bytes(&mut out, &event.place.key);
    }
    out.into()
}

/// Reads a record of changes that takes all of `bytes`; keys share their memory.
pub(crate) fn decode_events(bytes: Bytes) -> Result<Vec<Event>, DecodeError> {
    let mut from = Reader::new(bytes);
    let mut events = Vec::new();
    while !from.is_empty() {
        let kind = match from.u8()? {
            0 => EventKind::Put,
            1 => EventKind::Delete,
            2 => EventKind::Expired,
            number => return Err(DecodeError::Unknown { what: "change", number: number.into() }),
        };
        let place = Place { table: TableId(from.u16()?), key: from.bytes()? };
        events.push(Event { place, kind });
    }
    Ok(events)
}
