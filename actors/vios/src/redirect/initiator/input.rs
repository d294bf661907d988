//! What goes into an initiator, and what it wants done.

use std::collections::BTreeMap;
use std::fmt;

use super::super::message::{Call, Word};
use super::super::moment::Moment;
use super::super::name::{ConnId, LuId};
use crate::block::{Failure, Reply, Request};
use crate::disk::Device;

/// What became of a request.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Fate {
    /// The storage has answered.
    Answered(Result<Reply, Failure>),
    /// The connection ended before a byte of it was sent.
    NotSent,
    /// The connection ended with it under way.
    Unanswered,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Input {
    /// These are the LUs that the exit reaches from now on.
    Reaches {
        /// Each, and whether it is the only exit that does.
        lus: BTreeMap<LuId, bool>,
    },
    /// The relay passes a call on.
    Called {
        /// For which LU.
        lu: LuId,
        /// What.
        call: Call,
    },
    /// A connection is there.
    Connected {
        /// Which.
        conn: ConnId,
        /// What the storage says of the disk.
        device: Device,
    },
    /// A connection did not come to be, and will not.
    NotConnected {
        /// Which.
        conn: ConnId,
    },
    /// A request has come to its end. Told of every request once, be it before or after
    /// [`ConnClosed`](Self::ConnClosed).
    Performed {
        /// By which connection it went.
        conn: ConnId,
        /// Its number in the session.
        no: u64,
        /// Its end.
        fate: Fate,
    },
    /// A connection's socket is closed.
    ConnClosed {
        /// Which.
        conn: ConnId,
    },
    /// A call's checksum does not match.
    Spoilt {
        /// For which LU it was.
        lu: LuId,
    },
    /// The way to the storage is lost.
    PathLost,
    /// The deadline has come.
    TimePassed,
}

/// What is to be done, in the order given.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Effect {
    /// Give a word to the relay.
    Word {
        /// Of which LU.
        lu: LuId,
        /// What.
        word: Word,
    },
    /// Connect to an LU's export; [`Input::Connected`] or [`Input::NotConnected`] follows.
    Connect {
        /// Which LU.
        lu: LuId,
        /// The connection's name.
        conn: ConnId,
    },
    /// Nothing may be given to the kernel for this connection at this moment or later.
    Allow {
        /// Which.
        conn: ConnId,
        /// When it ends.
        until: Moment,
    },
    /// Send a request; [`Input::Performed`] follows.
    Perform {
        /// By which connection.
        conn: ConnId,
        /// Its number in the session.
        no: u64,
        /// What.
        request: Request,
    },
    /// Abort a connection, or give it up before it is there; [`Input::ConnClosed`] follows, or
    /// [`Input::NotConnected`].
    Cut {
        /// Which.
        conn: ConnId,
    },
    /// Tell whoever watches.
    Tell(InitiatorEvent),
}

/// What became of an exit's sessions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum InitiatorEvent {
    /// A storage that no session can be begun with. Fault: the storage's settings.
    Unfit {
        /// Which LU.
        lu: LuId,
        /// What it lacks.
        unfit: Unfit,
    },
    /// A connection is aborted.
    Cut {
        /// Which LU's.
        lu: LuId,
        /// Why.
        cause: Cause,
    },
}

/// What a storage lacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Unfit {
    /// It does not say that its connections see the same data.
    #[error("it does not offer NBD_FLAG_CAN_MULTI_CONN, so only one VIOS may use it")]
    NotShared,
    /// It cannot be asked to make data durable.
    #[error("it does not offer NBD_FLAG_SEND_FLUSH")]
    NoFlush,
    /// It takes too little at once.
    #[error("it takes {payload_max} bytes at once; needed are {}", super::PAYLOAD_MIN)]
    ShortPayload {
        /// How much it takes, bytes.
        payload_max: u32,
    },
}

/// Why a connection is aborted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Cause {
    /// A later session takes its place.
    Superseded,
    /// The owner was not heard for the lease.
    LeaseOver,
    /// The way to the storage is lost.
    PathLost,
    /// The exit is to reach the LU no more.
    Withdrawn,
    /// The storage ended it.
    HungUp,
    /// Requests are missing, or too many.
    OutOfStep,
    /// A checksum did not match.
    Spoilt,
    /// The storage failed to make data durable: what it acknowledged before may be lost.
    SyncFailed,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Superseded => "a later session takes its place",
            Self::LeaseOver => "its owner is not heard any more",
            Self::PathLost => "the way to the storage is lost",
            Self::Withdrawn => "the LU is no export any more",
            Self::HungUp => "the storage ended it",
            Self::OutOfStep => "requests are missing, or too many",
            Self::Spoilt => "a checksum does not match",
            Self::SyncFailed => "the storage could not make data durable",
        })
    }
}
