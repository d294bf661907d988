//! Why a client has no answer, and what is known of the question then.

use std::net::SocketAddr;
use std::time::Duration;

use vioduct_certs::identity::{Identity, NodeName};
use vioduct_transport::{DialError, EndpointError, Fate, SendError};

/// Why a client did not start.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The certificate is a node's: another process may be that node. Fault: the operator.
    #[error("{0} is a node; make a certificate for a tool with `vioduct ca issue --tool`")]
    NotATool(Identity),
    /// No socket at this address.
    #[error("can't open a socket on {addr}")]
    Bind {
        /// The address.
        addr: SocketAddr,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The links' settings or the credentials are refused.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
}

/// Why a question has no answer. [`AskError::fate`] says what is known of the question.
#[derive(Debug, Clone, thiserror::Error)]
pub enum AskError {
    /// The link did not take it. Performed: no.
    #[error(transparent)]
    Refused(#[from] SendError),
    /// As many questions wait as may. Fault: the caller. Performed: no.
    #[error("{limit} questions to {peer} wait for answers, the limit")]
    TooManyOutstanding {
        /// The peer.
        peer: NodeName,
        /// The limit.
        limit: usize,
    },
    /// The link took it and could not send it. Fault: network or peer. Performed: no.
    #[error("not delivered to {peer}")]
    NotDelivered {
        /// The peer.
        peer: NodeName,
    },
    /// It was sent, and the connection was lost before the answer. Performed: unknown.
    #[error("maybe delivered to {peer}: the connection was lost before an answer")]
    MaybeDelivered {
        /// The peer.
        peer: NodeName,
    },
    /// No answer in time. Performed: as `fate` says.
    #[error("no answer from {peer} within {} ms", deadline.as_millis())]
    Deadline {
        /// The peer.
        peer: NodeName,
        /// How long it was waited.
        deadline: Duration,
        /// Whether it may have been delivered.
        fate: Fate,
    },
    /// The two sides do not accept each other. Performed: no.
    #[error("{0}")]
    Turned(DialError),
    /// The answer can't be read. Fault: the peer, or its version. Performed: yes.
    #[error("answer of {peer} can't be read: {detail}")]
    BadAnswer {
        /// The peer.
        peer: NodeName,
        /// What the decoder said.
        detail: String,
    },
}

impl AskError {
    /// What is known of the question; `None` when it was answered.
    pub const fn fate(&self) -> Option<Fate> {
        match self {
            Self::Refused(_)
            | Self::TooManyOutstanding { .. }
            | Self::NotDelivered { .. }
            | Self::Turned(_) => Some(Fate::NotDelivered),
            Self::MaybeDelivered { .. } => Some(Fate::MaybeDelivered),
            Self::Deadline { fate, .. } => Some(*fate),
            Self::BadAnswer { .. } => None,
        }
    }

    /// A short label for logs and reports.
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Refused(_) => "refused",
            Self::TooManyOutstanding { .. } => "too_many_outstanding",
            Self::NotDelivered { .. } => "not_delivered",
            Self::MaybeDelivered { .. } => "maybe_delivered",
            Self::Deadline { .. } => "deadline",
            Self::Turned(_) => "turned_down",
            Self::BadAnswer { .. } => "bad_answer",
        }
    }
}
