//! What can go wrong with a message, and whether it was acted on.
//!
//! [`NotDelivered`] says that no handler saw the message, and none will. [`Doubt`] says that one
//! may have. Nothing is reported as done because it was sent.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use vioduct_certs::identity::NodeName;
use vioduct_transport::SendError;

use crate::codec::EncodeError;
use crate::id::{ActorId, ActorName};
use crate::schema::Fingerprint;

/// Why a message was not delivered. Performed: no.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotDelivered {
    /// That life of the actor is over: look the name up again. Fault: nobody's.
    #[error("actor {actor} is gone")]
    Gone {
        /// The actor.
        actor: ActorId,
    },
    /// The node runs anew since the reference was made: look the name up again.
    #[error("{node} runs anew: the reference is to its run {was}")]
    Restarted {
        /// The node.
        node: NodeName,
        /// The run that the reference belongs to.
        was: u64,
    },
    /// No actor of this name runs there. Fault: the caller, or it has not started yet.
    #[error("no actor named {name} runs on {node}")]
    NoSuchActor {
        /// The node.
        node: NodeName,
        /// The name.
        name: ActorName,
    },
    /// No actor of this name was heard of. Fault: the caller, or it has not started yet.
    #[error("no actor named {name} is known on any node that is linked")]
    NoSuchName {
        /// The name.
        name: ActorName,
    },
    /// The actor's node takes this message from nobody: it was not exported.
    #[error("actor {actor} does not take {message} from other nodes; export it with `accept`")]
    NotExported {
        /// The actor.
        actor: ActorId,
        /// Name of the message.
        message: &'static str,
    },
    /// This node's certificate does not allow it to send this message to that actor.
    #[error("actor {actor} refuses {message} from this node")]
    AccessDenied {
        /// The actor.
        actor: ActorId,
        /// Name of the message.
        message: &'static str,
    },
    /// The two builds disagree on what the message looks like. Fault: the rollout.
    #[error(transparent)]
    Skew(Box<Skew>),
    /// The message is past a limit of the links. Fault: the caller.
    #[error(
        "message of {bytes} bytes is past the limit of {limit}; what is large belongs in the body"
    )]
    TooLarge {
        /// Its length.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// The message does not encode. Fault: the caller.
    #[error("message does not encode: {0}")]
    Encode(EncodeError),
    /// The receiver could not make sense of the message. Fault: a peer's build, ours or theirs.
    #[error("the receiver could not read {message}")]
    Unreadable {
        /// Name of the message.
        message: &'static str,
    },
    /// No room now; only the `try_` form says so.
    #[error("actor {actor} takes no more now")]
    Full {
        /// The actor.
        actor: ActorId,
    },
    /// No connection for longer than the links allow. Fault: the network, or the node is down.
    #[error("{node} has been unreachable for too long")]
    Unreachable {
        /// The node.
        node: NodeName,
    },
    /// This node has no link to that node. Fault: the caller; connect to it first.
    #[error("no link to {node}; connect to it first")]
    NotConnected {
        /// The node.
        node: NodeName,
    },
    /// The message was lost before it left.
    #[error("the link to {node} was lost before the message left")]
    Lost {
        /// The node.
        node: NodeName,
    },
    /// The deadline passed before a handler saw it.
    #[error("the deadline passed before the message was handled")]
    Late,
    /// This node is shutting down.
    #[error("the node is shutting down")]
    Closing,
    /// The peer has as much of this node under way as it allows.
    #[error("{node} has too much of this node under way")]
    Overrun {
        /// The node.
        node: NodeName,
    },
}

impl NotDelivered {
    pub(crate) fn of_link(error: SendError) -> Self {
        match error {
            SendError::Full { peer } => Self::Overrun { node: peer },
            SendError::Unreachable { peer } => Self::Unreachable { node: peer },
            SendError::Closed { .. } => Self::Closing,
            SendError::HeadTooLong { bytes, limit } | SendError::BodyTooLong { bytes, limit } => {
                Self::TooLarge { bytes, limit }
            }
        }
    }
}

/// Two builds that name the same message and mean different ones.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "message {message} version {version} is {here} here and {there} on {node}: the builds differ; \
     give the changed message a new version"
)]
pub struct Skew {
    /// Name of the message.
    pub message: &'static str,
    /// Its version.
    pub version: u16,
    /// Fingerprint of this build.
    pub here: Fingerprint,
    /// Fingerprint of the peer's build.
    pub there: Fingerprint,
    /// The peer.
    pub node: NodeName,
}

/// Why it is not known what became of a message. Performed: unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Doubt {
    /// The link was lost after the message had left.
    #[error("the link was lost")]
    LinkLost,
    /// No answer before the deadline.
    #[error("no answer before the deadline")]
    Late,
    /// The actor panicked, stopped or let the answer fall.
    #[error("the actor ended or dropped the answer")]
    Dropped,
    /// The answer was past a limit of the links, or the peer had no room left for it.
    #[error("the answer could not be sent")]
    AnswerLost,
    /// The answer came and could not be read.
    #[error("the answer could not be read")]
    AnswerUnreadable,
}

/// Why an ask has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    /// Performed: no. It may be asked again.
    #[error("not delivered: {0}")]
    NotDelivered(#[from] NotDelivered),
    /// Performed: unknown. Ask again only what may be done twice.
    #[error("maybe delivered: {0}")]
    MaybeDelivered(#[from] Doubt),
}

/// A message that was not taken, given back.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct NotTaken<M> {
    /// The message.
    pub message: M,
    /// Why.
    pub reason: NotDelivered,
}

impl<M> fmt::Debug for NotTaken<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NotTaken").field("reason", &self.reason).finish_non_exhaustive()
    }
}

/// Why a life of an actor ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum EndReason {
    /// It stopped itself, or was told to.
    #[error("stopped")]
    Stopped,
    /// A handler, or its factory, panicked.
    #[error("panicked: {0}")]
    Panicked(String),
    /// It said that it failed.
    #[error("failed: {0}")]
    Failed(String),
    /// It had ended before it was watched.
    #[error("gone before it was watched")]
    Gone,
    /// Its node is unreachable, or runs anew.
    #[error("its node is down")]
    NodeDown,
}

impl EndReason {
    /// Whether supervision restarts it.
    #[must_use]
    pub const fn is_failure(&self) -> bool {
        matches!(self, Self::Panicked(_) | Self::Failed(_))
    }
}

/// Why an actor did not start.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StartError {
    /// Its name is taken on this node.
    #[error("an actor named {0} runs on this node already")]
    NameTaken(ActorName),
    /// Two exported messages have the same key, or one was exported twice. Fault: the caller.
    #[error("message {message} is exported twice")]
    ExportedTwice {
        /// Name of the message.
        message: &'static str,
    },
    /// More messages than an actor can export.
    #[error("an actor exports at most {limit} messages")]
    TooManyExports {
        /// The limit.
        limit: usize,
    },
    /// The actor is in more groups than one can be in. Fault: the caller.
    #[error("an actor is in at most {limit} groups")]
    TooManyGroups {
        /// The limit.
        limit: usize,
    },
    /// The node has as many named and grouped actors as it can tell others of.
    #[error("a node has at most {limit} actors with a name or a group")]
    TooManyNames {
        /// The limit.
        limit: usize,
    },
    /// A setting is out of its range. Fault: the caller.
    #[error("{setting} is {value}; it must be {bound}")]
    OutOfRange {
        /// Name of the setting.
        setting: &'static str,
        /// Its value.
        value: u64,
        /// What is allowed.
        bound: &'static str,
    },
    /// The first life ended before it was running.
    #[error("the actor did not come up: {0}")]
    Ended(EndReason),
    /// The node is shutting down.
    #[error("the node is shutting down")]
    Closing,
}

/// How long an ask waits at most; longer deadlines are cut to it.
pub const DEADLINE_MAX: Duration = Duration::from_secs(24 * 3600);
