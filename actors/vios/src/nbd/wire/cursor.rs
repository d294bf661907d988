//! A cursor over bytes from a peer: every read says whether there was enough.

use super::{STRING_BYTES_MAX, WireError};

#[derive(Debug)]
pub(crate) struct Cursor<'a> {
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        let (taken, rest) = self.rest.split_first_chunk::<N>().ok_or(WireError::Length)?;
        self.rest = rest;
        Ok(*taken)
    }

    pub(crate) fn u16(&mut self) -> Result<u16, WireError> {
        self.take().map(u16::from_be_bytes)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, WireError> {
        self.take().map(u32::from_be_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, WireError> {
        self.take().map(u64::from_be_bytes)
    }

    pub(crate) fn bytes(&mut self, length: usize) -> Result<&'a [u8], WireError> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(WireError::Length)?;
        self.rest = rest;
        Ok(taken)
    }

    /// A string of `length` bytes ("Conventions").
    pub(crate) fn text(&mut self, length: usize) -> Result<&'a str, WireError> {
        let bytes = self.bytes(length)?;
        if length > STRING_BYTES_MAX || bytes.contains(&0) {
            return Err(WireError::Text);
        }
        std::str::from_utf8(bytes).map_err(|_not_utf8| WireError::Text)
    }

    /// A string with its length before it.
    pub(crate) fn long_text(&mut self) -> Result<&'a str, WireError> {
        let length = self.u32()?;
        self.text(usize::try_from(length).unwrap_or(usize::MAX))
    }

    pub(crate) fn rest(self) -> &'a [u8] {
        self.rest
    }

    /// Whether all was read.
    pub(crate) fn end(self) -> Result<(), WireError> {
        if self.rest.is_empty() { Ok(()) } else { Err(WireError::Length) }
    }
}
