//! The bytes of the NBD protocol, for both roles, without any I/O.
//!
//! Every integer is big-endian. Every length of a peer is checked against a limit before anything
//! is allocated for it.
//!
//! Source: <https://github.com/NetworkBlockDevice/nbd/blob/master/doc/proto.md>, quoted by section
//! title; fixed newstyle only.
//!
//! Invariants: (1) a decoder never panics, whatever the bytes; (2) what is encoded here decodes to
//! the same value.

pub(crate) mod code;
mod cursor;
pub(crate) mod info;
pub(crate) mod option;
pub(crate) mod reply;
pub(crate) mod request;
#[cfg(test)]
mod tests;

pub(crate) use cursor::Cursor;

/// First 8 bytes of a server ("Newstyle negotiation").
pub(crate) const GREETING_MAGIC: u64 = u64::from_be_bytes(*b"NBDMAGIC");
/// Second 8 bytes of a server, and the first of each option.
pub(crate) const OPTION_MAGIC: u64 = u64::from_be_bytes(*b"IHAVEOPT");

/// Longest string, in bytes ("Conventions").
pub(crate) const STRING_BYTES_MAX: usize = 4096;

/// Bytes of a server's greeting.
pub(crate) const GREETING_BYTES: usize = 18;
/// Bytes of zero behind a reply to `NBD_OPT_EXPORT_NAME`, unless both sides do without.
pub(crate) const EXPORT_NAME_ZEROES: usize = 124;

/// "Handshake flags" and "Client flags"; the bits mean the same on both sides.
pub(crate) mod handshake_flag {
    /// Fixed newstyle.
    pub(crate) const FIXED_NEWSTYLE: u16 = 1;
    /// No zeroes behind a reply to `NBD_OPT_EXPORT_NAME`.
    pub(crate) const NO_ZEROES: u16 = 2;
}

/// Why bytes are not what the protocol has in their place. Fault: the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// A magic number is another one: the two sides are out of step, or the peer is none.
    #[error("{found:#x} stands where a magic number is due")]
    Magic {
        /// What was read.
        found: u64,
    },
    /// The content is shorter or longer than its length says.
    #[error("the content does not fill its length")]
    Length,
    /// A string is longer than the protocol allows, or no UTF-8.
    #[error("a string is too long or no UTF-8")]
    Text,
    /// A length is past its limit.
    #[error("{bytes} bytes are past the limit of {limit}")]
    TooLong {
        /// Length announced.
        bytes: u32,
        /// The limit.
        limit: u32,
    },
    /// A code is none that this side knows or asked for.
    #[error("unexpected type {code:#x}")]
    Unexpected {
        /// What was read.
        code: u32,
    },
}

/// The greeting of a server: both magic numbers and its handshake flags.
pub(crate) fn greeting(flags: u16) -> [u8; GREETING_BYTES] {
    let [a, b, c, d, e, f, g, h] = GREETING_MAGIC.to_be_bytes();
    let [i, j, k, l, m, n, o, p] = OPTION_MAGIC.to_be_bytes();
    let [q, r] = flags.to_be_bytes();
    [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r]
}

/// The handshake flags in a server's greeting.
pub(crate) fn read_greeting(bytes: &[u8; GREETING_BYTES]) -> Result<u16, WireError> {
    let mut cursor = Cursor::new(bytes);
    for magic in [GREETING_MAGIC, OPTION_MAGIC] {
        let found = cursor.u64()?;
        if found != magic {
            return Err(WireError::Magic { found });
        }
    }
    cursor.u16()
}
