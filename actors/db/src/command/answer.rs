//! What a command came to.

use bytes::{BufMut, Bytes};

use crate::encoding::{DecodeError, Reader, put_bytes};

/// A row as it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The revision that wrote it last.
    pub revision: u64,
    /// Its value.
    pub value: Bytes,
}

/// What a command came to. It is kept with the session, and given again when the command is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It is done.
    Done {
        /// The shard's revision with it.
        revision: u64,
    },
    /// A condition did not hold. Nothing was changed.
    Refused {
        /// Which one, counted from 0.
        condition: u32,
        /// The row that it looked at, if it is there.
        found: Option<Found>,
    },
    /// Numbers that nobody else has or will have.
    Allocated {
        /// The first; the others follow it.
        first: u64,
    },
    /// The session has begun.
    Opened {
        /// Its number.
        session: u64,
    },
    /// The lease has begun.
    Granted {
        /// Its number.
        lease: u64,
    },
    /// There is no such lease, or no longer. Nothing was changed.
    NoLease {
        /// Its number.
        lease: u64,
    },
    /// There is no such session, or no longer: what was under way in it may have been done.
    NoSession,
    /// The sequence was answered, and the client said that it has the answer.
    StaleSequence,
    /// The sequence is too far ahead of those that are not answered.
    TooFarAhead,
    /// The shard has as many sessions as it can have.
    TooManySessions,
    /// The counter has no more numbers.
    Exhausted,
    /// The shard has as many leases as it can have.
    TooManyLeases,
    /// The first rows of the lease are gone: it has more, and is to be revoked again.
    Partly {
        /// The shard's revision with it.
        revision: u64,
    },
}

impl Answer {
    /// Appends the encoding.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Done { revision } => put_number(out, 1, *revision),
            Self::Refused { condition, found } => {
                out.put_u8(2);
                out.put_u32_le(*condition);
                out.put_u8(u8::from(found.is_some()));
                if let Some(found) = found {
                    out.put_u64_le(found.revision);
                    put_bytes(out, &found.value);
                }
            }
            Self::Allocated { first } => put_number(out, 3, *first),
            Self::Opened { session } => put_number(out, 4, *session),
            Self::Granted { lease } => put_number(out, 5, *lease),
            Self::NoLease { lease } => put_number(out, 6, *lease),
            Self::NoSession => out.put_u8(7),
            Self::StaleSequence => out.put_u8(8),
            Self::TooFarAhead => out.put_u8(9),
            Self::TooManySessions => out.put_u8(10),
            Self::Exhausted => out.put_u8(11),
            Self::TooManyLeases => out.put_u8(12),
            Self::Partly { revision } => put_number(out, 13, *revision),
        }
    }

    /// Reads an answer that takes all of `bytes`.
    ///
    /// # Errors
    ///
    /// [`DecodeError`].
    pub fn decode(bytes: Bytes) -> Result<Self, DecodeError> {
        let mut from = Reader::new(bytes);
        let answer = match from.u8()? {
            1 => Self::Done { revision: from.u64()? },
            2 => {
                let condition = from.u32()?;
                let found = from.flag("a found row")?.then(|| found(&mut from)).transpose()?;
                Self::Refused { condition, found }
            }
            3 => Self::Allocated { first: from.u64()? },
            4 => Self::Opened { session: from.u64()? },
            5 => Self::Granted { lease: from.u64()? },
            6 => Self::NoLease { lease: from.u64()? },
            7 => Self::NoSession,
            8 => Self::StaleSequence,
            9 => Self::TooFarAhead,
            10 => Self::TooManySessions,
            11 => Self::Exhausted,
            12 => Self::TooManyLeases,
            13 => Self::Partly { revision: from.u64()? },
            number => return Err(DecodeError::Unknown { what: "answer", number: number.into() }),
        };
        from.end()?;
        Ok(answer)
    }
}

fn put_number(out: &mut Vec<u8>, kind: u8, number: u64) {
    out.put_u8(kind);
    out.put_u64_le(number);
}

fn found(from: &mut Reader) -> Result<Found, DecodeError> {
    Ok(Found { revision: from.u64()?, value: from.bytes()? })
}
