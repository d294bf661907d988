//! What an endpoint tells its embedder.

use std::future::Future;
use std::net::SocketAddr;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use vioduct_certs::credentials::PeerIdentity;
use vioduct_certs::refusal::Refusal;

use crate::error::{DialError, Violation};
use crate::lane::order::Message;
use crate::link::Link;

/// A future that an implementor of [`Inbound`] hands back.
pub type BoxFuture<'a> = Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

/// Takes what peers send. One per endpoint; called from many tasks.
pub trait Inbound: Send + Sync + 'static {
    /// Takes the messages of one lane out of `batch`, in order. Nothing more is read from that lane
    /// until the future ends, which is how a slow receiver slows its senders; other lanes go on.
    ///
    /// The future is run to its end even when the connection is lost meanwhile.
    fn deliver<'a>(
        &'a self,
        from: &'a Link,
        lane: u8,
        batch: &'a mut Vec<Message>,
    ) -> BoxFuture<'a>;

    /// A datagram came. Must not block.
    fn datagram(&self, from: &Link, datagram: Bytes);

    /// Something happened to a link. Must not block.
    fn event(&self, link: &Link, event: LinkEvent);

    /// A connection from outside was turned down before it belonged to a link. Must not block.
    fn refused(&self, addr: SocketAddr, error: DialError);
}

/// What is known of messages that were taken and not acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// They never left, and never will.
    NotDelivered,
    /// They were written; the peer may have taken them or not.
    MaybeDelivered,
}

/// A connection that carries a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectionInfo {
    /// Who the peer's certificate says it is.
    pub peer: PeerIdentity,
    /// The peer's incarnation.
    pub incarnation: u64,
    /// Number of this connection between the two nodes.
    pub generation: u64,
    /// Link protocol version in use.
    pub version: u16,
    /// The peer's address.
    pub addr: SocketAddr,
    /// Whether this side dialled.
    pub dialled: bool,
}

/// Something that happened to a link.
#[derive(Debug, Clone)]
pub enum LinkEvent {
    /// A connection carries the link now.
    Up {
        /// The connection.
        info: Arc<ConnectionInfo>,
        /// Another one carried it until now. It ends in its own time; what it could not finish is
        /// reported.
        replaced: bool,
    },
    /// The connection is gone, and no other carries the link.
    Down {
        /// Why.
        reason: DownReason,
    },
    /// Messages that were taken have this fate. Later ones are not affected.
    Undelivered {
        /// Their lane.
        lane: u8,
        /// Their numbers, as their [`Ticket`](crate::Ticket)s say.
        numbers: Range<u64>,
        /// What is known.
        fate: Fate,
    },
    /// No connection for `unreachable_after`, or the peer's run was dismissed: messages are refused
    /// until there is a connection.
    Unreachable,
    /// A dial failed; it is tried again.
    DialFailed {
        /// Why.
        error: DialError,
    },
    /// The peer runs anew. What was queued for its old run has been reported as not delivered.
    PeerRestarted,
}

/// Why a connection ended.
#[derive(Debug, Clone, thiserror::Error)]
pub enum DownReason {
    /// This side closed it.
    #[error("closed by this side")]
    Closed,
    /// The peer closed it.
    #[error("closed by the peer: {reason}")]
    ClosedByPeer {
        /// In its words.
        reason: String,
    },
    /// The embedder wants no link with this run of the peer.
    #[error("dismissed: {reason}")]
    Dismissed {
        /// In its words.
        reason: String,
    },
    /// The peer wants no link with this run of this node.
    #[error("dismissed by the peer: {reason}")]
    DismissedByPeer {
        /// In its words.
        reason: String,
    },
    /// Nothing was heard for the idle time-out.
    #[error("silent for longer than the idle time-out")]
    Silent,
    /// The peer does not know the connection any more: it has lost it, or its process is gone.
    #[error("lost by the peer")]
    Reset,
    /// The peer's certificate is not accepted any more.
    #[error("evicted: {0}")]
    Evicted(Refusal),
    /// The peer broke the protocol.
    #[error("protocol violation: {0}")]
    Violation(Violation),
    /// QUIC gave up.
    #[error("transport: {0}")]
    Transport(String),
}

impl DownReason {
    /// A short label for logs and metrics.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::ClosedByPeer { .. } => "closed_by_peer",
            Self::Dismissed { .. } => "dismissed",
            Self::DismissedByPeer { .. } => "dismissed_by_peer",
            Self::Silent => "silent",
            Self::Reset => "reset",
            Self::Evicted(_) => "evicted",
            Self::Violation(_) => "violation",
            Self::Transport(_) => "transport",
        }
    }
}
