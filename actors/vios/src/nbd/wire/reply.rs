//! "Simple reply message" and "Structured reply chunk message".
//!
//! | offset | size | simple reply | chunk |
//! |---|---|---|---|
//! | 0 | 4 | magic | magic |
//! | 4 | 4 | error | flags (2), type (2) |
//! | 8 | 8 | cookie | cookie |
//! | 16 | 4 | data of a read | payload length |
//! | 20 | … | | payload |

use bytes::{BufMut, BytesMut};

use super::{Cursor, STRING_BYTES_MAX, WireError};
use crate::block::Run;

/// Bytes of a simple reply without data.
pub(crate) const SIMPLE_BYTES: usize = 16;
/// Bytes of a chunk before its payload.
pub(crate) const CHUNK_BYTES: usize = 20;
/// Bytes of a data chunk's payload before the data.
pub(crate) const DATA_OFFSET_BYTES: u32 = 8;

const SIMPLE_MAGIC: u32 = 0x6744_6698;
const CHUNK_MAGIC: u32 = 0x668e_33ef;
/// `NBD_REPLY_FLAG_DONE`.
const DONE: u16 = 1;
/// Set in the type of every error chunk.
const ERROR_BIT: u16 = 1 << 15;
/// `NBD_STATE_HOLE` and `NBD_STATE_ZERO`.
const STATE_HOLE: u32 = 1;
const STATE_ZERO: u32 = 2;

/// "Structured reply types".
mod chunk_kind {
    pub(super) const NONE: u16 = 0;
    pub(super) const OFFSET_DATA: u16 = 1;
    pub(super) const OFFSET_HOLE: u16 = 2;
    pub(super) const BLOCK_STATUS: u16 = 5;
    pub(super) const ERROR: u16 = super::ERROR_BIT + 1;
    pub(super) const ERROR_OFFSET: u16 = super::ERROR_BIT + 2;
}

/// A simple reply; a read's data follows it.
pub(crate) fn put_simple(out: &mut BytesMut, cookie: u64, error: u32) {
    out.put_u32(SIMPLE_MAGIC);
    out.put_u32(error);
    out.put_u64(cookie);
}

fn put_chunk(out: &mut BytesMut, kind: u16, cookie: u64, length: u32) {
    out.put_u32(CHUNK_MAGIC);
    out.put_u16(DONE);
    out.put_u16(kind);
    out.put_u64(cookie);
    out.put_u32(length);
}

/// A reply without content.
pub(crate) fn put_none(out: &mut BytesMut, cookie: u64) {
    put_chunk(out, chunk_kind::NONE, cookie, 0);
}

/// A reply of one data chunk; `length` bytes of data, at least one, follow it.
pub(crate) fn put_data(out: &mut BytesMut, cookie: u64, offset: u64, length: u32) {
    let payload = length.saturating_add(DATA_OFFSET_BYTES);
    put_chunk(out, chunk_kind::OFFSET_DATA, cookie, payload);
    out.put_u64(offset);
}

/// A reply that is an error; `text` is cut to what a string may hold.
pub(crate) fn put_error(out: &mut BytesMut, cookie: u64, error: u32, text: &str) {
    let cut = text.floor_char_boundary(STRING_BYTES_MAX);
    let (text, _beyond) = text.split_at(cut);
    let length = u16::try_from(text.len()).unwrap_or(0);
    put_chunk(out, chunk_kind::ERROR, cookie, 6 + u32::from(length));
    out.put_u32(error);
    out.put_u16(length);
    out.put_slice(text.as_bytes());
}

/// A block status reply for one metadata context.
pub(crate) fn put_status(out: &mut BytesMut, cookie: u64, context: u32, runs: &[Run]) {
    let length = u32::try_from(4 + runs.len() * 8).unwrap_or(u32::MAX);
    put_chunk(out, chunk_kind::BLOCK_STATUS, cookie, length);
    out.put_u32(context);
    for run in runs {
        let hole = if run.is_hole { STATE_HOLE } else { 0 };
        let zero = if run.is_zero { STATE_ZERO } else { 0 };
        out.put_u32(run.length);
        out.put_u32(hole | zero);
    }
}

/// What a server's next message is, as far as its first bytes tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ReplyHeader {
    /// If `error` is 0 and it answers a read, the data follows.
    Simple { cookie: u64, error: u32 },
    /// A payload of `length` bytes follows.
    Chunk { cookie: u64, kind: ChunkKind, is_last: bool, length: u32 },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ChunkKind {
    /// No content.
    None,
    /// Bytes of the disk.
    Data,
    /// Zeroes of the disk.
    Hole,
    /// Which parts of the disk are allocated.
    Status,
    /// An error of this or another kind.
    Error,
}

/// How many bytes the message beginning with these 4 has before its payload.
pub(crate) fn header_bytes(magic: [u8; 4]) -> Result<usize, WireError> {
    match u32::from_be_bytes(magic) {
        SIMPLE_MAGIC => Ok(SIMPLE_BYTES),
        CHUNK_MAGIC => Ok(CHUNK_BYTES),
        found => Err(WireError::Magic { found: found.into() }),
    }
}

impl ReplyHeader {
    /// # Errors
    /// [`WireError`] where the next message cannot be found or understood; the connection ends.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let mut cursor = Cursor::new(bytes);
        match cursor.u32()? {
            SIMPLE_MAGIC => {
                let (error, cookie) = (cursor.u32()?, cursor.u64()?);
                cursor.end()?;
                Ok(Self::Simple { cookie, error })
            }
            CHUNK_MAGIC => {
                let (flags, kind) = (cursor.u16()?, cursor.u16()?);
                let (cookie, length) = (cursor.u64()?, cursor.u32()?);
                cursor.end()?;
                let is_last = flags & DONE != 0;
                let kind = ChunkKind::of(kind, length, is_last)?;
                Ok(Self::Chunk { cookie, kind, is_last, length })
            }
            found => Err(WireError::Magic { found: found.into() }),
        }
    }
}

impl ChunkKind {
    /// The kind, if its payload may be `length` bytes long.
    fn of(kind: u16, length: u32, is_last: bool) -> Result<Self, WireError> {
        let (kind, fits) = match kind {
            chunk_kind::NONE => (Self::None, length == 0 && is_last),
            chunk_kind::OFFSET_DATA => (Self::Data, length > DATA_OFFSET_BYTES),
            chunk_kind::OFFSET_HOLE => (Self::Hole, length == 12),
            chunk_kind::BLOCK_STATUS => {
                (Self::Status, length >= 12 && (length - 4).is_multiple_of(8))
            }
            chunk_kind::ERROR_OFFSET => (Self::Error, length >= 14),
            kind if kind & ERROR_BIT != 0 => (Self::Error, length >= 6),
            kind => return Err(WireError::Unexpected { code: kind.into() }),
        };
        if fits { Ok(kind) } else { Err(WireError::Length) }
    }
}

/// Offset and length of a hole, from its payload.
pub(crate) fn read_hole(payload: &[u8]) -> Result<(u64, u32), WireError> {
    let mut cursor = Cursor::new(payload);
    let hole = (cursor.u64()?, cursor.u32()?);
    cursor.end()?;
    Ok(hole)
}

/// The error value of an error chunk, from its payload.
pub(crate) fn read_error(payload: &[u8]) -> Result<u32, WireError> {
    let mut cursor = Cursor::new(payload);
    let (error, length) = (cursor.u32()?, cursor.u16()?);
    cursor.bytes(length.into())?;
    Ok(error)
}

/// Context and runs, from the payload of a status chunk.
pub(crate) fn read_status(payload: &[u8]) -> Result<(u32, Vec<Run>), WireError> {
    let mut cursor = Cursor::new(payload);
    let context = cursor.u32()?;
    let (pairs, rest) = cursor.rest().as_chunks::<8>();
    if !rest.is_empty() || pairs.is_empty() {
        return Err(WireError::Length);
    }
    let runs = pairs.iter().map(|pair| {
        let mut cursor = Cursor::new(pair);
        let (length, state) = (cursor.u32()?, cursor.u32()?);
        if length == 0 {
            return Err(WireError::Length);
        }
        let (is_hole, is_zero) = (state & STATE_HOLE != 0, state & STATE_ZERO != 0);
        Ok(Run { length, is_hole, is_zero })
    });
    Ok((context, runs.collect::<Result<_, _>>()?))
}
