//! "Request message".
//!
//! | offset | size | field |
//! |---|---|---|
//! | 0 | 4 | magic |
//! | 4 | 2 | command flags |
//! | 6 | 2 | type |
//! | 8 | 8 | cookie |
//! | 16 | 8 | offset |
//! | 24 | 4 | length |
//! | 28 | … | for a write: the data |

use super::{Cursor, WireError};

/// Bytes before the data.
pub(crate) const HEADER_BYTES: usize = 28;

const MAGIC: u32 = 0x2560_9513;

/// "Request types".
pub(crate) mod command {
    pub(crate) const READ: u16 = 0;
    pub(crate) const WRITE: u16 = 1;
    pub(crate) const DISC: u16 = 2;
    pub(crate) const FLUSH: u16 = 3;
    pub(crate) const TRIM: u16 = 4;
    pub(crate) const WRITE_ZEROES: u16 = 6;
    pub(crate) const BLOCK_STATUS: u16 = 7;
}

/// "Command flags".
pub(crate) mod command_flag {
    pub(crate) const FUA: u16 = 1;
    pub(crate) const NO_HOLE: u16 = 1 << 1;
    pub(crate) const DF: u16 = 1 << 2;
    pub(crate) const REQ_ONE: u16 = 1 << 3;
    pub(crate) const FAST_ZERO: u16 = 1 << 4;
}

/// What comes before a request's data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RequestHeader {
    pub(crate) flags: u16,
    pub(crate) command: u16,
    pub(crate) cookie: u64,
    pub(crate) offset: u64,
    pub(crate) length: u32,
}

impl RequestHeader {
    pub(crate) fn encode(self) -> [u8; HEADER_BYTES] {
        let [m0, m1, m2, m3] = MAGIC.to_be_bytes();
        let [f0, f1] = self.flags.to_be_bytes();
        let [t0, t1] = self.command.to_be_bytes();
        let [c0, c1, c2, c3, c4, c5, c6, c7] = self.cookie.to_be_bytes();
        let [o0, o1, o2, o3, o4, o5, o6, o7] = self.offset.to_be_bytes();
        let [l0, l1, l2, l3] = self.length.to_be_bytes();
        [
            m0, m1, m2, m3, f0, f1, t0, t1, c0, c1, c2, c3, c4, c5, c6, c7, o0, o1, o2, o3, o4, o5,
            o6, o7, l0, l1, l2, l3,
        ]
    }

    /// # Errors
    /// [`WireError::Magic`]: where the next request begins cannot be known.
    pub(crate) fn decode(bytes: &[u8; HEADER_BYTES]) -> Result<Self, WireError> {
        let mut cursor = Cursor::new(bytes);
        let found = cursor.u32()?;
        if found != MAGIC {
            return Err(WireError::Magic { found: found.into() });
        }
        Ok(Self {
            flags: cursor.u16()?,
            command: cursor.u16()?,
            cookie: cursor.u64()?,
            offset: cursor.u64()?,
            length: cursor.u32()?,
        })
    }
}
