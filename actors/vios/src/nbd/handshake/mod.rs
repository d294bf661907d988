//! The handshake phase, for each role a pure machine: bytes in, bytes and a decision out.
//!
//! Source: NBD proto.md, "Fixed newstyle negotiation".

mod client;
mod server;
#[cfg(test)]
mod tests;

pub(crate) use client::{ClientHandshake, ClientStep, Remote, Wanted};
pub(crate) use server::{Agreed, Catalog, ServerHandshake, ServerStep};

use super::wire::WireError;

/// Longest data of an option that is looked at, in bytes; longer ones are passed over.
const OPTION_BYTES_MAX: u32 = 16 << 10;
/// Most options of one handshake.
const OPTIONS_MAX: u32 = 64;
/// Longest data of a reply to an option, in bytes: a string of 4096 bytes, another one, and what
/// stands before them.
const REPLY_BYTES_MAX: u32 = 16 << 10;
/// Most replies that a client reads in one handshake.
const REPLIES_MAX: u32 = 1024;

/// Why a handshake ended in nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HandshakeError {
    /// The peer's bytes are not the protocol's. Fault: the peer.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// The peer does not speak fixed newstyle. Fault: the peer, which is very old.
    #[error("the peer does not speak the fixed newstyle handshake")]
    NotFixed,
    /// Handshake flags that nobody offered. Fault: the peer.
    #[error("unknown handshake flags {flags:#x}")]
    Flags {
        /// What was read.
        flags: u32,
    },
    /// More options or replies than a handshake has. Fault: the peer.
    #[error("too many messages in one handshake")]
    TooMany,
    /// A client asked by `NBD_OPT_EXPORT_NAME`, which knows no refusal, for what is not here.
    /// Fault: the client, or the operator.
    #[error("no export of the name that was asked for")]
    UnknownExport,
    /// The server refused the export. Fault: the operator, or the server.
    #[error("the server refused the export: {refusal}")]
    Refused {
        /// Why.
        refusal: Refusal,
    },
    /// The server went into transmission without saying what the export is. Fault: the server.
    #[error("the server did not describe the export")]
    NotDescribed,
}

/// Why a server refused an export ("Option reply types").
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It has no export of that name.
    #[error("unknown export")]
    Unknown,
    /// Its policy forbids it.
    #[error("forbidden by its policy")]
    Policy,
    /// It wants TLS, which this implementation does not have.
    #[error("it requires TLS")]
    TlsRequired,
    /// It is being shut down.
    #[error("it is being shut down")]
    ShuttingDown,
    /// Something else.
    #[error("reply {code:#x}")]
    Other {
        /// The reply's type.
        code: u32,
    },
}
