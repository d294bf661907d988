//! Numbers and byte strings, laid one behind another: how commands, log records and rows are
//! encoded.
//!
//! Integers are little-endian and of fixed width, a byte string has its length before it as a
//! `u32`. Nothing is padded or named, so a value has one encoding.

use bytes::{Buf, BufMut, Bytes};

/// Bytes that are not what they should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// They end before the value does.
    #[error("the bytes end before the value")]
    Short,
    /// More stands behind the value.
    #[error("{bytes} bytes stand behind the value")]
    Trailing {
        /// How many.
        bytes: usize,
    },
    /// A number that stands for nothing.
    #[error("{what} has no {number}")]
    Unknown {
        /// What the number chooses from.
        what: &'static str,
        /// The number.
        number: u32,
    },
    /// A count or length past its bound.
    #[error("{what}: {count} is past the bound of {bound}")]
    TooMany {
        /// What is counted.
        what: &'static str,
        /// What was announced.
        count: usize,
        /// The most.
        bound: usize,
    },
    /// Text that is no UTF-8.
    #[error("text that is no UTF-8")]
    Text,
}

/// Appends a byte string with its length.
///
/// A string of 4 GiB or more can't be encoded; every caller's bound is far below.
pub(crate) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    let length = u32::try_from(bytes.len()).expect("bounded by the caller");
    out.put_u32_le(length);
    out.put_slice(bytes);
}

/// Appends an optional number.
pub(crate) fn put_option(out: &mut Vec<u8>, number: Option<u64>) {
    out.put_u8(u8::from(number.is_some()));
    if let Some(number) = number {
        out.put_u64_le(number);
    }
}

/// Takes values from the front of bytes; byte strings share the input's memory.
#[derive(Debug)]
pub(crate) struct Reader(Bytes);

impl Reader {
    pub(crate) fn new(bytes: Bytes) -> Self {
        Self(bytes)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, DecodeError> {
        self.0.try_get_u8().map_err(|_short| DecodeError::Short)
    }

    pub(crate) fn u16(&mut self) -> Result<u16, DecodeError> {
        self.0.try_get_u16_le().map_err(|_short| DecodeError::Short)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, DecodeError> {
        self.0.try_get_u32_le().map_err(|_short| DecodeError::Short)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, DecodeError> {
        self.0.try_get_u64_le().map_err(|_short| DecodeError::Short)
    }

    pub(crate) fn flag(&mut self, what: &'static str) -> Result<bool, DecodeError> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            number => Err(DecodeError::Unknown { what, number: number.into() }),
        }
    }

    pub(crate) fn option(&mut self, what: &'static str) -> Result<Option<u64>, DecodeError> {
        self.flag(what)?.then(|| self.u64()).transpose()
    }

    /// A count of things of which each takes a byte at least.
    pub(crate) fn count(&mut self, what: &'static str, bound: usize) -> Result<usize, DecodeError> {
        let count = self.u32()? as usize;
        if count > bound {
            return Err(DecodeError::TooMany { what, count, bound });
        }
        if count > self.0.len() { Err(DecodeError::Short) } else { Ok(count) }
    }

    pub(crate) fn bytes(&mut self) -> Result<Bytes, DecodeError> {
        let length = self.u32()? as usize;
        if length > self.0.len() { Err(DecodeError::Short) } else { Ok(self.0.split_to(length)) }
    }

    pub(crate) fn text(&mut self) -> Result<String, DecodeError> {
        String::from_utf8(self.bytes()?.to_vec()).map_err(|_bytes| DecodeError::Text)
    }

    /// All that is left.
    pub(crate) fn rest(self) -> Bytes {
        self.0
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Says that nothing may be left.
    pub(crate) fn end(self) -> Result<(), DecodeError> {
        match self.0.len() {
            0 => Ok(()),
            bytes => Err(DecodeError::Trailing { bytes }),
        }
    }
}
