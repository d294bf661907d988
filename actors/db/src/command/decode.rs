//! Bytes to a command. They may come from anywhere: a client, a peer, a disk.

use bytes::Bytes;

use super::{
    ALLOCATE_MAX, Attempt, COMMAND_BYTES_MAX, Change, Command, Condition, KEY_BYTES_MAX, Operation,
    PARTS_MAX, Place, TableId, VALUE_BYTES_MAX, encode::VERSION,
};
use crate::encoding::{DecodeError, Reader};

impl Command {
    /// Reads a command that takes all of `bytes`. Keys and values share their memory.
    ///
    /// # Errors
    ///
    /// [`DecodeError`]; also for what is past the bounds of this module.
    pub fn decode(bytes: Bytes) -> Result<Self, DecodeError> {
        let _length = within("bytes of a command", bytes.len(), COMMAND_BYTES_MAX)?;
        let mut from = Reader::new(bytes);
        match from.u8()? {
            VERSION => {}
            number => {
                return Err(DecodeError::Unknown { what: "format", number: number.into() });
            }
        }
        let attempt = from.flag("an attempt")?.then(|| attempt(&mut from)).transpose()?;
        let operation = operation(&mut from)?;
        from.end()?;
        Ok(Self { attempt, operation })
    }
}

fn attempt(from: &mut Reader) -> Result<Attempt, DecodeError> {
    Ok(Attempt { session: from.u64()?, sequence: from.u64()?, answered_below: from.u64()? })
}

fn operation(from: &mut Reader) -> Result<Operation, DecodeError> {
    Ok(match from.u8()? {
        1 => {
            let count = from.count("conditions", PARTS_MAX)?;
            let conditions = (0..count).map(|_| condition(from)).collect::<Result<_, _>>()?;
            let count = from.count("changes", PARTS_MAX)?;
            let changes = (0..count).map(|_| change(from)).collect::<Result<_, _>>()?;
            Operation::Transact { conditions, changes }
        }
        2 => {
            let counter = key(from)?;
            let count = from.u32()?;
            let bound = ALLOCATE_MAX as usize;
            let _count = within("numbers at once", count as usize, bound)?;
            if count == 0 {
                return Err(DecodeError::Unknown { what: "count", number: 0 });
            }
            Operation::Allocate { counter, count }
        }
        3 => Operation::OpenSession,
        4 => Operation::CloseSession { session: from.u64()? },
        5 => Operation::Grant { ttl_ms: from.u32()? },
        6 => Operation::Revoke { lease: from.u64()? },
        number => return Err(DecodeError::Unknown { what: "operation", number: number.into() }),
    })
}

fn condition(from: &mut Reader) -> Result<Condition, DecodeError> {
    let kind = from.u8()?;
    let place = place(from)?;
    Ok(match kind {
        1 => Condition::Value { place, value: Some(value(from)?) },
        2 => Condition::Value { place, value: None },
        3 => Condition::Revision { place, revision: from.u64()? },
        number => return Err(DecodeError::Unknown { what: "condition", number: number.into() }),
    })
}

fn change(from: &mut Reader) -> Result<Change, DecodeError> {
    let kind = from.u8()?;
    let place = place(from)?;
    Ok(match kind {
        1 => Change::Put { place, value: value(from)?, lease: from.option("a lease")? },
        2 => Change::Delete { place },
        number => return Err(DecodeError::Unknown { what: "change", number: number.into() }),
    })
}

fn place(from: &mut Reader) -> Result<Place, DecodeError> {
    Ok(Place { table: TableId(from.u16()?), key: key(from)? })
}

fn key(from: &mut Reader) -> Result<Bytes, DecodeError> {
    let key = from.bytes()?;
    let _length = within("bytes of a key", key.len(), KEY_BYTES_MAX)?;
    Ok(key)
}

fn value(from: &mut Reader) -> Result<Bytes, DecodeError> {
    let value = from.bytes()?;
    let _length = within("bytes of a value", value.len(), VALUE_BYTES_MAX)?;
    Ok(value)
}

fn within(what: &'static str, count: usize, bound: usize) -> Result<usize, DecodeError> {
    if count > bound { Err(DecodeError::TooMany { what, count, bound }) } else { Ok(count) }
}
