//! What travels between an owner, the VIOSes and the storage.
//!
//! The checksum of a message's bytes is made and checked at its ends, where it becomes bytes: the
//! machines are told of one that does not match, never shown it.

use super::name::{Epoch, Holder, Identity, Life, ViosId};
use crate::block::{Failure, Reply, Request};

/// An open that a VIOS passes to another one carries this many hops, and is passed no further.
pub const HOPS_MAX: u8 = 1;

/// From the owner towards the storage.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Call {
    /// Begin a session. Never re-sent. Answered by [`Word::Opened`], [`Word::Draining`] and later
    /// that, [`Word::Refused`], [`Word::Gone`] or [`Word::NoPath`], or not at all.
    Open {
        /// The new session, above all that the owner knows of.
        epoch: Epoch,
        /// The owner's life.
        holder: Holder,
        /// How many VIOSes passed it to another VIOS: 0 or [`HOPS_MAX`].
        hop: u8,
        /// An exit that fell silent, to be left out.
        avoid: Option<ViosId>,
    },
    /// Carry out one request.
    Request {
        /// In this session only.
        epoch: Epoch,
        /// Its number in the session, from 1 without gaps, counted together with flushes.
        no: u64,
        /// What is to be done.
        request: Request,
    },
    /// Make all that was acknowledged before durable.
    Flush {
        /// In this session only.
        epoch: Epoch,
        /// Its number in the session, counted together with requests.
        no: u64,
        /// Afterwards, store that nothing acknowledged under the present identity is missing.
        settle: bool,
    },
    /// End the session: nothing is under way, all is flushed.
    Close {
        /// The session.
        epoch: Epoch,
    },
    /// The owner is still in the session: the answer to [`Word::Lease`].
    Stay {
        /// The session.
        epoch: Epoch,
        /// Which one was heard.
        beat: u64,
    },
}

impl Call {
    /// The session that it belongs to.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        match self {
            Self::Open { epoch, .. }
            | Self::Request { epoch, .. }
            | Self::Flush { epoch, .. }
            | Self::Close { epoch }
            | Self::Stay { epoch, .. } => *epoch,
        }
    }
}

/// From the storage, or a VIOS on the way, to the owner.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Word {
    /// The entry passes the open on through this exit.
    Via {
        /// The session asked for.
        epoch: Epoch,
        /// The exit that is tried.
        exit: ViosId,
    },
    /// The session has begun; no request of an earlier one can take effect any more.
    Opened {
        /// The session.
        epoch: Epoch,
        /// The storage server's run.
        life: Life,
        /// What its cache depends on now.
        identity: Identity,
        /// Up to which identity all that was acknowledged is known to be there.
        settled: Identity,
        /// Bytes of the disk.
        size: u64,
    },
    /// The session will begin once requests of earlier ones have left the device and its record is
    /// stored. Said from time to time until then.
    Draining {
        /// The session asked for.
        epoch: Epoch,
    },
    /// Another session is above this one.
    Refused {
        /// The session that is refused.
        epoch: Epoch,
        /// The highest that was ever opened.
        highest: Epoch,
        /// Whose that one is.
        holder: Holder,
    },
    /// The LU was deleted.
    Gone {
        /// The session asked for.
        epoch: Epoch,
    },
    /// No exit is left to try.
    NoPath {
        /// The session asked for. It was not begun and will not be.
        epoch: Epoch,
    },
    /// What one request came to.
    Answer {
        /// The session.
        epoch: Epoch,
        /// The request's number.
        no: u64,
        /// Its result.
        outcome: Result<Reply, Failure>,
    },
    /// The storage lives and the session is open.
    Alive {
        /// The session.
        epoch: Epoch,
        /// The highest request that the storage has received in it.
        taken: u64,
        /// How many answers it has sent in it.
        answered: u64,
    },
    /// The session is over, or its beginning failed; the path may be tried anew at once.
    Down {
        /// The session.
        epoch: Epoch,
        /// Why.
        why: Why,
    },
    /// A better path than the session's is there.
    Better {
        /// The session.
        epoch: Epoch,
    },
    /// The session was ended as asked.
    Closed {
        /// The session.
        epoch: Epoch,
    },
    /// An exit before a storage that cannot fence needs to know that the owner is still in the
    /// session: from this word on its lease lasts, once that is answered.
    Lease {
        /// The session.
        epoch: Epoch,
        /// Which, rising.
        beat: u64,
    },
    /// A request has no answer, but it cannot take effect any more, if it has not already.
    Void {
        /// The session.
        epoch: Epoch,
        /// The request's number.
        no: u64,
    },
}

impl Word {
    /// The session that it belongs to.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        match self {
            Self::Via { epoch, .. }
            | Self::Opened { epoch, .. }
            | Self::Draining { epoch }
            | Self::Refused { epoch, .. }
            | Self::Gone { epoch }
            | Self::NoPath { epoch }
            | Self::Answer { epoch, .. }
            | Self::Alive { epoch, .. }
            | Self::Down { epoch, .. }
            | Self::Better { epoch }
            | Self::Closed { epoch }
            | Self::Lease { epoch, .. }
            | Self::Void { epoch, .. } => *epoch,
        }
    }
}

/// Why a session is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Why {
    /// The exit has lost its fabric.
    #[error("the exit has lost its fabric")]
    FabricLost,
    /// A connection or link on the way is gone.
    #[error("a connection on the way is gone")]
    ConnectionLost,
    /// The exit has aborted the session's connection to a storage that cannot fence: what it sent
    /// there begins its last time now.
    #[error("the exit has aborted its connection")]
    Aborted,
    /// The VIOS or the storage knows no such session.
    #[error("the session is not open here")]
    NotOpen,
    /// A later session has taken its place.
    #[error("a later session was opened")]
    Superseded,
    /// A request is missing in between, or there are more than the storage takes.
    #[error("requests are missing, or too many")]
    OutOfStep,
    /// A checksum did not match.
    #[error("a checksum did not match")]
    Spoilt,
    /// An fsync failed: what was acknowledged and not flushed must be written anew.
    #[error("an fsync failed")]
    FsyncFailed,
    /// No word came from the storage in time.
    #[error("no sign of life from the storage")]
    Silent,
    /// The owner itself wants another path.
    #[error("the owner changes the path")]
    Moved,
}
