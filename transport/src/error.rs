//! What can go wrong, and what is known of the message when it does.

use std::net::SocketAddr;
use std::sync::Arc;

use vioduct_certs::credentials::TlsError;
use vioduct_certs::identity::NodeName;
use vioduct_certs::refusal::Refusal;

use crate::config::ConfigError;
use crate::lane::order::OrderError;
use crate::wire::{FrameError, Rejection, WireError};

/// Why a message was not taken. It was not delivered, and will not be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// The lane's queue is at its bound; only the `try_` form says so, the other waits.
    #[error("the lane to {peer} is full")]
    Full {
        /// The peer's name.
        peer: NodeName,
    },
    /// No connection for longer than `unreachable_after`, or the peer's run was dismissed.
    #[error("{peer} has been unreachable for too long")]
    Unreachable {
        /// The peer's name.
        peer: NodeName,
    },
    /// This side is shutting the link down.
    #[error("the link to {peer} is closed")]
    Closed {
        /// The peer's name.
        peer: NodeName,
    },
    /// The head is past its limit. Fault: the caller.
    #[error("message head of {bytes} bytes is past the limit of {limit}")]
    HeadTooLong {
        /// Its length.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// The body is past its limit. Fault: the caller.
    #[error("message body of {bytes} bytes is past the limit of {limit}")]
    BodyTooLong {
        /// Its length.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
}

/// Why a datagram was not sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DatagramError {
    /// No connection is up.
    #[error("no connection to {peer}")]
    NotConnected {
        /// The peer's name.
        peer: NodeName,
    },
    /// Longer than the path takes now.
    #[error("datagram of {bytes} bytes; the path takes {limit}")]
    TooLong {
        /// Its length.
        bytes: usize,
        /// What fits now.
        limit: usize,
    },
}

/// Why a connection could not be made. No message was exchanged on it.
#[derive(Debug, Clone, thiserror::Error)]
pub enum DialError {
    /// One side's certificate was refused by this side.
    #[error("peer at {addr} refused: {refusal}")]
    Refused {
        /// The peer's address.
        addr: SocketAddr,
        /// Why.
        refusal: Refusal,
    },
    /// The other side refused our certificate.
    #[error("peer at {addr} refused this node's certificate: TLS alert {alert}")]
    RefusedByPeer {
        /// The peer's address.
        addr: SocketAddr,
        /// The TLS alert's number (RFC 8446, section 6).
        alert: u8,
    },
    /// The handshake above TLS turned it down.
    #[error("peer at {addr} turned the connection down: {rejection}")]
    Rejected {
        /// The peer's address.
        addr: SocketAddr,
        /// Why.
        rejection: Rejection,
    },
    /// The peer's handshake was not understood.
    #[error("handshake with {addr}: {error}")]
    Wire {
        /// The peer's address.
        addr: SocketAddr,
        /// What was wrong.
        error: WireError,
    },
    /// No common application protocol.
    #[error("peer at {addr} does not speak {ours}")]
    Alpn {
        /// The peer's address.
        addr: SocketAddr,
        /// The protocol asked for.
        ours: String,
    },
    /// No answer in time.
    #[error("no answer from {addr} in time")]
    TimedOut {
        /// The peer's address.
        addr: SocketAddr,
    },
    /// Another attempt took its place.
    #[error("the attempt was given up for another connection")]
    Superseded,
    /// The connection broke during the handshake.
    #[error("connection to {addr} broke: {reason}")]
    Broken {
        /// The peer's address.
        addr: SocketAddr,
        /// What QUIC said.
        reason: String,
    },
    /// Our own TLS configuration could not be made.
    #[error("own credentials: {0}")]
    Tls(Arc<TlsError>),
}

impl From<TlsError> for DialError {
    fn from(error: TlsError) -> Self {
        Self::Tls(Arc::new(error))
    }
}

impl DialError {
    /// A short label for logs and metrics.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Refused { refusal, .. } => refusal.label(),
            Self::RefusedByPeer { .. } => "refused_by_peer",
            Self::Rejected { .. } => "rejected",
            Self::Wire { .. } => "wire",
            Self::Alpn { .. } => "alpn",
            Self::TimedOut { .. } => "timed_out",
            Self::Superseded => "superseded",
            Self::Broken { .. } => "broken",
            Self::Tls(_) => "tls",
        }
    }
}

/// What a peer did that no correct peer does. Its connection was closed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// Bytes on a lane that are no message.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// Bytes on the control stream or a stream's opening that are none.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// Message numbers that cannot be.
    #[error(transparent)]
    Order(#[from] OrderError),
    /// A lane that was not agreed on, or opened twice.
    #[error("lane {lane} was not agreed on, or was opened twice")]
    Lane {
        /// The lane.
        lane: u8,
    },
    /// A body whose length is not the one its head announced.
    #[error("the body of message {number} is not of the announced {bytes} bytes")]
    BodyLength {
        /// The message.
        number: u64,
        /// Length announced.
        bytes: u32,
    },
    /// A stream that ends in the middle of a message or of its opening, that the peer took back, or
    /// that it refuses to read; and the control stream when it ends before its connection.
    #[error("a stream ended before its time")]
    Cut,
}

/// Why an endpoint did not start.
#[derive(Debug, thiserror::Error)]
pub enum EndpointError {
    /// A setting is out of range.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The credentials do not make a TLS configuration.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The socket.
    #[error("socket: {0}")]
    Io(#[from] std::io::Error),
    /// There are as many links as `peers_max` allows.
    #[error("{limit} links exist, the limit; raise `peers_max` or remove one")]
    TooManyPeers {
        /// The limit.
        limit: u32,
    },
    /// The endpoint is shutting down.
    #[error("the endpoint is shutting down")]
    Closing,
}
