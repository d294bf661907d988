//! What stands in a row, and in the record of what a revision changed.

use bytes::{BufMut, Bytes};

use crate::command::Place;
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

/// One row that a revision changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Which row.
    pub place: Place,
    /// Whether it was taken away.
    pub is_delete: bool,
}

/// The record of a revision's changes.
pub(super) fn encode_events(events: &[Event]) -> Bytes {
    let mut out = Vec::new();
    for event in events {
        out.put_u8(u8::from(event.is_delete));
        out.put_u16_le(event.place.table.0);
        put_bytes(&mut out, &event.place.key);
    }
    out.into()
}
