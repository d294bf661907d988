//! Options of the handshake and their replies ("Option types", "Option reply types").
//!
//! | offset | size | option | reply |
//! |---|---|---|---|
//! | 0 | 8 | magic | magic |
//! | 8 | 4 | option | option |
//! | 12 | 4 | length | type |
//! | 16 | 4 | data | length |
//! | 20 | … | | data |

use bytes::{BufMut, BytesMut};

use super::{Cursor, OPTION_MAGIC, WireError};

/// Bytes of an option before its data.
pub(crate) const HEADER_BYTES: usize = 16;
/// Bytes of a reply before its data.
pub(crate) const REPLY_BYTES: usize = 20;

const REPLY_MAGIC: u64 = 0x0003_e889_0455_65a9;

/// "Option types".
pub(crate) mod code {
    pub(crate) const EXPORT_NAME: u32 = 1;
    pub(crate) const ABORT: u32 = 2;
    pub(crate) const LIST: u32 = 3;
    pub(crate) const STARTTLS: u32 = 5;
    pub(crate) const INFO: u32 = 6;
    pub(crate) const GO: u32 = 7;
    pub(crate) const STRUCTURED_REPLY: u32 = 8;
    pub(crate) const LIST_META_CONTEXT: u32 = 9;
    pub(crate) const SET_META_CONTEXT: u32 = 10;
}

/// "Option reply types".
pub(crate) mod reply {
    pub(crate) const ACK: u32 = 1;
    pub(crate) const SERVER: u32 = 2;
    pub(crate) const INFO: u32 = 3;
    pub(crate) const META_CONTEXT: u32 = 4;
    /// Set in every error.
    pub(crate) const ERROR_BIT: u32 = 1 << 31;
    pub(crate) const ERR_UNSUP: u32 = ERROR_BIT + 1;
    pub(crate) const ERR_POLICY: u32 = ERROR_BIT + 2;
    pub(crate) const ERR_INVALID: u32 = ERROR_BIT + 3;
    pub(crate) const ERR_TLS_REQD: u32 = ERROR_BIT + 5;
    pub(crate) const ERR_UNKNOWN: u32 = ERROR_BIT + 6;
    pub(crate) const ERR_SHUTDOWN: u32 = ERROR_BIT + 7;
    pub(crate) const ERR_TOO_BIG: u32 = ERROR_BIT + 9;
}

/// The one metadata context that this implementation knows.
pub(crate) const ALLOCATION: &str = "base:allocation";
const BASE_WILDCARD: &str = "base:";

/// An option without its data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OptionHeader {
    pub(crate) option: u32,
    pub(crate) length: u32,
}

impl OptionHeader {
    pub(crate) fn decode(bytes: &[u8; HEADER_BYTES]) -> Result<Self, WireError> {
        let mut cursor = Cursor::new(bytes);
        let found = cursor.u64()?;
        if found != OPTION_MAGIC {
            return Err(WireError::Magic { found });
        }
        Ok(Self { option: cursor.u32()?, length: cursor.u32()? })
    }
}

/// Writes an option; `data` is at most what 32 bits can count, as all of ours are.
pub(crate) fn put_option(out: &mut BytesMut, option: u32, data: &[u8]) {
    out.put_u64(OPTION_MAGIC);
    out.put_u32(option);
    out.put_u32(length_of(data));
    out.put_slice(data);
}

/// A reply without its data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OptionReply {
    pub(crate) option: u32,
    pub(crate) kind: u32,
    pub(crate) length: u32,
}

impl OptionReply {
    pub(crate) fn decode(bytes: &[u8; REPLY_BYTES]) -> Result<Self, WireError> {
        let mut cursor = Cursor::new(bytes);
        let found = cursor.u64()?;
        if found != REPLY_MAGIC {
            return Err(WireError::Magic { found });
        }
        Ok(Self { option: cursor.u32()?, kind: cursor.u32()?, length: cursor.u32()? })
    }
}

/// Writes a reply to an option.
pub(crate) fn put_reply(out: &mut BytesMut, option: u32, kind: u32, data: &[u8]) {
    out.put_u64(REPLY_MAGIC);
    out.put_u32(option);
    out.put_u32(kind);
    out.put_u32(length_of(data));
    out.put_slice(data);
}

fn length_of(data: &[u8]) -> u32 {
    u32::try_from(data.len()).unwrap_or(u32::MAX)
}

/// Writes a string with its length before it.
pub(crate) fn put_text(out: &mut BytesMut, text: &str) {
    out.put_u32(length_of(text.as_bytes()));
    out.put_slice(text.as_bytes());
}

/// Data of `NBD_OPT_INFO` and `NBD_OPT_GO`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct InfoQuery<'a> {
    pub(crate) name: &'a str,
    /// Information types that are asked for.
    pub(crate) infos: Vec<u16>,
}

impl<'a> InfoQuery<'a> {
    /// Allocates no more than the option's data is long.
    pub(crate) fn decode(data: &'a [u8]) -> Result<Self, WireError> {
        let mut cursor = Cursor::new(data);
        let name = cursor.long_text()?;
        let count = cursor.u16()?;
        let (pairs, rest) = cursor.rest().as_chunks::<2>();
        if !rest.is_empty() || pairs.len() != usize::from(count) {
            return Err(WireError::Length);
        }
        Ok(Self { name, infos: pairs.iter().map(|pair| u16::from_be_bytes(*pair)).collect() })
    }

    pub(crate) fn encode(&self) -> BytesMut {
        let mut data = BytesMut::new();
        put_text(&mut data, self.name);
        data.put_u16(u16::try_from(self.infos.len()).unwrap_or(u16::MAX));
        for info in &self.infos {
            data.put_u16(*info);
        }
        data
    }
}

/// Data of `NBD_OPT_LIST_META_CONTEXT` and `NBD_OPT_SET_META_CONTEXT`, as far as it matters to
/// who knows one context only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ContextQuery<'a> {
    pub(crate) name: &'a str,
    /// Nothing in particular was asked for.
    pub(crate) is_empty: bool,
    /// `base:allocation` was asked for.
    pub(crate) names_allocation: bool,
    /// All contexts of `base:` were asked for.
    pub(crate) names_base: bool,
}

impl<'a> ContextQuery<'a> {
    /// Allocates nothing.
    pub(crate) fn decode(data: &'a [u8]) -> Result<Self, WireError> {
        let mut cursor = Cursor::new(data);
        let name = cursor.long_text()?;
        let count = cursor.u32()?;
        let is_empty = count == 0;
        let mut query = Self { name, is_empty, names_allocation: false, names_base: false };
        // Each takes four bytes at least, so a large count runs out of data.
        for _query in 0..count {
            match cursor.long_text()? {
                ALLOCATION => query.names_allocation = true,
                BASE_WILDCARD => query.names_base = true,
                _other => {}
            }
        }
        cursor.end()?;
        Ok(query)
    }
}

/// Data of `NBD_OPT_SET_META_CONTEXT` that selects `base:allocation`.
pub(crate) fn allocation_query(name: &str) -> BytesMut {
    let mut data = BytesMut::new();
    put_text(&mut data, name);
    data.put_u32(1);
    put_text(&mut data, ALLOCATION);
    data
}
